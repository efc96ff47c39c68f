//! Whole runs of the program against a scripted server: figures, exit statuses and words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::collections::HashSet;
use std::net::IpAddr;
use std::process::Output;
use std::time::{Duration, Instant};

use fixture::{Fixture, Script};
use freshet_loadtest::client::{Publisher, PublisherConfig};
use program::{ended, loadtest, start};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

async fn run(server: &Fixture, arguments: &[&str]) -> Output {
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let mut all = vec!["run", "--whip", &whip, "--whep", &whep, "--duration", "2s", "--threads", "1"];
    all.extend(arguments);
    loadtest(&all).await
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn words(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_run_reports_every_packet_and_exits_with_0() {
    let server = Fixture::start(Script::default()).await;
    let bounds =
        ["--fail-if", "loss>0%", "--fail-if", "p99>500ms", "--fail-if", "failed>0", "--fail-if", "silent>0"];
    let arguments =
        [&["--viewers", "6", "--ramp", "20/s", "--json", "--bitrate", "500k"][..], &bounds].concat();
    let output = run(&server, &arguments).await;
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!((&report["schema"], &report["mode"]["name"]), (&3.into(), &"full".into()));
    assert_eq!(report["viewers"]["seated"], 6);
    assert_eq!((&report["packets"]["lost"], &report["packets"]["loss_percent"]), (&0.into(), &0.0.into()));
    assert_eq!(report["packets"]["mismatched"], 0);
    assert!(report["packets"]["received"].as_u64().unwrap() > 6 * 150, "{report}");
    assert!(report["latency_ms"]["p50"].as_f64().unwrap() < 100.0);
    assert_eq!(report["join"]["first_keyframe_ms"]["count"], 6);
    assert_eq!(report["client"]["socket_drops"], 0);
    assert_eq!(report["bounds"].as_array().unwrap().len(), 4);
    // Publisher and viewers said goodbye.
    assert_eq!(server.count(|counters| &counters.deletes), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sampled_run_says_whose_figures_it_gives() {
    let server = Fixture::start(Script { hold_inside_every: Some(50), ..Script::default() }).await;
    let folder = std::env::temp_dir().join(format!("freshet-loadtest-sampled-{}", std::process::id()));
    let out = folder.to_str().unwrap();
    let bounds =
        ["--fail-if", "video-loss>0%", "--fail-if", "loss-before-recovery>3%", "--fail-if", "silent>0"];
    let mode = ["--mode", "sampled", "--sample", "3", "--viewers", "6", "--bitrate", "500k", "--report", out];
    let output = run(&server, &[&mode[..], &bounds].concat()).await;
    let (table, said) = words(&output);
    assert_eq!(output.status.code(), Some(0), "{said} {table}");
    let report: Value = serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap();
    let mode = serde_json::json!({ "name": "sampled", "every": 3, "whole": 2, "headers": 4 });
    assert_eq!(report["mode"], mode, "one of each three");
    let packets = &report["packets"];
    assert_eq!((&packets["video"]["lost"], &packets["rejected"]), (&0.into(), &0.into()), "{packets}");
    assert_eq!(packets["recovered"], packets["lost_before_recovery"]);
    assert!(packets["recovered"].as_u64().unwrap() > 7, "{packets}");
    let (received, history) = (packets["received"].as_u64().unwrap(), packets["history"].as_u64().unwrap());
    let measured = report["latency_ms"]["count"].as_u64().unwrap();
    assert!(
        measured + history < received * 3 / 5,
        "latency is that of three in seven: {measured} of {received}"
    );
    assert_eq!(report["join"]["first_keyframe_ms"]["count"], 6, "known of all");
    assert!(report["client"]["late_ms"]["count"].as_u64().unwrap() > 50);
    let says = "sampled: 2 of 6 sessions decrypted every packet";
    let [page, summary] =
        ["report.html", "summary.md"].map(|name| std::fs::read_to_string(folder.join(name)).unwrap());
    for text in [&table, &page, &summary] {
        assert!(text.contains(says), "{text}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_bound_is_named_and_exits_with_1() {
    let server = Fixture::start(Script { lose_every: Some(50), ..Script::default() }).await;
    let bounds = ["--fail-if", "loss>1.5%", "--fail-if", "p99<=0ms"];
    let arguments = [&["--viewers", "3", "--ramp", "storm", "--no-audio"][..], &bounds].concat();
    let output = run(&server, &arguments).await;
    let (table, said) = words(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("bound broken: loss>1.5% (it is "), "{said}");
    assert!(!said.contains("p99<=0ms"), "a bound that is kept is not complained about: {said}");
    assert!(table.contains("3 of 3 connected, 0 failed"), "{table}");
    assert!(said.lines().any(|line| line.contains("3 watching, 0 joining")), "a line each second: {said}");
    let lost = table.lines().find(|line| line.starts_with("lost ")).unwrap();
    let percent: f64 =
        lost.split(['(', ' ']).find_map(|word| word.parse().ok().filter(|_| word.contains('.'))).unwrap();
    assert!((1.7..2.3).contains(&percent), "every 50th packet is 2 %: {lost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_on_purpose_is_seeded_and_recovered() {
    let server = Fixture::start(Script::default()).await;
    let bounds = ["--fail-if", "video-loss>0%", "--fail-if", "audio-loss<=0%"];
    let arguments =
        [&["--viewers", "2", "--loss", "2%", "--seed", "5", "--json", "--quiet"][..], &bounds].concat();
    let output = run(&server, &arguments).await;
    assert_eq!(output.status.code(), Some(0), "video is recovered, audio is not: {output:?}");
    let (report, (_, said)) = (json(&output), words(&output));
    assert_eq!(said, "", "--quiet is quiet");
    let injected = report["packets"]["injected_loss"].as_u64().unwrap();
    assert!(injected > 5);
    assert_eq!(report["packets"]["video"]["lost"], 0, "{report}");
    let (recovered, lost) = (&report["packets"]["recovered"], &report["packets"]["audio"]["lost"]);
    let accounted = recovered.as_u64().unwrap() + lost.as_u64().unwrap();
    // What was dropped before a track's first packet is no loss that a viewer can see.
    assert!(accounted.abs_diff(injected) <= 8, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_that_fail_are_counted_by_reason() {
    let server = Fixture::start(Script { busy: 4, ..Script::default() }).await;
    // The publisher is patient; so many viewers as are left of the four refusals are not.
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let publish =
        ["run", "--whip", &whip, "--whep", &whep, "--viewers", "1", "--retry-for", "0s", "--duration", "1s"];
    let output = loadtest(&publish).await;
    let (_, said) = words(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said.contains("publisher 0 could not connect")
            && said.contains("503")
            && said.contains("over-capacity"),
        "{said}"
    );
    let watch =
        ["run", "--whep", &whep, "--viewers", "3", "--retry-for", "0s", "--duration", "1s", "--quiet"];
    let output = loadtest(&watch).await;
    let (_, said) = words(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("none of 3 viewers connected; most often: HTTP 503 over-capacity"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_usage_and_unreachable_targets_exit_with_2_in_one_line() {
    let near = "http://127.0.0.1:9/whep/room";
    let cases: &[(&[&str], &str)] = &[
        (&["run"], "--whep"),
        (
            &["run", "--whep", "https://127.0.0.1:9/whep/room", "--viewers", "2", "--duration", "1s"],
            "unreachable",
        ),
        (&["run", "--whep", "nonsense"], "http://"),
        (&["run", "--whep", "http://192.0.2.1/whep/room"], "--i-own-the-target"),
        (&["run", "--whep", near, "--viewers", "2", "--duration", "1s"], "unreachable"),
        (&["run", "--whip", near, "--whep", near], "cannot be reached"),
        (&["run", "--whip", near, "--whep", near, "--publishers", "2"], "{i}"),
        (&["run", "--whep", near, "--viewers", "0"], "out of range"),
        (&["run", "--whep", near, "--fail-if", "latency>1"], "there is no figure"),
        (&["run", "--whep", near, "--fail-if", "loss>=0%"], "no figure is less than 0"),
        (&["run", "--whep", near, "--fail-if", "hls-stalls>0"], "nobody watches by HLS"),
        (&["run", "--whep", near, "--fail-if", "chat-lost>0"], "nobody chats"),
        (&["run", "--whep", near, "--fail-if", "decode-errors>0"], "--decode"),
        (&["run", "--whep", near, "--no-video", "--fail-if", "video-loss>0%"], "no video"),
        (&["run", "--whep", near, "--ramp", "fast"], "50/s"),
        (&["run", "--whep", near, "--duration", "30"], "30s"),
        (&["run", "--whep", near, "--no-video", "--no-audio"], "cannot be used with"),
        (&["run", "--whep", near, "--duration", "30s", "--time-limit", "10s"], "time limit"),
    ];
    for (arguments, says) in cases {
        let began = Instant::now();
        let output = loadtest(arguments).await;
        let (table, said) = words(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
        // Lines of progress come before it, where anything was tried.
        let ours: Vec<&str> = said.lines().filter(|line| line.starts_with("freshet-loadtest: ")).collect();
        assert_eq!(ours.len(), 1, "{arguments:?}: {said}");
        assert_eq!(said.lines().last(), ours.first().copied(), "{arguments:?}: {said}");
        assert_eq!(table, "", "nothing that a script could take for a report");
        assert!(began.elapsed() < Duration::from_secs(10), "{arguments:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_never_answers_is_left_in_time() {
    let server = Fixture::start(Script::default()).await;
    let silent = server.url("/silent");
    let arguments = [
        "run",
        "--whep",
        &silent,
        "--viewers",
        "2",
        "--duration",
        "1s",
        "--http-timeout",
        "500ms",
        "--quiet",
    ];
    let began = Instant::now();
    let output = loadtest(&arguments).await;
    let (_, said) = words(&output);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("most often: timeout: POST"), "{said}");
    assert!(began.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn the_help_teaches() {
    let output = loadtest(&["run", "--help"]).await;
    let (help, _) = words(&output);
    let nothing = loadtest(&[]).await;
    assert_eq!(nothing.status.code(), Some(2));
    assert!(words(&nothing).1.contains("Commands:"), "{nothing:?}");
    for part in ["Examples ", "--fail-if 'loss>0.1%'", "Exit status:", "--i-own-the-target", "{i}"] {
        assert!(help.contains(part), "{part} in {help}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_ends_early_makes_a_run_invalid_unless_an_event_may_have_ended_it() {
    let script = Script { end_publisher_at: Some(100), from_viewers: 2, ..Script::default() };
    let server = Fixture::start(script.clone()).await;
    let usual = ["--viewers", "2", "--ramp", "storm", "--json", "--quiet"];
    let output = run(&server, &usual).await;
    let (report, (_, said)) = (json(&output), words(&output));
    assert_eq!(output.status.code(), Some(1), "{said}");
    let says = "1 of 1 publishers' sessions ended before the run did, most often: closed by the server";
    assert!(said.contains(&format!("the run is invalid: {says}")), "{said}");
    assert_eq!(report["invalid"][0], says);
    assert_eq!(report["publishers"]["reasons"], serde_json::json!({ "closed by the server": 1 }));

    let server = Fixture::start(script).await;
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("ends.toml");
    std::fs::write(&file, "[[events]]\nat = \"500ms\"\ncommand = [\"true\"]\n").unwrap();
    let output = run(&server, &[&[file.to_str().unwrap()][..], &usual].concat()).await;
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(
        (&report["publishers"]["ended_early"], &report["invalid"]),
        (&1.into(), &serde_json::json!([]))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_viewer_has_an_address_a_socket_and_a_connection_of_its_own() {
    let server = Fixture::start(Script::default()).await;
    let output = run(&server, &["--viewers", "12", "--ramp", "storm", "--json", "--quiet"]).await;
    let report = json(&output);
    assert_eq!((&report["viewers"]["seated"], &report["viewers"]["sessions"]), (&12.into(), &12.into()));
    let (posted, sent) = (&server.counters.posted_from, &server.counters.sent_from);
    let (posted, sent) = (posted.lock().unwrap().clone(), sent.lock().unwrap().clone());
    assert_eq!((posted.len(), sent.len()), (12, 12), "connections {posted:?}, sockets {sent:?}");
    let hosts: HashSet<IpAddr> = posted.iter().map(|from| from.ip()).collect();
    assert_eq!(hosts.len(), 12, "{hosts:?}");
    assert!(hosts.iter().all(|host| host.is_loopback()), "{hosts:?}");
    let by_media: HashSet<IpAddr> = sent.iter().map(|from| from.ip()).collect();
    assert_eq!(hosts, by_media, "media comes from where its offer came from");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_this_host_drops_at_a_full_receive_buffer_makes_a_run_invalid_and_is_told() {
    let server = Fixture::start(Script::default()).await;
    // Not by the program: it is stopped for a moment, and so would be what it publishes.
    let publishing = PublisherConfig::new(server.url("/whip/room"));
    let publisher = Publisher::connect(publishing).await.unwrap();
    let (whep, folder) = (server.url("/whep/room"), std::path::Path::new(env!("CARGO_TARGET_TMPDIR")));
    let out = folder.join("drops");
    let usual = ["run", "--whep", &whep, "--viewers", "1", "--ramp", "storm", "--duration", "5s", "--quiet"];
    let arguments = [&usual[..], &["--threads", "1", "--report", out.to_str().unwrap()]].concat();
    let program = start(&[], &arguments);
    let pid = Pid::from_raw(i32::try_from(program.id().unwrap()).unwrap()).unwrap();
    let viewer = loop {
        let come = server.counters.sent_from.lock().unwrap().iter().next().copied();
        match come {
            // It has to have its media, so that the run is one.
            Some(viewer) if server.count(|counters| &counters.forwarded) > 50 => break viewer,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    kill_process(pid, Signal::STOP).unwrap();
    let flood = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..30_000 {
        flood.send_to(&[0; 1_000], viewer).unwrap();
    }
    kill_process(pid, Signal::CONT).unwrap();
    let output = ended(program).await;
    let (_, said) = words(&output);
    publisher.stop().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let drops = report["client"]["socket_drops"].as_u64().unwrap();
    assert!(drops > 1_000, "{report:#}");
    let why = format!("this host dropped {drops} datagrams at full receive buffers");
    let told = report["invalid"].as_array().unwrap().iter();
    assert!(told.clone().any(|reason| reason.as_str().unwrap().starts_with(&why)), "{report:#}");
    assert!(said.contains(&format!("the run is invalid: {why}")), "{said}");
    let [page, summary] =
        ["report.html", "summary.md"].map(|name| std::fs::read_to_string(out.join(name)).unwrap());
    for text in [&page, &summary] {
        assert!(text.contains("INVALID") && text.contains(&why), "{text:.3000}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_time_that_this_host_may_have_made_is_not_held_against_the_server() {
    let server = Fixture::start(Script::default()).await;
    // Not by the program: it is stopped now and then, and so would be what it publishes.
    let publisher = Publisher::connect(PublisherConfig::new(server.url("/whip/room"))).await.unwrap();
    let whep = server.url("/whep/room");
    let usual = [
        "run",
        "--whep",
        &whep,
        "--viewers",
        "2",
        "--ramp",
        "storm",
        "--duration",
        "5s",
        "--quiet",
        "--json",
    ];
    let bounds = ["--fail-if", "p99>50ms", "--fail-if", "loss>0.5%", "--fail-if", "failed>0"];
    let program = start(&[], &[&usual[..], &["--threads", "1"], &bounds].concat());
    let pid = Pid::from_raw(i32::try_from(program.id().unwrap()).unwrap()).unwrap();
    while server.count(|counters| &counters.forwarded) < 50 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..6 {
        kill_process(pid, Signal::STOP).unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
        kill_process(pid, Signal::CONT).unwrap();
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let output = ended(program).await;
    publisher.stop().await.unwrap();
    let (report, (_, said)) = (json(&output), words(&output));
    assert_eq!(output.status.code(), Some(1), "{said}");
    let judged = report["bounds"].as_array().unwrap();
    let of = |nth: usize| (&judged[nth]["broken"], &judged[nth]["not_measured"]);
    let (no, yes) = (Value::from(false), Value::from(true));
    assert_eq!(of(0), (&no, &yes), "a time, of which this host may be the cause: {judged:?}");
    assert_eq!((of(1), of(2)), ((&no, &no), (&no, &no)), "{judged:?}");
    assert!(judged[0]["value"].as_f64().unwrap() > 50.0, "{judged:?}");
    assert!(report["client"]["late_ms"]["max"].as_f64().unwrap() > 100.0, "{}", report["client"]);
    assert!(said.contains("not measured: p99>50ms") && said.contains("the client was the limit"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_alone_is_a_codec() {
    let server = Fixture::start(Script::default()).await;
    let bounds = ["--fail-if", "loss>0%", "--fail-if", "silent>0", "--fail-if", "mismatched>0"];
    let arguments = [&["--codec", "opus", "--viewers", "3", "--json", "--quiet"][..], &bounds].concat();
    let output = run(&server, &arguments).await;
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let packets = &report["packets"];
    assert_eq!(
        (&packets["video"]["expected"], &report["join"]["first_keyframe_ms"]),
        (&0.into(), &Value::Null)
    );
    // 50 a second for each.
    assert!(packets["audio"]["expected"].as_u64().unwrap() >= 3 * 90, "{packets}");
    assert!(report["latency_ms"]["p50"].as_f64().unwrap() < 100.0);
}

/// What a screen was told to show: where it jumps over blanks there is one, and colours are left out.
fn read(screen: &str) -> String {
    let mut parts = screen.split("\x1b[");
    let mut text = parts.next().unwrap().to_owned();
    for part in parts {
        let end = part.find(|letter: char| letter.is_ascii_alphabetic()).unwrap();
        if part[end..].starts_with('H') {
            text.push(' ');
        }
        text.push_str(&part[end + 1..]);
    }
    text
}

/// As people see it: in a terminal the screen is taken and given back, and what remains is the table.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_terminal_a_run_is_a_dashboard_that_leaves_the_screen_as_it_was() {
    let server = Fixture::start(Script::default()).await;
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let program = env!("CARGO_BIN_EXE_freshet-loadtest");
    let (own, name) = (std::process::id(), "a run to look at");
    let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("looked-at.toml");
    std::fs::write(&file, format!("name = \"{name}\"\n[[events]]\nat = \"1s\"\ncommand = [\"true\"]\n"))
        .unwrap();
    let shell = format!(
        "stty rows 40 cols 130; exec {program} run {} --whip {whip} --whep {whep} --viewers 3 --duration 3s \
         --bitrate 300k --threads 1 --server-pid {own}",
        file.display()
    );
    let mut script = tokio::process::Command::new("script");
    script.args(["--quiet", "--return", "--flush", "--command", &shell, "/dev/null"]);
    script.env("TERM", "xterm-256color").stdin(std::process::Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(Duration::from_secs(60), script.output()).await.unwrap();
    let output = output.expect("`script` of util-linux makes the terminal");
    let seen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{seen}");
    let (screen, after) = seen.split_once("\x1b[?1049l").expect("the screen is given back");
    let (before, screen) = screen.split_once("\x1b[?1049h").expect("the screen is taken");
    assert_eq!(before, "");
    let screen = read(screen);
    for part in [
        name,
        "3 watching",
        "s left · Ctrl-C ends it with a report",
        "latency p50",
        "packets/s",
        "client 0.",
        "· server 0.",
        "joins a second",
        "longest gap, ms",
        "1.0 s true",
    ] {
        assert!(screen.contains(part), "{part}: {screen}");
    }
    assert!(after.contains("\x1b[?25h"), "there is a cursor again: {after:?}");
    assert!(after.contains("3 of 3 connected, 0 failed"), "{after}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_comes_to_nothing_ends_at_once_and_leaves_no_report_of_before() {
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("stale");
    std::fs::create_dir_all(&out).unwrap();
    let names = ["report.html", "report.json", "summary.md", "viewers.csv"];
    names.iter().for_each(|name| std::fs::write(out.join(name), "of before").unwrap());
    std::fs::write(out.join("notes.txt"), "somebody's own").unwrap();
    let began = Instant::now();
    let whep = "http://127.0.0.1:9/whep/room";
    let arguments =
        ["run", "--whep", whep, "--viewers", "3", "--ramp", "storm", "--duration", "50s", "--quiet"];
    let output = loadtest(&[&arguments[..], &["--report", out.to_str().unwrap()]].concat()).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(
        words(&output).1.contains("none of 3 viewers connected; most often: unreachable: Connection refused")
    );
    assert!(began.elapsed() < Duration::from_secs(20), "nobody will come any more");
    assert!(names.iter().all(|name| !out.join(name).exists()), "they were of another run");
    assert!(out.join("notes.txt").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_told_to_end_says_goodbye_and_reports_what_was_seen() {
    let server = Fixture::start(Script::default()).await;
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let out = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("told-to-end");
    let arguments = ["run", "--whip", &whip, "--whep", &whep, "--viewers", "2", "--ramp", "storm", "--quiet"];
    let more = ["--duration", "50s", "--threads", "1", "--report", out.to_str().unwrap()];
    for signal in [Signal::TERM, Signal::INT] {
        let before = server.count(|counters| &counters.forwarded);
        let program = start(&[], &[&arguments[..], &more].concat());
        let pid = Pid::from_raw(i32::try_from(program.id().unwrap()).unwrap()).unwrap();
        while server.count(|counters| &counters.forwarded) < before + 300 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        kill_process(pid, signal).unwrap();
        let output = ended(program).await;
        assert_eq!(output.status.code(), Some(1), "it was not run to its end: {output:?}");
        assert!(words(&output).1.contains("the run was stopped before its end"), "{output:?}");
        let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
        assert_eq!((&report["interrupted"], &report["viewers"]["sessions"]), (&true.into(), &2.into()));
    }
    assert_eq!(server.count(|counters| &counters.deletes), 6, "all said goodbye");
}
