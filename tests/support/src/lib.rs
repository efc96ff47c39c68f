//! A whole cluster of real processes on loopback: etcd, NATS with JetStream, coordinators, nodes.

// Tests are its only users: what fails in it should fail them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::print_stderr
)]

pub mod answers;
pub mod byhand;
pub mod client;
pub mod dev;
mod harness;
pub mod names;
pub mod nets;
pub mod node;
pub mod peer;
pub mod problems;
pub mod stun;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use freshet_cluster::store::Store as _;
use freshet_cluster::store::etcd::{EtcdConfig, EtcdStore};
use freshet_cluster::testing::{EtcdServer, NatsServer, free_ports};
use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
pub use harness::harness;

/// The API key of every test cluster.
pub const KEY: &str = "test:0123456789abcdef0123456789abcdef";

/// The built binary: it lies above the tests' own.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(Path::parent).unwrap().join("freshet")
}

/// A process of the built binary. Killed when dropped.
pub struct Process {
    child: Child,
    pub name: String,
    pub log: PathBuf,
}

impl Process {
    /// Starts `freshet` with arguments; output goes to a log named after test and process.
    pub fn start(dir: &Path, test: &str, name: &str, args: &[String], env: &[(&str, &str)]) -> Self {
        let logs = std::env::var_os("FRESHET_TEST_LOGS").map_or_else(|| dir.to_owned(), PathBuf::from);
        std::fs::create_dir_all(&logs).unwrap();
        let log = logs.join(format!("{test}-{name}.log"));
        let out = OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let mut command = Command::new(program());
        command.args(args).stdin(Stdio::null()).stdout(out.try_clone().unwrap()).stderr(out);
        command.env_remove("FRESHET_CONFIG");
        for (key, value) in env {
            command.env(key, value);
        }
        let child = command.spawn().unwrap();
        Self { child, name: name.to_owned(), log }
    }

    pub fn pid(&self) -> i32 {
        self.child.id().try_into().unwrap()
    }

    pub fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.pid().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Waits for the end; returns the exit code, `None` for a signal.
    pub fn wait(&mut self, within: Duration) -> Option<i32> {
        let until = Instant::now() + within;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < until, "{} does not end: {}", self.name, self.tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The end of its log, for a failure's message.
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a test wants.
#[derive(Clone)]
pub struct Plan {
    pub nodes: usize,
    pub coordinators: usize,
    /// Sessions for each node.
    pub max_sessions: u32,
}

/// More arguments of a process, by its name (`node-1`, `coordinator-2`). `OWN-PORT` in them is the port that it listens on.
pub type Flags = Box<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// More environment of a process, by its name.
pub type Environment = fn(&str) -> Vec<(&'static str, String)>;

pub struct Cluster {
    pub test: String,
    pub plan: Plan,
    pub etcd: EtcdServer,
    pub nats: NatsServer,
    pub nodes: Vec<Option<Process>>,
    pub coordinators: Vec<Option<Process>>,
    pub ports: Vec<u16>,
    pub node_ports: Vec<u16>,
    /// More arguments of a process, by its name.
    more: Flags,
    env: Environment,
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts everything and waits until every coordinator sees every node.
    pub async fn start(test: &str, plan: Plan) -> Self {
        Self::start_with(test, plan, &[]).await
    }

    /// The same with more arguments for the coordinators.
    pub async fn start_with(test: &str, plan: Plan, more: &[&str]) -> Self {
        let more: Vec<String> = more.iter().map(|text| (*text).to_owned()).collect();
        let flags = move |name: &str| if name.starts_with("coordinator") { more.clone() } else { Vec::new() };
        Self::start_as(test, plan, Box::new(flags)).await
    }

    /// The same with more arguments for each process.
    pub async fn start_as(test: &str, plan: Plan, more: Flags) -> Self {
        Self::start_in(test, plan, more, |_| Vec::new()).await
    }

    /// The same with more environment for each process.
    pub async fn start_in(test: &str, plan: Plan, more: Flags, env: Environment) -> Self {
        let etcd = EtcdServer::start();
        let nats = NatsServer::start();
        let ports = free_ports::<16>().to_vec();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), "a cluster secret for tests, 32 bytes long or more")
            .unwrap();
        std::fs::write(dir.path().join("keys"), format!("{KEY}\n")).unwrap();
        remember_secret(KEY.split_once(':').unwrap().1);
        remember_secret("a cluster secret for tests, 32 bytes long or more");
        let mut cluster = Self {
            test: test.to_owned(),
            etcd,
            nats,
            nodes: Vec::new(),
            coordinators: Vec::new(),
            node_ports: ports[8..8 + plan.nodes].to_vec(),
            ports: ports[..plan.coordinators].to_vec(),
            plan: plan.clone(),
            more,
            env,
            dir,
        };
        for n in 0..plan.coordinators {
            let process = cluster.coordinator(n);
            cluster.coordinators.push(Some(process));
        }
        for n in 0..plan.nodes {
            let process = cluster.node(n);
            cluster.nodes.push(Some(process));
        }
        cluster.settled().await;
        cluster
    }

    fn common(&self) -> Vec<String> {
        let file = |name: &str| self.dir.path().join(name).display().to_string();
        [
            "--etcd".to_owned(),
            self.etcd.url(),
            "--nats".to_owned(),
            self.nats.url(),
            "--cluster-secret-file".to_owned(),
            file("secret"),
            "--api-key-file".to_owned(),
            file("keys"),
        ]
        .to_vec()
    }

    pub fn node(&self, n: usize) -> Process {
        let mut args = vec!["node".to_owned()];
        args.extend(self.common());
        let own: [(&str, String); 8] = [
            ("--id", format!("node-{}", n + 1)),
            ("--listen", format!("127.0.0.1:{}", self.node_ports[n])),
            ("--udp-port", "0".to_owned()),
            ("--ip", "127.0.0.1".to_owned()),
            ("--relay", "127.0.0.1:0".to_owned()),
            ("--max-sessions", self.plan.max_sessions.to_string()),
            // A debug build on a machine that runs other tests is busy at times.
            ("--max-busy", "100%".to_owned()),
            ("--drain-timeout", "1s".to_owned()),
        ];
        args.extend(own.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]));
        let name = format!("node-{}", n + 1);
        self.process(&name, self.node_ports[n], args)
    }

    pub fn coordinator(&self, n: usize) -> Process {
        let mut args = vec!["coordinator".to_owned()];
        args.extend(self.common());
        let name = format!("coordinator-{}", n + 1);
        args.extend(["--id".to_owned(), name.clone()]);
        args.extend(["--listen".to_owned(), format!("127.0.0.1:{}", self.ports[n])]);
        self.process(&name, self.ports[n], args)
    }

    fn process(&self, name: &str, port: u16, mut args: Vec<String>) -> Process {
        let port = port.to_string();
        args.extend((self.more)(name).iter().map(|flag| flag.replace("OWN-PORT", &port)));
        let env = (self.env)(name);
        let env: Vec<(&str, &str)> = env.iter().map(|(key, value)| (*key, value.as_str())).collect();
        Process::start(self.dir.path(), &self.test, name, &args, &env)
    }

    pub fn url(&self, coordinator: usize) -> String {
        let flags = (self.more)(&format!("coordinator-{}", coordinator + 1));
        let scheme = if flags.iter().any(|flag| flag == "--tls-cert") { "https" } else { "http" };
        format!("{scheme}://127.0.0.1:{}", self.ports[coordinator])
    }

    /// The API keys of all processes, a line each.
    pub fn key_file(&self) -> PathBuf {
        self.dir.path().join("keys")
    }

    /// Waits until every coordinator says that every node is alive.
    pub async fn settled(&self) {
        let operator = token("*", "operator", "admin");
        for n in 0..self.coordinators.len() {
            hears(&self.url(n), self.nodes.iter().flatten().count(), Some(&operator)).await;
        }
    }

    /// What a room is to a coordinator; `None` when it does not know it.
    pub async fn room(&self, coordinator: usize, room: &str) -> Option<serde_json::Value> {
        let operator = token(room, "operator", "admin");
        get_json(&format!("{}/v1/rooms/{room}", self.url(coordinator)), Some(&operator)).await
    }

    /// A room's tree as a coordinator knows it: `epoch` and `members`.
    pub async fn tree(&self, coordinator: usize, room: &str) -> Option<serde_json::Value> {
        let operator = token("*", "operator", "admin");
        let state = get_json(&format!("{}/v1/cluster", self.url(coordinator)), Some(&operator)).await?;
        state["rooms"].as_array()?.iter().find(|r| r["room"] == room).cloned()
    }

    /// What a coordinator says of a node.
    pub async fn node_info(&self, coordinator: usize, node: &str) -> Option<serde_json::Value> {
        let operator = token("*", "operator", "admin");
        let state = get_json(&format!("{}/v1/nodes", self.url(coordinator)), Some(&operator)).await?;
        state["nodes"].as_array()?.iter().find(|n| n["id"] == node).cloned()
    }

    /// Keys that stand in etcd under a prefix.
    pub async fn stored(&self, prefix: &str) -> Vec<String> {
        let config = EtcdConfig { endpoints: vec![self.etcd.url()], ..EtcdConfig::default() };
        let listing = EtcdStore::new(config).unwrap().list(prefix).await.expect("etcd answers");
        listing.entries.into_iter().map(|entry| entry.key).collect()
    }

    /// The logs' ends, for a failure's message.
    pub fn tails(&self) -> String {
        let all = self.nodes.iter().chain(&self.coordinators).flatten();
        all.map(|p| format!("--- {}\n{}\n", p.name, p.tail())).collect()
    }
}

/// Adds a secret to the list that the logs are searched for.
pub fn remember_secret(secret: &str) {
    if let Some(logs) = std::env::var_os("FRESHET_TEST_LOGS") {
        let _ = std::fs::create_dir_all(&logs);
        let path = PathBuf::from(logs).join("secrets.txt");
        let mut file: File = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{secret}").unwrap();
    }
}

/// Mints a token with the built binary, as a user would.
pub fn token(room: &str, identity: &str, grants: &str) -> String {
    token_of(("FRESHET_API_KEY", KEY.as_ref()), room, identity, grants)
}

/// The same by a key that a setting names.
pub fn token_of(key: (&str, &std::ffi::OsStr), room: &str, identity: &str, grants: &str) -> String {
    let out = Command::new(program())
        .args(["token", "--room", room, "--identity", identity, "--grant", grants, "--ttl", "1h"])
        .env(key.0, key.1)
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let token = String::from_utf8(out.stdout).unwrap().trim().to_owned();
    remember_secret(&token);
    token
}

/// Asks again every 50 ms until there is an answer, or fails.
pub async fn eventually<T, F, Fut>(within: Duration, what: &str, mut ask: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let until = Instant::now() + within;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An HTTP answer.
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: bytes::Bytes,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// An answer is one of docs/api.md, with the headers that it promises.
    fn check(&self, method: &str, url: &str) {
        keeps_to_the_manual(method, url, self.status, &self.headers);
        let kind = self.headers.get("content-type").and_then(|value| value.to_str().ok());
        let is_problem = kind.is_some_and(|kind| kind.starts_with("application/problem+json"));
        if is_problem && !self.body.is_empty() {
            problems::check(self.status, &self.json(), &as_text(&self.headers));
        }
    }
}

/// Headers in small letters, and their values.
fn as_text(headers: &http::HeaderMap) -> Vec<(String, String)> {
    let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    };
    headers.iter().map(header).collect()
}

/// Who answers is always one of ours, or a proxy in front of one.
fn keeps_to_the_manual(method: &str, url: &str, status: u16, headers: &http::HeaderMap) {
    answers::check(method, url.parse::<http::Uri>().unwrap().path(), status, &as_text(headers));
}

/// One HTTP request; `None` when nobody answers.
#[allow(clippy::print_stderr, reason = "why there is no answer is shown where a test fails")]
pub async fn request(
    method: &str,
    url: &str,
    token: Option<&str>,
    headers: &[(&str, &str)],
    body: impl Into<bytes::Bytes>,
) -> Option<Answer> {
    use http_body_util::{BodyExt as _, Full};
    let client = client::client::<Full<bytes::Bytes>>();
    let mut request = http::Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).ok()?;
    let response = tokio::time::timeout(Duration::from_secs(10), client.request(request)).await.ok()?;
    let response = response.inspect_err(|error| eprintln!("{method} {url}: {error:?}")).ok()?;
    let (parts, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let answer = Answer { status: parts.status.as_u16(), headers: parts.headers, body };
    answer.check(method, url);
    Some(answer)
}

pub async fn get_json(url: &str, token: Option<&str>) -> Option<serde_json::Value> {
    let answer = request("GET", url, token, &[], "").await?;
    (answer.status == 200).then(|| answer.json())
}

/// Waits until a coordinator has heard so many nodes. One that it never heard is alive to it and placed on last, and while
/// it waits for that a cluster that is full says `starting`.
pub async fn hears(url: &str, nodes: usize, token: Option<&str>) {
    eventually(Duration::from_secs(30), &format!("{url} hears {nodes} nodes"), || async {
        let list = get_json(&format!("{url}/v1/nodes"), token).await?;
        let heard = |node: &&serde_json::Value| node["state"] == "alive" && node["heard"] == true;
        (list["nodes"].as_array()?.iter().filter(heard).count() >= nodes).then_some(())
    })
    .await;
}

/// A publisher with stamped media, sending.
pub async fn publish(
    base: &str,
    room: &str,
    token: &str,
    edit: impl FnOnce(&mut PublisherConfig),
) -> Publisher {
    let mut config = PublisherConfig::new(format!("{base}/whip/{room}"));
    config.token = Some(token.to_owned());
    edit(&mut config);
    Publisher::connect(config).await.expect("the publisher joins")
}

/// A viewer.
pub async fn view(base: &str, room: &str, token: &str, edit: impl FnOnce(&mut ViewerConfig)) -> Viewer {
    let mut config = ViewerConfig::new(format!("{base}/whep/{room}"));
    config.token = Some(token.to_owned());
    config.retry_for = Duration::from_secs(15);
    edit(&mut config);
    Viewer::connect(config).await.expect("a viewer joins")
}

/// Packets of video that a viewer got from a publisher.
pub fn received_from(viewer: &Viewer, publisher: u64) -> u64 {
    let report = viewer.report();
    let segments = &report.video().unwrap().segments;
    segments.iter().filter(|s| s.publisher == publisher).map(|s| s.received).sum()
}

/// The value of a metric of a node.
pub async fn metric(url: &str, name: &str) -> Option<f64> {
    let answer = request("GET", &format!("{url}/metrics"), None, &[], "").await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' ')?.trim().parse().ok())
}

/// All gauges of a role, labels with their names.
pub async fn gauges(url: &str) -> Option<BTreeMap<String, f64>> {
    let answer = request("GET", &format!("{url}/metrics"), None, &[], "").await?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let kinds = text.lines().filter_map(|l| l.strip_prefix("# TYPE ")?.split_once(' '));
    let gauges: BTreeSet<&str> = kinds.filter(|(_, kind)| *kind == "gauge").map(|(name, _)| name).collect();
    let values = text.lines().filter_map(|line| {
        let (name, value) = line.rsplit_once(' ')?;
        let of = name.split('{').next()?;
        gauges.contains(of).then_some((name.to_owned(), value.parse().ok()?))
    });
    Some(values.collect())
}

/// What a session's URL says about where it is served.
pub fn served_by(url: &str) -> &str {
    url.split_once("/sessions/").and_then(|(_, rest)| rest.split('/').next()).expect("a session's URL")
}

/// Reads a room's events until it is dropped.
pub struct Listener {
    text: std::sync::Arc<std::sync::Mutex<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Listener {
    pub async fn open(base: &str, room: &str, token: &str) -> Self {
        Self::open_after(base, room, token, None).await
    }

    /// The same with the id of the last message seen.
    pub async fn open_after(base: &str, room: &str, token: &str, last: Option<&str>) -> Self {
        Self::read_after(&format!("{base}/v1/rooms/{room}/events"), token, last).await
    }

    /// Reads any stream of events.
    pub async fn read(url: &str, token: &str) -> Self {
        Self::read_after(url, token, None).await
    }

    async fn read_after(url: &str, token: &str, last: Option<&str>) -> Self {
        use http_body_util::{BodyExt as _, Empty};
        let client = client::client::<Empty<bytes::Bytes>>();
        let request = http::Request::get(url).header("authorization", format!("Bearer {token}"));
        let request = last.iter().fold(request, |request, id| request.header("last-event-id", *id));
        let request = request.body(Empty::new()).unwrap();
        let mut response = client.request(request).await.expect("the events' stream opens");
        assert_eq!(response.status(), 200, "the events' stream opens");
        keeps_to_the_manual("GET", url, 200, response.headers());
        let text = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let seen = text.clone();
        let task = tokio::spawn(async move {
            while let Some(Ok(frame)) = response.frame().await {
                if let Ok(data) = frame.into_data() {
                    seen.lock().unwrap().push_str(&String::from_utf8_lossy(&data));
                }
            }
        });
        Self { text, task }
    }

    /// Whether the stream has ended.
    pub fn ended(&self) -> bool {
        self.task.is_finished()
    }

    /// All that came so far.
    pub fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}
