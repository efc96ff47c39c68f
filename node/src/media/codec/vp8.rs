//! VP8 (RFC 7741): the payload descriptor and the first byte of the frame.

const EXTENDED: u8 = 0x80;
const START: u8 = 0x10;
const PARTITION: u8 = 0x07;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0PICIDX: u8 = 0x40;
const HAS_TID_OR_KEYIDX: u8 = 0x30;
const LONG_PICTURE_ID: u8 = 0x80;
/// The P bit of the frame tag: set on interframes.
const INTERFRAME: u8 = 0x01;

/// The first partition of a key frame begins here.
pub(super) fn is_keyframe(payload: &[u8]) -> bool {
    first_byte(payload).is_some_and(|tag| tag & INTERFRAME == 0)
}

/// First byte of the frame, where the payload begins one.
fn first_byte(payload: &[u8]) -> Option<u8> {
    let mut bytes = payload.iter().copied();
    let required = bytes.next()?;
    if required & START == 0 || required & PARTITION != 0 {
        return None;
    }
    if required & EXTENDED != 0 {
        let extension = bytes.next()?;
        if extension & HAS_PICTURE_ID != 0 && bytes.next()? & LONG_PICTURE_ID != 0 {
            bytes.next()?;
        }
        if extension & HAS_TL0PICIDX != 0 {
            bytes.next()?;
        }
        if extension & HAS_TID_OR_KEYIDX != 0 {
            bytes.next()?;
        }
    }
    bytes.next()
}
