//! The endpoint: accepts, dials, keeps one link for each pair of nodes.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freshet_cluster::{Incarnation, NodeId};
use freshet_relay_proto::code::CloseCode;
use freshet_relay_proto::link::Role;
use quinn::Endpoint;
use rand::Rng;
use tokio::sync::{Semaphore, mpsc};

use super::connection;
use super::tls::{self, SERVER_NAME};
use super::types::{Directory, LinkHandle, LinkInfo, MediaIn, Peer, RelayConfig, RelayError, RelayEvent};

/// Events that wait for the agent; connections wait when it is full.
const EVENTS: usize = 4_096;
/// Connections whose handshake or Hello is not done.
const HALF_OPEN: usize = 256;
/// Pauses between attempts to dial.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

struct Entry {
    handle: LinkHandle,
    dialer: NodeId,
}

pub(super) struct Inner {
    pub config: RelayConfig,
    pub directory: Arc<dyn Directory>,
    pub events: mpsc::Sender<RelayEvent>,
    pub media_in: mpsc::Sender<MediaIn>,
    pub next_id: AtomicU32,
    links: Mutex<HashMap<NodeId, Entry>>,
    wanted: Mutex<HashMap<NodeId, Incarnation>>,
}

impl Inner {
    /// Takes a checked link in; false when another connection of the same pair stays.
    pub async fn up(&self, handle: &LinkHandle, dialer: NodeId) -> bool {
        let old = {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            let old = links.get(&handle.peer);
            let stays = old.is_some_and(|old| {
                old.handle.incarnation == handle.incarnation
                    && old.handle.connection.close_reason().is_none()
                    && old.dialer < dialer
            });
            if stays {
                return false;
            }
            links.insert(handle.peer.clone(), Entry { handle: handle.clone(), dialer })
        };
        if let Some(old) = old {
            let code = CloseCode::Superseded;
            old.handle.connection.close(code.code().into(), code.as_str().as_bytes());
        }
        self.events.send(RelayEvent::Up(handle.clone())).await.is_ok()
    }

    pub async fn down(&self, handle: &LinkHandle, reason: String) {
        {
            let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
            if links.get(&handle.peer).is_some_and(|e| e.handle.id == handle.id) {
                links.remove(&handle.peer);
            }
        }
        let (peer, incarnation) = (handle.peer.clone(), handle.incarnation);
        let _ = self.events.send(RelayEvent::Down { link: handle.id, peer, incarnation, reason }).await;
    }

    fn is_linked(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.get(node).is_some_and(|e| e.handle.incarnation == incarnation && e.handle.connection.close_reason().is_none())
    }

    fn is_wanted(&self, node: &NodeId, incarnation: Incarnation) -> bool {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner).get(node) == Some(&incarnation)
    }
}

/// A relay endpoint.
pub struct Relay {
    endpoint: Endpoint,
    inner: Arc<Inner>,
    sha256: String,
    local: SocketAddr,
}

impl Relay {
    /// Binds, and accepts from then on.
    pub async fn bind(
        config: RelayConfig,
        directory: Arc<dyn Directory>,
        media_in: mpsc::Sender<MediaIn>,
    ) -> Result<(Self, mpsc::Receiver<RelayEvent>), RelayError> {
        let identity = tls::identity()?;
        let mut endpoint = Endpoint::server(identity.server, config.bind)?;
        endpoint.set_default_client_config(identity.client);
        let local = endpoint.local_addr()?;
        let (events, inbox) = mpsc::channel(EVENTS);
        let inner = Arc::new(Inner {
            config,
            directory,
            events,
            media_in,
            next_id: AtomicU32::new(1),
            links: Mutex::default(),
            wanted: Mutex::default(),
        });
        tokio::spawn(accept(endpoint.clone(), inner.clone()));
        Ok((Self { endpoint, inner, sha256: identity.sha256, local }, inbox))
    }

    /// SHA-256 of our certificate, for the registry.
    pub fn cert_sha256(&self) -> &str {
        &self.sha256
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Keeps a link to this node open until it is forgotten.
    pub fn dial(&self, peer: Peer) {
        let mut wanted = self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.insert(peer.node.clone(), peer.incarnation) == Some(peer.incarnation) {
            return;
        }
        tokio::spawn(keep(self.endpoint.clone(), self.inner.clone(), peer));
    }

    /// Dials this node no more. A live link stays: the other end may need it, and idle it costs a ping a second.
    pub fn forget(&self, node: &NodeId, incarnation: Incarnation) {
        let mut wanted = self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.get(node) == Some(&incarnation) {
            wanted.remove(node);
        }
    }

    /// Live links.
    pub fn links(&self) -> Vec<LinkInfo> {
        let links = self.inner.links.lock().unwrap_or_else(PoisonError::into_inner);
        let info = |e: &Entry| {
            let counters = &e.handle.media.counters;
            LinkInfo {
                peer: e.handle.peer.clone(),
                incarnation: e.handle.incarnation,
                rtt: e.handle.connection.rtt(),
                sent: counters.sent.load(Ordering::Relaxed),
                sent_bytes: counters.sent_bytes.load(Ordering::Relaxed),
                received: counters.received.load(Ordering::Relaxed),
                dropped: counters.dropped.load(Ordering::Relaxed),
            }
        };
        links.values().map(info).collect()
    }

    /// Closes all links in order.
    pub async fn close(&self) {
        self.inner.wanted.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let code = CloseCode::GoingAway;
        self.endpoint.close(code.code().into(), code.as_str().as_bytes());
        let _ = tokio::time::timeout(Duration::from_millis(500), self.endpoint.wait_idle()).await;
    }
}

async fn accept(endpoint: Endpoint, inner: Arc<Inner>) {
    let places = Arc::new(Semaphore::new(HALF_OPEN));
    while let Some(incoming) = endpoint.accept().await {
        let Ok(place) = places.clone().try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let inner = inner.clone();
        tokio::spawn(async move {
            let made = incoming.await;
            drop(place);
            match made {
                Ok(connection) => connection::run(inner, connection, Role::Acceptor, None).await,
                Err(error) => tracing::debug!(%error, "relay handshake failed"),
            }
        });
    }
}

/// Dials, serves, and dials again.
async fn keep(endpoint: Endpoint, inner: Arc<Inner>, peer: Peer) {
    let mut pause = FIRST_PAUSE;
    while inner.is_wanted(&peer.node, peer.incarnation) {
        if inner.is_linked(&peer.node, peer.incarnation) {
            tokio::time::sleep(FIRST_PAUSE).await;
            continue;
        }
        match dial_once(&endpoint, &peer).await {
            Ok(connection) => {
                let before = std::time::Instant::now();
                connection::run(inner.clone(), connection, Role::Dialer, Some(peer.clone())).await;
                if before.elapsed() > LONGEST_PAUSE {
                    pause = FIRST_PAUSE;
                }
            }
            Err(error) => tracing::debug!(node = %peer.node, %error, "relay dial failed"),
        }
        let jitter = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(pause.mul_f64(jitter)).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

async fn dial_once(endpoint: &Endpoint, peer: &Peer) -> Result<quinn::Connection, String> {
    let connecting = endpoint.connect(peer.relay, SERVER_NAME).map_err(|e| e.to_string())?;
    let made = tokio::time::timeout(Duration::from_secs(3), connecting).await;
    made.map_err(|_| "timed out".to_owned())?.map_err(|e| e.to_string())
}
