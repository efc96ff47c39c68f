//! Where a value lies on an axis, and which round values are written beside it.

use crate::num;
use crate::report::text;

/// Larger values are drawn as this.
const MOST: f64 = 1e21;
/// The smallest value of a logarithmic axis: a microsecond, where milliseconds are drawn.
const LEAST: f64 = 1e-3;
/// Steps of a linear axis, at most.
const STEPS: f64 = 5.0;
/// Steps of a logarithmic one, about.
const DECADES: f64 = 6.0;
/// Values that lie so far apart would hide each other on a linear axis.
const WIDE: f64 = 40.0;

/// What an axis counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Whole things of this name.
    Count(&'static str),
    /// Milliseconds.
    Millis,
    /// Bits a second.
    Bits,
    /// Bytes.
    Bytes,
    /// Cores' worth of CPU.
    Cores,
    /// Per cent.
    Percent,
}

impl Unit {
    /// What numbers beside the axis are divided by where the largest value is `most`, and what they are then.
    fn scale(self, most: f64) -> (f64, &'static str) {
        match self {
            Self::Count(word) => (1.0, word),
            Self::Cores => (1.0, "cores"),
            Self::Percent => (1.0, "%"),
            Self::Millis if most >= 10_000.0 => (1_000.0, "s"),
            Self::Millis => (1.0, "ms"),
            Self::Bits if most >= 1e9 => (1e9, "Gbit/s"),
            Self::Bits if most >= 1e6 => (1e6, "Mbit/s"),
            Self::Bits => (1e3, "kbit/s"),
            Self::Bytes if most >= 1_073_741_824.0 => (1_073_741_824.0, "GiB"),
            Self::Bytes => (1_048_576.0, "MiB"),
        }
    }

    /// A value by itself.
    pub fn say(self, value: f64) -> String {
        match self {
            Self::Count(_) => text::number(value, if value.fract() == 0.0 { 0 } else { 1 }),
            Self::Millis => text::millis(value),
            Self::Bits => text::bits(value),
            Self::Bytes => text::bytes(value),
            Self::Cores => text::cores(value),
            Self::Percent => text::percent(value),
        }
    }
}

/// A round value of an axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Tick {
    /// Share of the axis.
    pub at: f64,
    /// Its number, in the axis's word.
    pub label: String,
}

/// From values to shares of a length.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    from: f64,
    to: f64,
    log: bool,
    /// What the numbers are: `ms`, `Mbit/s`, `viewers`.
    pub word: String,
    /// Rising.
    pub ticks: Vec<Tick>,
}

/// What can be drawn.
pub fn sane(value: f64) -> Option<f64> {
    value.is_finite().then(|| value.clamp(0.0, MOST))
}

impl Axis {
    /// From 0 to a round value that none exceeds.
    pub fn linear(values: impl Iterator<Item = f64>, unit: Unit) -> Self {
        Self::between(0.0, values.filter_map(sane).fold(0.0, f64::max), unit)
    }

    /// Logarithmic where values lie so far apart that small ones could not be seen.
    pub fn fit(values: impl Iterator<Item = f64> + Clone, unit: Unit) -> Self {
        let most = values.clone().filter_map(sane).fold(0.0, f64::max);
        let some = |value: &f64| *value >= LEAST;
        let least = values.clone().filter_map(sane).filter(some).fold(MOST, f64::min);
        if least * WIDE < most { Self::log(least, most, unit) } else { Self::linear(values, unit) }
    }

    /// Round values from below `least` to above `most`, evenly.
    pub fn between(least: f64, most: f64, unit: Unit) -> Self {
        let (divisor, word) = unit.scale(most);
        let whole = matches!(unit, Unit::Count(_));
        let (low, high) = (least / divisor, most / divisor);
        let step = round_step((high - low) / STEPS, whole);
        let from = (low / step + 1e-9).floor() * step;
        // What is a hair above a round value by its floating point needs no step more.
        let steps = ((high - from) / step - 1e-9).ceil().clamp(1.0, 2.0 * STEPS);
        let decimals = decimals(step);
        let mut ticks = Vec::new();
        for place in 0..=num::count(steps) {
            let place = num::float(place);
            ticks.push(Tick { at: place / steps, label: text::number(from + place * step, decimals) });
        }
        Self {
            from: from * divisor,
            to: (from + steps * step) * divisor,
            log: false,
            word: word.to_owned(),
            ticks,
        }
    }

    /// Each step a factor. Values below a microsecond (where milliseconds are drawn) lie at its beginning.
    pub fn log(least: f64, most: f64, unit: Unit) -> Self {
        let (least, most) = (least.clamp(LEAST, MOST), most.clamp(LEAST, MOST));
        let (divisor, word) = unit.scale(least * 10.0);
        let from = round_down(least / divisor);
        let to = round_up(most / divisor).max(round_up(from * 2.0));
        let mut axis = Self {
            from: from * divisor,
            to: to * divisor,
            log: true,
            word: format!("{word}, log scale"),
            ticks: Vec::new(),
        };
        let every = ((to / from).log10() / DECADES).ceil().max(1.0);
        let between: &[f64] = if to / from < 150.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let mut decade = from.log10().floor();
        while 10f64.powf(decade) <= to * 1.001 {
            for factor in between {
                let value = factor * 10f64.powf(decade);
                if value >= from * 0.999 && value <= to * 1.001 {
                    let label = text::number(value, decimals(value));
                    let at = axis.place(value * divisor);
                    axis.ticks.extend(at.map(|at| Tick { at, label }));
                }
            }
            decade += every;
        }
        axis
    }

    /// The share of the axis at which a value lies; none for what is no number.
    pub fn place(&self, value: f64) -> Option<f64> {
        let value = sane(value)?.clamp(self.from, self.to);
        let share = match self.log {
            true => (value / self.from).ln() / (self.to / self.from).ln(),
            false => (value - self.from) / (self.to - self.from),
        };
        Some(share.clamp(0.0, 1.0))
    }

    /// The value at a share of the axis.
    pub fn value(&self, share: f64) -> f64 {
        match self.log {
            true => self.from * (self.to / self.from).powf(share),
            false => self.from + share * (self.to - self.from),
        }
    }
}

/// Ticks of a time that runs from 0 to `seconds`, at round places of a clock.
pub fn times(seconds: f64) -> Vec<Tick> {
    const ROUND: [f64; 16] = [
        1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0,
        14_400.0, 43_200.0,
    ];
    let rough = seconds / STEPS;
    let days = (rough / 86_400.0).ceil().max(1.0) * 86_400.0;
    let step = ROUND.into_iter().find(|step| *step >= rough).unwrap_or(days);
    let mut ticks = Vec::new();
    let mut at: f64 = 0.0;
    while at <= seconds * 1.000_001 && seconds > 0.0 {
        ticks.push(Tick { at: at / seconds, label: text::clock(at) });
        at += step;
    }
    ticks
}

/// 1, 2 or 5 times a power of ten, not below `rough`.
fn round_step(rough: f64, whole: bool) -> f64 {
    let step = if rough > 1e-9 { round_up(rough) } else { 0.2 };
    if whole { step.max(1.0) } else { step }
}

fn round_up(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let factors: [f64; 4] = [1.0, 2.0, 5.0, 10.0];
    factors
        .into_iter()
        .map(|factor| factor * decade)
        .find(|round| *round >= value * 0.999_999)
        .unwrap_or(value)
}

fn round_down(value: f64) -> f64 {
    let decade = 10f64.powf(value.log10().floor());
    let factors: [f64; 3] = [5.0, 2.0, 1.0];
    factors
        .into_iter()
        .map(|factor| factor * decade)
        .find(|round| *round <= value * 1.000_001)
        .unwrap_or(decade)
}

/// Digits behind the point that tell multiples of `step` from each other.
fn decimals(step: f64) -> usize {
    num::index(num::count((-(step * 1.000_001).log10().floor()).clamp(0.0, 9.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number on a tick, in the axis's unit.
    fn shown(tick: &Tick) -> f64 {
        tick.label.replace(',', "").parse().unwrap()
    }

    #[test]
    fn every_tick_stands_where_its_number_lies() {
        let most = [0.0, 0.003, 0.9, 1.0, 3.0, 7.0, 99.9, 100.0, 100.1, 1e4, 2.5e9, 1e15];
        for (most, unit) in most.into_iter().flat_map(|most| {
            [Unit::Count("viewers"), Unit::Millis, Unit::Bits, Unit::Bytes, Unit::Cores]
                .map(|unit| (most, unit))
        }) {
            let axis = Axis::linear([most].into_iter(), unit);
            assert!((2..=7).contains(&axis.ticks.len()), "{most} {unit:?}: {axis:?}");
            assert!(axis.to >= most * 0.999_999 && axis.from == 0.0, "{most} {unit:?}: {axis:?}");
            // At least half of the picture is used.
            assert!(most < 1.0 || axis.to <= most.max(5_000.0) * 2.0, "{most} {unit:?}: {axis:?}");
            let divisor = unit.scale(most).0;
            if most >= 1e14 {
                continue;
            }
            for tick in &axis.ticks {
                let at = axis.place(shown(tick) * divisor).unwrap();
                assert!((at - tick.at).abs() < 1e-6, "{most} {unit:?}: {axis:?}");
            }
        }
    }

    #[test]
    fn a_logarithmic_axis_has_a_factor_for_each_step_and_says_so() {
        let axis = Axis::fit([0.0, 0.7, 3.0, 1_900.0].into_iter(), Unit::Millis);
        assert!(axis.log && axis.word == "ms, log scale", "{axis:?}");
        assert_eq!(axis.ticks.iter().map(shown).collect::<Vec<f64>>(), [1.0, 10.0, 100.0, 1_000.0]);
        for tick in &axis.ticks {
            assert!((axis.value(tick.at) / shown(tick) - 1.0).abs() < 1e-6, "{axis:?}");
        }
        let step = |one: f64, other: f64| axis.place(other).unwrap() - axis.place(one).unwrap();
        assert!((step(1.0, 10.0) - step(100.0, 1_000.0)).abs() < 1e-9);
        assert_eq!((axis.place(0.0), axis.place(1e9)), (Some(0.0), Some(1.0)));
        let narrow = Axis::log(2.0, 90.0, Unit::Millis);
        assert_eq!(narrow.ticks.iter().map(shown).collect::<Vec<f64>>(), [2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        assert!(!Axis::fit([10.0, 300.0].into_iter(), Unit::Millis).log, "near enough to be seen together");
        assert!((1..=8).contains(&Axis::log(1e-9, 1e21, Unit::Millis).ticks.len()));
    }

    #[test]
    fn what_is_no_number_lies_nowhere_and_bends_no_axis() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        let values = odd.into_iter().chain([4.0, -3.0]);
        for axis in [Axis::fit(values.clone(), Unit::Millis), Axis::linear(values, Unit::Millis)] {
            assert!(axis.to <= 5.0 && odd.iter().all(|value| axis.place(*value).is_none()), "{axis:?}");
        }
        let axis = Axis::linear([f64::MAX].into_iter(), Unit::Bits);
        assert!(axis.to.is_finite() && axis.ticks.len() <= 7, "{axis:?}");
    }

    #[test]
    fn time_is_told_by_the_clock() {
        let labels =
            |seconds| times(seconds).into_iter().map(|tick: Tick| tick.label).collect::<Vec<String>>();
        assert_eq!(labels(120.0), ["0 s", "30 s", "60 s", "90 s", "120 s"]);
        assert_eq!(labels(3_600.0), ["0 s", "15:00", "30:00", "45:00", "1:00:00"]);
        assert!(labels(0.0).is_empty());
        for seconds in [0.1, 1.0, 7.7, 59.0, 86_400.0, 604_800.0, 1e9, 1e21] {
            let ticks = times(seconds);
            assert!(ticks.len() <= 6 && ticks.iter().all(|tick| tick.at <= 1.000_01), "{seconds}");
        }
    }
}
