//! What a packet costs a relay link, both ends together, against bare QUIC datagrams of the same bytes.
//!
//! Ours is two whole relays (`quic::Relay`) and the link between them: from a shard's `MediaOut` to the far shard's
//! door. The reference is quinn as it comes, with the same datagrams made beforehand. All of it runs on this thread in
//! real time; what the player alone costs, timers and loop, is measured too and taken off both. The core is kept awake
//! meanwhile (`Awake`), because a link leaves it most of the time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use freshet_cluster::{Incarnation, NodeId};
use freshet_node::quic::{Directory, MediaIn, MediaOut, Peer, Relay, RelayConfig, RelayEvent};
use freshet_node::shard::{Arrivals, Intake};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use freshet_relay_proto::split::split;
use freshet_relay_proto::track::MediaKind;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};

use super::common::Settings;
use super::common::awake::Awake;
use super::common::measure::{Samples, thread_cpu};
use super::common::report::{Row, Target};
use super::common::trace::Trace;
use crate::WORKER_CORE;

/// Longest wait for what should come at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longest datagram of the trace, with its header.
const LONGEST: usize = 1_260;

/// A packet as both ends of the comparison take it.
struct Planned {
    kind: MediaKind,
    header: MediaHeader,
    payload: Bytes,
    datagram: Bytes,
}

/// All packets of some streams, by the time of their coming.
struct Plan {
    moments: Vec<(Duration, Vec<Planned>)>,
    length: Duration,
    packets: u64,
}

impl Plan {
    /// So many streams, out of step with each other.
    fn new(trace: &Trace, streams: u32) -> Self {
        let mut moments = Vec::new();
        let mut counts = vec![[0; 2]; streams as usize];
        for stream in 0..streams {
            let phase = trace.length * stream / streams;
            for moment in &trace.moments {
                let at = (moment.at + phase).as_nanos() % trace.length.as_nanos();
                let packets = moment.packets.iter().map(|sample| {
                    let index = &mut counts[stream as usize][usize::from(sample.video)];
                    *index += 1;
                    let header = MediaHeader {
                        alias: stream,
                        track: u8::from(sample.video),
                        layer: 0,
                        index: *index,
                        timestamp: sample.timestamp,
                        marker: sample.marker,
                        keyframe: sample.keyframe,
                        codec: 0,
                        capture: 1_800_000_000_000_000,
                        exts: Extensions::default(),
                    };
                    let kind = if sample.video { MediaKind::Video } else { MediaKind::Audio };
                    let datagram = split(&header, &sample.payload, LONGEST).unwrap().remove(0);
                    Planned { kind, header, payload: sample.payload.clone(), datagram }
                });
                moments.push((Duration::from_nanos(at as u64), packets.collect()));
            }
        }
        moments.sort_by_key(|(at, _)| *at);
        let packets = trace.packets() as u64 * u64::from(streams);
        Self { moments, length: trace.length, packets }
    }
}

/// A way for packets.
trait Road {
    fn send(&mut self, packet: &Planned);
    fn arrived(&self) -> u64;
    /// What became of packets, for a run that loses some.
    fn account(&self) -> String;
}

/// Nowhere: the player alone.
#[derive(Default)]
struct Nowhere(u64);

impl Road for Nowhere {
    fn send(&mut self, _: &Planned) {
        self.0 += 1;
    }

    fn arrived(&self) -> u64 {
        self.0
    }

    fn account(&self) -> String {
        String::new()
    }
}

#[derive(Clone, Default)]
struct Registry(Arc<Mutex<Vec<Peer>>>);

#[async_trait]
impl Directory for Registry {
    async fn find(&self, node: &NodeId) -> Option<Peer> {
        self.0.lock().unwrap().iter().find(|peer| peer.node == *node).cloned()
    }
}

/// Two relays and the link between them.
struct Ours {
    near: (Relay, mpsc::Receiver<RelayEvent>),
    far: (Relay, mpsc::Receiver<RelayEvent>),
    media: MediaOut,
    arrived: Arc<AtomicU64>,
}

impl Ours {
    async fn new() -> Self {
        let registry = Registry::default();
        let (mut near, _) = node(&registry, "near").await;
        let (mut far, door) = node(&registry, "far").await;
        let to = registry.find(&"far".parse().unwrap()).await.unwrap();
        near.0.dial(to);
        let RelayEvent::Up(link) = near.1.recv().await.unwrap() else { panic!("expected a link") };
        assert!(matches!(far.1.recv().await.unwrap(), RelayEvent::Up(_)));
        let arrived = Arc::new(AtomicU64::new(0));
        let count = arrived.clone();
        tokio::spawn(async move {
            let mut packets: Vec<MediaIn> = Vec::new();
            loop {
                door.filled().await;
                door.take(Instant::now().into_std(), 256, &mut packets);
                count.fetch_add(packets.drain(..).count() as u64, Ordering::Relaxed);
            }
        });
        Self { near, far, media: link.media(), arrived }
    }
}

async fn node(registry: &Registry, id: &str) -> ((Relay, mpsc::Receiver<RelayEvent>), Arrivals) {
    let (node, incarnation): (NodeId, _) = (id.parse().unwrap(), Incarnation::from_bits(1));
    let intake = Intake::new(1);
    let door = intake.arrivals()[0].clone();
    let config = RelayConfig::new("127.0.0.1:0".parse().unwrap(), node.clone(), incarnation);
    let (relay, events) = Relay::bind(config, Arc::new(registry.clone()), intake).await.unwrap();
    let cert_sha256 = relay.cert_sha256().to_owned();
    registry.0.lock().unwrap().push(Peer { node, incarnation, relay: relay.local_addr(), cert_sha256 });
    ((relay, events), door)
}

impl Road for Ours {
    fn send(&mut self, packet: &Planned) {
        assert!(
            self.media.try_send(packet.kind, packet.header, packet.payload.clone()),
            "the link's queue has room"
        );
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    fn account(&self) -> String {
        format!("{:?}, {:?}", self.near.0.links(), self.far.0.totals())
    }
}

/// A connection of quinn's as it comes.
struct Bare {
    _ends: (quinn::Endpoint, quinn::Endpoint, quinn::Connection),
    connection: quinn::Connection,
    arrived: Arc<AtomicU64>,
}

impl Bare {
    async fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let chain = vec![made.cert.der().clone()];
        let mut roots = rustls::RootCertStore::empty();
        roots.add(chain[0].clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = [&rustls::version::TLS13];
        let server = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key.into())
            .unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = quinn::ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(server).unwrap()));
        let client = quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(client).unwrap()));
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let far = quinn::Endpoint::server(server, any).unwrap();
        let mut near = quinn::Endpoint::client(any).unwrap();
        near.set_default_client_config(client);
        let dial = near.connect(far.local_addr().unwrap(), "localhost").unwrap();
        let (connection, taken) = tokio::join!(dial, async { far.accept().await.unwrap().await.unwrap() });
        let arrived = Arc::new(AtomicU64::new(0));
        let (count, reader) = (arrived.clone(), taken.clone());
        tokio::spawn(async move {
            while reader.read_datagram().await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let connection = connection.unwrap();
        let deadline = Instant::now() + PATIENCE;
        while connection.max_datagram_size().unwrap() < LONGEST {
            assert!(Instant::now() < deadline, "quinn finds that loopback carries long datagrams");
            sleep(Duration::from_millis(10)).await;
        }
        Self { _ends: (near, far, taken), connection, arrived }
    }
}

impl Road for Bare {
    fn send(&mut self, packet: &Planned) {
        self.connection.send_datagram(packet.datagram.clone()).unwrap();
    }

    fn arrived(&self) -> u64 {
        self.arrived.load(Ordering::Relaxed)
    }

    fn account(&self) -> String {
        format!("{:?}", self.connection.stats())
    }
}

/// Plays the plan once in real time. CPU of this thread in microseconds a packet.
async fn play(plan: &Plan, road: &mut dyn Road) -> f64 {
    let (cpu, before, begin) = (thread_cpu(), road.arrived(), Instant::now());
    for (at, packets) in &plan.moments {
        sleep_until(begin + *at).await;
        packets.iter().for_each(|packet| road.send(packet));
    }
    sleep_until(begin + plan.length).await;
    while road.arrived() - before < plan.packets && begin.elapsed() < plan.length + PATIENCE {
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(road.arrived() - before, plan.packets, "every packet arrives; {}", road.account());
    (thread_cpu() - cpu) as f64 / 1e3 / plan.packets as f64
}

/// Both ends of a link, against both ends of a bare connection.
pub async fn relay(settings: &Settings) -> Vec<Row> {
    let _awake = Awake::new(WORKER_CORE);
    let trace = Trace::new(settings.size(2, 1));
    let (streams, repetitions) = (settings.size([1, 20], [1, 3]), settings.size(9, 1));
    let mut rows = vec![];
    for streams in streams {
        let plan = Plan::new(&trace, streams);
        let (mut link, mut bare) = (Ours::new().await, Bare::new().await);
        let (mut ours, mut reference) = (Samples::default(), Samples::default());
        let mut alone = Samples::default();
        for turn in 0..=repetitions {
            let player = play(&plan, &mut Nowhere::default()).await;
            let (one, other) = (play(&plan, &mut bare).await, play(&plan, &mut link).await);
            if turn > 0 {
                alone.push(player);
                reference.push(one - player);
                ours.push(other - player);
            }
        }
        let totals = link.near.0.totals();
        assert_eq!((totals.dropped, totals.lost), (0, 0), "nothing is dropped or lost");
        let plural = if streams == 1 { "" } else { "s" };
        rows.push(Row {
            name: format!("relay, both ends, {streams} stream{plural}"),
            unit: "µs of CPU a packet",
            ours,
            reference: Some(reference),
            target: Target::Ratio(1.5),
            note: format!("the player's own {:.2} are taken off both", alone.median()),
        });
    }
    rows
}
