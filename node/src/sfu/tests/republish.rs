//! A publish in another codec while viewers watch.

use std::time::Duration;

use freshet_cluster::room::EndReason;
use str0m::RtcConfig;
use str0m::format::Codec;
use str0m::media::MediaKind::Video;

use super::world::World;
use crate::service::Direction::{Publish, View};
use crate::sfu::Event;

/// 30 pictures, the first of them a keyframe.
fn play(world: &mut World, publisher: usize, codec: Codec, first: u64) {
    for n in 0..30_u32 {
        let start: &[u8] = match (codec, n) {
            (Codec::Vp8, 0) => &[0x10, 0x50, 0x9d, 0x01, 0x2a],
            (Codec::Vp8, _) => &[0x10, 0x51],
            (_, 0) => &[0x65, 0x88],
            _ => &[0x41, 0x9a],
        };
        let mut payload = start.to_vec();
        payload.resize(400, 0);
        world.send(publisher, codec, first + u64::from(n), n * 3_000, payload);
        world.pass(Duration::from_millis(33));
    }
}

/// Another publish of the stream.
fn publish(world: &mut World, generation: u64) -> usize {
    let publisher = world.join(Publish, &[Video]);
    world.claim(publisher, generation);
    world.pass(Duration::from_millis(200));
    publisher
}

/// How many events said that what a viewer shows may have changed.
fn said(world: &mut World, viewer: usize) -> usize {
    let session = world.clients[viewer].session;
    let events = std::iter::from_fn(|| world.sfu.poll_event());
    events.filter(|event| matches!(event, Event::Viewing(of) if *of == session)).count()
}

#[test]
fn who_negotiated_the_codec_goes_on_and_the_others_are_told() {
    let mut world = World::new();
    let first = publish(&mut world, 1);
    let both = world.join(View, &[Video]);
    let h264 = |config: RtcConfig| config.enable_opus(true, false).enable_h264(true);
    let one = world.join_with(View, &[Video], h264);
    for viewer in [both, one] {
        world.sfu.listen(world.clients[viewer].session, true);
    }
    world.pass(Duration::from_millis(200));
    let unplayable = |world: &World, viewer: usize| {
        let session = world.clients[viewer].session;
        let line = world.sfu.viewing(session).unwrap().lines[0].unplayable.clone();
        let state = world.sfu.look(session, None).unwrap().unplayable;
        assert_eq!(state, line.clone().map(|codec| (0, codec)).into_iter().collect::<Vec<_>>());
        line
    };
    play(&mut world, first, Codec::H264, 100);
    for viewer in [both, one] {
        assert!(world.clients[viewer].got.len() > 20);
        assert_eq!(unplayable(&world, viewer), None);
        said(&mut world, viewer);
    }

    let second = publish(&mut world, 2);
    let before = [both, one].map(|viewer| world.clients[viewer].got.len());
    said(&mut world, one);
    play(&mut world, second, Codec::Vp8, 7_000);
    assert!(world.clients[both].got.len() > before[0] + 20, "it goes on in the same session");
    assert_eq!(world.clients[one].got.len(), before[1], "it is sent nothing that it cannot show");
    assert_eq!((unplayable(&world, both), unplayable(&world, one)), (None, Some("VP8".to_owned())));
    assert!((1..=2).contains(&said(&mut world, one)), "it is told, and not with each packet");

    let third = publish(&mut world, 3);
    said(&mut world, one);
    play(&mut world, third, Codec::H264, 9_000);
    assert!(world.clients[one].got.len() > before[1] + 20, "it is shown the next one in its codec");
    assert_eq!((unplayable(&world, both), unplayable(&world, one)), (None, None));
    assert!(!world.clients[both].closed && !world.clients[one].closed);
}

#[test]
fn who_has_no_codec_of_a_publish_at_all_is_told_too() {
    let mut world = World::new();
    let h264 = |config: RtcConfig| config.enable_opus(true, false).enable_h264(true);
    let vp8 = |config: RtcConfig| config.enable_opus(true, false).enable_vp8(true);
    let first = world.join_with(Publish, &[Video], h264);
    world.claim(first, 1);
    let viewer = world.join_with(View, &[Video], h264);
    world.sfu.listen(world.clients[viewer].session, true);
    world.pass(Duration::from_millis(200));
    play(&mut world, first, Codec::H264, 100);
    said(&mut world, viewer);
    let unplayable = |world: &World| {
        let session = world.clients[viewer].session;
        let line = world.sfu.viewing(session).unwrap().lines[0].unplayable.clone();
        let state = world.sfu.look(session, None).unwrap().unplayable;
        assert_eq!(state, line.clone().map(|codec| (0, codec)).into_iter().collect::<Vec<_>>());
        line
    };
    assert_eq!(unplayable(&world), None);
    // As an encoder does that offers one codec alone: not a packet of it can be sent to anybody here.
    let codecs: [fn(RtcConfig) -> RtcConfig; 2] = [vp8, h264];
    for ((generation, codecs), wanted) in (2..).zip(codecs).zip([Some("VP8"), None]) {
        let publisher = world.join_with(Publish, &[Video], codecs);
        world.claim(publisher, generation);
        world.pass(Duration::from_millis(200));
        assert!(said(&mut world, viewer) > 0, "it is told");
        assert_eq!(unplayable(&world).as_deref(), wanted);
    }
    // Nor is anything wrong while nobody publishes.
    assert!(world.sfu.end(world.now, world.clients[3].session, EndReason::Closed));
    world.pass(Duration::from_millis(200));
    assert_eq!(unplayable(&world), None);
}
