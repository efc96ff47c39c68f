//! How often somebody may do something: a token bucket each, in a table that cannot grow without bound. Pure.
//!
//! A bucket that is full again is the same as none. So the table is two generations: every time in which an empty bucket
//! fills, the old one is dropped, and nothing is lost by it. When more keys come than there is room for, the generations
//! turn sooner, and those that were asked for longest ago are forgotten: a newcomer is never refused for want of room,
//! and whoever has so many keys is not bounded by any one of them in any case.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Allowed each second, in the long run.
    pub per_second: f64,
    /// Allowed at once.
    pub burst: u32,
}

impl Rate {
    /// So many times as much.
    pub fn times(self, factor: u32) -> Self {
        Self { per_second: self.per_second * f64::from(factor), burst: self.burst.saturating_mul(factor) }
    }

    /// The time in which an empty bucket fills, an hour at most.
    fn fills(self) -> Duration {
        Duration::from_secs_f64((f64::from(self.burst) / self.per_second.max(0.001)).clamp(0.001, 3600.0))
    }
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Buckets by key.
#[derive(Debug)]
pub struct Buckets<K> {
    rate: Rate,
    half: usize,
    young: HashMap<K, Bucket>,
    old: HashMap<K, Bucket>,
    turned: Option<Instant>,
}

impl<K: Hash + Eq> Buckets<K> {
    /// Full buckets for everybody, of which so many are remembered.
    pub fn new(rate: Rate, capacity: usize) -> Self {
        let half = capacity.div_ceil(2).max(1);
        Self { rate, half, young: HashMap::new(), old: HashMap::new(), turned: None }
    }

    /// Takes one token, or says how long to wait for it.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        self.turn(now);
        let found = self.young.get(&key).copied().or_else(|| self.old.remove(&key));
        let mut bucket = self.filled(found, now);
        let wait = self.missing(bucket);
        if wait.is_none() {
            bucket.tokens -= 1.0;
        }
        if self.young.len() >= self.half && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
            self.turned = Some(now);
        }
        self.young.insert(key, bucket);
        wait.map_or(Ok(()), Err)
    }

    /// Says whether a token is there, and takes none.
    pub fn look(&self, key: &K, now: Instant) -> Result<(), Duration> {
        let found = self.young.get(key).or_else(|| self.old.get(key)).copied();
        self.missing(self.filled(found, now)).map_or(Ok(()), Err)
    }

    /// Buckets that are remembered.
    pub fn len(&self) -> usize {
        self.young.len().saturating_add(self.old.len())
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn turn(&mut self, now: Instant) {
        let since = *self.turned.get_or_insert(now);
        if now.saturating_duration_since(since) < self.rate.fills() {
            return;
        }
        // What is young now was asked for since the last turn, which may be long ago.
        let all_full = now.saturating_duration_since(since) >= self.rate.fills().saturating_mul(2);
        self.old = std::mem::take(&mut self.young);
        if all_full {
            self.old = HashMap::new();
        }
        self.turned = Some(now);
    }

    fn filled(&self, bucket: Option<Bucket>, now: Instant) -> Bucket {
        let burst = f64::from(self.rate.burst);
        let tokens = bucket.map_or(burst, |bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + since * self.rate.per_second).min(burst)
        });
        Bucket { tokens, at: now }
    }

    fn missing(&self, bucket: Bucket) -> Option<Duration> {
        let missing = 1.0 - bucket.tokens;
        (missing > 0.0)
            .then(|| Duration::from_secs_f64((missing / self.rate.per_second.max(0.001)).min(3600.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per_second: 5.0, burst: 10 };

    #[test]
    fn a_burst_then_the_rate_and_each_key_for_itself() {
        let t = Instant::now();
        let mut buckets = Buckets::new(RATE, 100);
        for _ in 0..10 {
            assert_eq!(buckets.look(&"a", t), Ok(()));
            assert_eq!(buckets.take("a", t), Ok(()));
        }
        assert_eq!(buckets.take("a", t), Err(Duration::from_millis(200)));
        assert_eq!(buckets.look(&"a", t), Err(Duration::from_millis(200)));
        assert_eq!(buckets.take("b", t), Ok(()));
        let soon = t + Duration::from_millis(200);
        assert_eq!(buckets.look(&"a", soon), Ok(()));
        assert_eq!(buckets.take("a", soon), Ok(()));
        assert!(buckets.take("a", soon).is_err());
        let later = t + Duration::from_secs(60);
        let taken = (0..20).filter(|_| buckets.take("a", later).is_ok()).count();
        assert_eq!(taken, 10, "the burst is the most");
    }

    #[test]
    fn who_goes_on_is_bounded_through_every_turn_of_the_table() {
        let t = Instant::now();
        let mut buckets = Buckets::new(RATE, 100);
        // 100 tries a second for a minute: the burst, and five a second.
        let taken = (0..6_000u64).filter(|n| buckets.take("a", t + Duration::from_millis(n * 10)).is_ok());
        let taken = taken.count();
        assert!((308..=310).contains(&taken), "{taken}");
    }

    #[test]
    fn full_buckets_are_forgotten_and_nothing_else_while_there_is_room() {
        let t = Instant::now();
        let mut buckets = Buckets::new(RATE, 2_000);
        for n in 0..1_000 {
            (0..10).for_each(|_| buckets.take(n, t).unwrap());
        }
        assert_eq!(buckets.len(), 1_000);
        let soon = t + Duration::from_millis(100);
        assert!((0..1_000).all(|n| buckets.look(&n, soon).is_err()), "each is remembered");
        // Two seconds fill a bucket: two turns later, only those asked for since are there.
        buckets.take(7, t + Duration::from_secs(2)).unwrap();
        buckets.take(7, t + Duration::from_secs(4)).unwrap();
        assert_eq!(buckets.len(), 1);
        buckets.take(8, t + Duration::from_secs(400)).unwrap();
        assert_eq!(buckets.len(), 1, "nothing of long ago");
    }

    #[test]
    fn more_keys_than_there_is_room_for_are_all_served_and_who_is_active_is_remembered() {
        let t = Instant::now();
        let mut buckets = Buckets::new(RATE, 1_000);
        (0..10).for_each(|_| buckets.take(u32::MAX, t).unwrap());
        for n in 0..100_000 {
            assert_eq!(buckets.take(n, t), Ok(()), "a newcomer is never refused");
            assert!(buckets.len() <= 1_000, "{}", buckets.len());
            if n % 100 == 0 {
                assert!(buckets.take(u32::MAX, t).is_err(), "a storm of others opens no door");
            }
        }
    }

    #[test]
    fn nothing_is_allowed_by_a_burst_of_none() {
        let t = Instant::now();
        let mut buckets = Buckets::new(Rate { per_second: 0.0, burst: 0 }, 10);
        assert_eq!(buckets.take(1, t), Err(Duration::from_secs(1000)));
    }
}
