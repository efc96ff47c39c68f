//! Small houses with one fault each, to see every rule fail, and innocent ones, to see it not.

use std::collections::BTreeMap;

use crate::house::House;
use crate::rules;
use crate::table::Package;

const TABLE: &[Package] = &[
    Package { dir: "base", name: "freshet-base", may_import: &[], machines: &["id"], shells: &["store"] },
    Package {
        dir: "node",
        name: "freshet-node",
        may_import: &["freshet-base"],
        machines: &["media", "peer"],
        shells: &["http", "media::disk"],
    },
    Package {
        dir: "boss",
        name: "freshet-boss",
        may_import: &["freshet-base"],
        machines: &[],
        shells: &["gate"],
    },
];

/// A sound house, with some files replaced or added.
fn house(changes: &[(&str, &str)]) -> House {
    let mut files: BTreeMap<String, String> = [
        ("base/src/lib.rs", "pub mod id;\npub mod store;\npub use store::Store;\npub use id::*;"),
        ("base/src/id.rs", "pub struct RoomId;"),
        ("base/src/store.rs", "use crate::id::RoomId;\npub struct Store;"),
        ("node/src/lib.rs", "pub mod http;\npub mod media;\nmod peer;\npub use media::ring::Ring;"),
        ("node/src/http.rs", "use crate::{media::{self, ring::Ring}, peer::Peer};"),
        ("node/src/media/mod.rs", "pub mod disk;\npub mod ring;\npub use ring::Ring;"),
        ("node/src/media/ring.rs", "use freshet_base::RoomId;\npub struct Ring;"),
        ("node/src/media/disk.rs", "use std::fs;\nuse super::ring::Ring;"),
        ("node/src/peer.rs", "use crate::media::Ring;\npub struct Peer;"),
        ("boss/src/lib.rs", "mod gate;\nuse freshet_base::store::Store;"),
        ("boss/src/gate.rs", ""),
    ]
    .map(|(file, text)| (file.to_owned(), text.to_owned()))
    .into();
    files.extend(changes.iter().map(|(file, text)| ((*file).to_owned(), (*text).to_owned())));
    House::new(files, TABLE)
}

fn all(changes: &[(&str, &str)]) -> Vec<String> {
    let house = house(changes);
    let mut broken = rules::unlisted(&house, TABLE);
    broken.extend(rules::direction(&house, TABLE));
    broken.extend(rules::machines_import_shells(&house));
    broken.extend(rules::impure_machines(&house));
    broken.extend(rules::circles(&house));
    broken.extend(rules::stray_unsafe(&house));
    broken.extend(rules::long_files(&house));
    broken.extend(rules::doc_examples(&house));
    broken
}

/// Asserts exactly one complaint, which holds each of `parts`.
fn assert_one(changes: &[(&str, &str)], parts: &[&str]) {
    let broken = all(changes);
    assert_eq!(broken.len(), 1, "{changes:?} gave {broken:#?}");
    for part in parts {
        assert!(broken[0].contains(part), "{:?} lacks {part:?}", broken[0]);
    }
}

fn assert_sound(changes: &[(&str, &str)]) {
    assert_eq!(all(changes), Vec::<String>::new(), "{changes:?}");
}

#[test]
fn a_sound_house_passes() {
    assert_sound(&[]);
}

#[test]
fn a_new_top_level_module_must_be_listed() {
    let lib = "pub mod http;\npub mod media;\nmod peer;\nmod extra;";
    assert_one(
        &[("node/src/lib.rs", lib), ("node/src/extra.rs", "")],
        &["extra", "neither machine nor shell"],
    );
}

#[test]
fn a_listed_module_must_exist() {
    let lib = "pub mod id;\npub use id::*;";
    let changes = [("base/src/lib.rs", lib), ("boss/src/lib.rs", "mod gate;"), ("base/src/store.rs", "")];
    let broken = all(&changes);
    assert_eq!(broken.len(), 2, "{broken:#?}");
    assert!(broken[0].contains("freshet-base has no module `store`"), "{broken:#?}");
    assert!(broken[1].contains("base/src/store.rs: no `mod` leads to this file"), "{broken:#?}");
}

#[test]
fn a_mod_without_a_file_is_told() {
    assert_one(&[("base/src/id.rs", "mod gone;\npub struct RoomId;")], &["`mod gone;` leads to no file"]);
}

#[test]
fn a_member_must_be_listed() {
    let manifest = "[workspace]\nmembers = [\n  \"base\", \"node\",\n  \"boss\", \"attic\"]\n";
    assert_one(&[("Cargo.toml", manifest)], &["`attic` is not in"]);
}

#[test]
fn crates_that_must_not_meet_are_told_by_path() {
    let text = "fn f() { let peer = freshet_node::peer::Peer; } mod gate;";
    assert_one(
        &[("boss/src/lib.rs", text)],
        &["boss/src/lib.rs:1", "freshet-boss may not import freshet-node"],
    );
    let text = "use {freshet_base::store::Store, freshet_node::{media::{Ring as Loop}}}; mod gate;";
    assert_one(&[("boss/src/lib.rs", text)], &["freshet_node::media::Ring"]);
}

#[test]
fn crates_that_must_not_meet_are_told_by_manifest() {
    let bare = "[package]\nname = \"freshet-boss\"\n[dev-dependencies]\nfreshet-node.workspace = true\n";
    assert_one(&[("boss/Cargo.toml", bare)], &["boss/Cargo.toml:4", "may not depend on freshet-node"]);
    let renamed = "[dependencies]\nn = { package = \"freshet-node\", path = \"../node\" }\n";
    assert_one(&[("boss/Cargo.toml", renamed)], &["may not depend on freshet-node"]);
    let own_table = "[target.'cfg(unix)'.dependencies.freshet-node]\npath = \"../node\"\n";
    assert_one(&[("boss/Cargo.toml", own_table)], &["may not depend on freshet-node"]);
    assert_sound(&[(
        "boss/Cargo.toml",
        "[dependencies]\nfreshet-base.workspace = true # not freshet-node\n",
    )]);
}

#[test]
fn a_machine_may_not_import_a_shell() {
    let peer = "use crate::http::Server;\npub struct Peer;";
    // peer → http → peer is a circle as well, so http forgets its import here.
    assert_one(
        &[("node/src/peer.rs", peer), ("node/src/http.rs", "pub struct Server;")],
        &["node/src/peer.rs:1", "the machine freshet_node::peer imports the shell freshet_node::http"],
    );
}

#[test]
fn a_machine_may_not_import_a_shell_of_another_crate_through_a_re_export() {
    let peer = "fn f(_: freshet_base::Store) {}\npub struct Peer;";
    assert_one(&[("node/src/peer.rs", peer)], &["imports the shell freshet_base::store"]);
    assert_sound(&[("node/src/peer.rs", "use freshet_base::RoomId;\npub struct Peer;")]);
}

#[test]
fn the_root_of_a_crate_is_assembly() {
    let lib =
        "pub mod http;\npub mod media;\nmod peer;\npub use media::ring::Ring;\npub const LIMIT: u8 = 1;";
    let peer = "use crate::media::Ring;\npub struct Peer([u8; crate::LIMIT]);";
    assert_one(
        &[("node/src/lib.rs", lib), ("node/src/peer.rs", peer)],
        &["the machine freshet_node::peer imports the shell freshet_node"],
    );
}

#[test]
fn a_shell_inside_a_machine_folder_is_a_shell() {
    let ring = "use freshet_base::RoomId;\nuse super::disk::Disk;\npub struct Ring;";
    assert_one(
        &[("node/src/media/ring.rs", ring), ("node/src/media/disk.rs", "pub struct Disk;")],
        &["the machine freshet_node::media::ring imports the shell freshet_node::media::disk"],
    );
}

#[test]
fn a_machine_may_not_reach_out() {
    let cases = [
        ("use tokio::sync::mpsc;", "`tokio::sync::mpsc`"),
        ("fn f() { tokio::spawn(x); }", "`tokio::spawn`"),
        ("use std::{net::{IpAddr, UdpSocket}, fmt};", "`std::net::UdpSocket`"),
        ("use std::time::Instant;\nfn f() { g(Instant::now()) }", "`Instant::now`"),
        ("use std::time::{Instant as Clock};\nfn f() { g(Clock::now()) }", "`Clock::now`"),
        ("use std::time;\nfn f() { g(time::SystemTime::now()) }", "`time::SystemTime::now`"),
        ("use std::time::*;\nfn f() { g(SystemTime::now()) }", "`SystemTime::now`"),
        ("fn f() { let mut r = rand::rng(); }", "`rand::rng`"),
        ("use rand::thread_rng;", "`rand::thread_rng`"),
        ("use std::{fs as files};", "`std::fs`"),
        ("use std::sync::{Arc, Mutex};", "`std::sync::Mutex`"),
        ("fn f() { start.elapsed() }", "`.elapsed()`"),
        ("async fn f() {}", "`async`"),
    ];
    for (line, part) in cases {
        let text = format!("use freshet_base::RoomId;\npub struct Ring;\n{line}\n");
        assert_one(&[("node/src/media/ring.rs", &text)], &["node/src/media/ring.rs:", part]);
        assert_sound(&[("node/src/media/disk.rs", line)]);
    }
}

#[test]
fn a_machine_may_not_ask_a_clock_of_our_own() {
    let ring = "use freshet_base::RoomId;\npub struct Ring;\nfn f() { RoomId::now() }";
    assert_one(&[("node/src/media/ring.rs", ring)], &["ring.rs:3", "`RoomId::now`"]);
}

#[test]
fn tests_comments_and_strings_of_a_machine_are_free() {
    let cases = [
        "#[cfg(test)]\nmod tests { use std::fs; fn f() { Instant::now(); } }",
        "#[cfg(test)]\nuse std::fs;\n#[cfg(test)]\n#[allow(x)]\npub(crate) fn f(a: [u8; 2]) { tokio::spawn(a); }",
        "#[cfg(all(test, unix))]\nimpl Ring { fn f() { tokio::spawn(); } }",
        "// use std::fs; \n/* tokio:: /* nested */ tokio::spawn */\n/// `Instant::now()`\nfn f() {}",
        "const A: &str = \"tokio::spawn\\\" tokio::x\"; const B: &str = r#\"tokio::\"y\" \"#; const C: char = '\"';",
        "fn f<'a>(x: &'a str) -> char { '\\'' } // tokio::x",
        "struct A { a: u8, #[cfg(test)] b: tokio::Handle, c: u8 }",
    ];
    for line in cases {
        let text = format!("use freshet_base::RoomId;\npub struct Ring;\n{line}\n");
        assert_sound(&[("node/src/media/ring.rs", &text)]);
    }
}

#[test]
fn what_follows_a_test_item_is_read_again() {
    let cases = [
        "#[cfg(test)]\nmod tests;\nuse std::fs;",
        "#[cfg(test)]\nmod tests {}\nuse std::fs;",
        "#[cfg(test)]\nconst A: [u8; 1] = [1];\nuse std::fs;",
        "struct A { #[cfg(test)] b: Vec<u8>, c: std::fs::File }",
        "#[cfg(not(test))]\nuse std::fs;",
        "#[cfg(any(test, feature = \"x\"))]\nuse std::fs;",
    ];
    for line in cases {
        let text = format!("use freshet_base::RoomId;\npub struct Ring;\n{line}\n");
        let mut changes = vec![("node/src/media/ring.rs", text.as_str())];
        if line.contains("mod tests;") {
            changes.push(("node/src/media/ring/tests.rs", "use tokio::x;"));
        }
        assert_one(&changes, &["`std::fs"]);
    }
}

#[test]
fn a_circle_between_siblings_is_told_with_its_lines() {
    let ring = "use freshet_base::RoomId;\nuse super::track::Track;\npub struct Ring;";
    assert_one(
        &[
            ("node/src/media/mod.rs", "pub mod disk;\npub mod ring;\nmod track;\npub use ring::Ring;"),
            ("node/src/media/ring.rs", ring),
            ("node/src/media/track.rs", "use crate::media::Ring;\npub struct Track;"),
        ],
        &["import circle", "node/src/media/ring.rs:2", "node/src/media/track.rs:1"],
    );
}

#[test]
fn a_long_circle_is_told() {
    assert_one(
        &[
            ("node/src/media/mod.rs", "pub mod disk;\npub mod ring;\nmod a;\nmod b;\npub use ring::Ring;"),
            ("node/src/media/ring.rs", "use freshet_base::RoomId;\npub struct Ring(super::a::A);"),
            ("node/src/media/a.rs", "use super::b as other;\npub struct A(other::B);"),
            ("node/src/media/b.rs", "use super::super::media::ring::{self};\npub struct B;"),
        ],
        &["ring.rs:2", "a.rs:1", "b.rs:1"],
    );
}

#[test]
fn a_parent_and_its_child_may_not_need_each_other() {
    let child = "use super::Shared;\npub struct Child;";
    let parent =
        "mod child;\nuse child::Child;\npub struct Shared;\npub struct Peer(Child);\nuse crate::media::Ring;";
    assert_one(
        &[("node/src/peer.rs", parent), ("node/src/peer/child.rs", child)],
        &["import circle", "node/src/peer.rs:2", "node/src/peer/child.rs:1"],
    );
    // To declare and to re-export a child is no need of it.
    let parent = "mod child;\npub use child::Child;\npub struct Shared;\npub struct Peer;";
    assert_sound(&[("node/src/peer.rs", parent), ("node/src/peer/child.rs", child)]);
}

#[test]
fn an_inline_module_belongs_to_its_file() {
    let ring = "use freshet_base::RoomId;\npub struct Ring;\nmod inner { use super::Ring; fn f() { std::fs::read(x); } }";
    assert_one(&[("node/src/media/ring.rs", ring)], &["ring.rs:3", "`std::fs::read`"]);
}

#[test]
fn unsafe_outside_the_socket_module_is_told() {
    assert_one(
        &[("boss/src/lib.rs", "mod gate; fn f() { unsafe { g() } }")],
        &["boss/src/lib.rs:1", "unsafe"],
    );
    let socket = "pub fn f() { unsafe { g() } }";
    let house = house(&[("node/src/socket/mod.rs", socket)]);
    assert_eq!(rules::stray_unsafe(&house), Vec::<String>::new());
}

#[test]
fn a_file_of_more_than_600_lines_is_told() {
    assert_sound(&[("boss/src/lib.rs", &format!("mod gate;{}", "\n".repeat(600)))]);
    assert_one(&[("boss/src/lib.rs", &format!("mod gate;{}", "\n".repeat(601)))], &["601 lines"]);
}

#[test]
fn an_example_that_nothing_runs_is_told() {
    let with = |fence: &str| format!("mod gate;\n/// {fence}\n/// f();\n/// ```\nfn g() {{}}");
    assert_one(&[("boss/src/lib.rs", &with("```"))], &["boss/src/lib.rs:2", "an example"]);
    assert_one(&[("boss/src/lib.rs", &with("```rust,no_run"))], &["boss/src/lib.rs:2"]);
    assert_sound(&[("boss/src/lib.rs", &with("```text"))]);
}
