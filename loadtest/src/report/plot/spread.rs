//! How often values occurred.

use super::axis::{Axis, Unit, sane};
use super::frame::{BOX, Frame, Mark};
use crate::num;
use crate::report::{Bars, text};

/// Bars of a picture.
const BINS: u64 = 48;
/// Longer times, of eleven days or more, are drawn as this.
const LONGEST_MS: f64 = 1e9;
/// Where the longest value is so many times the shortest, each step of the axis is a factor.
const WIDE: f64 = 20.0;

/// How often values occurred, as shares of all.
#[derive(Debug)]
pub struct Spread<'a> {
    /// What a screen reader says of it.
    pub about: &'a str,
    /// The values.
    pub bars: &'a Bars,
    /// Marked values, in milliseconds.
    pub marks: &'a [Mark],
}

/// Values between two others.
#[derive(Debug, Clone, Copy)]
struct Bar {
    lower: f64,
    upper: f64,
    count: f64,
}

/// Bars that hold something and follow each other.
fn bars(given: &Bars) -> Vec<Bar> {
    let mut bars = Vec::new();
    let mut lower: f64 = 0.0;
    for (upper, count) in given.upper_ms.iter().zip(&given.counts) {
        let Some(upper) = sane(*upper).map(|upper| upper.min(LONGEST_MS)) else { continue };
        if upper <= lower {
            continue;
        }
        if *count > 0 {
            bars.push(Bar { lower, upper, count: num::float(*count) });
        }
        lower = upper;
    }
    bars
}

impl Spread<'_> {
    /// The plot; none where nothing was counted.
    pub fn svg(&self) -> Option<String> {
        let bars = bars(self.bars);
        let (first, most) = (bars.first()?, bars.last()?.upper);
        // A logarithm has no 0 to begin at.
        let least = if first.lower > 0.0 { first.lower } else { first.upper / 2.0 };
        let from = if first.lower * 4.0 < most { 0.0 } else { first.lower };
        let axis = match least * WIDE < most {
            true => Axis::log(least, most, Unit::Millis),
            false => Axis::between(from, most, Unit::Millis),
        };
        let total: f64 = bars.iter().map(|bar| bar.count).sum();
        let bins = bins(&bars, &axis);
        let percent = |count: f64| count / total * 100.0;
        let height = Axis::linear(bins.iter().map(|count| percent(*count)), Unit::Percent);
        let mut frame = Frame::open(self.about, " one spread");
        frame.left(&height);
        frame.bottom(&axis.ticks);
        frame.begin_values();
        let width = BOX / num::float(BINS);
        frame.add("<g class=\"column s0\">");
        for (place, count) in bins.iter().enumerate() {
            let high = height.place(percent(*count)).unwrap_or(0.0) * BOX;
            let (x, y) = (num::float(num::len(place)) * width, BOX - high);
            if high > 0.0 {
                frame.add(&format!(
                    "<rect x=\"{x:.3}\" y=\"{y:.2}\" width=\"{width:.3}\" height=\"{high:.2}\"/>"
                ));
            }
        }
        frame.add("</g>");
        frame.end_values();
        frame.marks(self.marks, |at| axis.place(at));
        for (place, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0.0) {
            let at = |place: f64| place / num::float(BINS);
            let place = num::float(num::len(place));
            let (from, to) = (at(place), at(place + 1.0));
            let (low, high) = (Unit::Millis.say(axis.value(from)), Unit::Millis.say(axis.value(to)));
            let share = Unit::Percent.say(percent(*count));
            let some = text::number(count.ceil(), 0);
            frame.hint(from, to, &format!("{low} to {high}: {share}, about {some}"));
        }
        let word = text::escape(&axis.word);
        frame.add(&format!("<text class=\"word end\" x=\"100%\" y=\"100%\" dy=\"3.1em\">{word}</text>"));
        Some(frame.close())
    }
}

/// What each bin of an even picture holds: a bar that lies in several is shared out, as if its values lay evenly.
fn bins(bars: &[Bar], axis: &Axis) -> Vec<f64> {
    let mut bins = vec![0.0; num::index(BINS)];
    let last = BINS - 1;
    for bar in bars {
        let place = |value: f64| axis.place(value).unwrap_or(0.0) * num::float(BINS);
        let (from, to) = (place(bar.lower), place(bar.upper));
        // What ends where a bin does is not in the next one, whatever floating point says.
        let (first, end) = (num::count(from + 1e-9).min(last), num::count((to - 1e-9).ceil()).max(1) - 1);
        for bin in first..=end.clamp(first, last) {
            let (low, high) = (num::float(bin), num::float(bin + 1));
            let part = if to - from > 1e-9 {
                ((to.min(high) - from.max(low)) / (to - from)).clamp(0.0, 1.0)
            } else {
                // So narrow that it lies in one; rounding can have given it two.
                f64::from(u8::from(bin == first))
            };
            if let Some(sum) = bins.get_mut(num::index(bin)) {
                *sum += bar.count * part;
            }
        }
    }
    bins
}

#[cfg(test)]
#[path = "spread_tests.rs"]
mod tests;
