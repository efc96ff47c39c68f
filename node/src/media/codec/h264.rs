//! H.264 (RFC 6184): single NAL units, STAP-A and B, MTAP, FU-A and FU-B.

/// Sequence parameter set.
pub const SPS: u8 = 7;
/// Picture parameter set.
pub const PPS: u8 = 8;
const STAP_A: u8 = 24;
const STAP_B: u8 = 25;
const MTAP16: u8 = 26;
const MTAP24: u8 = 27;
const FU_A: u8 = 28;
const FU_B: u8 = 29;
/// S bit of the FU header: first fragment.
const FU_START: u8 = 0x80;

/// A NAL unit, or a part of one, in a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit<'a> {
    /// Its type.
    pub kind: u8,
    /// It begins here.
    pub begins: bool,
    /// All of it with its header, where it is not cut into fragments.
    pub whole: Option<&'a [u8]>,
}

fn nal_type(header: u8) -> u8 {
    header & 0x1f
}

/// Shows the NAL units of a payload, in order, as far as its lengths are true.
pub fn units<'a>(payload: &'a [u8], mut each: impl FnMut(Unit<'a>)) {
    let Some((&header, rest)) = payload.split_first() else { return };
    match nal_type(header) {
        STAP_A => aggregate(rest, 0, each),
        STAP_B => aggregate(rest.get(2..).unwrap_or_default(), 0, each),
        // DON base first; then for each unit a size that covers DOND and timestamp offset too.
        MTAP16 => aggregate(rest.get(2..).unwrap_or_default(), 3, each),
        MTAP24 => aggregate(rest.get(2..).unwrap_or_default(), 4, each),
        FU_A | FU_B => {
            if let Some(fu) = rest.first() {
                each(Unit { kind: nal_type(*fu), begins: fu & FU_START != 0, whole: None });
            }
        }
        kind => each(Unit { kind, begins: true, whole: Some(payload) }),
    }
}

/// Walks units of `size (2 bytes) | prefix | NAL unit`.
fn aggregate<'a>(mut units: &'a [u8], prefix: usize, mut each: impl FnMut(Unit<'a>)) {
    while let Some((size, rest)) = units.split_first_chunk::<2>() {
        let size = usize::from(u16::from_be_bytes(*size)) + prefix;
        let (Some(unit), Some(next)) = (rest.get(prefix..size), rest.get(size..)) else { return };
        if let Some(header) = unit.first() {
            each(Unit { kind: nal_type(*header), begins: true, whole: Some(unit) });
        }
        units = next;
    }
}
