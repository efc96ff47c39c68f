//! Which of its addresses a shard answers from when it has several.

use std::net::IpAddr;
use std::ops::Range;
use std::time::Duration;

use str0m::media::MediaKind::{Audio, Video};

use super::client::SERVER;
use super::world::World;
use crate::book::{Advertised, Book};
use crate::service::Direction::{Publish, View};

impl World {
    /// Frames of the first client, which begin with a keyframe at 0.
    pub(super) fn play(&mut self, frames: Range<u32>) {
        for n in frames {
            self.frame(0, Video, 100 + u64::from(n) * 4, 4, n * 3_000, n == 0);
            self.pass(Duration::from_millis(30));
        }
    }
}

/// Clients check every pair of addresses all the time, the chosen one and the others. Each check is answered from the
/// address that it called; media, reports and requests stay where the client's own come from.
#[test]
fn checks_of_other_pairs_do_not_move_what_a_client_gets() {
    let [used, spare] = [7, 8].map(|n| IpAddr::from([127, 0, 0, n]));
    let advertised = [(SERVER, used), ("127.0.0.2:5000", spare)].map(|(told, local)| {
        let told: std::net::SocketAddr = told.parse().unwrap();
        Advertised { ip: told.ip(), port: Some(told.port()), local: Some(local) }
    });
    let book = Book::new(0, &[(used, 5_000).into(), (spare, 5_000).into()], &advertised);
    let mut world = World::with(|config| config.common.book = book);
    (world.called, world.checks) = (Some(used), Some(spare));
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    let viewer = world.join(View, &[Audio, Video]);
    world.pass(Duration::from_millis(500));
    // Until the first report there is nothing authentic to go by.
    world.play(0..100);
    (world.answered, world.checked, world.check_answers) = Default::default();
    world.play(100..300);
    let spares = world.checked.iter().filter(|local| **local == Some(spare)).count();
    assert!(spares > 1, "both were checked: {:?}", world.checked);
    assert_eq!(world.check_answers, world.checked, "each check is answered from where it was sent to");
    for client in [0, viewer] {
        let addr = world.clients[client].addr;
        let strays = world.answered.iter().filter(|(to, from)| *to == addr && *from != Some(used)).count();
        let all = world.answered.iter().filter(|(to, _)| *to == addr).count();
        assert!(all > 1 && strays == 0, "{strays} of {all} came from the spare address");
    }
}

/// What a publisher is asked for reaches it where its media comes from, although str0m holds the pair of its first address
/// for the best one.
#[test]
fn requests_follow_a_publisher_to_its_next_address() {
    let mut world = World::new();
    world.join(Publish, &[Audio, Video]);
    world.claim(0, 1);
    world.pass(Duration::from_millis(300));
    world.play(0..1);
    // As behind a NAT that has forgotten it: the same client, by another address.
    let next = "127.0.0.1:29000".parse().unwrap();
    world.clients[0].addr = next;
    world.play(1..100);
    world.answered.clear();
    world.join(View, &[Audio, Video]);
    world.pass(Duration::from_millis(500));
    let asked = world.answered.iter().filter(|(to, _)| *to == next).count();
    assert!(asked > 0, "{:?}", world.answered);
    let old = world.answered.iter().filter(|(to, _)| to.port() == 20_000).count();
    assert_eq!(old, 0, "nothing goes to where it was: {:?}", world.answered);
}
