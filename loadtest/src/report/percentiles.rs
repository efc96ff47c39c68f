//! A distribution in a few numbers.

use serde::{Deserialize, Serialize};

use crate::measure::Histogram;
use crate::num;

/// Percentiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Percentiles {
    /// Values counted.
    pub count: u64,
    /// Median.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// Longest.
    pub max: f64,
}

impl Percentiles {
    /// Of a histogram; `None` where nothing was counted.
    pub fn of(histogram: &Histogram) -> Option<Self> {
        let at = |fraction: f64| histogram.quantile(fraction).map(num::millis);
        Some(Self {
            count: histogram.len(),
            p50: at(0.5)?,
            p90: at(0.9)?,
            p99: at(0.99)?,
            p999: at(0.999)?,
            max: num::millis(histogram.max()?),
        })
    }
}
