//! Runs whose viewers are agents': processes of the program that meet on a real NATS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use fixture::{Fixture, Script};
use freshet_cluster::bus::Bus as _;
use freshet_cluster::bus::nats::{NatsBus, NatsConfig};
use freshet_cluster::testing::NatsServer;
use freshet_loadtest::client::{Publisher, PublisherConfig};
use program::loadtest;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};

/// Bounds on waiting, far beyond what is waited for.
const LONG: Duration = Duration::from_secs(40);

/// A process of the program, and what it says on standard error.
struct Program {
    child: Child,
    said: Lines<BufReader<ChildStderr>>,
}

impl Program {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_freshet-loadtest"));
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.kill_on_drop(true).spawn().unwrap();
        let said = BufReader::new(child.stderr.take().unwrap()).lines();
        Self { child, said }
    }

    fn agent(nats: &NatsServer, name: &str, more: &[&str]) -> Self {
        let nats = nats.url();
        Self::start(&[&["agent", "--nats", &nats, "--name", name][..], more].concat())
    }

    /// The next line with these words.
    async fn says(&mut self, words: &str) -> String {
        let find = async {
            while let Some(line) = self.said.next_line().await.unwrap() {
                if line.contains(words) {
                    return line;
                }
            }
            panic!("it ended without saying {words:?}");
        };
        tokio::time::timeout(LONG, find).await.unwrap_or_else(|_| panic!("nobody says {words:?}"))
    }

    /// Its exit status, and its report.
    async fn report(mut self) -> (Option<i32>, Value, String) {
        let mut stdout = self.child.stdout.take().unwrap();
        let (mut out, mut lines) = (Vec::new(), Vec::new());
        let said = async {
            while let Some(line) = self.said.next_line().await.unwrap() {
                lines.push(line);
            }
        };
        // Both at once: neither pipe may fill up.
        let ends = async { tokio::join!(stdout.read_to_end(&mut out), said) };
        tokio::time::timeout(LONG, ends).await.expect("it ends").0.unwrap();
        let status = self.child.wait().await.unwrap();
        (status.code(), serde_json::from_slice(&out).unwrap_or(Value::Null), lines.join("\n"))
    }
}

/// Arguments of a run on this server by agents of this NATS.
fn arguments(command: &str, nats: &NatsServer, server: &Fixture, more: &[&str]) -> Vec<String> {
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let usual = [command, "--whip", &whip, "--whep", &whep, "--nats", &nats.url()].map(str::to_owned);
    let usual = usual.into_iter().chain(["--threads", "1", "--bitrate", "500k"].map(str::to_owned));
    usual.chain(more.iter().map(|argument| (*argument).to_owned())).collect()
}

fn start(nats: &NatsServer, server: &Fixture, more: &[&str]) -> Program {
    let all = arguments("run", nats, server, more);
    Program::start(&all.iter().map(String::as_str).collect::<Vec<_>>())
}

fn sum(report: &Value, figure: &str) -> u64 {
    let agents = report["agents"].as_array().unwrap();
    agents.iter().map(|agent| agent[figure].as_u64().unwrap_or_else(|| panic!("{figure} in {agent}"))).sum()
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _new = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs one after the other with the same three agents, one of whose clocks is three seconds ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_agents_count_as_one_process_would() {
    let (nats, server) = (NatsServer::start(), Fixture::start(Script::default()).await);
    let mut agents = [
        Program::agent(&nats, "ada", &[]),
        Program::agent(&nats, "ben", &["--pretend-clock-ahead", "3s"]),
        Program::agent(&nats, "eve", &[]),
    ];
    for agent in &mut agents {
        agent.says("waits for runs").await;
    }
    sums_are_exact_and_clocks_are_corrected(&nats, &server).await;
    what_breaks_the_network_reaches_agents_and_a_vague_clock_is_no_latency(&nats, &server).await;
    a_search_uses_agents_too(&nats, &server).await;
    what_a_coordinator_may_do_an_agent_need_not(&nats).await;
    let [ada, ben, eve] = agents;
    for (agent, name) in [(ada, "ada"), (ben, "ben"), (eve, "eve")] {
        let pid = agent.child.id().unwrap();
        let terminated =
            std::process::Command::new("kill").args(["-TERM", &pid.to_string()]).status().unwrap();
        assert!(terminated.success());
        let (status, _, said) = agent.report().await;
        assert_eq!(status, Some(0), "{name}: {said}");
    }
}

async fn sums_are_exact_and_clocks_are_corrected(nats: &NatsServer, server: &Fixture) {
    let bounds = ["--fail-if", "loss>0%", "--fail-if", "p99>2s", "--fail-if", "failed>0", "--json"];
    let more =
        ["--agents", "3", "--viewers", "7", "--ramp", "20/s", "--duration", "3s", "--clock-limit", "1s"];
    let (status, report, said) = start(nats, server, &[&more[..], &bounds].concat()).report().await;
    assert_eq!(status, Some(0), "{said}\n{report:#}");
    assert!(said.lines().any(|line| line.contains("7 watching, 0 joining")), "{said}");
    let agents = report["agents"].as_array().unwrap();
    let shares: Vec<_> =
        agents.iter().map(|a| (a["name"].as_str().unwrap(), a["viewers"].as_u64().unwrap())).collect();
    assert_eq!(shares, [("ada", 3), ("ben", 2), ("eve", 2)]);
    assert_eq!((sum(&report, "connected"), &report["viewers"]["seated"]), (7, &7.into()));
    assert_eq!(report["viewers"]["wanted"], 7);
    // All that each counted is in the whole, and nothing else.
    let received = report["packets"]["received"].as_u64().unwrap();
    assert!(received > 7 * 150, "{report:#}");
    assert_eq!(sum(&report, "packets"), received);
    assert_eq!(report["packets"]["expected"], received);
    assert_eq!(report["latency_ms"]["count"].as_u64().unwrap(), sum(&report, "latencies"));
    let history = report["packets"]["history"].as_u64().unwrap();
    assert_eq!(sum(&report, "latencies") + history, received, "every packet has a latency or is history");
    assert_eq!(report["join"]["first_keyframe_ms"]["count"], 7);
    assert_eq!(report["longest_gap_ms"]["count"], 14);
    // By the second, too.
    let seconds = report["timeline"].as_array().unwrap();
    let by_second = |figure: &str| seconds.iter().map(|s| s[figure].as_u64().unwrap()).sum::<u64>();
    assert_eq!((by_second("packets"), by_second("joined")), (received, 7));
    // One clock is wrong by three seconds, which is known and shows nowhere else.
    for (agent, ahead) in agents.iter().zip([0.0, 3_000.0, 0.0]) {
        let (offset, by) = (&agent["clock_offset_ms"], &agent["clock_uncertainty_ms"]);
        let error = (offset.as_f64().unwrap() + ahead).abs();
        assert!(error <= by.as_f64().unwrap() + 0.5, "{agent}");
        assert_eq!((&agent["latency_refused"], &agent["lost"]), (&false.into(), &Value::Null));
    }
    assert!(report["latency_ms"]["p90"].as_f64().unwrap() < 1_000.0, "{report:#}");
    // Every viewer had an address of its own and said goodbye, and so did the publisher.
    assert_eq!(server.count(|counters| &counters.deletes), 8);
}

async fn what_breaks_the_network_reaches_agents_and_a_vague_clock_is_no_latency(
    nats: &NatsServer,
    server: &Fixture,
) {
    let file = folder("agents").join("scenario.toml");
    let event = "[[events]]\nat = \"2s\"\nimpair = { share = \"100%\", loss = \"100%\", lasts = \"1s\" }\n";
    std::fs::write(&file, format!("name = \"bad ${{NOBODY:-luck}}\"\nduration = \"5s\"\n{event}")).unwrap();
    let more = [file.to_str().unwrap(), "--agents", "3", "--viewers", "6", "--ramp", "storm"];
    let vague = ["--clock-limit", "0ms", "--json", "--fail-if", "p99>1h", "--fail-if", "failed>0"];
    let (status, report, said) = start(nats, server, &[&more[..], &vague].concat()).report().await;
    assert_eq!(status, Some(1), "{said}\n{report:#}");
    assert!(said.contains("bound broken: p99>1h (nothing was measured)"), "{said}");
    assert!(!said.contains("failed>0"), "{said}");
    assert_eq!((&report["name"], &report["latency_ms"]), (&"bad luck".into(), &Value::Null));
    for agent in report["agents"].as_array().unwrap() {
        assert_eq!((&agent["latency_refused"], &agent["latencies"]), (&true.into(), &0.into()), "{agent}");
        assert_eq!(agent["clock_doubt"], "its clock is known worse than to 0ns", "{agent}");
        assert!(agent["late_ms"]["count"].as_u64().unwrap() > 50, "{agent}");
    }
    let happened = report["happenings"].as_array().unwrap();
    assert_eq!((happened.len(), &happened[0]["said"]), (2, &"6 viewers who are there".into()));
    assert!(report["freezes"].as_u64().unwrap() >= 6, "{report:#}");
    let gap = report["longest_gap_ms"]["p50"].as_f64().unwrap();
    assert!((800.0..4_000.0).contains(&gap), "{report:#}");
}

async fn a_search_uses_agents_too(nats: &NatsServer, server: &Fixture) {
    let size = ["--from", "2", "--to", "2", "--confirm", "1", "--step-time", "1s", "--fail-if", "failed>0"];
    let more = ["--agents", "3", "--clock-limit", "1s", "--json", "--quiet"];
    let all = arguments("capacity", nats, server, &[&more[..], &size].concat());
    let output = loadtest(&all.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["holds"], &found["steps"][0]["connected"]), (&2.into(), &2.into()), "{found:#}");
}

async fn what_a_coordinator_may_do_an_agent_need_not(nats: &NatsServer) {
    let (far, nats) = ("http://192.0.2.1/whep/room", nats.url());
    let output =
        loadtest(&["run", "--whep", far, "--i-own-the-target", "--agents", "3", "--nats", &nats]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("refuses: 192.0.2.1 is 192.0.2.1, neither loopback nor private"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_dies_is_named_and_what_it_told_counts() {
    let (nats, server) = (NatsServer::start(), Fixture::start(Script::default()).await);
    let mut agents = [Program::agent(&nats, "stays", &[]), Program::agent(&nats, "dies", &[])];
    for agent in &mut agents {
        agent.says("waits for runs").await;
    }
    let more =
        ["--agents", "2", "--viewers", "6", "--ramp", "storm", "--duration", "12s", "--clock-limit", "1s"];
    let mut run = start(&nats, &server, &[&more[..], &["--json"]].concat());
    run.says("6 watching, 0 joining").await;
    let [stays, mut dies] = agents;
    dies.child.start_kill().unwrap();
    let (status, report, said) = run.report().await;
    assert_eq!(status, Some(1), "no bound was set, and it fails all the same: {said}");
    assert!(said.contains("the run is invalid: agent dies was lost after "), "{said}");
    let agents = report["agents"].as_array().unwrap();
    let (lost, other) = (&agents[0], &agents[1]);
    assert_eq!((&lost["name"], &other["name"]), (&"dies".into(), &"stays".into()));
    assert!(
        lost["lost"].as_str().unwrap().contains("not heard for 5s") && other["lost"].is_null(),
        "{report:#}"
    );
    // Three viewers each. What the lost one told until then is in the sums; the other went on to the end.
    let packets = |agent: &Value| agent["packets"].as_u64().unwrap();
    assert!((1..packets(other)).contains(&packets(lost)), "{report:#}");
    assert_eq!(packets(lost) + packets(other), report["packets"]["received"].as_u64().unwrap());
    assert_eq!((&lost["connected"], &report["viewers"]["seated"]), (&3.into(), &6.into()));
    assert_eq!(other["failed"], 0);
    drop(stays);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn agents_without_a_coordinator_stop_their_viewers_and_wait_again() {
    let (nats, server) = (NatsServer::start(), Fixture::start(Script::default()).await);
    let mut agent = Program::agent(&nats, "one", &[]);
    agent.says("waits for runs").await;
    let more =
        ["--agents", "1", "--viewers", "4", "--ramp", "storm", "--duration", "60s", "--clock-limit", "1s"];
    let mut run = start(&nats, &server, &more);
    run.says("4 watching, 0 joining").await;
    run.child.start_kill().unwrap();
    agent.says("the coordinator was not heard for 5s").await;
    assert_eq!(server.count(|counters| &counters.deletes), 4, "its viewers said goodbye");
    let again = ["--agents", "1", "--viewers", "2", "--ramp", "storm", "--duration", "1s", "--json"];
    let (status, report, said) = start(&nats, &server, &again).report().await;
    assert_eq!((status, &report["viewers"]["seated"]), (Some(0), &2.into()), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_agents_and_those_of_another_version_are_told_in_a_line() {
    let near = "http://127.0.0.1:9/whep/room";
    let nats = NatsServer::start();
    // One that answers every call, and is of another version.
    let config = NatsConfig { servers: vec![nats.url()], ..NatsConfig::default() };
    let bus = NatsBus::connect(config).await.unwrap();
    let begun = Instant::now();
    while !bus.is_up() {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut calls = bus.subscribe("freshet.loadtest.call");
    let answering = tokio::spawn(async move {
        while let Some(call) = calls.recv().await {
            let call: Value = serde_json::from_slice(&call.payload[16..]).unwrap();
            let hello = json!({"Hello": {"agent": "0ld", "name": "old", "version": "0.0.1 (protocol 0)", "cores": 1}});
            let head = [&[0; 15][..], &[1]].concat();
            let subject = format!("freshet.loadtest.run.{}.from.0ld", call["run"].as_str().unwrap());
            let payload = [head, serde_json::to_vec(&hello).unwrap()].concat();
            bus.publish(&subject, payload.into()).await.unwrap();
        }
    });
    let url = nats.url();
    let few = ["run", "--whep", near, "--agents", "2", "--agents-within", "2s", "--nats", &url];
    let output = loadtest(&few).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("0 of 2 agents answered within 2s"), "{said}");
    assert!(said.contains("agent old is version 0.0.1 (protocol 0) and this is "), "{said}");
    answering.abort();
    for (arguments, says) in [
        (&["run", "--whep", near, "--agents", "2"][..], "give --nats nats://HOST:PORT"),
        (&["run", "--whep", near, "--agents", "0", "--nats", &url], "1..=100"),
        (&["run", "--whep", near, "--agents", "2", "--nats", "http://h"], "nats://HOST:PORT"),
        (
            &["run", "--whep", near, "--agents", "2", "--nats", "nats://127.0.0.1:9"],
            "NATS cannot be used: nats://127.0.0.1:9",
        ),
        (&["agent"], "give --nats nats://HOST:PORT"),
        (
            &["agent", "--nats", "nats://127.0.0.1:9"],
            "NATS cannot be used: nats://127.0.0.1:9 does not answer",
        ),
    ] {
        let output = loadtest(arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(says), "{arguments:?}: {said}");
    }
}

/// A coordinator by hand, which begins a run and never ends it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_ends_a_run_that_its_coordinator_does_not_end() {
    let (nats, server) = (NatsServer::start(), Fixture::start(Script::default()).await);
    let publisher = PublisherConfig::new(server.url("/whip/room"));
    let _publisher = Publisher::connect(publisher).await.unwrap();
    let mut agent = Program::agent(&nats, "one", &[]);
    agent.says("waits for runs").await;
    let bus =
        NatsBus::connect(NatsConfig { servers: vec![nats.url()], ..NatsConfig::default() }).await.unwrap();
    let begun = Instant::now();
    while !bus.is_up() {
        assert!(begun.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut words = bus.subscribe("freshet.loadtest.run.hand.from.*");
    let mut nth = 0_u64;
    let mut message = |value: Value| {
        nth += 1;
        let head = [&nth.to_be_bytes()[..], &[0, 0, 0, 0, 0, 0, 0, 1]].concat();
        [head, serde_json::to_vec(&value).unwrap()].concat()
    };
    bus.publish("freshet.loadtest.call", message(json!({"run": "hand", "version": "any"})).into())
        .await
        .unwrap();
    let mut next = async || {
        let word = tokio::time::timeout(LONG, words.recv()).await.unwrap().unwrap();
        serde_json::from_slice::<Value>(&word.payload[16..]).unwrap()
    };
    let hello = next().await;
    let whep = server.url("/whep/room");
    let arguments = ["run", "--whep", &whep, "--viewers", "2", "--ramp", "storm", "--duration", "1s"];
    let brief = json!({
        "arguments": arguments, "file": null, "viewers": null, "duration": null, "token": null,
        "authorities": null, "share": 0, "of": 1, "limit": {"secs": 3, "nanos": 0},
    });
    let prepare = message(json!({"Prepare": {"run": "hand", "brief": brief}}));
    let to = format!("freshet.loadtest.agent.{}", hello["Hello"]["agent"].as_str().unwrap());
    bus.publish(&to, prepare.into()).await.unwrap();
    while next().await.get("Ready").is_none() {}
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let all = "freshet.loadtest.run.hand.to";
    bus.publish(all, message(json!({"Start": u64::try_from(now.as_micros()).unwrap()})).into())
        .await
        .unwrap();
    // It beats as long as the agent goes on, and says nothing else.
    let beating = async {
        loop {
            bus.publish(all, message(json!("Beat")).into()).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    };
    let gone = async {
        loop {
            if let Some(why) = next().await.get("Gone") {
                return why.clone();
            }
        }
    };
    let why = tokio::select! {
        why = gone => why,
        () = beating => unreachable!(),
    };
    assert_eq!(why, "the coordinator did not end the run in time: viewers were stopped");
    agent.says("did not end the run in time").await;
    assert_eq!(server.count(|counters| &counters.deletes), 2, "its viewers said goodbye");
}
