//! What viewers saw before and after each thing that was done in the run.

use super::{Happening, Second};

/// So much of the run before and after counts.
pub const WINDOW_S: f64 = 10.0;
/// So many happenings are looked at, the first ones.
pub const MOST: usize = 40;

/// What viewers saw around a happening.
#[derive(Debug, Clone, PartialEq)]
pub struct Around<'a> {
    /// What was done.
    pub happening: &'a Happening,
    /// The longest that any track stood still in the window before; none where nothing was measured.
    pub gap_before_ms: Option<f64>,
    /// The same after it.
    pub gap_after_ms: Option<f64>,
    /// Freezes that ended in the window after it.
    pub freezes: Option<u64>,
    /// Viewers that failed or ended in the window after it.
    pub lost: Option<u64>,
}

/// Each happening with the seconds around it. The second in which it falls counts as after it.
pub fn around<'a>(happenings: &'a [Happening], timeline: &[Second]) -> Vec<Around<'a>> {
    happenings
        .iter()
        .take(MOST)
        .map(|happening| {
            let at = happening.at_s;
            let before =
                || timeline.iter().filter(move |second| second.at_s <= at && second.at_s > at - WINDOW_S);
            let after = || {
                timeline
                    .iter()
                    .filter(move |second| second.at_s > at && second.at_s - second.seconds < at + WINDOW_S)
            };
            let failed = after().map(|second| second.failed).max();
            let failed_before = timeline.iter().filter(|second| second.at_s <= at);
            let failed_before = failed_before.map(|second| second.failed).max().unwrap_or(0);
            Around {
                happening,
                gap_before_ms: worst(before()),
                gap_after_ms: worst(after()),
                freezes: after().map(|second| second.freezes).reduce(u64::saturating_add),
                lost: failed.map(|failed| failed.saturating_sub(failed_before)),
            }
        })
        .collect()
}

fn worst<'a>(seconds: impl Iterator<Item = &'a Second>) -> Option<f64> {
    seconds.map(|second| second.longest_gap_ms).filter(|gap| gap.is_finite()).reduce(f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timeline() -> Vec<Second> {
        (1..=120u32)
            .map(|at| Second {
                at_s: f64::from(at),
                seconds: 1.0,
                longest_gap_ms: match at {
                    49 => 9_000.0,
                    55 => 80.0,
                    62 => 1_400.0,
                    72 => 7_000.0,
                    _ => 20.0,
                },
                failed: if at < 63 { 3 } else { 15 },
                freezes: u64::from(at == 62 || at == 90),
                ..Second::default()
            })
            .collect()
    }

    #[test]
    fn ten_seconds_each_way_count_and_no_more() {
        let kill = Happening { at_s: 60.5, ..Happening::default() };
        let found = &around(std::slice::from_ref(&kill), &timeline())[0];
        assert_eq!((found.gap_before_ms, found.gap_after_ms), (Some(80.0), Some(1_400.0)));
        assert_eq!((found.freezes, found.lost), (Some(1), Some(12)));
    }

    #[test]
    fn what_was_not_measured_is_not_told() {
        let late = [
            Happening { at_s: 500.0, ..Happening::default() },
            Happening { at_s: f64::NAN, ..Happening::default() },
        ];
        for found in around(&late, &timeline()) {
            assert_eq!((found.gap_before_ms, found.gap_after_ms), (None, None));
            assert_eq!((found.freezes, found.lost), (None, None));
        }
        let first = [Happening { at_s: 0.0, ..Happening::default() }];
        let found = &around(&first, &timeline())[0];
        assert_eq!((found.gap_before_ms, found.gap_after_ms, found.lost), (None, Some(20.0), Some(3)));
    }
}
