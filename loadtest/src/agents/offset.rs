//! By how much another host's clock differs from ours. Pure.
//!
//! A question that left at `asked` and was answered at `heard` was read and answered by the other side in between. So the
//! difference of the clocks is known to half of the time on the way, whatever the way does; the shortest of many
//! exchanges knows it best. What was known stays true later but for what clocks drift.

use crate::num;

/// Clocks of two hosts drift apart by no more than this, in millionths: quartz does 20, and 50 is allowed for.
const DRIFT: u64 = 50;

/// Four times of one question and its answer, in microseconds: two by our clock, two by the other's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exchange {
    /// We asked.
    pub asked: u64,
    /// The other side read it.
    pub read: u64,
    /// The other side answered.
    pub answered: u64,
    /// We heard it.
    pub heard: u64,
}

/// What is to be added to our clock to have the other's, and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// In microseconds.
    pub micros: i64,
    /// It is true to this, in microseconds.
    pub uncertainty: u64,
}

impl Exchange {
    /// What this exchange tells; nothing if its times contradict each other.
    pub fn offset(&self) -> Option<Offset> {
        let there = self.answered.checked_sub(self.read)?;
        let on_the_way = self.heard.checked_sub(self.asked)?.checked_sub(there)?;
        let out = i128::from(self.read) - i128::from(self.asked);
        let back = i128::from(self.answered) - i128::from(self.heard);
        let micros = i64::try_from((out + back) / 2).ok()?;
        // One more for what was rounded.
        Some(Offset { micros, uncertainty: (on_the_way / 2).saturating_add(1) })
    }
}

/// What is known so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Estimate {
    known: Option<Known>,
    worst: Option<u64>,
    jumped: bool,
}

#[derive(Debug, Clone, Copy)]
struct Known {
    at: u64,
    offset: Offset,
}

impl Estimate {
    /// Takes what the best of some exchanges told, at a time by our own clock.
    pub fn update(&mut self, now: u64, told: Offset) {
        let before = self.at(now);
        let refined = before.map(|before| both(before, told));
        self.jumped |= refined.is_some_and(|refined| refined.is_none());
        let offset = refined.flatten().unwrap_or(told);
        self.known = Some(Known { at: now, offset });
        // What was believed until now was this uncertain at its worst.
        let worst = before.map_or(offset.uncertainty, |before| before.uncertainty);
        self.worst = Some(self.worst.unwrap_or(0).max(worst).max(offset.uncertainty));
    }

    /// What is known at a time by our own clock, older knowledge being less certain.
    pub fn at(&self, now: u64) -> Option<Offset> {
        let Known { at, offset } = self.known?;
        let drift = now.saturating_sub(at).saturating_mul(DRIFT).div_ceil(1_000_000);
        Some(Offset { uncertainty: offset.uncertainty.saturating_add(drift), ..offset })
    }

    /// Something that was told contradicts what was known: one of the clocks was set, or stood still. What was counted
    /// around then is wrong by nobody knows how much.
    pub fn jumped(&self) -> bool {
        self.jumped
    }

    /// How uncertain it was at its worst, up to a time by our own clock.
    pub fn worst(&self, now: u64) -> Option<u64> {
        let is = self.at(now)?.uncertainty;
        Some(self.worst.unwrap_or(0).max(is))
    }
}

/// What lies within both; nothing if they contradict each other, as after a clock was set.
fn both(one: Offset, other: Offset) -> Option<Offset> {
    let ends = |offset: Offset| {
        let half = i64::try_from(offset.uncertainty).unwrap_or(i64::MAX);
        (offset.micros.saturating_sub(half), offset.micros.saturating_add(half))
    };
    let ((low, high), (other_low, other_high)) = (ends(one), ends(other));
    let (low, high) = (low.max(other_low), high.min(other_high));
    let width = u64::try_from(high.checked_sub(low)?).ok()?;
    let half = width.div_ceil(2);
    Some(Offset { micros: low.saturating_add(i64::try_from(half).ok()?), uncertainty: half })
}

/// The best of some exchanges.
pub fn best(exchanges: &[Exchange]) -> Option<Offset> {
    exchanges.iter().filter_map(Exchange::offset).min_by_key(|offset| offset.uncertainty)
}

/// Milliseconds with their fraction.
pub fn millis(micros: i64) -> f64 {
    let size = num::float(micros.unsigned_abs()) / 1_000.0;
    if micros < 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Chance;

    /// The other clock is `ahead`; the question takes `out`, the answer `back`, the other side `there`.
    fn exchange(ahead: i64, out: u64, there: u64, back: u64) -> Exchange {
        let asked: u64 = 1_795_262_400_000_000;
        let read = (asked + out).saturating_add_signed(ahead);
        Exchange { asked, read, answered: read + there, heard: asked + out + there + back }
    }

    #[test]
    fn the_truth_lies_within_what_is_said_whatever_the_way_does() {
        let mut chance = Chance::new(5);
        let mut draw = |most: f64| num::count(chance.unit() * most);
        for _ in 0..10_000 {
            let ahead = i64::try_from(draw(9e9)).unwrap() - 4_500_000_000;
            let (out, there, back) = (draw(20_000.0), draw(5_000.0), draw(20_000.0));
            let told = exchange(ahead, out, there, back).offset().unwrap();
            assert!(told.micros.abs_diff(ahead) <= told.uncertainty, "{ahead} {told:?}");
            assert!(told.uncertainty <= (out + back) / 2 + 1);
        }
        assert_eq!(exchange(-3_000_000, 400, 9_000, 400).offset().unwrap().micros, -3_000_000);
    }

    #[test]
    fn the_shortest_way_is_believed() {
        let all = [(900, 100), (90, 110), (3_000, 10)].map(|(out, back)| exchange(70, out, 5, back));
        assert_eq!(best(&all), Some(Offset { micros: 60, uncertainty: 101 }));
        assert_eq!(best(&[]), None);
        let impossible = Exchange { asked: 9, read: 5, answered: 500, heard: 10 };
        assert_eq!(impossible.offset(), None);
        assert_eq!(Exchange { asked: 9, read: 5, answered: 4, heard: 10 }.offset(), None);
    }

    #[test]
    fn knowledge_gets_old_and_is_refined() {
        let mut estimate = Estimate::default();
        assert_eq!((estimate.at(5), estimate.worst(5)), (None, None));
        estimate.update(1_000_000, Offset { micros: 500, uncertainty: 100 });
        let later = estimate.at(11_000_000).unwrap();
        assert_eq!((later.micros, later.uncertainty), (500, 600), "50 ppm for ten seconds");
        estimate.update(11_000_000, Offset { micros: 900, uncertainty: 300 });
        let now = estimate.at(11_000_000).unwrap();
        assert_eq!((now.micros, now.uncertainty), (850, 250), "between 600 and 1,100");
        assert_eq!((estimate.worst(11_000_000), estimate.jumped()), (Some(600), false));
        // Somebody set the clock: the new knowledge contradicts the old and replaces it.
        estimate.update(12_000_000, Offset { micros: -9_000_000, uncertainty: 40 });
        assert_eq!(estimate.at(12_000_000), Some(Offset { micros: -9_000_000, uncertainty: 40 }));
        estimate.update(13_000_000, Offset { micros: -9_000_000, uncertainty: 40 });
        assert!(estimate.jumped(), "what was counted before stays doubtful");
    }

    #[test]
    fn a_drifting_clock_is_followed() {
        let (mut estimate, mut chance) = (Estimate::default(), Chance::new(8));
        for second in (0..600_u64).step_by(5) {
            // 30 ppm: 18 ms in ten minutes.
            let truth = 40_000 + i64::try_from(second * 30).unwrap();
            let wait = num::count(chance.exponential() * 150.0);
            let told = exchange(truth, 80 + wait, 10, 80).offset().unwrap();
            estimate.update(second * 1_000_000, told);
            let now = estimate.at(second * 1_000_000).unwrap();
            assert!(now.micros.abs_diff(truth) <= now.uncertainty, "{second}: {truth} {now:?}");
            assert!(now.uncertainty < 1_200, "{second}: {now:?}");
        }
        assert!(estimate.worst(600_000_000).unwrap() < 2_000);
    }

    #[test]
    fn a_sign_is_kept() {
        assert_eq!((millis(-1_500), millis(250)), (-1.5, 0.25));
    }
}
