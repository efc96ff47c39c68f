//! Packets that are missing and asked for again (RFC 4585 section 6.2.1). A machine: time is told.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::num;

/// What was only overtaken has so long to come.
const PATIENCE: Duration = Duration::from_millis(10);
/// Between two requests for one packet: longer than most round trips, so that it is not sent twice.
const AGAIN: Duration = Duration::from_millis(100);
/// So often one packet is asked for.
const TRIES: u8 = 5;
/// Most that are asked for at a time, the newest: more is no loss but another stream.
const MOST: u64 = 500;

#[derive(Debug, Clone, Copy)]
struct Hole {
    index: u64,
    due: Instant,
    tries: u8,
}

/// The missing packets of a track.
#[derive(Debug, Default)]
pub(super) struct Holes {
    /// In the order of their indices.
    open: VecDeque<Hole>,
}

impl Holes {
    /// These were skipped.
    pub fn add(&mut self, skipped: Range<u64>, now: Instant) {
        let from = skipped.start.max(skipped.end.saturating_sub(MOST));
        for index in from..skipped.end {
            self.open.push_back(Hole { index, due: now + PATIENCE, tries: 0 });
        }
        while num::len(self.open.len()) > MOST {
            self.open.pop_front();
        }
    }

    /// This one came after all; true if it had been asked for.
    pub fn fill(&mut self, index: u64) -> bool {
        let place = self.open.binary_search_by_key(&index, |hole| hole.index).ok();
        place.and_then(|place| self.open.remove(place)).is_some_and(|hole| hole.tries > 0)
    }

    /// Numbers begin anew.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// When something is to be asked for.
    pub fn next_due(&self) -> Option<Instant> {
        self.open.iter().map(|hole| hole.due).min()
    }

    /// The sequence numbers to ask for now.
    pub fn take_due(&mut self, now: Instant) -> Vec<u16> {
        let mut numbers = Vec::new();
        self.open.retain_mut(|hole| {
            if hole.due > now {
                return true;
            }
            if hole.tries >= TRIES {
                return false;
            }
            hole.tries += 1;
            hole.due = now + AGAIN;
            numbers.push(num::wrap16(hole.index));
            true
        });
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_asked_for_five_times_and_then_given_up() {
        let begin = Instant::now();
        let ms = |ms| begin + Duration::from_millis(ms);
        let mut holes = Holes::default();
        assert_eq!(holes.next_due(), None);
        holes.add(65_535..65_538, begin);
        assert_eq!(holes.next_due(), Some(ms(10)));
        assert_eq!(holes.take_due(ms(9)), [0; 0], "it may only be late");
        assert!(!holes.fill(65_536) && !holes.fill(70_000), "nobody asked for these");
        assert_eq!(holes.take_due(ms(10)), [65_535, 1]);
        assert_eq!(holes.next_due(), Some(ms(110)));
        assert!(holes.fill(65_537));
        for at in [110, 210, 310, 410] {
            assert_eq!(holes.take_due(ms(at)), [65_535], "{at}");
        }
        assert_eq!((holes.take_due(ms(510)), holes.next_due()), (Vec::new(), None));
    }

    #[test]
    fn what_is_asked_for_is_bounded() {
        let now = Instant::now();
        let mut holes = Holes::default();
        holes.add(0..1 << 60, now);
        holes.add((1 << 60) + 1..(1 << 60) + 11, now);
        let asked = holes.take_due(now + PATIENCE);
        assert_eq!((asked.len(), asked.last()), (500, Some(&10)));
        holes.clear();
        assert_eq!(holes.next_due(), None);
    }
}
