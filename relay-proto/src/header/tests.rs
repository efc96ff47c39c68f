use super::*;
use proptest::prelude::*;

fn exts() -> impl Strategy<Value = Extensions> {
    (
        proptest::option::of((0..=127_u8, any::<bool>())),
        proptest::option::of(any::<u8>()),
        proptest::option::of((0..=0xfff_u16, 0..=0xfff_u16)),
        proptest::option::of(any::<u64>()),
    )
        .prop_map(|(audio_level, orientation, playout_delay, abs_capture_time)| Extensions {
            audio_level,
            orientation,
            playout_delay,
            abs_capture_time,
        })
}

prop_compose! {
    fn header()(
        alias: u32, track: u8, layer: u8, codec: u8, timestamp: u32, marker: bool, keyframe: bool,
        index in 0..=varint::MAX, capture in 0..=varint::MAX, exts in exts(),
    ) -> MediaHeader {
        MediaHeader { alias, track, layer, index, timestamp, marker, keyframe, codec, capture, exts }
    }
}

fn part() -> impl Strategy<Value = Option<Part>> {
    proptest::option::of(
        (2..=PARTS_MAX).prop_flat_map(|count| (0..count).prop_map(move |number| Part { number, count })),
    )
}

proptest! {
    #[test]
    fn every_header_comes_back(
        header in header(), part in part(), payload in proptest::collection::vec(any::<u8>(), 0..100),
    ) {
        let mut out = Vec::new();
        write(&mut out, &header, part).unwrap();
        out.extend(&payload);
        let (h, p, rest) = read(out.into()).unwrap();
        prop_assert_eq!(h, header);
        prop_assert_eq!(p, part);
        prop_assert_eq!(&rest[..], &payload[..]);
    }

    #[test]
    fn a_header_cut_anywhere_is_an_error(header in header(), part in part(), at in any::<prop::sample::Index>()) {
        let mut out = Vec::new();
        write(&mut out, &header, part).unwrap();
        out.truncate(at.index(out.len()));
        prop_assert!(read(out.into()).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..64), right_kind: bool) {
        if right_kind && let Some(first) = bytes.first_mut() {
            *first = KIND_MEDIA;
        }
        let _ = read(bytes.into());
    }
}

#[test]
fn extensions_of_newer_versions_are_passed_over() {
    let known = Extensions { orientation: Some(2), ..Extensions::default() };
    assert_eq!(read_extensions(&[99, 2, 1, 2, ORIENTATION, 1, 2, 100, 0, AUDIO_LEVEL, 2, 1, 1]), Ok(known));
    assert!(read_extensions(&[99, 2, 1]).is_err());
}

#[test]
fn an_index_that_no_varint_holds_is_not_sent() {
    let header = MediaHeader {
        alias: 1,
        track: 0,
        layer: 0,
        index: varint::MAX + 1,
        timestamp: 0,
        marker: false,
        keyframe: false,
        codec: 0,
        capture: 0,
        exts: Extensions::default(),
    };
    let too_large = EncodeError::TooLarge { what: "index", value: varint::MAX + 1 };
    assert_eq!(write(&mut Vec::new(), &header, None), Err(too_large));
}

#[test]
fn a_part_outside_its_count_is_refused() {
    let good = [KIND_MEDIA, PART, 1, 0, 0, 0, 5, 0, 0, 0, 0, 0, 1, 2, 9];
    assert_eq!(read(Bytes::copy_from_slice(&good)).unwrap().1, Some(Part { number: 1, count: 2 }));
    for (number, count) in [(2, 2), (0, 1), (0, 0), (0, 65), (200, 255)] {
        let mut bad = good;
        bad[12] = number;
        bad[13] = count;
        assert_eq!(read(Bytes::copy_from_slice(&bad)), Err(DecodeError::Invalid { what: "part" }));
    }
}
