//! The built load harness against the built server: figures, words, exit statuses, and a server that dies.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
use freshet_test_support as support;
use serde_json::Value;
use support::dev::Dev;

fn command(dev: &Dev, arguments: &[&str]) -> Command {
    let mut command = Command::new(support::harness());
    let url = dev.url();
    command.arg("run").args(["--whip", &format!("{url}/whip/show"), "--whep", &format!("{url}/whep/show")]);
    command.args(["--bitrate", "300k", "--threads", "1"]).args(arguments).stdin(Stdio::null());
    command
}

struct Said {
    status: Option<i32>,
    out: String,
    err: String,
}

fn run(dev: &Dev, arguments: &[&str]) -> Said {
    let output = command(dev, arguments).output().expect("the harness runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Said { status: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {report:#}"))
}

/// A distribution with so many values, in order and not beyond anything that a working server shows.
fn is_sane(report: &Value, path: &str, count: Option<f64>) {
    let of = |name: &str| number(report, &format!("{path}/{name}"));
    assert!(count.is_none_or(|count| count == of("count")) && of("count") > 0.0, "{path} in {report:#}");
    let all = [0.0, of("p50"), of("p90"), of("p99"), of("p999"), of("max"), 10_000.0];
    assert!(all.is_sorted() && of("max") > 0.0, "{path}: {all:?}");
}

/// One after the other: whatever runs beside a load test falsifies it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_harness_judges_a_cluster_in_one_process() {
    let dev = Dev::start("loadtest", 3, 12).await;
    thirty_viewers_get_all_of_it_by_json(&dev);
    a_table_has_the_same_and_a_broken_bound_is_named(&dev);
    what_is_said_in_a_room_reaches_all_once_and_in_order(&dev);
    viewers_of_several_layers_miss_nothing(&dev);
    viewers_that_are_counted_by_headers_miss_nothing(&dev);
    who_picks_layers_misses_nothing_at_the_changes(&dev).await;
    a_server_that_dies_breaks_the_bound_on_gaps(dev);
    one_command_leaves_a_report_of_an_event();
}

fn thirty_viewers_get_all_of_it_by_json(dev: &Dev) {
    let bounds = ["loss>0%", "p99>5s", "gap-max>5s", "failed>0", "silent>0", "ended>0", "mismatched>0"];
    let mut arguments = vec!["--viewers", "30", "--ramp", "30/s", "--duration", "6s", "--json", "--quiet"];
    arguments.extend(bounds.iter().flat_map(|bound| ["--fail-if", *bound]));
    let said = run(dev, &arguments);
    assert_eq!(said.status, Some(0), "{}{}", said.err, said.out);
    assert_eq!(said.err, "", "--quiet is quiet");
    let report: Value = serde_json::from_str(&said.out).unwrap();
    let is = |path: &str, value: f64| assert_eq!(number(&report, path), value, "{path} in {report:#}");
    is("/viewers/wanted", 30.0);
    is("/viewers/seated", 30.0);
    is("/viewers/sessions", 30.0);
    is("/packets/lost", 0.0);
    is("/packets/loss_percent", 0.0);
    is("/packets/mismatched", 0.0);
    is("/packets/out_of_order", 0.0);
    is("/packets/rejected", 0.0);
    is("/packets/unstamped", 0.0);
    // Sound alone makes 50 packets a second for each viewer, for at least 6 seconds.
    assert!(number(&report, "/packets/received") >= 30.0 * 290.0, "{report:#}");
    is("/packets/expected", number(&report, "/packets/received"));
    assert!(number(&report, "/publishers/packets") > 290.0, "{report:#}");
    is_sane(&report, "/latency_ms", None);
    for phase in ["answered_ms", "ice_ms", "connected_ms", "first_packet_ms", "first_keyframe_ms"] {
        is_sane(&report, &format!("/join/{phase}"), Some(30.0));
    }
    is_sane(&report, "/longest_gap_ms", Some(60.0));
    let kept = report["bounds"].as_array().unwrap();
    assert!(kept.len() == bounds.len() && kept.iter().all(|bound| bound["broken"] == false), "{report:#}");
}

/// What is written for viewers that are counted by headers, reports, requests and transport-wide feedback, a real server
/// has to believe: what is lost on the way comes again because it was asked for.
fn viewers_that_are_counted_by_headers_miss_nothing(dev: &Dev) {
    for (media, lost) in [("--no-audio", Some("3%")), ("--no-video", None)] {
        let mut arguments =
            vec![media, "--mode", "sampled", "--sample", "4", "--viewers", "8", "--duration", "4s"];
        arguments.extend(["--json", "--quiet", "--fail-if", "failed>0", "--fail-if", "silent>0"]);
        arguments.extend(["--fail-if", "loss>0.5%", "--seed", "5"]);
        arguments.extend(lost.iter().flat_map(|share| ["--loss", *share]));
        let said = run(dev, &arguments);
        let report: Value =
            serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.err));
        assert_eq!(said.status, Some(0), "{media}: {report:#}");
        assert_eq!(
            (number(&report, "/mode/whole"), number(&report, "/mode/headers")),
            (2.0, 6.0),
            "{report:#}"
        );
        let (received, recovered) =
            (number(&report, "/packets/received"), number(&report, "/packets/recovered"));
        assert!(received > 8.0 * 4.0 * 30.0, "{media}: {report:#}");
        let injected = number(&report, "/packets/injected_loss");
        if lost.is_some() {
            // Of all viewers, not of those alone that decrypt everything.
            assert!(injected > 8.0 && recovered > 0.8 * injected, "{media}: {report:#}");
        } else {
            assert_eq!((injected, recovered), (0.0, 0.0), "{media}: {report:#}");
        }
    }
}

fn viewers_of_several_layers_miss_nothing(dev: &Dev) {
    let bounds = ["loss>0%", "failed>0", "silent>0", "mismatched>0", "out-of-order>0", "duplicates>0"];
    let mut arguments = vec!["--layers", "3", "--viewers", "6", "--duration", "4s", "--json", "--quiet"];
    arguments.extend(bounds.iter().flat_map(|bound| ["--fail-if", *bound]));
    let said = run(dev, &arguments);
    let report: Value =
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{error}: {}", said.err));
    assert_eq!(said.status, Some(0), "{report:#}");
    let [first, second, third] = [0, 1, 2].map(|n| number(&report, &format!("/packets/layers/{n}")));
    assert!(first > 500.0 && first > 4.0 * (second + third), "the best layer at hand: {report:#}");
    let sent = number(&report, "/publishers/bytes") * 8.0 / number(&report, "/seconds");
    assert!(sent > 1.2 * 300_000.0, "{sent} bit/s of all layers and sound");
}

/// A viewer that picks the smallest layer, and the largest one again.
async fn who_picks_layers_misses_nothing_at_the_changes(dev: &Dev) {
    let mut host = PublisherConfig::new(format!("{}/whip/layers", dev.url()));
    let video = host.video.as_mut().unwrap();
    (video.layers, video.bitrate) = (3, Bitrate::from_kbps(600));
    let publisher = Publisher::connect(host).await.unwrap();
    let viewer = Viewer::connect(ViewerConfig::new(format!("{}/whep/layers", dev.url()))).await.unwrap();
    let soon = Duration::from_secs(20);
    let seen = |layer: usize, more: u64| {
        let before = viewer.report().video().map_or(0, |video| video.layers[layer]);
        viewer.wait_until(soon, move |report| {
            report.video().is_some_and(|video| video.layers[layer] > before + more)
        })
    };
    assert!(seen(0, 60).await, "{:?}", viewer.report());
    let url = format!("{}/layer", viewer.resource().url());
    for (name, layer) in [("q", 2), ("f", 0), ("h", 1), ("f", 0)] {
        let body = format!("{{\"mediaId\": \"1\", \"rid\": \"{name}\"}}");
        let json = [("content-type", "application/json")];
        let answer = support::request("POST", &url, None, &json, body).await.unwrap();
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        assert!(seen(layer, 30).await, "{name}: {:?}", viewer.report());
    }
    publisher.stop().await.unwrap();
    let report = viewer.report();
    let video = report.video().unwrap();
    assert!(video.layer_switches >= 4, "{video:?}");
    let wrong = (video.missing, video.duplicates, video.out_of_order_after_recovery, video.payload_mismatch);
    assert_eq!(wrong, (0, 0, 0, 0), "{video:?}");
    assert!(video.freezes == 0 || video.longest_gap < Duration::from_secs(1), "{video:?}");
    viewer.stop().await.unwrap();
}

fn a_table_has_the_same_and_a_broken_bound_is_named(dev: &Dev) {
    let bounds = ["--fail-if", "failed<=0", "--fail-if", "silent>0"];
    let said = run(dev, &[&["--viewers", "3", "--ramp", "storm", "--duration", "3s"][..], &bounds].concat());
    assert_eq!(said.status, Some(1), "{}{}", said.err, said.out);
    for row in ["received", "lost", "latency", "first packet after", "first keyframe after", "longest gap"] {
        let line = said.out.lines().find(|line| line.starts_with(row));
        let line = line.unwrap_or_else(|| panic!("{row} in {}", said.out));
        assert!(line.chars().any(|c| c.is_ascii_digit()), "{line}");
    }
    assert!(said.out.contains("3 of 3 connected, 0 failed"), "{}", said.out);
    assert!(said.err.lines().any(|line| line.contains("3 watching, 0 joining")), "{}", said.err);
    assert!(said.err.contains("bound broken: failed<=0 (it is "), "{}", said.err);
    assert!(!said.err.contains("silent>0"), "a bound that is kept is not complained about: {}", said.err);
}

fn what_is_said_in_a_room_reaches_all_once_and_in_order(dev: &Dev) {
    let room = format!("{}/v1/rooms/talk-{{i}}", dev.url());
    let scenario = format!(
        "duration = \"4s\"\n[chat]\nurl = \"{room}\"\nrooms = 2\nclients = 12\nrate = \"10/s\"\narrival = \"storm\"\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("chat.toml");
    std::fs::write(&file, scenario).unwrap();
    let mut command = Command::new(support::harness());
    command.arg("run").arg(&file).args(["--threads", "1", "--json", "--quiet"]).stdin(Stdio::null());
    let bounds =
        ["chat-failed>0", "chat-lost>0", "chat-repeated>0", "chat-out-of-order>0", "chat-delay-p99>5s"];
    command.args(bounds.iter().flat_map(|bound| ["--fail-if", bound]));
    let output = command.output().expect("the harness runs");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |path: &str| number(&report, path);
    assert_eq!((of("/chat/connected"), of("/chat/unacknowledged")), (12.0, 0.0), "{report:#}");
    assert!((60.0..=85.0).contains(&of("/chat/sent")), "10 a second in each room, for 4 s: {report:#}");
    // Six hear what is said in each room; what was said before one of them listened is its history.
    assert_eq!(of("/chat/received") + of("/chat/history"), of("/chat/sent") * 6.0, "{report:#}");
    assert_eq!((of("/chat/foreign"), of("/chat/reconnects")), (0.0, 0.0), "{report:#}");
    is_sane(&report, "/chat/delay_ms", Some(of("/chat/received")));
}

fn a_server_that_dies_breaks_the_bound_on_gaps(dev: Dev) {
    let bound = ["--fail-if", "gap-max>2s", "--no-reconnect"];
    let arguments =
        [&["--viewers", "3", "--ramp", "storm", "--duration", "8s", "--json"][..], &bound].concat();
    let mut command = command(&dev, &arguments);
    let mut harness = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(harness.stderr.take().unwrap()).lines().map(Result::unwrap);
    let watching = lines.by_ref().any(|line| line.contains("3 watching, 0 joining"));
    assert!(watching, "it said that all are there before it ended");
    dev.kill();
    let err = lines.collect::<Vec<_>>().join("\n");
    let mut out = String::new();
    harness.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(harness.wait().unwrap().code(), Some(1), "{err}{out}");
    assert!(err.contains("bound broken: gap-max>2s (it is "), "{err}");
    let report: Value = serde_json::from_str(&out).unwrap();
    let gap = number(&report, "/longest_gap_ms/p50");
    assert!((2_000.0..10_000.0).contains(&gap), "every track was silent to the end: {report:#}");
    assert!(number(&report, "/packets/lost") > 3.0 * 50.0, "what was sent then is missing: {report:#}");
}

/// `make event`, smaller: a server of its own, an audience that needs both nodes, one page afterwards, and nobody left.
fn one_command_leaves_a_report_of_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let report = folder.path().join("report");
    let mut event = Command::new("bash");
    event.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/event.sh")).arg("--bin");
    event.arg(support::harness().parent().unwrap()).arg("--report").arg(&report).args(["--nodes", "2"]);
    event.args(["--max-sessions", "12", "--viewers", "16", "--ramp", "storm", "--duration", "25s"]);
    event.args(["--bitrate", "300k", "--threads", "1", "--quiet"]).stdin(Stdio::null());
    let output = event.output().expect("bash is there");
    let err = String::from_utf8(output.stderr).unwrap();
    let read = |name: &str| {
        std::fs::read_to_string(report.join(name)).unwrap_or_else(|e| panic!("{name}: {e}: {err}"))
    };
    let told: Value = serde_json::from_str(&read("report.json")).unwrap();
    let broken = told["bounds"].as_array().unwrap().iter().any(|bound| bound["broken"] != false);
    assert_eq!(output.status.code(), Some(i32::from(broken)), "{err}{told:#}");
    assert_eq!((number(&told, "/viewers/seated"), number(&told, "/viewers/failed")), (16.0, 0.0), "{told:#}");
    // What the nodes say of themselves: sixteen viewers and a publisher were more than one of them takes.
    assert_eq!(told["server"]["metrics"].as_array().unwrap().len(), 2, "{told:#}");
    assert_eq!(number(&told, "/server/joins"), 17.0, "{told:#}");
    assert!(number(&told, "/server/packets") >= number(&told, "/packets/received"), "{told:#}");
    assert!(number(&told, "/server/cpu_us_per_packet") > 0.0, "{told:#}");
    assert!(read("report.html").contains("a bad network for 5 %"), "{err}");
    // A line of names, and a row for each viewer.
    assert_eq!(read("viewers.csv").lines().count(), 1 + 16, "{err}");
    let page = report.join("report.html");
    let looked = support::dev::browse("report.mjs", &[("FRESHET_REPORT", page.to_str().unwrap())]);
    assert!(looked.ok, "{}", looked.said);
    assert!(read("summary.md").contains("16 of 16"), "{err}");
    let line =
        err.lines().find_map(|line| line.strip_prefix("http://")).expect("it says where the server is");
    let server = line.split(':').take(2).collect::<Vec<_>>().join(":");
    assert!(std::net::TcpStream::connect(&server).is_err(), "the server at {server} has ended: {err}");
}
