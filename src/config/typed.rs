//! One typed configuration per role, checked as a whole before anything starts.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use freshet_cluster::secret::Secret;
use freshet_cluster::token::{ApiKey, ApiKeys, LIFE_MOST_S};
use freshet_cluster::unit::Bitrate;
use freshet_edge::DoorConfig;
use freshet_edge::hops::Trusted;
use freshet_edge::jwks::JwksUrl;
use freshet_edge::tls;
use freshet_node::book::Addresses;

use super::addresses::addresses;
use super::doors;
use super::error::ConfigError;
use super::layers::{Layers, Origin, RUST_LOG};
use super::level;
use super::member::{Member, member};
use super::pem;
use super::reader::{ReadFile, Reader};
use super::settings::Role;
use super::value;

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// Everyone, without a token.
    Open,
    /// Who has a token signed by one of these keys.
    Keys(Tokens),
}

/// Whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// API keys, from text and file.
    pub keys: ApiKeys,
    /// Those of the text alone: they stay when the file changes.
    pub given: Vec<ApiKey>,
    /// Where the others come from.
    pub file: Option<PathBuf>,
    /// Where another issuer's keys come from.
    pub jwks: Option<JwksUrl>,
    /// How its tokens name us in `aud`.
    pub audience: Option<String>,
    /// Longest life of a token.
    pub life_max: Duration,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For eyes.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// What every role has.
#[derive(Debug, Clone)]
pub struct Common {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// What clients see, without a slash at the end.
    pub public_url: Option<String>,
    /// The certificate that clients are shown; `None`: no TLS.
    pub tls: Option<tls::Files>,
    /// Whose word about clients counts, and how often they may come.
    pub door: DoorConfig,
    /// Who may come in.
    pub access: Access,
    /// STUN and TURN servers that clients are told of.
    pub ice_servers: Vec<String>,
    /// From which TURN passwords are made.
    pub turn_secret: Option<Secret>,
    /// How long a node stays in a room's tree after its last session there.
    pub room_linger: Duration,
    /// How long sessions go on after SIGTERM.
    pub drain_timeout: Duration,
    /// The form of log lines.
    pub log: LogFormat,
    /// Which lines are written.
    pub log_level: String,
}

/// What a node's media side has, in dev and in a cluster.
#[derive(Debug, Clone)]
pub struct Media {
    /// Where it is taken, and what candidates advertise.
    pub addresses: Addresses,
    /// At which the cluster may reach this machine, where nobody says how; at least one.
    pub ips: Vec<IpAddr>,
    /// Media threads.
    pub shards: u16,
    /// Packets wait so long for others of their frame before they go to viewers.
    pub batch: Duration,
    /// Bits per second that one viewer is sent at most.
    pub viewer_cap: Option<Bitrate>,
    /// Packets are kept so long.
    pub ring_time: Duration,
    /// So many bytes of them at most, of each layer of each track.
    pub ring_bytes: usize,
    /// A joiner begins at a keyframe that is at most so old.
    pub keyframe_age: Duration,
    /// Sessions before it refuses.
    pub max_sessions: u32,
    /// Per cent of its time that a media thread may be at work before it is given no more sessions.
    pub max_busy: u32,
    /// Bits per second before it refuses.
    pub max_egress: Bitrate,
    /// Region label.
    pub region: String,
    /// Failure domain label.
    pub zone: String,
}

/// `freshet node`.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// What every role has.
    pub common: Common,
    /// Media.
    pub media: Media,
    /// The cluster.
    pub member: Box<Member>,
    /// Where relay links are taken.
    pub relay: SocketAddr,
    /// Certificates of an authority for the relay; `None`: of the node's own making.
    pub relay_files: Option<Box<RelayFiles>>,
    /// How other nodes reach the relay; `None`: the address that `relay` is bound to.
    pub relay_advertise: Option<String>,
    /// Where HTTP is served without TLS beside it.
    pub listen_plain: Option<SocketAddr>,
    /// How coordinators reach its HTTP; `None`: the address that `listen` is bound to.
    pub http_advertise: Option<String>,
}

/// PEM files of an authority that signed the relay certificates of all nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayFiles {
    /// The authority.
    pub ca: PathBuf,
    /// This node's certificate.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// `freshet coordinator`.
#[derive(Debug, Clone)]
pub struct CoordinatorSettings {
    /// What every role has.
    pub common: Common,
    /// The cluster.
    pub member: Member,
    /// Where its clients are taken to be.
    pub region: String,
    /// Joins are sent on to nodes by a redirect.
    pub redirect: bool,
}

/// `freshet dev`.
#[derive(Debug, Clone)]
pub struct DevSettings {
    /// What every role has.
    pub common: Common,
    /// Media.
    pub media: Media,
    /// How many nodes.
    pub nodes: u16,
    /// Joins are sent on to nodes by a redirect.
    pub redirect: bool,
    /// TLS with a certificate of its own making.
    pub tls: bool,
}

/// The configuration of one role.
#[derive(Debug, Clone)]
pub enum Settings {
    /// `freshet dev`.
    Dev(DevSettings),
    /// `freshet node`.
    Node(NodeSettings),
    /// `freshet coordinator`.
    Coordinator(CoordinatorSettings),
}

/// Most nodes in one process of `freshet dev`.
const DEV_NODES_MAX: u16 = 64;
/// Longest region or zone label, in characters.
const LABEL_MAX: usize = 64;

impl Settings {
    /// Checks the values in force.
    pub fn new(layers: &Layers, host: &str, files: ReadFile<'_>) -> Result<Self, ConfigError> {
        let reader = Reader { layers, files };
        let common = common(&reader)?;
        Ok(match layers.role {
            Role::Dev => {
                let media = media(&reader, common.listen)?;
                let advice = "write a number from 1 to 64";
                let count =
                    |t: &str| t.parse().ok().filter(|n| (1..=DEV_NODES_MAX).contains(n)).ok_or(advice);
                let nodes = reader.need_with("nodes", count, advice)?;
                enough_ports(&reader, media.addresses.port, media.shards, nodes)?;
                enough_told(&reader, &media, nodes)?;
                let tls = doors::own_tls(&reader, common.tls.is_some())?;
                let redirect = doors::dev_sends_on(&reader, tls || common.tls.is_some())?;
                Self::Dev(DevSettings { nodes, redirect, tls, media, common })
            }
            Role::Node => {
                let media = media(&reader, common.listen)?;
                Self::Node(node(&reader, common, media, host)?)
            }
            Role::Coordinator => {
                let member = member(&reader, common.listen, host)?;
                let region = reader.parse_with("region", label)?.unwrap_or_default();
                let redirect = doors::sends_on(&reader)?;
                Self::Coordinator(CoordinatorSettings { common, member, region, redirect })
            }
        })
    }

    /// What every role has.
    pub fn common(&self) -> &Common {
        match self {
            Self::Dev(s) => &s.common,
            Self::Node(s) => &s.common,
            Self::Coordinator(s) => &s.common,
        }
    }
}

fn common(reader: &Reader<'_>) -> Result<Common, ConfigError> {
    let address = "write ADDR:PORT, as in 127.0.0.1:8080 or [::]:8080";
    let log = |t: &str| match t {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write text or json"),
    };
    let customary = Origin::Environment(RUST_LOG.to_owned());
    let turn_secret = reader.secret("turn-secret", "turn-secret-file")?;
    let ice_server = |text: &str| {
        freshet_edge::ice::check_url(text).map_err(|error| error.to_string())?;
        if turn_secret.is_none() && freshet_edge::ice::is_turn(text) {
            let advice = "clients need a password for a TURN server, and browsers refuse one without: give \
                          turn-secret-file as well, with the secret that it shares (static-auth-secret of coturn)";
            return Err(advice.to_owned());
        }
        Ok(text.to_owned())
    };
    let modules = reader.layers.get("log-level").is_some_and(|given| given.origin == customary);
    let level = |t: &str| level::read(t, modules);
    Ok(Common {
        listen: reader.need("listen", address)?,
        public_url: reader.parse_with("public-url", value::reached_url)?,
        tls: doors::tls_files(reader)?,
        door: door(reader)?,
        access: access(reader)?,
        ice_servers: reader.parse_all("ice-server", ice_server)?,
        turn_secret,
        room_linger: reader.need_with("room-linger", value::duration, "say how long")?,
        drain_timeout: reader.need_with("drain-timeout", value::duration, "say how long")?,
        log: reader.need_with("log", log, "write text or json")?,
        log_level: reader.need_with("log-level", level, level::ADVICE)?,
    })
}

fn door(reader: &Reader<'_>) -> Result<DoorConfig, ConfigError> {
    let advice = "write RATE:BURST, as in 200:2000, or off";
    let limit = |key| reader.need_with(key, value::limit, advice);
    let region_header = reader.parse_with("region-header", |text| {
        text.parse::<http::HeaderName>().map_err(|_| "write the name of a header, as in X-Freshet-Region")
    })?;
    let trusted = Trusted::new(reader.parse_all("trusted-proxy", str::parse)?);
    if region_header.is_some() && trusted == Trusted::NONE {
        let said = "region-header is believed from trusted proxies alone: name them with trusted-proxy";
        return Err(ConfigError::Contradiction(said.to_owned()));
    }
    Ok(DoorConfig {
        trusted,
        region_header,
        identity: limit("identity-limit")?,
        address: limit("address-limit")?,
        failures: limit("failure-limit")?,
        listeners: doors::listeners(reader)?,
    })
}

/// All API keys that are given, in the order in which they are: the text's, then the file's.
pub(super) fn api_keys(reader: &Reader<'_>) -> Result<Vec<ApiKey>, ConfigError> {
    let mut keys = reader.parse_all("api-key", str::parse::<ApiKey>)?;
    if let Some(text) = reader.file("api-key-file")? {
        let path = reader.text("api-key-file").unwrap_or_default();
        let found = ApiKeys::parse_file(&text).map_err(|e| reader.wrong("api-key-file", path, e))?;
        if found.is_empty() {
            return Err(reader.wrong("api-key-file", path, "the file has no key: write ID:SECRET into it"));
        }
        keys.extend(found);
    }
    Ok(keys)
}

/// The longest life of a token.
pub(super) fn life_max(reader: &Reader<'_>) -> Result<Duration, ConfigError> {
    let life = |text: &str| match value::duration(text)? {
        time if (60..=LIFE_MOST_S).contains(&time.as_secs()) => Ok(time),
        _ => Err("write 1m to 30d".to_owned()),
    };
    reader.need_with("token-life-max", life, "say how long")
}

fn access(reader: &Reader<'_>) -> Result<Access, ConfigError> {
    let given = reader.parse_all("api-key", str::parse::<ApiKey>)?;
    let file = reader.text("api-key-file").map(PathBuf::from);
    let jwks = reader.parse_with("jwks-url", str::parse::<JwksUrl>)?;
    let audience = reader.text("jwks-audience").map(str::to_owned);
    if audience.is_some() && jwks.is_none() {
        return Err(ConfigError::Contradiction(
            "jwks-audience is about tokens of a jwks-url's keys, and there is none: give both or neither"
                .into(),
        ));
    }
    let life_max = life_max(reader)?;
    let keys = ApiKeys::new(api_keys(reader)?).map_err(|e| ConfigError::Contradiction(e.to_string()))?;
    let open = reader.switch("open")?;
    let asked = reader.layers.get("open").is_some_and(|g| g.origin != Origin::Default);
    match (open, keys.is_empty() && jwks.is_none()) {
        (true, true) => Ok(Access::Open),
        (true, false) if asked => Err(ConfigError::Contradiction(
            "open takes everyone, so API keys and a jwks-url would mean nothing: give one or the other"
                .into(),
        )),
        (_, false) => Ok(Access::Keys(Tokens { keys, given, file, jwks, audience, life_max })),
        (false, true) => Err(ConfigError::Missing {
            role: reader.layers.role,
            key: "api-key-file",
            advice: "nobody could come in without API keys (lines of ID:SECRET); or say --open to take everyone \
                     without tokens",
        }),
    }
}

fn media(reader: &Reader<'_>, listen: SocketAddr) -> Result<Media, ConfigError> {
    let port = "write a port, 0 to 65535";
    let udp_port: u16 = reader.need("udp-port", port)?;
    let shards = shards(reader)?;
    enough_ports(reader, udp_port, shards, 1)?;
    let (addresses, ips) = addresses(reader, listen.ip(), (udp_port, shards))?;
    let ring_time = reader.need_with("ring-time", ring_time, RING_TIME_ADVICE)?;
    let keyframe_age: Duration =
        reader.need_with("keyframe-age", value::duration, "write a time from 0 on")?;
    if keyframe_age > ring_time {
        let why =
            format!("write a time from 0 to {ring_time:?}: what is older has left the ring (ring-time)");
        return Err(reader.wrong("keyframe-age", &format!("{keyframe_age:?}"), why));
    }
    let count = "write a number from 1 on, up to 4294967295";
    let sessions = |t: &str| t.parse().ok().filter(|n: &u32| *n > 0).ok_or(count);
    Ok(Media {
        addresses,
        ips,
        shards,
        batch: reader.need_with("batch", batch, "write a time from 0 to 10ms")?,
        viewer_cap: reader.parse_with("viewer-cap", |text| at_least(text, VIEWER_CAP_MIN))?,
        ring_time,
        ring_bytes: reader.need_with("ring-bytes", ring_bytes, RING_BYTES_ADVICE)?,
        keyframe_age,
        max_sessions: reader.need_with("max-sessions", sessions, count)?,
        max_busy: reader.need_with("max-busy", value::percent, "write a share of time from 1% to 100%")?,
        max_egress: reader.need_with(
            "max-egress",
            |text| at_least(text, MAX_EGRESS_MIN),
            "write a bit rate",
        )?,
        region: reader.parse_with("region", label)?.unwrap_or_default(),
        zone: reader.parse_with("zone", label)?.unwrap_or_default(),
    })
}

/// The last shard of the last node has a port as well.
fn enough_ports(reader: &Reader<'_>, first: u16, shards: u16, nodes: u16) -> Result<(), ConfigError> {
    let taken = u32::from(shards).saturating_mul(u32::from(nodes));
    let highest = 65_536_u32.saturating_sub(taken);
    if u32::from(first) <= highest {
        return Ok(());
    }
    let why = format!(
        "each shard of each node takes a port from here on, {taken} in all: write one up to {highest}, or 0 for free \
         ones"
    );
    Err(reader.wrong("udp-port", &first.to_string(), why))
}

/// Sound alone with its overhead fits; who writes less has forgotten a factor.
const VIEWER_CAP_MIN: Bitrate = Bitrate::from_kbps(64);
/// One viewer of a picture fits.
const MAX_EGRESS_MIN: Bitrate = Bitrate::from_kbps(1_000);

fn at_least(text: &str, least: Bitrate) -> Result<Bitrate, String> {
    let rate = value::bitrate(text)?;
    if rate >= least {
        return Ok(rate);
    }
    Err(format!("{} bit/s is too little: write {}k or more, as in 8M or 4G", rate.bps(), least.bps() / 1_000))
}

/// In dev each node is told behind the last one's ports.
fn enough_told(reader: &Reader<'_>, media: &Media, nodes: u16) -> Result<(), ConfigError> {
    let taken = u32::from(media.shards).saturating_mul(u32::from(nodes));
    let last = |port: &u16| u32::from(*port).saturating_add(taken) > 65_536;
    match media.addresses.advertised.iter().filter_map(|one| one.port).find(last) {
        None => Ok(()),
        Some(port) => {
            let why = format!(
                "each shard of each node is told a port from here on, {taken} in all: write a lower one"
            );
            Err(reader.wrong("candidate", &port.to_string(), why))
        }
    }
}

/// Longer would be seen in the delay, and saves little more.
const BATCH_MAX: Duration = Duration::from_millis(10);

fn batch(text: &str) -> Result<Duration, String> {
    let time = value::duration(text)?;
    if time <= BATCH_MAX { Ok(time) } else { Err("write a time from 0 to 10ms".to_owned()) }
}

/// Less would not outlast a few round trips, more is not asked for again.
const RING_TIME: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_secs(10);
const RING_TIME_ADVICE: &str = "write a time from 500ms to 10s";

fn ring_time(text: &str) -> Result<Duration, String> {
    let time = value::duration(text)?;
    if RING_TIME.contains(&time) { Ok(time) } else { Err(RING_TIME_ADVICE.to_owned()) }
}

/// A large keyframe fits; a node has hundreds of rings, whose spans grow no further.
const RING_BYTES: RangeInclusive<usize> = 256 << 10..=16 << 20;
const RING_BYTES_ADVICE: &str = "write a size from 256KiB to 16MiB";

fn ring_bytes(text: &str) -> Result<usize, String> {
    let bytes = value::bytes(text)?;
    if RING_BYTES.contains(&bytes) { Ok(bytes) } else { Err(RING_BYTES_ADVICE.to_owned()) }
}

/// Most shards of a node: more than any machine's cores that one node is given.
const SHARDS_MAX: u16 = 64;

/// `auto` leaves a core to links, HTTP and the cluster where there is more than one.
pub(super) fn auto_shards(cores: usize) -> u16 {
    u16::try_from(cores.saturating_sub(1)).unwrap_or(SHARDS_MAX).clamp(1, SHARDS_MAX)
}

fn shards(reader: &Reader<'_>) -> Result<u16, ConfigError> {
    let advice = "write auto, or a number from 1 to 64";
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let parse = |text: &str| match text {
        "auto" => Ok(auto_shards(cores)),
        text => text.parse().ok().filter(|n: &u16| (1..=SHARDS_MAX).contains(n)).ok_or(advice),
    };
    reader.need_with("shards", parse, advice)
}

/// Labels come from cloud providers: any printable text that fits a log line and a table.
fn label(text: &str) -> Result<String, String> {
    let plain = text.chars().all(|c| !c.is_control()) && text.chars().count() <= LABEL_MAX;
    if plain { Ok(text.to_owned()) } else { Err(format!("write up to {LABEL_MAX} printable characters")) }
}

fn node(reader: &Reader<'_>, common: Common, media: Media, host: &str) -> Result<NodeSettings, ConfigError> {
    let relay: SocketAddr = reader.need("relay", "write ADDR:PORT, as in 0.0.0.0:7600")?;
    let reached = |bound: SocketAddr| match (bound.ip().is_unspecified(), media.ips.first(), bound.port()) {
        // A free port is known only when it is bound, and then the address is known as well.
        (true, Some(ip), port) if port != 0 => Some(SocketAddr::new(*ip, port)),
        _ => None,
    };
    let http_advertise = reader.parse_with("http-advertise", value::plain_url)?;
    let (listen_plain, called) = doors::plain(reader, common.listen, common.tls.is_some())?;
    let relay_advertise = reader.parse_with("relay-advertise", value::host_port)?;
    let http_advertise = http_advertise.or_else(|| reached(called).map(|a| format!("http://{a}")));
    let relay_advertise = relay_advertise.or_else(|| reached(relay).map(|a| a.to_string()));
    for (key, bound, advertised, advice) in [
        (
            "http-advertise",
            called,
            &http_advertise,
            "HTTP listens on every address at a free port: say where coordinators reach it, or name a port",
        ),
        (
            "relay-advertise",
            relay,
            &relay_advertise,
            "links are taken on every address at a free port: say where nodes reach them, or name a port",
        ),
    ] {
        if bound.ip().is_unspecified() && advertised.is_none() {
            return Err(ConfigError::Missing { role: reader.layers.role, key, advice });
        }
    }
    let media_ports =
        u32::from(media.addresses.port)..u32::from(media.addresses.port).saturating_add(media.shards.into());
    let same_address = relay.ip().is_unspecified() || media.ips.contains(&relay.ip());
    if media.addresses.port != 0 && same_address && media_ports.contains(&u32::from(relay.port())) {
        let why =
            "media takes this port too, one from udp-port on for each shard: choose another for one of them";
        return Err(reader.wrong("relay", &relay.to_string(), why));
    }
    Ok(NodeSettings {
        http_advertise,
        relay_advertise,
        member: Box::new(member(reader, common.listen, host)?),
        relay_files: relay_files(reader)?,
        listen_plain,
        relay,
        media,
        common,
    })
}

/// All three or none, and each is what it should be.
fn relay_files(reader: &Reader<'_>) -> Result<Option<Box<RelayFiles>>, ConfigError> {
    const KEYS: [&str; 3] = ["relay-ca", "relay-cert", "relay-key"];
    let path = |key| reader.text(key).map(PathBuf::from);
    match KEYS.map(path) {
        [None, None, None] => Ok(None),
        [Some(ca), Some(cert), Some(key)] => {
            KEYS.iter().try_for_each(|key| reader.file(key).map(drop))?;
            pem::authority(reader, "relay-ca")?;
            pem::pair(reader, "relay-cert", "relay-key")?;
            Ok(Some(Box::new(RelayFiles { ca, cert, key })))
        }
        given => {
            let missing: Vec<_> =
                KEYS.iter().zip(&given).filter(|(_, path)| path.is_none()).map(|(key, _)| *key).collect();
            Err(ConfigError::Contradiction(format!(
                "{} belong together, without {}: give all three, or none for certificates that nodes make \
                 themselves",
                KEYS.join(", "),
                missing.join(" and "),
            )))
        }
    }
}
