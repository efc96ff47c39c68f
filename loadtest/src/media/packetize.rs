//! The prefix that makes a stamped payload a legal packet of its codec.

use super::VideoCodec;
use super::stamp::{LEN, Stamp};
use crate::num;

/// Largest payload that can be sent, in bytes: str0m builds packets, header and tag included, in 2,000.
pub const MAX_PAYLOAD: usize = 1_900;

/// Sequence parameter set: constrained baseline 3.1, 1280 × 720, no reordering.
const SPS: [u8; 9] = [0x67, 0x42, 0xE0, 0x1F, 0xDA, 0x01, 0x40, 0x16, 0xE4];
/// Picture parameter set: CAVLC, one slice group.
const PPS: [u8; 4] = [0x68, 0xCE, 0x38, 0x80];
/// Names the stamp inside a supplemental enhancement information message (user data, unregistered).
const SEI_UUID: [u8; 16] = *b"freshet-loadtest";
/// UUID, stamp and the byte of fill that doubles as the message's trailing bits.
const SEI_SIZE: u8 = 64;

/// Where a packet stands inside its frame.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub keyframe: bool,
    pub first: bool,
    pub last: bool,
    /// Packets of the slice, parameter sets not counted.
    pub alone: bool,
    pub frame: u32,
}

/// STAP-A of SPS, PPS and an SEI that holds the stamp: opens each H.264 keyframe.
pub(super) fn h264_parameters(stamp: &Stamp) -> Vec<u8> {
    let mut payload = Vec::with_capacity(128);
    payload.push(0x78);
    for nal in [SPS.as_slice(), PPS.as_slice()] {
        payload.extend_from_slice(&u16::try_from(nal.len()).unwrap_or(0).to_be_bytes());
        payload.extend_from_slice(nal);
    }
    // Type 6 (SEI), payload type 5, size, UUID, stamp, trailing bits.
    let length = 3 + usize::from(SEI_SIZE) + 1;
    payload.extend_from_slice(&u16::try_from(length).unwrap_or(0).to_be_bytes());
    payload.extend_from_slice(&[0x06, 0x05, SEI_SIZE]);
    payload.extend_from_slice(&SEI_UUID);
    stamp.write(&mut payload, LEN + 1);
    payload
}

/// One packet of a frame's slice, `size` bytes of payload in all where the stamp leaves room for it.
pub(super) fn video(codec: VideoCodec, place: Place, stamp: &Stamp, size: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(size);
    match codec {
        VideoCodec::H264 => h264_prefix(&mut payload, place),
        VideoCodec::Vp8 => vp8_prefix(&mut payload, place),
    }
    let length = size.min(MAX_PAYLOAD).saturating_sub(payload.len());
    stamp.write(&mut payload, length);
    payload
}

fn h264_prefix(payload: &mut Vec<u8>, place: Place) {
    let (reference, kind) = if place.keyframe { (0x60, 5) } else { (0x40, 1) };
    if place.alone {
        payload.push(reference | kind);
    } else {
        let start = if place.first { 0x80 } else { 0 };
        let end = if place.last { 0x40 } else { 0 };
        payload.extend_from_slice(&[reference | 28, start | end | kind]);
    }
}

fn vp8_prefix(payload: &mut Vec<u8>, place: Place) {
    let [_, _, high, low] = place.frame.to_be_bytes();
    payload.extend_from_slice(&[if place.first { 0x90 } else { 0x80 }, 0x80, 0x80 | high, low]);
    if place.first {
        // Frame tag (RFC 6386 section 9.1): show_frame, a first partition of 1 byte, key or not.
        payload.extend_from_slice(&[0x30 | u8::from(!place.keyframe), 0, 0]);
        if place.keyframe {
            payload.extend_from_slice(&[0x9D, 0x01, 0x2A, 0x00, 0x05, 0xD0, 0x02]);
        }
    }
}

/// An Opus packet: CELT fullband stereo, one frame of 20 ms (RFC 6716 section 3.1).
pub(super) fn opus(stamp: &Stamp, size: usize) -> Vec<u8> {
    let mut payload = Vec::with_capacity(size);
    payload.push(0xFC);
    stamp.write(&mut payload, size.saturating_sub(1));
    payload
}

/// Cuts `total` bytes into packets of nearly equal size, none above `limit`, at least one.
pub(super) fn cut(total: usize, limit: usize) -> impl Iterator<Item = usize> {
    let limit = limit.clamp(LEN + 32, MAX_PAYLOAD);
    let total = total.max(LEN + 32);
    let parts = total.div_ceil(limit).max(1);
    let (each, more) = (total / parts, total % parts);
    (0..parts).map(move |part| each + usize::from(num::len(part) < num::len(more)))
}
