//! From packets to the frames that a decoder is handed, in their order.
//!
//! What is missing may still come as a retransmission, so what is behind it waits, as in a player's jitter buffer. A frame
//! of which something is missing then is not handed over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::VideoCodec;
use super::keyframe::{aggregated, vp8_body};

/// So long a missing packet is waited for.
pub const PATIENCE: Duration = Duration::from_millis(500);
/// Packets that wait for one before them.
const HELD: usize = 2_048;
/// Largest frame, in bytes.
const FRAME_MAX: usize = 4 << 20;

/// A packet of a video track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Extended RTP sequence number.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit: the last one of its frame.
    pub marker: bool,
    /// When it came.
    pub at: Instant,
    /// The payload.
    pub payload: Vec<u8>,
}

/// A frame of which nothing is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// RTP timestamp.
    pub timestamp: u32,
    /// A decoder can begin here.
    pub keyframe: bool,
    /// H.264 NAL units behind start codes, or a VP8 frame.
    pub bytes: Vec<u8>,
}

/// A frame on its way.
#[derive(Debug)]
struct Partial {
    frame: Whole,
    intact: bool,
    /// A fragmented unit goes on.
    open: bool,
}

/// Puts the frames of one source together. Machine of bounded memory.
#[derive(Debug)]
pub struct Assembler {
    codec: VideoCodec,
    held: BTreeMap<u64, Piece>,
    next: Option<u64>,
    now: Option<Partial>,
    /// Something is missing before the next packet.
    gap: bool,
    broken: u64,
}

impl Assembler {
    /// Nothing has come yet; the first packet decides with which frame it begins.
    pub fn new(codec: VideoCodec) -> Self {
        Self { codec, held: BTreeMap::new(), next: None, now: None, gap: false, broken: 0 }
    }

    /// Frames of which something was missing; where whole ones were, each gap counts as one.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// A packet came; gives the frames that are whole by now.
    pub fn push(&mut self, piece: Piece) -> Vec<Whole> {
        let mut whole = Vec::new();
        let next = *self.next.get_or_insert(piece.sequence);
        if piece.sequence < next {
            return whole;
        }
        let now = piece.at;
        self.held.entry(piece.sequence).or_insert(piece);
        loop {
            let next = self.next.unwrap_or_default();
            if let Some(piece) = self.held.remove(&next) {
                self.next = Some(next + 1);
                self.take(&piece, &mut whole);
                continue;
            }
            let Some((first, waiting)) = self.held.first_key_value() else { return whole };
            let waited = now.saturating_duration_since(waiting.at);
            if waited < PATIENCE && self.held.len() < HELD {
                return whole;
            }
            self.next = Some(*first);
            self.gap = true;
        }
    }

    fn take(&mut self, piece: &Piece, whole: &mut Vec<Whole>) {
        let gap = std::mem::replace(&mut self.gap, false);
        let within = self.now.is_some();
        if let Some(now) = self.now.as_mut().filter(|_| gap) {
            now.intact = false;
        }
        if self.now.as_ref().is_none_or(|now| now.frame.timestamp != piece.timestamp) {
            self.close(whole);
            // Behind a gap only what shows it can be the beginning of a frame.
            let intact = !gap || begins(self.codec, &piece.payload);
            self.broken += u64::from(gap && intact && !within);
            let frame = Whole { timestamp: piece.timestamp, keyframe: false, bytes: Vec::new() };
            self.now = Some(Partial { frame, intact, open: false });
        }
        if let Some(now) = self.now.as_mut().filter(|now| now.intact) {
            now.intact = match self.codec {
                VideoCodec::H264 => now.h264(&piece.payload),
                VideoCodec::Vp8 => now.vp8(&piece.payload),
            };
            now.intact &= now.frame.bytes.len() <= FRAME_MAX;
        }
        if piece.marker {
            self.close(whole);
        }
    }

    fn close(&mut self, whole: &mut Vec<Whole>) {
        let Some(now) = self.now.take() else { return };
        if !now.intact || now.open {
            self.broken += 1;
        } else if !now.frame.bytes.is_empty() {
            whole.push(now.frame);
        }
    }
}

/// The payload may be the first one of a frame.
fn begins(codec: VideoCodec, payload: &[u8]) -> bool {
    match codec {
        VideoCodec::Vp8 => vp8_body(payload).is_some_and(|(begins, _)| begins),
        VideoCodec::H264 => match payload {
            [first, header, slice, ..] if first & 0x1f == 28 => header & 0x80 != 0 && slice & 0x80 != 0,
            // The first slice of a picture begins with macroblock 0, which is a single bit.
            [first, slice, ..] if matches!(first & 0x1f, 1 | 5) => slice & 0x80 != 0,
            _ => true,
        },
    }
}

impl Partial {
    fn unit(&mut self, unit: &[u8]) -> bool {
        let Some(first) = unit.first() else { return false };
        self.frame.bytes.extend_from_slice(&[0, 0, 0, 1]);
        self.frame.bytes.extend_from_slice(unit);
        self.frame.keyframe |= first & 0x1f == 5;
        true
    }

    /// Adds what a packet holds (RFC 6184 section 5); false if that cannot be.
    fn h264(&mut self, payload: &[u8]) -> bool {
        // Padding alone.
        let Some((first, rest)) = payload.split_first() else { return true };
        match first & 0x1f {
            1..=23 => !self.open && self.unit(payload),
            24 => !self.open && aggregated(rest).all(|unit| self.unit(unit)),
            28 => {
                let Some((header, body)) = rest.split_first() else { return false };
                let begins = header & 0x80 != 0;
                if begins == self.open {
                    return false;
                }
                if begins {
                    self.unit(&[first & 0x60 | header & 0x1f]);
                }
                self.frame.bytes.extend_from_slice(body);
                self.open = header & 0x40 == 0;
                true
            }
            _ => false,
        }
    }

    /// Adds what a packet holds (RFC 7741 section 4); false if that cannot be.
    fn vp8(&mut self, payload: &[u8]) -> bool {
        if payload.is_empty() {
            return true;
        }
        let Some((begins, body)) = vp8_body(payload) else { return false };
        if begins != self.frame.bytes.is_empty() {
            return false;
        }
        if begins {
            self.frame.keyframe = body.first().is_some_and(|first| first & 1 == 0);
        }
        self.frame.bytes.extend_from_slice(body);
        true
    }
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
