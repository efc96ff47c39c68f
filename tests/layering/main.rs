//! Reads the workspace's imports and fails where the house of `ARCHITECTURE.md` is not kept:
//! crates depend one way, machines import no shell and touch no clock, socket, file or lock, and
//! modules of a crate form no circle. `table.rs` is the plan that it checks against.
//!
//! Names are resolved by a small reader of its own (nested `use` braces, aliases, globs and
//! re-exports; `#[cfg(test)]` left out). Macros are read as the words that they are given.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod fixtures;
mod house;
mod lexer;
mod module;
mod rules;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use house::House;
use table::HOUSE;

/// Every manifest and Rust file of the repository.
fn repository() -> House {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = BTreeMap::new();
    collect(root, root, &mut files);
    House::new(files, HOUSE)
}

fn collect(root: &Path, folder: &Path, files: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if path.is_dir() {
            if !name.starts_with('.') && !matches!(name.as_str(), "target" | "node_modules" | "web") {
                collect(root, &path, files);
            }
        } else if name.ends_with(".rs") || name == "Cargo.toml" {
            let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().into_owned();
            files.insert(relative, std::fs::read_to_string(&path).expect("a text file"));
        }
    }
}

fn assert_kept(broken: Vec<String>) {
    assert!(broken.is_empty(), "{} broken:\n{}\n", broken.len(), broken.join("\n"));
}

#[test]
fn every_crate_and_module_has_its_place_in_the_table() {
    assert_kept(rules::unlisted(&repository(), HOUSE));
}

#[test]
fn crates_depend_one_way_and_node_and_coordinator_never_meet() {
    assert_kept(rules::direction(&repository(), HOUSE));
}

#[test]
fn machines_import_no_shell() {
    assert_kept(rules::machines_import_shells(&repository()));
}

#[test]
fn machines_have_no_clock_socket_file_lock_or_randomness() {
    assert_kept(rules::impure_machines(&repository()));
}

#[test]
fn modules_of_a_crate_form_no_circle() {
    assert_kept(rules::circles(&repository()));
}

#[test]
fn unsafe_stands_in_the_socket_module_alone() {
    assert_kept(rules::stray_unsafe(&repository()));
}

#[test]
fn files_can_be_held_in_the_head() {
    assert_kept(rules::long_files(&repository()));
}

#[test]
fn documentation_has_no_example_that_nothing_runs() {
    assert_kept(rules::doc_examples(&repository()));
}
