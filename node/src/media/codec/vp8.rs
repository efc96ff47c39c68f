//! VP8 (RFC 7741): the payload descriptor and the first byte of the frame.

use crate::media::vp8::Descriptor;

/// The first partition of a key frame begins here.
pub(super) fn is_keyframe(payload: &[u8]) -> bool {
    Descriptor::parse(payload).is_some_and(|descriptor| descriptor.keyframe)
}
