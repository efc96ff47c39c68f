//! Publishers' packets of one moment: each is in its ring at once, and the rest of what str0m says is asked for once.

use std::collections::HashMap;
use std::time::Duration;

use freshet_cluster::room::EndReason;
use str0m::media::MediaKind::Video;

use super::world::World;
use crate::service::Direction::Publish;

const MS: Duration = Duration::from_millis(1);

/// A frame that has been sent and has not come yet: its datagrams in order.
fn held(world: &mut World, publisher: usize, first: u64, packets: u64) -> Vec<Vec<u8>> {
    let client = &mut world.clients[publisher];
    (client.repeats, client.lose_sent_every) = (Some(HashMap::new()), Some(1));
    world.frame(publisher, Video, first, packets, first as u32 * 100, false);
    let client = &mut world.clients[publisher];
    client.lose_sent_every = None;
    let mut sent: Vec<_> = client.repeats.take().unwrap().into_iter().collect();
    sent.sort_by_key(|((_, seq), _)| *seq);
    assert_eq!(sent.len(), packets as usize);
    sent.into_iter().map(|(_, datagram)| datagram).collect()
}

/// Two publishers, the first of whom has its claim, and a frame of each that has not come.
fn two() -> (World, [Vec<Vec<u8>>; 2]) {
    let mut world = World::new();
    world.join(Publish, &[Video]);
    world.join(Publish, &[Video]);
    world.claim(0, 1);
    world.pass(MS * 200);
    for publisher in 0..2 {
        world.frame(publisher, Video, 100, 3, 0, true);
    }
    world.pass(MS * 20);
    let frames = [0, 1].map(|publisher| held(&mut world, publisher, 103, 7));
    (world, frames)
}

fn undrained(world: &mut World) -> usize {
    world.sfu.sessions.iter_mut().filter(|(_, session)| session.undrained).count()
}

#[test]
fn packets_of_one_moment_are_in_the_ring_at_once_and_sessions_are_drained_once() {
    let (mut world, [first, second]) = two();
    let (now, from) = (world.now, [0, 1].map(|publisher: usize| world.clients[publisher].addr));
    assert!(world.sfu.poll_timeout().is_none_or(|due| due > now));
    // The fourth is lost.
    let mut pairs: Vec<_> = first.iter().zip(&second).collect();
    pairs.remove(3);
    for (one, other) in pairs {
        let before = world.sfu.counters().ingress_packets;
        world.sfu.handle_datagram(now, from[0], one);
        assert_eq!(world.sfu.counters().ingress_packets, before + 1);
        world.sfu.handle_datagram(now, from[1], other);
    }
    assert_eq!((undrained(&mut world), world.sfu.poll_timeout()), (2, Some(now)), "in this very turn");
    world.sfu.handle_timeout(now);
    assert_eq!(undrained(&mut world), 0);
    assert!(world.sfu.poll_timeout().is_some_and(|due| due > now), "nothing is left to do now");
    // Timers that the packets have set run: the lost one is asked for, and comes.
    let before = world.sfu.counters().ingress_packets;
    world.pass(MS * 300);
    assert_eq!(world.sfu.counters().ingress_packets, before + 1);
}

#[test]
fn a_session_that_ends_before_it_is_drained_leaves_nothing_to_do() {
    let (mut world, [first, second]) = two();
    let (now, from) = (world.now, [0, 1].map(|publisher: usize| world.clients[publisher].addr));
    for (one, other) in first.iter().zip(&second) {
        world.sfu.handle_datagram(now, from[0], one);
        world.sfu.handle_datagram(now, from[1], other);
    }
    let ended = world.clients[0].session;
    assert!(world.sfu.end(now, ended, EndReason::Closed));
    assert_eq!((undrained(&mut world), world.sfu.poll_timeout()), (1, Some(now)));
    world.sfu.handle_timeout(now);
    assert_eq!((undrained(&mut world), world.sfu.kept().0), (0, 1));
    assert!(world.sfu.poll_timeout().is_some_and(|due| due > now));
}
