//! The annotated examples in `docs/relay.md` are what this code writes, byte by byte.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use freshet_cluster::{Generation, Incarnation};
use freshet_relay_proto::control::{Announce, Control, Hello};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use freshet_relay_proto::split::split;
use freshet_relay_proto::track::{CodecInfo, MediaKind, TrackInfo};

const PAGE: &str = include_str!("../../docs/relay.md");

/// Renders fields as the page shows them.
fn render(fields: &[(&[u8], &str)]) -> String {
    let line = |(bytes, what): &(&[u8], &str)| {
        let hex: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
        format!("{:<36}{what}\n", hex.join(" "))
    };
    fields.iter().map(line).collect()
}

fn check(name: &str, written: &[u8], fields: &[(&[u8], &str)]) {
    let bytes: Vec<u8> = fields.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect();
    assert_eq!(bytes, written, "{name}: the code writes something else than the test says");
    let block = format!("```text\n{}```", render(fields));
    assert!(PAGE.contains(&block), "docs/relay.md lacks the example of {name}. It should be:\n{block}");
}

#[test]
fn hello() {
    let (node, incarnation) = ("eu-1".parse().unwrap(), Incarnation::from_bits(0x0123_4567_89ab_cdef));
    let frame = Control::Hello(Hello { v: 1, min_v: 1, node, incarnation });
    let fields: &[(&[u8], &str)] = &[
        (&[0x01], "type: Hello"),
        (&[0x0f], "length: 15"),
        (&[0x01], "version 1"),
        (&[0x01], "understands version 1 and later"),
        (&[0x04, b'e', b'u', b'-', b'1'], "node: 4 bytes, eu-1"),
        (&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef], "incarnation"),
    ];
    check("Hello", &frame.encode().unwrap(), fields);
}

#[test]
fn announce() {
    let codec =
        CodecInfo { name: "opus".into(), clock_rate: 48_000, channels: 2, fmtp: "useinbandfec=1".into() };
    let frame = Control::Announce(Announce {
        room: "expo".parse().unwrap(),
        stream: "main".parse().unwrap(),
        generation: Generation(0x0199_0000_0001),
        alias: 300,
        origin: "eu-1".parse().unwrap(),
        origin_incarnation: Incarnation::from_bits(0x0123_4567_89ab_cdef),
        path: vec!["eu-1".parse().unwrap(), "eu-2".parse().unwrap()],
        identity: "Ann".parse().unwrap(),
        started_at_ms: 0x0199_0000_0000,
        tracks: vec![TrackInfo { id: 0, kind: MediaKind::Audio, codecs: vec![codec], layers: Vec::new() }],
    });
    let fields: &[(&[u8], &str)] = &[
        (&[0x04], "type: Announce"),
        (&[0x40, 0x58], "length: 88"),
        (&[0x04, b'e', b'x', b'p', b'o'], "room: expo"),
        (&[0x04, b'm', b'a', b'i', b'n'], "stream: main"),
        (&[0, 0, 0x01, 0x99, 0, 0, 0, 0x01], "generation"),
        (&[0x41, 0x2c], "alias: 300"),
        (&[0x04, b'e', b'u', b'-', b'1'], "origin: eu-1"),
        (&[0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef], "incarnation of the origin"),
        (&[0x02], "path: 2 nodes"),
        (&[0x04, b'e', b'u', b'-', b'1'], "eu-1"),
        (&[0x04, b'e', b'u', b'-', b'2'], "eu-2"),
        (&[0x03, b'A', b'n', b'n'], "identity: Ann"),
        (&[0, 0, 0x01, 0x99, 0, 0, 0, 0], "claimed at, ms since 1970"),
        (&[0x01], "tracks: 1"),
        (&[0x1e], "length of the track: 30"),
        (&[0x00], "track 0"),
        (&[0x00], "audio"),
        (&[0x01], "codecs: 1"),
        (&[0x19], "length of the codec: 25"),
        (&[0x04, b'o', b'p', b'u', b's'], "name: opus"),
        (&[0x80, 0x00, 0xbb, 0x80], "clock rate: 48000"),
        (&[0x02], "channels: 2"),
        (&[0x0e], "length of fmtp: 14"),
        (b"useinba", "fmtp: useinba"),
        (b"ndfec=1", "fmtp: ndfec=1"),
        (&[0x00], "layers: 0"),
    ];
    check("Announce", &frame.encode().unwrap(), fields);
}

const HEADER: MediaHeader = MediaHeader {
    alias: 300,
    track: 1,
    layer: 0,
    index: 70_000,
    timestamp: 0x0001_5f90,
    marker: true,
    keyframe: true,
    codec: 0,
    capture: 1_790_000_000_123_456,
    exts: Extensions {
        audio_level: None,
        orientation: Some(1),
        playout_delay: Some((0, 40)),
        abs_capture_time: Some(0xee62_ba80_1f9a_dd37),
    },
};

#[test]
fn datagram() {
    let written = split(&HEADER, b"media", 1_200).unwrap();
    let fields: &[(&[u8], &str)] = &[
        (&[0x10], "version 1, kind 0: media"),
        (&[0x0b], "flags: marker, keyframe, extensions"),
        (&[0x41, 0x2c], "alias: 300"),
        (&[0x01], "track 1"),
        (&[0x00], "layer 0"),
        (&[0x00], "codec: the first of the track"),
        (&[0x80, 0x01, 0x11, 0x70], "index: 70000"),
        (&[0x00, 0x01, 0x5f, 0x90], "RTP timestamp"),
        (&[0xc0, 0x06, 0x5b, 0xfe, 0xda, 0x27, 0xc2, 0x40], "captured at, us since 1970"),
        (&[0x12], "extensions: 18 bytes"),
        (&[0x02, 0x01, 0x01], "orientation, 1 byte"),
        (&[0x03, 0x03, 0x00, 0x00, 0x28], "playout delay, 3 bytes: 0 to 400 ms"),
        (&[0x04, 0x08, 0xee, 0x62, 0xba, 0x80, 0x1f, 0x9a, 0xdd, 0x37], "abs-capture-time, 8 bytes"),
        (b"media", "payload"),
    ];
    assert_eq!(written.len(), 1);
    check("a datagram", written.first().unwrap(), fields);
}

#[test]
fn part() {
    let exts = Extensions::default();
    let header = MediaHeader { marker: false, exts, ..HEADER };
    let written = split(&header, &[0xaa; 2_000], 1_200).unwrap();
    let fields: &[(&[u8], &str)] = &[
        (&[0x10], "version 1, kind 0: media"),
        (&[0x06], "flags: keyframe, part"),
        (&[0x41, 0x2c], "alias: 300"),
        (&[0x01, 0x00, 0x00], "track 1, layer 0, codec 0"),
        (&[0x80, 0x01, 0x11, 0x70], "index: 70000"),
        (&[0x00, 0x01, 0x5f, 0x90], "RTP timestamp"),
        (&[0xc0, 0x06, 0x5b, 0xfe, 0xda, 0x27, 0xc2, 0x40], "captured at, us since 1970"),
        (&[0x01], "part 1, the second"),
        (&[0x02], "of 2"),
    ];
    assert_eq!(written.len(), 2);
    let second = written.last().unwrap();
    let payload = second.len() - 1_000;
    check("a part", second.get(..payload).unwrap(), fields);
}
