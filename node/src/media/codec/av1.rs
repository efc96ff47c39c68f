//! AV1 (RTP payload format, version 1.0): the aggregation header marks a new coded video sequence.

/// N bit: first packet of a coded video sequence, which begins with a key frame.
const NEW_SEQUENCE: u8 = 0x08;
/// Z bit: the first element continues one of the packet before.
const CONTINUES: u8 = 0x80;
/// W field: number of elements, 0 where each has a length.
const COUNT: u8 = 0x30;
const OBU_SEQUENCE_HEADER: u8 = 1;

/// A coded video sequence begins here.
///
/// Senders that leave the N bit alone are recognised by a sequence header as the first whole OBU.
pub(super) fn is_keyframe(payload: &[u8]) -> bool {
    let Some((&aggregation, elements)) = payload.split_first() else { return false };
    if aggregation & CONTINUES != 0 {
        return false;
    }
    if aggregation & NEW_SEQUENCE != 0 {
        return !elements.is_empty();
    }
    first_obu(aggregation, elements).is_some_and(|header| (header >> 3) & 0x0f == OBU_SEQUENCE_HEADER)
}

fn first_obu(aggregation: u8, elements: &[u8]) -> Option<u8> {
    // With W = 1 the only element has no length.
    if aggregation & COUNT == 0x10 {
        return elements.first().copied();
    }
    let mut bytes = elements.iter().copied();
    let mut length = 0u64;
    for group in 0..8u32 {
        let byte = bytes.next()?;
        length |= u64::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return if length == 0 { None } else { bytes.next() };
        }
    }
    None
}
