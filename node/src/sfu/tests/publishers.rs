//! Publishers as they are: what other programs offer and send arrives, keeps its shape, and is told of.

use std::time::Duration;

use str0m::format::Codec;
use str0m::media::MediaKind::{Audio, Video};

use super::client::payload;
use super::offers::Host;
use super::world::World;
use crate::forward::rtp::parse;
use crate::service::Direction::View;
use freshet_edge::stream_health::StreamHealth;

/// As OBS writes it with one encoding: H.264 High, no RTX, no header extensions.
const OBS: &str = include_str!("../../../../tests/data/offer-obs.sdp");
/// As Safari writes it.
const SAFARI: &str = include_str!("../../../../tests/data/offer-safari.sdp");
/// As GStreamer's `whipsink` writes it: its own names for m-lines, and none for packets.
const GSTREAMER: &str = include_str!("../../../../tests/data/offer-gstreamer.sdp");
/// As ffmpeg's WHIP muxer writes it: the DTLS server, without any feedback.
const FFMPEG: &str = include_str!("../../../../tests/data/offer-ffmpeg.sdp");
/// Of Chromium, which watches.
const VIEWER: &str = include_str!("../../../../tests/data/offer-view.sdp");
/// A datagram that fits an IPv6 path of 1,280 bytes without fragments is shorter.
const DATAGRAM_MAX: usize = 1_250;

fn health(world: &mut World) -> StreamHealth {
    let key = World::key(1);
    world.sfu.health(world.now, &key.room, &key.stream).expect("it is published here")
}

fn reasons(health: &StreamHealth) -> Vec<&str> {
    health.warnings.iter().map(|warning| warning.reason.as_str()).collect()
}

fn track(health: &StreamHealth, kind: &str) -> freshet_edge::stream_health::TrackHealth {
    health.tracks.iter().find(|track| track.kind == kind).unwrap().clone()
}

/// In which place a picture is shown that is sent as the n-th: I P B P B.
fn reordered(n: u32) -> u32 {
    match n {
        0 => 0,
        n if n % 2 == 1 => n + 1,
        n => n - 1,
    }
}

#[test]
fn what_obs_safari_gstreamer_and_ffmpeg_offer_works_and_their_bframes_are_forwarded_and_named() {
    for (name, offer, bframes) in [
        ("OBS", OBS, true),
        ("Safari", SAFARI, false),
        ("GStreamer", GSTREAMER, true),
        ("ffmpeg", FFMPEG, false),
    ] {
        let mut host = Host::new(offer, Codec::H264);
        for other in [" red/", " ulpfec/", " CN/", " H265/", " PCMU/", " telephone-event/"] {
            assert!(!host.answer().contains(other), "{name} is answered {other}");
        }
        let viewer = host.world.join(View, &[Audio, Video]);
        let place = |n: u32| if bframes { reordered(n) } else { n };
        host.write(100, 900_000, payload(Video, 100, true));
        host.world.pass(Duration::from_millis(300));
        for n in 1..151_u32 {
            host.write(
                100 + u64::from(n),
                900_000 + place(n) * 3_000,
                payload(Video, 100 + u64::from(n), false),
            );
        }
        let got = &host.world.clients[viewer].got;
        let (video, audio): (Vec<_>, Vec<_>) = got.iter().partition(|packet| packet.payload.len() > 200);
        assert!(audio.len() >= 148, "{name}: {} packets of sound", audio.len());
        assert_eq!(video.len(), 151, "{name}");
        for (n, packet) in video.iter().enumerate() {
            let n = u32::try_from(n).unwrap();
            assert_eq!(packet.payload[..], payload(Video, 100 + u64::from(n), n == 0), "{name} {n}");
            let shown = packet.header.timestamp.wrapping_sub(video[0].header.timestamp);
            assert_eq!(shown, place(n) * 3_000, "{name} {n}: shown when the host wants it");
        }
        let health = health(&mut host.world);
        let (sound, picture) = (track(&health, "audio"), track(&health, "video"));
        assert_eq!(sound.codec.unwrap().to_ascii_lowercase(), "opus", "{name}");
        assert_eq!(picture.codec.as_deref(), Some("H264"), "{name}");
        let layer = &picture.layers[0];
        assert_eq!(layer.bframes, bframes, "{name}");
        assert_eq!(reasons(&health).contains(&"bframes"), bframes, "{name}: {:?}", health.warnings);
        assert!((200_000..260_000).contains(&layer.bitrate_bps), "{name}: {layer:?}");
        assert!((27.0..32.0).contains(&layer.fps.unwrap()), "{name}: {layer:?}");
        assert_eq!((layer.lost_packets, layer.oversized_packets), (0, 0), "{name}");
    }
}

#[test]
fn sound_keeps_its_channels_rate_silence_and_repair_in_both_answers() {
    let parameters = |answer: &str| {
        let opus =
            |name: &str| answer.lines().find_map(|line| line.strip_prefix("a=rtpmap:")?.strip_suffix(name));
        let pt = opus(" opus/48000/2").or_else(|| opus(" OPUS/48000/2")).expect("two channels");
        let line = answer.lines().find_map(|line| line.strip_prefix(&format!("a=fmtp:{pt} ")));
        let mut all: Vec<String> = line.unwrap_or_default().split(';').map(|p| p.trim().to_owned()).collect();
        all.sort_unstable();
        all
    };
    let said = |all: Vec<String>, wanted: &[&str]| {
        assert!(wanted.iter().all(|one| all.iter().any(|p| p == one)), "{all:?} lacks one of {wanted:?}");
    };
    let host = Host::new(OBS, Codec::H264);
    let wanted = ["maxaveragebitrate=160000", "sprop-stereo=1", "stereo=1", "useinbandfec=1", "minptime=10"];
    said(parameters(host.answer()), &wanted);
    said(parameters(Host::new(GSTREAMER, Codec::H264).answer()), &["sprop-stereo=1", "stereo=1", "usedtx=1"]);

    // The second of a kind is answered from what the first got.
    let mut world = host.world;
    for rate in [128_000, 128_000, 510_000] {
        let own = format!("stereo=1;sprop-stereo=1;usedtx=1;maxaveragebitrate={rate}");
        let offer = VIEWER.replace("useinbandfec=1", &format!("useinbandfec=1;{own}"));
        let (_, answer) = world.ask(View, offer);
        let rate = format!("maxaveragebitrate={rate}");
        said(parameters(&answer), &["stereo=1", "sprop-stereo=1", "usedtx=1", "useinbandfec=1", &rate]);
        for other in [" red/", " ulpfec/", " CN/", " telephone-event/"] {
            assert!(!answer.contains(other), "{answer}");
        }
    }
    let (_, plain) = world.ask(View, VIEWER.to_owned());
    assert!(!plain.contains("maxaveragebitrate") && !plain.contains("stereo"), "nothing is made up: {plain}");
}

#[test]
fn what_came_in_1200_bytes_goes_out_in_1250_and_longer_packets_are_counted() {
    let mut host = Host::new(OBS, Codec::H264);
    let viewer = host.world.join(View, &[Video]);
    host.write(99, 0, payload(Video, 99, true));
    host.world.pass(Duration::from_millis(300));
    host.world.clients[viewer].lose_every = Some(4);
    host.world.clients[viewer].wire.clear();
    let header = parse(&host.world.clients[0].last_sent).unwrap().header_len;
    let long = |len: usize| [vec![0x41], vec![7; len - header - 1]].concat();
    for n in 100..160_u32 {
        host.write(n.into(), n * 3_000, long(1_200));
    }
    host.world.clients[viewer].lose_every = None;
    host.world.pass(Duration::from_millis(300));
    assert!(host.world.sfu.counters().rtx_packets > 5, "some went again, with a number more in them");
    let longest = host.world.clients[viewer].wire.iter().map(|(_, len)| *len).max().unwrap();
    assert!((1_200..=DATAGRAM_MAX).contains(&longest), "{longest}");
    let before = health(&mut host.world);
    assert_eq!(track(&before, "video").layers[0].oversized_packets, 0);
    assert!(!reasons(&before).contains(&"oversized-packets"));
    host.write(160, 480_000, long(1_201));
    let after = health(&mut host.world);
    assert_eq!(track(&after, "video").layers[0].oversized_packets, 1);
    assert!(reasons(&after).contains(&"oversized-packets"), "{:?}", after.warnings);
}

#[test]
fn a_long_keyframe_interval_is_told_of_each_layer_and_not_of_answers_to_another_ones_request() {
    const LAYERS: [&str; 2] = ["q", "f"];
    let mut world = World::with_layers(&LAYERS);
    let mut nth = 0_u32;
    // As libwebrtc does: all layers have a keyframe when one is asked for.
    let mut keyframes = |world: &mut World, asked: bool| {
        world.pass(Duration::from_millis(3_500));
        if asked {
            world.sfu.handle_keyframe_request(world.now, &World::key(1), (0, 0));
        }
        world.pass(Duration::from_secs(1));
        for name in LAYERS {
            let (numbers, ts) = ((1_000 + u64::from(nth), 1), nth * 405_000);
            world.layer_frame_of(0, (Codec::H264, name), numbers, ts, |_, _| vec![0x65; 300]);
        }
        nth += 1;
        let warnings = health(world).warnings.into_iter();
        let of_keyframes = warnings.filter(|warning| warning.reason == "keyframe-interval");
        of_keyframes.map(|warning| warning.text).collect::<Vec<_>>()
    };
    assert!(keyframes(&mut world, false).is_empty());
    assert!(keyframes(&mut world, false).is_empty());
    let told = keyframes(&mut world, false);
    assert_eq!(told.len(), 2, "{told:?}");
    for (name, text) in LAYERS.iter().zip(&told) {
        assert!(text.starts_with(&format!("video layer {name}: its keyframes come 4")), "{text}");
        assert!(text.ends_with("set the encoder's keyframe interval to 2 s"), "{text}");
    }
    for _ in 0..3 {
        let told = keyframes(&mut world, true);
        assert!(told.is_empty(), "{told:?}");
    }
}
