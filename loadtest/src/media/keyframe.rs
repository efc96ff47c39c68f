//! Whether a packet starts a keyframe, read from the payload of media that is not ours.

use super::VideoCodec;

const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const IDR: u8 = 5;
const SPS: u8 = 7;

/// The packet holds the start of a keyframe: an IDR slice or a parameter set in H.264 (RFC 6184 section 5), the first
/// partition of a frame whose tag says "key" in VP8 (RFC 7741 section 4.3).
pub fn starts_keyframe(codec: VideoCodec, payload: &[u8]) -> bool {
    match codec {
        VideoCodec::H264 => h264(payload),
        VideoCodec::Vp8 => vp8(payload).unwrap_or(false),
    }
}

fn h264(payload: &[u8]) -> bool {
    let Some((first, rest)) = payload.split_first() else { return false };
    match first & 0x1f {
        IDR | SPS => true,
        STAP_A => aggregated(rest).any(|nal| matches!(nal.first().map(|byte| byte & 0x1f), Some(IDR | SPS))),
        FU_A => rest.first().is_some_and(|header| header & 0x80 != 0 && header & 0x1f == IDR),
        _ => false,
    }
}

/// The NAL units of a STAP-A, behind its first byte.
pub(super) fn aggregated(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (size, tail) = rest.split_first_chunk::<2>()?;
        let (nal, tail) = tail.split_at_checked(usize::from(u16::from_be_bytes(*size)))?;
        rest = tail;
        Some(nal)
    })
}

fn vp8(payload: &[u8]) -> Option<bool> {
    let (begins, body) = vp8_body(payload)?;
    Some(begins && body.first()? & 1 == 0)
}

/// What is behind a VP8 payload descriptor (RFC 7741 section 4.2), and whether a frame begins there.
pub(super) fn vp8_body(payload: &[u8]) -> Option<(bool, &[u8])> {
    let first = *payload.first()?;
    // S bit set and partition index 0: the frame begins here.
    let begins = first & 0x17 == 0x10;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extension = *payload.get(at)?;
        at += 1;
        if extension & 0x80 != 0 {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extension & 0x40 != 0);
        at += usize::from(extension & 0x30 != 0);
    }
    Some((begins, payload.get(at..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h264_keyframes_start_with_an_idr_or_a_parameter_set() {
        let yes: [&[u8]; 4] = [&[0x65, 1], &[0x67, 1], &[0x78, 0, 2, 0x67, 9, 0, 1, 0x65], &[0x7c, 0x85, 1]];
        let no: [&[u8]; 5] = [&[], &[0x41, 1], &[0x7c, 0x05, 1], &[0x5c, 0x81, 1], &[0x78, 0, 9, 0x67]];
        assert!(yes.iter().all(|payload| starts_keyframe(VideoCodec::H264, payload)));
        assert!(!no.iter().any(|payload| starts_keyframe(VideoCodec::H264, payload)));
    }

    #[test]
    fn vp8_keyframes_have_a_clear_bit_in_the_first_partition() {
        let yes: [&[u8]; 3] =
            [&[0x10, 0x00], &[0x90, 0x80, 0x81, 0x02, 0x10], &[0x90, 0xC0, 0x01, 0x02, 0x10]];
        let no: [&[u8]; 4] = [&[0x10, 0x01], &[0x00, 0x00], &[0x90, 0x80, 0x81, 0x02, 0x11], &[0x90, 0x80]];
        assert!(yes.iter().all(|payload| starts_keyframe(VideoCodec::Vp8, payload)));
        assert!(!no.iter().any(|payload| starts_keyframe(VideoCodec::Vp8, payload)));
    }
}
