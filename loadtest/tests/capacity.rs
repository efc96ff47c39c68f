//! The search for the largest audience, with a server that holds so many viewers and no more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::path::Path;

use fixture::{Fixture, Script};
use freshet_loadtest::scenario::Scenario;
use program::loadtest;
use serde_json::Value;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_audience_is_found_confirmed_and_explained() {
    let server = Fixture::start(Script { crowded: Some(3), ..Script::default() }).await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capacity");
    let _new = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let text = format!(
        "name = \"how many\"\nexpect = [\"video-loss <= 0.1%\", \"failed <= 0\"]\n\
         [publishers]\nurl = \"{}\"\nbitrate = \"500k\"\n\
         [viewers]\nurl = \"{}\"\nthreads = 1\narrival = \"storm\"\n\
         [capacity]\nfrom = 1\nto = 9\nresolution = 1\nconfirm = 2\nstep-time = \"1s\"\npause = \"100ms\"\n",
        server.url("/whip/room"),
        server.url("/whep/room"),
    );
    let (file, out) = (folder.join("capacity.toml"), folder.join("out"));
    std::fs::write(&file, text).unwrap();
    let arguments = ["capacity", file.to_str().unwrap(), "--quiet", "--report", out.to_str().unwrap()];
    let output = loadtest(&arguments).await;
    let (table, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{table}{said}");
    let rows: Vec<(u32, &str)> = table
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?.parse().ok()?, words.next()?))
        })
        .filter(|(_, word)| ["kept", "broken", "stopped"].contains(word))
        .collect();
    let [one, two, three, four] = [(1, "kept"), (2, "kept"), (3, "kept"), (4, "broken")];
    assert_eq!(rows, [one, two, four, three, three, four], "{table}");
    assert!(table.contains("3 viewers keep every bound; 4 do not."), "{table}");
    assert!(table.contains("First to break there: expected video-loss <= 0.1% (it was "), "{table}");
    assert!(table.contains("; 2 of 2 runs)"), "{table}");
    let count = |of: fn(&fixture::Counters) -> &std::sync::atomic::AtomicU64| server.count(of);
    // Six runs with a publisher each.
    assert_eq!(count(|counters| &counters.posts), 6 + 1 + 2 + 4 + 3 + 3 + 4);
    assert_eq!(count(|counters| &counters.deletes), 6 + 1 + 2 + 4 + 3 + 3 + 4, "everybody says goodbye");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).unwrap();
    let report: Value = serde_json::from_str(&read("capacity.json")).unwrap();
    assert_eq!((&report["schema"], &report["holds"], &report["breaks"]), (&1.into(), &3.into(), &4.into()));
    assert_eq!(report["steps"].as_array().unwrap().len(), 6);
    assert_eq!(report["steps"][2]["broken"].as_array().unwrap().len(), 1);
    assert!(read("capacity.md").contains("**3 viewers keep every bound; 4 do not.**"));
    assert!(read("capacity.html").contains("3 viewers keep every bound"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audience_that_is_too_large_from_the_start_is_status_1_and_impossible_searches_2() {
    let server = Fixture::start(Script { crowded: Some(0), ..Script::default() }).await;
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let near =
        ["capacity", "--whip", &whip, "--whep", &whep, "--quiet", "--threads", "1", "--bitrate", "500k"];
    let none =
        ["--from", "1", "--to", "4", "--confirm", "1", "--step-time", "1s", "--fail-if", "video-loss>0.1%"];
    let output = loadtest(&[&near[..], &none].concat()).await;
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("Not even 1 viewers keep every bound."),
        "{output:?}"
    );
    let nobody = server.url("/nowhere");
    for (arguments, says) in [
        ([&near[..], &["--from", "5", "--to", "4"]].concat(), "the audience has to grow"),
        ([&near[..], &["--confirm", "0"]].concat(), "1 to 10"),
        (vec!["capacity", "--whep", "nonsense", "--from", "1"], "http://"),
        (
            vec!["capacity", "--whip", &nobody, "--whep", &nobody, "--from", "1"],
            "publisher 0 could not connect",
        ),
    ] {
        let output = loadtest(&arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

#[test]
fn the_scenario_that_ships_is_a_search() {
    let text =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios/capacity.toml")).unwrap();
    let scenario = Scenario::read(&text, |_| None).unwrap();
    assert!(scenario.capacity.from < scenario.capacity.to && scenario.expect.len() >= 3);
}
