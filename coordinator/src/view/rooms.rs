//! Rooms: the plan that the store holds, and who in fact carries what.
//!
//! The two disagree for moments, and for longer after a store lost its past: `core` reconciles them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use freshet_cluster::load::NodeLoad;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::{Epoch, Incarnation, NodeId, RoomId};

/// A store revision, as far as a machine needs to know it: newer, older or the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rev(pub u64);

/// What a node's heartbeat says of one room.
#[derive(Debug, Clone)]
pub struct Carrier {
    /// Which start of the node.
    pub incarnation: Incarnation,
    /// The newest plan that it knows.
    pub epoch: Epoch,
    /// Viewers there.
    pub viewers: u32,
    /// Publishers there.
    pub publishers: u32,
    /// When it last changed between having sessions of the room and having none.
    pub since: Instant,
}

impl Carrier {
    /// It has sessions of the room.
    pub fn is_busy(&self) -> bool {
        self.viewers > 0 || self.publishers > 0
    }
}

/// One room.
#[derive(Debug, Clone, Default)]
pub struct RoomView {
    /// The newest plan known.
    pub plan: Option<RoomPlan>,
    /// Where the store holds a plan of this room; none when it holds none (or lost it).
    pub stored: Option<(Rev, Epoch)>,
    /// Who carries the room, by the heartbeats.
    pub carriers: BTreeMap<NodeId, Carrier>,
    /// When each member was first seen in the plan.
    pub member_since: BTreeMap<(NodeId, Incarnation), Instant>,
    /// When this coordinator last gave a session of this room to a node.
    pub assigned_at: BTreeMap<NodeId, Instant>,
}

impl RoomView {
    /// Viewers in the whole cluster.
    pub fn viewers(&self) -> u32 {
        self.carriers.values().fold(0, |sum, carrier| sum.saturating_add(carrier.viewers))
    }

    /// The highest epoch that anyone is known to know.
    pub fn known_epoch(&self) -> Epoch {
        let planned = self.plan.as_ref().map(|plan| plan.epoch);
        let stored = self.stored.map(|(_, epoch)| epoch);
        let carried = self.carriers.values().map(|carrier| carrier.epoch).max();
        planned.max(stored).max(carried).unwrap_or_default()
    }

    fn note_members(&mut self, now: Instant) {
        let names: Vec<_> = self
            .plan
            .iter()
            .flat_map(|plan| &plan.members)
            .map(|m| (m.node.clone(), m.incarnation))
            .collect();
        self.member_since.retain(|name, _| names.contains(name));
        for name in names {
            self.member_since.entry(name).or_insert(now);
        }
        let plan = self.plan.as_ref();
        let is_member = |node: &NodeId| plan.is_some_and(|plan| plan.member(node).is_some());
        self.assigned_at.retain(|node, _| is_member(node));
        self.carriers.retain(|node, carrier| carrier.is_busy() || is_member(node));
    }

    fn is_empty(&self) -> bool {
        self.plan.is_none() && self.stored.is_none() && self.carriers.is_empty()
    }
}

/// All rooms.
#[derive(Debug, Clone, Default)]
pub struct Rooms {
    rooms: BTreeMap<RoomId, RoomView>,
    by_node: BTreeMap<NodeId, BTreeSet<RoomId>>,
}

impl Rooms {
    /// All plans were read at revision `at`.
    pub fn handle_listing(
        &mut self,
        plans: Vec<(RoomPlan, Rev)>,
        at: Rev,
        wiped: bool,
        now: Instant,
        changed: &mut BTreeSet<RoomId>,
    ) {
        let present: BTreeSet<RoomId> = plans.iter().map(|(plan, _)| plan.room.clone()).collect();
        for (id, room) in self.rooms.iter_mut().filter(|(id, _)| !present.contains(*id)) {
            // Our own write may be newer than the listing; after a wipe no old revision means anything.
            if !wiped && room.stored.is_some_and(|(revision, _)| revision > at) {
                continue;
            }
            if room.stored.take().is_some() {
                changed.insert(id.clone());
                if !wiped {
                    room.plan = None;
                    room.note_members(now);
                }
            }
        }
        for (plan, revision) in plans {
            changed.insert(plan.room.clone());
            if wiped && let Some(room) = self.rooms.get_mut(&plan.room) {
                room.stored = None;
            }
            self.handle_plan(plan, revision, now);
        }
        self.forget_empty();
    }

    /// A plan stands in the store at `revision`. A plan of a lower epoch than the one known is only remembered as
    /// what has to be overwritten.
    pub fn handle_plan(&mut self, plan: RoomPlan, revision: Rev, now: Instant) {
        let room = self.rooms.entry(plan.room.clone()).or_default();
        if room.stored.is_some_and(|(known, _)| known >= revision) {
            return;
        }
        room.stored = Some((revision, plan.epoch));
        if room.plan.as_ref().is_none_or(|known| known.epoch <= plan.epoch) {
            room.plan = Some(plan);
            room.note_members(now);
        }
    }

    /// A plan's key was removed at `revision`.
    pub fn handle_plan_gone(&mut self, id: &RoomId, revision: Rev) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        if room.stored.is_some_and(|(known, _)| known > revision) {
            return;
        }
        room.stored = None;
        room.plan = None;
        room.member_since.clear();
        room.assigned_at.clear();
        room.carriers.retain(|_, carrier| carrier.is_busy());
        self.forget_empty_room(id);
    }

    /// The store was found without a plan of this room where one was expected. What the nodes run is kept, to be
    /// written again above its epoch.
    pub fn handle_plan_missing(&mut self, id: &RoomId) {
        if let Some(room) = self.rooms.get_mut(id) {
            room.stored = None;
        }
    }

    /// A newer heartbeat says what its node carries.
    pub fn handle_load(&mut self, load: &NodeLoad, now: Instant, changed: &mut BTreeSet<RoomId>) {
        let carried: BTreeSet<RoomId> = load.rooms.iter().map(|room| room.room.clone()).collect();
        let before = self.by_node.insert(load.node.clone(), carried.clone()).unwrap_or_default();
        for id in before.difference(&carried) {
            self.rest_carrier(id, &load.node, now);
            changed.insert(id.clone());
        }
        for told in &load.rooms {
            let room = self.rooms.entry(told.room.clone()).or_default();
            let publishers = u32::try_from(told.streams.len()).unwrap_or(u32::MAX);
            let busy = told.viewers > 0 || publishers > 0;
            let since = room
                .carriers
                .get(&load.node)
                .filter(|old| old.incarnation == load.incarnation && old.is_busy() == busy);
            let carrier = Carrier {
                incarnation: load.incarnation,
                epoch: told.epoch,
                viewers: told.viewers,
                publishers,
                since: since.map_or(now, |old| old.since),
            };
            room.carriers.insert(load.node.clone(), carrier);
        }
    }

    /// An incarnation is dead: it carries nothing.
    pub fn handle_gone(&mut self, node: &NodeId, incarnation: Incarnation, changed: &mut BTreeSet<RoomId>) {
        let carried = self.by_node.get(node).cloned().unwrap_or_default();
        for id in carried {
            let same = self.rooms.get(&id).and_then(|room| room.carriers.get(node));
            if same.is_some_and(|carrier| carrier.incarnation == incarnation) {
                self.drop_carrier(&id, node);
                changed.insert(id.clone());
                if let Some(rooms) = self.by_node.get_mut(node) {
                    rooms.remove(&id);
                }
            }
        }
    }

    /// This coordinator gave a session of the room to a node.
    pub fn handle_assigned(&mut self, room: &RoomId, node: &NodeId, now: Instant) {
        if let Some(room) = self.rooms.get_mut(room) {
            room.assigned_at.insert(node.clone(), now);
        }
    }

    /// One room.
    pub fn get(&self, room: &RoomId) -> Option<&RoomView> {
        self.rooms.get(room)
    }

    /// All rooms with a plan or a carrier.
    pub fn ids(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.keys()
    }

    /// When a plan first named this incarnation.
    pub fn first_named(&self, node: &NodeId, incarnation: Incarnation) -> Option<Instant> {
        let name = (node.clone(), incarnation);
        self.rooms.values().filter_map(|room| room.member_since.get(&name)).min().copied()
    }

    /// A node no longer lists the room. As long as it is a member, the time since when it rests is kept.
    fn rest_carrier(&mut self, id: &RoomId, node: &NodeId, now: Instant) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        let is_member = room.plan.as_ref().is_some_and(|plan| plan.member(node).is_some());
        match room.carriers.get_mut(node) {
            Some(carrier) if is_member && carrier.is_busy() => {
                carrier.viewers = 0;
                carrier.publishers = 0;
                carrier.since = now;
            }
            Some(_) if is_member => {}
            _ => self.drop_carrier(id, node),
        }
    }

    fn drop_carrier(&mut self, id: &RoomId, node: &NodeId) {
        if let Some(room) = self.rooms.get_mut(id) {
            room.carriers.remove(node);
        }
        self.forget_empty_room(id);
    }

    fn forget_empty_room(&mut self, id: &RoomId) {
        if self.rooms.get(id).is_some_and(RoomView::is_empty) {
            self.rooms.remove(id);
        }
    }

    fn forget_empty(&mut self) {
        self.rooms.retain(|_, room| !room.is_empty());
    }
}
