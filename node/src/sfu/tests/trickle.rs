//! Candidates that clients add, and restarts of ICE: what is refused changes nothing.

use std::ops::Range;
use std::time::Duration;

use str0m::media::MediaKind::{Audio, Video};

use super::world::World;
use crate::service::Direction::Publish;
use crate::session::{Fragment, IfMatch, Patched, SessionError};

/// Different usable candidates that a client may name for one ICE session.
const MOST: usize = 64;

/// A publisher, connected.
fn published() -> World {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(200));
    assert!(world.clients[0].connected);
    world
}

fn candidates(range: Range<usize>) -> Vec<String> {
    let port = |n: usize| 1_000 + n;
    range.map(|n| format!("candidate:{n} 1 udp 2122260223 192.0.2.7 {} typ host", port(n))).collect()
}

fn etag(world: &World) -> String {
    world.sfu.look(world.clients[0].session, None).unwrap().etag
}

fn add(world: &mut World, candidates: Vec<String>) -> Result<Patched, SessionError> {
    let (id, tag) = (world.clients[0].session, IfMatch::Tag(etag(world)));
    let fragment = Fragment { candidates, ..Fragment::default() };
    world.sfu.patch(world.now, id, None, &tag, &fragment)
}

fn restart(world: &mut World, n: usize, candidates: Vec<String>) -> Result<Patched, SessionError> {
    let fragment = Fragment {
        ufrag: Some(format!("another{n}")),
        pwd: Some("aNewPasswordOfTheClient1".into()),
        candidates,
        end: false,
    };
    world.sfu.patch(world.now, world.clients[0].session, None, &IfMatch::Any, &fragment)
}

fn refused(patched: Result<Patched, SessionError>) -> bool {
    matches!(patched, Err(SessionError::Unprocessable(why)) if why.contains("64 candidates"))
}

#[test]
fn a_restart_that_is_refused_leaves_the_old_credentials_as_they_are() {
    let mut world = published();
    let before = etag(&world);
    assert!(refused(restart(&mut world, 1, candidates(0..MOST + 1))));
    assert_eq!(etag(&world), before);
    let bad = world.sfu.counters().bad_datagrams;
    // Longer than a session lives in silence: the client goes on to check under the old ones, and is heard.
    world.pass(Duration::from_secs(20));
    assert_eq!((world.sfu.counters().bad_datagrams, world.sfu.sessions()), (bad, 1));
    world.frame(0, Video, 100, 3, 0, true);
    assert_eq!(world.sfu.counters().ingress_packets, 3);
    let restarted = restart(&mut world, 1, candidates(0..MOST)).unwrap();
    assert!(matches!(restarted, Patched::Restarted { etag, .. } if etag != before));
}

#[test]
fn of_a_patch_that_is_refused_no_candidate_counts() {
    let mut world = published();
    assert!(refused(add(&mut world, candidates(0..MOST + 1))));
    assert_eq!(add(&mut world, candidates(100..100 + MOST)), Ok(Patched::Trickled));
    assert!(refused(add(&mut world, candidates(0..1))));
}

#[test]
fn what_is_told_again_or_cannot_be_used_does_not_count() {
    let mut world = published();
    assert_eq!(add(&mut world, candidates(0..MOST)), Ok(Patched::Trickled));
    assert!(refused(add(&mut world, candidates(MOST..MOST + 1))));
    let at = "192.0.2.8";
    for useless in [
        // The same address, found in another way.
        "candidate:9 1 udp 7 192.0.2.7 1000 typ srflx raddr 10.0.0.1 rport 9".to_owned(),
        "candidate:9 1 udp 7 0b0e4b4c-8b2e-4a3f-9d5d-1f1b9a0e7c11.local 9 typ host".to_owned(),
        format!("candidate:9 1 tcp 7 {at} 9 typ host tcptype active"),
        format!("candidate:9 2 udp 7 {at} 9 typ host"),
        format!("candidate:9 1 udp 7 {at} 9 typ host ufrag EarlierOne"),
        format!("candidate:9 1 udp 7 {at} 9 typ wormhole"),
        // All of the shard's candidates are IPv4.
        "candidate:9 1 udp 7 2001:db8::1 9 typ host".to_owned(),
        format!("candidate:9 1 udp 7 {at} 0 typ host"),
        String::new(),
    ] {
        assert_eq!(add(&mut world, vec![useless.clone()]), Ok(Patched::Trickled), "{useless}");
    }
    assert_eq!(add(&mut world, candidates(0..MOST)), Ok(Patched::Trickled), "told again");
    assert!(refused(add(&mut world, candidates(MOST..MOST + 1))), "and there is no room for another");
}

#[test]
fn each_restart_begins_to_count_anew() {
    let mut world = published();
    let mut told = 0;
    for n in 0..5 {
        let first = told..told + 10;
        assert!(matches!(restart(&mut world, n, candidates(first)), Ok(Patched::Restarted { .. })), "{n}");
        assert_eq!(add(&mut world, candidates(told + 10..told + MOST)), Ok(Patched::Trickled), "{n}");
        told += MOST;
        assert!(refused(add(&mut world, candidates(told..told + 1))), "{n}");
    }
    let of = |ufrag: &str| vec![format!("candidate:1 1 udp 7 192.0.2.9 9 typ host ufrag {ufrag}")];
    assert_eq!(add(&mut world, of("another3")), Ok(Patched::Trickled), "of an earlier one, and not used");
    assert!(refused(add(&mut world, of("another4"))), "of this one");
}

#[test]
fn a_restart_wants_credentials_of_the_right_length() {
    let mut world = published();
    let before = etag(&world);
    for (ufrag, pwd) in [("abc", "aNewPasswordOfTheClient1"), ("abcd", "short")] {
        let fragment = Fragment { ufrag: Some(ufrag.into()), pwd: Some(pwd.into()), ..Fragment::default() };
        let id = world.clients[0].session;
        let refused = world.sfu.patch(world.now, id, None, &IfMatch::Any, &fragment);
        assert!(matches!(refused, Err(SessionError::Unprocessable(_))), "{refused:?}");
    }
    assert_eq!(etag(&world), before);
}

#[test]
fn ice_is_restarted_once_a_second_and_eight_times_at_once() {
    let mut world = published();
    for n in 0..8 {
        assert!(restart(&mut world, n, Vec::new()).is_ok(), "{n}");
    }
    let before = etag(&world);
    assert_eq!(restart(&mut world, 9, Vec::new()), Err(SessionError::TooManyRestarts));
    assert_eq!(etag(&world), before, "nothing was changed");
    assert!(add(&mut world, candidates(0..1)).is_ok(), "candidates may come");
    world.now += Duration::from_secs(1);
    assert!(restart(&mut world, 10, Vec::new()).is_ok());
    assert_eq!(restart(&mut world, 11, Vec::new()), Err(SessionError::TooManyRestarts));
}
