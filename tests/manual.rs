//! What docs/api.md says of refusals is what the code says: every reason, and no other.

#![allow(clippy::unwrap_used, clippy::expect_used)]

#[path = "support/problems.rs"]
mod problems;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const API: &str = include_str!("../docs/api.md");
/// What gives a problem its reason.
const GIVERS: [&str; 4] = [".reason(", ".refused(", "unavailable(", "conflict("];
/// Reasons why sessions end stand with the others in a 404; they are words of their own in the code.
const ENDS: &str = include_str!("../cluster/src/room.rs");

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, found);
            }
        } else if name.ends_with(".rs") && name != "tests.rs" {
            found.push(path);
        }
    }
}

/// A word of small letters and hyphens that a text begins with, between these signs.
fn word(text: &str, sign: char) -> Option<&str> {
    let (word, _) = text.strip_prefix(sign)?.split_once(sign)?;
    let fits = !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '-');
    fits.then_some(word)
}

fn code() -> (BTreeSet<String>, String) {
    let (mut files, mut given, mut all) = (Vec::new(), BTreeSet::new(), ENDS.to_owned());
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["edge/src", "coordinator/src", "node/src"] {
        sources(&root.join(part), &mut files);
    }
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        // Without the tests at a file's end.
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for giver in GIVERS {
            given.extend(
                text.split(giver).skip(1).filter_map(|rest| word(rest.trim_start(), '"')).map(str::to_owned),
            );
        }
        all.push_str(text);
    }
    (given, all)
}

fn documented() -> BTreeSet<String> {
    problems::rows().into_iter().flat_map(|row| row.reasons).collect()
}

#[test]
fn every_reason_of_a_problem_stands_in_the_table_and_no_other() {
    let (given, all) = code();
    assert!(given.len() > 30, "{given:?}");
    let documented = documented();
    assert!(documented.len() > 40, "{documented:?}");
    // The body of /readyz, and a node's word to a coordinator about its call.
    let elsewhere = ["not-ready"];
    for reason in &given {
        let known = documented.contains(reason) || elsewhere.contains(&reason.as_str());
        assert!(known, "the code says {reason:?}, and docs/api.md does not");
        assert!(API.contains(&format!("`{reason}`")), "{reason} is nowhere in docs/api.md");
    }
    for reason in &documented {
        assert!(all.contains(&format!("\"{reason}\"")), "docs/api.md says {reason:?}, and no code does");
    }
}
