//! What is measured beside the viewers, and what is told while a run goes on: the program against a scripted server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;

use std::process::Stdio;
use std::time::{Duration, Instant};

use fixture::{Fixture, Script};
use freshet_loadtest::client::{Page, ViewerConfig};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};

/// The value of a series of a page.
fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_is_told_while_it_runs_and_the_server_by_its_own_page() {
    let late = Duration::from_millis(150);
    let server = Fixture::start(Script { video_delay: late, ..Script::default() }).await;
    let (whip, whep, metrics) = (server.url("/whip/room"), server.url("/whep/room"), server.url("/metrics"));
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_freshet-loadtest"));
    command.args([
        "run",
        "--whip",
        &whip,
        "--whep",
        &whep,
        "--viewers",
        "3",
        "--ramp",
        "storm",
        "--duration",
        "6s",
    ]);
    command.args(["--threads", "1", "--bitrate", "500k", "--json", "--metrics-listen", "0"]);
    command.args(["--server-metrics", &metrics, "--server-packets", "rtp_total{way=\"out\"}"]);
    command.args(["--server-joins", "come_total"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut running = command.spawn().unwrap();
    let mut said = BufReader::new(running.stderr.take().unwrap()).lines();
    let first = said.next_line().await.unwrap().unwrap();
    let url = first.strip_prefix("freshet-loadtest: the run's metrics are at ").expect(&first).to_owned();
    assert!(url.starts_with("http://127.0.0.1:"), "{url}");
    let page = Page::new(&url, 1 << 20, Duration::from_secs(10), &ViewerConfig::new("")).unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    // The run's own figures, while it lasts: of all viewers, of media, of both hosts.
    let seen = loop {
        let seen = page.fetch().await.unwrap();
        let is = |series: &str| value(&seen, &format!("freshet_loadtest_{series}"));
        if is("viewers{state=\"watching\"}") == Some(3.0)
            && is("latency_seconds_count") > Some(300.0)
            && is("av_skew_quantile_seconds{quantile=\"0.5\"}").is_some()
            && is("server_packets_per_second") > Some(0.0)
        {
            break seen;
        }
        assert!(Instant::now() < end && running.try_wait().unwrap().is_none(), "{seen}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let is = |series: &str| {
        value(&seen, &format!("freshet_loadtest_{series}")).unwrap_or_else(|| panic!("{series}: {seen}"))
    };
    assert_eq!((is("joins_total"), is("viewers{state=\"failed\"}")), (3.0, 0.0));
    assert_eq!(is("latency_seconds_bucket{le=\"+Inf\"}"), is("latency_seconds_count"));
    assert_eq!(is("server_resident_bytes"), 3_145_728.0);
    let ratio = is("server_cpu_cores") / is("server_packets_per_second");
    assert!((ratio / 20e-6 - 1.0).abs() < 1e-6, "{ratio}");

    let drained = tokio::spawn(async move { while let Ok(Some(_)) = said.next_line().await {} });
    let mut text = String::new();
    running.stdout.take().unwrap().read_to_string(&mut text).await.unwrap();
    assert!(running.wait().await.unwrap().success());
    drained.await.unwrap();
    assert!(page.fetch().await.is_err(), "the page ends with the run");
    let report: Value = serde_json::from_str(&text).unwrap();
    // Pictures are late by what the server held them back.
    let (behind, p50) = (&report["video_behind_ms"], &report["av_skew_ms"]["p50"]);
    assert!((120.0..200.0).contains(&behind.as_f64().unwrap()), "{behind}");
    assert!((120.0..200.0).contains(&p50.as_f64().unwrap()), "{p50}");
    let told = &report["server"];
    assert_eq!((&told["metrics"][0], &told["pids"]), (&Value::from(metrics), &Value::Array(Vec::new())));
    assert!((told["cpu_us_per_packet"].as_f64().unwrap() / 20.0 - 1.0).abs() < 1e-6, "{told}");
    // Three viewers came while the page was read, and the publisher.
    assert_eq!(
        (&told["joins"], &told["bits_per_second"], &told["unread"]),
        (&4.into(), &Value::Null, &0.into())
    );
    let received = report["packets"]["received"].as_u64().unwrap();
    // What comes before a viewer's session is up is sent, too, and what is sent last is not read.
    assert!(
        told["packets"].as_u64().unwrap().abs_diff(received) < received / 5,
        "{told}, {received} received"
    );
    let per_join = told["cpu_ms_per_join"].as_f64().unwrap();
    let whole = told["packets"].as_f64().unwrap() * 20e-3;
    assert!((per_join * 4.0 / whole - 1.0).abs() < 1e-6, "{told}");
    let seconds = report["timeline"].as_array().unwrap();
    assert!(seconds.iter().any(|second| second["server"]["joins_per_second"].is_number()), "{seconds:?}");
}
