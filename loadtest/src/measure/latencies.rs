//! The latencies of one track, on their way into a histogram of many.

use super::Histogram;
use crate::num;

/// Latencies that are kept one by one: more than come between two looks at a usual stream.
const FRESH: usize = 2_048;

/// Counts latencies of one track. While somebody fetches them about once a second it takes 4 bytes for each packet of
/// that second, 8 KiB at most, so that thousands of viewers cost little; what nobody fetches goes into a histogram of its own.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    fresh: Vec<u32>,
    counted: Histogram,
    /// Of all, fetched or not.
    summary: Summary,
}

/// What is known of all latencies of a track when nobody has kept them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// How many they were.
    pub count: u64,
    /// All together, in microseconds.
    pub sum_us: u64,
    /// The longest, in microseconds.
    pub max_us: u64,
}

impl Summary {
    /// With another's.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            count: self.count.saturating_add(other.count),
            sum_us: self.sum_us.saturating_add(other.sum_us),
            max_us: self.max_us.max(other.max_us),
        }
    }

    /// The mean and the longest in milliseconds, if there were any.
    pub fn millis(self) -> Option<(f64, f64)> {
        let sum = num::float(self.sum_us) / 1_000.0;
        (self.count > 0).then(|| (sum / num::float(self.count), num::float(self.max_us) / 1_000.0))
    }
}

impl Latencies {
    /// Counts one.
    pub fn record_micros(&mut self, micros: u64) {
        if self.fresh.len() >= FRESH {
            fold(&mut self.fresh, &mut self.counted);
        }
        let one = Summary { count: 1, sum_us: micros, max_us: micros };
        self.summary = self.summary.and(one);
        // More than an hour is an hour to histograms, too.
        self.fresh.push(u32::try_from(micros).unwrap_or(u32::MAX));
    }

    /// Of all that were counted.
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// All since they were fetched last.
    pub fn histogram(&self) -> Histogram {
        let mut all = self.counted.clone();
        self.fresh.iter().for_each(|micros| all.record_micros(u64::from(*micros)));
        all
    }

    /// Moves all into a histogram.
    pub fn take_into(&mut self, sum: &mut Histogram) {
        sum.merge(&std::mem::take(&mut self.counted));
        fold(&mut self.fresh, sum);
    }
}

fn fold(fresh: &mut Vec<u32>, into: &mut Histogram) {
    fresh.drain(..).for_each(|micros| into.record_micros(u64::from(micros)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_counted_once_fetched_or_not() {
        let (mut some, mut sum, mut all) = (Latencies::default(), Histogram::new(), Histogram::new());
        for round in 0..5 {
            for number in 0..num::len(FRESH) + 7 * round {
                some.record_micros(number * 11 + round);
                all.record_micros(number * 11 + round);
            }
            if round == 2 {
                assert_eq!(some.histogram(), all, "nobody fetched any");
            }
            if round > 2 {
                some.take_into(&mut sum);
                assert_eq!(sum, all);
                assert!(some.histogram().is_empty());
            }
        }
        let told = some.summary();
        assert_eq!(
            (told.count, told.max_us / 1_000),
            (all.len(), all.max().unwrap().as_millis().try_into().unwrap())
        );
        let mean = all.mean().unwrap().as_secs_f64() * 1_000.0;
        assert!((told.millis().unwrap().0 - mean).abs() < 0.001, "{told:?} {mean}");
        some.record_micros(u64::MAX);
        assert_eq!(some.histogram().max(), Some(std::time::Duration::from_secs(3_600)));
    }

    #[test]
    fn who_is_fetched_from_takes_little() {
        let (mut some, mut sum) = (Latencies::default(), Histogram::new());
        for _second in 0..60 {
            (0..300).for_each(|number| some.record_micros(number * 1_000));
            some.take_into(&mut sum);
        }
        assert!(some.fresh.capacity() * 4 <= 2_048, "{}", some.fresh.capacity());
        assert_eq!((sum.len(), some.counted), (18_000, Histogram::new()));
    }
}
