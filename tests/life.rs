//! How processes begin and end: the built program, its signals, its last step.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::keys;
use freshet_cluster::store::SharedStore;
use freshet_cluster::store::etcd::{EtcdConfig, EtcdStore};
use freshet_cluster::testing::{EtcdServer, NatsServer, free_ports};

const SECRET: &str = "life-0123456789abcdef";
const SOON: Duration = Duration::from_secs(15);
/// What is promised from the last signal on.
const LAST_STEP: Duration = Duration::from_secs(5);

/// A process of the program, killed by its id when dropped.
struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    _dir: Option<tempfile::TempDir>,
}

impl Process {
    fn start(name: &str, args: &[&str]) -> Self {
        let (folder, dir) = match std::env::var_os("FRESHET_TEST_LOGS") {
            Some(folder) => (PathBuf::from(folder), None),
            None => {
                let dir = tempfile::tempdir().unwrap();
                (dir.path().to_owned(), Some(dir))
            }
        };
        std::fs::create_dir_all(&folder).unwrap();
        let mut secrets = File::options().create(true).append(true).open(folder.join("secrets.txt")).unwrap();
        writeln!(secrets, "{SECRET}").unwrap();
        let log = folder.join(format!("life-{name}.log"));
        let child = Command::new(env!("CARGO_BIN_EXE_freshet"))
            .args(args)
            .env_clear()
            .env("FRESHET_CLUSTER_SECRET", SECRET)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { name: name.to_owned(), child, log, _dir: dir }
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    /// Waits for the end, at most so long.
    fn ends_within(&mut self, limit: Duration) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < limit, "{} still runs; its log:\n{}", self.name, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a GET is answered so; it stands in the log why it is not.
    fn answers(&mut self, address: &str, path: &str, status: u16) {
        let begun = Instant::now();
        while get(address, path).0 != status {
            let ended = self.child.try_wait().unwrap();
            let (name, log) = (&self.name, self.log());
            assert!(ended.is_none(), "{name} ended instead of answering {status} to {path}:\n{log}");
            assert!(begun.elapsed() < SOON, "{name} does not answer {status} to {path}; its log:\n{log}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Status and body of a GET; status 0 when nobody answers.
fn get(address: &str, path: &str) -> (u16, String) {
    ask(address, "GET", path, "text/plain", "")
}

/// The same of any request.
fn ask(address: &str, method: &str, path: &str, kind: &str, body: &str) -> (u16, String) {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
        let about = format!("Content-Type: {kind}\r\nContent-Length: {}\r\n", body.len());
        write!(stream, "{head}{about}\r\n{body}")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    let text = asked().unwrap_or_default();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

/// A join reaches a node, which says that this is no SDP; without a node it would be 503. And chat is stored, at the
/// first try.
fn works_at_once(address: &str) {
    let (status, body) = ask(address, "POST", "/whep/r1?wait=1", "application/sdp", "nonsense");
    assert!(status == 400 && body.contains("bad-sdp"), "{status} {body}");
    let message = r#"{"id":"a","text":"hello"}"#;
    let (status, body) = ask(address, "POST", "/v1/rooms/r1/chat", "application/json", message);
    assert_eq!(status, 201, "{body}");
}

/// A viewer that has joined and stays.
async fn viewer(address: &str) -> freshet_loadtest::client::Viewer {
    use freshet_loadtest::client::{Viewer, ViewerConfig};
    let config = ViewerConfig::new(format!("http://{address}/whep/r1?wait=1"));
    tokio::time::timeout(SOON, Viewer::connect(config)).await.expect("a join in time").expect("a join")
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what} takes too long");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Starts `freshet dev` and returns where it says it is.
fn dev(name: &str, more: &[&str]) -> (Process, String) {
    let (process, address, _) = dev_of(name, more, 1);
    (process, address)
}

/// The same with so many nodes, and what it says of each.
fn dev_of(name: &str, more: &[&str], nodes: usize) -> (Process, String, Vec<String>) {
    let args: Vec<&str> =
        ["dev", "--listen", "127.0.0.1:0"].into_iter().chain(more.iter().copied()).collect();
    let mut process = Process::start(name, &args);
    let out = BufReader::new(process.child.stdout.take().unwrap());
    let (told, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || out.lines().map_while(Result::ok).try_for_each(|line| told.send(line)));
    let next = || lines.recv_timeout(SOON).unwrap_or_else(|_| panic!("it says no more:\n{}", process.log()));
    let line = next();
    let url = line.strip_prefix("Freshet is at http://").expect(&line);
    let address = url.strip_suffix('/').expect(&line).to_owned();
    // The coordinator's line, then one for each node.
    let about = (0..=nodes).map(|_| next()).collect();
    (process, address, about)
}

#[test]
fn an_etcd_that_is_away_at_the_start_is_told_once() {
    let (mut etcd, nats) = (EtcdServer::start(), NatsServer::start());
    etcd.stop();
    let [port] = free_ports::<1>();
    let address = format!("127.0.0.1:{port}");
    let (at_etcd, at_nats) = (etcd.url(), nats.url());
    let mut process = Process::start(
        "etcd-away",
        &["coordinator", "--open", "--listen", &address, "--etcd", &at_etcd, "--nats", &at_nats],
    );
    process.answers(&address, "/v1/rooms", 503);
    let told = |process: &Process| -> Vec<String> {
        let log = process.log();
        let lines = log.lines().filter(|line| line.contains("etcd has not answered since the start"));
        lines.map(str::to_owned).collect()
    };
    let begun = Instant::now();
    while told(&process).is_empty() {
        assert!(begun.elapsed() < SOON, "nothing is said:\n{}", process.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    // Every follower tries again meanwhile, several times.
    std::thread::sleep(Duration::from_secs(4));
    let lines = told(&process);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("WARN") && lines[0].contains(&at_etcd), "{lines:?}");
    etcd.restart();
    process.answers(&address, "/v1/rooms", 200);
}

#[test]
fn dev_says_where_it_is_when_it_is_ready_and_a_signal_ends_it() {
    for (name, nodes, signal) in [("dev-term", "1", "-TERM"), ("dev-int", "3", "-INT")] {
        let count = nodes.parse().unwrap();
        let (mut process, address, about) = dev_of(name, &["--nodes", nodes, "--shards", "2"], count);
        for (line, i) in about.iter().zip(0..=count) {
            let (name, rest) = line.trim_start().split_once("  http://").expect(line);
            let wanted = if i == 0 { "coordinator".to_owned() } else { format!("node-{i}") };
            assert_eq!(name.trim_end(), wanted, "{about:?}");
            let (at, ports) = rest.split_once("/metrics").expect(line);
            let (status, body) = get(at, "/metrics");
            let kind = if i == 0 { "freshet_coordinator_" } else { "freshet_node_" };
            assert!(status == 200 && body.contains(kind), "{line}: {status} {body}");
            let ports = ports.strip_prefix(", media at UDP ").map(|ports| ports.split(", ").count());
            assert_eq!(ports, (i > 0).then_some(2), "one for each shard: {line}");
        }
        assert_eq!(get(&address, "/healthz").0, 200);
        assert_eq!(get(&address, "/readyz").0, 200, "what it says is true at once");
        works_at_once(&address);
        let (status, body) = get(&address, "/v1/nodes");
        assert_eq!(status, 200, "{body}");
        for i in 1..=count {
            assert!(body.contains(&format!("\"node-{i}\"")), "{body}");
        }
        process.signal(signal);
        let status = process.ends_within(LAST_STEP);
        assert_eq!(status.code(), Some(0), "{}", process.log());
        assert!(process.log().contains("stopped"), "{}", process.log());
    }
}

/// Names in backticks, as a page writes metrics: without their prefix, perhaps with labels.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split('`').skip(1).step_by(2).filter_map(|code| code.split('{').next());
    let name = |word: &&str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || "_0123456789".contains(c))
    };
    words.filter(name).map(str::to_owned).collect()
}

#[test]
fn every_metric_stands_in_the_operators_page_and_no_other() {
    let page = include_str!("../docs/operate.md");
    let (_, rest) = page.split_once("\n## Metrics\n").expect("a section of metrics");
    let (section, _) = rest.split_once("\n## ").expect("a section behind it");
    let (node, rest) = section.split_once("\nOf a coordinator").expect("the coordinator's table");
    let (coordinator, both) = rest.split_once("\nBoth count their HTTP").expect("what both have");
    // The first column of a table has metrics alone.
    let tabled = |text: &str| -> BTreeSet<String> {
        let cells =
            text.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
        cells.flat_map(named).collect()
    };
    let (_process, address, about) = dev_of("dev-metrics", &[], 1);
    let node_at =
        about[1].split_once("http://").and_then(|(_, rest)| rest.split_once('/')).expect("its URL").0;
    let both = named(both);
    assert!(both.len() > 3, "{both:?}");
    for (role, at, text) in [("node", node_at, node), ("coordinator", address.as_str(), coordinator)] {
        // A request is counted after its answer.
        get(at, "/metrics");
        let (_, body) = get(at, "/metrics");
        let prefix = format!("freshet_{role}_");
        let types = body.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let shown: BTreeSet<String> =
            types.map(|name| name.strip_prefix(&prefix).expect(name).to_owned()).collect();
        assert!(shown.len() > 15, "{body}");
        let mut explained: BTreeSet<String> = tabled(text).union(&both).cloned().collect();
        explained.insert("tasks".to_owned());
        let missing: Vec<_> = shown.difference(&explained).collect();
        assert!(missing.is_empty(), "docs/operate.md does not explain these of a {role}: {missing:?}");
        let unknown: Vec<_> = explained.difference(&shown).collect();
        assert!(unknown.is_empty(), "docs/operate.md explains what a {role} does not show: {unknown:?}");
        // What the text beside the tables names exists as well.
        let beside = named(text).into_iter().filter(|name| name.ends_with("_total") && !shown.contains(name));
        assert_eq!(beside.collect::<Vec<_>>(), Vec::<String>::new(), "named beside the table of a {role}");
    }
}

#[test]
fn a_process_takes_as_many_files_as_it_may() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let program = env!("CARGO_BIN_EXE_freshet");
    let script = format!("ulimit -S -n 300; ulimit -H -n 2000; exec {program} dev --listen 127.0.0.1:0");
    let mut child = Command::new("sh")
        .args(["-c", &script])
        .env_clear()
        .stdout(Stdio::piped())
        .stderr(log.reopen().unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).expect("a limit of files");
    assert_eq!(files.split_whitespace().nth(3), Some("2000"), "the soft limit is the hard one: {files}");
    let log = std::fs::read_to_string(log.path()).unwrap();
    assert!(log.contains("LimitNOFILE") && log.contains("2000"), "few are told: {log}");
}

#[test]
fn a_port_that_is_taken_is_told() {
    let (_held, address) = dev("dev-held", &[]);
    let mut second = Process::start("dev-second", &["dev", "--listen", &address]);
    assert_eq!(second.ends_within(SOON).code(), Some(1));
    let log = second.log();
    assert!(log.contains(&address) && log.contains("--listen"), "{log}");
}

#[test]
fn a_node_registers_drains_and_gives_up_its_lease() {
    let (etcd, nats) = (EtcdServer::start(), NatsServer::start());
    let [http] = free_ports();
    let http = format!("127.0.0.1:{http}");
    let (etcd_url, nats_url) = (etcd.url(), nats.url());
    let args = [
        "node",
        "--id",
        "n1",
        "--listen",
        &http,
        "--relay",
        "127.0.0.1:0",
        "--udp-port",
        "0",
        "--open",
        "--etcd",
        &etcd_url,
        "--nats",
        &nats_url,
        "--log",
        "json",
    ];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let store: SharedStore = Arc::new(
        EtcdStore::new(EtcdConfig { endpoints: vec![etcd.url()], ..EtcdConfig::default() }).unwrap(),
    );
    let registered =
        || runtime.block_on(store.list(keys::NODES)).unwrap().entries.iter().any(|e| e.key.ends_with("/n1"));

    let mut node = Process::start("node", &args);
    until("registering", registered);
    node.answers(&http, "/readyz", 200);
    // Without sessions a drain is over at once, whatever its time-out.
    node.signal("-TERM");
    assert_eq!(node.ends_within(LAST_STEP).code(), Some(0), "{}", node.log());
    assert!(!registered(), "the lease is given up, not left to run out");
    for line in node.log().lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("every log line is JSON");
        assert!(line["level"].is_string() && line["message"].is_string(), "{line}");
    }

    // The same with the store gone: the end does not wait for it.
    let mut node = Process::start("node-storeless", &args);
    until("registering", registered);
    drop((etcd, nats));
    std::thread::sleep(Duration::from_millis(500));
    node.signal("-INT");
    assert_eq!(node.ends_within(LAST_STEP).code(), Some(0), "{}", node.log());
}

#[test]
fn a_node_with_a_session_drains_until_a_second_signal_or_ctrl_c() {
    let (etcd, nats) = (EtcdServer::start(), NatsServer::start());
    let [http] = free_ports();
    let http = format!("127.0.0.1:{http}");
    let (etcd_url, nats_url) = (etcd.url(), nats.url());
    let base = ["node", "--id", "n1", "--listen", &http, "--relay", "127.0.0.1:0", "--udp-port", "0"];
    let more = ["--ip", "127.0.0.1", "--open", "--etcd", &etcd_url, "--nats", &nats_url];
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    for (name, drain, first, second) in [
        ("node-term-term", "60s", Some("-TERM"), Some("-TERM")),
        ("node-term-int", "60s", Some("-TERM"), Some("-INT")),
        ("node-int", "60s", None, Some("-INT")),
        ("node-term", "3s", Some("-TERM"), None),
    ] {
        let drain = ["--drain-timeout", drain];
        let args: Vec<&str> = base.into_iter().chain(more).chain(drain).collect();
        let mut node = Process::start(name, &args);
        node.answers(&http, "/readyz", 200);
        let viewer = runtime.block_on(viewer(&http));
        if let Some(first) = first {
            node.signal(first);
            node.answers(&http, "/readyz", 503);
            std::thread::sleep(Duration::from_millis(1500));
            assert!(node.child.try_wait().unwrap().is_none(), "a session keeps it for 60 s: {}", node.log());
            assert_eq!(get(&http, "/healthz").0, 200);
            let (status, body) = ask(&http, "POST", "/whep/r1?wait=1", "application/sdp", &offer);
            assert!(status == 503 && body.contains("draining"), "no new sessions: {status} {body}");
            let ended = runtime.block_on(viewer.ended(Duration::ZERO));
            assert!(ended.is_none(), "those who are there stay: {ended:?}");
        }
        // Without a second signal the time-out takes its place.
        second.iter().for_each(|second| node.signal(second));
        assert_eq!(node.ends_within(LAST_STEP).code(), Some(0), "{}", node.log());
        let log = node.log();
        assert!(log.contains("stopped") && !log.contains("took too long"), "{log}");
        let told = runtime.block_on(viewer.ended(Duration::from_secs(2)));
        let told = told.map(|reason| reason.to_string());
        assert_eq!(told.as_deref(), Some("closed by the server"), "{name}: sessions are told: {log}");
    }
}

#[test]
fn a_node_takes_as_many_as_it_may_though_all_come_at_once_and_says_why_not_more() {
    use freshet_loadtest::client::{Viewer, ViewerConfig};
    const MAX: usize = 3;
    let (etcd, nats) = (EtcdServer::start(), NatsServer::start());
    let [http] = free_ports();
    let http = format!("127.0.0.1:{http}");
    let (etcd_url, nats_url, max) = (etcd.url(), nats.url(), MAX.to_string());
    let base = ["node", "--id", "n1", "--listen", &http, "--relay", "127.0.0.1:0", "--udp-port", "0"];
    let more = ["--ip", "127.0.0.1", "--open", "--etcd", &etcd_url, "--nats", &nats_url];
    let args: Vec<&str> = base.into_iter().chain(more).chain(["--max-sessions", &max]).collect();
    let mut node = Process::start("node-limit", &args);
    node.answers(&http, "/readyz", 200);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let joins: Vec<_> = (0..4 * MAX)
        .map(|n| {
            let config = ViewerConfig::new(format!("http://{http}/whep/room{n}?wait=1"));
            runtime.spawn(Viewer::connect(config))
        })
        .collect();
    let (mut taken, mut refused) = (Vec::new(), 0);
    for join in joins {
        match runtime.block_on(join).unwrap() {
            Ok(viewer) => taken.push(viewer),
            Err(error) => {
                assert_eq!(error.class(), "HTTP 503 over-capacity", "{error}; {}", node.log());
                refused += 1;
            }
        }
    }
    assert_eq!((taken.len(), refused), (MAX, 3 * MAX), "a place is held before the answer is made");
    // One leaves, and there is room for one as soon as the node has heard of it.
    let left = taken.pop().unwrap();
    runtime.block_on(left.close());
    let again =
        ViewerConfig { retry_for: SOON, ..ViewerConfig::new(format!("http://{http}/whep/r1?wait=1")) };
    let again = runtime.block_on(async { tokio::time::timeout(SOON, Viewer::connect(again)).await });
    taken.push(again.expect("a join in time").expect("there is room"));
}

#[test]
fn a_coordinator_that_is_ready_takes_joins_and_chat_at_once() {
    let (etcd, nats) = (EtcdServer::start(), NatsServer::start());
    let [http, node_http] = free_ports();
    let (http, node_http) = (format!("127.0.0.1:{http}"), format!("127.0.0.1:{node_http}"));
    let (etcd_url, nats_url) = (etcd.url(), nats.url());
    let shared = ["--open", "--etcd", &etcd_url, "--nats", &nats_url];
    let node = ["node", "--id", "n1", "--listen", &node_http, "--relay", "127.0.0.1:0", "--udp-port", "0"];
    let node: Vec<&str> = node.into_iter().chain(shared).collect();
    let coordinator: Vec<&str> = ["coordinator", "--listen", &http].into_iter().chain(shared).collect();
    // Once before its node, with an empty etcd and NATS, and once after it.
    let mut first = Process::start("ready-first", &coordinator);
    first.answers(&http, "/healthz", 200);
    let (status, body) = get(&http, "/readyz");
    assert_eq!(status, 503, "{body}");
    let _node = Process::start("ready-node", &node);
    first.answers(&http, "/readyz", 200);
    works_at_once(&http);
    drop(first);
    for again in 0..3 {
        let mut later = Process::start(&format!("ready-later-{again}"), &coordinator);
        later.answers(&http, "/readyz", 200);
        let (status, body) = ask(&http, "POST", "/whep/r1?wait=1", "application/sdp", "nonsense");
        assert!(status == 400 && body.contains("bad-sdp"), "{status} {body}");
        let message = format!(r#"{{"id":"again-{again}","text":"hello"}}"#);
        let (status, body) = ask(&http, "POST", "/v1/rooms/r1/chat", "application/json", &message);
        assert_eq!(status, 201, "{body}");
    }
}

#[test]
fn a_coordinator_drains_until_a_second_signal() {
    let (etcd, nats) = (EtcdServer::start(), NatsServer::start());
    let [http] = free_ports();
    let http = format!("127.0.0.1:{http}");
    let (etcd_url, nats_url) = (etcd.url(), nats.url());
    let args = [
        "coordinator",
        "--listen",
        &http,
        "--open",
        "--etcd",
        &etcd_url,
        "--nats",
        &nats_url,
        "--drain-timeout",
        "1h",
    ];
    let mut coordinator = Process::start("coordinator", &args);
    coordinator.answers(&http, "/readyz", 200);
    coordinator.signal("-TERM");
    coordinator.answers(&http, "/readyz", 503);
    assert_eq!(get(&http, "/healthz").0, 200, "it goes on to serve");
    assert!(coordinator.child.try_wait().unwrap().is_none());
    coordinator.signal("-TERM");
    assert_eq!(coordinator.ends_within(LAST_STEP).code(), Some(0), "{}", coordinator.log());
}

#[test]
fn a_cluster_starts_without_its_store_and_bus() {
    let [http, gone] = free_ports();
    let http = format!("127.0.0.1:{http}");
    let (etcd, nats) = (format!("http://127.0.0.1:{gone}"), format!("nats://127.0.0.1:{gone}"));
    let args = [
        "coordinator",
        "--listen",
        &http,
        "--open",
        "--etcd",
        &etcd,
        "--nats",
        &nats,
        "--drain-timeout",
        "0s",
    ];
    let mut coordinator = Process::start("coordinator-alone", &args);
    coordinator.answers(&http, "/healthz", 200);
    let (status, body) = get(&http, "/readyz");
    assert!(status == 503 && body.contains("etcd"), "it knows no cluster yet, and says why: {status} {body}");
    coordinator.signal("-TERM");
    assert_eq!(coordinator.ends_within(LAST_STEP).code(), Some(0), "{}", coordinator.log());
}
