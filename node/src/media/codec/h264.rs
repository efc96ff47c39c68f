//! H.264 (RFC 6184): single NAL units, STAP-A and B, MTAP, FU-A and FU-B.

const IDR: u8 = 5;
const SPS: u8 = 7;
const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const MTAP16: u8 = 26;
const MTAP24: u8 = 27;
const FU_A: u8 = 28;
const FU_B: u8 = 29;
/// S bit of the FU header: first fragment.
const FU_START: u8 = 0x80;

fn nal_type(header: u8) -> u8 {
    header & 0x1f
}

fn begins(kind: u8) -> bool {
    kind == IDR || kind == SPS
}

/// An IDR slice or a sequence parameter set begins here.
pub(super) fn is_keyframe(payload: &[u8]) -> bool {
    let Some((&header, rest)) = payload.split_first() else { return false };
    match nal_type(header) {
        STAP_A => aggregate(rest, 0),
        STAP_B => rest.get(2..).is_some_and(|units| aggregate(units, 0)),
        // DON base first; then for each unit a size that covers DOND and timestamp offset too.
        MTAP16 => rest.get(2..).is_some_and(|units| aggregate(units, 3)),
        MTAP24 => rest.get(2..).is_some_and(|units| aggregate(units, 4)),
        FU_A | FU_B => rest.first().is_some_and(|fu| fu & FU_START != 0 && begins(nal_type(*fu))),
        kind => begins(kind),
    }
}

/// Walks units of `size (2 bytes) | prefix | NAL unit`.
fn aggregate(mut units: &[u8], prefix: usize) -> bool {
    while let Some((size, rest)) = units.split_first_chunk::<2>() {
        let size = usize::from(u16::from_be_bytes(*size)) + prefix;
        let (Some(header), Some(next)) = (rest.get(prefix), rest.get(size..)) else { return false };
        if size > prefix && begins(nal_type(*header)) {
            return true;
        }
        units = next;
    }
    false
}
