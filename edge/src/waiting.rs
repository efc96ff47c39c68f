//! How many wait for a room's host, by who was sent away lately, and over how long they are told to come back. Pure.

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use freshet_cluster::RoomId;

/// Clients that are sent away come back after this many seconds: the first of it when few wait, anything in it when
/// many do.
pub const RETRY_S: RangeInclusive<u64> = 2..=10;
/// So many more that wait spread over a second more.
const EACH_SECOND: usize = 100;
/// Whoever waits was sent away within this time.
const WINDOW: Duration = Duration::from_secs(10);
/// Rooms that are counted; beyond it the count starts over.
const ROOMS: usize = 10_000;

/// Who was sent away lately, by room.
#[derive(Debug, Default)]
pub struct Waiting(HashMap<RoomId, Count>);

#[derive(Debug)]
struct Count {
    since: Instant,
    now: usize,
    before: usize,
}

impl Waiting {
    /// Counts one more and says how many that are, over the last 10 to 20 seconds.
    pub fn another(&mut self, room: &RoomId, now: Instant) -> usize {
        if self.0.len() >= ROOMS && !self.0.contains_key(room) {
            self.0.clear();
        }
        let count = self.0.entry(room.clone()).or_insert(Count { since: now, now: 0, before: 0 });
        let age = now.saturating_duration_since(count.since);
        if age >= WINDOW {
            count.before = if age < WINDOW.saturating_mul(2) { count.now } else { 0 };
            count.now = 0;
            count.since = now;
        }
        count.now = count.now.saturating_add(1);
        count.now.max(count.before)
    }
}

/// In which seconds an audience of this size comes back.
pub fn retry_s(audience: usize) -> RangeInclusive<u64> {
    let (first, last) = RETRY_S.into_inner();
    let more = u64::try_from(audience / EACH_SECOND).unwrap_or(u64::MAX);
    first..=first.saturating_add(more).min(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audience_is_spread_by_its_size() {
        for (audience, wanted) in
            [(0, 2..=2), (99, 2..=2), (100, 2..=3), (450, 2..=6), (800, 2..=10), (usize::MAX, 2..=10)]
        {
            assert_eq!(retry_s(audience), wanted, "{audience}");
        }
    }

    #[test]
    fn those_sent_away_are_counted_by_room_and_forgotten() {
        let (one, two) = ("one".parse().unwrap(), "two".parse().unwrap());
        let began = Instant::now();
        let at = |ms: u64| began + Duration::from_millis(ms);
        let mut waiting = Waiting::default();
        for n in 1..=300 {
            assert_eq!(waiting.another(&one, at(n)), usize::try_from(n).unwrap());
        }
        assert_eq!(waiting.another(&two, at(301)), 1, "another room has an audience of its own");
        assert_eq!(waiting.another(&one, at(10_002)), 300, "those of the last window are there still");
        assert_eq!(waiting.another(&one, at(20_100)), 1, "of the windows before nothing");
        assert_eq!(waiting.another(&one, at(60_000)), 1);
    }

    #[test]
    fn rooms_that_nobody_publishes_in_take_bounded_memory() {
        let mut waiting = Waiting::default();
        let now = Instant::now();
        for n in 0..ROOMS * 2 + 5 {
            waiting.another(&format!("room-{n}").parse().unwrap(), now);
            assert!(waiting.0.len() <= ROOMS);
        }
    }
}
