//! A store with revisions and compare-and-swap, without leases: the world lets keys expire.

use std::collections::BTreeMap;

use freshet_cluster::plan::RoomPlan;
use freshet_cluster::record::NodeRecord;
use freshet_cluster::{NodeId, RoomId};
use freshet_coordinator::view::Rev;

/// What a watcher is told.
#[derive(Debug, Clone)]
pub enum Told {
    /// A node's record was written.
    Node(Box<NodeRecord>),
    /// A node's key is gone.
    NodeGone(NodeId),
    /// A plan was written.
    Plan(RoomPlan, Rev),
    /// A plan was removed.
    PlanGone(RoomId, Rev),
    /// Everything, after the past was lost (or at first).
    Everything {
        /// The registry.
        nodes: Vec<NodeRecord>,
        /// The plans.
        plans: Vec<(RoomPlan, Rev)>,
        /// Of which moment.
        at: Rev,
        /// The past was lost.
        wiped: bool,
    },
}

/// The store's content.
#[derive(Debug, Default)]
pub struct Store {
    revision: u64,
    /// The registry.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// The plans, with the revision of their last write.
    pub plans: BTreeMap<RoomId, (RoomPlan, Rev)>,
}

impl Store {
    fn next(&mut self) -> Rev {
        self.revision = self.revision.saturating_add(1);
        Rev(self.revision)
    }

    /// Registers a node.
    pub fn put_node(&mut self, record: NodeRecord) -> Told {
        self.next();
        self.nodes.insert(record.id.clone(), record.clone());
        Told::Node(Box::new(record))
    }

    /// Removes a node's key; nothing is told if there was none.
    pub fn delete_node(&mut self, node: &NodeId) -> Option<Told> {
        self.nodes.remove(node)?;
        self.next();
        Some(Told::NodeGone(node.clone()))
    }

    /// Writes or removes a plan if the key is as expected; `None` is a conflict.
    pub fn swap_plan(&mut self, room: &RoomId, expect: Option<Rev>, plan: Option<RoomPlan>) -> Option<Told> {
        if self.plans.get(room).map(|(_, revision)| *revision) != expect {
            return None;
        }
        let revision = self.next();
        match plan {
            Some(plan) => {
                self.plans.insert(room.clone(), (plan.clone(), revision));
                Some(Told::Plan(plan, revision))
            }
            None => {
                self.plans.remove(room);
                Some(Told::PlanGone(room.clone(), revision))
            }
        }
    }

    /// Loses everything.
    pub fn wipe(&mut self) {
        *self = Self::default();
    }

    /// A listing.
    pub fn everything(&self, wiped: bool) -> Told {
        Told::Everything {
            nodes: self.nodes.values().cloned().collect(),
            plans: self.plans.values().cloned().collect(),
            at: Rev(self.revision),
            wiped,
        }
    }
}
