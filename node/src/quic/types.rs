//! What the relay takes and gives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use freshet_cluster::{Incarnation, NodeId};
use freshet_relay_proto::control::Control;
use freshet_relay_proto::header::MediaHeader;
use tokio::sync::mpsc;

/// A link, by its number within this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// A node as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Where its relay listens.
    pub relay: SocketAddr,
    /// SHA-256 of its certificate, 64 lower-case hexadecimal digits.
    pub cert_sha256: String,
}

/// Looks nodes up.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The node's entry, asked of the store itself where it answers.
    async fn find(&self, node: &NodeId) -> Option<Peer>;
}

/// What decides how much may be in flight on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CongestionControl {
    /// Our own, by delay: random loss up to 10 % costs only itself.
    #[default]
    Delay,
    /// quinn's BBR, to compare with.
    QuinnBbr,
    /// quinn's default, Cubic, to compare with.
    QuinnCubic,
}

/// What a relay is told.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// What its socket binds to.
    pub bind: SocketAddr,
    /// Who this is.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
}

impl RelayConfig {
    /// With trust by the registry.
    pub fn new(bind: SocketAddr, node: NodeId, incarnation: Incarnation) -> Self {
        Self { bind, node, incarnation }
    }
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The socket.
    #[error("socket: {0}")]
    Socket(#[from] std::io::Error),
    /// The certificate.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// TLS.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// TLS for QUIC.
    #[error("TLS has no cipher suite for QUIC")]
    Suite,
}

/// What happens on links.
#[derive(Debug)]
pub enum RelayEvent {
    /// Both ends have said who they are and agree.
    Up(LinkHandle),
    /// A frame for the agent.
    Control {
        /// By which link.
        link: LinkId,
        /// What.
        frame: Control,
    },
    /// A link is over.
    Down {
        /// Which.
        link: LinkId,
        /// With whom it was.
        peer: NodeId,
        /// Which start of it.
        incarnation: Incarnation,
        /// Why, in words.
        reason: String,
    },
}

/// A packet that came by a link.
#[derive(Debug, Clone)]
pub struct MediaIn {
    /// By which.
    pub link: LinkId,
    /// Its header.
    pub header: MediaHeader,
    /// Its payload.
    pub payload: Bytes,
    /// When.
    pub arrived: Instant,
}

/// A packet for a link.
#[derive(Debug, Clone)]
pub(super) struct MediaPacket {
    pub header: MediaHeader,
    pub payload: Bytes,
}

/// Counts of a link.
#[derive(Debug, Default)]
pub(super) struct LinkCounters {
    pub sent: AtomicU64,
    pub sent_bytes: AtomicU64,
    pub received: AtomicU64,
    pub dropped: AtomicU64,
    pub refused: AtomicU64,
}

/// Where a shard puts packets for a link.
#[derive(Debug, Clone)]
pub struct MediaOut {
    pub(super) queue: mpsc::Sender<MediaPacket>,
    pub(super) counters: Arc<LinkCounters>,
}

impl MediaOut {
    /// Queues a packet; a full queue drops it and counts.
    pub fn try_send(&self, _kind: freshet_relay_proto::track::MediaKind, header: MediaHeader, payload: Bytes) -> bool {
        let queued = self.queue.try_send(MediaPacket { header, payload }).is_ok();
        if !queued {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        }
        queued
    }
}

/// Talks to a link.
#[derive(Debug, Clone)]
pub struct LinkHandle {
    pub(super) id: LinkId,
    pub(super) peer: NodeId,
    pub(super) incarnation: Incarnation,
    pub(super) frames: mpsc::Sender<Control>,
    pub(super) media: MediaOut,
    pub(super) connection: quinn::Connection,
}

impl LinkHandle {
    /// Its number.
    pub fn id(&self) -> LinkId {
        self.id
    }

    /// The other end.
    pub fn peer(&self) -> &NodeId {
        &self.peer
    }

    /// Which start of the other end.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Queues a frame. A link whose frames are not taken is of no use: it is closed.
    pub fn send(&self, frame: Control) -> bool {
        let queued = self.frames.try_send(frame).is_ok();
        if !queued {
            let code = freshet_relay_proto::code::CloseCode::Overflow;
            self.connection.close(code.code().into(), code.as_str().as_bytes());
        }
        queued
    }

    /// Where packets for it go.
    pub fn media(&self) -> MediaOut {
        self.media.clone()
    }
}

/// A live link, looked at.
#[derive(Debug, Clone)]
pub struct LinkInfo {
    /// The other end.
    pub peer: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Smoothed round trip.
    pub rtt: Duration,
    /// Datagrams sent.
    pub sent: u64,
    /// Their bytes.
    pub sent_bytes: u64,
    /// Packets received.
    pub received: u64,
    /// Packets dropped by our own policy because the link was too slow.
    pub dropped: u64,
}
