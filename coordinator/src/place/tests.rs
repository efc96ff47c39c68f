use std::time::Duration;

use freshet_cluster::Epoch;
use freshet_cluster::load::{NodeLoad, RoomLoad};
use freshet_cluster::record::NodeRecord;
use freshet_cluster::unit::{Bitrate, UnixMillis};
use freshet_cluster::version::Unknown;

use super::*;
use crate::liveness::SILENCE;

fn record(name: &str, region: &str, sessions: u32) -> NodeRecord {
    NodeRecord {
        v: 1,
        min_v: 1,
        id: name.parse().unwrap(),
        incarnation: Incarnation::from_bits(1),
        region: region.to_owned(),
        zone: String::new(),
        http: format!("http://{name}"),
        public_url: None,
        relay: String::new(),
        relay_cert_sha256: String::new(),
        started_at: UnixMillis(0),
        draining: false,
        capacity: Capacity {
            sessions,
            egress: Bitrate::from_mbps(1000),
            egress_pps: 0,
            unknown: Default::default(),
        },
        unknown: Unknown::new(),
    }
}

fn heartbeat(name: &str, seq: u64, sessions: u32, rooms: &[&str]) -> NodeLoad {
    let rooms = rooms.iter().map(|room| RoomLoad {
        room: room.parse().unwrap(),
        epoch: Epoch(1),
        viewers: 1,
        streams: Vec::new(),
        unknown: Unknown::new(),
    });
    NodeLoad {
        v: 1,
        min_v: 1,
        node: name.parse().unwrap(),
        incarnation: Incarnation::from_bits(1),
        seq,
        draining: false,
        sessions,
        joins_total: u64::from(sessions),
        egress: Bitrate::from_mbps(u64::from(sessions) * 2),
        egress_pps: 0,
        cpu_millicores: 0,
        rooms: rooms.collect(),
        links: Vec::new(),
        unknown: Unknown::new(),
    }
}

struct World {
    view: View,
    now: Instant,
}

impl World {
    fn new(nodes: &[(&str, &str, u32)]) -> Self {
        let now = Instant::now();
        let mut view = View::new();
        view.handle_bus(true, now);
        view.handle_nodes(
            nodes.iter().map(|(name, region, sessions)| record(name, region, *sessions)).collect(),
            now,
        );
        Self { view, now }
    }

    fn load(&mut self, name: &str, seq: u64, sessions: u32, rooms: &[&str]) {
        self.view.handle_load(&heartbeat(name, seq, sessions, rooms), self.now);
    }

    fn order(&self, region: &str) -> Vec<String> {
        let room = "r".parse().unwrap();
        let ranking = rank(&self.view, &Ask { room: &room, region }, self.now);
        ranking.candidates.iter().map(|candidate| candidate.node.as_str().to_owned()).collect()
    }
}

#[test]
fn region_comes_before_room_and_room_before_load() {
    let mut world = World::new(&[("a", "eu", 100), ("b", "eu", 100), ("c", "us", 100)]);
    world.load("a", 1, 10, &[]);
    world.load("b", 1, 50, &["r"]);
    world.load("c", 1, 0, &["r"]);
    assert_eq!(world.order("eu"), ["b", "a", "c"]);
    assert_eq!(world.order("us"), ["c", "b", "a"]);
    assert_eq!(world.order(""), ["c", "b", "a"], "no region asked: the room's emptiest node");
}

#[test]
fn a_node_without_room_to_spare_is_no_candidate_and_the_reason_is_told() {
    let mut world = World::new(&[("a", "", 10), ("b", "", 10), ("c", "", 0)]);
    world.load("a", 1, 10, &["r"]);
    world.load("b", 1, 9, &[]);
    assert_eq!(world.order(""), ["b"]);
    let room = "r".parse().unwrap();
    let unfit = rank(&world.view, &Ask { room: &room, region: "" }, world.now).unfit;
    let unfit: Vec<_> = unfit.iter().map(|(node, why)| (node.as_str(), *why)).collect();
    assert_eq!(unfit, [("a", Unfit::Full(Permille(1000))), ("c", Unfit::Full(Permille(1000)))]);
}

#[test]
fn joins_since_the_last_heartbeat_count() {
    let mut world = World::new(&[("a", "", 10)]);
    world.load("a", 1, 8, &["r"]);
    let (node, incarnation) = ("a".parse().unwrap(), Incarnation::from_bits(1));
    for left in [1, 0] {
        world.view.handle_join_sent(&node, incarnation);
        assert_eq!(world.order("").len(), usize::from(left > 0));
    }
    world.view.handle_join_refused(&node, incarnation);
    assert_eq!(world.order(""), ["a"]);
}

#[test]
fn egress_fills_a_node_before_its_sessions_do() {
    let mut world = World::new(&[("a", "", 10_000)]);
    world.load("a", 1, 499, &["r"]);
    assert_eq!(world.order(""), ["a"]);
    world.view.handle_join_sent(&"a".parse().unwrap(), Incarnation::from_bits(1));
    assert_eq!(world.order(""), Vec::<String>::new(), "500 × 2 Mbit/s is its gigabit");
}

#[test]
fn a_silent_or_unreachable_node_is_the_last_choice() {
    let mut world = World::new(&[("a", "", 10), ("b", "", 10)]);
    world.load("a", 1, 0, &["r"]);
    world.load("b", 1, 5, &[]);
    assert_eq!(world.order(""), ["a", "b"]);
    world.view.handle_unreachable(&"a".parse().unwrap(), Incarnation::from_bits(1), world.now);
    assert_eq!(world.order(""), ["b", "a"]);
    world.load("a", 2, 0, &["r"]);
    assert_eq!(world.order(""), ["b", "a"], "a heartbeat goes another way than a call");
    world.now += Duration::from_secs(5);
    world.load("a", 3, 0, &["r"]);
    world.load("b", 2, 5, &[]);
    assert_eq!(world.order(""), ["a", "b"], "it is tried again");
    world.now += SILENCE;
    world.load("b", 3, 5, &[]);
    assert_eq!(world.order(""), ["b", "a"]);
    world.now += Duration::from_secs(3600);
    assert_eq!(world.order("").len(), 2, "registered nodes are asked as long as nothing better is known");
}

#[test]
fn a_node_that_was_never_heard_comes_after_those_whose_load_is_known() {
    let mut world = World::new(&[("a", "", 10), ("b", "", 10)]);
    world.load("b", 1, 9, &[]);
    assert_eq!(world.order(""), ["b", "a"]);
    world.load("a", 1, 0, &[]);
    assert_eq!(world.order(""), ["a", "b"]);
}

#[test]
fn the_explanation_names_what_counted() {
    let mut world = World::new(&[("a", "eu", 1000)]);
    world.load("a", 1, 475, &[]);
    let room = "r".parse().unwrap();
    let ranking = rank(&world.view, &Ask { room: &room, region: "us" }, world.now);
    assert_eq!(
        ranking.candidates[0].score.to_string(),
        "node_a: 95.0 % full, other region, new to the room, crowded"
    );
}
