//! The table, the summary for machines, and the scoreboard.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::measure::Samples;
use super::plot;

/// What a figure has to be.
#[derive(Debug, Clone, Copy)]
pub enum Target {
    /// Ours is at most so many times the reference.
    Ratio(f64),
    /// Ours is at most this.
    Most(f64),
    /// Ours is at least this.
    Least(f64),
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
            Target::Least(least) => Some(self.ours.median() >= least),
            Target::None => None,
        }
    }

    fn line(&self) -> String {
        let mut line = format!("| {} | {} | {:.2}", self.name, self.unit, self.ours.median());
        // Beside a reference the ratio's spread is what counts: both go with the machine's speed.
        let (low, high) = self.ours.quartiles();
        if self.reference.is_none() && low < high {
            let _ = write!(line, " ({low:.2} – {high:.2})");
        }
        line.push_str(" |");
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
            Target::Least(least) => write!(line, " ≥ {least} |"),
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
                Target::Ratio(figure) | Target::Most(figure) | Target::Least(figure) => Some(figure),
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
        "| bench | unit | ours (quartiles) | reference | ratio (quartiles) | target | held | |\n|---|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        let _ = writeln!(table, "{}", row.line());
    }
    table
}

/// `target/bench`, made when it is not there.
fn results() -> PathBuf {
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = folder.join("bench");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// `target/bench/summary.json`: a list of `{name, unit, ours, reference, ratio, target, held}`. A run of some benches
/// replaces their rows and keeps the others.
pub fn write_summary(rows: &[Row]) {
    let path = results().join("summary.json");
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

/// Puts a bench's table between its two marks of the scoreboard, and draws its plots: in `target/bench`, and in
/// `benches` too when the run is to be kept.
pub fn record(bench: &str, rows: &[Row], keep: bool) {
    let kept = root().join("benches");
    let begun = std::fs::read_to_string(results().join("README.md")).ok();
    let text = begun.as_deref().and_then(|text| with_table(text, bench, rows));
    // The one in `target` may be from before there was this bench.
    let text =
        text.or_else(|| with_table(&std::fs::read_to_string(kept.join("README.md")).unwrap(), bench, rows));
    write_board(&text.expect("benches/README.md has lost a mark"), &results());
    if keep {
        let text = std::fs::read_to_string(kept.join("README.md")).unwrap();
        write_board(&with_table(&text, bench, rows).expect("benches/README.md has lost a mark"), &kept);
    }
}

fn with_table(text: &str, bench: &str, rows: &[Row]) -> Option<String> {
    let (begin, end) = (format!("<!-- {bench}: begin -->\n"), format!("<!-- {bench}: end -->"));
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n{end}{after}", table(rows)))
}

fn write_board(text: &str, folder: &Path) {
    std::fs::write(folder.join("README.md"), text).unwrap();
    plot::draw(text, folder);
}
