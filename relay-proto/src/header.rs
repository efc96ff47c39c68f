//! The header of a media datagram: everything about a packet but its payload, in 15 to 40 bytes.
//!
//! The index is the origin's number of the packet and stays the same at every hop; the alias stands for room,
//! stream and generation, and belongs to one direction of one link. Payload runs to the end of the datagram.

use bytes::{Buf, Bytes};

use crate::error::{DecodeError, EncodeError};
use crate::varint;
use crate::wire::Reader;

/// Version 1, kind 0: media. Other first bytes are left to newer versions.
pub const KIND_MEDIA: u8 = 0x10;

const MARKER: u8 = 0x01;
const KEYFRAME: u8 = 0x02;
const PART: u8 = 0x04;
const EXTENSIONS: u8 = 0x08;

const AUDIO_LEVEL: u8 = 1;
const ORIENTATION: u8 = 2;
const PLAYOUT_DELAY: u8 = 3;
const ABS_CAPTURE_TIME: u8 = 4;

/// Most parts that a packet is split into.
pub const PARTS_MAX: u8 = 64;

/// RTP header extensions that survive the way from publisher to viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extensions {
    /// Audio level (RFC 6464): −dBov (0 loudest, 127 silence; higher bits are not sent), and voice activity.
    pub audio_level: Option<(u8, bool)>,
    /// Video orientation (3GPP TS 26.114): the byte `0000CFRR`.
    pub orientation: Option<u8>,
    /// Playout delay bounds, minimum and maximum in units of 10 ms, 12 bits each (higher bits are not sent).
    pub playout_delay: Option<(u16, u16)>,
    /// When the media was captured, by the clock of whoever captured it: NTP's 32.32 fixed point seconds.
    pub abs_capture_time: Option<u64>,
}

/// What a datagram says of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MediaHeader {
    /// The sender's name, on this link, of a stream and generation (see Announce).
    pub alias: u32,
    /// Track of the stream.
    pub track: u8,
    /// Layer of the track.
    pub layer: u8,
    /// The origin's number of the packet: at most 2^62 − 1.
    pub index: u64,
    /// RTP timestamp as the publisher wrote it.
    pub timestamp: u32,
    /// RTP marker.
    pub marker: bool,
    /// The packet starts, or belongs to the start of, a frame that decodes without any before it.
    pub keyframe: bool,
    /// Place of the codec in the track's list.
    pub codec: u8,
    /// When the media was captured, by the origin's wall clock, in microseconds since 1970: at most 2^62 − 1.
    pub capture: u64,
    /// Header extensions that go on to viewers.
    pub exts: Extensions,
}

/// Which part of a packet a datagram carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Part {
    /// From 0.
    pub number: u8,
    /// How many there are: 2 to 64.
    pub count: u8,
}

/// Appends a header. What follows is payload.
pub fn write(out: &mut Vec<u8>, header: &MediaHeader, part: Option<Part>) -> Result<(), EncodeError> {
    let exts = header.exts != Extensions::default();
    let mut flags = 0;
    for (on, bit) in
        [(header.marker, MARKER), (header.keyframe, KEYFRAME), (part.is_some(), PART), (exts, EXTENSIONS)]
    {
        flags |= if on { bit } else { 0 };
    }
    out.extend([KIND_MEDIA, flags]);
    varint::write(out, "alias", u64::from(header.alias))?;
    out.extend([header.track, header.layer, header.codec]);
    varint::write(out, "index", header.index)?;
    out.extend(header.timestamp.to_be_bytes());
    varint::write(out, "capture time", header.capture)?;
    if let Some(part) = part {
        out.extend([part.number, part.count]);
    }
    if exts {
        write_extensions(out, &header.exts);
    }
    Ok(())
}

fn write_extensions(out: &mut Vec<u8>, exts: &Extensions) {
    let len = |present: bool, len: u8| if present { len } else { 0 };
    out.push(
        len(exts.audio_level.is_some(), 3)
            + len(exts.orientation.is_some(), 3)
            + len(exts.playout_delay.is_some(), 5)
            + len(exts.abs_capture_time.is_some(), 10),
    );
    if let Some((level, voice)) = exts.audio_level {
        out.extend([AUDIO_LEVEL, 1, (u8::from(voice) << 7) | (level & 0x7f)]);
    }
    if let Some(orientation) = exts.orientation {
        out.extend([ORIENTATION, 1, orientation]);
    }
    if let Some((min, max)) = exts.playout_delay {
        let both = (u32::from(min & 0xfff) << 12) | u32::from(max & 0xfff);
        let [_, a, b, c] = both.to_be_bytes();
        out.extend([PLAYOUT_DELAY, 3, a, b, c]);
    }
    if let Some(time) = exts.abs_capture_time {
        out.extend([ABS_CAPTURE_TIME, 8]);
        out.extend(time.to_be_bytes());
    }
}

/// Reads a datagram: header, which part it is, payload. The payload shares the datagram's memory.
pub fn read(mut datagram: Bytes) -> Result<(MediaHeader, Option<Part>, Bytes), DecodeError> {
    let mut input = Reader::new(&datagram);
    let kind = input.u8("datagram kind")?;
    if kind != KIND_MEDIA {
        return Err(DecodeError::UnknownKind { kind });
    }
    let flags = input.u8("flags")?;
    let alias = input.varint32("alias")?;
    let [track, layer, codec] = input.array("track, layer, codec")?;
    let index = input.varint("index")?;
    let timestamp = input.u32("timestamp")?;
    let capture = input.varint("capture time")?;
    let part = if flags & PART != 0 {
        let [number, count] = input.array("part")?;
        if number >= count || !(2..=PARTS_MAX).contains(&count) {
            return Err(DecodeError::Invalid { what: "part" });
        }
        Some(Part { number, count })
    } else {
        None
    };
    let exts = if flags & EXTENSIONS != 0 {
        let len = usize::from(input.u8("extensions")?);
        read_extensions(input.take("extensions", len)?)?
    } else {
        Extensions::default()
    };
    let header = MediaHeader {
        alias,
        track,
        layer,
        index,
        timestamp,
        marker: flags & MARKER != 0,
        keyframe: flags & KEYFRAME != 0,
        codec,
        capture,
        exts,
    };
    let head = datagram.len().saturating_sub(input.rest().len());
    datagram.advance(head);
    Ok((header, part, datagram))
}

/// Extensions of newer versions, and known ones of another length, are passed over.
fn read_extensions(bytes: &[u8]) -> Result<Extensions, DecodeError> {
    let mut exts = Extensions::default();
    let mut input = Reader::new(bytes);
    while !input.rest().is_empty() {
        let [id, len] = input.array("extension")?;
        match (id, input.take("extension", usize::from(len))?) {
            (AUDIO_LEVEL, [level]) => exts.audio_level = Some((level & 0x7f, level & 0x80 != 0)),
            (ORIENTATION, [orientation]) => exts.orientation = Some(*orientation),
            (PLAYOUT_DELAY, [a, b, c]) => {
                let min = (u16::from(*a) << 4) | (u16::from(*b) >> 4);
                let max = (u16::from(*b & 0x0f) << 8) | u16::from(*c);
                exts.playout_delay = Some((min, max));
            }
            (ABS_CAPTURE_TIME, &[a, b, c, d, e, f, g, h]) => {
                exts.abs_capture_time = Some(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
            }
            _ => {}
        }
    }
    Ok(exts)
}

#[cfg(test)]
mod tests;
