//! Clocks, cores and medians.

use std::mem::zeroed;

/// CPU time of this thread in nanoseconds.
pub fn thread_cpu() -> u64 {
    // SAFETY: `time` is a valid place for the result.
    let time = unsafe {
        let mut time: libc::timespec = zeroed();
        assert_eq!(libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time), 0);
        time
    };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Adds up CPU time of this thread while it does what is measured.
#[derive(Debug, Default)]
pub struct Meter(u64);

impl Meter {
    /// Does it on the clock.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let start = thread_cpu();
        let done = work();
        self.0 += thread_cpu() - start;
        done
    }

    pub fn micros(&self) -> f64 {
        self.0 as f64 / 1e3
    }
}

/// Keeps this thread on one core, where there is more than one.
pub fn pin(core: usize) {
    // SAFETY: `set` is a valid set of the size given.
    unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &raw const set);
    }
}

/// As many sockets as the system lets us have.
pub fn raise_open_files() {
    // SAFETY: `limit` is a valid place for the limits.
    unsafe {
        let mut limit: libc::rlimit = zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
    }
}

/// Figures of repetitions.
#[derive(Debug, Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn push(&mut self, sample: f64) {
        self.0.push(sample);
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// From the first to the third quartile.
    pub fn quartiles(&self) -> (f64, f64) {
        (self.quantile(0.25), self.quantile(0.75))
    }

    fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = part * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
        low + (high - low) * place.fract()
    }

    /// The ratio of each repetition to the one of `other` that ran beside it.
    pub fn over(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect())
    }
}
