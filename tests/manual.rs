//! What docs/api.md says is what the code says: every reason of a refusal, every route and every answer of it, and no other.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use freshet_test_support::{answers, problems};

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

/// Where routes are made.
const ROUTERS: [&str; 3] = [
    include_str!("../coordinator/src/api/routes.rs"),
    include_str!("../coordinator/src/web.rs"),
    include_str!("../node/src/http/mod.rs"),
];
/// What a description of an interface does not say of each header: the type of a body stands beside it, and how answers are kept and
/// passed on is for the wire.
const UNSAID: [&str; 3] = ["content-type", "cache-control", "x-accel-buffering"];

#[test]
fn every_route_stands_in_the_table_of_answers_and_no_other() {
    let of = |text: &'static str| text.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let routes: BTreeSet<String> =
        ROUTERS.into_iter().flat_map(of).map(|path| path.replace("{*", "{")).collect();
    assert!(routes.len() > 25, "{routes:?}");
    let documented = answers::rows().into_iter().flat_map(|row| row.paths).filter(|path| path != "*");
    assert_eq!(documented.collect::<BTreeSet<_>>(), routes);
}

/// Statuses of success with their headers, by method and path.
type Answers = BTreeMap<(String, String), BTreeMap<u16, BTreeSet<String>>>;

fn promised() -> Answers {
    let mut all = Answers::new();
    for row in answers::rows() {
        let headers = row.headers.iter().chain(&row.at_times).map(|(name, _)| name.clone());
        let headers: BTreeSet<_> = headers.filter(|name| !UNSAID.contains(&name.as_str())).collect();
        for (method, path) in row.methods.iter().flat_map(|method| row.paths.iter().map(move |p| (method, p)))
        {
            let statuses = row.statuses.iter().map(|status| (*status, headers.clone()));
            all.entry((method.clone(), path.clone())).or_default().extend(statuses);
        }
    }
    all
}

#[test]
fn the_openapi_description_says_what_the_manual_says() {
    let document = serde_json::to_value(freshet_coordinator::api::openapi::document(None)).unwrap();
    let mut promised = promised();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let what = format!("{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            let headers = |response: &serde_json::Value| {
                let headers = response["headers"].as_object().map(|all| all.keys().map(|n| n.to_lowercase()));
                headers.into_iter().flatten().collect::<BTreeSet<_>>()
            };
            let fine = responses.iter().filter_map(|(status, response)| {
                let status = status.parse::<u16>().ok().filter(|status| (200..400).contains(status))?;
                Some((status, headers(response)))
            });
            let said: BTreeMap<u16, BTreeSet<String>> = fine.collect();
            let known = promised.remove(&(method.to_uppercase(), path.clone()));
            assert_eq!(Some(said), known, "{what}");
            let mut refusals = vec!["default"];
            if operation.get("security").is_some() {
                refusals.push("429");
                // Whoever has no token gets what there is for nobody.
                refusals.extend((path != "/v1/config").then_some("401"));
            }
            if path.starts_with("/sessions/") {
                refusals.extend(["403", "404", "502", "503", "504"]);
            }
            for status in refusals {
                assert!(responses.contains_key(status), "{what} does not say {status}");
            }
        }
    }
    // What protocols ask for, a stream that is named, which its endpoint's description tells of, and the pages.
    let elsewhere = |path: &str| {
        path.starts_with("/whip/")
            || path.starts_with("/whep/")
            || path.starts_with("/assets/")
            || ["/", "/studio", "/watch/{room}", "/{file}"].contains(&path)
    };
    promised.retain(|(method, path), _| !["HEAD", "OPTIONS"].contains(&method.as_str()) && !elsewhere(path));
    let left: Vec<_> = promised.keys().map(|(method, path)| format!("{method} {path}")).collect();
    assert_eq!(left, ["GET /v1/rooms/{room}/sessions/{session}"], "that one is at nodes alone");
}
