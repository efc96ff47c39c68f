//! A node's surface on a real socket, and requests written by hand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use freshet_cluster::secret::Secret;
use freshet_cluster::token::{ApiKey, ApiKeys, sign};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Incarnation, NodeId};
use freshet_edge::call::Verifier;
use freshet_edge::health::Readiness;
use freshet_edge::ice::{IceServers, TurnRest};
use freshet_edge::metrics::{HttpMetrics, Metrics};
use freshet_edge::places::Places;
use freshet_edge::serve::{Limits, serve};
use freshet_edge::ticket::Tickets;
use freshet_edge::{Door, DoorConfig, Guard};
use freshet_node::http::{HttpState, router};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::fake::Fake;
use super::{answers, problems};

pub const KEY: &str = "k1:0123456789abcdef0123456789abcdef";
pub const CLUSTER: &str = "cluster secret of the tests";
pub const SDP: (&str, &str) = ("Content-Type", "application/sdp");
pub const FRAGMENT: (&str, &str) = ("Content-Type", "application/trickle-ice-sdpfrag");

pub struct Node {
    pub addr: SocketAddr,
    pub fake: Arc<Fake>,
}

/// What a node of a test is like.
pub struct Setup {
    pub open: bool,
    pub calls: bool,
    pub public_url: Option<&'static str>,
    pub ice: IceServers,
    pub ready: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self { open: false, calls: true, public_url: None, ice: IceServers::default(), ready: true }
    }
}

pub fn turn() -> IceServers {
    let urls = vec!["turn:t.example?transport=udp".into(), "turns:t.example:443".into()];
    let turn = TurnRest { urls, secret: Secret::new("north"), ttl: Duration::from_secs(600) };
    IceServers { plain: vec!["stun:s.example".into()], turn: Some(turn) }
}

pub fn node_id() -> NodeId {
    "n1".parse().unwrap()
}

pub fn incarnation() -> Incarnation {
    Incarnation::from_bits(0xabc)
}

pub async fn start(setup: Setup) -> Node {
    let fake = Arc::new(Fake::default());
    let keys = ApiKeys::new([KEY.parse::<ApiKey>().unwrap()]).unwrap();
    let metrics = Metrics::new();
    let http_metrics = HttpMetrics::new(&metrics, "node").unwrap();
    let ready = setup.ready;
    let state = HttpState {
        service: Arc::clone(&fake) as _,
        listeners: Places::new(100, 2),
        door: Door::new(DoorConfig::default(), &metrics, "node", true).unwrap(),
        guard: if setup.open { Guard::open() } else { Guard::tokens(keys) },
        calls: setup.calls.then(|| Arc::new(Verifier::new(&Secret::new(CLUSTER)))),
        tickets: setup.calls.then(|| Arc::new(Tickets::new(&Secret::new(CLUSTER), node_id(), incarnation()))),
        node: node_id(),
        incarnation: incarnation(),
        public_url: setup.public_url.map(Into::into),
        ice: Arc::new(setup.ice),
        metrics,
        http_metrics: http_metrics.clone(),
        ready: Readiness::new(move || if ready { Ok(()) } else { Err("the store is away".into()) }),
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let forever = std::future::pending();
    tokio::spawn(serve(
        listener,
        router(state),
        Limits::default(),
        Some(http_metrics),
        forever,
        Duration::ZERO,
    ));
    Node { addr, fake }
}

/// A header that carries a token with these claims.
pub fn token(room: &str, identity: &str, grants: &[&str], streams: &[&str]) -> String {
    let now = UnixMillis::now().0 / 1000;
    let claims = serde_json::json!({
        "room": room, "identity": identity, "grants": grants, "streams": streams, "iat": now, "exp": now + 600,
    });
    format!("Bearer {}", sign(&KEY.parse().unwrap(), &serde_json::from_value(claims).unwrap()))
}

pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.as_str()).collect()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} is there {} times", all.len());
        all.first().copied()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {:?}", self.body))
    }

    /// The session's URL path.
    pub fn location(&self) -> String {
        assert_eq!(self.status, 201, "{}", self.body);
        self.header("location").expect("a Location").to_owned()
    }
}

impl Node {
    pub async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: node\r\nConnection: close\r\n");
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() || method == "POST" {
            text.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        text.push_str("\r\n");
        text.push_str(body);
        let reply = self.raw(text.as_bytes()).await;
        answers::check(method, path, reply.status, &reply.headers);
        reply
    }

    /// Sends a request whose answer goes on, and returns its status beside the connection.
    pub async fn open(&self, path: &str, headers: &[(&str, &str)]) -> (u16, TcpStream) {
        let mut text = format!("GET {path} HTTP/1.1\r\nHost: node\r\n");
        headers.iter().for_each(|(name, value)| text.push_str(&format!("{name}: {value}\r\n")));
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
        let mut head = [0; 12];
        let read = timeout(Duration::from_secs(20), stream.read_exact(&mut head)).await;
        read.expect("an answer in time").unwrap();
        (std::str::from_utf8(&head[9..]).unwrap().parse().unwrap(), stream)
    }

    pub async fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
        read.expect("an answer in time").unwrap();
        parse(&String::from_utf8(answer).unwrap())
    }
}

fn parse(text: &str) -> Reply {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let header = |line: &str| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_ascii_lowercase(), value.to_owned())
    };
    Reply { status, headers: lines.map(header).collect(), body: body.to_owned() }
}

/// What holds of every refusal: a problem detail that says what to do, readable by any page.
pub fn check_problem(reply: &Reply, status: u16, reason: Option<&str>) {
    assert_eq!(reply.status, status, "{}", reply.body);
    assert_eq!(reply.header("content-type"), Some("application/problem+json"));
    assert_eq!(reply.header("access-control-allow-origin"), Some("*"));
    let json = reply.json();
    problems::check(status, &json, &reply.headers);
    assert_eq!(json["status"], status);
    assert_eq!(json["reason"].as_str(), reason, "{json}");
    assert!(json["detail"].as_str().is_some_and(|d| d.len() > 15), "{json}");
    assert!(json["title"].is_string() && json["type"].is_string(), "{json}");
}
