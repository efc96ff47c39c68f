//! Durations in an HdrHistogram of microseconds: three significant figures, from 1 µs to an hour.
//!
//! One takes 16 KiB for values of up to 2 ms and 8 KiB more for each power of two above: 48 KiB for up to 32 ms, 88 KiB
//! for up to a second, 184 KiB for an hour, and for a while up to twice as much when it has just grown. One that counted
//! nothing takes 24 bytes and no allocation. So whoever measures for many viewers sums up what they saw
//! ([`super::Latencies`]) instead of keeping one for each.

use std::time::Duration;

use hdrhistogram::Histogram as Hdr;

use crate::num;

mod wire;

pub use wire::NotAHistogram;

/// Significant figures of a percentile.
const FIGURES: u8 = 3;
/// Longest duration kept apart; longer ones are counted as this.
const MAX_MICROS: u64 = 3_600_000_000;
/// Steps of a picture in each power of two, as a power of two.
const STEP_BITS: u32 = 6;

/// Counts durations.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// Made with the first value. The box keeps what counted nothing small.
    counts: Option<Box<Hdr<u64>>>,
    /// HdrHistogram knows the longest, and the sum, to three figures only.
    max: u64,
    sum: u64,
}

impl Histogram {
    /// Nothing counted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one duration.
    pub fn record(&mut self, value: Duration) {
        self.record_micros(num::micros(value));
    }

    /// Counts one duration given in microseconds.
    pub fn record_micros(&mut self, value: u64) {
        let value = value.min(MAX_MICROS);
        self.count(value, 1);
        self.max = self.max.max(value);
        self.sum = self.sum.saturating_add(value);
    }

    fn count(&mut self, value: u64, times: u64) {
        if self.counts.is_none() {
            // It refuses more than five figures, and ours are three.
            self.counts = Hdr::new(FIGURES).ok().map(Box::new);
        }
        if let Some(counts) = &mut self.counts {
            // It refuses what does not fit, and this one grows as far as a value needs.
            let _grows = counts.record_n(value, times);
        }
    }

    /// Adds all that `other` counted. Exact: both have the same steps.
    pub fn merge(&mut self, other: &Self) {
        match (&mut self.counts, &other.counts) {
            (_, None) => {}
            (None, Some(_)) => self.clone_from(other),
            (Some(mine), Some(theirs)) => {
                // It refuses what does not fit, and this one grows as far as a value needs.
                let _grows = mine.add(theirs.as_ref());
                self.max = self.max.max(other.max);
                self.sum = self.sum.saturating_add(other.sum);
            }
        }
    }

    /// The steps that anything was counted in: where each ends, and how much.
    fn counted(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let counts = self.counts.iter().flat_map(|counts| counts.iter_recorded());
        counts.map(|step| (step.value_iterated_to(), step.count_at_value()))
    }

    /// What was counted since an earlier state of this histogram. Its longest is as exact as a percentile.
    pub fn since(&self, earlier: &Self) -> Self {
        let before = |end: u64| match &earlier.counts {
            // Beyond its range it would tell of its last step.
            Some(counts) if end <= counts.max() => counts.count_at(end),
            _ => 0,
        };
        let mut since = Self::new();
        for (end, count) in self.counted() {
            let count = count.saturating_sub(before(end));
            if count > 0 {
                since.count(end, count);
                since.max = end.min(self.max);
            }
        }
        if since.counts.is_some() {
            since.sum = self.sum.saturating_sub(earlier.sum);
        }
        since
    }

    /// Where each step ends that anything was counted in, and how much, in order. Steps are those of pictures: 64 for
    /// each power of two.
    pub fn steps(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut steps: Vec<(u64, u64)> = Vec::new();
        for (end, count) in self.counted() {
            let end = step_end(end).min(self.max);
            match steps.last_mut() {
                Some((last, sum)) if *last == end => *sum = sum.saturating_add(count),
                _ => steps.push((end, count)),
            }
        }
        steps.into_iter().map(|(end, count)| (Duration::from_micros(end), count))
    }

    /// How many durations were counted.
    pub fn len(&self) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.len())
    }

    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The longest, exactly.
    pub fn max(&self) -> Option<Duration> {
        (!self.is_empty()).then(|| Duration::from_micros(self.max))
    }

    /// The mean, exactly.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.len()).map(Duration::from_micros)
    }

    /// All of them together, exactly.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.sum)
    }

    /// How many were no longer than this, to three figures of it.
    pub fn at_most(&self, limit: Duration) -> u64 {
        self.counts.as_ref().map_or(0, |counts| counts.count_between(0, num::micros(limit)))
    }

    /// The smallest step that at least `fraction` of the values do not exceed (its upper end, or the maximum).
    /// `fraction` is clamped to 0–1. `None` where nothing was counted.
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        let counts = self.counts.as_ref().filter(|counts| !counts.is_empty())?;
        let value = counts.value_at_quantile(fraction.clamp(0.0, 1.0));
        Some(Duration::from_micros(value.min(self.max)))
    }
}

/// Equal where the same was counted, however far either could count.
impl PartialEq for Histogram {
    fn eq(&self, other: &Self) -> bool {
        (self.max, self.sum) == (other.max, other.sum) && self.counted().eq(other.counted())
    }
}

/// Where the step of a picture ends that holds this value.
fn step_end(value: u64) -> u64 {
    let shift = (u64::BITS - value.leading_zeros()).saturating_sub(STEP_BITS + 1);
    (((value >> shift) + 1) << shift) - 1
}

#[cfg(test)]
#[path = "histogram_tests.rs"]
mod tests;
