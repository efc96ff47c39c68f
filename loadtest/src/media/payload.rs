//! Real encoded frames as payloads of RTP: RFC 6184 for H.264, RFC 7741 for VP8, RFC 7587 for Opus.

use super::sample::{Format, Frame};

const FU_A: u8 = 28;
const STAP_A: u8 = 24;

/// The payloads of a frame, in order; none is longer than `limit` bytes but an Opus packet, which cannot be cut.
pub(super) fn payloads(format: Format, frame: &Frame, picture: u64, limit: usize) -> Vec<Vec<u8>> {
    match format {
        Format::AnnexB => h264(&frame.units, limit),
        Format::Ivf => frame.units.iter().flat_map(|unit| vp8(unit, picture, limit)).collect(),
        Format::Ogg => frame.units.clone(),
    }
}

/// Pieces of nearly equal size.
fn pieces(bytes: &[u8], limit: usize) -> std::slice::Chunks<'_, u8> {
    let count = bytes.len().div_ceil(limit.max(1)).max(1);
    bytes.chunks(bytes.len().div_ceil(count).max(1))
}

/// Parameter sets and what else is no slice go together where they fit (STAP-A); slices go alone, in fragments if need be.
fn h264(units: &[Vec<u8>], limit: usize) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    let mut together: Vec<&[u8]> = Vec::new();
    for unit in units {
        let Some(first) = unit.first().copied() else { continue };
        let room = together.iter().map(|unit| unit.len() + 2).sum::<usize>() + 1;
        let slice = matches!(first & 0x1f, 1..=5);
        if !slice && room + unit.len() + 2 <= limit {
            together.push(unit);
            continue;
        }
        flush(&mut together, &mut payloads);
        if !slice && unit.len() + 3 <= limit {
            together.push(unit);
        } else if unit.len() <= limit {
            payloads.push(unit.clone());
        } else {
            fragments(first, unit.get(1..).unwrap_or_default(), limit, &mut payloads);
        }
    }
    flush(&mut together, &mut payloads);
    payloads
}

/// One unit goes as it is, several as one STAP-A (RFC 6184 section 5.7.1).
fn flush(together: &mut Vec<&[u8]>, payloads: &mut Vec<Vec<u8>>) {
    match together.as_slice() {
        [] => {}
        [one] => payloads.push(one.to_vec()),
        several => {
            let importance = several.iter().filter_map(|unit| unit.first()).map(|first| first & 0x60).max();
            let mut payload = vec![importance.unwrap_or(0) | STAP_A];
            for unit in several {
                payload.extend_from_slice(&u16::try_from(unit.len()).unwrap_or(u16::MAX).to_be_bytes());
                payload.extend_from_slice(unit);
            }
            payloads.push(payload);
        }
    }
    together.clear();
}

/// FU-A (RFC 6184 section 5.8).
fn fragments(first: u8, body: &[u8], limit: usize, payloads: &mut Vec<Vec<u8>>) {
    let all = pieces(body, limit.saturating_sub(2));
    let last = all.len().saturating_sub(1);
    for (number, piece) in all.enumerate() {
        let start = if number == 0 { 0x80 } else { 0 };
        let end = if number == last { 0x40 } else { 0 };
        let mut payload = Vec::with_capacity(piece.len() + 2);
        payload.extend_from_slice(&[first & 0x60 | FU_A, start | end | first & 0x1f]);
        payload.extend_from_slice(piece);
        payloads.push(payload);
    }
}

/// With a picture id of 15 bits (RFC 7741 section 4.2).
fn vp8(frame: &[u8], picture: u64, limit: usize) -> Vec<Vec<u8>> {
    let [.., high, low] = picture.to_be_bytes();
    let describe = |(number, piece): (usize, &[u8])| {
        let mut payload = Vec::with_capacity(piece.len() + 4);
        payload.extend_from_slice(&[if number == 0 { 0x90 } else { 0x80 }, 0x80, 0x80 | high, low]);
        payload.extend_from_slice(piece);
        payload
    };
    pieces(frame, limit.saturating_sub(4)).enumerate().map(describe).collect()
}
