//! What gets lost on the way from a publisher, and on the way to a viewer without RTX, is sent again.

use std::collections::HashMap;
use std::time::Duration;

use str0m::RtcConfig;
use str0m::media::MediaKind::{Audio, Video};

use super::client::{payload, usual};
use super::world::World;
use crate::media::ring::RingConfig;
use crate::service::Direction::{Publish, View};
use crate::sfu::types::Repeat;

const MS: Duration = Duration::from_millis(1);
const FRAMES: u32 = 60;
const PACKETS: u64 = 4;
const FIRST: u64 = 100;

/// H.264 with NACK and without RTX, as hardware encoders and OBS have it.
fn plain(mut config: RtcConfig) -> RtcConfig {
    config.codec_config().add_h264(96.into(), None, true, 0x42_e0_1f);
    config.enable_opus(true, false).enable_raw_packets(true)
}

/// A second and a half of frames: less than what a ring keeps. The last ones come through, so that every hole shows.
fn play(world: &mut World) {
    for frame in 0..FRAMES {
        if frame + 3 == FRAMES {
            world.clients.iter_mut().for_each(|client| client.lose_sent_every = None);
            world.clients.iter_mut().for_each(|client| client.lose_every = None);
        }
        world.frame(0, Video, FIRST + u64::from(frame) * PACKETS, PACKETS, frame * 3_000, frame == 0);
        world.pass(MS * 25);
    }
    world.pass(MS * 300);
}

fn sent() -> Vec<Vec<u8>> {
    (FIRST..FIRST + u64::from(FRAMES) * PACKETS).map(|seq| payload(Video, seq, seq == FIRST)).collect()
}

/// What a viewer got, in the order of its numbers.
fn got(world: &World, viewer: usize) -> Vec<Vec<u8>> {
    let mut got: Vec<_> = world.clients[viewer].got.iter().collect();
    got.sort_by_key(|packet| *packet.seq_no);
    got.iter().map(|packet| packet.payload.to_vec()).collect()
}

#[test]
fn what_a_publisher_loses_is_asked_for_again_with_rtx_and_without() {
    for with_rtx in [true, false] {
        let mut world = World::new();
        let publisher = if with_rtx {
            world.join_with(Publish, &[Audio, Video], |config| usual(config).enable_raw_packets(true))
        } else {
            world.join_with(Publish, &[Audio, Video], plain)
        };
        world.claim(publisher, 1);
        world.pass(MS * 200);
        let viewer = world.join(View, &[Video]);
        world.pass(MS * 200);
        let client = &mut world.clients[publisher];
        client.lose_sent_every = Some(20);
        client.repeats = (!with_rtx).then(HashMap::new);
        play(&mut world);
        let lost = world.clients[publisher].sent_lost;
        assert!(lost >= 10, "{lost} were lost");

        let lane = world.sfu.lane_of(&World::key(1), (1, 0)).unwrap();
        let ring = &world.sfu.lanes.get(lane).unwrap().ring;
        let came: Vec<u64> = (0..).map_while(|n| ring.arrived(n)).map(|packet| packet.index).collect();
        let mut indexes = came.clone();
        indexes.sort_unstable();
        let all: Vec<u64> = (FIRST..FIRST + u64::from(FRAMES) * PACKETS).collect();
        assert_eq!(indexes, all, "with RTX {with_rtx}: all come into the ring");
        let late = came.windows(2).filter(|pair| pair[1] < pair[0]).count();
        assert!(late >= 5, "with RTX {with_rtx}: some come late: {late}");

        assert_eq!(got(&world, viewer), sent(), "with RTX {with_rtx}");
        assert_eq!(world.sfu.counters().egress_packets, all.len() as u64, "each once");
        // Nothing waits for what comes late: viewers get packets in the order in which they came.
        let client = &world.clients[viewer];
        let first = *client.got[0].seq_no;
        let order: Vec<u64> = client.got.iter().map(|packet| *packet.seq_no - first + FIRST).collect();
        assert_eq!(order, came, "with RTX {with_rtx}");
    }
}

#[test]
fn a_viewer_without_rtx_is_sent_the_very_same_packets_again() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(MS * 200);
    let viewer = world.join_with(View, &[Video], plain);
    assert!(!world.clients[viewer].answer.contains("rtx"), "{}", world.clients[viewer].answer);
    world.pass(MS * 200);
    world.frame(0, Video, FIRST - 1, 1, 0, true);
    // str0m asks for nothing where there is no RTX, unless it is told to.
    let client = &mut world.clients[viewer];
    let mid = client.mids[0].1;
    client.rtc.direct_api().stream_rx_by_mid(mid, None).unwrap().suppress_nack(false);
    client.got.clear();
    client.lose_every = Some(20);
    play(&mut world);
    let client = &world.clients[viewer];
    assert!(client.dropped >= 10, "{}", client.dropped);
    for lost in &client.lost {
        let again = client.came.iter().filter(|datagram| *datagram == lost).count();
        let at_the_end = lost == client.lost.last().unwrap();
        assert!(again == 1 || at_the_end, "the very same datagram, once: {again}");
    }
    assert_eq!(got(&world, viewer), sent());
    let counters = world.sfu.counters();
    assert!(counters.rtx_packets >= client.dropped as u64, "{counters:?}");
}

#[test]
fn what_is_kept_is_bounded_in_time_and_in_bytes_as_configured() {
    for (age, bytes) in [(MS * 400, 4 << 20), (MS * 2_000, 64 << 10)] {
        let mut world = World::with(|config| config.ring = RingConfig::new(age, bytes));
        world.join(Publish, &[Audio, Video]);
        world.claim(0, 1);
        world.pass(MS * 200);
        play(&mut world);
        let lane = world.sfu.lane_of(&World::key(1), (1, 0)).unwrap();
        let ring = &world.sfu.lanes.get(lane).unwrap().ring;
        let oldest = ring.get(ring.oldest().unwrap()).unwrap();
        let kept = ring.get(ring.newest().unwrap()).unwrap().arrived - oldest.arrived;
        assert!(kept <= age && ring.bytes() <= bytes, "{kept:?}, {} bytes", ring.bytes());
        assert!(kept >= MS * 360 || ring.bytes() >= bytes - 1_000, "{kept:?}, {} bytes", ring.bytes());
    }
}

#[test]
fn a_stream_that_stops_keeps_no_old_media_and_goes_on_where_it_stood() {
    for watched in [false, true] {
        let mut world = World::with(|config| config.ring = RingConfig::new(MS * 2_000, 4 << 20));
        world.join(Publish, &[Audio, Video]);
        world.claim(0, 1);
        world.pass(MS * 200);
        let viewer = watched.then(|| world.join(View, &[Video]));
        world.pass(MS * 200);
        play(&mut world);
        let lane = world.sfu.lane_of(&World::key(1), (1, 0)).unwrap();
        let held = |world: &World| world.sfu.lanes.get(lane).unwrap().ring.bytes();
        world.pass(MS * 1_500);
        assert!(held(&world) > 0, "what is not old is kept");
        world.pass(MS * 600);
        assert_eq!(held(&world), 0, "watched: {watched}");
        world.frame(0, Video, FIRST + u64::from(FRAMES) * PACKETS, PACKETS, FRAMES * 3_000, true);
        world.pass(MS * 200);
        if let Some(viewer) = viewer {
            let numbers: Vec<u64> = world.clients[viewer].got.iter().map(|packet| *packet.seq_no).collect();
            assert_eq!(numbers.len(), (FRAMES as usize + 1) * PACKETS as usize);
            assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        }
    }
}

#[test]
fn what_somebody_asked_for_who_is_gone_is_not_sent_to_who_stands_in_that_place() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(MS * 200);
    let viewer = world.join(View, &[Video]);
    world.pass(MS * 200);
    world.frame(0, Video, FIRST, PACKETS, 0, true);
    world.pass(MS * 200);
    let at = world.sfu.by_id[&world.clients[viewer].session];
    let serial = world.sfu.sessions.get(at).unwrap().serial;
    let seq = *world.clients[viewer].got.last().unwrap().seq_no as u16;
    for (serial, again) in [(serial - 1, 0), (serial, 1)] {
        world.sfu.repeats.push(Repeat { session: at, serial, slot: 0, seq });
        world.pass(MS * 20);
        let counters = world.sfu.counters();
        assert_eq!((counters.rtx_packets, counters.rtx_missed), (again, 0));
        assert!(world.sfu.repeats.is_empty());
    }
}
