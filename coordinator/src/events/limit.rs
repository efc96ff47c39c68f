//! How often one identity may post: a token bucket each, in a map that cannot grow without bound. Pure.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Identities that are remembered. A bucket that is full again is the same as none, so only those in use count; when
/// even they are too many, newcomers wait (they are refused for a second).
pub const REMEMBERED: usize = 20_000;

/// A rate with a burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Allowed each second, in the long run.
    pub per_second: f64,
    /// Allowed at once.
    pub burst: u32,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Buckets by key.
#[derive(Debug)]
pub struct Limiter<K> {
    rate: Rate,
    buckets: HashMap<K, Bucket>,
}

impl<K: Hash + Eq> Limiter<K> {
    /// Nobody has posted yet.
    pub fn new(rate: Rate) -> Self {
        Self { rate, buckets: HashMap::new() }
    }

    /// Takes one token, or says how long to wait for it.
    pub fn take(&mut self, key: K, now: Instant) -> Result<(), Duration> {
        let Rate { per_second, burst } = self.rate;
        let burst = f64::from(burst);
        let filled = |bucket: &Bucket| {
            let since = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.tokens + since * per_second).min(burst)
        };
        if self.buckets.len() >= REMEMBERED && !self.buckets.contains_key(&key) {
            self.buckets.retain(|_, bucket| filled(bucket) < burst);
            if self.buckets.len() >= REMEMBERED {
                return Err(Duration::from_secs(1));
            }
        }
        let bucket = self.buckets.entry(key).or_insert(Bucket { tokens: burst, at: now });
        bucket.tokens = filled(bucket);
        bucket.at = now;
        if bucket.tokens >= 1.0 {
            bucket.tokens -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - bucket.tokens) / per_second.max(0.001);
        Err(Duration::from_secs_f64(wait.min(3600.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate_and_each_key_for_itself() {
        let t = Instant::now();
        let mut limiter = Limiter::new(Rate { per_second: 5.0, burst: 10 });
        for _ in 0..10 {
            assert_eq!(limiter.take("a", t), Ok(()));
        }
        assert_eq!(limiter.take("a", t), Err(Duration::from_millis(200)));
        assert_eq!(limiter.take("b", t), Ok(()));
        assert_eq!(limiter.take("a", t + Duration::from_millis(200)), Ok(()));
        assert!(limiter.take("a", t + Duration::from_millis(200)).is_err());
        let later = t + Duration::from_secs(60);
        assert_eq!((0..20).filter(|_| limiter.take("a", later).is_ok()).count(), 10, "the burst is the most");
    }

    #[test]
    fn the_map_is_bounded_and_full_buckets_are_forgotten() {
        let t = Instant::now();
        let mut limiter = Limiter::new(Rate { per_second: 5.0, burst: 10 });
        for n in 0..REMEMBERED {
            limiter.take(n, t).unwrap();
        }
        assert!(limiter.take(REMEMBERED, t).is_err());
        assert_eq!(limiter.take(REMEMBERED, t + Duration::from_secs(2)), Ok(()));
        assert_eq!(limiter.buckets.len(), 1);
    }
}
