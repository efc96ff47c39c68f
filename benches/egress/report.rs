//! The table, the summary for machines, and the scoreboard.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::measure::Samples;
use super::sinks::Reading;

pub struct Row {
    pub viewers: usize,
    pub reading: Reading,
    pub packets_per_train: f64,
    pub floor: Samples,
    pub ours: Samples,
}

impl Row {
    fn name(&self) -> String {
        let reading = if self.reading == Reading::Read { "read" } else { "not read" };
        format!("egress, {} viewers, receivers {reading}", self.viewers)
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| bench | packets a train | F, µs a packet | ours, µs a packet | ours ÷ F | quartiles of the ratio |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows {
        let ratio = row.ours.over(&row.floor);
        let (low, high) = ratio.quartiles();
        let _ = writeln!(
            table,
            "| {} | {:.1} | {:.2} | {:.2} | **{:.2}** | {low:.2} – {high:.2} |",
            row.name(),
            row.packets_per_train,
            row.floor.median(),
            row.ours.median(),
            ratio.median(),
        );
    }
    table
}

pub fn print(rows: &[Row]) {
    println!("{}", table(rows));
}

/// `target/bench/summary.json`: a list of `{name, unit, ours, reference, ratio, target, held}`.
pub fn write_summary(rows: &[Row]) {
    let round = |figure: f64| (figure * 1_000.0).round() / 1_000.0;
    let rows: Vec<serde_json::Value> = rows
        .iter()
        .map(|row| {
            serde_json::json!({
                "name": row.name(),
                "unit": "µs of CPU a packet",
                "ours": round(row.ours.median()),
                "reference": round(row.floor.median()),
                "ratio": round(row.ours.over(&row.floor).median()),
                "target": null,
                "held": null,
            })
        })
        .collect();
    let folder = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let folder = folder.join("bench");
    std::fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(&rows).unwrap() + "\n";
    std::fs::write(folder.join("summary.json"), text).unwrap();
}

/// Puts the table between the two marks of `benches/README.md`.
pub fn record(rows: &[Row]) {
    const BEGIN: &str = "<!-- egress: begin -->\n";
    const END: &str = "<!-- egress: end -->";
    let path = root().join("benches/README.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).expect("benches/README.md has lost its mark");
    let (_, after) = rest.split_once(END).expect("benches/README.md has lost its mark");
    std::fs::write(&path, format!("{before}{BEGIN}\n{}\n{END}{after}", table(rows))).unwrap();
}
