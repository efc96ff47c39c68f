//! Agents wired to each other: frames of one are the other's input.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use freshet_cluster::plan::{Member, RoomPlan};
use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::Unknown;
use freshet_cluster::{Epoch, Generation, Incarnation, NodeId, RoomId, SessionId};
use freshet_relay_proto::code::RefuseCode;
use freshet_relay_proto::control::{Control, LayerRate};
use freshet_relay_proto::track::{MediaKind, TrackInfo};

use super::{Agent, Link, ORPHAN_MAX, Output, StreamKey};

fn node(n: usize) -> NodeId {
    format!("n{n}").parse().unwrap()
}

fn incarnation(n: usize) -> Incarnation {
    Incarnation::from_bits(n as u64)
}

fn room() -> RoomId {
    "room".parse().unwrap()
}

fn key(generation: u64) -> StreamKey {
    StreamKey { room: room(), stream: "main".parse().unwrap(), generation: Generation(generation) }
}

fn tracks() -> Vec<TrackInfo> {
    vec![TrackInfo { id: 0, kind: MediaKind::Video, codecs: Vec::new(), layers: Vec::new() }]
}

/// A plan whose members are given with their parents.
fn plan(epoch: u64, members: &[(usize, Option<usize>)]) -> RoomPlan {
    let member = |(n, parent): &(usize, Option<usize>)| Member {
        node: node(*n),
        incarnation: incarnation(*n),
        parent: parent.map(node),
        standby: None,
        unknown: Unknown::new(),
    };
    let members = members.iter().map(member).collect();
    RoomPlan { epoch: Epoch(epoch), members, ..RoomPlan::empty(room()) }
}

/// Agents and the links between them; link names are the same at both ends.
struct World {
    agents: Vec<Agent>,
    ends: BTreeMap<Link, (usize, usize)>,
    log: Vec<VecDeque<Output>>,
    links: u32,
    now: Instant,
}

impl World {
    fn new(count: usize) -> Self {
        Self {
            agents: (0..count).map(|n| Agent::new(node(n), incarnation(n))).collect(),
            ends: BTreeMap::new(),
            log: vec![VecDeque::new(); count],
            links: 0,
            now: Instant::now(),
        }
    }

    fn connect(&mut self, a: usize, b: usize) -> Link {
        self.links += 1;
        let link = Link(self.links);
        self.ends.insert(link, (a, b));
        self.agents[a].handle_link_up(link, node(b), incarnation(b));
        self.agents[b].handle_link_up(link, node(a), incarnation(a));
        self.settle();
        link
    }

    fn cut(&mut self, link: Link) {
        let (a, b) = self.ends.remove(&link).unwrap();
        for n in [a, b] {
            self.agents[n].handle_link_down(self.now, link);
        }
        self.settle();
    }

    fn plan(&mut self, plan: &RoomPlan) {
        for agent in &mut self.agents {
            agent.handle_plan(plan.clone());
        }
        self.settle();
    }

    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < 1_000, "frames go round in circles");
            let mut moved = false;
            for n in 0..self.agents.len() {
                while let Some(output) = self.agents[n].poll_output() {
                    moved = true;
                    if let Output::Send(link, frame) = &output
                        && let Some((a, b)) = self.ends.get(link)
                    {
                        let to = if *a == n { *b } else { *a };
                        self.agents[to].handle_frame(*link, frame.clone());
                    }
                    self.log[n].push_back(output);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn publish(&mut self, at: usize, generation: u64) {
        let session = SessionId::from_bits(generation.into());
        self.agents[at].handle_claimed(&key(generation), "me".parse().unwrap(), session, UnixMillis(1));
        self.agents[at].handle_live(&key(generation), tracks());
        self.settle();
    }

    fn take(&mut self, n: usize) -> Vec<Output> {
        self.log[n].drain(..).collect()
    }

    fn is_live(&self, n: usize) -> bool {
        self.agents[n].live(&room()).count() == 1
    }
}

/// 0 ← 1 ← 2, and 3 under 0.
fn chain() -> World {
    let mut world = World::new(4);
    world.plan(&plan(1, &[(0, None), (1, Some(0)), (2, Some(1)), (3, Some(0))]));
    world.connect(1, 0);
    world.connect(2, 1);
    world.connect(3, 0);
    world
}

#[test]
fn a_stream_is_announced_along_the_tree_and_media_flows_only_where_it_is_wanted() {
    let mut world = chain();
    world.publish(3, 7);
    assert!((0..4).all(|n| world.is_live(n)), "announced upwards and down again");
    for n in 0..4 {
        world.take(n);
    }
    world.agents[2].handle_interest(&key(7), (0, 0), true);
    world.settle();
    for n in [3, 0, 1] {
        let forwards = world.take(n).iter().filter(|o| matches!(o, Output::Forward { .. })).count();
        assert_eq!(forwards, 1, "node {n} sends one copy towards the viewer");
    }
    world.agents[2].handle_interest(&key(7), (0, 0), false);
    world.settle();
    for n in [3, 0, 1] {
        let stops = world.take(n).iter().filter(|o| matches!(o, Output::Unforward { .. })).count();
        assert_eq!(stops, 1, "node {n} stops");
    }
    assert!(world.agents.iter().all(|a| a.kept().2 == 0), "no wish is left");
}

#[test]
fn children_dial_their_parents_and_nobody_else() {
    let mut world = chain();
    assert!(world.take(0).iter().all(|o| !matches!(o, Output::Dial(..))));
    let dials: Vec<Output> = world.take(2).into_iter().filter(|o| matches!(o, Output::Dial(..))).collect();
    assert_eq!(dials, [Output::Dial(node(1), incarnation(1))]);
    world.plan(&plan(2, &[(0, None), (1, Some(0)), (3, Some(0))]));
    assert!(world.take(2).contains(&Output::Forget(node(1), incarnation(1))));
}

#[test]
fn a_keyframe_wish_travels_to_the_origin() {
    let mut world = chain();
    world.publish(0, 7);
    world.agents[2].handle_keyframe_wanted(&key(7), (0, 0));
    world.settle();
    assert!(world.take(1).contains(&Output::Keyframe(key(7), (0, 0))), "merged at every hop by the shard");
}

#[test]
fn the_highest_generation_wins_and_the_old_publisher_is_told() {
    let mut world = chain();
    world.publish(3, 7);
    world.publish(2, 9);
    let ended = Output::End(SessionId::from_bits(7), EndReason::TakenOver);
    assert!(world.take(3).contains(&ended));
    world.agents[3].handle_unpublished(&key(7), EndReason::TakenOver);
    world.settle();
    for n in 0..4 {
        assert!(world.is_live(n), "node {n} has the newer one");
        assert!(!world.take(n).contains(&Output::Down(key(9), EndReason::TakenOver)));
    }
}

#[test]
fn a_generation_that_is_older_than_the_one_here_is_refused_with_a_code_of_its_own() {
    let mut world = World::new(2);
    world.plan(&plan(1, &[(0, None), (1, Some(0))]));
    // Both publish before they hear of each other.
    world.publish(0, 8);
    world.publish(1, 7);
    world.take(0);
    let link = world.connect(1, 0);
    let refusals = |outputs: &[Output]| -> Vec<RefuseCode> {
        let code = |output: &Output| match output {
            Output::Send(_, Control::Refuse { code, .. }) => Some(*code),
            _ => None,
        };
        outputs.iter().filter_map(code).collect()
    };
    assert_eq!(refusals(&world.take(0)), [RefuseCode::StaleGeneration]);
    assert_eq!(world.agents[0].refused().1, 1);
    let told = world.take(1);
    assert!(told.contains(&Output::End(SessionId::from_bits(7), EndReason::TakenOver)), "{told:?}");
    world.agents[1].handle_unpublished(&key(7), EndReason::TakenOver);
    world.settle();
    // Viewers there are served from the newer one.
    world.agents[1].handle_interest(&key(8), (0, 0), true);
    world.settle();
    let forwards = world.take(0);
    assert!(
        forwards
            .iter()
            .any(|o| matches!(o, Output::Forward { link: to, key: k, .. } if *to == link && *k == key(8))),
        "{forwards:?}"
    );
}

#[test]
fn an_announcement_that_comes_back_is_refused() {
    let mut world = World::new(3);
    // A plan that is no tree would be refused, so the circle is made of two plans that never met.
    let left = plan(1, &[(0, None), (1, Some(0)), (2, Some(1))]);
    let right = plan(2, &[(2, None), (0, Some(2)), (1, Some(0))]);
    world.agents[0].handle_plan(right.clone());
    world.agents[1].handle_plan(left.clone());
    world.agents[2].handle_plan(plan(3, &[(1, None), (2, Some(1)), (0, Some(2))]));
    world.connect(0, 1);
    world.connect(1, 2);
    world.connect(2, 0);
    world.publish(0, 5);
    let refused: u64 = world.agents.iter().map(|a| a.refused().0).sum();
    assert!(refused <= 2, "it starved instead of going round");
    assert!(world.is_live(1) && world.is_live(2));
}

#[test]
fn a_withdrawal_reaches_everyone() {
    let mut world = chain();
    world.publish(3, 7);
    world.agents[3].handle_unpublished(&key(7), EndReason::Closed);
    world.settle();
    for n in 0..3 {
        assert!(world.take(n).contains(&Output::Down(key(7), EndReason::Closed)), "node {n}");
        assert!(!world.is_live(n));
    }
}

#[test]
fn a_link_that_comes_back_within_time_ends_nothing_and_one_that_does_not_ends_the_stream() {
    let mut world = chain();
    world.publish(0, 7);
    world.agents[1].handle_interest(&key(7), (0, 0), true);
    world.settle();
    let link = *world.ends.iter().find(|(_, ends)| **ends == (1, 0)).unwrap().0;
    world.cut(link);
    world.take(1);
    let again = world.connect(1, 0);
    let outputs = world.take(1);
    assert!(
        outputs.iter().any(|o| matches!(o, Output::Up(up) if up.link == again)),
        "taken from the new link"
    );
    let subscribed = |o: &Output| matches!(o, Output::Send(l, freshet_relay_proto::control::Control::Subscribe { .. }) if *l == again);
    assert!(outputs.iter().any(subscribed), "and asked for again");
    world.cut(again);
    world.now += ORPHAN_MAX + Duration::from_secs(1);
    let now = world.now;
    world.agents[1].handle_timeout(now);
    world.settle();
    assert!(world.take(1).contains(&Output::Down(key(7), EndReason::NodeDead)));
}

#[test]
fn an_older_plan_is_not_obeyed() {
    let mut world = chain();
    assert!(!world.agents[2].handle_plan(plan(1, &[(0, None)])));
    assert!(!world.agents[2].handle_plan(plan(0, &[(0, None)])));
    assert_eq!(world.agents[2].plan(&room()).unwrap().epoch, Epoch(1));
}

#[test]
fn a_refused_subscription_does_not_touch_a_stream_that_has_the_same_alias_here() {
    let mut world = World::new(2);
    world.plan(&plan(1, &[(0, None), (1, Some(0))]));
    let link = world.connect(1, 0);
    world.publish(1, 7);
    world.agents[0].handle_interest(&key(7), (0, 0), true);
    world.settle();
    world.take(1);
    let alias = world.agents[1].streams.values().next().unwrap().alias;
    let frame = Control::Refuse { alias, code: RefuseCode::UnknownAlias };
    world.agents[1].handle_frame(link, frame);
    world.settle();
    assert_eq!(world.take(1), [], "its viewers at the other end go on");
}

#[test]
fn a_child_that_dies_takes_its_wishes_along_up_to_the_origin() {
    let mut world = chain();
    world.publish(0, 7);
    world.agents[2].handle_interest(&key(7), (0, 0), true);
    world.settle();
    world.take(0);
    world.take(1);
    let link = *world.ends.iter().find(|(_, ends)| **ends == (2, 1)).unwrap().0;
    world.cut(link);
    let asked_no_more = |o: &Output| matches!(o, Output::Send(_, Control::Unsubscribe { .. }));
    assert!(world.take(1).iter().any(asked_no_more), "nobody here wants it any more");
    assert!(
        world.take(0).iter().any(|o| matches!(o, Output::Unforward { .. })),
        "nothing is sent for nobody"
    );
    assert_eq!((world.agents[0].kept().2, world.agents[1].kept().2), (0, 0));
}

#[test]
fn rooms_that_come_and_go_leave_nothing_on_a_link() {
    let mut world = World::new(2);
    world.connect(1, 0);
    world.agents[0].handle_plan(plan(1, &[(0, None), (1, Some(0))]));
    world.publish(0, 7);
    for epoch in 1..40 {
        world.agents[1].handle_plan(plan(2 * epoch, &[(0, None), (1, Some(0))]));
        world.agents[0].handle_plan(plan(2 * epoch, &[(0, None), (1, Some(0))]));
        world.settle();
        assert!(world.is_live(1));
        world.agents[1].handle_plan(plan(2 * epoch + 1, &[(0, None)]));
        world.agents[0].handle_plan(plan(2 * epoch + 1, &[(0, None)]));
        world.settle();
        assert!(world.agents[1].peers.values().all(|peer| peer.aliases.is_empty()), "epoch {epoch}");
    }
    world.plan(&plan(1_000, &[(0, None), (1, Some(0))]));
    for generation in 8..40 {
        world.publish(0, generation);
    }
    assert!(world.agents[1].peers.values().all(|peer| peer.aliases.len() == 1), "one for the stream");
}

#[test]
fn a_plan_that_is_gone_goes_with_the_last_stream_of_its_room() {
    let mut world = chain();
    world.publish(0, 7);
    let link = *world.ends.iter().find(|(_, ends)| **ends == (1, 0)).unwrap().0;
    world.cut(link);
    world.agents[1].handle_plan_gone(&room());
    assert!(world.agents[1].plan(&room()).is_some(), "the stream may come by another way yet");
    world.now += ORPHAN_MAX + Duration::from_secs(1);
    let now = world.now;
    world.agents[1].handle_timeout(now);
    assert_eq!((world.agents[1].kept().0, world.agents[1].kept().1), (0, 0));
}

/// What an agent told its own shards of layers: place and rate.
fn told(world: &World, at: usize) -> Vec<Vec<(u8, u32)>> {
    let of = |output: &Output| match output {
        Output::Layers(_, rates) => Some(rates.iter().map(|rate| (rate.layer, rate.kbps)).collect()),
        _ => None,
    };
    world.log[at].iter().filter_map(of).collect()
}

#[test]
fn rates_of_layers_go_down_the_tree_and_reach_those_who_come_later() {
    let mut world = World::new(3);
    world.connect(0, 1);
    world.plan(&plan(1, &[(0, None), (1, Some(0))]));
    world.publish(0, 1);
    let layers = ["q", "h"].map(str::to_owned).to_vec();
    let tracks = vec![TrackInfo { id: 0, kind: MediaKind::Video, codecs: Vec::new(), layers }];
    world.agents[0].handle_live(&key(1), tracks);
    let rate = |layer, kbps| LayerRate { track: 0, layer, kbps };
    world.agents[0].handle_layers(
        &key(1),
        &[rate(0, 150), rate(1, 900), rate(2, 5), LayerRate { track: 9, ..rate(0, 1) }],
    );
    world.settle();
    assert_eq!(told(&world, 0), [[]; 0], "its own shards know it from each other");
    assert_eq!(told(&world, 1), [[(0, 150), (1, 900)]], "and of no layer that was not announced");

    world.agents[0].handle_layers(&key(1), &[rate(1, 0)]);
    world.settle();
    assert_eq!(told(&world, 1)[1..], [[(1, 0)]]);
    let link = world.connect(1, 2);
    world.plan(&plan(2, &[(0, None), (1, Some(0)), (2, Some(1))]));
    assert_eq!(told(&world, 2), [[(0, 150), (1, 0)]], "what is known, behind the announcement");

    // Only who announced the stream speaks of it.
    world.agents[1].handle_frame(link, Control::Layers { alias: 1, rates: vec![rate(0, 7)] });
    world.settle();
    assert_eq!(told(&world, 1).len(), 2);
    world.agents[0].handle_layers(&key(0), &[rate(0, 3)]);
    world.settle();
    assert_eq!(told(&world, 1).len(), 2, "an older publish");
}
