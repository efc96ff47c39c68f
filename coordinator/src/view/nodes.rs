//! What is known of one node: its record, its newest heartbeat and what we gave it since.

use std::time::{Duration, Instant};

use freshet_cluster::Incarnation;
use freshet_cluster::load::NodeLoad;
use freshet_cluster::record::NodeRecord;

use super::ledger::Ledger;

/// A node that a call could not reach is avoided for so long. Heartbeats change nothing in that: they go another way than calls.
const AVOID_FOR: Duration = Duration::from_secs(5);

/// One node, in its newest known incarnation.
#[derive(Debug, Clone)]
pub struct NodeView {
    /// Its record as last seen; it stays when the key vanishes.
    pub record: NodeRecord,
    /// The registry holds the record now.
    pub registered: bool,
    /// Its newest heartbeat.
    pub load: Option<NodeLoad>,
    /// When the newest heartbeat arrived; when the incarnation was first seen, if none did.
    pub heard_at: Instant,
    /// Joins that the heartbeat does not count yet.
    pub ledger: Ledger,
    /// It was declared dead.
    pub dead: bool,
    unreachable_at: Option<Instant>,
}

impl NodeView {
    /// A node whose record was just seen for the first time in this incarnation, which has started before or just now.
    pub fn new(record: NodeRecord, now: Instant, newcomer: bool) -> Self {
        Self {
            record,
            registered: true,
            load: None,
            heard_at: now,
            ledger: if newcomer { Ledger::of_newcomer() } else { Ledger::default() },
            dead: false,
            unreachable_at: None,
        }
    }

    /// Which start of the node this is.
    pub fn incarnation(&self) -> Incarnation {
        self.record.incarnation
    }

    /// Whether it says that it takes no new sessions.
    pub fn draining(&self) -> bool {
        self.record.draining || self.load.as_ref().is_some_and(|load| load.draining)
    }

    /// A heartbeat of this incarnation arrived. Says whether it is newer than the last one.
    pub fn handle_load(&mut self, load: &NodeLoad, now: Instant) -> bool {
        if self.load.as_ref().is_some_and(|old| old.seq >= load.seq) {
            return false;
        }
        self.ledger.handle_heartbeat(load.joins_total, now);
        self.load = Some(load.clone());
        self.heard_at = now;
        true
    }

    /// A call to it failed before it answered.
    pub fn handle_unreachable(&mut self, now: Instant) {
        self.unreachable_at = Some(now);
    }

    /// A call to it failed a moment ago.
    pub fn is_unreachable(&self, now: Instant) -> bool {
        self.unreachable_at.is_some_and(|at| now.saturating_duration_since(at) < AVOID_FOR)
    }
}
