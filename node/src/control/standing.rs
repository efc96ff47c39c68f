//! What this node knows of its own place in the registry, and whether it takes new sessions with it. Pure.
//!
//! Only what the store *said* counts against the node. A store that does not answer says nothing: with it away the
//! node serves on, and a coordinator's call brings the plan along. A store that answers, and has no record of this
//! start for [`LOST_MAX`], stands for coordinators that have left the node out of their plans: it takes no new rooms.
//! A record of another start of the same id means that this start has been replaced: it takes nothing.

use std::time::{Duration, Instant};

use freshet_cluster::Incarnation;

/// How long a node whose record is gone, as the store says, still takes rooms that it does not carry.
pub const LOST_MAX: Duration = Duration::from_secs(10);

/// Whether the record of this start stands in the registry, as far as the store has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Phase {
    /// The store has not been written yet.
    #[default]
    New,
    Registered,
    /// The store answers and does not have it, since then; `None` while the store is away.
    Lost(Option<Instant>),
    /// Another start of this node stands there.
    Replaced(Incarnation),
}

/// Why a node takes no new session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// Its lease was lost and it is not registered: no new rooms.
    LeaseLost,
    /// Another start of it is registered: nothing.
    Replaced,
}

/// The machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standing {
    phase: Phase,
    ever: bool,
}

impl Standing {
    /// The record stands under our lease. Says whether that is news.
    pub fn handle_registered(&mut self) -> bool {
        self.ever = true;
        std::mem::replace(&mut self.phase, Phase::Registered) != Phase::Registered
    }

    /// The store answered, and the record does not stand.
    pub fn handle_lost(&mut self, now: Instant) {
        self.phase = match self.phase {
            Phase::New => Phase::New,
            Phase::Lost(Some(since)) => Phase::Lost(Some(since)),
            _ => Phase::Lost(Some(now)),
        };
    }

    /// The store did not answer. What was known of it stays, but time does not count against the node.
    pub fn handle_away(&mut self) {
        if let Phase::Lost(_) = self.phase {
            self.phase = Phase::Lost(None);
        }
    }

    /// The key names another start. Says whether that is news.
    pub fn handle_replaced(&mut self, by: Incarnation) -> bool {
        std::mem::replace(&mut self.phase, Phase::Replaced(by)) != Phase::Replaced(by)
    }

    /// Whether the record may be written over that of another start: the first time it may, for a start that is new
    /// takes the place of one that has died. Later the other one came after this one, and the place is its.
    pub fn may_replace(&self) -> bool {
        !self.ever
    }

    /// The record stands, as far as is known.
    pub fn is_registered(&self) -> bool {
        self.phase == Phase::Registered
    }

    /// Why the node takes no new session of a room that it carries already, or does not carry.
    pub fn unfit(&self, now: Instant, carried: bool) -> Option<Unfit> {
        match self.phase {
            Phase::Replaced(_) => Some(Unfit::Replaced),
            Phase::Lost(Some(since)) if !carried && now.saturating_duration_since(since) >= LOST_MAX => {
                Some(Unfit::LeaseLost)
            }
            _ => None,
        }
    }

    /// What is missing, in words, for readiness.
    pub fn missing(&self) -> Option<String> {
        match self.phase {
            Phase::Registered => None,
            Phase::New => Some("this node is not registered yet: is the store reachable?".to_owned()),
            Phase::Lost(_) => {
                Some("this node's record in the store is gone and is being written again".to_owned())
            }
            Phase::Replaced(by) => Some(format!(
                "another start of this node ({by}) is registered under its id: stop this one, or give it an id of its own"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other() -> Incarnation {
        Incarnation::from_bits(9)
    }

    #[test]
    fn a_store_that_is_away_takes_nothing_from_a_node() {
        let now = Instant::now();
        let late = now + LOST_MAX * 100;
        let mut standing = Standing::default();
        standing.handle_away();
        assert_eq!(standing.unfit(late, false), None, "it has never been registered: nobody was told of it");
        assert!(standing.handle_registered());
        assert!(!standing.handle_registered(), "no news");
        standing.handle_away();
        assert!(standing.is_registered());
        assert_eq!(standing.unfit(late, false), None);
    }

    #[test]
    fn a_node_that_knows_that_it_is_not_registered_takes_no_new_rooms_after_a_while() {
        let now = Instant::now();
        let mut standing = Standing::default();
        standing.handle_registered();
        standing.handle_lost(now);
        standing.handle_lost(now + LOST_MAX / 2);
        assert!(!standing.is_registered());
        assert_eq!(standing.unfit(now + LOST_MAX / 2, false), None, "it is written again first");
        assert_eq!(standing.unfit(now + LOST_MAX, false), Some(Unfit::LeaseLost));
        assert_eq!(standing.unfit(now + LOST_MAX, true), None, "what it carries goes on");
        // Then the store goes: nobody knows, and nothing counts until it answers again.
        standing.handle_away();
        assert_eq!(standing.unfit(now + LOST_MAX * 9, false), None);
        standing.handle_lost(now + LOST_MAX * 9);
        assert_eq!(standing.unfit(now + LOST_MAX * 9, false), None);
        assert_eq!(standing.unfit(now + LOST_MAX * 10, false), Some(Unfit::LeaseLost));
        assert!(standing.handle_registered());
        assert_eq!(standing.unfit(now + LOST_MAX * 99, false), None);
    }

    #[test]
    fn the_first_registration_replaces_and_a_later_one_does_not() {
        let mut standing = Standing::default();
        assert!(standing.may_replace(), "it stands in for the start that died");
        standing.handle_registered();
        assert!(!standing.may_replace());
        assert!(standing.handle_replaced(other()));
        assert!(!standing.handle_replaced(other()), "told once");
        let now = Instant::now();
        for carried in [true, false] {
            assert_eq!(standing.unfit(now, carried), Some(Unfit::Replaced), "at once, and for every room");
        }
        standing.handle_away();
        assert_eq!(standing.unfit(now, true), Some(Unfit::Replaced), "the store has said so");
        assert!(standing.missing().is_some_and(|m| m.contains(&other().to_string())));
        // The other one is gone and left the place.
        standing.handle_registered();
        assert_eq!((standing.unfit(now, false), standing.missing()), (None, None));
    }
}
