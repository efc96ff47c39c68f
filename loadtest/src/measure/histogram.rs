//! A log-linear histogram of microseconds: 64 steps for each power of two, so a percentile is at most 1.6 % off.
//!
//! Memory is bounded by the range (up to 19 hours), grows only as far as values need, and two histograms merge exactly.

use std::time::Duration;

use crate::num;

/// Steps of each power of two, as a power of two.
const STEP_BITS: u32 = 6;
const STEPS: u64 = 1 << STEP_BITS;
/// Largest value kept apart; larger ones are counted as this.
const MAX_MICROS: u64 = (1 << 36) - 1;

/// Counts durations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
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
        let place = bucket(value);
        if self.counts.len() <= place {
            self.counts.resize(place + 1, 0);
        }
        if let Some(count) = self.counts.get_mut(place) {
            *count += 1;
        }
        self.total += 1;
        self.max = self.max.max(value);
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds all that `other` counted.
    pub fn merge(&mut self, other: &Self) {
        if self.counts.len() < other.counts.len() {
            self.counts.resize(other.counts.len(), 0);
        }
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
        self.total += other.total;
        self.max = self.max.max(other.max);
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// What was counted since an earlier state of this histogram. Its longest is as exact as a percentile.
    pub fn since(&self, earlier: &Self) -> Self {
        let counts: Vec<u64> = self
            .counts
            .iter()
            .enumerate()
            .map(|(place, count)| count.saturating_sub(earlier.counts.get(place).copied().unwrap_or(0)))
            .collect();
        let highest = counts.iter().rposition(|count| *count > 0);
        Self {
            total: counts.iter().sum(),
            max: highest.map_or(0, |place| upper_end(place).min(self.max)),
            sum: self.sum.saturating_sub(earlier.sum),
            counts,
        }
    }

    /// Where each step ends that anything was counted in, and how much, in order.
    pub fn steps(&self) -> impl Iterator<Item = (Duration, u64)> + '_ {
        let all = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        all.map(|(place, count)| (Duration::from_micros(upper_end(place).min(self.max)), *count))
    }

    /// How many durations were counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The longest, exactly.
    pub fn max(&self) -> Option<Duration> {
        (self.total > 0).then(|| Duration::from_micros(self.max))
    }

    /// The mean, exactly.
    pub fn mean(&self) -> Option<Duration> {
        self.sum.checked_div(self.total).map(Duration::from_micros)
    }

    /// The smallest step that at least `fraction` of the values do not exceed (its upper end, or the maximum).
    /// `fraction` is clamped to 0–1. `None` where nothing was counted.
    pub fn quantile(&self, fraction: f64) -> Option<Duration> {
        if self.total == 0 {
            return None;
        }
        let wanted = num::count((num::float(self.total) * fraction.clamp(0.0, 1.0)).ceil()).max(1);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Some(Duration::from_micros(upper_end(place).min(self.max)));
            }
        }
        self.max()
    }
}

fn bucket(value: u64) -> usize {
    if value < STEPS {
        return num::index(value);
    }
    let exponent = 63 - value.leading_zeros() - STEP_BITS;
    let step = (value >> exponent) - STEPS;
    num::index((u64::from(exponent) + 1) * STEPS + step)
}

fn upper_end(place: usize) -> u64 {
    let place = num::len(place);
    if place < STEPS {
        return place;
    }
    let exponent = place / STEPS - 1;
    let step = place % STEPS + STEPS;
    ((step + 1) << exponent) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: impl IntoIterator<Item = u64>) -> Histogram {
        let mut histogram = Histogram::new();
        values.into_iter().for_each(|value| histogram.record_micros(value));
        histogram
    }

    #[test]
    fn every_value_lies_in_its_bucket_and_no_bucket_is_wider_than_a_sixty_fourth() {
        for value in (0..5_000).chain((0..36).map(|bit| (1 << bit) + 7)).chain([MAX_MICROS]) {
            let place = bucket(value);
            let lower = if place == 0 { 0 } else { upper_end(place - 1) + 1 };
            assert!((lower..=upper_end(place)).contains(&value), "{value}");
            assert!(upper_end(place) - lower <= value / 64, "{value}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let histogram = of(1..=10_000);
        for (fraction, exact) in [(0.5, 5_000.0), (0.9, 9_000.0), (0.99, 9_900.0), (0.999, 9_990.0)] {
            let found = histogram.quantile(fraction).unwrap().as_micros() as f64;
            assert!((found / exact - 1.0).abs() < 0.017, "{fraction}: {found}");
        }
        assert_eq!(histogram.quantile(1.0), Some(Duration::from_micros(10_000)));
        assert_eq!(histogram.quantile(0.0), Some(Duration::from_micros(1)));
        assert_eq!(histogram.mean(), Some(Duration::from_micros(5_000)));
    }

    #[test]
    fn one_outlier_in_a_thousand_is_seen_at_the_right_percentile_only() {
        let histogram = of((0..999).map(|_| 1_000).chain([1_000_000]));
        assert!(histogram.quantile(0.99).unwrap() < Duration::from_micros(1_020));
        assert!(histogram.quantile(0.999).unwrap() < Duration::from_micros(1_020));
        assert_eq!(histogram.quantile(0.9995), Some(Duration::from_secs(1)));
    }

    #[test]
    fn merging_equals_counting_together() {
        let (mut left, right) = (of(0..500), of((0..9_000).map(|value| value * 37)));
        left.merge(&right);
        assert_eq!(left, of((0..500).chain((0..9_000).map(|value| value * 37))));
    }

    #[test]
    fn what_came_since_is_counted_apart() {
        let earlier = of(0..500);
        let mut all = earlier.clone();
        all.merge(&of(2_000..2_100));
        let since = all.since(&earlier);
        assert_eq!(since.len(), 100);
        let longest = since.max().unwrap().as_micros();
        assert!((2_099..2_133).contains(&longest), "{longest}");
        assert!(since.quantile(0.01).unwrap() >= Duration::from_micros(2_000));
        assert_eq!(since.steps().map(|(_, count)| count).sum::<u64>(), 100);
        assert!(since.steps().is_sorted());
        assert!(all.since(&all).is_empty() && all.since(&all).max().is_none());
    }

    #[test]
    fn nothing_counted_has_no_percentile_and_huge_values_are_kept() {
        assert_eq!(Histogram::new().quantile(0.5), None);
        let histogram = of([u64::MAX]);
        assert_eq!(histogram.max(), Some(Duration::from_micros(MAX_MICROS)));
        assert!(histogram.counts.len() < 2_100, "memory stays bounded");
    }
}
