//! The shell of one shard: a thread, a socket, queues, and the machine between them.
//!
//! Each turn takes what has come (datagrams, packets of links, orders, time), then flushes once: so packets that
//! arrive together leave together, and a train is as long as the burst was. Socket buffers that are full make the
//! rest wait in order; nothing is lost silently.

mod turn;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, SessionId};
use tokio::sync::{mpsc, oneshot};

use crate::agent::{Lane, Link, RemoteStream, StreamKey};
use crate::quic::{MediaIn, MediaOut};
use crate::service::{CreateError, Fragment, IfMatch, Patched, SessionError, SessionInfo};
use crate::sfu::{self, Ask, Counters};
use crate::socket::{Socket, SocketOptions};

/// Orders that wait for a shard; senders wait when it is full (joins are slowed, media is not).
const ORDERS: usize = 1_024;

/// What a shard is told by the rest of the node.
pub enum Order {
    /// Make a session.
    Create(Ask, oneshot::Sender<Result<(String, String), CreateError>>),
    /// Look at a session.
    Look(SessionId, Option<Identity>, oneshot::Sender<Result<SessionInfo, SessionError>>),
    /// Add candidates or restart ICE.
    Patch {
        /// Which.
        session: SessionId,
        /// By whom.
        who: Option<Identity>,
        /// `If-Match`.
        if_match: IfMatch,
        /// What.
        fragment: Fragment,
        /// The answer.
        reply: oneshot::Sender<Result<Patched, SessionError>>,
    },
    /// End a session for its client.
    EndBy(SessionId, Option<Identity>, oneshot::Sender<Result<(), SessionError>>),
    /// End all sessions and say when their clients have been told.
    EndAll(EndReason, oneshot::Sender<()>),
    /// Something that every shard is told.
    Tell(Tell),
    /// What the shard has counted and what it keeps.
    Count(oneshot::Sender<Counted>),
}

/// What every shard is told; the one that it concerns acts on it.
#[derive(Clone)]
pub enum Tell {
    /// End a session.
    End(SessionId, EndReason),
    /// A publisher's session holds a claim.
    Claimed {
        /// The session.
        session: SessionId,
        /// The claim.
        key: StreamKey,
        /// Who.
        identity: Identity,
        /// When.
        started_at: UnixMillis,
    },
    /// A stream comes by a link.
    RemoteUp(RemoteStream),
    /// A stream by a link has ended.
    RemoteDown(StreamKey),
    /// Send a lane to a link.
    Forward {
        /// The stream.
        key: StreamKey,
        /// Track and layer.
        lane: Lane,
        /// The link.
        link: Link,
        /// The stream's alias there.
        alias: u32,
        /// First index wanted.
        from: Option<u64>,
    },
    /// Stop sending a lane to a link.
    Unforward {
        /// The stream.
        key: StreamKey,
        /// Track and layer.
        lane: Lane,
        /// The link.
        link: Link,
    },
    /// A link wants a keyframe.
    Keyframe(StreamKey, Lane),
    /// A link is up: this is how packets go to it.
    LinkUp(Link, MediaOut),
    /// A link is down.
    LinkDown(Link),
}

/// Counters of a shard and what it keeps.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Totals.
    pub counters: Counters,
    /// Sessions, lanes, streams, viewers.
    pub kept: (usize, usize, usize, usize),
    /// Datagrams dropped because the socket stayed full.
    pub socket_dropped: u64,
}

/// Talks to a shard.
#[derive(Clone)]
pub struct ShardHandle {
    orders: mpsc::Sender<Order>,
    sessions: Arc<AtomicU32>,
    candidates: Vec<SocketAddr>,
}

impl ShardHandle {
    /// Gives an order; waits while the shard is busy.
    pub async fn order(&self, order: Order) {
        if self.orders.send(order).await.is_err() {
            tracing::error!("a shard is gone");
        }
    }

    /// Tells it something.
    pub async fn tell(&self, tell: Tell) {
        self.order(Order::Tell(tell)).await;
    }

    /// Sessions on it.
    pub fn sessions(&self) -> u32 {
        self.sessions.load(Ordering::Relaxed)
    }

    /// What its answers advertise.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// What it has counted; `None` when it is gone.
    pub async fn count(&self) -> Option<Counted> {
        let (reply, answer) = oneshot::channel();
        self.order(Order::Count(reply)).await;
        answer.await.ok()
    }
}

/// What a shard works with.
pub struct Parts {
    /// Which shard this is.
    pub shard: u16,
    /// What its socket binds to; port 0 takes any.
    pub bind: SocketAddr,
    /// Addresses that its candidates advertise.
    pub advertise: Vec<IpAddr>,
    /// What the machine is told, made with its candidates.
    pub config: Box<dyn FnOnce(Vec<SocketAddr>) -> sfu::Config + Send>,
    /// Seed of first sequence numbers and ICE credentials, from the operating system.
    pub seed: [u8; 32],
    /// Packets of links.
    pub media: mpsc::Receiver<MediaIn>,
    /// Where its events go.
    pub events: mpsc::Sender<sfu::Event>,
}

/// Starts a shard's thread and returns when its socket is bound. It ends when its handle is dropped.
pub async fn spawn(parts: Parts) -> std::io::Result<ShardHandle> {
    let (orders, inbox) = mpsc::channel(ORDERS);
    let sessions = Arc::new(AtomicU32::new(0));
    let (bound, is_bound) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = format!("shard-{}", parts.shard);
    let count = sessions.clone();
    std::thread::Builder::new().name(name).spawn(move || {
        runtime.block_on(async move {
            let socket = match Socket::bind(parts.bind, &SocketOptions::default()) {
                Ok(socket) => socket,
                Err(error) => {
                    let _ = bound.send(Err(error));
                    return;
                }
            };
            let port = socket.local_addr().port();
            let candidates: Vec<SocketAddr> =
                parts.advertise.iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            let _ = bound.send(Ok(candidates.clone()));
            let machine = sfu::Sfu::new((parts.config)(candidates), parts.seed);
            turn::Turn::new(machine, socket, parts.events, count).run(inbox, parts.media).await;
        });
    })?;
    let candidates = is_bound.await.map_err(std::io::Error::other)??;
    Ok(ShardHandle { orders, sessions, candidates })
}
