//! What crosses the links of a tree of nodes: each layer that somebody behind a link wants once, and no other.
//!
//! Three nodes in a row, each with its shard, switchboard and agent. Links are all that is not the real thing: what one end
//! says, the other hears.

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_cluster::plan::{Member, RoomPlan};
use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::Unknown;
use freshet_cluster::{Epoch, Incarnation, NodeId};
use str0m::format::Codec;
use str0m::media::MediaKind::Video;

use super::world::World;
use crate::agent::{self, Agent, Lane, Link};
use crate::service::Direction::View;
use crate::sfu::{Event, Hop};
use crate::switchboard::{self, Forward, Switchboard};

/// Track and layer of the two encodings.
const LOW: Lane = (0, 0);
const HIGH: Lane = (0, 1);
/// Name, packets of a frame and bytes of a packet.
const LAYERS: [(&str, u64, usize); 2] = [("l", 1, 300), ("h", 4, 1_000)];
const FRAME: Duration = Duration::from_millis(30);

struct Node {
    world: World,
    board: Switchboard,
    agent: Agent,
}

/// The publisher is at the first node; link n lies between nodes n and n + 1.
struct Row {
    nodes: Vec<Node>,
    frame: u32,
    /// Indices that crossed a link, for each lane.
    crossed: BTreeMap<(Link, Lane), Vec<u64>>,
}

fn name(n: usize) -> NodeId {
    format!("n{n}").parse().unwrap()
}

fn incarnation(n: usize) -> Incarnation {
    Incarnation::from_bits(n as u64)
}

fn link(n: usize) -> Link {
    Link(n as u32)
}

fn plan(count: usize) -> RoomPlan {
    let member = |n: usize| Member {
        node: name(n),
        incarnation: incarnation(n),
        parent: n.checked_sub(1).map(name),
        standby: None,
        unknown: Unknown::new(),
    };
    let members = (0..count).map(member).collect();
    RoomPlan { epoch: Epoch(1), members, ..RoomPlan::empty("room".parse().unwrap()) }
}

impl Row {
    fn new(count: usize) -> Self {
        let home = World::with_layers(&LAYERS.map(|(name, ..)| name));
        let (now, session) = (home.now, home.clients[0].session);
        let mut worlds = vec![home];
        worlds.resize_with(count, World::new);
        let mut nodes = Vec::new();
        for (n, mut world) in worlds.into_iter().enumerate() {
            world.now = now;
            let (board, mut agent) = (Switchboard::new(1), Agent::new(name(n), incarnation(n)));
            agent.handle_plan(plan(count));
            nodes.push(Node { world, board, agent });
        }
        nodes[0].agent.handle_claimed(&World::key(1), "me".parse().unwrap(), session, UnixMillis(1));
        let mut row = Self { nodes, frame: 0, crossed: BTreeMap::new() };
        for n in 1..count {
            row.nodes[n - 1].agent.handle_link_up(link(n - 1), name(n), incarnation(n));
            row.nodes[n].agent.handle_link_up(link(n - 1), name(n - 1), incarnation(n - 1));
        }
        row.settle();
        row
    }

    /// The node at the other end of a link.
    fn across(at: usize, over: Link) -> usize {
        let low = over.0 as usize;
        if at == low { low + 1 } else { low }
    }

    fn settle(&mut self) {
        for _ in 0..1_000 {
            let mut moved = false;
            for at in 0..self.nodes.len() {
                moved |= self.shard(at) | self.agent(at) | self.board(at) | self.packets(at);
            }
            if !moved {
                return;
            }
        }
        panic!("it never settles");
    }

    fn shard(&mut self, at: usize) -> bool {
        let Node { world, board, agent } = &mut self.nodes[at];
        let mut moved = false;
        while let Some(event) = world.sfu.poll_event() {
            moved = true;
            match event {
                Event::Live(key, tracks) => {
                    board.handle_live(0, &key, UnixMillis(1), tracks.clone());
                    agent.handle_live(&key, tracks);
                }
                Event::Layers(key, rates) => {
                    board.handle_layers(Some(0), &key, &rates);
                    agent.handle_layers(&key, &rates);
                }
                Event::Interest(key, lane, on) => board.handle_interest(0, &key, lane, on),
                Event::KeyframeWanted(key, lane) => board.handle_keyframe_wanted(0, &key, lane),
                _ => {}
            }
        }
        moved
    }

    fn agent(&mut self, at: usize) -> bool {
        use agent::Output;
        let mut moved = false;
        while let Some(output) = self.nodes[at].agent.poll_output() {
            moved = true;
            let board = &mut self.nodes[at].board;
            match output {
                Output::Send(over, frame) => {
                    self.nodes[Self::across(at, over)].agent.handle_frame(over, frame);
                }
                Output::Up(stream) => board.handle_up(stream),
                Output::Layers(key, rates) => board.handle_layers(None, &key, &rates),
                Output::Down(key, _) => board.handle_down(&key),
                Output::Forward { key, lane, link, alias, from } => {
                    board.handle_forward(Forward { key, lane, hop: Hop::Link(link), alias, from });
                }
                Output::Unforward { key, lane, link } => board.handle_unforward(key, lane, link),
                Output::Keyframe(key, lane) => board.handle_keyframe(key, lane),
                Output::Dial(..) => {}
                other => panic!("{other:?}"),
            }
        }
        moved
    }

    fn board(&mut self, at: usize) -> bool {
        use switchboard::Output;
        let Node { world, board, agent } = &mut self.nodes[at];
        let (now, sfu) = (world.now, &mut world.sfu);
        let mut moved = false;
        while let Some(output) = board.poll_output() {
            moved = true;
            match output {
                Output::Up(_, incoming) => sfu.handle_incoming_up(now, incoming),
                Output::Layers(_, key, rates) => sfu.handle_layers(now, &key, &rates),
                Output::Down(_, key) => sfu.handle_incoming_down(now, &key),
                Output::Forward(_, Forward { key, lane, hop, alias, from }) => {
                    sfu.handle_forward(now, &key, lane, hop, alias, from);
                }
                Output::Unforward(_, key, lane, hop) => sfu.handle_unforward(&key, lane, hop),
                Output::Keyframe(_, key, lane) => sfu.handle_keyframe_request(now, &key, lane),
                Output::Interest(key, lane, on) => agent.handle_interest(&key, lane, on),
                Output::KeyframeWanted(key, lane) => agent.handle_keyframe_wanted(&key, lane),
            }
        }
        moved
    }

    fn packets(&mut self, at: usize) -> bool {
        let packets: Vec<_> = self.nodes[at].world.sfu.drain_hop_packets().collect();
        let moved = !packets.is_empty();
        for packet in packets {
            let Hop::Link(over) = packet.hop else { panic!("{:?}", packet.hop) };
            self.crossed.entry((over, packet.lane)).or_default().push(packet.packet.index);
            let World { sfu, now, .. } = &mut self.nodes[Self::across(at, over)].world;
            sfu.handle_hop_packet(*now, packet.hop, packet.alias, packet.lane, packet.packet);
        }
        moved
    }

    /// The publisher sends so many frames of each layer.
    fn run(&mut self, frames: u32) {
        for _ in 0..frames {
            for (layer, packets, size) in LAYERS {
                let first = 1_000 + u64::from(self.frame) * packets;
                let make = |n: u64, key: bool| {
                    let mut payload = vec![layer.as_bytes()[0]; size];
                    payload[0] = if key && n == 0 { 0x65 } else { 0x41 };
                    payload
                };
                let home = &mut self.nodes[0].world;
                home.layer_frame_of(0, (Codec::H264, layer), (first, packets), self.frame * 2_700, make);
            }
            self.frame += 1;
            for _ in 0..3 {
                for node in &mut self.nodes {
                    node.world.pass(FRAME / 3);
                }
                self.settle();
            }
        }
    }

    /// A viewer of a node who picks a layer.
    fn join(&mut self, at: usize, layer: &str) -> usize {
        let viewer = self.nodes[at].world.join(View, &[Video]);
        self.run(20);
        self.pick(at, viewer, layer);
        viewer
    }

    fn pick(&mut self, at: usize, viewer: usize, layer: &str) {
        self.nodes[at].world.pick(viewer, layer).unwrap();
    }

    fn leave(&mut self, at: usize, viewer: usize) {
        let World { sfu, now, clients, .. } = &mut self.nodes[at].world;
        assert!(sfu.end(*now, clients[viewer].session, EndReason::Closed));
    }

    /// Once all has changed over, each of these layers crosses a link once, in order, and no other does at all.
    fn assert_crosses(&mut self, over: usize, lanes: &[Lane]) {
        self.run(45);
        self.crossed.clear();
        self.run(30);
        for (lane, (layer, packets, _)) in [LOW, HIGH].into_iter().zip(LAYERS) {
            let crossed = self.crossed.get(&(link(over), lane)).map(Vec::as_slice).unwrap_or_default();
            let wanted = if lanes.contains(&lane) { 30 * packets } else { 0 };
            assert_eq!(crossed.len() as u64, wanted, "{layer} over link {over}");
            let once = crossed.windows(2).all(|two| two[0] + 1 == two[1]);
            assert!(once, "{layer} over link {over}: {crossed:?}");
        }
    }

    /// What a viewer was shown last.
    fn shown(&self, at: usize, viewer: usize) -> u8 {
        self.nodes[at].world.clients[viewer].got.last().unwrap().payload[1]
    }
}

#[test]
fn a_link_carries_each_wanted_layer_once_and_no_other() {
    let mut row = Row::new(3);
    for over in [0, 1] {
        row.assert_crosses(over, &[]);
    }
    let far: Vec<usize> = (0..3).map(|_| row.join(2, "h")).collect();
    for over in [0, 1] {
        row.assert_crosses(over, &[HIGH]);
    }
    row.pick(2, far[0], "l");
    for over in [0, 1] {
        row.assert_crosses(over, &[LOW, HIGH]);
    }
    assert_eq!([row.shown(2, far[0]), row.shown(2, far[1])], *b"lh");

    // Both ways of the middle node: its own viewers and the node behind it.
    let near = [row.join(1, "l"), row.join(1, "h")];
    for over in [0, 1] {
        row.assert_crosses(over, &[LOW, HIGH]);
    }
    for viewer in &far {
        row.pick(2, *viewer, "l");
    }
    row.assert_crosses(1, &[LOW]);
    row.assert_crosses(0, &[LOW, HIGH]);
    row.pick(1, near[1], "l");
    row.assert_crosses(0, &[LOW]);

    for viewer in far {
        row.leave(2, viewer);
    }
    row.assert_crosses(1, &[]);
    row.assert_crosses(0, &[LOW]);
    for viewer in near {
        row.leave(1, viewer);
    }
    row.assert_crosses(0, &[]);
}
