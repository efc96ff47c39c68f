//! Opus in Ogg (RFC 3533, RFC 7845).

use std::time::Duration;

use super::frame::{Frame, SampleError, add};
use crate::media::MAX_PAYLOAD;

/// Largest packet that is put together: comments may hold a picture.
const PACKET_MAX: usize = 16 << 20;

pub(super) fn read(bytes: &[u8]) -> Result<Vec<Frame>, SampleError> {
    let bad = |why: &str| SampleError::new(why);
    let packets = packets(bytes)?;
    let mut packets = packets.into_iter();
    let head = packets.next().ok_or_else(|| bad("it holds no packet"))?;
    if !head.starts_with(b"OpusHead") {
        return Err(bad("its first packet is not OpusHead: it is no Opus"));
    }
    // Version, channels, pre-skip, rate, gain, mapping family.
    if head.get(18).is_none_or(|family| *family != 0) {
        return Err(bad("it has more than two channels, which WebRTC does not"));
    }
    if !packets.next().is_some_and(|tags| tags.starts_with(b"OpusTags")) {
        return Err(bad("its second packet is not OpusTags"));
    }
    let frames = packets.enumerate().map(|(number, packet)| {
        let lasts = lasts(&packet).ok_or_else(|| SampleError::new(format!("packet {number} is no Opus")))?;
        if packet.len() > MAX_PAYLOAD {
            let size = packet.len();
            return Err(SampleError::new(format!(
                "a packet of {size} bytes; at most {MAX_PAYLOAD} can be sent"
            )));
        }
        Ok(Frame { lasts, keyframe: false, units: vec![packet] })
    });
    frames.collect()
}

/// How long a packet plays (RFC 6716 section 3.1).
fn lasts(packet: &[u8]) -> Option<Duration> {
    let toc = *packet.first()?;
    let (silk, hybrid, celt) =
        ([10_000, 20_000, 40_000, 60_000], [10_000, 20_000], [2_500, 5_000, 10_000, 20_000]);
    let config = usize::from(toc >> 3);
    let micros: u64 = match config {
        0..=11 => *silk.get(config & 3)?,
        12..=15 => *hybrid.get(config & 1)?,
        _ => *celt.get(config & 3)?,
    };
    let count = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => u64::from(packet.get(1)? & 0x3f),
    };
    let all = micros * count;
    (1..=120_000).contains(&all).then(|| Duration::from_micros(all))
}

/// The packets of the one stream that the pages carry.
fn packets(bytes: &[u8]) -> Result<Vec<Vec<u8>>, SampleError> {
    let cut = || SampleError::new("its last page is cut");
    let (mut rest, mut stream, mut expected) = (bytes, None, 0_u32);
    let (mut all, mut now): (Vec<Vec<u8>>, Vec<u8>) = (Vec::new(), Vec::new());
    while !rest.is_empty() {
        let head = rest.first_chunk::<27>().ok_or_else(cut)?;
        let [b'O', b'g', b'g', b'S', 0, _, _, _, _, _, _, _, _, _, serial @ ..] = head else {
            return Err(SampleError::new(
                "where a page should begin there is no OggS: it is no Ogg, or damaged",
            ));
        };
        let [i0, i1, i2, i3, n0, n1, n2, n3, c0, c1, c2, c3, segments] = serial;
        let table = rest.get(27..27 + usize::from(*segments)).ok_or_else(cut)?;
        let size: usize = table.iter().map(|length| usize::from(*length)).sum();
        let (page, behind) = rest.split_at_checked(27 + table.len() + size).ok_or_else(cut)?;
        if checksum(page) != u32::from_le_bytes([*c0, *c1, *c2, *c3]) {
            return Err(SampleError::new("a page's checksum is wrong: it is damaged"));
        }
        if *stream.get_or_insert([*i0, *i1, *i2, *i3]) != [*i0, *i1, *i2, *i3] {
            return Err(SampleError::new("it holds more than one stream"));
        }
        if u32::from_le_bytes([*n0, *n1, *n2, *n3]) != expected {
            return Err(SampleError::new("a page is missing"));
        }
        expected = expected.wrapping_add(1);
        let mut body = page.get(27 + table.len()..).unwrap_or_default();
        for length in table {
            let (piece, more) = body.split_at_checked(usize::from(*length)).ok_or_else(cut)?;
            body = more;
            now.extend_from_slice(piece);
            if now.len() > PACKET_MAX {
                return Err(SampleError::new(format!("a packet of more than {PACKET_MAX} bytes")));
            }
            // A piece of full length goes on in the next one.
            if *length < 255 {
                add(&mut all, std::mem::take(&mut now))?;
            }
        }
        rest = behind;
    }
    Ok(all)
}

/// CRC-32 as Ogg has it (RFC 3533 section 6): not reflected, over the page with zeros where the sum stands.
pub(super) fn checksum(page: &[u8]) -> u32 {
    let bytes = page.iter().enumerate().map(|(at, byte)| if (22..26).contains(&at) { 0 } else { *byte });
    bytes.fold(0, |sum, byte| {
        (0..8).fold(sum ^ (u32::from(byte) << 24), |sum, _| {
            (sum << 1) ^ if sum & 0x8000_0000 == 0 { 0 } else { 0x04c1_1db7 }
        })
    })
}
