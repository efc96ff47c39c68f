//! How long steps are. A machine: time is told.

use std::time::{Duration, Instant};

use crate::num;

/// Where there is little to read, what comes is seen soon.
const SHORTEST: Duration = Duration::from_millis(4);
/// Where there is much, two frames of a video are read at a time: that costs little more than one.
const LONGEST: Duration = Duration::from_millis(64);
/// So many reads a second are much, and half as many little again.
const MUCH: f64 = 4_000.0;
/// In bytes; where more was read at a time, receive buffers would fill up.
const HEAVY: f64 = 16_384.0;
/// Between two decisions.
const DECIDE: Duration = Duration::from_millis(250);

/// The length of steps, by what there is to read.
#[derive(Debug)]
pub(super) struct Pace {
    step: Duration,
    since: Instant,
    reads: u64,
    bytes: u64,
}

impl Pace {
    pub fn new(now: Instant) -> Self {
        Self { step: SHORTEST, since: now, reads: 0, bytes: 0 }
    }

    /// So many bytes were read at once.
    pub fn on_read(&mut self, bytes: usize) {
        self.reads += 1;
        self.bytes += num::len(bytes);
    }

    /// How long the next step is.
    pub fn step(&mut self, now: Instant) -> Duration {
        let passed = now.saturating_duration_since(self.since);
        if passed >= DECIDE {
            let reads = num::float(self.reads);
            let rate = reads / passed.as_secs_f64();
            let heavy = num::float(self.bytes) > HEAVY * reads;
            if rate > MUCH && !heavy {
                self.step = (self.step * 2).min(LONGEST);
            } else if rate < MUCH / 2.0 || heavy {
                self.step = (self.step / 2).max(SHORTEST);
            }
            (self.since, self.reads, self.bytes) = (now, 0, 0);
        }
        self.step
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The step after four seconds of so many reads a second, each of so many bytes, and after four more of nothing.
    fn after(rate: u64, bytes: usize) -> (u128, u128) {
        let begin = Instant::now();
        let (mut pace, mut step) = (Pace::new(begin), Duration::ZERO);
        for tick in 1..=400 {
            (0..rate / 100).for_each(|_| pace.on_read(bytes));
            step = pace.step(begin + Duration::from_millis(tick * 10));
        }
        let still = (401..=800).map(|tick| pace.step(begin + Duration::from_millis(tick * 10)));
        (step.as_millis(), still.last().unwrap().as_millis())
    }

    #[test]
    fn steps_are_long_where_much_is_read_and_what_is_read_is_small() {
        assert_eq!(after(3_900, 950), (4, 4));
        assert_eq!(after(4_100, 950), (64, 4));
        assert_eq!(after(60_000, 16_384), (64, 4));
        assert_eq!(after(60_000, 16_385), (4, 4), "buffers would fill up");
    }
}
