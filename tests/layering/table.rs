//! The house: which crate may import which, and which modules decide (machines) or do I/O (shells).
//!
//! A new crate or a new top-level module is written down here before it builds green. The longest
//! prefix wins, so a shell inside a machine folder (or the reverse) is one more line.

/// A package of the workspace.
pub struct Package {
    /// Folder below the repository's root; empty for the root package.
    pub dir: &'static str,
    pub name: &'static str,
    /// Names of the workspace's packages that it may import, tests included.
    pub may_import: &'static [&'static str],
    /// Modules that take values and `now`, and do no I/O.
    pub machines: &'static [&'static str],
    /// Modules with sockets, timers, stores, clocks or randomness, and the assembly.
    pub shells: &'static [&'static str],
}

const CLUSTER: &str = "freshet-cluster";
const RELAY: &str = "freshet-relay-proto";
const EDGE: &str = "freshet-edge";
const NODE: &str = "freshet-node";
const COORDINATOR: &str = "freshet-coordinator";
const LOADTEST: &str = "freshet-loadtest";
const SUPPORT: &str = "freshet-test-support";

pub const HOUSE: &[Package] = &[
    Package {
        dir: "cluster",
        name: CLUSTER,
        may_import: &[],
        machines: &[
            "access", "backoff", "id", "keys", "load", "plan", "record", "room", "secret", "token", "unit",
            "version",
        ],
        shells: &["bus", "clock", "store", "testing"],
    },
    Package {
        dir: "relay-proto",
        name: RELAY,
        may_import: &[CLUSTER],
        machines: &[
            "code", "control", "error", "frame", "header", "link", "split", "track", "varint", "wire",
        ],
        shells: &[],
    },
    Package {
        dir: "edge",
        name: EDGE,
        may_import: &[CLUSTER],
        machines: &["hops", "ice", "nonces", "rate", "stream_health", "tls::expiry", "waiting"],
        // The vocabulary of the shells that speak HTTP: it decides nothing about media or the cluster.
        shells: &[
            "bearer",
            "bind",
            "body",
            "call",
            "conditional",
            "cors",
            "door",
            "health",
            "jwks",
            "keys",
            "media_type",
            "metrics",
            "names",
            "places",
            "problem",
            "roster",
            "rules",
            "scope",
            "sdp",
            "serve",
            "sse",
            "ticket",
            "tls",
        ],
    },
    Package {
        dir: "node",
        name: NODE,
        may_import: &[CLUSTER, RELAY, EDGE],
        machines: &[
            "book",
            "media",
            "forward",
            "peer",
            "link",
            "agent",
            "audience",
            "session",
            "sfu",
            "switchboard",
        ],
        shells: &["shard", "socket", "quic", "http", "control", "metrics", "node", "service"],
    },
    Package {
        dir: "coordinator",
        name: COORDINATOR,
        may_import: &[CLUSTER, EDGE],
        machines: &["core", "view", "place", "cascade", "liveness", "readiness", "diff"],
        shells: &["api", "app", "config", "coordinator", "events", "gateway", "metrics", "shell", "web"],
    },
    Package {
        dir: "loadtest",
        name: LOADTEST,
        may_import: &[CLUSTER],
        machines: &[
            "agents::chunks",
            "agents::offset",
            "capacity",
            "chat::ledger",
            "chat::sse",
            "hls::player",
            "hls::playlist",
            "hls::tags",
            "hls::track",
            "measure",
            "media",
            "num",
            "path",
            "report",
            "scenario",
            "units",
        ],
        shells: &["agents", "chat", "cli", "client", "clock", "command", "dashboard", "files", "hls", "run"],
    },
    Package {
        dir: "sim",
        name: "freshet-sim",
        may_import: &[CLUSTER, RELAY, EDGE, NODE, COORDINATOR],
        // One seed is one run: all of it is pure.
        machines: &["node", "queue", "report", "store", "world"],
        shells: &[],
    },
    Package {
        dir: "tests/support",
        name: SUPPORT,
        may_import: &[CLUSTER, RELAY, EDGE, NODE, LOADTEST],
        machines: &[],
        shells: &[
            "answers", "byhand", "client", "dev", "harness", "names", "nets", "node", "peer", "problems",
            "stun",
        ],
    },
    Package {
        dir: "",
        name: "freshet",
        may_import: &[CLUSTER, RELAY, EDGE, NODE, COORDINATOR, LOADTEST, SUPPORT, "freshet-sim"],
        machines: &[
            "config::error",
            "config::layers",
            "config::settings",
            "config::value",
            "lifecycle::machine",
        ],
        shells: &["cli", "config", "explain", "host", "lifecycle", "logging", "mint", "output", "role"],
    },
];

/// What a machine may not name, as the path it resolves to, with the reason.
pub const FORBIDDEN: &[(&str, &str)] = &[
    ("tokio", "a machine has no runtime"),
    ("std::fs", "a machine reads no files"),
    ("std::env", "a machine takes its settings as values"),
    ("std::thread", "a machine has no threads"),
    ("std::net::UdpSocket", "a machine has no sockets"),
    ("std::net::TcpStream", "a machine has no sockets"),
    ("std::net::TcpListener", "a machine has no sockets"),
    ("std::sync::Mutex", "a machine has one owner and no locks"),
    ("std::sync::RwLock", "a machine has one owner and no locks"),
    ("std::time::Instant::now", "pass `now` in"),
    ("std::time::SystemTime::now", "pass the time in"),
    ("Instant::now", "pass `now` in"),
    ("SystemTime::now", "pass the time in"),
    ("tokio::time::Instant::now", "pass `now` in"),
    ("rand::rng", "pass the random source in"),
    ("rand::thread_rng", "pass the random source in"),
    ("rand::random", "pass the random source in"),
    ("rand::rngs::OsRng", "pass the random source in"),
    ("rand::rngs::ThreadRng", "pass the random source in"),
    ("aws_lc_rs::rand::SystemRandom", "pass the random source in"),
    ("aws_lc_rs::rand::fill", "pass the random source in"),
    ("socket2", "a machine has no sockets"),
    ("quinn", "a machine has no sockets"),
    ("hyper", "a machine has no sockets"),
    ("axum", "a machine speaks no HTTP"),
    ("async_nats", "a machine has no bus"),
    ("etcd_client", "a machine has no store"),
];

/// Words that a machine may not use, with the reason.
pub const FORBIDDEN_WORDS: &[(&str, &str)] = &[
    ("async", "a machine never waits"),
    ("await", "a machine never waits"),
    (".elapsed()", "it reads the clock: subtract from `now`"),
];

/// Longest source file, in lines, before a seam must be found.
pub const LONGEST_FILE: usize = 600;

/// The one place where `unsafe` may stand.
pub const UNSAFE_HOME: &str = "node/src/socket/";
