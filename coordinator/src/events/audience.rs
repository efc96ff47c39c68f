//! How many listen to a room at all coordinators together, as far as they have told each other. Pure.
//!
//! What a started stream tells an audience to spread over goes by this: behind a balancer each coordinator has a part
//! of the audience, and all parts join the same nodes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use freshet_cluster::Incarnation;

/// Fewer are not told of: they need no spread.
const FEW: usize = 25;
/// What stays as it is, is told again.
const EVERY: Duration = Duration::from_secs(5);
/// What is not told again is forgotten.
const STALE: Duration = Duration::from_secs(16);
/// Other coordinators that are counted.
const OTHERS: usize = 256;

/// One room's audience elsewhere, and what was told of the one here.
#[derive(Debug, Default)]
pub struct Audience {
    others: HashMap<Incarnation, (usize, Instant)>,
    told: Option<(usize, Instant)>,
}

impl Audience {
    /// Another coordinator has told how many listen there.
    pub fn hear(&mut self, from: Incarnation, listeners: usize, now: Instant) {
        if self.others.len() >= OTHERS {
            self.others.retain(|_, (_, at)| is_fresh(*at, now));
        }
        if listeners == 0 {
            self.others.remove(&from);
        } else if self.others.len() < OTHERS || self.others.contains_key(&from) {
            self.others.insert(from, (listeners, now));
        }
    }

    /// All together, with those here.
    pub fn total(&self, here: usize, now: Instant) -> usize {
        let fresh = self.others.values().filter(|(_, at)| is_fresh(*at, now));
        fresh.fold(here, |sum, (listeners, _)| sum.saturating_add(*listeners))
    }

    /// What the others should be told now, if anything.
    pub fn tell(&mut self, here: usize, now: Instant) -> Option<usize> {
        let here = if here < FEW { 0 } else { here };
        let due = match self.told {
            None | Some((0, _)) => here > 0,
            Some((before, at)) => {
                now.saturating_duration_since(at) >= EVERY || here.abs_diff(before) > before / 4
            }
        };
        due.then(|| {
            self.told = Some((here, now));
            here
        })
    }
}

fn is_fresh(at: Instant, now: Instant) -> bool {
    now.saturating_duration_since(at) < STALE
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(bits: u64) -> Incarnation {
        Incarnation::from_bits(bits)
    }

    #[test]
    fn an_audience_is_told_when_it_is_large_when_it_changes_and_now_and_then() {
        let began = Instant::now();
        let at = |s: u64| began + Duration::from_secs(s);
        let mut audience = Audience::default();
        assert_eq!(audience.tell(24, at(0)), None, "a few need no spread");
        assert_eq!(audience.tell(100, at(1)), Some(100));
        assert_eq!(audience.tell(120, at(2)), None, "about as many");
        assert_eq!(audience.tell(126, at(3)), Some(126), "a quarter more");
        assert_eq!(audience.tell(126, at(7)), None);
        assert_eq!(audience.tell(126, at(8)), Some(126), "again after a while");
        assert_eq!(audience.tell(20, at(9)), Some(0), "they have left");
        assert_eq!(audience.tell(20, at(60)), None, "which is told once");
    }

    #[test]
    fn what_others_tell_counts_until_it_is_old() {
        let began = Instant::now();
        let at = |s: u64| began + Duration::from_secs(s);
        let mut audience = Audience::default();
        assert_eq!(audience.total(3, at(0)), 3);
        audience.hear(who(1), 100, at(0));
        audience.hear(who(2), 50, at(10));
        audience.hear(who(2), 60, at(10));
        assert_eq!(audience.total(3, at(15)), 163);
        assert_eq!(audience.total(3, at(16)), 63, "one is silent");
        audience.hear(who(2), 0, at(17));
        assert_eq!(audience.total(3, at(17)), 3, "one has said that they left");
    }

    #[test]
    fn strangers_take_bounded_memory_and_old_ones_make_room() {
        let began = Instant::now();
        let mut audience = Audience::default();
        for n in 0..OTHERS as u64 * 2 {
            audience.hear(who(n), 100, began);
        }
        assert_eq!(audience.total(0, began), OTHERS * 100);
        audience.hear(who(0), 200, began);
        assert_eq!(audience.total(0, began), OTHERS * 100 + 100, "who is known is heard");
        let later = began + STALE;
        audience.hear(who(u64::MAX), 100, later);
        assert_eq!((audience.total(0, later), audience.others.len()), (100, 1));
    }
}
