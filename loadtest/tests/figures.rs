//! What a server does wrong, by the program's own report: each figure is that of the fault, and the others are clean.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::time::Duration;

use fixture::{Fixture, Script};
use program::loadtest;
use serde_json::Value;

const VIEWERS: u64 = 2;

/// A run against a server that does as the script says once both viewers are there; nothing is asked for again.
async fn told(script: Script, more: &[&str]) -> (Fixture, Value) {
    told_by(VIEWERS, script, more).await
}

async fn told_by(viewers: u64, script: Script, more: &[&str]) -> (Fixture, Value) {
    let viewers = viewers.to_string();
    let server = Fixture::start(Script { from_viewers: 2, ..script }).await;
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let usual = ["run", "--whip", &whip, "--whep", &whep, "--viewers", &viewers, "--ramp", "storm"];
    let short = ["--duration", "5s", "--bitrate", "500k", "--threads", "1", "--no-nack", "--json", "--quiet"];
    let output = loadtest(&[&usual[..], &short, more].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    // A host with too much to do says so, and counts none the less.
    let invalid = !report["invalid"].as_array().unwrap().is_empty();
    assert_eq!(output.status.code(), Some(i32::from(invalid)), "{said}");
    (server, report)
}

/// A count of the report's packets.
fn packets(report: &Value, name: &str) -> u64 {
    let path = format!("/packets/{name}");
    report.pointer(&path).and_then(Value::as_u64).unwrap_or_else(|| panic!("{path} in {report:#}"))
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {report:#}"))
}

/// None of these happened.
fn clean(report: &Value, names: &[&str]) {
    for name in names {
        assert_eq!(packets(report, name), 0, "{name} in {report:#}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_50th_packet_lost_is_two_per_cent() {
    let (server, report) = told(Script { lose_every: Some(50), ..Script::default() }, &[]).await;
    let (lost, expected) = (packets(&report, "video/lost"), packets(&report, "video/expected"));
    assert_eq!(lost, server.count(|counters| &counters.lost), "{report:#}");
    // Each viewer's stretch of packets begins and ends between two that are lost.
    assert!((expected / 50).abs_diff(lost) <= VIEWERS && lost >= 10, "{lost} of {expected}");
    let share = number(&report, "/packets/video/loss_percent");
    assert!((share - lost as f64 * 100.0 / expected as f64).abs() < 1e-9, "{share}");
    assert_eq!((packets(&report, "lost"), packets(&report, "lost_before_recovery")), (lost, lost));
    assert_eq!(packets(&report, "received"), packets(&report, "expected") - lost);
    clean(&report, &["audio/lost", "recovered", "duplicates", "overtaken", "out_of_order", "mismatched"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_twice_is_a_duplicate_each_time() {
    let (server, report) = told(Script { repeat_every: Some(20), ..Script::default() }, &[]).await;
    let twice = server.count(|counters| &counters.repeated);
    assert!(twice >= 20, "{twice}");
    assert_eq!(packets(&report, "duplicates"), twice, "{report:#}");
    assert_eq!(packets(&report, "received"), packets(&report, "expected"), "each counts once");
    clean(&report, &["lost", "lost_before_recovery", "recovered", "overtaken", "out_of_order", "rejected"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_overtaken_is_told_apart_from_what_is_in_another_order() {
    let (server, report) = told(Script { overtake_every: Some(20), ..Script::default() }, &[]).await;
    let overtaken = server.count(|counters| &counters.overtaken);
    assert!(overtaken >= 20, "{overtaken}");
    assert_eq!(packets(&report, "overtaken"), overtaken, "{report:#}");
    clean(&report, &["duplicates", "recovered", "out_of_order", "mismatched"]);
    // The very last one of all may wait for a next one that never comes.
    assert!(packets(&report, "lost") <= VIEWERS, "{report:#}");

    let (server, report) = told(Script { misnumber_every: Some(20), ..Script::default() }, &[]).await;
    let wrong = server.count(|counters| &counters.misnumbered);
    assert!(wrong >= 20, "{wrong}");
    assert_eq!(packets(&report, "out_of_order"), wrong, "{report:#}");
    clean(&report, &["duplicates", "recovered"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_of_80_ms_is_the_latency() {
    let delay = Duration::from_millis(80);
    let (_server, report) = told(Script { delay, ..Script::default() }, &[]).await;
    // The steps of a histogram are 0.1 % wide, the bars of a picture 2 %; a busy host adds, and never takes away.
    let (half, most) = (number(&report, "/latency_ms/p50"), number(&report, "/latency_ms/max"));
    assert!((79.9..140.0).contains(&half) && most >= half, "{half} {most}");
    let bars = &report["figures"]["latency"];
    let (ends, counts) = (bars["upper_ms"].as_array().unwrap(), bars["counts"].as_array().unwrap());
    let filled = ends.iter().zip(counts).find(|(_, count)| count.as_u64().unwrap() > 0);
    let first = filled.unwrap().0.as_f64().unwrap();
    assert!(first >= 79.9, "nothing was earlier: {first}");
    clean(&report, &["lost", "duplicates", "overtaken", "out_of_order"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_of_a_second_and_a_half_is_one_freeze_of_each_viewer() {
    let stall = Duration::from_millis(1_500);
    let (_server, report) = told(Script { stall: Some((100, stall)), ..Script::default() }, &[]).await;
    // A busy host may add freezes of its own: short ones.
    let (freezes, frozen) = (number(&report, "/freezes"), number(&report, "/frozen_ms"));
    assert!(freezes >= VIEWERS as f64 && frozen >= VIEWERS as f64 * 1_450.0, "{report:#}");
    let bars = &report["figures"]["longest_gap"];
    let long: u64 = (bars["upper_ms"].as_array().unwrap().iter().zip(bars["counts"].as_array().unwrap()))
        .filter(|(end, _)| end.as_f64().unwrap() >= 1_400.0)
        .map(|(_, count)| count.as_u64().unwrap())
        .sum();
    assert_eq!(long, VIEWERS * 2, "picture and sound of both: {report:#}");
    let gap = number(&report, "/longest_gap_ms/max");
    assert!((1_450.0..2_500.0).contains(&gap), "{gap}");
    assert!(number(&report, "/latency_ms/max") >= 1_400.0, "what was held back came that late: {report:#}");
    clean(&report, &["lost", "duplicates", "overtaken", "out_of_order"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_never_answered_has_failed_by_a_timeout_and_the_others_are_measured() {
    let script = Script { silent_for_viewers: 2, ..Script::default() };
    let (server, report) = told_by(5, script, &["--http-timeout", "1s"]).await;
    let viewers = &report["viewers"];
    assert_eq!(
        (&viewers["wanted"], &viewers["seated"], &viewers["failed"]),
        (&5.into(), &3.into(), &2.into())
    );
    let reasons = viewers["reasons"].as_object().unwrap();
    let (reason, count) = reasons.iter().next().unwrap();
    assert!(reasons.len() == 1 && reason.contains("timeout: POST") && *count == 2, "{viewers}");
    assert_eq!(report["join"]["answered_ms"]["count"], 3, "{report:#}");
    assert_eq!(server.count(|counters| &counters.posts), 1 + 3, "nobody asked twice");
    clean(&report, &["lost"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dtls_close_in_the_middle_ends_each_session_at_its_packet() {
    let script = Script { close_at: Some(150), ..Script::default() };
    let (_server, report) = told(script, &["--no-reconnect"]).await;
    let viewers = &report["viewers"];
    assert_eq!((&viewers["sessions"], &viewers["ended_early"]), (&2.into(), &2.into()), "{viewers}");
    assert_eq!(viewers["reasons"]["ended: closed by the server"], 2, "{viewers}");
    // The one that was there first may have had some more.
    let received = packets(&report, "video/expected") - packets(&report, "video/lost");
    assert!((VIEWERS * 150..VIEWERS * 160).contains(&received), "{report:#}");
    clean(&report, &["duplicates", "overtaken", "out_of_order", "mismatched"]);
}
