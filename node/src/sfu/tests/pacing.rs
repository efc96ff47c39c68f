//! When packets leave, and in what company.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;
use str0m::media::MediaKind::{Audio, Video};

use super::world::World;
use crate::service::Direction::{Publish, View};
use crate::sfu::Config;

const MS: Duration = Duration::from_millis(1);

/// A publisher and a viewer that is in the present.
fn watched(edit: impl FnOnce(&mut Config)) -> World {
    let mut world = World::with(edit);
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(MS * 200);
    world.join(View, &[Audio, Video]);
    world.pass(MS * 200);
    world.frame(0, Video, 100, 2, 0, true);
    world.pass(MS * 200);
    world.clients[1].got.clear();
    world.sent.clear();
    world
}

/// Trains of media that went to a client: when, and how many packets each.
fn trains(world: &World, client: usize) -> Vec<(Instant, usize)> {
    let to: SocketAddr = world.clients[client].addr;
    world.sent.iter().filter(|(_, dst, _)| *dst == to).map(|(at, _, count)| (*at, *count)).collect()
}

fn received(world: &World, client: usize) -> Vec<u64> {
    let seqs: Vec<u64> = world.clients[client].got.iter().map(|p| *p.seq_no).collect();
    seqs
}

#[test]
fn packets_of_a_frame_that_come_apart_leave_together_when_it_ends() {
    let mut world = watched(|config| config.batch = MS * 5);
    let start = world.now;
    for n in 0..4 {
        world.packet(0, Video, 102 + n, 3_000, n == 3);
        world.now += MS;
    }
    world.settle();
    assert_eq!(trains(&world, 1), [(start + MS * 3, 4)], "one train, at the end of the frame");
}

#[test]
fn what_has_no_end_leaves_at_the_tick() {
    let mut world = watched(|config| config.batch = MS * 5);
    let start = world.now;
    world.packet(0, Audio, 500, 960, false);
    world.now += MS;
    world.packet(0, Video, 102, 3_000, false);
    world.now = start + MS * 4;
    world.settle();
    assert_eq!(trains(&world, 1), [], "it waits for company");
    assert_eq!(world.sfu.poll_timeout().map(|due| due.min(start + MS * 5)), Some(start + MS * 5));
    world.now = start + MS * 5;
    world.settle();
    let [(at, 2)] = trains(&world, 1)[..] else { panic!("{:?}", trains(&world, 1)) };
    assert_eq!(at, start + MS * 5, "sound rides behind the picture, no later than the tick");
}

#[test]
fn without_a_batch_time_every_packet_leaves_at_once() {
    let mut world = watched(|_| {});
    for n in 0..3 {
        world.packet(0, Video, 102 + n, 3_000, false);
        world.now += MS;
    }
    assert_eq!(trains(&world, 1).len(), 3);
}

#[test]
fn a_joiner_gets_what_followed_the_keyframe_in_groups_and_then_the_present() {
    let mut world = watched(|config| config.batch = MS * 5);
    world.frame(0, Video, 102, 50, 3_000, true);
    world.frame(0, Video, 152, 10, 6_000, false);
    let asked = world.clients[0].keyframes_asked;
    world.pass(MS * 100);
    let joiner = world.join(View, &[Audio, Video]);
    world.pass(MS * 10);
    let begin = world.now;
    for step in 0..20_u32 {
        world.pass(MS * 5);
        if step == 3 {
            world.frame(0, Video, 162, 5, 9_000, false);
        }
    }
    let trains = trains(&world, joiner);
    let largest = trains.iter().map(|(_, count)| *count).max().unwrap_or(0);
    assert!(largest <= 16, "never more than a burst at once: {trains:?}");
    assert!(trains.len() <= 12 && trains.len() > 3, "paced, in groups: {trains:?}");
    let last = trains.last().unwrap().0;
    assert!(last <= begin + MS * 80, "in the present within 80 ms: {:?}", last - begin);
    let seqs = received(&world, joiner);
    assert_eq!(seqs.len(), 65, "everything since the keyframe, once");
    assert!(seqs.windows(2).all(|two| two[1] == two[0] + 1), "in order");
    assert_eq!(world.clients[0].keyframes_asked, asked, "the publisher was not asked");
    assert_eq!(world.sfu.counters().lagging_packets, 0, "a joiner that catches up does not lag");
}

#[test]
fn a_capped_viewer_lags_and_is_counted_and_begins_again_at_a_keyframe_when_the_ring_has_moved_on() {
    let mut world = watched(|config| config.viewer_cap = Some(Bitrate::from_kbps(200)));
    // 8 packets of 900 bytes each 33 ms: 1.7 Mbit/s.
    for frame in 0..120_u32 {
        world.frame(0, Video, 102 + u64::from(frame) * 8, 8, 3_000 * (frame + 1), false);
        world.pass(MS * 33);
    }
    let counters = world.sfu.counters().clone();
    assert!(counters.lagging_packets > 50, "{counters:?}");
    assert!(counters.overrun_packets > 0, "{counters:?}");
    let sent: u64 = world.clients[1].got.iter().map(|p| p.payload.len() as u64).sum();
    // Four seconds of 200 kbit/s, and the burst.
    assert!(sent < 120_000 + 20_000, "{sent} bytes");
    assert!(world.clients[0].keyframes_asked > 0, "the publisher is asked for a keyframe");
}

#[test]
fn what_is_held_back_is_not_forgotten_when_sound_is_due_at_the_same_tick() {
    for offset in 0..10 {
        let mut world = watched(|config| {
            config.batch = MS * 5;
            config.viewer_cap = Some(Bitrate::from_kbps(800));
        });
        world.frame(0, Video, 102, 60, 3_000, true);
        let joiner = world.join(View, &[Audio, Video]);
        while !world.clients[joiner].connected {
            world.settle();
            world.now += MS;
        }
        for ms in 0..40 {
            if ms == 20 + offset {
                world.packet(0, Audio, 500, 960, false);
            }
            world.settle();
            world.now += MS;
        }
        world.pass(MS * 900);
        let video = world.clients[joiner].got.iter().filter(|p| p.payload.len() > 200).count();
        assert_eq!(video, 60, "all of the keyframe, though nothing else comes (offset {offset} ms)");
    }
}

/// Bytes, or packets, that came within a time at most.
fn most_within(wire: &[(Instant, usize)], time: Duration, weigh: fn(usize) -> usize) -> usize {
    let from = |start: usize| {
        let since = &wire[start..];
        since.iter().take_while(|(at, _)| *at - since[0].0 < time).map(|(_, len)| weigh(*len)).sum::<usize>()
    };
    (0..wire.len()).map(from).max().unwrap_or_default()
}

#[test]
fn what_is_asked_for_again_is_paced_and_a_cap_holds_for_it() {
    for cap in [None, Some(Bitrate::from_kbps(400))] {
        let mut world = watched(|config| config.viewer_cap = cap);
        let mut seq = 102;
        let mut play = |world: &mut World, frames: u32| {
            for _ in 0..frames {
                world.frame(0, Video, seq, 1, 30 * seq as u32, false);
                world.pass(MS * 33);
                seq += 1;
            }
        };
        // Until there is so much that few losses are answered twice.
        play(&mut world, 200);
        world.clients[1].lose_every = Some(1);
        play(&mut world, 22);
        world.clients[1].lose_every = None;
        world.clients[1].wire.clear();
        play(&mut world, 45);
        let client = &world.clients[1];
        assert_eq!(client.dropped, 22);
        let again = world.sfu.counters().rtx_packets;
        assert!(again >= 22, "{again}, {cap:?}");
        let largest = most_within(&client.wire, MS, |_| 1);
        assert!(largest <= 16, "{largest} packets at once, {cap:?}");
        if cap.is_some() {
            // 50 bytes a millisecond, a full bucket, and what the last packet is beyond.
            let most = most_within(&client.wire, MS * 100, |len| len);
            assert!(most <= 5_000 + 19_200 + 2_000, "{most} bytes within 100 ms");
        }
        let mut numbers: Vec<u64> = client.got.iter().map(|packet| *packet.seq_no).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(
            numbers.len() as u64,
            numbers[numbers.len() - 1] - numbers[0] + 1,
            "nothing stays missing"
        );
    }
}
