//! What was observed: nodes, plans, streams and who carries what.
//!
//! Three sources feed it: the store (records, plans, stream keys), the bus (heartbeats, stream events) and this
//! coordinator's own writes. A vanished key removes nothing but the knowledge that it is registered. Heartbeats are
//! ordered by (incarnation, seq), plans by epoch; store revisions serve compare-and-swap.

pub mod ledger;
pub mod nodes;
pub mod rooms;
pub mod streams;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use freshet_cluster::load::NodeLoad;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::record::{NodeRecord, StreamRecord};
use freshet_cluster::room::StreamEvent;
use freshet_cluster::{Epoch, Incarnation, NodeId, RoomId, StreamId};

use crate::liveness::{self, Evidence, Liveness, SILENCE};
use nodes::NodeView;
pub use rooms::Rev;
use rooms::{RoomView, Rooms};
use streams::{StreamView, Streams};

/// A dead node that nothing names any more is forgotten after so long.
const FORGET_DEAD: Duration = Duration::from_secs(60);

/// An incarnation that was found dead, with the streams that ended by it.
#[derive(Debug, Clone)]
pub struct Death {
    /// Who.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Another incarnation took its place.
    pub superseded: bool,
    /// What ended.
    pub streams: Vec<(RoomId, StreamId, StreamView)>,
}

/// Everything observed.
#[derive(Debug, Clone)]
pub struct View {
    nodes: BTreeMap<NodeId, NodeView>,
    nodes_synced: bool,
    rooms_synced: bool,
    rooms: Rooms,
    streams: Streams,
    bus_up_since: Option<Instant>,
    store_up: bool,
    changed: BTreeSet<RoomId>,
}

impl View {
    /// Nothing observed yet: store and bus count as away until they speak.
    pub fn new() -> Self {
        Self {
            nodes: BTreeMap::new(),
            nodes_synced: false,
            rooms_synced: false,
            rooms: Rooms::default(),
            streams: Streams::default(),
            bus_up_since: None,
            store_up: false,
            changed: BTreeSet::new(),
        }
    }

    // --- the store ---

    /// The store is away or back.
    pub fn handle_store(&mut self, up: bool) {
        self.store_up = up;
    }

    /// The whole registry was read.
    pub fn handle_nodes(&mut self, records: Vec<NodeRecord>, now: Instant) -> Vec<Death> {
        self.store_up = true;
        self.nodes_synced = true;
        let present: BTreeSet<NodeId> = records.iter().map(|record| record.id.clone()).collect();
        for (id, node) in &mut self.nodes {
            node.registered &= present.contains(id);
        }
        records.into_iter().filter_map(|record| self.enter(record, now, false)).collect()
    }

    /// A node registered, or changed its record. A new incarnation means that the old one is dead.
    pub fn handle_node(&mut self, record: NodeRecord, now: Instant) -> Option<Death> {
        let newcomer = self.nodes_synced;
        self.enter(record, now, newcomer)
    }

    fn enter(&mut self, record: NodeRecord, now: Instant, newcomer: bool) -> Option<Death> {
        let id = record.id.clone();
        if let Some(node) = self.nodes.get_mut(&id)
            && node.incarnation() == record.incarnation
        {
            node.record = record;
            node.registered = true;
            node.dead = false;
            return None;
        }
        let old = self.nodes.insert(id.clone(), NodeView::new(record, now, newcomer))?;
        self.rooms.handle_gone(&id, old.incarnation(), &mut self.changed);
        if old.dead { None } else { Some(self.death(&id, old.incarnation(), true, now)) }
    }

    /// A node's key is gone: its lease ended, or the store lost it. Nothing follows from that alone.
    pub fn handle_node_gone(&mut self, id: &NodeId) {
        if let Some(node) = self.nodes.get_mut(id) {
            node.registered = false;
        }
    }

    /// All plans and streams were read. Plans that the listing lacks were removed, unless the store was wiped:
    /// then they are kept as what the nodes still run, to be written again.
    pub fn handle_rooms(
        &mut self,
        plans: Vec<(RoomPlan, Rev)>,
        streams: &[StreamRecord],
        at: Rev,
        wiped: bool,
        now: Instant,
    ) {
        self.store_up = true;
        self.rooms_synced = true;
        self.rooms.handle_listing(plans, at, wiped, now, &mut self.changed);
        for record in streams {
            self.handle_stream(record, now);
        }
    }

    /// A plan was written, by whomever.
    pub fn handle_plan(&mut self, plan: RoomPlan, revision: Rev, now: Instant) {
        self.changed.insert(plan.room.clone());
        self.rooms.handle_plan(plan, revision, now);
    }

    /// A plan was read because a write of ours met another revision than expected. What was read is how it stands,
    /// even at a lower revision: then the store has lost its past and the watch has not told yet.
    pub fn handle_plan_read(&mut self, plan: RoomPlan, revision: Rev, now: Instant) {
        self.rooms.handle_plan_missing(&plan.room);
        self.handle_plan(plan, revision, now);
    }

    /// A plan was removed, by whomever.
    pub fn handle_plan_gone(&mut self, room: &RoomId, revision: Rev) {
        self.changed.insert(room.clone());
        self.rooms.handle_plan_gone(room, revision);
    }

    /// A plan was expected in the store and is not there.
    pub fn handle_plan_missing(&mut self, room: &RoomId) {
        self.rooms.handle_plan_missing(room);
    }

    /// A stream's key was written.
    pub fn handle_stream(&mut self, record: &StreamRecord, now: Instant) {
        if self.streams.handle_record(record, now) {
            self.changed.insert(record.room.clone());
        }
    }

    // --- the bus ---

    /// The bus works or does not. Silence is counted only while it works.
    pub fn handle_bus(&mut self, up: bool, now: Instant) {
        match (up, self.bus_up_since) {
            (true, None) => self.bus_up_since = Some(now),
            (false, Some(_)) => self.bus_up_since = None,
            _ => {}
        }
    }

    /// A heartbeat arrived. An older one, or one of an incarnation that is not the registered one, changes nothing.
    pub fn handle_load(&mut self, load: &NodeLoad, now: Instant) {
        let Some(node) = self.nodes.get_mut(&load.node) else { return };
        if node.incarnation() != load.incarnation || !node.handle_load(load, now) {
            return;
        }
        node.dead = false;
        self.rooms.handle_load(load, now, &mut self.changed);
        let ended = self.streams.handle_load(&load.node, load.incarnation, &load.rooms, now);
        self.changed.extend(ended);
    }

    /// A stream event arrived.
    pub fn handle_stream_event(&mut self, event: &StreamEvent, now: Instant) {
        let incarnation = self.nodes.get(&event.node).map(NodeView::incarnation);
        if self.streams.handle_event(event, incarnation, now) {
            self.changed.insert(event.room.clone());
        }
    }

    // --- this coordinator's own calls ---

    /// A join is being sent to a node.
    pub fn handle_join_sent(&mut self, node: &NodeId, incarnation: Incarnation) {
        self.with(node, incarnation, |node| node.ledger.handle_sent());
    }

    /// A node accepted a join, or may have.
    pub fn handle_join_accepted(
        &mut self,
        room: &RoomId,
        node: &NodeId,
        incarnation: Incarnation,
        now: Instant,
    ) {
        self.with(node, incarnation, |node| node.ledger.handle_accepted(now));
        self.rooms.handle_assigned(room, node, now);
    }

    /// A node refused a join.
    pub fn handle_join_refused(&mut self, node: &NodeId, incarnation: Incarnation) {
        self.with(node, incarnation, |node| node.ledger.handle_refused());
    }

    /// A call to a node failed before it answered.
    pub fn handle_unreachable(&mut self, node: &NodeId, incarnation: Incarnation, now: Instant) {
        self.with(node, incarnation, |node| node.handle_unreachable(now));
    }

    fn with(&mut self, id: &NodeId, incarnation: Incarnation, act: impl FnOnce(&mut NodeView)) {
        if let Some(node) = self.nodes.get_mut(id)
            && node.incarnation() == incarnation
        {
            act(node);
        }
    }

    // --- time ---

    /// Looks for deaths and forgets what is long over.
    pub fn handle_timeout(&mut self, now: Instant) -> Vec<Death> {
        self.streams.handle_timeout(now);
        let dead: Vec<_> = self
            .nodes
            .iter()
            .filter(|(id, node)| !node.dead && self.liveness(id, node.incarnation(), now) == Liveness::Dead)
            .map(|(id, node)| (id.clone(), node.incarnation()))
            .collect();
        let deaths = dead.iter().map(|(id, incarnation)| self.death(id, *incarnation, false, now)).collect();
        self.nodes.retain(|_, node| {
            !(node.dead && !node.registered && now.saturating_duration_since(node.heard_at) >= FORGET_DEAD)
        });
        deaths
    }

    fn death(&mut self, id: &NodeId, incarnation: Incarnation, superseded: bool, now: Instant) -> Death {
        if !superseded && let Some(node) = self.nodes.get_mut(id) {
            node.dead = true;
        }
        self.rooms.handle_gone(id, incarnation, &mut self.changed);
        let streams = self.streams.handle_dead(id, incarnation, now);
        self.changed.extend(streams.iter().map(|(room, _, _)| room.clone()));
        Death { node: id.clone(), incarnation, superseded, streams }
    }

    // --- what it says ---

    /// The verdict on an incarnation, known or not (a plan may name one that nobody has seen since we started).
    pub fn liveness(&self, id: &NodeId, incarnation: Incarnation, now: Instant) -> Liveness {
        let node = self.nodes.get(id);
        let same = node.filter(|node| node.incarnation() == incarnation);
        let since = same.map(|node| node.heard_at).or_else(|| self.rooms.first_named(id, incarnation));
        let silent_for = since.map_or(Duration::ZERO, |since| self.silence(since, now));
        let key_gone = self.nodes_synced && !same.is_some_and(|node| node.registered);
        liveness::judge(&Evidence {
            superseded: node.is_some_and(|node| node.incarnation() != incarnation),
            key_gone,
            silent_for,
            // The last witness is heard only when the others have left: it takes a walk over all nodes' links.
            linked: key_gone && silent_for >= SILENCE && self.linked(id, incarnation, now),
            draining: same.is_some_and(NodeView::draining),
        })
    }

    fn silence(&self, since: Instant, now: Instant) -> Duration {
        self.bus_up_since.map_or(Duration::ZERO, |up| now.saturating_duration_since(since.max(up)))
    }

    /// Whether a node that is itself heard reports a live link with this incarnation.
    fn linked(&self, id: &NodeId, incarnation: Incarnation, now: Instant) -> bool {
        self.nodes.iter().filter(|(other, _)| *other != id).any(|(_, other)| {
            let heard = now.saturating_duration_since(other.heard_at) < SILENCE;
            let links = other.load.iter().flat_map(|load| &load.links);
            heard && links.into_iter().any(|link| &link.peer == id && link.incarnation == incarnation)
        })
    }

    /// Rooms whose streams or plans changed since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<RoomId> {
        std::mem::take(&mut self.changed)
    }

    /// The registry and the plans have been read at least once.
    pub fn is_synced(&self) -> bool {
        self.nodes_synced && self.rooms_synced
    }

    /// How many nodes the registry holds.
    pub fn registered(&self) -> usize {
        self.nodes.values().filter(|node| node.registered).count()
    }

    /// Nodes that the registry holds and that were never heard in this incarnation.
    pub fn unheard(&self) -> impl Iterator<Item = &NodeId> {
        self.nodes.iter().filter(|(_, node)| node.registered && node.load.is_none()).map(|(id, _)| id)
    }

    /// The store answered when last heard of.
    pub fn is_store_up(&self) -> bool {
        self.store_up
    }

    /// All known nodes, in the order of their ids.
    pub fn nodes(&self) -> impl Iterator<Item = (&NodeId, &NodeView)> {
        self.nodes.iter()
    }

    /// One node.
    pub fn node(&self, id: &NodeId) -> Option<&NodeView> {
        self.nodes.get(id)
    }

    /// One room as far as plan and carriers go.
    pub fn room(&self, room: &RoomId) -> Option<&RoomView> {
        self.rooms.get(room)
    }

    /// The streams of a room, the recently ended included.
    pub fn streams(&self, room: &RoomId) -> impl Iterator<Item = (&StreamId, &StreamView)> {
        self.streams.room(room)
    }

    /// Whether a room has anything to show: a plan, a carrier or a stream that has not ended.
    pub fn rooms(&self) -> BTreeSet<RoomId> {
        let with_streams = self.streams.rooms().filter(|room| {
            self.streams.room(room).any(|(_, stream)| !matches!(stream.phase, streams::Phase::Ended(_)))
        });
        self.rooms.ids().chain(with_streams).cloned().collect()
    }

    /// The plan that the room runs, as far as known.
    pub fn plan(&self, room: &RoomId) -> Option<&RoomPlan> {
        self.rooms.get(room)?.plan.as_ref()
    }

    /// Viewers of a room in the whole cluster.
    pub fn viewers(&self, room: &RoomId) -> u32 {
        self.rooms.get(room).map_or(0, RoomView::viewers)
    }

    /// When the last heartbeat of this incarnation arrived.
    pub fn heard_at(&self, id: &NodeId, incarnation: Incarnation) -> Option<Instant> {
        let node = self.nodes.get(id).filter(|node| node.incarnation() == incarnation && node.load.is_some());
        node.map(|node| node.heard_at)
    }

    /// The highest epoch of a room's plan that anyone is known to know.
    pub fn known_epoch(&self, room: &RoomId) -> Epoch {
        self.rooms.get(room).map_or(Epoch(0), RoomView::known_epoch)
    }
}

impl Default for View {
    fn default() -> Self {
        Self::new()
    }
}
