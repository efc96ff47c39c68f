//! Every setting there is: one table from which flags, environment variables, file keys, help and print are made.

use std::fmt;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything in one process, for a look.
    Dev,
    /// Media.
    Node,
    /// Gateway, placement and API.
    Coordinator,
}

impl Role {
    /// All roles.
    pub const ALL: [Role; 3] = [Self::Dev, Self::Node, Self::Coordinator];

    /// The word on the command line and the table in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Node => "node",
            Self::Coordinator => "coordinator",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many values a setting has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arity {
    /// One.
    One,
    /// Any number: the flag is repeated, or values are separated by commas.
    Many,
    /// `true` or `false`; the bare flag means `true`.
    Switch,
}

/// What of a value is hidden when it is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mask {
    /// Nothing.
    Open,
    /// All of it.
    All,
    /// What follows the first colon: `ID:SECRET`.
    AfterColon,
    /// The password of a URL.
    UrlPassword,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Flag and file key; the environment variable is `FRESHET_` and this in capitals.
    pub key: &'static str,
    /// What the help calls its value.
    pub value: &'static str,
    /// How many.
    pub arity: Arity,
    /// What is hidden.
    pub mask: Mask,
    /// Who has it.
    pub roles: &'static [Role],
    /// Value when nobody says otherwise, in dev, node and coordinator; `None` when it is left out.
    pub default: [Option<&'static str>; 3],
    /// Heading in the help.
    pub heading: &'static str,
    /// Explanation.
    pub help: &'static str,
}

impl Setting {
    /// Its environment variable.
    pub fn env(&self) -> String {
        format!("FRESHET_{}", self.key.replace('-', "_").to_ascii_uppercase())
    }

    /// Its default in a role.
    pub fn default_in(&self, role: Role) -> Option<&'static str> {
        let [dev, node, coordinator] = self.default;
        match role {
            Role::Dev => dev,
            Role::Node => node,
            Role::Coordinator => coordinator,
        }
    }
}

/// The setting of a key.
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|s| s.key == key)
}

/// The settings of a role, in the order of the help.
pub fn of(role: Role) -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().filter(move |s| s.roles.contains(&role))
}

const ALL: &[Role] = &Role::ALL;
const MEDIA: &[Role] = &[Role::Dev, Role::Node];
const CLUSTER: &[Role] = &[Role::Node, Role::Coordinator];
const NODE: &[Role] = &[Role::Node];
const PLACING: &[Role] = &[Role::Dev, Role::Coordinator];
const DEV: &[Role] = &[Role::Dev];

const HTTP: &str = "HTTP";
const ACCESS: &str = "Access";
const MEDIA_HEADING: &str = "Media";
const RELAY: &str = "Between nodes";
const NAMES: &str = "Names";
const STORE: &str = "Store and bus";
const PROCESS: &str = "Process";

const fn one(
    key: &'static str,
    value: &'static str,
    roles: &'static [Role],
    heading: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, value, arity: Arity::One, mask: Mask::Open, roles, default: [None; 3], heading, help }
}

impl Setting {
    const fn many(mut self) -> Self {
        self.arity = Arity::Many;
        self
    }

    const fn switch(mut self) -> Self {
        self.arity = Arity::Switch;
        self
    }

    const fn hides(mut self, mask: Mask) -> Self {
        self.mask = mask;
        self
    }

    const fn default_all(mut self, value: &'static str) -> Self {
        self.default = [Some(value); 3];
        self
    }

    const fn defaults(mut self, dev: &'static str, node: &'static str, coordinator: &'static str) -> Self {
        self.default = [Some(dev), Some(node), Some(coordinator)];
        self
    }
}

/// The table.
pub const SETTINGS: &[Setting] = &[
    one("listen", "ADDR:PORT", ALL, HTTP, "Where HTTP is served. Port 0 takes a free one")
        .defaults("127.0.0.1:8080", "0.0.0.0:8080", "0.0.0.0:8080"),
    one(
        "public-url",
        "URL",
        ALL,
        HTTP,
        "What clients see in front of a proxy, path prefix included; session URLs then begin with it",
    )
    .hides(Mask::UrlPassword),
    one(
        "http-advertise",
        "URL",
        NODE,
        HTTP,
        "How coordinators reach this node, as in http://10.0.0.7:8080. Default: the address of --listen, or the \
         first --ip when that is 0.0.0.0",
    )
    .hides(Mask::UrlPassword),
    one(
        "listen-plain",
        "ADDR:PORT",
        NODE,
        HTTP,
        "With --tls-cert: where this node serves HTTP without TLS as well, for coordinators; an address of the inside network",
    ),
    one(
        "tls-cert",
        "FILE",
        ALL,
        HTTP,
        "PEM: the certificate that clients are shown, and behind it what leads to its authority; --listen then speaks TLS alone. Read again when it changes",
    ),
    one("tls-key", "FILE", ALL, HTTP, "PEM: its key"),
    one(
        "tls",
        "true|false",
        DEV,
        HTTP,
        "HTTPS with a certificate of this machine's own making, so that a phone in the same network can publish; listens on 0.0.0.0:8443 unless told",
    )
    .switch()
    .default_all("false"),
    one(
        "join",
        "proxy|redirect",
        PLACING,
        HTTP,
        "proxy: coordinators hand joins to nodes; redirect: they send clients on to the node's own URL (its \
         --public-url, or --http-advertise) by 307, with a ticket",
    )
    .default_all("proxy"),
    one(
        "trusted-proxy",
        "CIDR",
        ALL,
        HTTP,
        "A proxy, or a network of proxies, whose Forwarded and X-Forwarded-For are believed, as in 10.0.0.0/8",
    )
    .many(),
    one(
        "region-header",
        "NAME",
        PLACING,
        HTTP,
        "The header in which a trusted proxy names the client's region, as in X-Freshet-Region",
    ),
    one(
        "address-limit",
        "RATE:BURST",
        ALL,
        HTTP,
        "POSTs of one address (IPv6: of one /64) a second, and at once; off: no limit",
    )
    .default_all("200:2000"),
    one("identity-limit", "RATE:BURST", ALL, HTTP, "POSTs of one token's identity a second, and at once, or off")
        .default_all("100:1000"),
    one(
        "failure-limit",
        "RATE:BURST",
        ALL,
        HTTP,
        "Requests of one address with a bad token a second, and at once, before it is looked at no more, or off",
    )
    .default_all("20:100"),
    one(
        "identity-listeners",
        "N",
        ALL,
        HTTP,
        "Event streams that one token's identity reads at a time at one process; 0: no limit",
    )
    .default_all("20"),
    one("open", "true|false", ALL, ACCESS, "Take everyone, without tokens. The default of dev without API keys")
        .switch()
        .defaults("true", "false", "false"),
    one(
        "api-key",
        "ID:SECRET",
        ALL,
        ACCESS,
        "A key that signs access tokens; the secret has 16 bytes or more. Others see flags in `ps`: prefer the file \
         or the environment",
    )
    .many()
    .hides(Mask::AfterColon),
    one(
        "api-key-file",
        "FILE",
        ALL,
        ACCESS,
        "API keys, one ID:SECRET a line; lines that begin with # are skipped. Read anew when it changes",
    ),
    one("jwks-url", "URL", ALL, ACCESS, "Public keys (a JWK set) of another issuer: RS256, ES256 and EdDSA tokens")
        .hides(Mask::UrlPassword),
    one(
        "jwks-audience",
        "TEXT",
        ALL,
        ACCESS,
        "How that issuer's tokens name this cluster in `aud`: they must, then. Without it those with an `aud` are \
         refused",
    ),
    one("token-life-max", "TIME", ALL, ACCESS, "Tokens that live longer are refused, 1m to 30d").default_all("24h"),
    one(
        "cluster-secret",
        "TEXT",
        CLUSTER,
        ACCESS,
        "Signs calls from coordinators to nodes; the same for all, 16 bytes or more. Prefer the file",
    )
    .hides(Mask::All),
    one("cluster-secret-file", "FILE", CLUSTER, ACCESS, "A file that holds the cluster secret"),
    one("udp-port", "PORT", MEDIA, MEDIA_HEADING, "First UDP port of media, one for each shard; 0 takes free ones")
        .defaults("0", "7700", "7700"),
    one(
        "ip",
        "IP",
        MEDIA,
        MEDIA_HEADING,
        "An address at which clients reach this node's media, short for --candidate. Default: the addresses of --udp-bind, \
         or that of --listen, unless those are 0.0.0.0",
    )
    .many(),
    one(
        "udp-bind",
        "ADDR",
        MEDIA,
        MEDIA_HEADING,
        "An address of this machine at which media is taken; :: takes IPv4 too, unless that has one of its own. \
         Default: every address",
    )
    .many(),
    one(
        "candidate",
        "ADDR[:PORT][=BIND_ADDR]",
        MEDIA,
        MEDIA_HEADING,
        "An address that clients are told, with its port where a NAT maps it (shard n: PORT + n), and the address of this \
         machine that their packets then come to",
    )
    .many(),
    one(
        "shards",
        "N",
        MEDIA,
        MEDIA_HEADING,
        "Media threads, each with a UDP port of its own; auto: one for each core but one",
    )
    .defaults("1", "auto", "1"),
    one(
        "batch",
        "TIME",
        MEDIA,
        MEDIA_HEADING,
        "Packets wait so long for the rest of their frame before they go to viewers, 0 to 10ms; sound waits no longer",
    )
    .default_all("5ms"),
    one(
        "viewer-cap",
        "BITRATE",
        MEDIA,
        MEDIA_HEADING,
        "Bits per second that one viewer is sent at most, as in 8M. Default: no cap",
    ),
    one(
        "ring-time",
        "TIME",
        MEDIA,
        MEDIA_HEADING,
        "Packets of a track are kept so long, for retransmission and joiners, 500ms to 10s",
    )
    .default_all("2s"),
    one(
        "ring-bytes",
        "SIZE",
        MEDIA,
        MEDIA_HEADING,
        "So many bytes of a layer of a track are kept at most, 256KiB to 16MiB, in at most a packet for each KiB",
    )
    .default_all("4MiB"),
    one(
        "keyframe-age",
        "TIME",
        MEDIA,
        MEDIA_HEADING,
        "A joiner begins at the last keyframe when that is at most so old, 0 to ring-time, and that by default where it is less than 1s; else the publisher is asked for one",
    )
    .default_all("1s"),
    one("max-sessions", "N", MEDIA, MEDIA_HEADING, "Sessions that a node takes before it refuses more")
        .default_all("2000"),
    one(
        "max-busy",
        "PERCENT",
        MEDIA,
        MEDIA_HEADING,
        "A media thread at work for so much of its time is given no more sessions, 1% to 100%; 100% is no limit",
    )
    .default_all("90%"),
    one("max-egress", "BITRATE", MEDIA, MEDIA_HEADING, "Bits per second up to which coordinators place sessions on a node, as in 4G or 800M")
        .default_all("4G"),
    one(
        "ice-server",
        "URL",
        ALL,
        MEDIA_HEADING,
        "A STUN or TURN server that clients are told of, as in turn:turn.example.org:3478?transport=udp",
    )
    .many(),
    one("turn-secret", "TEXT", ALL, MEDIA_HEADING, "The shared secret from which TURN passwords are made")
        .hides(Mask::All),
    one("turn-secret-file", "FILE", ALL, MEDIA_HEADING, "A file that holds the TURN secret"),
    one("room-linger", "TIME", ALL, MEDIA_HEADING, "A node leaves a room's tree this long after its last session there")
        .default_all("10s"),
    one("relay", "ADDR:PORT", NODE, RELAY, "Where relay links (QUIC, UDP) are taken").default_all("0.0.0.0:7600"),
    one(
        "relay-advertise",
        "ADDR:PORT",
        NODE,
        RELAY,
        "How other nodes reach the relay. Default: the address of --relay, or the first --ip when that is 0.0.0.0",
    ),
    one(
        "relay-ca",
        "FILE",
        NODE,
        RELAY,
        "PEM: the authority behind the relay certificates of all nodes. With --relay-cert and --relay-key, instead of \
         certificates that nodes make at start and publish in the registry",
    ),
    one("relay-cert", "FILE", NODE, RELAY, "PEM: this node's relay certificate, for the DNS name freshet-relay"),
    one("relay-key", "FILE", NODE, RELAY, "PEM: its key"),
    one("nodes", "N", DEV, NAMES, "Nodes in this process, with real QUIC links between them").default_all("1"),
    one("id", "NAME", CLUSTER, NAMES, "This process's name in the cluster. Default: host name and HTTP port"),
    one("region", "NAME", ALL, NAMES, "Viewers and links prefer their own region; a coordinator takes clients to be in its own").default_all(""),
    one("zone", "NAME", MEDIA, NAMES, "The failure domain within the region").default_all(""),
    one("etcd", "URL,…", CLUSTER, STORE, "Members of the etcd cluster (3.4 or newer)")
        .many()
        .hides(Mask::UrlPassword)
        .default_all("http://127.0.0.1:2379"),
    one("etcd-user", "NAME", CLUSTER, STORE, "etcd user"),
    one("etcd-password-file", "FILE", CLUSTER, STORE, "A file that holds the etcd user's password"),
    one("etcd-ca", "FILE", CLUSTER, STORE, "PEM: the authority behind etcd's certificate"),
    one("etcd-cert", "FILE", CLUSTER, STORE, "PEM: our certificate for etcd"),
    one("etcd-key", "FILE", CLUSTER, STORE, "PEM: its key"),
    one("nats", "URL,…", CLUSTER, STORE, "Servers of the NATS cluster (2.9 or newer, with JetStream)")
        .many()
        .hides(Mask::UrlPassword)
        .default_all("nats://127.0.0.1:4222"),
    one("nats-creds", "FILE", CLUSTER, STORE, "NATS credentials file (JWT and seed)"),
    one("nats-user", "NAME", CLUSTER, STORE, "NATS user"),
    one("nats-password-file", "FILE", CLUSTER, STORE, "A file that holds the NATS user's password"),
    one("nats-token-file", "FILE", CLUSTER, STORE, "A file that holds a NATS token"),
    one("nats-ca", "FILE", CLUSTER, STORE, "PEM: the authority behind the NATS servers' certificates"),
    one("nats-cert", "FILE", CLUSTER, STORE, "PEM: our certificate for NATS"),
    one("nats-key", "FILE", CLUSTER, STORE, "PEM: its key"),
    one("nats-replicas", "N", CLUSTER, STORE, "Copies of the chat history that JetStream keeps, when we create it")
        .default_all("1"),
    one(
        "drain-timeout",
        "TIME",
        ALL,
        PROCESS,
        "After SIGTERM, sessions may go on so long before they are told to leave",
    )
    .defaults("0s", "60s", "10s"),
    one("log", "text|json", ALL, PROCESS, "The form of log lines").default_all("text"),
    one("log-level", "LEVEL", ALL, PROCESS, "error, warn, info, debug, trace, off, or a filter as in info,freshet_node=debug. RUST_LOG stands in for the default")
        .default_all("info"),
];
