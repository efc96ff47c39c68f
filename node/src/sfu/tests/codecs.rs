//! Every codec that is forwarded, one publish after another, to a viewer that keeps its session.

use std::time::Duration;

use freshet_cluster::room::EndReason;
use str0m::RtcConfig;
use str0m::format::{Codec, FormatParams};
use str0m::media::Frequency;
use str0m::media::MediaKind::{Audio, Video};

use super::world::World;
use crate::service::Direction::{Publish, View};

/// A codec, the first bytes of a keyframe's packet, and those of another frame's.
const CODECS: [(Codec, &[u8], &[u8]); 5] = [
    (Codec::Vp8, &[0x10, 0x50], &[0x10, 0x51]),
    (Codec::H264, &[0x65, 0x88], &[0x41, 0x9a]),
    (Codec::Vp9, &[0x08, 0x00], &[0x48, 0x00]),
    (Codec::Av1, &[0x18, 0x0a, 0x0b], &[0x10, 0x32, 0x0b]),
    (Codec::Vp8, &[0x10, 0x50], &[0x10, 0x51]),
];

/// The same codecs as everybody's, under other payload types.
fn numbered_otherwise(mut config: RtcConfig) -> RtcConfig {
    let codecs = config.codec_config();
    let rate = Frequency::NINETY_KHZ;
    for (pt, codec) in [(40_u8, Codec::Av1), (42, Codec::Vp9), (44, Codec::Vp8)] {
        let again = Some((pt + 1).into());
        codecs.add_config(pt.into(), again, codec, rate, None, FormatParams::default());
    }
    // Of no profile that the publisher has, one in each packetization mode.
    codecs.add_h264(46.into(), Some(47.into()), false, 0x58_00_1f);
    codecs.add_h264(48.into(), Some(49.into()), true, 0x58_00_1f);
    config.enable_opus(true, false)
}

fn payload(start: &[u8], seq: u64) -> Vec<u8> {
    let mut bytes = start.to_vec();
    bytes.extend((0..700_u64).map(|n| (n ^ seq) as u8));
    bytes
}

#[test]
fn a_republish_in_another_codec_reaches_the_same_viewer_whole() {
    let mut world = World::new();
    let viewer = world.join_with(View, &[Audio, Video], numbered_otherwise);
    let answer = world.clients[viewer].answer.clone();
    for (generation, (codec, key, other)) in CODECS.into_iter().enumerate() {
        let publisher = world.join(Publish, &[Audio, Video]);
        world.claim(publisher, 1 + generation as u64);
        world.pass(Duration::from_millis(200));
        let before = world.clients[viewer].got.len();
        let mut sent = Vec::new();
        for frame in 0..20_u64 {
            let bytes = payload(if frame == 0 { key } else { other }, frame);
            let ts = 90_000 * generation as u32 + 3_000 * frame as u32;
            world.send(publisher, codec, 1_000 + frame, ts, bytes.clone());
            sent.push(bytes);
            world.pass(Duration::from_millis(30));
        }
        let theirs = world.clients[publisher].tx_of(Video, codec).0;
        let client = &world.clients[viewer];
        let got: Vec<_> = client.got[before..].iter().filter(|p| p.payload.len() > 200).collect();
        let payloads: Vec<&[u8]> = got.iter().map(|p| &p.payload[..]).collect();
        assert_eq!(payloads, sent, "{codec:?}");
        for packet in got {
            let pt = packet.header.payload_type;
            let known = client.rtc.codec_config().find(|params| params.pt() == pt).expect("its own number");
            assert_eq!(known.spec().codec, codec);
            if codec == Codec::H264 {
                let mode = |client: &super::client::Client, pt| {
                    let params = client.rtc.codec_config().find(|params| params.pt() == pt).unwrap();
                    params.spec().format.packetization_mode
                };
                let sent = mode(&world.clients[publisher], theirs);
                assert_eq!(mode(client, pt), sent, "matched by packetization mode");
            }
            assert_ne!(pt, theirs, "the publisher's numbers never reach a viewer");
        }
        let session = world.clients[publisher].session;
        assert!(world.sfu.end(world.now, session, EndReason::Closed));
        world.pass(Duration::from_millis(300));
    }
    assert_eq!(world.clients[viewer].answer, answer, "one session for all of them");
    assert!(!world.clients[viewer].closed);
}

/// Of a publisher's answer and a viewer's alike.
fn answers() -> Vec<String> {
    let mut world = World::new();
    let both = [world.join(Publish, &[Audio, Video]), world.join(View, &[Audio, Video])];
    both.iter().map(|client| world.clients[*client].answer.clone()).collect()
}

/// The payload types of an answer's `a=rtpmap` lines of a codec.
fn numbers<'a>(answer: &'a str, codec: &str) -> Vec<&'a str> {
    let maps = answer.lines().filter_map(|line| line.strip_prefix("a=rtpmap:"));
    maps.filter_map(|line| line.split_once(' '))
        .filter(|(_, name)| *name == codec)
        .map(|(pt, _)| pt)
        .collect()
}

#[test]
fn an_answer_keeps_every_codec_of_the_offer_with_its_retransmissions() {
    for answer in answers() {
        let rtx = numbers(&answer, "rtx/90000");
        for codec in ["H264/90000", "VP8/90000", "VP9/90000", "AV1/90000"] {
            let all = numbers(&answer, codec);
            assert!(!all.is_empty(), "{codec} in {answer}");
            for pt in all {
                let again = rtx.iter().filter(|rtx| answer.contains(&format!("a=fmtp:{rtx} apt={pt}\r\n")));
                assert_eq!(again.count(), 1, "retransmissions of {codec} {pt} in {answer}");
            }
        }
    }
}

/// A picture of VP8 of one packet, with PictureID, TL0PICIDX and KEYIDX.
fn vp8(id: u16, tl0: u8, keyidx: u8, key: bool) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    payload(&[0x90, 0xf0, 0x80 | high, low, tl0, keyidx, 0x50 | u8::from(!key)], u64::from(id))
}

#[test]
fn vp8_counts_on_from_one_publish_to_the_next_for_those_who_watch_both() {
    let mut world = World::new();
    let viewer = world.join_with(View, &[Audio, Video], numbered_otherwise);
    let mut sent = Vec::new();
    for (generation, (id, tl0, key)) in
        [(1, (0x7ffa_u16, 251_u8, 31_u8)), (2, (77, 9, 4)), (3, (0x4000, 200, 4))]
    {
        let publisher = world.join(Publish, &[Audio, Video]);
        world.claim(publisher, generation);
        world.pass(Duration::from_millis(200));
        for frame in 0..10_u8 {
            let bytes = vp8((id + u16::from(frame)) & 0x7fff, tl0.wrapping_add(frame), key, frame == 0);
            world.send(
                publisher,
                Codec::Vp8,
                1_000 + u64::from(frame),
                3_000 * u32::from(frame),
                bytes.clone(),
            );
            sent.push(bytes);
            world.pass(Duration::from_millis(30));
        }
        let session = world.clients[publisher].session;
        assert!(world.sfu.end(world.now, session, EndReason::Closed));
        world.pass(Duration::from_millis(300));
    }
    let got: Vec<Vec<u8>> =
        world.clients[viewer].got.iter().map(|p| p.payload.to_vec()).filter(|p| p.len() > 200).collect();
    assert_eq!(got.len(), sent.len());
    for (n, (got, sent)) in got.iter().zip(&sent).enumerate() {
        let [high, low] = (0x7ffa_u16.wrapping_add(n as u16) & 0x7fff).to_be_bytes();
        let (tl0, key) = (251_u8.wrapping_add(n as u8), (31 + n / 10) as u8 & 0x1f);
        assert_eq!(got[..6], [0x90, 0xf0, 0x80 | high, low, tl0, key], "picture {n}");
        assert_eq!(got[6..], sent[6..], "nothing else of picture {n} is touched");
    }
}
