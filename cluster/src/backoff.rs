//! How long to wait before the next try: doubling, bounded, and spread so that a cluster does not knock in step.

use std::time::Duration;

use rand::Rng;

/// First wait after a failure.
const FIRST: Duration = Duration::from_millis(100);
/// Longest wait: an outage that ends is noticed within this time by everyone.
const LONGEST: Duration = Duration::from_secs(2);

/// The waits of one connection.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
}

impl Backoff {
    pub(crate) fn new() -> Self {
        Self { next: FIRST }
    }

    /// The next wait: between half and the whole of a step, each step twice the last.
    pub(crate) fn wait(&mut self, rng: &mut impl Rng) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(LONGEST);
        step.mul_f64(rng.random_range(0.5..=1.0))
    }

    /// It worked: start small again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn waits_grow_to_a_bound_and_start_over() {
        let mut rng = rand::rngs::SmallRng::seed_from_u64(1);
        let mut backoff = Backoff::new();
        let waits: Vec<_> = (0..20).map(|_| backoff.wait(&mut rng)).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits.iter().all(|w| *w <= LONGEST));
        assert!(waits[19] >= LONGEST / 2, "it reaches the longest step");
        assert!(waits[10..].windows(2).any(|w| w[0] != w[1]), "waits are spread");
        backoff.reset();
        assert!(backoff.wait(&mut rng) <= FIRST);
    }
}
