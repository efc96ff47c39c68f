//! A server that does one thing wrong: the harness reports just that, with its exact figure.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fixture::{Fixture, Script};
use freshet_loadtest::client::{
    EndReason, PacketHook, Publisher, PublisherConfig, SessionState, Viewer, ViewerConfig, ViewerReport,
};
use freshet_loadtest::measure::FREEZE;
use freshet_loadtest::media::Kind;
use program::loadtest;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(10);

async fn publish(server: &Fixture) -> Publisher {
    Publisher::connect(PublisherConfig::new(server.url("/whip/room"))).await.unwrap()
}

/// A viewer that asks for nothing again, so that nothing hides what the server does.
fn watch(server: &Fixture) -> ViewerConfig {
    ViewerConfig { nack: false, ..ViewerConfig::new(server.url("/whep/room")) }
}

/// What a viewer saw of so many packets of video, and of all that was under way then.
async fn seen(publisher: &Publisher, viewer: &Viewer, packets: u64) -> ViewerReport {
    let enough = |report: &ViewerReport| report.video().unwrap().received >= packets;
    assert!(viewer.wait_until(SOON, enough).await, "{:?}", viewer.report());
    publisher.pause();
    tokio::time::sleep(Duration::from_millis(700)).await;
    viewer.report()
}

async fn of(script: Script, packets: u64) -> (Fixture, ViewerReport) {
    let server = Fixture::start(script).await;
    let publisher = publish(&server).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    let report = seen(&publisher, &viewer, packets).await;
    (server, report)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_50th_packet_is_two_per_cent() {
    let (_server, report) = of(Script { lose_every: Some(50), ..Script::default() }, 400).await;
    let video = report.video().unwrap();
    let (first, last) = (video.first_index.unwrap(), video.last_index.unwrap());
    // The server counts from 1: it loses the indices 49, 99, 149, …
    let lost = (first..=last).filter(|index| index % 50 == 49).count() as u64;
    assert_eq!((video.missing, video.lost_before_recovery, video.recovered_by_rtx), (lost, lost, 0));
    assert_eq!(video.received, last - first + 1 - lost);
    assert_eq!((video.duplicates, video.late, video.out_of_order_after_recovery), (0, 0, 0));
    assert_eq!(report.audio().unwrap().missing, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_twice_is_counted_once_and_named_a_duplicate() {
    let (server, report) = of(Script { repeat_every: Some(20), ..Script::default() }, 400).await;
    let video = report.video().unwrap();
    let twice = server.count(|counters| &counters.repeated);
    assert!(twice >= 15, "{twice}");
    assert_eq!(video.duplicates, twice);
    assert_eq!(video.received, video.last_index.unwrap() - video.first_index.unwrap() + 1);
    assert_eq!((video.missing, video.late, video.out_of_order_after_recovery), (0, 0, 0));
    assert_eq!((video.rejected, video.payload_mismatch, report.unmapped), (0, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_overtaken_is_late_and_nothing_else() {
    let (server, report) = of(Script { overtake_every: Some(20), ..Script::default() }, 400).await;
    let video = report.video().unwrap();
    let overtaken = server.count(|counters| &counters.overtaken);
    assert!(overtaken >= 15, "{overtaken}");
    assert_eq!(video.late, overtaken);
    assert_eq!((video.missing, video.duplicates, video.recovered_by_rtx), (0, 0, 0));
    assert_eq!(video.out_of_order_after_recovery, 0, "under its own number each has its place");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_numbers_are_another_order() {
    let (server, report) = of(Script { misnumber_every: Some(20), ..Script::default() }, 400).await;
    let video = report.video().unwrap();
    let wrong = server.count(|counters| &counters.misnumbered);
    assert!(wrong >= 15, "{wrong}");
    assert_eq!(video.out_of_order_after_recovery, wrong);
    assert_eq!((video.missing, video.duplicates), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delay_is_the_latency_of_every_packet() {
    let delay = Duration::from_millis(80);
    let (_server, report) = of(Script { delay, ..Script::default() }, 400).await;
    for track in [report.video().unwrap(), report.audio().unwrap()] {
        let (least, median) = (track.latency.quantile(0.0).unwrap(), track.latency.quantile(0.5).unwrap());
        // The histogram's steps are 0.1 % wide, and the clocks of tasks some milliseconds; a busy host adds to the median, never to the least.
        assert!(least >= delay.mul_f64(0.98), "nothing was earlier: {least:?}");
        assert!(median < Duration::from_millis(100), "{median:?}");
        assert_eq!((track.missing, track.duplicates, track.late), (0, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_one_freeze_of_its_length() {
    let stall = Duration::from_millis(1_500);
    let server = Fixture::start(Script { stall: Some((150, stall)), ..Script::default() }).await;
    let publisher = publish(&server).await;
    let came: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let hook = {
        let came = Arc::clone(&came);
        PacketHook::new(move |packet| {
            if packet.kind == Kind::Video {
                came.lock().unwrap().push(packet.at);
            }
        })
    };
    let config = ViewerConfig { on_packet: Some(hook), ..watch(&server) };
    let viewer = Viewer::connect(config).await.unwrap();
    let report = seen(&publisher, &viewer, 600).await;
    let video = report.video().unwrap();
    let came = came.lock().unwrap();
    let gaps: Vec<Duration> = came.windows(2).map(|pair| pair[1] - pair[0]).collect();
    // A busy host may add freezes of its own; each counts for what it was, and one is the server's.
    let frozen: Vec<Duration> = gaps.into_iter().filter(|gap| *gap > FREEZE).collect();
    assert_eq!(video.freezes, frozen.len() as u64);
    assert_eq!(video.frozen, frozen.iter().sum::<Duration>());
    assert_eq!(Some(video.longest_gap), frozen.iter().max().copied());
    let long: Vec<&Duration> = frozen.iter().filter(|gap| **gap >= Duration::from_millis(1_400)).collect();
    assert_eq!(long.len(), 1, "{frozen:?}");
    assert!((1_450..2_000).contains(&long[0].as_millis()), "{long:?}");
    assert!(report.audio().unwrap().longest_gap >= Duration::from_millis(1_400));
    assert_eq!((video.missing, video.late), (0, 0), "what was held back came");
    assert!(video.latency.max().unwrap() >= Duration::from_millis(1_400), "and it came that late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dtls_close_in_the_middle_ends_a_session_with_its_reason() {
    let server = Fixture::start(Script { close_at: Some(200), ..Script::default() }).await;
    let _publisher = publish(&server).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    assert_eq!(viewer.ended(SOON).await, Some(EndReason::RemoteClosed));
    let report = viewer.report();
    assert_eq!(report.state, SessionState::Ended(EndReason::RemoteClosed));
    assert_eq!((report.video().unwrap().received, report.video().unwrap().missing), (200, 0));
}

/// A run of the program that says everything in JSON.
async fn run(server: &Fixture, arguments: &[&str]) -> (Value, Option<i32>, String) {
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let mut all = vec!["run", "--whip", &whip, "--whep", &whep, "--threads", "1", "--quiet", "--json"];
    all.extend(arguments);
    let output = loadtest(&all).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, output.status.code(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_end_early_are_told_with_their_reason() {
    let server = Fixture::start(Script { close_at: Some(150), from_viewers: 4, ..Script::default() }).await;
    let arguments =
        ["--viewers", "4", "--ramp", "storm", "--duration", "5s", "--no-reconnect", "--fail-if", "ended>0"];
    let (report, status, said) = run(&server, &arguments).await;
    assert_eq!(status, Some(1), "{said}");
    let viewers = &report["viewers"];
    assert_eq!((&viewers["sessions"], &viewers["ended_early"]), (&4.into(), &4.into()), "{viewers}");
    assert_eq!(viewers["reasons"]["ended: closed by the server"], 4, "{viewers}");
    assert_eq!(viewers["reconnects"]["back"], 0, "{viewers}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_503_with_retry_after_is_obeyed_and_counted() {
    let server = Fixture::start(Script { busy_for_viewers: 5, ..Script::default() }).await;
    let (report, status, said) =
        run(&server, &["--viewers", "3", "--ramp", "storm", "--duration", "5s"]).await;
    assert_eq!(status, Some(0), "{said}");
    let viewers = &report["viewers"];
    assert_eq!((&viewers["sessions"], &viewers["failed"]), (&3.into(), &0.into()), "{viewers}");
    assert_eq!(viewers["put_off"]["HTTP 503"], 5, "{viewers}");
    // Three are put off once and two of them twice, for a second each.
    let answered = &report["join"]["answered_ms"];
    assert!(answered["p50"].as_f64().unwrap() >= 2_000.0 * 0.98, "{answered}");
    assert_eq!(server.count(|counters| &counters.posts), 1 + 3 + 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_hangs_is_left_when_the_time_is_over() {
    let server = Fixture::start(Script::default()).await;
    let (whip, whep) = (server.url("/silent"), server.url("/whep/room"));
    let began = Instant::now();
    let patient = ["--http-timeout", "60s", "--duration", "1s", "--viewers", "1", "--ramp", "storm"];
    let limit = ["run", "--whip", &whip, "--whep", &whep, "--quiet", "--time-limit", "3s"];
    let output = loadtest(&[&limit[..], &patient].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    assert!(said.contains("the time limit of 3s was reached") && said.lines().count() == 1, "{said}");
    assert!(began.elapsed() < Duration::from_secs(20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nonsense_and_wrong_tokens_are_one_clear_line() {
    let server = Fixture::start(Script { token: Some("right".into()), ..Script::default() }).await;
    let (nonsense, whep, whip) =
        (server.url("/nonsense"), server.url("/whep/room"), server.url("/whip/room"));
    let cases: [(&[&str], &str); 3] = [
        (&["--whep", &nonsense], "no SDP answer: it begins with \"no SDP at all\""),
        (&["--whep", &whep, "--token-whep", "wrong"], "HTTP 401 bad-token"),
        (&["--whip", &whip, "--whep", &whep, "--token-whip", "wrong"], "the token is missing or wrong"),
    ];
    for (arguments, says) in cases {
        let limits = ["run", "--viewers", "1", "--ramp", "storm", "--duration", "1s", "--quiet"];
        let output = loadtest(&[&limits[..], arguments].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{arguments:?}: {said}");
    }
}

/// Two codecs under one number, of which the session is to be receiver: str0m 0.25 asserts that this cannot be.
fn contradictory(sdp: String) -> String {
    let change = |line: &str| match line.split([' ', ':', '=']).nth(1) {
        Some("video") => "m=video 9 UDP/TLS/RTP/SAVPF 111\r\n".to_owned(),
        _ if line.starts_with("a=rtpmap:108 ") => "a=rtpmap:111 H264/90000\r\n".to_owned(),
        _ if line.starts_with("a=fmtp:108 ") => format!("{}\r\n", line.replace(":108 ", ":111 ")),
        _ if line == "a=sendonly" => "a=sendrecv\r\n".to_owned(),
        _ if ["a=rtpmap:111 ", "a=fmtp:111 "].iter().any(|start| line.starts_with(start)) => {
            format!("{line}\r\n")
        }
        _ if ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().any(|start| line.starts_with(start)) => {
            String::new()
        }
        _ => format!("{line}\r\n"),
    };
    sdp.lines().map(change).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_the_library_fails_its_viewers_and_not_the_run() {
    let server = Fixture::start(Script { rewrite: Some(contradictory), ..Script::default() }).await;
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let arguments =
        ["run", "--whip", &whip, "--whep", &whep, "--viewers", "3", "--ramp", "storm", "--duration", "1s"];
    let output = loadtest(&[&arguments[..], &["--quiet"]].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
    let clear = "what the server sent broke the WebRTC library";
    assert!(said.contains(clear) && said.lines().count() == 1, "{said}");
    assert_eq!(server.count(|counters| &counters.deletes), 4, "three viewers and the publisher");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_are_said_goodbye_for_though_the_server_answers_nobody() {
    let slow_delete = Duration::from_secs(60);
    let server = Fixture::start(Script { slow_delete, ..Script::default() }).await;
    let arguments = ["--viewers", "80", "--ramp", "storm", "--duration", "1s", "--bitrate", "100k"];
    let (_, status, said) = run(&server, &[&arguments[..], &["--http-timeout", "60s"]].concat()).await;
    assert_eq!(status, Some(0), "{said}");
    assert_eq!(server.count(|counters| &counters.deletes), 81);
}
