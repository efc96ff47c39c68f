//! Joins that this coordinator handed to a node and that the node's heartbeat does not count yet.
//!
//! A heartbeat is up to a second old; a storm of joins within that second would all see the same room to spare.
//! The ledger closes the gap: a join is *in flight* from the choice of the node to its answer, then *accepted* until
//! a heartbeat counts it. The node's `joins_total` says how many it has counted, in the order in which it accepted
//! them, so the oldest are forgotten first; what it counts beyond those is a join in flight whose answer is still on its
//! way, and is not counted a second time. Other coordinators' joins may make us forget early by one heartbeat; the
//! node's own limit covers that.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// An accepted join that no heartbeat explained for so long is forgotten at the next heartbeat.
const FORGET_AFTER: Duration = Duration::from_secs(5);

/// What one incarnation was given since its last heartbeat.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    in_flight: u32,
    /// Of those in flight, so many are in a heartbeat already.
    ahead: u32,
    accepted: VecDeque<Instant>,
    joins_total: Option<u64>,
}

impl Ledger {
    /// Of a node that has just started: its first heartbeat counts all the joins that it ever had. What the first one of a
    /// node counts that was there before us cannot be told from ours.
    pub fn of_newcomer() -> Self {
        Self { joins_total: Some(0), ..Self::default() }
    }

    /// A join was sent to the node.
    pub fn handle_sent(&mut self) {
        self.in_flight = self.in_flight.saturating_add(1);
    }

    /// The node took it (or may have: a call whose answer was lost counts as taken).
    pub fn handle_accepted(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        match self.ahead.checked_sub(1) {
            Some(ahead) => self.ahead = ahead,
            None => self.accepted.push_back(now),
        }
    }

    /// The node refused it.
    pub fn handle_refused(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.ahead = self.ahead.min(self.in_flight);
    }

    /// A newer heartbeat says how many joins the node has accepted since it started.
    pub fn handle_heartbeat(&mut self, joins_total: u64, now: Instant) {
        let counted = joins_total.saturating_sub(self.joins_total.unwrap_or(joins_total));
        let counted = usize::try_from(counted).unwrap_or(usize::MAX);
        let known = counted.min(self.accepted.len());
        self.accepted.drain(..known);
        let ahead = u32::try_from(counted.saturating_sub(known)).unwrap_or(u32::MAX);
        self.ahead = self.ahead.saturating_add(ahead).min(self.in_flight);
        self.joins_total = Some(joins_total);
        while self.accepted.front().is_some_and(|at| now.saturating_duration_since(*at) >= FORGET_AFTER) {
            self.accepted.pop_front();
        }
    }

    /// Joins that count against the node on top of its heartbeat.
    pub fn pending(&self) -> u32 {
        let accepted = u32::try_from(self.accepted.len()).unwrap_or(u32::MAX);
        self.in_flight.saturating_sub(self.ahead).saturating_add(accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_counts_until_a_heartbeat_counts_it() {
        let t = Instant::now();
        let mut ledger = Ledger::default();
        ledger.handle_heartbeat(7, t);
        for _ in 0..3 {
            ledger.handle_sent();
        }
        assert_eq!(ledger.pending(), 3);
        ledger.handle_accepted(t);
        ledger.handle_accepted(t);
        ledger.handle_refused();
        assert_eq!(ledger.pending(), 2);
        ledger.handle_heartbeat(7, t);
        assert_eq!(ledger.pending(), 2, "this heartbeat was made before the joins");
        ledger.handle_heartbeat(8, t);
        assert_eq!(ledger.pending(), 1);
        ledger.handle_heartbeat(20, t);
        assert_eq!(ledger.pending(), 0, "joins of other coordinators never make it negative");
    }

    #[test]
    fn a_join_that_a_heartbeat_counts_ahead_of_its_answer_counts_once() {
        let t = Instant::now();
        let mut ledger = Ledger::default();
        ledger.handle_heartbeat(7, t);
        for _ in 0..3 {
            ledger.handle_sent();
        }
        ledger.handle_accepted(t);
        // The one that was answered, and one more.
        ledger.handle_heartbeat(9, t);
        assert_eq!(ledger.pending(), 1);
        ledger.handle_heartbeat(9, t);
        assert_eq!(ledger.pending(), 1, "its answer is still on its way");
        ledger.handle_accepted(t);
        assert_eq!(ledger.pending(), 1, "it is in the heartbeat");
        ledger.handle_accepted(t);
        assert_eq!(ledger.pending(), 1, "this one is not yet");
        ledger.handle_heartbeat(10, t);
        assert_eq!(ledger.pending(), 0);
        // A refusal takes nothing from those that come after.
        ledger.handle_sent();
        ledger.handle_heartbeat(11, t);
        ledger.handle_refused();
        ledger.handle_sent();
        assert_eq!(ledger.pending(), 1);
        ledger.handle_accepted(t);
        assert_eq!(ledger.pending(), 1);
    }

    #[test]
    fn the_first_heartbeat_of_a_newcomer_counts_what_it_was_given() {
        let t = Instant::now();
        let mut ledger = Ledger::of_newcomer();
        for _ in 0..6 {
            ledger.handle_sent();
            ledger.handle_accepted(t);
        }
        ledger.handle_heartbeat(6, t);
        assert_eq!(ledger.pending(), 0, "they are among its sessions now");
    }

    #[test]
    fn the_first_heartbeat_explains_nothing_and_old_joins_are_forgotten() {
        let t = Instant::now();
        let mut ledger = Ledger::default();
        ledger.handle_sent();
        ledger.handle_accepted(t);
        ledger.handle_heartbeat(100, t + Duration::from_secs(1));
        assert_eq!(ledger.pending(), 1);
        ledger.handle_heartbeat(100, t + FORGET_AFTER);
        assert_eq!(ledger.pending(), 0);
    }
}
