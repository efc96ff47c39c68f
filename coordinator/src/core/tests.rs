use freshet_cluster::Epoch;
use freshet_cluster::Generation;
use freshet_cluster::load::{LinkLoad, RoomLoad, StreamLoad};
use freshet_cluster::record::Capacity;
use freshet_cluster::room::{EndReason, StreamState};
use freshet_cluster::unit::{Bitrate, UnixMillis};
use freshet_cluster::version::Unknown;

use super::*;
use crate::liveness::SILENCE;
use crate::view::streams::Phase;

const LINGER: Duration = Duration::from_secs(10);
const SEC: Duration = Duration::from_secs(1);

fn node(name: &str) -> NodeId {
    name.parse().unwrap()
}

fn room(name: &str) -> RoomId {
    name.parse().unwrap()
}

fn inc(n: u64) -> Incarnation {
    Incarnation::from_bits(n)
}

fn record(name: &str, incarnation: u64) -> NodeRecord {
    NodeRecord {
        v: 1,
        min_v: 1,
        id: node(name),
        incarnation: inc(incarnation),
        region: String::new(),
        zone: String::new(),
        http: format!("http://{name}"),
        public_url: None,
        relay: String::new(),
        relay_cert_sha256: String::new(),
        started_at: UnixMillis(0),
        draining: false,
        capacity: Capacity {
            sessions: 100,
            egress: Bitrate::default(),
            egress_pps: 0,
            unknown: Default::default(),
        },
        unknown: Unknown::new(),
    }
}

/// Room, epoch, viewers, streams with their generations.
type BeatRoom = (&'static str, u64, u32, Vec<(&'static str, u64)>);

#[derive(Clone, Default)]
struct Beat {
    rooms: Vec<BeatRoom>,
    links: Vec<(&'static str, u64)>,
}

struct World {
    core: Core,
    now: Instant,
    seq: u64,
    rev: u64,
}

impl World {
    fn new(names: &[&str]) -> Self {
        let now = Instant::now();
        let mut world = Self { core: Core::new(LINGER), now, seq: 0, rev: 10 };
        world.core.handle_bus(true, now);
        world.core.handle_nodes(names.iter().map(|name| record(name, 1)).collect(), now);
        world.core.handle_rooms(Vec::new(), &[], Rev(10), false, now);
        world
    }

    fn beat(&mut self, name: &str, incarnation: u64, beat: &Beat) {
        self.seq += 1;
        let stream = |(stream, generation): &(&str, u64)| StreamLoad {
            stream: stream.parse().unwrap(),
            generation: Generation(*generation),
            identity: "host".parse().unwrap(),
            started_at: UnixMillis(5),
            live: true,
            unknown: Unknown::new(),
        };
        let load = NodeLoad {
            v: 1,
            min_v: 1,
            node: node(name),
            incarnation: inc(incarnation),
            seq: self.seq,
            draining: false,
            sessions: 0,
            joins_total: 0,
            egress: Bitrate::default(),
            egress_pps: 0,
            cpu_millicores: 0,
            rooms: beat
                .rooms
                .iter()
                .map(|(name, epoch, viewers, streams)| RoomLoad {
                    room: room(name),
                    epoch: Epoch(*epoch),
                    viewers: *viewers,
                    streams: streams.iter().map(stream).collect(),
                    unknown: Unknown::new(),
                })
                .collect(),
            links: beat
                .links
                .iter()
                .map(|(peer, incarnation)| LinkLoad {
                    peer: node(peer),
                    incarnation: inc(*incarnation),
                    rtt_us: 1,
                    unknown: Unknown::new(),
                })
                .collect(),
            unknown: Unknown::new(),
        };
        self.core.handle_load(&load, self.now);
    }

    /// Time passes while the named nodes beat every second.
    fn pass(&mut self, seconds: u32, beats: &[(&str, Beat)]) {
        for _ in 0..seconds {
            self.now += SEC;
            for (name, beat) in beats {
                self.beat(name, 1, beat);
            }
            self.core.handle_timeout(self.now);
        }
    }

    fn write(&mut self, write: &Write) {
        self.rev += 1;
        match &write.plan {
            Some(plan) => self.core.handle_plan(plan.clone(), Rev(self.rev), self.now),
            None => self.core.handle_plan_gone(&write.room, Rev(self.rev)),
        }
    }

    fn join(&mut self, name: &str, to: &str) -> Step {
        let step = self.core.plan_for(&room(name), &node(to), inc(1), 1000, self.now).unwrap();
        if let Step::Write(write) = &step {
            self.write(write);
        }
        step
    }

    fn repair(&mut self) -> Vec<Write> {
        let writes = self.core.repairs(5000, self.now);
        for write in &writes {
            self.write(write);
        }
        writes
    }

    fn outputs(&mut self) -> Vec<Output> {
        std::iter::from_fn(|| self.core.poll_output()).collect()
    }

    fn deaths(&mut self) -> Vec<Death> {
        let died = |output| match output {
            Output::Died(death) => Some(death),
            Output::Changed(_) => None,
        };
        self.outputs().into_iter().filter_map(died).collect()
    }

    fn members(&self, name: &str) -> Vec<String> {
        let plan = self.core.view().plan(&room(name));
        plan.into_iter().flat_map(|plan| &plan.members).map(|m| m.node.as_str().to_owned()).collect()
    }
}

fn watching(room: &'static str, epoch: u64, viewers: u32) -> Beat {
    Beat { rooms: vec![(room, epoch, viewers, Vec::new())], links: Vec::new() }
}

fn publishing(room: &'static str, epoch: u64) -> Beat {
    Beat { rooms: vec![(room, epoch, 0, vec![("main", 7)])], links: Vec::new() }
}

#[test]
fn the_first_join_creates_and_later_ones_extend() {
    let mut world = World::new(&["a", "b"]);
    let Step::Write(first) = world.join("r", "a") else { panic!() };
    assert_eq!(first.expect, None, "create only");
    assert_eq!(first.plan.unwrap().epoch, Epoch(1000), "the clock, since nobody knows an epoch");
    assert!(matches!(world.join("r", "a"), Step::Ready(plan) if plan.epoch == Epoch(1000)));
    let Step::Write(second) = world.join("r", "b") else { panic!() };
    assert_eq!(second.expect, Some(Rev(11)));
    assert_eq!(second.plan.unwrap().epoch, Epoch(1001));
    assert_eq!(world.members("r"), ["a", "b"]);
}

#[test]
fn without_the_store_only_members_take_sessions() {
    let mut world = World::new(&["a", "b"]);
    world.join("r", "a");
    world.core.handle_store(false);
    assert!(matches!(world.join("r", "a"), Step::Ready(_)));
    assert_eq!(world.join("r", "b"), Step::StoreAway);
    assert_eq!(world.join("new", "a"), Step::StoreAway);
    world.pass(30, &[]);
    assert_eq!(world.repair(), [], "nothing is decided while the store is away");
}

#[test]
fn a_member_leaves_after_the_linger_and_the_last_takes_the_plan_with_it() {
    let mut world = World::new(&["a", "b"]);
    world.join("r", "a");
    world.join("r", "b");
    let busy = watching("r", 1001, 3);
    world.pass(9, &[("a", busy.clone()), ("b", Beat::default())]);
    assert_eq!(world.repair(), []);
    world.pass(2, &[("a", busy), ("b", Beat::default())]);
    assert_eq!(world.repair().len(), 1);
    assert_eq!(world.members("r"), ["a"]);
    world.pass(9, &[("a", Beat::default())]);
    assert_eq!(world.repair(), []);
    world.pass(3, &[("a", Beat::default())]);
    let writes = world.repair();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].plan, None, "nobody carries the room: its key goes");
    assert!(world.core.view().rooms().is_empty(), "nothing is left of it");
}

#[test]
fn a_member_that_was_just_given_a_session_or_is_not_heard_is_not_idle() {
    let mut world = World::new(&["a"]);
    world.join("r", "a");
    world.pass(9, &[("a", Beat::default())]);
    world.core.handle_join_accepted(&room("r"), &node("a"), inc(1), world.now);
    world.pass(9, &[("a", Beat::default())]);
    assert_eq!(world.repair(), []);
    world.pass(60, &[]);
    assert_eq!(world.repair(), [], "silence says nothing about sessions");
}

#[test]
fn a_missing_key_alone_is_never_death() {
    let mut world = World::new(&["a", "b"]);
    world.core.handle_node_gone(&node("a"));
    world.pass(120, &[("a", publishing("r", 1)), ("b", Beat::default())]);
    assert!(world.deaths().is_empty(), "its heartbeat is heard");
    let link = Beat { links: vec![("a", 1)], ..Beat::default() };
    world.pass(120, &[("b", link)]);
    assert!(world.deaths().is_empty(), "a live link reports it");
    world.core.handle_bus(false, world.now);
    world.pass(120, &[]);
    world.core.handle_bus(true, world.now);
    world.pass(4, &[]);
    assert!(world.deaths().is_empty(), "silence while the bus is away is not silence");
    world.pass(2, &[("b", Beat::default())]);
    let deaths = world.deaths();
    assert_eq!(deaths.len(), 1);
    assert_eq!(deaths[0].streams.len(), 1, "its stream ends with it");
    assert_eq!(deaths[0].streams[0].2.phase, Phase::Ended(EndReason::NodeDead));
}

#[test]
fn silence_alone_is_never_death_and_nodes_of_a_store_never_read_are_not_gone() {
    let mut world = World::new(&["a"]);
    world.pass(300, &[]);
    assert!(world.deaths().is_empty());
    let mut core = Core::new(LINGER);
    core.handle_bus(true, world.now);
    core.handle_node(record("x", 1), world.now);
    core.handle_node_gone(&node("x"));
    core.handle_timeout(world.now + 100 * SEC);
    assert!(core.poll_output().is_none());
}

#[test]
fn a_new_incarnation_buries_the_old_one_at_once() {
    let mut world = World::new(&["a", "b"]);
    world.join("r", "a");
    world.join("r", "b");
    let plan = world.core.view().plan(&room("r")).unwrap();
    assert_eq!(plan.member(&node("b")).unwrap().parent, Some(node("a")));
    world.pass(1, &[("a", publishing("r", 1001)), ("b", watching("r", 1001, 1))]);
    world.outputs();
    world.core.handle_node(record("a", 2), world.now);
    let deaths = world.deaths();
    assert!(deaths[0].superseded);
    assert_eq!(deaths[0].streams.len(), 1);
    let writes = world.repair();
    assert_eq!(writes.len(), 1);
    assert_eq!(world.members("r"), ["b"]);
    assert_eq!(writes[0].plan.as_ref().unwrap().members[0].parent, None, "the child takes over as root");
}

#[test]
fn a_node_dead_before_we_started_is_buried_too() {
    let mut world = World::new(&["b"]);
    let mut plan = RoomPlan::empty(room("r"));
    plan.epoch = Epoch(3);
    cascade::attach(&mut plan, &node("gone"), inc(9), &AllFacts::new()).unwrap();
    cascade::attach(&mut plan, &node("b"), inc(1), &AllFacts::new()).unwrap();
    world.rev = 12;
    world.core.handle_plan(plan, Rev(12), world.now);
    world.pass(4, &[("b", watching("r", 3, 1))]);
    assert_eq!(world.repair(), []);
    world.pass(2, &[("b", watching("r", 3, 1))]);
    assert_eq!(world.repair().len(), 1);
    assert_eq!(world.members("r"), ["b"]);
}

#[test]
fn a_wiped_store_gets_the_plans_again_above_every_epoch_that_a_node_knows() {
    let mut world = World::new(&["a", "b"]);
    world.join("r", "a");
    world.join("r", "b");
    world.pass(3, &[("a", publishing("r", 1001)), ("b", watching("r", 1001, 1))]);
    let tree = world.core.view().plan(&room("r")).unwrap().members.clone();
    world.core.handle_nodes(Vec::new(), world.now);
    world.core.handle_rooms(Vec::new(), &[], Rev(1), true, world.now);
    // Node b has seen a plan that this coordinator never saw.
    world.pass(1, &[("a", publishing("r", 1001)), ("b", watching("r", 9000, 1))]);
    assert_eq!(world.repair(), [], "the heartbeats get a moment to tell");
    world.pass(2, &[("a", publishing("r", 1001)), ("b", watching("r", 9000, 1))]);
    let writes = world.repair();
    assert_eq!(writes.len(), 1);
    assert_eq!(writes[0].expect, None, "create only: two coordinators write one plan");
    let plan = writes[0].plan.as_ref().unwrap();
    assert_eq!(plan.epoch, Epoch(9001));
    assert_eq!(plan.members, tree, "running edges stay");
    assert!(world.deaths().is_empty(), "a wiped store kills nobody");
}

#[test]
fn an_older_backup_is_overwritten_above_what_is_known() {
    let mut world = World::new(&["a", "b"]);
    world.join("r", "a");
    let old = world.core.view().plan(&room("r")).unwrap().clone();
    world.join("r", "b");
    world.pass(1, &[("a", watching("r", 1001, 1)), ("b", watching("r", 1001, 1))]);
    world.core.handle_rooms(vec![(old, Rev(4))], &[], Rev(5), true, world.now);
    assert!(
        matches!(world.join("r", "a"), Step::Write(write) if write.expect == Some(Rev(4))),
        "a join mends it, too"
    );
    assert_eq!(world.members("r"), ["a", "b"]);
    assert_eq!(world.core.view().plan(&room("r")).unwrap().epoch, Epoch(1002));
}

#[test]
fn a_fresh_coordinator_over_an_empty_store_learns_rooms_from_heartbeats_along_live_links() {
    let mut world = World::new(&["a", "b", "c"]);
    let a = Beat { links: vec![("c", 1)], ..watching("r", 40, 1) };
    let b = Beat { links: vec![("c", 1)], ..publishing("r", 41) };
    let c = Beat { links: vec![("a", 1), ("b", 1)], ..watching("r", 40, 1) };
    world.pass(3, &[("a", a.clone()), ("b", b.clone()), ("c", c.clone())]);
    world.repair();
    world.pass(3, &[("a", a), ("b", b), ("c", c)]);
    world.repair();
    let plan = world.core.view().plan(&room("r")).unwrap();
    plan.check().unwrap();
    assert!(plan.epoch > Epoch(41));
    assert_eq!(plan.member(&node("b")).unwrap().parent, None, "the publisher's node is the root");
    assert_eq!(plan.member(&node("c")).unwrap().parent, Some(node("b")));
    assert_eq!(plan.member(&node("a")).unwrap().parent, Some(node("c")), "along the live link");
}

#[test]
fn a_plan_read_after_a_conflict_counts_even_at_a_lower_revision() {
    let mut world = World::new(&["a", "b"]);
    world.join("r", "a");
    let mut other = world.core.view().plan(&room("r")).unwrap().clone();
    other.epoch = Epoch(2000);
    // The store was wiped and written by another coordinator; our watch has not told yet.
    world.core.handle_plan(other.clone(), Rev(3), world.now);
    assert!(
        matches!(world.join("r", "b"), Step::Write(write) if write.expect == Some(Rev(11))),
        "a late watch is no news"
    );
    let mut world = World::new(&["a", "b"]);
    world.join("r", "a");
    world.core.handle_plan_read(other, Rev(3), world.now);
    let Step::Write(write) = world.join("r", "b") else { panic!() };
    assert_eq!((write.expect, write.plan.unwrap().epoch), (Some(Rev(3)), Epoch(2001)));
}

#[test]
fn our_own_write_survives_an_older_listing() {
    let mut world = World::new(&["a"]);
    world.join("r", "a");
    world.core.handle_rooms(Vec::new(), &[], Rev(10), false, world.now);
    assert_eq!(world.members("r"), ["a"], "the listing was read before the write");
    world.core.handle_rooms(Vec::new(), &[], Rev(12), false, world.now);
    assert_eq!(world.members("r"), Vec::<String>::new());
}

fn event(generation: u64, state: StreamState, reason: Option<EndReason>) -> StreamEvent {
    StreamEvent {
        v: 1,
        min_v: 1,
        room: room("r"),
        stream: "main".parse().unwrap(),
        generation: Generation(generation),
        identity: "host".parse().unwrap(),
        node: node("a"),
        state,
        reason,
        at: UnixMillis(1),
        unknown: Unknown::new(),
    }
}

fn phase(world: &World) -> Option<(u64, Phase)> {
    world.core.view().streams(&room("r")).next().map(|(_, stream)| (stream.generation.0, stream.phase))
}

#[test]
fn streams_end_by_their_origin_and_the_highest_generation_wins() {
    let mut world = World::new(&["a", "b"]);
    world.core.handle_stream_event(&event(7, StreamState::Started, None), world.now);
    assert_eq!(phase(&world), Some((7, Phase::Live)));
    world.core.handle_stream_event(&event(6, StreamState::Ended, Some(EndReason::TakenOver)), world.now);
    assert_eq!(phase(&world), Some((7, Phase::Live)), "an older generation says nothing");
    world.core.handle_stream_event(&event(7, StreamState::Ended, Some(EndReason::Closed)), world.now);
    assert_eq!(phase(&world), Some((7, Phase::Ended(EndReason::Closed))));
    world.beat("a", 1, &publishing("r", 1));
    assert_eq!(phase(&world), Some((7, Phase::Ended(EndReason::Closed))), "a late heartbeat revives nothing");
    world.core.handle_stream_event(&event(8, StreamState::Started, None), world.now);
    assert_eq!(phase(&world), Some((8, Phase::Live)));
}

#[test]
fn a_stream_that_its_origin_no_longer_lists_has_ended() {
    let mut world = World::new(&["a"]);
    world.core.handle_stream_event(&event(7, StreamState::Started, None), world.now);
    world.beat("a", 1, &Beat::default());
    world.beat("a", 1, &Beat::default());
    assert_eq!(phase(&world), Some((7, Phase::Live)), "these heartbeats may be older than the claim");
    world.beat("a", 1, &publishing("r", 1));
    world.beat("a", 1, &Beat::default());
    assert_eq!(phase(&world), Some((7, Phase::Ended(EndReason::Unknown))));
    world.now += 61 * SEC;
    world.core.handle_timeout(world.now);
    assert_eq!(phase(&world), None, "forgotten");
}

#[test]
fn a_death_declared_in_error_is_taken_back_by_the_origin() {
    let mut world = World::new(&["a"]);
    world.pass(1, &[("a", publishing("r", 1))]);
    world.core.handle_node_gone(&node("a"));
    world.pass(6, &[]);
    assert_eq!(world.deaths().len(), 1);
    assert_eq!(phase(&world), Some((7, Phase::Ended(EndReason::NodeDead))));
    world.beat("a", 1, &publishing("r", 1));
    assert_eq!(phase(&world), Some((7, Phase::Live)));
    assert_eq!(world.core.view().liveness(&node("a"), inc(1), world.now), Liveness::Suspect);
    assert!(SILENCE < 6 * SEC);
}
