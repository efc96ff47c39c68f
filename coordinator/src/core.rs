//! The machine between what is observed and what is done: inputs go into the view, outputs come out.
//!
//! Two questions are asked of it: which plan lets a node carry a room ([`Core::plan_for`], a join), and whether a
//! room's plan still fits what the nodes run ([`Core::repairs`]). Repairs bury the dead at once, take out members
//! that have had no session for the linger time, and write a plan again when nodes carry the room without it or know
//! a later epoch: that is how plans come back after a store lost its past. Every replica may repair; compare-and-
//! swap lets one of them win and the others find nothing left to do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use freshet_cluster::load::NodeLoad;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::record::{NodeRecord, StreamRecord};
use freshet_cluster::room::StreamEvent;
use freshet_cluster::{Incarnation, NodeId, RoomId};

use crate::cascade::{self, AllFacts, CascadeError, Facts};
use crate::liveness::Liveness;
use crate::place;
use crate::view::{Death, Rev, View};

/// A disagreement between a plan and the heartbeats must last so long before it is repaired: joins in progress and
/// watches that lag look like disagreements for moments.
const SETTLE: Duration = Duration::from_secs(2);
/// How often deaths and repairs are looked for.
const CHECK_EVERY: Duration = Duration::from_millis(250);

/// What is to be done.
#[derive(Debug, Clone)]
pub enum Output {
    /// An incarnation died; its streams have ended and the rooms must be told.
    Died(Death),
    /// Streams or plan of a room changed.
    Changed(RoomId),
}

/// A write that makes a plan fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The room.
    pub room: RoomId,
    /// The revision that must still stand; none when the store must hold no plan.
    pub expect: Option<Rev>,
    /// The plan; none to remove the key of a room that nobody carries.
    pub plan: Option<RoomPlan>,
}

/// Whether a node can take a session of a room under the plan as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The node is a member.
    Ready(RoomPlan),
    /// The plan must be written first.
    Write(Write),
    /// The node is no member and the store is away.
    StoreAway,
}

/// The coordinator's state.
#[derive(Debug, Clone)]
pub struct Core {
    view: View,
    linger: Duration,
    outputs: VecDeque<Output>,
    unsettled: BTreeMap<RoomId, Instant>,
    next_check: Option<Instant>,
}

impl Core {
    /// An empty state; `linger` is how long a member without sessions stays in a tree.
    pub fn new(linger: Duration) -> Self {
        Self {
            view: View::new(),
            linger,
            outputs: VecDeque::new(),
            unsettled: BTreeMap::new(),
            next_check: None,
        }
    }

    /// What was observed so far.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The store is away or back.
    pub fn handle_store(&mut self, up: bool) {
        self.view.handle_store(up);
    }

    /// The bus is away or back.
    pub fn handle_bus(&mut self, up: bool, now: Instant) {
        self.view.handle_bus(up, now);
    }

    /// The whole registry was read.
    pub fn handle_nodes(&mut self, records: Vec<NodeRecord>, now: Instant) {
        let deaths = self.view.handle_nodes(records, now);
        self.note(deaths);
    }

    /// A node's record was written.
    pub fn handle_node(&mut self, record: NodeRecord, now: Instant) {
        let death = self.view.handle_node(record, now);
        self.note(death);
    }

    /// A node's key is gone.
    pub fn handle_node_gone(&mut self, node: &NodeId) {
        self.view.handle_node_gone(node);
    }

    /// All plans and streams were read.
    pub fn handle_rooms(
        &mut self,
        plans: Vec<(RoomPlan, Rev)>,
        streams: &[StreamRecord],
        at: Rev,
        wiped: bool,
        now: Instant,
    ) {
        self.view.handle_rooms(plans, streams, at, wiped, now);
        self.note(None);
    }

    /// A plan stands in the store at this revision.
    pub fn handle_plan(&mut self, plan: RoomPlan, revision: Rev, now: Instant) {
        self.view.handle_plan(plan, revision, now);
        self.note(None);
    }

    /// A plan was read after a conflict; what was read is how it stands.
    pub fn handle_plan_read(&mut self, plan: RoomPlan, revision: Rev, now: Instant) {
        self.view.handle_plan_read(plan, revision, now);
        self.note(None);
    }

    /// A plan's key was removed.
    pub fn handle_plan_gone(&mut self, room: &RoomId, revision: Rev) {
        self.view.handle_plan_gone(room, revision);
        self.note(None);
    }

    /// A plan was expected in the store and is not there.
    pub fn handle_plan_missing(&mut self, room: &RoomId) {
        self.view.handle_plan_missing(room);
    }

    /// A stream's key was written.
    pub fn handle_stream(&mut self, record: &StreamRecord, now: Instant) {
        self.view.handle_stream(record, now);
        self.note(None);
    }

    /// A heartbeat arrived.
    pub fn handle_load(&mut self, load: &NodeLoad, now: Instant) {
        self.view.handle_load(load, now);
        self.note(None);
    }

    /// A stream event arrived.
    pub fn handle_stream_event(&mut self, event: &StreamEvent, now: Instant) {
        self.view.handle_stream_event(event, now);
        self.note(None);
    }

    /// A join is being sent to a node.
    pub fn handle_join_sent(&mut self, node: &NodeId, incarnation: Incarnation) {
        self.view.handle_join_sent(node, incarnation);
    }

    /// A node accepted a join, or may have.
    pub fn handle_join_accepted(
        &mut self,
        room: &RoomId,
        node: &NodeId,
        incarnation: Incarnation,
        now: Instant,
    ) {
        self.view.handle_join_accepted(room, node, incarnation, now);
    }

    /// A node refused a join.
    pub fn handle_join_refused(&mut self, node: &NodeId, incarnation: Incarnation) {
        self.view.handle_join_refused(node, incarnation);
    }

    /// A call to a node failed before it answered.
    pub fn handle_unreachable(&mut self, node: &NodeId, incarnation: Incarnation, now: Instant) {
        self.view.handle_unreachable(node, incarnation, now);
    }

    /// Looks for deaths.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.next_check.is_none_or(|at| at <= now) {
            self.next_check = now.checked_add(CHECK_EVERY);
            let deaths = self.view.handle_timeout(now);
            self.note(deaths);
        }
    }

    /// When `handle_timeout` wants to be called next; none before the first call.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next_check
    }

    /// The next thing to do. Drained after every input.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    fn note(&mut self, deaths: impl IntoIterator<Item = Death>) {
        self.outputs.extend(deaths.into_iter().map(Output::Died));
        self.outputs.extend(self.view.take_changed().into_iter().map(Output::Changed));
    }

    /// What decides where a node belongs in a tree, for all nodes.
    pub fn facts(&self, now: Instant) -> AllFacts {
        let fact = |(id, node): (&NodeId, &crate::view::nodes::NodeView)| {
            let liveness = self.view.liveness(id, node.incarnation(), now);
            let links = node.load.iter().flat_map(|load| &load.links).map(|link| link.peer.clone());
            let facts = Facts {
                region: node.record.region.clone(),
                alive: matches!(liveness, Liveness::Alive | Liveness::Draining),
                load: place::load(node),
                links: links.collect(),
            };
            (id.clone(), facts)
        };
        self.view.nodes().map(fact).collect()
    }

    /// Which plan lets a node carry a room. `unix_ms` is the wall clock, for the epoch of a plan that is created.
    pub fn plan_for(
        &self,
        room: &RoomId,
        node: &NodeId,
        incarnation: Incarnation,
        unix_ms: u64,
        now: Instant,
    ) -> Result<Step, CascadeError> {
        let known = self.view.room(room);
        let mut plan =
            known.and_then(|room| room.plan.clone()).unwrap_or_else(|| RoomPlan::empty(room.clone()));
        let stored = known.and_then(|room| room.stored);
        let is_member = plan.member(node).is_some_and(|member| member.incarnation == incarnation);
        let is_stored = stored.is_some_and(|(_, epoch)| epoch == plan.epoch);
        if is_member && (is_stored || !self.view.is_store_up()) {
            return Ok(Step::Ready(plan));
        }
        if !self.view.is_store_up() {
            return Ok(Step::StoreAway);
        }
        cascade::attach(&mut plan, node, incarnation, &self.facts(now))?;
        Ok(Step::Write(self.write(plan, stored.map(|(revision, _)| revision), unix_ms)))
    }

    fn write(&self, mut plan: RoomPlan, expect: Option<Rev>, unix_ms: u64) -> Write {
        let room = plan.room.clone();
        if plan.members.is_empty() {
            return Write { room, expect, plan: None };
        }
        let known = self.view.known_epoch(&room).max(plan.epoch);
        plan.epoch = cascade::next_epoch(known, expect.is_none().then_some(unix_ms));
        Write { room, expect, plan: Some(plan) }
    }

    /// Writes that make plans fit what the nodes run. Nothing while the store is away or not read yet.
    pub fn repairs(&mut self, unix_ms: u64, now: Instant) -> Vec<Write> {
        if !self.view.is_store_up() || !self.view.is_synced() {
            return Vec::new();
        }
        let rooms = self.view.rooms();
        self.unsettled.retain(|room, _| rooms.contains(room));
        let facts = self.facts(now);
        rooms.iter().filter_map(|room| self.repair(room, &facts, unix_ms, now)).collect()
    }

    fn repair(&mut self, id: &RoomId, facts: &AllFacts, unix_ms: u64, now: Instant) -> Option<Write> {
        let room = self.view.room(id)?;
        let old = room.plan.clone().unwrap_or_else(|| RoomPlan::empty(id.clone()));
        let mut plan = old.clone();
        for member in &old.members {
            if self.view.liveness(&member.node, member.incarnation, now) == Liveness::Dead {
                cascade::bury(&mut plan, &member.node, facts);
            }
        }
        let buried = plan.members.len() < old.members.len();
        let behind = match room.stored {
            Some((_, epoch)) => epoch < room.known_epoch(),
            None => !plan.members.is_empty(),
        };
        let orphans = self.orphans(id, &plan);
        let settled = if behind || !orphans.is_empty() {
            let since = *self.unsettled.entry(id.clone()).or_insert(now);
            now.saturating_duration_since(since) >= SETTLE
        } else {
            self.unsettled.remove(id);
            false
        };
        if settled {
            adopt(&mut plan, orphans, facts);
        }
        let room = self.view.room(id)?;
        while let Some(idle) =
            plan.members.iter().map(|m| m.node.clone()).find(|node| self.is_idle(id, node, &plan))
        {
            if !cascade::detach(&mut plan, &idle) {
                break;
            }
        }
        let rewritten = settled && behind;
        if !buried && !rewritten && plan.members == old.members {
            return None;
        }
        let expect = room.stored.map(|(revision, _)| revision);
        if plan.members.is_empty() && expect.is_none() {
            return None;
        }
        self.unsettled.remove(id);
        Some(self.write(plan, expect, unix_ms))
    }

    /// Nodes that have sessions of the room and are not in its plan.
    fn orphans(&self, id: &RoomId, plan: &RoomPlan) -> BTreeMap<NodeId, (Incarnation, u32)> {
        let carriers = self.view.room(id).into_iter().flat_map(|room| &room.carriers);
        carriers
            .filter(|(node, carrier)| {
                let member =
                    plan.member(node).is_some_and(|member| member.incarnation == carrier.incarnation);
                carrier.is_busy() && !member
            })
            .map(|(node, carrier)| (node.clone(), (carrier.incarnation, carrier.publishers)))
            .collect()
    }

    /// A member that may be taken out: at the tree's edge, and still without sessions by a heartbeat that came when
    /// the linger time was over. Silence says nothing about sessions.
    fn is_idle(&self, id: &RoomId, node: &NodeId, plan: &RoomPlan) -> bool {
        let Some((room, member)) = self.view.room(id).zip(plan.member(node)) else { return false };
        let children = plan.children(node).count();
        let at_edge = children == 0 || (member.parent.is_none() && children == 1);
        let carrier = room.carriers.get(node).filter(|carrier| carrier.incarnation == member.incarnation);
        let named = room.member_since.get(&(node.clone(), member.incarnation)).copied();
        let rests_since = named.max(carrier.map(|c| c.since)).max(room.assigned_at.get(node).copied());
        let heard = self.view.heard_at(node, member.incarnation);
        let lingered =
            |(heard, since): (Instant, Instant)| heard.saturating_duration_since(since) >= self.linger;
        at_edge
            && !carrier.is_some_and(|carrier| carrier.is_busy())
            && heard.zip(rests_since).is_some_and(lingered)
    }
}

/// Takes nodes that carry the room into its plan: publishers' nodes first, then along links that are already live.
fn adopt(plan: &mut RoomPlan, mut orphans: BTreeMap<NodeId, (Incarnation, u32)>, facts: &AllFacts) {
    while !orphans.is_empty() {
        let members: BTreeSet<NodeId> = plan.members.iter().map(|member| member.node.clone()).collect();
        let linked = |node: &NodeId| {
            facts.get(node).is_some_and(|facts| facts.links.iter().any(|peer| members.contains(peer)))
        };
        let next = orphans.iter().max_by_key(|(node, (_, publishers))| (linked(node), *publishers));
        let Some((node, incarnation)) = next.map(|(node, (incarnation, _))| (node.clone(), *incarnation))
        else {
            return;
        };
        orphans.remove(&node);
        // A tree that is full leaves the node out; it is found again at the next check.
        let _ = cascade::attach(plan, &node, incarnation, facts);
    }
}

#[cfg(test)]
mod tests;
