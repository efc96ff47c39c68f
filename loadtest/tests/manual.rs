//! `docs/loadtest.md` and the program say the same: its files can be read, its tables are complete, and nothing is told that is not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

use std::collections::BTreeSet;
use std::path::Path;

use freshet_loadtest::report::{
    AgentReport, Bound, ChatReport, ChatSecond, DecodeReport, Happening, HlsReport, HlsSecond, RunReport,
    Second, ServerReport, ServerSecond, Verdict, ViewerRow,
};
use freshet_loadtest::scenario::Scenario;
use serde::Serialize;
use serde_json::Value;

fn manual() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/loadtest.md");
    std::fs::read_to_string(path).unwrap()
}

/// What stands between a heading and the next one.
fn chapter(heading: &str) -> String {
    let manual = manual();
    let (_, rest) = manual.split_once(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("{heading}"));
    rest.split("\n## ").next().unwrap().to_owned()
}

/// Each word in back quotes.
fn quoted(text: &str) -> BTreeSet<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// Rows of tables, without their heads.
fn rows(text: &str) -> Vec<String> {
    let rows = text.lines().filter(|line| line.starts_with("| `"));
    rows.map(str::to_owned).collect()
}

/// What the program would take where it was given something else.
fn expected(file: &str) -> BTreeSet<String> {
    let refused = Scenario::read(file, |_| None).unwrap_err().to_string();
    let (_, known) = refused
        .split_once("expected one of ")
        .or_else(|| refused.split_once("expected "))
        .unwrap_or_else(|| panic!("{file}: {refused}"));
    quoted(known)
}

#[test]
fn every_file_of_the_manual_can_be_read() {
    let manual = manual();
    let files: Vec<&str> =
        manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(files.len() >= 3, "{}", files.len());
    for file in files {
        Scenario::read(file, |_| Some("4711".to_owned())).unwrap_or_else(|error| panic!("{error}:\n{file}"));
    }
}

#[test]
fn every_key_of_a_file_is_in_the_manual_and_no_other() {
    let chapter = chapter("Scenarios");
    let rows = rows(&chapter);
    let mut told = BTreeSet::new();
    for row in &rows {
        told.extend(quoted(row.split('|').nth(1).unwrap()));
    }
    let mut known = BTreeSet::new();
    for table in ["", "[publishers]\n", "[viewers]\n", "[hls]\n", "[chat]\n", "[server]\n"] {
        let keys = expected(&format!("{table}no-such-key = 1\n"));
        assert!(!keys.is_empty(), "{table}");
        let names: BTreeSet<String> =
            keys.into_iter().filter(|key| !["events", "capacity"].contains(&key.as_str())).collect();
        known.extend(names);
    }
    let tables = ["publishers", "viewers", "hls", "chat", "server"];
    for key in &known {
        let table = tables.contains(&key.as_str()).then(|| format!("[{key}]"));
        assert!(
            told.contains(key) || table.is_some_and(|table| told.contains(&table)),
            "`{key}` is not told"
        );
    }
    let acts = ["kill", "command", "call", "impair"];
    for told in &told {
        let key = told.trim_matches(['[', ']']).split(' ').next().unwrap();
        assert!(known.contains(key) || acts.contains(&key), "`{told}` is no key");
    }
    let climbing = expected("[capacity]\nno-such-key = 1\n");
    let search = manual();
    for key in climbing {
        assert!(search.contains(&format!("\n{key} = ")), "`{key}` of [capacity] is not told");
    }
}

#[test]
fn every_figure_of_a_bound_is_in_the_manual_and_no_other() {
    let chapter = chapter("Bounds and exit status");
    let table = chapter.split("\n\n").find(|part| part.starts_with("| figures")).unwrap();
    let mut told = BTreeSet::new();
    for row in rows(table) {
        told.extend(quoted(row.split('|').nth(1).unwrap()));
    }
    told.retain(|word| word != "not-back of all viewers");
    for figure in &told {
        let bound = [format!("{figure}>1"), format!("{figure}>1%"), format!("{figure}>1s")];
        assert!(bound.iter().any(|bound| bound.parse::<Bound>().is_ok()), "`{figure}` is no figure");
    }
    let refused = "no-such-figure>1".parse::<Bound>().unwrap_err().to_string();
    let (_, known) = refused.split_once("; there are ").unwrap();
    let known: BTreeSet<String> =
        known.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    assert!(known.len() > 40, "{refused}");
    for figure in known {
        assert!(told.contains(&figure), "`{figure}` is not told: {refused}");
    }
}

/// Names of the members of an object.
fn members(of: impl Serialize) -> Vec<String> {
    match serde_json::to_value(of).unwrap() {
        Value::Object(object) => object.keys().cloned().collect(),
        other => panic!("{other}"),
    }
}

#[test]
fn every_member_of_the_report_is_in_the_manual_and_no_other() {
    let chapter = chapter("The JSON report");
    let rows = rows(&chapter);
    let row = |name: &str| {
        let row = rows.iter().find(|row| quoted(row.split('|').nth(1).unwrap()).contains(name));
        row.unwrap_or_else(|| panic!("`{name}` has no row"))
    };
    let report = RunReport::default();
    let mut top: BTreeSet<String> = members(&report).into_iter().collect();
    for name in &top {
        row(name);
    }
    for row in &rows {
        for name in quoted(row.split('|').nth(1).unwrap()) {
            assert!(top.remove(&name), "`{name}` is no member, or stands twice");
        }
    }
    let verdict = Verdict { bound: String::new(), value: None, broken: false, not_measured: false };
    for (name, inner) in [
        ("target", members(&report.target)),
        ("mode", members(&report.mode)),
        ("publishers", members(&report.publishers)),
        ("viewers", members(&report.viewers)),
        ("viewers", members(&report.viewers.reconnects)),
        ("packets", members(&report.packets)),
        ("join", members(&report.join)),
        ("figures", members(&report.figures)),
        ("figures", members(&report.figures.latency)),
        ("worst", members(ViewerRow::default())),
        ("decode", members(DecodeReport::default())),
        ("hls", members(HlsReport::default())),
        ("chat", members(ChatReport::default())),
        ("timeline", members(Second::default())),
        ("timeline", members(HlsSecond::default())),
        ("timeline", members(ChatSecond::default())),
        ("timeline", members(ServerSecond::default())),
        ("happenings", members(Happening::default())),
        ("server", members(ServerReport::default())),
        ("client", members(&report.client)),
        ("agents", members(AgentReport::default())),
        ("bounds", members(verdict)),
    ] {
        let told = quoted(row(name));
        for member in inner {
            assert!(told.contains(&member), "`{member}` of `{name}` is not told");
        }
    }
}
