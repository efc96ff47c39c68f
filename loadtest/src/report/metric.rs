//! What a bound can be about.

use super::RunReport;

/// A figure, its unit and where it is.
pub struct Metric {
    /// As people write it.
    pub name: &'static str,
    /// What it is measured in.
    pub unit: Unit,
    /// Where it is.
    pub get: fn(&RunReport) -> Option<f64>,
}

/// What a figure is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Percent,
    Millis,
    Count,
}
