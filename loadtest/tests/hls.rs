//! Viewers of HLS against a scripted server: figures are what was done to them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod hls_server;
mod program;

use std::process::Output;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use axum::response::IntoResponse;
use hls_server::{BYTES, HlsServer, Script};
use program::loadtest;
use serde_json::Value;
use tokio::net::TcpListener;

async fn run(url: &str, arguments: &[&str]) -> Output {
    let mut all = vec!["run", "--hls-url", url, "--threads", "1", "--json"];
    all.extend(arguments);
    loadtest(&all).await
}

fn json(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {report:#}"))
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_stream_is_played_and_one_missing_segment_is_passed_over() {
    // The tenth segment that is made in the run is missed by each viewer, and nothing else is.
    let script = Script { missing: Some(10), busy: 1, ..Script::default() };
    let server = HlsServer::start(script).await;
    let bounds =
        ["--fail-if", "hls-stalls>0", "--fail-if", "hls-missing>3", "--fail-if", "hls-latency-p99>6s"];
    let arguments = [&["--hls-viewers", "3", "--duration", "6s"][..], &bounds].concat();
    let output = run(&server.url("/plain/live.m3u8"), &arguments).await;
    let report = json(&output);
    let is = |path: &str, value: f64| assert_eq!(number(&report, path), value, "{path} in {report:#}");
    is("/hls/wanted", 3.0);
    is("/hls/played", 3.0);
    is("/hls/failed", 0.0);
    is("/hls/stalls", 0.0);
    is("/hls/stalled_ms", 0.0);
    is("/hls/missing", 3.0);
    is("/hls/errors/segment: HTTP 404", 3.0);
    is("/hls/errors/playlist: HTTP 503", 1.0);
    is("/hls/retries_obeyed", 1.0);
    is("/hls/jumps", 0.0);
    is("/hls/parts", 0.0);
    is("/viewers/wanted", 0.0);
    // What was on its way when the run ended is served and not counted.
    let (served, came) = (server.count(|counters| &counters.media) as f64, number(&report, "/hls/segments"));
    assert!((served - 3.0..=served).contains(&came) && came >= 3.0 * 20.0, "{came} of {served}: {report:#}");
    assert_eq!(number(&report, "/hls/bytes"), came * BYTES as f64);
    // 2.5 s behind the edge, which is up to a quarter of a second old; a segment less once one was passed over.
    let latency = |which: &str| number(&report, &format!("/hls/latency_ms/{which}"));
    assert!(latency("p50") >= 2_200.0 && latency("max") < 6_000.0, "{report:#}");
    assert!(number(&report, "/hls/edge_ms/p50") < 2_000.0, "{report:#}");
    let line = said(&output);
    assert!(line.lines().any(|line| line.contains("HLS 3 playing, 0 joining, 0 failed, 0 stalls")), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_silent_is_one_stall_and_what_follows_is_later_by_it() {
    let silent = Some((Duration::from_secs(3), Duration::from_secs(8)));
    let server = HlsServer::start(Script { silent, ..Script::default() }).await;
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("hls-stall");
    let arguments =
        ["--hls-viewers", "2", "--duration", "10s", "--quiet", "--report", folder.to_str().unwrap()];
    let report = json(&run(&server.url("/plain/live.m3u8"), &arguments).await);
    assert_eq!(number(&report, "/hls/stalls"), 2.0, "one each: {report:#}");
    // Silent for 5 s, of which 2.5 to 3 s were there; what is new is seen within half a target duration.
    let (all, longest) = (number(&report, "/hls/stalled_ms"), number(&report, "/hls/longest_stall_ms/max"));
    assert!((1_900.0..3_600.0).contains(&(all / 2.0)) && longest >= all / 2.0, "{report:#}");
    // The last of what was there may be seen a target duration late.
    assert!(number(&report, "/hls/unchanged_ms/p50") >= 3_900.0, "{report:#}");
    // The longest latency is the usual one and the stall.
    let (half, most) = (number(&report, "/hls/latency_ms/p50"), number(&report, "/hls/latency_ms/max"));
    assert!(half < 4_000.0 && most > 2_500.0 + longest * 0.9 && most < 3_600.0 + longest, "{report:#}");
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let (page, summary) = (read("report.html"), read("summary.md"));
    assert!(page.contains("<caption>HLS</caption>") && page.contains("HLS stalls"), "a table and a tile");
    // The stall is in its second, and no latency is there while nothing was played.
    let seconds: Vec<&Value> =
        report["timeline"].as_array().unwrap().iter().map(|second| &second["hls"]).collect();
    let sum: u64 = seconds.iter().map(|second| second["stalls"].as_u64().unwrap()).sum();
    assert_eq!(sum, 2, "{report:#}");
    let playing = |count: u64| seconds.iter().any(|second| second["playing"] == count);
    assert!(playing(2) && playing(0), "they played, and they stood still: {report:#}");
    let pieces: u64 = seconds.iter().filter_map(|second| second["latency_ms"]["count"].as_u64()).sum();
    assert_eq!(pieces as f64, number(&report, "/hls/latency_ms/count"), "each piece is in one second");
    assert!(seconds.iter().any(|second| second["latency_ms"].is_null()), "{report:#}");
    for title in ["HLS viewers", "HLS latency"] {
        assert!(page.contains(&format!("<h3>{title}</h3>")), "{title}");
    }
    assert!(page.contains("2 of 2 viewers of HLS played; 2 stalls"), "in words");
    assert!(summary.contains("| HLS | |") && summary.contains("| Longest stall |"), "{summary}");
    assert!(!page.contains("Freezes") || !page.contains("0 of 0 viewers"), "nobody watched by WHEP");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_fetched_as_they_come_with_sound_that_is_apart() {
    let server = HlsServer::start(Script::default()).await;
    let arguments = ["--hls-viewers", "2", "--duration", "6s", "--quiet"];
    let report = json(&run(&server.url("/master.m3u8"), &arguments).await);
    let is = |path: &str, value: f64| assert_eq!(number(&report, path), value, "{path} in {report:#}");
    is("/hls/played", 2.0);
    is("/hls/stalls", 0.0);
    is("/hls/missing", 0.0);
    is("/hls/jumps", 0.0);
    assert_eq!(server.count(|counters| &counters.maps), 4, "once for pictures and sound of each");
    // Pictures and sound of two viewers, four parts a second, and those behind the edge to begin with.
    let (served, came) = (server.count(|counters| &counters.media) as f64, number(&report, "/hls/parts"));
    assert!((served - 8.0..=served).contains(&came) && came >= 4.0 * 20.0, "{came} of {served}: {report:#}");
    let (playlists, held) =
        (server.count(|counters| &counters.playlists), server.count(|counters| &counters.held_back));
    assert_eq!(playlists - held, 2 + 4, "only the first of each is answered at once");
    // 1.5 s behind the edge, and up to the beginning of its segment.
    let latency = |which: &str| number(&report, &format!("/hls/latency_ms/{which}"));
    assert!(latency("p50") >= 1_400.0 && latency("max") < 4_500.0, "{report:#}");
    assert!(
        number(&report, "/hls/edge_ms/p50") < 400.0,
        "parts are here as soon as they are there: {report:#}"
    );
    assert!(number(&report, "/hls/unchanged_ms/p50") < 2_000.0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_whom_the_user_did_not_name() {
    let other = HlsServer::start_on(TcpListener::bind("127.0.0.9:0").await.unwrap(), Script::default()).await;
    let script = Script { elsewhere: Some(other.address), ..Script::default() };
    let server = HlsServer::start(script).await;
    let url = server.url("/plain/live.m3u8");
    let arguments = ["--hls-viewers", "2", "--duration", "2s", "--quiet"];
    let output = run(&url, &arguments).await;
    let line = said(&output);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{line}");
    let (place, host) = (other.address.to_string(), "127.0.0.9");
    assert!(line.contains("none of 2 viewers of HLS played") && line.contains(&place), "{line}");
    assert!(line.contains(&format!("--allow-host {place}")) && line.lines().count() == 1, "{line}");
    assert_eq!(other.count(|counters| &counters.media), 0, "nothing was sent there");
    let allowed = [&arguments[..], &["--allow-host", host]].concat();
    let report = json(&run(&url, &allowed).await);
    assert!(
        number(&report, "/hls/played") == 2.0 && other.count(|counters| &counters.media) > 0,
        "{report:#}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_stream_is_told_in_one_line() {
    let server = HlsServer::start(Script::default()).await;
    let (nonsense, silent) = (server.url("/nonsense.m3u8"), server.url("/silent.m3u8"));
    let (absent, near) = (server.url("/plain/../absent.m3u8"), "http://127.0.0.1:9/a.m3u8");
    let cases: &[(&[&str], &str)] = &[
        (&["--hls-url", &nonsense], "it does not begin with #EXTM3U"),
        (&["--hls-url", &silent], "timeout: a playlist"),
        (&["--hls-url", &absent], "HTTP 404"),
        (&["--hls-url", near], "unreachable"),
        (&["--hls-url", "http://192.0.2.1/a.m3u8"], "--i-own-the-target"),
        (&["--hls-url", "nonsense"], "http://"),
        (&["--hls-url", near, "--hls-viewers", "0"], "out of range"),
        (&["--hls-url", near, "--allow-host", "http://x"], "HOST:PORT"),
        (&["--hls-viewers", "3"], "give --hls-url"),
    ];
    for (arguments, says) in cases {
        let began = Instant::now();
        let usual = ["run", "--duration", "1s", "--retry-for", "0s", "--http-timeout", "400ms", "--quiet"];
        let output = loadtest(&[&usual[..], arguments].concat()).await;
        let line = said(&output);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{arguments:?}: {line}");
        assert!(line.contains(says) && line.lines().count() == 1, "{arguments:?}: {line}");
        assert!(began.elapsed() < Duration::from_secs(10), "{arguments:?}");
    }
}

/// Files of a folder, as any web server gives them.
async fn serve_files(folder: &std::path::Path) -> String {
    use axum::extract::{Path, State};
    async fn file(State(folder): State<std::path::PathBuf>, Path(name): Path<String>) -> impl IntoResponse {
        assert!(!name.contains(".."), "{name}");
        tokio::fs::read(folder.join(name)).await.map_err(|_| StatusCode::NOT_FOUND)
    }
    let router = axum::Router::new().route("/{name}", axum::routing::get(file));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let state = folder.to_owned();
    tokio::spawn(async move { axum::serve(listener, router.with_state(state)).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_packager_writes_is_played_as_a_web_server_gives_it() {
    tokio::join!(a_packagers_stream_is_played("mpegts"), a_packagers_stream_is_played("fmp4"));
}

async fn a_packagers_stream_is_played(kind: &str) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("hls-{kind}"));
    let _none_of_an_earlier_run = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut packager = tokio::process::Command::new("ffmpeg");
    packager.args("-hide_banner -loglevel error -re -f lavfi -i testsrc=size=160x90:rate=25".split(' '));
    packager.args("-re -f lavfi -i sine -t 40 -c:v libx264 -preset ultrafast -g 25 -c:a aac".split(' '));
    packager
        .args("-f hls -hls_time 1 -hls_list_size 6 -hls_flags program_date_time+delete_segments".split(' '));
    packager.args(["-master_pl_name", "all.m3u8", "-hls_segment_type", kind, "live.m3u8"]);
    let packager =
        packager.current_dir(&folder).stdin(std::process::Stdio::null()).kill_on_drop(true).spawn();
    let _packager = packager.expect("ffmpeg is needed to make a stream");
    let listed = || std::fs::read_to_string(folder.join("live.m3u8")).unwrap_or_default();
    let began = Instant::now();
    while listed().matches("#EXTINF").count() < 4 || !folder.join("all.m3u8").exists() {
        assert!(began.elapsed() < Duration::from_secs(20), "ffmpeg has written {:?}", listed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let url = format!("{}/all.m3u8", serve_files(&folder).await);
    let bounds = ["--fail-if", "hls-stalls>0", "--fail-if", "hls-errors>0", "--fail-if", "hls-missing>0"];
    let arguments = [&["--hls-viewers", "2", "--duration", "5s", "--quiet"][..], &bounds].concat();
    let report = json(&run(&url, &arguments).await);
    let is =
        |path: &str, value: f64| assert_eq!(number(&report, path), value, "{kind}: {path} in {report:#}");
    is("/hls/played", 2.0);
    is("/hls/failed", 0.0);
    is("/hls/jumps", 0.0);
    assert!(number(&report, "/hls/segments") >= 2.0 * 5.0, "{kind}: {report:#}");
    // A segment of a second is there once it is over, and players stay three of them behind.
    let latency = number(&report, "/hls/latency_ms/p50");
    assert!((2_000.0..7_000.0).contains(&latency), "{kind}: {report:#}");
}
