//! What every plot has around its values: grid, numbers, names of axes, marked places.

use super::axis::{Axis, Tick};
use crate::report::text;

/// The inner view box, each way.
pub const BOX: f64 = 1_000.0;
/// Marks that are drawn.
const MARKS: usize = 40;
/// A mark so near to another has no room for words.
const ROOM: f64 = 0.36;
/// Nor, if so near, for its short name in the same row: on a telephone `p50` is as wide.
const SHORT_ROOM: f64 = 0.14;
/// Longest words of a mark.
const WORDS: usize = 24;

/// A marked place on the horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Mark {
    /// Where, in the axis's unit.
    pub at: f64,
    /// A number or a very short name.
    pub short: String,
    /// What it is, shown where there is room.
    pub words: String,
    /// Something went wrong with it.
    pub bad: bool,
}

/// A share as SVG writes it.
pub fn share(value: f64) -> String {
    format!("{:.3}%", value * 100.0)
}

/// Collects a plot's elements.
#[derive(Debug)]
pub struct Frame {
    svg: String,
}

impl Frame {
    /// `about` is what a screen reader says of it.
    pub fn open(about: &str, class: &str) -> Self {
        let about = text::escape(about);
        Self { svg: format!("<svg class=\"plot{class}\" role=\"img\" aria-label=\"{about}\">\n") }
    }

    /// Adds what is SVG already.
    pub fn add(&mut self, svg: &str) {
        self.svg.push_str(svg);
        self.svg.push('\n');
    }

    /// Grid, numbers and name of the axis on the left.
    pub fn left(&mut self, axis: &Axis) {
        for Tick { at, label } in &axis.ticks {
            let (y, label) = (share(1.0 - at), text::escape(label));
            self.add(&format!("<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/>"));
            self.add(&format!("<text class=\"y\" x=\"0\" y=\"{y}\" dx=\"-7\" dy=\"0.32em\">{label}</text>"));
        }
        let word = text::escape(&axis.word);
        self.add(&format!("<text class=\"word\" x=\"0\" y=\"0\" dx=\"-44\" dy=\"-26\">{word}</text>"));
    }

    /// Numbers and name of the axis on the right; the grid is the left one's.
    pub fn right(&mut self, axis: &Axis) {
        for Tick { at, label } in &axis.ticks {
            let (y, label) = (share(1.0 - at), text::escape(label));
            self.add(&format!(
                "<text class=\"y2\" x=\"100%\" y=\"{y}\" dx=\"7\" dy=\"0.32em\">{label}</text>"
            ));
        }
        let word = text::escape(&axis.word);
        self.add(&format!("<text class=\"word end\" x=\"100%\" y=\"0\" dx=\"44\" dy=\"-26\">{word}</text>"));
    }

    /// Numbers below.
    pub fn bottom(&mut self, ticks: &[Tick]) {
        for Tick { at, label } in ticks {
            let (x, label) = (share(*at), text::escape(label));
            self.add(&format!("<line class=\"tick\" x1=\"{x}\" x2=\"{x}\" y1=\"100%\" y2=\"102%\"/>"));
            self.add(&format!("<text class=\"x\" x=\"{x}\" y=\"100%\" dy=\"1.6em\">{label}</text>"));
        }
    }

    /// Lines with what they stand for; `place` says where a mark lies, if it does.
    pub fn marks(&mut self, marks: &[Mark], place: impl Fn(f64) -> Option<f64>) {
        let mut placed: Vec<(f64, &Mark)> =
            marks.iter().take(MARKS).filter_map(|mark| Some((place(mark.at)?, mark))).collect();
        placed.sort_by(|one, other| one.0.total_cmp(&other.0));
        // Where the last name of each of the two rows stands.
        let mut rows = [f64::NEG_INFINITY; 2];
        for (at, mark) in &placed {
            let near = placed.iter().filter(|(other, _)| (other - at).abs() < ROOM).count();
            let (x, bad) = (share(*at), if mark.bad { " bad" } else { "" });
            self.add(&format!("<line class=\"mark{bad}\" x1=\"{x}\" x2=\"{x}\" y1=\"0\" y2=\"100%\"/>"));
            // Who finds the first row taken stands a row lower; in a crowd there are lines without names.
            let free = rows.iter_mut().zip(["-8", "1.1em"]).find(|(last, _)| at - **last >= SHORT_ROOM);
            let Some((last, dy)) = free else { continue };
            *last = *at;
            let short = text::escape(&mark.short);
            let words = if near > 1 || mark.words.is_empty() {
                String::new()
            } else {
                format!("<tspan class=\"what\"> {}</tspan>", text::escape(&text::clip(&mark.words, WORDS)))
            };
            // Words near the right edge end at their line.
            let (anchor, dx) = match (words.is_empty(), *at < 0.6) {
                (true, _) => ("middle", "0"),
                (false, true) => ("start", "-3"),
                (false, false) => ("end", "3"),
            };
            self.add(&format!(
                "<text class=\"mark{bad}\" x=\"{x}\" y=\"0\" dx=\"{dx}\" dy=\"{dy}\" text-anchor=\"{anchor}\">{short}{words}</text>"
            ));
        }
    }

    /// What is said of a stretch of the plot where somebody points at it.
    pub fn hint(&mut self, from: f64, to: f64, words: &str) {
        let (x, width, words) = (share(from), share((to - from).max(0.0)), text::escape(words));
        self.add(&format!(
            "<rect class=\"hint\" x=\"{x}\" y=\"0\" width=\"{width}\" height=\"100%\"><title>{words}</title></rect>"
        ));
    }

    /// Opens the part whose places are those of the view box.
    pub fn begin_values(&mut self) {
        self.add(&format!(
            "<svg class=\"values\" width=\"100%\" height=\"100%\" viewBox=\"0 0 {BOX:.0} {BOX:.0}\" preserveAspectRatio=\"none\">"
        ));
    }

    /// Closes it.
    pub fn end_values(&mut self) {
        self.add("</svg>");
    }

    /// The whole plot.
    pub fn close(mut self) -> String {
        self.add("</svg>");
        self.svg
    }
}
