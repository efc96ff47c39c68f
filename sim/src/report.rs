//! What a run found.

use std::collections::BTreeMap;

/// How often each kind of thing happened. A test asserts that its faults fired.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fired(BTreeMap<&'static str, u64>);

impl Fired {
    /// One more.
    pub fn count(&mut self, what: &'static str) {
        let n = self.0.entry(what).or_default();
        *n = n.saturating_add(1);
    }

    /// How often.
    pub fn of(&self, what: &str) -> u64 {
        self.0.get(what).copied().unwrap_or(0)
    }
}

/// The result of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Rules that were broken, with the time in milliseconds. Empty in a good run.
    pub violations: Vec<String>,
    /// What happened.
    pub fired: Fired,
    /// A digest of all plans written, in order: the same seed gives the same.
    pub digest: u64,
}
