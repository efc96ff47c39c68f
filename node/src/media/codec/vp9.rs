//! VP9 (RFC 9628): the payload descriptor says it all.

const HAS_PICTURE_ID: u8 = 0x80;
const INTER_PREDICTED: u8 = 0x40;
const HAS_LAYERS: u8 = 0x20;
const START_OF_FRAME: u8 = 0x08;
const LONG_PICTURE_ID: u8 = 0x80;

/// A frame that is not predicted from others begins here, in the lowest spatial layer.
pub(super) fn is_keyframe(payload: &[u8]) -> bool {
    begins(payload).unwrap_or(false)
}

fn begins(payload: &[u8]) -> Option<bool> {
    let mut bytes = payload.iter().copied();
    let required = bytes.next()?;
    if required & INTER_PREDICTED != 0 || required & START_OF_FRAME == 0 {
        return Some(false);
    }
    if required & HAS_PICTURE_ID != 0 && bytes.next()? & LONG_PICTURE_ID != 0 {
        bytes.next()?;
    }
    if required & HAS_LAYERS != 0 {
        // | TID (3) | U (1) | SID (3) | D (1) |: a higher spatial layer of a key frame leans on the one below.
        let layers = bytes.next()?;
        return Some((layers >> 1) & 0x07 == 0 && layers & 0x01 == 0);
    }
    Some(true)
}
