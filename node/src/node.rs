//! A node, assembled: shards, relay, agent, registration, HTTP.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use freshet_cluster::bus::SharedBus;
use freshet_cluster::record::{Capacity, NodeRecord};
use freshet_cluster::room::EndReason;
use freshet_cluster::secret::Secret;
use freshet_cluster::store::SharedStore;
use freshet_cluster::unit::{Bitrate, UnixMillis};
use freshet_cluster::version::{MIN_VERSION, Unknown, VERSION};
use freshet_cluster::{Incarnation, NodeId};
use freshet_edge::bind::remedy;
use freshet_edge::call::Verifier;
use freshet_edge::health::Readiness;
use freshet_edge::ice::IceServers;
use freshet_edge::metrics::{HttpMetrics, Metrics};
use freshet_edge::places::{self, Places};
use freshet_edge::serve::{Door, Limits, serve};
use freshet_edge::ticket::Tickets;
use freshet_edge::tls::Tls;
use freshet_edge::{DoorConfig, Guard};
use rand::Rng;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::book::{Addresses, Book, reach};
use crate::control::directory::Registry;
use crate::control::heartbeat::Heartbeat;
use crate::control::registrar::Registrar;
use crate::control::{Command, Parts, Service, Shared};
use crate::http::{self, HttpState};
use crate::media::clock::{Skew, Wall};
use crate::media::ring::RingConfig;
use crate::peer::negotiate::Common;
use crate::peer::{crypto, opened};
use crate::quic::{Relay, RelayConfig, RelayError, Trust};
use crate::service::SessionService;
use crate::shard::{self, Arrivals, Crossings, Intake, Limit, Order, ShardHandle, Unbound};
use crate::{control, metrics, sfu};

/// Events of shards that wait for the agent; what does not fit waits in the shard.
const EVENTS: usize = 4_096;
/// A session of which nothing is heard for so long is over (an ICE consent is due every 5 seconds, RFC 7675).
const SILENCE: Duration = Duration::from_secs(15);
/// Of so many viewers who have gone memory is kept for those who come, in each shard: 5 MB at most.
const SPARES: usize = 256;
/// From its POST a client has so long for ICE and DTLS.
const OPENING: Duration = Duration::from_secs(30);
/// Sessions of one shard that may be half open at once: twice a storm of 1,000 joins in a second.
const HALF_OPEN: usize = 2_000;
/// How long the end waits for clients to be told.
const FAREWELL: Duration = Duration::from_millis(1_500);
/// How long requests may take to end once HTTP stops.
const HTTP_GRACE: Duration = Duration::from_millis(500);

/// What a node is told.
#[derive(Clone)]
pub struct NodeConfig {
    /// Who.
    pub id: NodeId,
    /// Region label, may be empty.
    pub region: String,
    /// Failure domain label, may be empty.
    pub zone: String,
    /// Media: what the sockets bind to, and what candidates advertise.
    pub addresses: Addresses,
    /// Media: how many shards, 1 or more.
    pub shards: u16,
    /// Media: packets wait so long for others of their frame before they go to viewers, 0 to 10 ms.
    pub batch: Duration,
    /// Media: bits a second that one viewer is sent at most; none without a cap.
    pub viewer_cap: Option<Bitrate>,
    /// Media: how long, and how many bytes of, a layer of a track are kept for retransmission and joiners.
    pub ring: (Duration, usize),
    /// A joiner is served from the ring when its last keyframe is at most so old.
    pub keyframe_age: Duration,
    /// Relay: what its socket binds to.
    pub relay: SocketAddr,
    /// Whom the relay believes.
    pub relay_trust: Trust,
    /// `HOST:PORT` at which other nodes reach the relay; the bound address when absent.
    pub relay_advertise: Option<String>,
    /// HTTP: what it binds to; port 0 takes any.
    pub listen: SocketAddr,
    /// HTTP: the certificate that clients are shown there; `None`: no TLS.
    pub tls: Option<Tls>,
    /// HTTP without TLS as well, for coordinators, who do not call by TLS; needed with `tls`.
    pub listen_plain: Option<SocketAddr>,
    /// Base URL at which coordinators reach this node's HTTP; the bound address without TLS when absent.
    pub http_advertise: Option<String>,
    /// Who may publish and watch here.
    pub guard: Guard,
    /// Whose word about clients counts, and how often they may come.
    pub door: DoorConfig,
    /// Checks calls of coordinators; without it none are taken.
    pub cluster_secret: Option<Secret>,
    /// What `Location` is made absolute with.
    pub public_url: Option<String>,
    /// STUN and TURN servers that clients are told of.
    pub ice: IceServers,
    /// Sessions that it accepts.
    pub max_sessions: u32,
    /// Per cent of its time that a shard may be at work before it is given no more sessions; 100: no limit.
    pub max_busy: u32,
    /// Egress that it says it can carry.
    pub max_egress: Bitrate,
    /// An error in sender reports of video, in microseconds; for the test that proves the lip-sync test.
    pub report_skew_us: i64,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No DTLS certificate.
    #[error("no DTLS certificate could be made")]
    Certificate,
    /// A media socket.
    #[error("media socket on {address}: {source}: {}", remedy(.source, "--udp-bind", "--udp-port"))]
    Media {
        /// What it should have bound to.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// HTTP.
    #[error("cannot listen on {address}: {source}: {}", remedy(.source, setting, setting))]
    Http {
        /// Which setting names it.
        setting: &'static str,
        /// What it should have bound to.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// Metrics.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The relay.
    #[error("relay on {address}: {source}")]
    Relay {
        /// What it should have bound to.
        address: SocketAddr,
        /// What went wrong.
        source: RelayError,
    },
}

/// A running node.
pub struct Node {
    shared: Arc<Shared>,
    shards: Vec<ShardHandle>,
    relay: Arc<Relay>,
    registrar: Registrar,
    commands: mpsc::Sender<Command>,
    service: Arc<dyn SessionService>,
    http_addr: SocketAddr,
    http: Vec<(oneshot::Sender<()>, JoinHandle<usize>)>,
    tasks: Vec<JoinHandle<()>>,
}

impl Node {
    /// Starts a node. It serves as soon as this returns; it is registered as soon as the store answers.
    pub async fn start(config: NodeConfig, store: SharedStore, bus: SharedBus) -> Result<Self, StartError> {
        let incarnation = Incarnation::from_bits(rand::rng().random());
        let (listener, http_addr) = listen("--listen", config.listen)?;
        let plain = match config.listen_plain {
            Some(address) => Some(listen("--listen-plain", address)?),
            None => None,
        };
        let called = plain.as_ref().map_or(http_addr, |(_, address)| *address);
        let shared = Arc::new(Shared::new(config.id.clone(), incarnation, config.max_sessions));
        let registry = Registry::new(store.clone());
        let intake = Intake::new(config.shards.max(1));
        let relay_config = RelayConfig {
            trust: config.relay_trust.clone(),
            ..RelayConfig::new(config.relay, config.id.clone(), incarnation)
        };
        let bound = Relay::bind(relay_config, Arc::new(registry.clone()), intake.clone()).await;
        let (relay, links) = bound.map_err(|source| StartError::Relay { address: config.relay, source })?;
        let relay = Arc::new(relay);
        let (events_out, events) = mpsc::channel(EVENTS);
        let shards = start_shards(&config, intake.arrivals(), events_out).await?;

        let relay_at = config.relay_advertise.clone().unwrap_or_else(|| relay.local_addr().to_string());
        let capacity = Capacity {
            sessions: config.max_sessions,
            egress: config.max_egress,
            egress_pps: config.max_egress.bps() / 8 / 1_000,
            unknown: Unknown::new(),
        };
        let record = NodeRecord {
            v: VERSION,
            min_v: MIN_VERSION,
            id: config.id.clone(),
            incarnation,
            region: config.region.clone(),
            zone: config.zone.clone(),
            http: config.http_advertise.clone().unwrap_or_else(|| format!("http://{called}")),
            public_url: config.public_url.clone(),
            relay: relay_at,
            relay_cert_sha256: relay.cert_sha256().to_owned(),
            started_at: UnixMillis::now(),
            draining: false,
            capacity,
            unknown: Unknown::new(),
        };
        let (notices_out, notices) = mpsc::channel(64);
        let registrar = Registrar::spawn(store.clone(), record, shared.clone(), notices_out);
        let parts = Parts {
            shared: shared.clone(),
            store: store.clone(),
            bus: bus.clone(),
            registry,
            registrar: registrar.clone(),
            notices,
            relay: relay.clone(),
            links,
            shards: shards.clone(),
            events,
            intake,
        };
        let (commands, agent) = control::spawn(parts);
        let heartbeat = Heartbeat {
            shared: shared.clone(),
            bus,
            commands: commands.clone(),
            relay: relay.clone(),
            shards: shards.clone(),
        };
        let beat = tokio::spawn(heartbeat.run());
        let service = Service::new(shared.clone(), shards.clone(), registrar.clone(), commands.clone());
        let service: Arc<dyn SessionService> = Arc::new(service);
        let rules = config.guard.rules();
        let watch = tokio::spawn(rules.clone().follow(store));
        let sweep = tokio::spawn(control::sweep::run(rules.clone(), shared.clone(), service.clone()));
        let state = surface(&config, &shared, &shards, &relay, service.clone())?;
        let doors =
            [Some(Door::new(listener, config.tls.clone())), plain.map(|(listener, _)| listener.into())];
        let proxied = |door: Door| door.behind(config.door.trusted.clone());
        let http =
            doors.into_iter().flatten().map(proxied).map(|door| serve_http(door, state.clone())).collect();
        tracing::info!(node = config.id.as_str(), %incarnation, %http_addr, "node started");
        let tasks = vec![agent, beat, watch, sweep];
        Ok(Self { shared, shards, relay, registrar, commands, service, http_addr, http, tasks })
    }

    /// What the HTTP surface calls.
    pub fn service(&self) -> Arc<dyn SessionService> {
        self.service.clone()
    }

    /// Where HTTP is served.
    pub fn http_addr(&self) -> SocketAddr {
        self.http_addr
    }

    /// Who this is.
    pub fn id(&self) -> &NodeId {
        &self.shared.node
    }

    /// Which start of it.
    pub fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    /// Counts that tasks of the node share.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// The shards, for metrics.
    pub fn shards(&self) -> &[ShardHandle] {
        &self.shards
    }

    /// The relay, for metrics.
    pub fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// The agent, looked at; `None` when it is gone.
    pub async fn snapshot(&self) -> Option<control::Snapshot> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Snapshot(reply)).await.ok()?;
        answer.await.ok()
    }

    /// Takes no new sessions from now on, and says so in the registry.
    pub async fn drain(&self) {
        self.shared.draining.store(true, Ordering::Release);
        self.registrar.draining();
    }

    /// Sessions now, reservations included.
    pub fn sessions(&self) -> u32 {
        self.shared.sessions.load(Ordering::Acquire)
    }

    /// Tells every client, revokes the lease, and ends. Within 5 seconds.
    pub async fn stop(self) {
        self.drain().await;
        for shard in &self.shards {
            let (reply, done) = oneshot::channel();
            shard.order(Order::EndAll(EndReason::Drained, reply)).await;
            let _ = tokio::time::timeout(FAREWELL, done).await;
        }
        // Withdrawals reach the other nodes, DTLS closes reach the clients, before the links and sockets close.
        tokio::time::sleep(Duration::from_millis(200)).await;
        self.registrar.close().await;
        let served: Vec<_> =
            self.http.into_iter().map(|(stop, served)| stop.send(()).map(|()| served)).collect();
        for served in served.into_iter().flatten() {
            let _ = tokio::time::timeout(FAREWELL, served).await;
        }
        self.relay.close().await;
        for task in self.tasks {
            task.abort();
        }
        tracing::info!(node = self.shared.node.as_str(), "node stopped");
    }
}

fn surface(
    config: &NodeConfig,
    shared: &Arc<Shared>,
    shards: &[ShardHandle],
    relay: &Arc<Relay>,
    service: Arc<dyn SessionService>,
) -> Result<HttpState, prometheus::Error> {
    let metrics = Metrics::new();
    metrics::register(&metrics, shards.to_vec(), shared.clone(), relay.clone());
    metrics.add_tasks("node")?;
    let http_metrics = HttpMetrics::new(&metrics, "node")?;
    let door = freshet_edge::Door::new(config.door.clone(), &metrics, "node", true)?;
    let state = shared.clone();
    let rules = config.guard.rules().clone();
    let ready = Readiness::new(move || {
        if state.draining.load(Ordering::Acquire) {
            return Err("this node is draining".to_owned());
        }
        if !rules.is_read() {
            return Err("this node has not read the rules of rooms in the store yet".to_owned());
        }
        state.standing(|standing| standing.missing()).map_or(Ok(()), Err)
    });
    Ok(HttpState {
        service,
        guard: config.guard.clone(),
        listeners: Places::new(places::ALL, config.door.listeners),
        door,
        calls: config.cluster_secret.as_ref().map(|secret| Arc::new(Verifier::new(secret))),
        tickets: config
            .cluster_secret
            .as_ref()
            .map(|secret| Arc::new(Tickets::new(secret, config.id.clone(), shared.incarnation))),
        node: config.id.clone(),
        incarnation: shared.incarnation,
        public_url: config.public_url.as_deref().map(Into::into),
        ice: Arc::new(config.ice.clone()),
        metrics,
        http_metrics,
        ready,
    })
}

fn listen(setting: &'static str, address: SocketAddr) -> Result<(TcpListener, SocketAddr), StartError> {
    let failed = |source| StartError::Http { setting, address, source };
    let listener = freshet_edge::bind::listen(address).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn serve_http(door: Door, state: HttpState) -> (oneshot::Sender<()>, JoinHandle<usize>) {
    let (stop, stopping) = oneshot::channel::<()>();
    let counts = state.http_metrics.clone();
    let ended = async move {
        let _ = stopping.await;
    };
    let serving = serve(door, http::router(state), Limits::default(), Some(counts), ended, HTTP_GRACE);
    (stop, tokio::spawn(serving))
}

async fn start_shards(
    config: &NodeConfig,
    arrivals: &[Arrivals],
    events: mpsc::Sender<(u16, sfu::Event)>,
) -> Result<Vec<ShardHandle>, StartError> {
    let cert = crypto::certificate().ok_or(StartError::Certificate)?;
    let skew = Skew(config.report_skew_us);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let wall = Wall::new(Instant::now(), unix);
    let (batch, viewer_cap, fresh_keyframe) = (config.batch, config.viewer_cap, config.keyframe_age);
    let ring = RingConfig::new(config.ring.0, config.ring.1);
    let crossings = Crossings::new(config.shards.max(1));
    let places = config.max_sessions.div_ceil(config.shards.max(1).into());
    let places = usize::try_from(places).unwrap_or(usize::MAX);
    let mut shards = Vec::with_capacity(arrivals.len());
    for (shard, arrivals) in (0..u16::MAX).zip(arrivals) {
        let cert = cert.clone();
        let make = move |book: Book| sfu::Config {
            shard,
            common: Common {
                cert,
                book,
                provider: crypto::provider(),
                take_keys: crypto::take_keys,
                opened: opened::opened,
            },
            silence: SILENCE,
            opening: OPENING,
            half_open: HALF_OPEN,
            places,
            batch,
            viewer_cap,
            ring,
            fresh_keyframe,
            spares: SPARES,
            report_skew: skew,
            wall,
        };
        let mut seed = [0; 32];
        rand::rng().fill(&mut seed);
        let parts = shard::Parts {
            shard,
            of: config.shards,
            addresses: config.addresses.clone(),
            config: Box::new(make),
            seed,
            media: arrivals.clone(),
            events: events.clone(),
            crossings: crossings.clone(),
            max_busy: Limit::percent(config.max_busy),
        };
        let started = shard::spawn(parts).await.map_err(|Unbound { address, source }| {
            let any = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), config.addresses.port);
            StartError::Media { address: address.unwrap_or(any), source }
        })?;
        tracing::info!(shard, candidates = ?started.candidates(), "clients are told these media addresses");
        shards.push(started);
    }
    warn_if_out_of_reach(config, &shards);
    Ok(shards)
}

/// Says who gets no media, once, and nothing where HTTP is as near as media is.
fn warn_if_out_of_reach(config: &NodeConfig, shards: &[ShardHandle]) {
    for local in config.addresses.advertised.iter().filter_map(|one| one.local) {
        if std::net::UdpSocket::bind((local, 0)).is_err() {
            tracing::warn!(
                %local,
                "no interface of this machine has the address that stands behind = in --candidate: packets come to another"
            );
        }
    }
    let candidates = shards.first().map(ShardHandle::candidates).unwrap_or_default();
    let Some(best) = reach::best(candidates) else { return };
    let meant = best == reach::Reach::Machine && config.listen.ip().is_loopback();
    if let (false, Some(warning)) = (meant, best.warning()) {
        tracing::warn!(?candidates, "{warning}");
    }
}
