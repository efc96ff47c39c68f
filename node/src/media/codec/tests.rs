use std::time::Instant;

use proptest::prelude::*;

use super::CodecName;
use super::CodecName::{Av1, H264, Opus, Other, Vp8, Vp9};
use crate::media::h264;

/// Of the first packet of a publisher.
fn is_keyframe(codec: CodecName, payload: &[u8]) -> bool {
    let taken = h264::H264::default().take(1, 0, Instant::now(), payload);
    if codec == H264 { taken.unwrap().keyframe } else { super::is_keyframe(codec, payload) }
}

#[test]
fn keyframes_are_told_from_the_rest() {
    let table: &[(CodecName, &[u8], bool, &str)] = &[
        (H264, &[0x65, 0x88], true, "single IDR slice"),
        (H264, &[0x67, 0x42], true, "single SPS"),
        (H264, &[0x41, 0x9a], false, "single slice of another frame"),
        (H264, &[0x68, 0xce], false, "PPS alone"),
        (H264, &[0x06, 0x05], false, "SEI alone"),
        (H264, &[0x78, 0, 2, 0x67, 0x42, 0, 2, 0x68, 0xce], true, "STAP-A of SPS and PPS"),
        (H264, &[0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x65, 0x88], true, "STAP-A of AUD and IDR"),
        (H264, &[0x78, 0, 2, 0x09, 0xf0, 0, 2, 0x41, 0x88], false, "STAP-A without"),
        (H264, &[0x78, 0, 9, 0x67], false, "STAP-A that lies about its size"),
        (H264, &[0x78, 0, 0, 0, 2, 0x65, 0x88], true, "STAP-A with an empty unit"),
        (H264, &[0x79, 1, 2, 0, 2, 0x67, 0x42], true, "STAP-B"),
        (H264, &[0x7a, 1, 2, 0, 2, 7, 0, 9, 0x65, 0x88], true, "MTAP16"),
        (H264, &[0x7b, 1, 2, 0, 2, 7, 0, 0, 9, 0x65, 0x88], true, "MTAP24"),
        (H264, &[0x7c, 0x85, 1], true, "FU-A, first of IDR"),
        (H264, &[0x7c, 0x05, 1], false, "FU-A, middle of IDR"),
        (H264, &[0x7c, 0x45, 1], false, "FU-A, last of IDR"),
        (H264, &[0x7c, 0x81, 1], false, "FU-A, first of another"),
        (H264, &[0x7d, 0x87, 1], true, "FU-B, first of SPS"),
        (Vp8, &[0x10, 0x50], true, "first partition of a key frame"),
        (Vp8, &[0x10, 0x51], false, "first partition of an interframe"),
        (Vp8, &[0x00, 0x50], false, "not the start of a partition"),
        (Vp8, &[0x11, 0x50], false, "second partition"),
        (Vp8, &[0x90, 0x80, 0x11, 0x50], true, "short picture id"),
        (Vp8, &[0x90, 0x80, 0x91, 0x22, 0x50], true, "long picture id"),
        (Vp8, &[0x90, 0xe0, 0x91, 0x22, 7, 0x20, 0x50], true, "picture id, TL0PICIDX, TID"),
        (Vp8, &[0x90, 0x10, 0x05, 0x51], false, "KEYIDX, interframe"),
        (Vp8, &[0x90, 0x80], false, "cut off in the descriptor"),
        (Vp8, &[0x10], false, "no frame behind the descriptor"),
        (Vp9, &[0x08, 0], true, "not predicted, start of frame"),
        (Vp9, &[0x00, 0], false, "not the start"),
        (Vp9, &[0x48, 0], false, "predicted"),
        (Vp9, &[0x88, 0x91, 0x22, 0], true, "long picture id"),
        (Vp9, &[0xa8, 0x11, 0x00, 0, 9], true, "lowest spatial layer"),
        (Vp9, &[0xa8, 0x11, 0x02, 0, 9], false, "second spatial layer"),
        (Vp9, &[0xa8, 0x11], false, "cut off in the descriptor"),
        (Av1, &[0x18, 0x0a, 0x0b], true, "N bit"),
        (Av1, &[0x18], false, "N bit and nothing else"),
        (Av1, &[0x98, 0x0a], false, "continues an element"),
        (Av1, &[0x10, 0x0a, 0x0b], true, "one element, a sequence header"),
        (Av1, &[0x10, 0x32, 0x0b], false, "one element, a frame"),
        (Av1, &[0x20, 0x02, 0x0a, 0x0b, 0x32], true, "two elements, the first a sequence header"),
        (Av1, &[0x00, 0x81, 0x00, 0x0a], true, "length of two bytes"),
        (Av1, &[0x20, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], false, "length without end"),
        (Opus, &[0x65], false, "audio has none"),
        (Other, &[0x65], false, "unknown codecs have none"),
    ];
    for (codec, payload, expected, what) in table {
        assert_eq!(is_keyframe(*codec, payload), *expected, "{codec:?}: {what}");
    }
}

#[test]
fn names_are_those_of_sdp() {
    assert_eq!(CodecName::from_name("h264"), H264);
    assert_eq!(CodecName::from_name("VP8"), Vp8);
    assert_eq!(CodecName::from_name("opus"), Opus);
    assert_eq!(CodecName::from_name("G722"), Other);
}

proptest! {
    #[test]
    fn no_bytes_are_too_hostile(payload in prop::collection::vec(any::<u8>(), 0..80)) {
        for codec in [H264, Vp8, Vp9, Av1, Opus, Other] {
            is_keyframe(codec, &payload);
            for cut in 0..payload.len() {
                is_keyframe(codec, &payload[cut..]);
            }
        }
    }

    /// Whatever NAL units a STAP-A holds, it is a keyframe exactly when one of them is.
    #[test]
    fn an_aggregate_is_what_its_units_are(kinds in prop::collection::vec((1u8..24, 1usize..40), 1..8)) {
        let mut payload = vec![0x78];
        for (kind, len) in &kinds {
            payload.extend_from_slice(&u16::try_from(*len).unwrap().to_be_bytes());
            payload.push(*kind);
            payload.resize(payload.len() + len - 1, 0x65);
        }
        prop_assert_eq!(is_keyframe(H264, &payload), kinds.iter().any(|(kind, _)| *kind == 5 || *kind == 7));
    }
}
