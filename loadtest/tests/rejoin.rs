//! Viewers that lose their sessions come back, and the report says why they had to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::path::Path;
use std::time::Duration;

use fixture::{Fixture, Script};
use freshet_loadtest::client::{Lost, Publisher, PublisherConfig, Reconnect, Viewer, ViewerConfig};
use program::loadtest;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

/// A run of the program with three viewers that goes well; its report, and its summary.
async fn run(name: &str, server: &Fixture, arguments: &[&str]) -> (Value, String) {
    let (status, report, summary, said) = end(name, server, arguments).await;
    assert_eq!(status, Some(0), "{said}");
    (report, summary)
}

/// The same however it goes; its exit status, its report, its summary, and what it said.
async fn end(name: &str, server: &Fixture, arguments: &[&str]) -> (Option<i32>, Value, String, String) {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _new = std::fs::remove_dir_all(&folder);
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let mut all =
        vec!["run", "--whip", &whip, "--whep", &whep, "--threads", "1", "--bitrate", "1M", "--quiet"];
    all.extend(["--viewers", "3", "--ramp", "storm", "--report", folder.to_str().unwrap()]);
    all.extend(arguments);
    let output = loadtest(&all).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(read("report.html").contains("Why viewers joined again"));
    let table = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(table.contains("reconnects"), "{table}");
    let report = serde_json::from_str(&read("report.json")).unwrap_or_else(|error| panic!("{error}: {said}"));
    // Each session and each place that nobody has back is a row, and rows and sums say the same.
    let rows = read("viewers.csv");
    let mut rows = rows.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let column = |name: &str| names.iter().position(|known| *known == name).unwrap();
    let rows: Vec<_> = rows.collect();
    let sum = |name: &str| -> f64 { rows.iter().map(|row| row[column(name)].parse::<f64>().unwrap()).sum() };
    let report: Value = report;
    for (name, of) in [("freezes", "/freezes"), ("frozen_ms", "/frozen_ms"), ("lost", "/packets/lost")] {
        let all = report.pointer(of).unwrap().as_f64().unwrap();
        assert!((sum(name) - all).abs() < 1.0, "{name}: {} of rows, {all} in all: {rows:?}", sum(name));
    }
    (output.status.code(), report, read("summary.md"), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_closed_joins_again() {
    let server = Fixture::start(Script { close_at: Some(100), from_viewers: 3, ..Script::default() }).await;
    let (report, summary) = run("closed", &server, &["--duration", "7s"]).await;
    let viewers = &report["viewers"];
    assert_eq!((&viewers["sessions"], &viewers["ended_early"]), (&6.into(), &3.into()), "{viewers}");
    let reconnects = &viewers["reconnects"];
    assert_eq!(
        (&reconnects["back"], &reconnects["failed"]),
        (&3.into(), &serde_json::json!({})),
        "{viewers}"
    );
    assert_eq!(reconnects["reasons"]["closed by the server"], 3, "{viewers}");
    // Half a second at most before they try, and what joining takes.
    assert_eq!(reconnects["away_ms"]["count"], 3);
    assert_eq!((&viewers["seated"], &viewers["wanted"]), (&3.into(), &3.into()), "places, and not sessions");
    assert_eq!((&viewers["failed"], &reconnects["not_back"]), (&0.into(), &0.into()), "{viewers}");
    // Who joins again is not counted among those who join.
    let join = &report["join"];
    for figure in ["first_packet_ms", "first_keyframe_ms"] {
        assert_eq!(
            (&join[figure]["count"], &reconnects[figure]["count"]),
            (&3.into(), &3.into()),
            "{figure}"
        );
    }
    // Who was away saw nothing, and that is a gap.
    let (gap, away) = (&report["longest_gap_ms"]["max"], reconnects["away_ms"]["max"].as_f64().unwrap());
    assert!(gap.as_f64().unwrap() >= away * 0.99, "{gap} {away}");
    assert!(reconnects["away_ms"]["max"].as_f64().unwrap() < 4_000.0, "{viewers}");
    assert_eq!(
        report["packets"]["video"]["lost"], 0,
        "what was sent while they were away is no loss: {report}"
    );
    let last = report["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!(last["watching"], 3, "{last}");
    assert!(summary.contains("3 / 3"), "{summary}");
    assert_eq!(server.count(|counters| &counters.posts), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audience_that_is_lost_for_good_has_failed() {
    let script = Script { close_at: Some(100), stays_closed: true, from_viewers: 3, ..Script::default() };
    let server = Fixture::start(script).await;
    let expected = ["not-back>2", "not-back-share>99%", "away-max>1s", "gap-max>1s", "not-back>3"];
    let bounds: Vec<&str> = expected.iter().flat_map(|bound| ["--fail-if", *bound]).collect();
    let (status, report, _, said) =
        end("for-good", &server, &[&["--duration", "6s"][..], &bounds].concat()).await;
    assert_eq!(status, Some(1), "{said}");
    for bound in &expected[..4] {
        assert!(said.contains(&format!("bound broken: {bound}")), "{bound}: {said}");
    }
    assert!(!said.contains("not-back>3"), "{said}");
    let viewers = &report["viewers"];
    assert_eq!(
        (&viewers["seated"], &viewers["sessions"], &viewers["failed"]),
        (&3.into(), &3.into(), &3.into()),
        "{viewers}"
    );
    assert_eq!(viewers["reasons"]["not back: closed by the server"], 3, "{viewers}");
    let reconnects = &viewers["reconnects"];
    assert_eq!((&reconnects["back"], &reconnects["not_back"]), (&0.into(), &3.into()), "{viewers}");
    assert_eq!(reconnects["away_ms"]["count"], 3, "{viewers}");
    // They saw nothing from then on: a gap of seconds in each video.
    assert!(report["freezes"].as_u64().unwrap() >= 3, "{report}");
    let away = reconnects["away_ms"]["p50"].as_f64().unwrap();
    assert!(away > 1_500.0 && report["frozen_ms"].as_f64().unwrap() >= 3.0 * 1_500.0, "{report}");
    let last = report["timeline"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["watching"], &last["failed"]), (&0.into(), &3.into()), "{last}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_to_reconnect_does() {
    let server =
        Fixture::start(Script { reconnect_at: Some(100), from_viewers: 3, ..Script::default() }).await;
    let (report, _) = run("told", &server, &["--duration", "6s"]).await;
    let viewers = &report["viewers"];
    assert_eq!((&viewers["sessions"], &viewers["ended_early"]), (&6.into(), &0.into()), "{viewers}");
    assert_eq!(viewers["reconnects"]["reasons"]["told to reconnect"], 3, "{viewers}");
    assert_eq!(viewers["reconnects"]["back"], 3, "{viewers}");
    assert_eq!(server.count(|counters| &counters.listens), 6);
    // A session is ended before the next one is made: three, then three more, and the publisher's.
    assert_eq!(server.count(|counters| &counters.deletes), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_sent_elsewhere_goes_there() {
    let other = Fixture::start(Script::default()).await;
    let _publisher = Publisher::connect(PublisherConfig::new(other.url("/whip/room"))).await.unwrap();
    let reconnect_url = Some(other.url("/whep/room"));
    let server = Fixture::start(Script {
        reconnect_at: Some(100),
        reconnect_url,
        from_viewers: 3,
        ..Script::default()
    })
    .await;
    let (report, _) = run("elsewhere", &server, &["--duration", "6s"]).await;
    assert_eq!(report["viewers"]["reconnects"]["back"], 3, "{report}");
    assert_eq!(other.count(|counters| &counters.posts), 4, "the publisher and three viewers");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_forgotten_notices_and_who_is_only_paused_stays() {
    let server = Fixture::start(Script { forget_at: Some(150), ..Script::default() }).await;
    let publisher = Publisher::connect(PublisherConfig::new(server.url("/whip/room"))).await.unwrap();
    let watch = || Viewer::connect(ViewerConfig::new(server.url("/whep/room")));
    let forgotten = watch().await.unwrap();
    let lost = tokio::time::timeout(SOON, forgotten.standing().lost()).await.unwrap();
    assert_eq!(lost, Lost::Unknown(404));

    let paused = watch().await.unwrap();
    assert!(paused.wait_for_media(SOON).await);
    publisher.pause();
    let asked = tokio::time::timeout(Duration::from_secs(5), paused.standing().lost()).await;
    assert!(asked.is_err(), "the server knows it, so it waits: {asked:?}");

    // The server is gone, and nobody says so.
    let standing = paused.standing();
    drop(server);
    let lost = tokio::time::timeout(SOON, standing.lost()).await.unwrap();
    assert_eq!(lost, Lost::Unreachable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standing_tells_what_the_server_told() {
    let (reconnect_at, reconnect_url) = (Some(100), Some("/whep/other".to_owned()));
    let server = Fixture::start(Script { reconnect_at, reconnect_url, ..Script::default() }).await;
    let _publisher = Publisher::connect(PublisherConfig::new(server.url("/whip/room"))).await.unwrap();
    let viewer = Viewer::connect(ViewerConfig::new(server.url("/whep/room"))).await.unwrap();
    let lost = tokio::time::timeout(SOON, viewer.standing().lost()).await.unwrap();
    assert_eq!(lost, Lost::Told(Reconnect { url: Some("/whep/other".into()) }));
    assert_eq!(lost.to_string(), "told to reconnect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_sent_where_nobody_is_comes_back_to_where_the_user_pointed() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    // Nobody listens there; nobody may be asked there.
    for (name, url, tries, class) in [
        ("nowhere", format!("http://{gone}/whep/room"), 6, "unreachable: Connection refused (os error 111)"),
        ("forbidden", "http://192.0.2.1/whep/room".to_owned(), 3, "target not allowed"),
    ] {
        let script = Script { reconnect_at: Some(100), from_viewers: 3, ..Script::default() };
        let server = Fixture::start(Script { reconnect_url: Some(url), ..script }).await;
        let (report, _) = run(name, &server, &["--duration", "10s"]).await;
        let reconnects = &report["viewers"]["reconnects"];
        assert_eq!(reconnects["back"], 3, "{reconnects}");
        assert_eq!(reconnects["failed"], serde_json::json!({ class: tries }), "{reconnects}");
        assert_eq!(server.count(|counters| &counters.posts), 7, "the publisher, three, and three again");
    }
}
