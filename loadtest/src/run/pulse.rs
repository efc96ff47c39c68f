//! Whether this process had the CPU to measure in time: how late its own timers were, and how busy the threads that
//! drive viewers.
//!
//! A datagram waits as long as a timer where a thread has no time for either, so lateness here is latency that no
//! server made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::host::threads_cpu;
use crate::measure::Histogram;
use crate::num;
use crate::report::Percentiles;

/// Name of the threads that drive viewers.
pub(crate) const VIEWERS: &str = "viewers";
/// Between two beats.
const BEAT: Duration = Duration::from_millis(20);
/// A thread that computes for so much of a second has no time left.
const FULL: f64 = 0.9;
/// In more than one of so many seconds.
const SECONDS: u64 = 4;
/// More than one in a hundred beats was later: timers of a host that keeps up are a few milliseconds late.
const LATE: Duration = Duration::from_millis(100);

type Beats = Arc<Mutex<Histogram>>;

fn lock(beats: &Beats) -> MutexGuard<'_, Histogram> {
    beats.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Measures the threads of one name from its making on.
pub(crate) struct Pulse {
    name: &'static str,
    /// Cores that these threads can have.
    most: f64,
    beats: Beats,
    used: Option<f64>,
    looked: Instant,
    seconds: u64,
    full: u64,
}

impl Pulse {
    /// Of so many threads. Must be called inside the runtime that they are.
    pub fn start(name: &'static str, threads: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let beats = Beats::default();
        tokio::spawn(beat(Arc::clone(&beats)));
        Self {
            name,
            most: num::float(num::len(threads.min(cores))),
            beats,
            used: threads_cpu(name),
            looked: Instant::now(),
            seconds: 0,
            full: 0,
        }
    }

    /// Another second is over.
    pub fn look(&mut self) {
        let now = Instant::now();
        let (before, used) = (self.used, threads_cpu(self.name));
        let elapsed = now.saturating_duration_since(self.looked).as_secs_f64().max(0.001);
        (self.used, self.looked) = (used, now);
        if let Some((before, used)) = before.zip(used) {
            self.add((used - before) / elapsed);
        }
    }

    fn add(&mut self, cores: f64) {
        self.seconds += 1;
        self.full += u64::from(cores >= FULL * self.most);
    }

    /// Seconds in which its threads had no time left.
    pub fn full(&self) -> u64 {
        self.full
    }

    /// By how much its beats were late.
    pub fn late(&self) -> Option<Percentiles> {
        Percentiles::of(&lock(&self.beats))
    }

    /// Why figures would speak of this process, if they would.
    pub fn doubt(&self) -> Option<String> {
        let late = lock(&self.beats).quantile(0.99).filter(|late| *late >= LATE);
        if self.full * SECONDS > self.seconds {
            return Some(format!(
                "the client was the limit: its threads for viewers had no time left in {} of {} seconds; fewer \
                 viewers, more threads, --mode sampled, or more machines",
                self.full, self.seconds
            ));
        }
        late.map(|late| {
            format!(
                "the client was the limit: one in a hundred of its timers was {:.0} ms late and more; fewer viewers, \
                 --mode sampled, or a host of its own",
                num::millis(late)
            )
        })
    }
}

async fn beat(beats: Beats) {
    let mut due = Instant::now();
    // Nobody is left to be told.
    while Arc::strong_count(&beats) > 1 {
        due += BEAT;
        tokio::time::sleep_until(due.into()).await;
        let now = Instant::now();
        lock(&beats).record(now.saturating_duration_since(due));
        // One long halt is all the beats that it swallowed: each of them would have waited to its end.
        while due + BEAT < now {
            due += BEAT;
            lock(&beats).record(now.saturating_duration_since(due));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn a_thread_that_is_held_up_is_late_and_says_so() {
        let pulse = Pulse::start("nobody", 1);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(pulse.late().unwrap().count >= 2);
        // A computation that lets nobody else in.
        std::thread::sleep(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(50)).await;
        let late = pulse.late().unwrap();
        assert!(late.count >= 50 && late.p50 > 200.0 && late.max > 900.0, "{late:?}");
        assert!(pulse.doubt().unwrap().contains("timers was"));
    }

    #[tokio::test]
    async fn threads_without_time_are_counted_by_the_second() {
        let mut pulse = Pulse::start("nobody", 1);
        for cores in [0.2, 0.95, 0.5, 0.8] {
            pulse.add(cores);
        }
        assert_eq!((pulse.full(), pulse.doubt()), (1, None), "one in four may be");
        pulse.add(1.0);
        let doubt = pulse.doubt().unwrap();
        assert!(doubt.contains("2 of 5 seconds"), "{doubt}");
    }
}
