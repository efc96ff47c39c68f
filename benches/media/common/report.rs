//! The table, the summary for machines, and the scoreboard.

use std::fmt::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::measure::Samples;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Ours is at most so many times the reference.
    Ratio(f64),
    /// Ours is at most this.
    Most(f64),
    /// A figure to know.
    None,
}

/// One comparison.
#[derive(Debug, Clone)]
pub struct Row {
    pub name: String,
    pub unit: &'static str,
    pub ours: Samples,
    pub reference: Option<Samples>,
    pub target: Target,
    /// What else belongs to the figure.
    pub note: String,
}

impl Row {
    fn ratio(&self) -> Option<Samples> {
        self.reference.as_ref().map(|reference| self.ours.over(reference))
    }

    fn held(&self) -> Option<bool> {
        match self.target {
            Target::Ratio(most) => self.ratio().map(|ratio| ratio.median() <= most),
            Target::Most(most) => Some(self.ours.median() <= most),
            Target::None => None,
        }
    }

    fn line(&self) -> String {
        let mut line = format!("| {} | {} | {:.2} |", self.name, self.unit, self.ours.median());
        let _ = match (&self.reference, self.ratio()) {
            (Some(reference), Some(ratio)) => {
                let (low, high) = ratio.quartiles();
                write!(
                    line,
                    " {:.2} | **{:.2}** ({low:.2} – {high:.2}) |",
                    reference.median(),
                    ratio.median()
                )
            }
            _ => write!(line, " | |"),
        };
        let _ = match self.target {
            Target::Ratio(most) => write!(line, " ratio ≤ {most} |"),
            Target::Most(most) => write!(line, " ≤ {most} |"),
            Target::None => write!(line, " |"),
        };
        let held = self.held().map_or("", |held| if held { "yes" } else { "**no**" });
        let _ = write!(line, " {held} | {} |", self.note);
        line
    }

    fn json(&self) -> Value {
        let round = |figure: f64| (figure * 1_000.0).round() / 1_000.0;
        json!({
            "name": self.name,
            "unit": self.unit,
            "ours": round(self.ours.median()),
            "reference": self.reference.as_ref().map(|samples| round(samples.median())),
            "ratio": self.ratio().map(|samples| round(samples.median())),
            "target": match self.target {
                Target::Ratio(most) | Target::Most(most) => Some(most),
                Target::None => None,
            },
            "held": self.held(),
        })
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rows as a table of Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| bench | unit | ours | reference | ratio (quartiles) | target | held | |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(table, "{}", row.line());
    }
    table
}

/// `target/bench/summary.json`: a list of `{name, unit, ours, reference, ratio, target, held}`. A run of some benches
/// replaces their rows and keeps the others.
pub fn write_summary(rows: &[Row]) {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = folder.join("bench");
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("summary.json");
    let before = std::fs::read_to_string(&path).unwrap_or_default();
    let mut all: Vec<Value> = serde_json::from_str(&before).unwrap_or_default();
    for row in rows {
        match all.iter_mut().find(|known| known["name"] == row.name.as_str()) {
            Some(known) => *known = row.json(),
            None => all.push(row.json()),
        }
    }
    std::fs::write(path, serde_json::to_string_pretty(&all).unwrap() + "\n").unwrap();
}

/// Puts a bench's table between its two marks of `benches/README.md`.
pub fn record(bench: &str, rows: &[Row]) {
    let (begin, end) = (format!("<!-- {bench}: begin -->\n"), format!("<!-- {bench}: end -->"));
    let path = root().join("benches/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(&begin).expect("benches/README.md has lost a mark");
    let (_, after) = rest.split_once(&end).expect("benches/README.md has lost a mark");
    std::fs::write(&path, format!("{before}{begin}\n{}\n{end}{after}", table(rows))).unwrap();
}
