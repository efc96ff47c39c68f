//! Scenarios from files, run by the program against a scripted server: what is done in a run, what it shows, what is left of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::path::{Path, PathBuf};

use fixture::{Asked, Fixture, Script};
use freshet_loadtest::scenario::Scenario;
use program::{loadtest, loadtest_in};
use serde_json::Value;

/// A folder that is empty to begin with.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _new = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a file in a folder, of which `head` is what stands above all tables and `rest` goes on after `[viewers]`; gives
/// the report, and what was said.
async fn run(folder: &Path, server: &Fixture, head: &str, rest: &str) -> (Value, String) {
    run_in(&[], folder, server, head, rest).await
}

/// The same with variables in the program's environment.
async fn run_in(
    environment: &[(&str, &str)],
    folder: &Path,
    server: &Fixture,
    head: &str,
    rest: &str,
) -> (Value, String) {
    let text = format!(
        "{head}\n[publishers]\nurl = \"{}\"\nbitrate = \"500k\"\n[viewers]\nurl = \"{}\"\nthreads = 1\n{rest}",
        server.url("/whip/room"),
        server.url("/whep/room"),
    );
    let (file, out) = (folder.join("scenario.toml"), folder.join("out"));
    std::fs::write(&file, text).unwrap();
    let arguments = ["run", file.to_str().unwrap(), "--report", out.to_str().unwrap()];
    let output = loadtest_in(environment, &arguments).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report: Value = serde_json::from_slice(&std::fs::read(out.join("report.json")).unwrap()).unwrap();
    let invalid = !report["invalid"].as_array().unwrap().is_empty();
    assert_eq!(output.status.code(), Some(i32::from(invalid)), "an invalid run fails: {said}");
    assert!(said.contains("the report is ") && said.contains("report.html"), "{said}");
    (report, said)
}

fn seconds(report: &Value) -> &[Value] {
    report["timeline"].as_array().unwrap()
}

/// The worst of a figure over the seconds that end between two times.
fn worst(report: &Value, figure: &str, from: f64, to: f64) -> f64 {
    let within = seconds(report).iter().filter(|s| (from..to).contains(&s["at_s"].as_f64().unwrap()));
    within.map(|s| s[figure].as_f64().unwrap_or(0.0)).fold(0.0, f64::max)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_file_wants_done_is_done_and_seen_in_the_report() {
    let server = Fixture::start(Script::default()).await;
    let folder = folder("done");
    let mut victim = tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let (pid, mark) = (victim.id().unwrap(), folder.join("mark"));
    let head = "name = \"all of it\"\nduration = \"6s\"\nexpect = [\"failed <= 0\", \"p99 > 100ms\"]";
    let rest = format!(
        r#"
        count = 6
        arrival = "4@0s, 2@1s"
        [[events]]
        at = "3s"
        impair = {{ share = "100%", delay = "120ms", lasts = "2s" }}
        [[events]]
        at = "2s"
        name = "leave a <mark>"
        command = ["touch", "{}"]
        [[events]]
        at = "2500ms"
        kill = {pid}
        [server]
        pids = [{pid}]
        "#,
        mark.display()
    );
    let (report, said) = run(&folder, &server, head, &rest).await;
    assert!(mark.exists(), "the command was run");
    assert!(!victim.wait().await.unwrap().success(), "the process was killed");
    assert_eq!(report["name"], "all of it");
    assert_eq!(report["viewers"]["seated"], 6, "{said}");
    let done: Vec<&str> =
        report["happenings"].as_array().unwrap().iter().map(|one| one["what"].as_str().unwrap()).collect();
    let impaired = "100 % of viewers: 120ms to 120ms late for 2s";
    let killed = format!("kill -9 {pid}");
    assert_eq!(done, ["leave a <mark>", &killed, impaired, &format!("end of: {impaired}")]);
    assert!(report["happenings"].as_array().unwrap().iter().all(|one| one["ok"] == true), "{report}");
    // The first two seconds have four viewers at most, the others six.
    assert!(seconds(&report).len() >= 6, "{report}");
    assert!(worst(&report, "watching", 0.0, 1.05) <= 4.0);
    assert_eq!(worst(&report, "watching", 2.0, 9.0), 6.0);
    // Late by 120 ms each way while the network was bad; then no more.
    let latency = |from, to| {
        let within = seconds(&report).iter().filter(|s| (from..to).contains(&s["at_s"].as_f64().unwrap()));
        within.filter_map(|s| s["latency_ms"]["p50"].as_f64()).fold(0.0, f64::max)
    };
    assert!((120.0..400.0).contains(&latency(3.5, 6.0)), "{report}");
    assert!(latency(1.0, 3.0) < 100.0 && latency(6.5, 7.5) < 100.0, "{report}");
    assert!(report["server"]["resident_bytes_max"].as_u64().unwrap() > 100_000, "{report}");
    let read = |name: &str| std::fs::read_to_string(folder.join("out").join(name)).unwrap();
    let (page, summary) = (read("report.html"), read("summary.md"));
    assert!(page.contains("all of it") && summary.contains("all of it"));
    assert!(page.contains("leave a &lt;mark&gt;") && !page.contains("<mark>\""), "names are escaped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_stays_a_second_is_followed_by_a_newcomer() {
    let server = Fixture::start(Script::default()).await;
    let (report, said) = run(
        &folder("churn"),
        &server,
        "duration = \"8s\"",
        "count = 3\narrival = \"storm\"\nstay = \"1s\"\n",
    )
    .await;
    let viewers = &report["viewers"];
    let (left, connected) = (viewers["left"].as_u64().unwrap(), viewers["sessions"].as_u64().unwrap());
    assert_eq!(
        (&viewers["wanted"], &viewers["failed"], &viewers["ended_early"]),
        (&3.into(), &0.into(), &0.into())
    );
    assert_eq!(viewers["seated"], 3, "places are not sessions: {viewers}");
    // Eight seconds of a second each, and what joining takes.
    assert!((10..=24).contains(&left), "{viewers}\n{said}");
    assert!((left..=left + 3).contains(&connected), "{viewers}");
    assert_eq!(
        report["packets"]["lost"], 0,
        "what was sent while somebody was away is no loss of theirs: {report}"
    );
    let joined: u64 = seconds(&report).iter().map(|s| s["joined"].as_u64().unwrap()).sum();
    assert_eq!(joined, connected);
    assert!(worst(&report, "watching", 0.0, 99.0) <= 3.0);
    let count = |of: fn(&fixture::Counters) -> &std::sync::atomic::AtomicU64| server.count(of);
    let (posts, deletes) = (count(|counters| &counters.posts), count(|counters| &counters.deletes));
    assert_eq!(posts, deletes, "everybody says goodbye, the publisher too");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_breaks_for_half_of_the_audience_is_a_freeze_for_them_alone() {
    let server = Fixture::start(Script::default()).await;
    let text = "count = 12\narrival = \"storm\"\n[[events]]\nat = \"4s\"\n\
        impair = { share = \"50%\", loss = \"100%\", lasts = \"1s\" }\n";
    let here = folder("freeze");
    let (report, said) = run(&here, &server, "duration = \"8s\"", text).await;
    let there = &report["happenings"][0]["said"];
    let count: u64 = there.as_str().unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!((2..=10).contains(&count), "about half: {there}");
    assert!((count..=count * 2).contains(&report["freezes"].as_u64().unwrap()), "{said}\n{report}");
    let gap = |which: &str| report["longest_gap_ms"][which].as_f64().unwrap();
    assert!((900.0..2_500.0).contains(&gap("max")), "{report}");
    let bars = &report["figures"]["longest_gap"];
    let long: u64 = (bars["upper_ms"].as_array().unwrap().iter().zip(bars["counts"].as_array().unwrap()))
        .filter(|(end, _)| end.as_f64().unwrap() > 800.0)
        .map(|(_, count)| count.as_u64().unwrap())
        .sum();
    assert_eq!(long, count * 2, "picture and sound of each of them: {report}");
    // Who they were: a row for each, and the worst of them in the report and on its page.
    let table = std::fs::read_to_string(here.join("out/viewers.csv")).unwrap();
    let mut rows = table.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let column = |name: &str| names.iter().position(|known| *known == name).unwrap();
    let rows: Vec<_> = rows.collect();
    assert_eq!((rows.len(), rows[11][column("viewer")]), (12, "11"), "{table}");
    let number = |row: &Vec<&str>, name: &str| row[column(name)].parse::<f64>().unwrap();
    let froze: Vec<_> = rows.iter().filter(|row| number(row, "freezes") > 0.0).collect();
    assert_eq!(froze.len() as u64, count, "{table}");
    assert!(froze.iter().all(|row| (900.0..2_500.0).contains(&number(row, "longest_gap_ms"))), "{table}");
    assert!(
        rows.iter().all(|row| number(row, "latency_max_ms") >= number(row, "latency_mean_ms")),
        "{table}"
    );
    let received: f64 = rows.iter().map(|row| number(row, "received")).sum();
    assert_eq!(received, report["packets"]["received"].as_f64().unwrap(), "rows and sums are of one count");
    let worst_of = report["worst"].as_array().unwrap();
    assert_eq!(worst_of.len() as u64, count.min(10), "{report}");
    assert!(worst_of.iter().all(|row| row["frozen_ms"].as_f64().unwrap() > 900.0), "{worst_of:?}");
    assert!(
        worst(&report, "longest_gap_ms", 4.5, 7.0) > 800.0
            && worst(&report, "longest_gap_ms", 7.5, 99.0) < 500.0
    );
}

/// The queue of a link of 200 kbit/s is full with a quarter of a second of it: what comes is so late, and the rest is lost.
/// Of viewers that count by headers, too, whose datagrams take another way in here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_is_too_narrow_delays_and_drops_for_viewers_of_both_modes() {
    let server = Fixture::start(Script::default()).await;
    let text = "count = 6\narrival = \"storm\"\nmode = \"sampled\"\nsample = 2\n[[events]]\nat = \"3s\"\n\
        impair = { share = \"100%\", rate = \"200k\", lasts = \"2s\" }\n";
    let here = folder("narrow");
    let (report, said) = run(&here, &server, "duration = \"8s\"", text).await;
    assert_eq!(report["happenings"][0]["ok"], true, "{said}");
    assert_eq!((&report["mode"]["whole"], &report["mode"]["headers"]), (&3.into(), &3.into()), "{report}");
    assert_eq!(
        (&report["viewers"]["failed"], &report["viewers"]["ended_early"]),
        (&0.into(), &0.into()),
        "{said}"
    );
    let latency = |from, to| {
        let within = seconds(&report).iter().filter(|s| (from..to).contains(&s["at_s"].as_f64().unwrap()));
        within.filter_map(|s| s["latency_ms"]["p50"].as_f64()).fold(0.0, f64::max)
    };
    assert!(latency(1.0, 3.0) < 100.0 && latency(7.0, 8.5) < 100.0, "{report}");
    assert!((180.0..1_000.0).contains(&latency(4.0, 5.5)), "{report}");
    let table = std::fs::read_to_string(here.join("out/viewers.csv")).unwrap();
    let mut rows = table.lines().map(|row| row.split(',').collect::<Vec<_>>());
    let names = rows.next().unwrap();
    let column = |name: &str| names.iter().position(|known| *known == name).unwrap();
    for row in rows {
        let lost: u64 = row[column("lost_before_recovery")].parse().unwrap();
        assert!(lost > 20, "{table}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_done_makes_a_run_invalid() {
    let server = Fixture::start(Script::default()).await;
    let text = "count = 1\n[[events]]\nat = \"1s\"\ncommand = [\"sh\", \"-c\", \"echo it is locked; exit 7\"]\n\
        [[events]]\nat = \"1s\"\ncall = { url = \"http://127.0.0.1:9/drain\" }\n";
    let (report, said) = run(&folder("undone"), &server, "duration = \"3s\"", text).await;
    assert!(said.contains("the run is invalid: "), "{said}");
    let invalid = report["invalid"].as_array().unwrap();
    assert!(invalid.iter().any(|doubt| doubt.as_str().unwrap().contains("it is locked")), "{invalid:?}");
    assert!(invalid.iter().any(|doubt| doubt.as_str().unwrap().contains("127.0.0.1:9")), "{invalid:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_made_as_the_file_says_and_its_answer_is_in_the_report() {
    let server = Fixture::start(Script::default()).await;
    let (admin, absent) = (server.url("/admin/drain"), server.url("/admin/absent"));
    let text = format!(
        "count = 1\n[[events]]\nat = \"1s\"\nname = \"node 3 drains\"\n\
         call = {{ url = \"{admin}\", method = \"PUT\", token-env = \"DRAIN_TOKEN\", body = '{{\"node\":3}}' }}\n\
         [[events]]\nat = \"1500ms\"\ncall = {{ url = \"{admin}\" }}\n\
         [[events]]\nat = \"2s\"\nname = \"nobody is there\"\ncall = {{ url = \"{absent}\" }}\n"
    );
    let (folder, environment) = (folder("call"), [("DRAIN_TOKEN", "a-secret-of-the-server")]);
    let (report, _) = run_in(&environment, &folder, &server, "duration = \"3s\"", &text).await;
    let full = Asked {
        method: "PUT".to_owned(),
        kind: Some("application/json".to_owned()),
        authorization: Some("Bearer a-secret-of-the-server".to_owned()),
        body: "{\"node\":3}".to_owned(),
    };
    let bare = Asked { method: "POST".to_owned(), kind: None, authorization: None, body: String::new() };
    assert_eq!(*server.counters.calls.lock().unwrap(), [full, bare], "each once, in order");
    let all = report["happenings"].as_array().unwrap();
    let told = |nth: usize| (all[nth]["what"].as_str().unwrap(), &all[nth]["ok"], all[nth]["said"].as_str());
    assert_eq!(told(0), ("node 3 drains", &true.into(), Some("200 draining now")));
    assert_eq!(told(1), (format!("POST {admin}").as_str(), &true.into(), Some("200 draining now")));
    assert_eq!((told(2).0, told(2).1), ("nobody is there", &false.into()));
    assert!(told(2).2.unwrap().starts_with("404"), "{report}");
    let invalid: Vec<&str> =
        report["invalid"].as_array().unwrap().iter().map(|why| why.as_str().unwrap()).collect();
    assert!(invalid.iter().any(|why| why.contains("nobody is there")), "{invalid:?}");
    assert!(!invalid.iter().any(|why| why.contains("drain")), "what could be done is no doubt: {invalid:?}");
    for name in ["report.html", "report.json", "summary.md"] {
        let text = std::fs::read_to_string(folder.join("out").join(name)).unwrap();
        assert!(text.contains("node 3 drains") && !text.contains("a-secret"), "{name} tells no token");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_files_are_refused_in_one_line_with_their_place() {
    let folder = folder("bad");
    let file = folder.join("scenario.toml");
    for (text, says) in [
        (
            "[viewers]\nurl = \"http://127.0.0.1:9/whep/r\"\nspeed = 3\n",
            "scenario.toml: line 3: unknown field `speed`",
        ),
        ("duration = \"ten\"\n", "line 1"),
        ("[viewers]\nurl = \"${NO_SUCH_VARIABLE}\"\n", "NO_SUCH_VARIABLE"),
        ("[viewers]\ncount = 5\n", "--whep"),
        (
            "[viewers]\nurl = \"http://127.0.0.1:9/whep/r\"\n[server]\npids = [4294967295]\n",
            "no process 4294967295",
        ),
        (
            "[viewers]\nurl = \"http://127.0.0.1:9/whep/r\"\n[[events]]\nat = \"99s\"\nkill = 99\n",
            "after the end",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let output = loadtest(&["run", file.to_str().unwrap()]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{said}");
        assert!(said.contains(says) && said.lines().count() == 1, "{text}: {said}");
    }
    let missing = folder.join("missing.toml");
    let output = loadtest(&["run", missing.to_str().unwrap()]).await;
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read"), "{output:?}");
    let unwritable = ["run", "--whep", "http://127.0.0.1:9/whep/r", "--report", file.to_str().unwrap()];
    let output = loadtest(&unwritable).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write into"), "{output:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_runs_are_put_side_by_side() {
    let folder = folder("compare");
    let mut reports = Vec::new();
    for (name, lose_every) in [("a", None), ("b", Some(20))] {
        let server = Fixture::start(Script { lose_every, ..Script::default() }).await;
        let within = folder.join(name);
        std::fs::create_dir_all(&within).unwrap();
        run(&within, &server, "duration = \"2s\"", "count = 2\n").await;
        reports.push(within.join("out/report.json"));
    }
    let (a, b) = (reports[0].to_str().unwrap(), reports[1].to_str().unwrap());
    for more in [&[][..], &["--markdown"], &["--json"]] {
        let output = loadtest(&[&["compare", a, b][..], more].concat()).await;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.to_lowercase().contains("loss"), "{said}");
    }
    for wrong in ["/nowhere.json", file!()] {
        let output = loadtest(&["compare", a, wrong]).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{wrong}");
    }
}

#[test]
fn the_scenarios_of_this_folder_can_be_read() {
    let mut names = Vec::new();
    for file in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios")).unwrap() {
        let path = file.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let scenario = Scenario::read(&text, |name| name.ends_with("_PID").then(|| "4711".to_owned()));
        let scenario = scenario.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(path.file_stem().unwrap().to_str().unwrap(), scenario.name);
        assert!(
            text.contains(&format!("loadtest/scenarios/{}.toml", scenario.name)),
            "it says how to run it"
        );
        names.push(scenario.name);
    }
    names.sort();
    assert_eq!(names, ["capacity", "churn", "drain", "event", "kill", "soak", "storm"]);
}

/// Runs a file of `scenarios/`, smaller and shorter by flags, against a server of its own; gives its report.
async fn shortened(name: &str, environment: &[(&str, &str)], flags: &[&str]) -> Value {
    let server = Fixture::start(Script::default()).await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios").join(format!("{name}.toml"));
    let (out, target) = (folder(&format!("short-{name}")), server.url(""));
    let (command, figures) = match name {
        "capacity" => ("capacity", "capacity.json"),
        _ => ("run", "report.json"),
    };
    let usual = [command, file.to_str().unwrap(), "--threads", "1", "--bitrate", "300k", "--quiet"];
    let left = ["--report", out.to_str().unwrap()];
    let environment = [environment, &[("TARGET", target.as_str())]].concat();
    let output = loadtest_in(&environment, &[&usual[..], &left, flags].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let figures = std::fs::read(out.join(figures)).unwrap_or_else(|error| panic!("{name}: {error}: {said}"));
    let report: Value = serde_json::from_slice(&figures).unwrap();
    assert_eq!(report["name"], name);
    assert_eq!(report["target"]["whip"].as_str().unwrap().split("/whip/").next(), Some(target.as_str()));
    let count = |of: fn(&fixture::Counters) -> &std::sync::atomic::AtomicU64| server.count(of);
    let (posts, deletes) = (count(|counters| &counters.posts), count(|counters| &counters.deletes));
    assert!(posts > 1 && posts == deletes, "{name}: {posts} came and {deletes} said goodbye: {said}");
    if command == "run" {
        // How long things took is this host's; what the file asks for was judged all the same.
        let bounds = report["bounds"].as_array().unwrap();
        let failed =
            bounds.iter().any(|of| of["broken"] == true) || !report["invalid"].as_array().unwrap().is_empty();
        assert_eq!(output.status.code(), Some(i32::from(failed)), "{name}: {said}");
        assert!(bounds.iter().all(|of| of["value"].is_number()), "{name}: {bounds:?}");
        assert_eq!(report["viewers"]["seated"], report["viewers"]["wanted"], "{name}: {report:#}");
        assert_eq!(report["viewers"]["failed"], 0, "{name}: {report:#}");
        assert!(report["packets"]["received"].as_u64().unwrap() > 100, "{name}: {report:#}");
    }
    report
}

/// What was done in a run, and how it went.
fn done(report: &Value) -> Vec<(&str, bool)> {
    let all = report["happenings"].as_array().unwrap().iter();
    all.map(|one| (one["what"].as_str().unwrap(), one["ok"].as_bool().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scenarios_of_this_folder_run_to_their_end() {
    let sleeper = || tokio::process::Command::new("sleep").arg("60").kill_on_drop(true).spawn().unwrap();
    let (mut drained, mut killed) = (sleeper(), sleeper());
    let pid = |child: &tokio::process::Child| child.id().unwrap().to_string();
    let (drain_pid, node_pid, own) = (pid(&drained), pid(&killed), std::process::id().to_string());
    let (drain, node, this) =
        ([("DRAIN_PID", &*drain_pid)], [("NODE_PID", &*node_pid)], [("SERVER_PID", &*own)]);
    let few = |time| ["--viewers", "3", "--duration", time];
    let (long, usual, short) = (few("22s"), few("12s"), few("4s"));
    let (event, drain, kill, churn, storm, soak) = tokio::join!(
        shortened("event", &[], &long),
        shortened("drain", &drain, &usual),
        shortened("kill", &node, &usual),
        shortened("churn", &[], &["--viewers", "4", "--publishers", "1", "--stay", "1s", "--duration", "6s"]),
        shortened("storm", &[], &["--viewers", "8", "--duration", "3s"]),
        shortened("soak", &this, &short),
    );
    assert_eq!(done(&event), [("a bad network for 5 %", true)]);
    assert_eq!(event["bounds"].as_array().unwrap().len(), 4);
    assert_eq!(done(&drain), [("a node drains", true)]);
    assert_eq!(drained.wait().await.unwrap().code(), None, "it was told to end by a signal");
    assert_eq!(done(&kill), [("a node dies", true)]);
    assert!(!killed.wait().await.unwrap().success());
    assert_eq!(kill["server"]["pids"][0].to_string(), node_pid);
    assert!(churn["viewers"]["left"].as_u64().unwrap() >= 4, "they went and others came: {churn:#}");
    assert!(done(&storm).is_empty() && done(&churn).is_empty() && done(&soak).is_empty());
    assert_eq!(storm["join"]["first_keyframe_ms"]["count"], 8, "{storm:#}");
    // The server is this process.
    assert!(soak["server"]["cores"].as_f64().unwrap() > 0.0, "{soak:#}");
    assert!(soak["server"]["resident_bytes_max"].as_u64().unwrap() > 1_000_000, "{soak:#}");
    // The last: whatever runs beside a search falsifies it.
    let flags = ["--from", "1", "--to", "2", "--resolution", "1", "--confirm", "1", "--step-time", "1s"];
    let found = shortened("capacity", &[], &flags).await;
    let steps = found["steps"].as_array().unwrap();
    assert!((1..=3).contains(&steps.len()), "{found:#}");
    assert!(steps.iter().all(|step| step["connected"] == step["viewers"]), "{found:#}");
    assert_eq!(found["bounds"].as_array().unwrap().len(), 4, "{found:#}");
}
