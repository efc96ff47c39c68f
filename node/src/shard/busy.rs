//! How busy a shard's thread is, and whether it takes newcomers.
//!
//! Busy is the share of time in which the thread did not wait for something to do. Time in which it had work and the
//! system gave its core to somebody else counts, since packets are late then too. The share is a mean over two seconds:
//! a storm of joins, which cost about as much each as forwarding a hundred packets, fills the core for a moment and is
//! over, but load that stays is seen before many more have come.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a mean is taken over.
const WINDOW: Duration = Duration::from_secs(2);
/// Marks kept: more than come in a window at one each quarter of a second.
const MARKS: usize = 16;

/// How much of a shard's time may be taken before it refuses newcomers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    percent: u32,
}

impl Limit {
    /// No limit.
    pub const NONE: Self = Self { percent: 100 };

    /// From 1 on; 100 and more is no limit.
    pub fn percent(percent: u32) -> Self {
        Self { percent: percent.clamp(1, 100) }
    }

    /// Per cent.
    pub fn as_percent(self) -> u32 {
        self.percent
    }

    /// From here on newcomers are refused, in thousandths.
    fn closes(self) -> u32 {
        self.percent.saturating_mul(10)
    }

    /// Below this they are taken again: a twentieth less, so that a shard at its limit does not change its mind with
    /// every viewer.
    fn opens(self) -> u32 {
        self.closes().saturating_sub(self.closes() / 20)
    }
}

/// What a shard says of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Thousandths of the last two seconds in which it was at work.
    pub permille: u32,
    /// It takes no newcomers.
    pub full: bool,
}

/// Decides from the time that a thread has waited so far.
pub(super) struct Busy {
    limit: Limit,
    /// When, and how long the thread had waited by then, oldest first. The first is a window old, or the start.
    marks: VecDeque<(Instant, Duration)>,
    load: Load,
}

impl Busy {
    pub fn new(limit: Limit, now: Instant) -> Self {
        let mut marks = VecDeque::with_capacity(MARKS);
        marks.push_back((now, Duration::ZERO));
        Self { limit, marks, load: Load::default() }
    }

    /// It has waited so long in all.
    pub fn note(&mut self, now: Instant, waited: Duration) -> Load {
        let whole = |at: Instant| now.saturating_duration_since(at) >= WINDOW;
        while self.marks.len() >= MARKS || self.marks.get(1).is_some_and(|(at, _)| whole(*at)) {
            self.marks.pop_front();
        }
        if let Some((at, before)) = self.marks.front() {
            let (span, idle) = (now.saturating_duration_since(*at), waited.saturating_sub(*before));
            let thousand = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            let idle = thousand(idle).saturating_mul(1_000).checked_div(thousand(span)).unwrap_or(1_000);
            self.load.permille = 1_000_u32.saturating_sub(u32::try_from(idle).unwrap_or(1_000));
            // What a shorter time says of a thread that has just begun is no mean yet.
            let closes =
                self.limit != Limit::NONE && span >= WINDOW && self.load.permille >= self.limit.closes();
            self.load.full = closes || (self.load.full && self.load.permille >= self.limit.opens());
        }
        self.marks.push_back((now, waited));
        self.load
    }
}

/// Adds up how long a thread has waited. The thread itself tells when it begins and ends.
pub(super) struct Waits {
    start: Instant,
    /// When the present wait began, and what all before it came to, in nanoseconds.
    since: AtomicU64,
    total: AtomicU64,
}

impl Waits {
    pub fn new() -> Self {
        Self { start: Instant::now(), since: AtomicU64::new(0), total: AtomicU64::new(0) }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    pub fn begin(&self) {
        self.since.store(self.now(), Ordering::Relaxed);
    }

    pub fn end(&self) {
        let waited = self.now().saturating_sub(self.since.load(Ordering::Relaxed));
        self.total.fetch_add(waited, Ordering::Relaxed);
    }

    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that is looked at four times a second.
    struct Thread {
        busy: Busy,
        now: Instant,
        waited: Duration,
    }

    impl Thread {
        fn new(limit: u32) -> Self {
            let now = Instant::now();
            Self { busy: Busy::new(Limit::percent(limit), now), now, waited: Duration::ZERO }
        }

        /// Works that many thousandths of so many quarters of a second; whether it took newcomers at each of them.
        fn work(&mut self, permille: u32, quarters: u32) -> Vec<bool> {
            let taken = |_| {
                self.now += Duration::from_millis(250);
                self.waited += Duration::from_micros(250) * (1_000 - permille);
                !self.busy.note(self.now, self.waited).full
            };
            (0..quarters).map(taken).collect()
        }

        fn takes(&self) -> bool {
            !self.busy.load.full
        }
    }

    #[test]
    fn load_that_stays_over_the_limit_refuses_newcomers_within_two_seconds() {
        let mut thread = Thread::new(90);
        thread.work(500, 40);
        assert_eq!(thread.busy.load, Load { permille: 500, full: false });
        let taken = thread.work(1_000, 8);
        assert_eq!(taken, [true, true, true, true, true, true, false, false]);
        assert_eq!(thread.busy.load.permille, 1_000);
    }

    #[test]
    fn a_storm_of_a_second_refuses_nobody() {
        let mut thread = Thread::new(90);
        thread.work(500, 40);
        assert!(thread.work(1_000, 4).iter().all(|taken| *taken), "{:?}", thread.busy.load);
        assert!(thread.work(750, 40).iter().all(|taken| *taken));
        assert_eq!(thread.busy.load.permille, 750);
    }

    #[test]
    fn a_shard_at_its_limit_does_not_flap() {
        let mut thread = Thread::new(90);
        thread.work(950, 9);
        assert!(!thread.takes());
        assert!(!thread.work(870, 40).contains(&true), "between the two limits it stays as it was");
        thread.work(840, 9);
        assert!(thread.takes());
        assert!(!thread.work(870, 40).contains(&false), "and so it does when it came from below");
    }

    #[test]
    fn a_shard_that_has_just_begun_refuses_nobody() {
        let mut thread = Thread::new(90);
        assert_eq!(thread.work(1_000, 8), [true, true, true, true, true, true, true, false]);
    }

    #[test]
    fn a_hundred_per_cent_is_no_limit() {
        for limit in [100, 250] {
            let mut thread = Thread::new(limit);
            assert!(!thread.work(1_000, 40).contains(&false));
        }
        assert_eq!((Limit::percent(0).as_percent(), Limit::percent(100)), (1, Limit::NONE));
    }

    #[test]
    fn long_and_uneven_turns_are_weighed_by_their_length() {
        let mut thread = Thread::new(90);
        thread.work(0, 40);
        // One turn of three seconds: the thread could not say anything before its end.
        thread.now += Duration::from_secs(3);
        assert!(thread.busy.note(thread.now, thread.waited).full);
        assert!(thread.busy.load.permille > 900, "{:?}", thread.busy.load);
        for _ in 0..10_000 {
            thread.now += Duration::from_millis(1);
            thread.busy.note(thread.now, thread.waited);
        }
        assert!(thread.busy.marks.len() <= MARKS && thread.busy.load.permille == 1_000);
        let mut fresh = Busy::new(Limit::percent(90), thread.now);
        assert_eq!(fresh.note(thread.now, Duration::ZERO), Load::default(), "no time has passed");
    }

    #[test]
    fn waits_add_up() {
        let waits = Waits::new();
        for _ in 0..2 {
            waits.begin();
            std::thread::sleep(Duration::from_millis(5));
            waits.end();
        }
        std::thread::sleep(Duration::from_millis(5));
        let waited = waits.total();
        assert!(
            waited >= Duration::from_millis(10) && waited <= waits.start.elapsed() - Duration::from_millis(5)
        );
    }
}
