//! Values over time.

use super::axis::{Axis, Unit, times};
use super::frame::{BOX, Frame, Mark, share};
use crate::report::text;

/// How many looks a series can have.
const LOOKS: usize = 6;
/// Height of the values in the page's pixels, for names beside lines not to cover each other.
const HEIGHT: f64 = 210.0;
/// Height of such a name.
const NAME: f64 = 14.0;

/// By which axis a series is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The left one, as a line.
    Left,
    /// The right one, as a line.
    Right,
    /// The right one, as columns: what is counted anew each second.
    Columns,
}

/// One kind of value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name.
    pub name: &'static str,
    /// By which axis it is read.
    pub side: Side,
    /// One for each end of [`Lines::ends`]; none leaves a gap.
    pub values: Vec<Option<f64>>,
}

/// Values over time.
#[derive(Debug)]
pub struct Lines<'a> {
    /// What a screen reader says of it.
    pub about: &'a str,
    /// Ends of the stretches of time that values stand for, in seconds, rising.
    pub ends: &'a [f64],
    /// Unit of the left axis.
    pub left: Unit,
    /// Unit of the right axis; none if nothing is read by it.
    pub right: Option<Unit>,
    /// The left axis may be logarithmic.
    pub fit: bool,
    /// What is drawn, the first one undermost.
    pub series: Vec<Series>,
    /// Marked times.
    pub marks: &'a [Mark],
}

impl Lines<'_> {
    fn axis(&self, left: bool, unit: Unit) -> Axis {
        let mine = self.series.iter().filter(move |series| (series.side == Side::Left) == left);
        let values = mine.flat_map(|series| series.values.iter().flatten().copied());
        if left && self.fit { Axis::fit(values, unit) } else { Axis::linear(values, unit) }
    }

    /// The plot.
    pub fn svg(&self) -> String {
        let until = self.ends.last().copied().filter(|end| *end > 0.0).unwrap_or(1.0);
        let place = |at: f64| (0.0..=until).contains(&at).then(|| at / until);
        let left = self.axis(true, self.left);
        let right = self.right.map(|unit| self.axis(false, unit));
        let mut frame = Frame::open(self.about, if right.is_some() { " two" } else { " one" });
        frame.left(&left);
        if let Some(right) = &right {
            frame.right(right);
        }
        frame.bottom(&times(until));
        frame.begin_values();
        let looks = self.series.iter().zip((0..LOOKS).cycle());
        // Columns are wide: lines lie above them.
        for (series, look) in looks.clone().filter(|(series, _)| series.side == Side::Columns) {
            if let Some(right) = &right {
                frame.add(&self.columns(series, look, right, until));
            }
        }
        for (series, look) in looks.filter(|(series, _)| series.side != Side::Columns) {
            let axis = if series.side == Side::Left { Some(&left) } else { right.as_ref() };
            if let Some(axis) = axis {
                let (path, dots) = self.path(series, axis, until);
                frame.add(&format!("<path class=\"line s{look}\" d=\"{path}\"/>"));
                frame.add(&format!("<path class=\"dot s{look}\" d=\"{dots}\"/>"));
            }
        }
        frame.end_values();
        if right.is_none() {
            self.names(&mut frame, &left);
        }
        frame.marks(self.marks, place);
        self.hints(&mut frame, until);
        frame.close()
    }

    /// Lines, and apart from them values without a neighbour, of which a line would show nothing.
    fn path(&self, series: &Series, axis: &Axis, until: f64) -> (String, String) {
        let places: Vec<Option<(f64, f64)>> = self
            .ends
            .iter()
            .zip(&series.values)
            .map(|(end, value)| {
                let share = value.and_then(|value| axis.place(value))?;
                Some((end / until * BOX, (1.0 - share) * BOX))
            })
            .collect();
        let (mut path, mut dots) = (String::new(), String::new());
        for stretch in places.split(Option::is_none) {
            // A line of no length has round ends, which make a dot.
            if let [Some((x, y))] = stretch {
                dots.push_str(&format!("M{x:.2} {y:.2}h0"));
                continue;
            }
            for (place, (x, y)) in stretch.iter().flatten().enumerate() {
                path.push_str(&format!("{}{x:.2} {y:.2}", if place == 0 { 'M' } else { 'L' }));
            }
        }
        (path, dots)
    }

    fn columns(&self, series: &Series, look: usize, axis: &Axis, until: f64) -> String {
        let mut columns = format!("<g class=\"column s{look}\">");
        let mut from: f64 = 0.0;
        for (end, value) in self.ends.iter().zip(&series.values) {
            let height = value.and_then(|value| axis.place(value)).unwrap_or(0.0) * BOX;
            let (x, width, y) = (from / until * BOX, (end - from).max(0.0) / until * BOX, BOX - height);
            if height > 0.0 {
                columns.push_str(&format!(
                    "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{width:.2}\" height=\"{height:.2}\"/>"
                ));
            }
            from = *end;
        }
        columns.push_str("</g>");
        columns
    }

    /// The names of lines, where they end.
    fn names(&self, frame: &mut Frame, axis: &Axis) {
        let mut names: Vec<(f64, usize, &str)> = Vec::new();
        for (series, look) in self.series.iter().zip((0..LOOKS).cycle()) {
            // Of a line that ends earlier the name would stand beside nothing.
            let last = series.values.last().copied().flatten();
            let left = series.side == Side::Left;
            if let Some(share) = last.filter(|_| left).and_then(|value| axis.place(value)) {
                names.push(((1.0 - share) * HEIGHT, look, series.name));
            }
        }
        names.sort_by(|one, other| one.0.total_cmp(&other.0));
        // Downwards from each other; what would leave the picture is pushed back up.
        let mut lowest = -NAME;
        for name in &mut names {
            name.0 = name.0.max(lowest + NAME);
            lowest = name.0;
        }
        let mut highest = HEIGHT + NAME;
        for (y, look, name) in names.iter().rev() {
            highest = y.min(highest - NAME);
            let (y, name) = (share(highest / HEIGHT), text::escape(name));
            frame.add(&format!(
                "<text class=\"name s{look}\" x=\"100%\" y=\"{y}\" dx=\"7\" dy=\"0.32em\">{name}</text>"
            ));
        }
    }

    fn hints(&self, frame: &mut Frame, until: f64) {
        let mut from: f64 = 0.0;
        for (place, end) in self.ends.iter().enumerate() {
            let mut words = format!("{} to {}", text::clock(from), text::clock(*end));
            for series in &self.series {
                let unit = if series.side == Side::Left { Some(self.left) } else { self.right };
                let value = series.values.get(place).copied().flatten();
                if let Some((unit, value)) = unit.zip(value) {
                    words.push_str(&format!("; {}: {}", series.name, unit.say(value)));
                }
            }
            frame.hint(from / until, end / until, &words);
            from = *end;
        }
    }

    /// What each look stands for, as a list of the page.
    pub fn legend(&self) -> String {
        let mut legend = "<ul class=\"legend\">".to_owned();
        for (series, look) in self.series.iter().zip((0..LOOKS).cycle()) {
            let key = match series.side {
                Side::Columns => {
                    format!("<g class=\"column s{look}\"><rect width=\"100%\" height=\"100%\"/></g>")
                }
                Side::Left | Side::Right => {
                    format!("<line class=\"line s{look}\" x1=\"0\" x2=\"100%\" y1=\"50%\" y2=\"50%\"/>")
                }
            };
            let side = if series.side == Side::Left { "" } else { " (right)" };
            legend.push_str(&format!(
                "<li><svg class=\"key\" aria-hidden=\"true\">{key}</svg>{}{side}</li>",
                text::escape(series.name)
            ));
        }
        legend.push_str("</ul>");
        legend
    }

    /// Something of it can be drawn.
    pub fn has_values(&self) -> bool {
        let mut drawn =
            self.series.iter().flat_map(|series| series.values.iter().take(self.ends.len()).flatten());
        drawn.any(|value| value.is_finite())
    }
}

#[cfg(test)]
#[path = "lines_tests.rs"]
mod tests;
