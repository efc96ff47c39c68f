use super::*;
use crate::frame::FrameDecoder;
use crate::track::{CodecInfo, MediaKind};
use crate::varint;
use proptest::collection::vec;
use proptest::prelude::*;

fn id<T: std::str::FromStr<Err = freshet_cluster::id::IdError> + std::fmt::Debug>() -> impl Strategy<Value = T>
{
    "[A-Za-z0-9_-]{1,64}".prop_map(|s| s.parse().unwrap())
}

fn incarnation() -> impl Strategy<Value = Incarnation> {
    any::<u64>().prop_map(Incarnation::from_bits)
}

fn codec() -> impl Strategy<Value = CodecInfo> {
    ("[A-Za-z0-9/]{0,32}", any::<u32>(), any::<u8>(), "[ -~]{0,512}")
        .prop_map(|(name, clock_rate, channels, fmtp)| CodecInfo { name, clock_rate, channels, fmtp })
}

fn track() -> impl Strategy<Value = TrackInfo> {
    let kind = prop_oneof![Just(MediaKind::Audio), Just(MediaKind::Video)];
    (any::<u8>(), kind, vec(codec(), 0..4), vec("[a-z0-9]{1,32}", 0..4))
        .prop_map(|(id, kind, codecs, layers)| TrackInfo { id, kind, codecs, layers })
}

prop_compose! {
    fn announce()(
        room in id(), stream in id(), generation: u64, alias: u32, origin in id(),
        origin_incarnation in incarnation(), path in vec(id(), 0..=PATH_MAX),
        identity in "[^\\p{Cc}]{1,128}", started_at_ms: u64, tracks in vec(track(), 0..4),
    ) -> Announce {
        Announce {
            room, stream, generation: Generation(generation), alias, origin, origin_incarnation, path,
            identity: identity.parse().unwrap(), started_at_ms, tracks,
        }
    }
}

fn end_reason() -> impl Strategy<Value = EndReason> {
    (0..8_u8).prop_map(code::end_reason)
}

fn control() -> impl Strategy<Value = Control> {
    let range = (any::<u64>(), 1..=RANGE_LEN_MAX).prop_map(|(first, count)| IndexRange { first, count });
    prop_oneof![
        (any::<u32>(), any::<u32>(), id(), incarnation())
            .prop_map(|(v, min_v, node, incarnation)| Control::Hello(Hello { v, min_v, node, incarnation })),
        (id(), any::<u64>()).prop_map(|(room, e)| Control::RoomJoin { room, epoch: Epoch(e) }),
        id().prop_map(|room| Control::RoomLeave { room }),
        announce().prop_map(Control::Announce),
        (id(), id(), any::<u64>(), end_reason()).prop_map(|(room, stream, g, reason)| Control::Withdraw {
            room,
            stream,
            generation: Generation(g),
            reason
        }),
        (any::<(u32, u8, u8)>(), any::<Option<u64>>())
            .prop_map(|((alias, track, layer), from)| Control::Subscribe { alias, track, layer, from }),
        any::<(u32, u8, u8)>().prop_map(|(alias, track, layer)| Control::Unsubscribe { alias, track, layer }),
        any::<(u32, u8, u8)>().prop_map(|(alias, track, layer)| Control::KeyframeRequest {
            alias,
            track,
            layer
        }),
        (any::<(u32, u8, u8)>(), vec(range, 0..=RANGES_MAX))
            .prop_map(|((alias, track, layer), ranges)| Control::Nack { alias, track, layer, ranges }),
        (any::<u32>(), any::<u8>())
            .prop_map(|(alias, c)| Control::Refuse { alias, code: RefuseCode::from_code(c) }),
        any::<u8>().prop_map(|c| Control::Goaway { reason: GoawayReason::from_code(c) }),
        any::<u64>().prop_map(|nonce| Control::Ping { nonce }),
        any::<u64>().prop_map(|nonce| Control::Pong { nonce }),
        any::<[u64; 3]>().prop_map(|[sent, received, dropped]| Control::Stats(Stats {
            sent,
            received,
            dropped
        })),
        (any::<u32>(), vec(any::<(u8, u8, u32)>(), 0..=RATES_MAX)).prop_map(|(alias, rates)| {
            let rate = |(track, layer, kbps)| LayerRate { track, layer, kbps };
            Control::Layers { alias, rates: rates.into_iter().map(rate).collect() }
        }),
    ]
}

fn raw(bytes: &[u8]) -> RawFrame {
    let mut decoder = FrameDecoder::default();
    assert!(decoder.feed(bytes));
    decoder.next_frame().unwrap().unwrap()
}

proptest! {
    #[test]
    fn every_frame_comes_back(control in control()) {
        let frame = raw(&control.encode().unwrap());
        prop_assert_eq!(Control::decode(&frame).unwrap(), Some(control));
    }

    #[test]
    fn fields_of_newer_versions_are_passed_over(control in control(), tail in vec(any::<u8>(), 0..40)) {
        let frame = raw(&control.encode().unwrap());
        let longer = RawFrame { kind: frame.kind, body: [&frame.body[..], &tail].concat().into() };
        prop_assert_eq!(Control::decode(&longer).unwrap(), Some(control));
    }

    #[test]
    fn a_frame_cut_anywhere_is_an_error(control in control(), at in any::<prop::sample::Index>()) {
        let frame = raw(&control.encode().unwrap());
        let cut = RawFrame { kind: frame.kind, body: frame.body.slice(..at.index(frame.body.len())) };
        prop_assert!(Control::decode(&cut).is_err());
    }

    #[test]
    fn no_bytes_make_it_panic(kind in 0..20_u64, body in vec(any::<u8>(), 0..300)) {
        let _ = Control::decode(&RawFrame { kind, body: body.into() });
    }

    #[test]
    fn flipped_bytes_never_panic(control in control(), at in any::<prop::sample::Index>(), with: u8) {
        let frame = raw(&control.encode().unwrap());
        let mut body = frame.body.to_vec();
        let at = at.index(body.len());
        body[at] = with;
        let _ = Control::decode(&RawFrame { kind: frame.kind, body: body.into() });
    }
}

#[test]
fn a_frame_of_unknown_type_is_passed_over() {
    let frame = RawFrame { kind: varint::MAX, body: vec![1, 2, 3].into() };
    assert_eq!(Control::decode(&frame), Ok(None));
}

fn sample() -> Announce {
    Announce {
        room: "r".parse().unwrap(),
        stream: "s".parse().unwrap(),
        generation: Generation(1),
        alias: 1,
        origin: "a".parse().unwrap(),
        origin_incarnation: Incarnation::from_bits(1),
        path: vec!["a".parse().unwrap()],
        identity: "x".parse().unwrap(),
        started_at_ms: 1,
        tracks: Vec::new(),
    }
}

fn video(codecs: usize, fmtp: usize) -> TrackInfo {
    let codec = CodecInfo { name: "H264".into(), clock_rate: 90_000, channels: 1, fmtp: "f".repeat(fmtp) };
    TrackInfo { id: 0, kind: MediaKind::Video, codecs: vec![codec; codecs], layers: Vec::new() }
}

#[test]
fn what_is_over_a_limit_is_not_sent() {
    let path = Announce { path: vec!["a".parse().unwrap(); PATH_MAX + 1], ..sample() };
    let tracks = Announce { tracks: vec![video(1, 0); track::TRACKS_MAX + 1], ..sample() };
    let codecs = Announce { tracks: vec![video(track::CODECS_MAX + 1, 0)], ..sample() };
    let fmtp = Announce { tracks: vec![video(1, track::FMTP_MAX + 1)], ..sample() };
    for (what, announce) in [("path", path), ("tracks", tracks), ("codecs", codecs), ("fmtp", fmtp)] {
        let refused = Control::Announce(announce).encode().unwrap_err();
        assert!(matches!(refused, EncodeError::TooLong { what: w, .. } if w == what), "{what}: {refused}");
    }
    let range = IndexRange { first: 0, count: 1 };
    let nack = Control::Nack { alias: 1, track: 0, layer: 0, ranges: vec![range; RANGES_MAX + 1] };
    assert!(nack.encode().is_err());
}

#[test]
fn what_is_over_a_limit_is_not_read() {
    // A path that says it has 17 nodes, with enough bytes for them.
    let frame = raw(&Control::Announce(sample()).encode().unwrap());
    let mut body = frame.body.to_vec();
    let at = 2 + 2 + 8 + 1 + 2 + 8;
    assert_eq!(body[at], 1, "the path's length");
    body[at] = 17;
    body.extend([1, b'a'].repeat(20));
    let refused = Control::decode(&RawFrame { kind: frame.kind, body: body.into() });
    assert_eq!(refused, Err(DecodeError::TooLong { what: "path", len: 17, max: PATH_MAX }));
    // A range of no packets, and one of more than may be asked for.
    for count in [0, 1_025] {
        let nack =
            Control::Nack { alias: 1, track: 0, layer: 0, ranges: vec![IndexRange { first: 5, count }] };
        assert!(Control::decode(&raw(&nack.encode().unwrap())).is_err());
    }
}

#[test]
fn a_track_of_a_kind_from_the_future_is_left_out() {
    let announce = Announce { tracks: vec![video(1, 3), video(2, 0)], ..sample() };
    let frame = raw(&Control::Announce(announce).encode().unwrap());
    let mut body = frame.body.to_vec();
    let at = body.windows(2).position(|w| w == [0, 1]).unwrap();
    let at = body[at..].windows(6).position(|w| w[1..] == [0, 1, 1, 14, 4]).unwrap() + at;
    body[at + 2] = 9;
    let Ok(Some(Control::Announce(read))) =
        Control::decode(&RawFrame { kind: frame.kind, body: body.into() })
    else {
        panic!("not an announcement");
    };
    assert_eq!(read.tracks, vec![video(2, 0)]);
}

#[test]
fn a_node_finds_itself_in_a_path() {
    let announce = Announce { path: vec!["a".parse().unwrap(), "b".parse().unwrap()], ..sample() };
    for (node, passed) in [("a", true), ("b", true), ("c", false)] {
        assert_eq!(announce.passed(&node.parse().unwrap()), passed, "{node}");
    }
}
