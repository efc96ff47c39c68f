//! Relays in one process, and a registry that the test writes.
// Each test file uses its part of it.
#![allow(dead_code)]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use freshet_cluster::{Incarnation, NodeId};
use freshet_node::quic::{
    Directory, Ended, LinkHandle, MediaIn, MediaSink, Peer, Relay, RelayConfig, RelayEvent,
};
use freshet_relay_proto::control::Control;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Longest wait for anything.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// A registry of its own for each test.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<HashMap<NodeId, Peer>>>);

impl Registry {
    pub fn put(&self, peer: Peer) {
        self.0.lock().unwrap().insert(peer.node.clone(), peer);
    }

    pub fn get(&self, node: &NodeId) -> Option<Peer> {
        self.0.lock().unwrap().get(node).cloned()
    }
}

#[async_trait]
impl Directory for Registry {
    async fn find(&self, node: &NodeId) -> Option<Peer> {
        self.get(node)
    }
}

/// A sink that the test empties in time.
pub struct Taken(pub mpsc::Sender<MediaIn>);

impl MediaSink for Taken {
    fn take(&self, packet: MediaIn) {
        // A test that is over takes nothing any more.
        assert!(!matches!(self.0.try_send(packet), Err(TrySendError::Full(_))), "the test takes what comes");
    }
}

/// A relay and what comes out of it.
pub struct TestNode {
    pub relay: Relay,
    pub events: mpsc::Receiver<RelayEvent>,
    pub media: mpsc::Receiver<MediaIn>,
    pub peer: Peer,
}

pub fn node(id: &str) -> NodeId {
    id.parse().unwrap()
}

pub fn config(id: &str, incarnation: u64) -> RelayConfig {
    RelayConfig::new(SocketAddr::from(([127, 0, 0, 1], 0)), node(id), Incarnation::from_bits(incarnation))
}

impl TestNode {
    /// Starts a relay and registers it.
    pub async fn start(registry: &Registry, config: RelayConfig) -> Self {
        let started = Self::start_unregistered(registry, config).await;
        registry.put(started.peer.clone());
        started
    }

    /// Starts a relay that the registry does not know.
    pub async fn start_unregistered(registry: &Registry, config: RelayConfig) -> Self {
        let (media_out, media) = mpsc::channel(4_096);
        let (id, incarnation) = (config.node.clone(), config.incarnation);
        let (relay, events) =
            Relay::bind(config, Arc::new(registry.clone()), Taken(media_out)).await.unwrap();
        let peer = Peer {
            node: id,
            incarnation,
            relay: relay.local_addr(),
            cert_sha256: relay.cert_sha256().to_owned(),
        };
        Self { relay, events, media, peer }
    }

    /// The next event.
    pub async fn event(&mut self) -> RelayEvent {
        tokio::time::timeout(PATIENCE, self.events.recv())
            .await
            .expect("an event comes")
            .expect("the relay lives")
    }

    /// The next event, which is a link that is up.
    pub async fn up(&mut self) -> LinkHandle {
        match self.event().await {
            RelayEvent::Up(link) => link,
            other => panic!("expected Up, got {other:?}"),
        }
    }

    /// The next event, which is the end of a link.
    pub async fn down(&mut self) -> Ended {
        match self.event().await {
            RelayEvent::Down { reason, .. } => reason,
            other => panic!("expected Down, got {other:?}"),
        }
    }

    /// The next event, which is a frame.
    pub async fn frame(&mut self) -> Control {
        match self.event().await {
            RelayEvent::Control { frame, .. } => frame,
            other => panic!("expected a frame, got {other:?}"),
        }
    }

    /// No event comes for so long.
    pub async fn quiet(&mut self, time: Duration) {
        if let Ok(event) = tokio::time::timeout(time, self.events.recv()).await {
            panic!("expected nothing, got {event:?}");
        }
    }
}

/// Two nodes and the link between them, dialled by the first. `through`: where the first finds the second.
pub async fn linked(
    registry: &Registry,
    a: RelayConfig,
    b: RelayConfig,
    through: impl FnOnce(SocketAddr) -> SocketAddr,
) -> (TestNode, LinkHandle, TestNode, LinkHandle) {
    let mut a = TestNode::start(registry, a).await;
    let mut b = TestNode::start(registry, b).await;
    let there = Peer { relay: through(b.peer.relay), ..b.peer.clone() };
    registry.put(there.clone());
    a.relay.dial(there);
    let to_b = a.up().await;
    let to_a = b.up().await;
    assert_eq!((to_b.peer(), to_a.peer()), (&b.peer.node, &a.peer.node));
    (a, to_b, b, to_a)
}

/// Waits until something holds.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(tokio::time::Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
