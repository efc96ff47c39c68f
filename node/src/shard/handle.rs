//! Starting a shard's thread, and talking to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{mpsc, oneshot};

use super::order::{Counted, Order, Tell};
use super::turn;
use crate::quic::MediaIn;
use crate::sfu;
use crate::socket::{Socket, SocketOptions};

/// Orders that wait for a shard; senders wait when it is full (joins are slowed, media is not).
const ORDERS: usize = 1_024;

/// Talks to a shard.
#[derive(Clone)]
pub struct ShardHandle {
    orders: mpsc::Sender<Order>,
    sessions: Arc<AtomicU32>,
    latest: Arc<RwLock<Counted>>,
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

    /// What it had counted a quarter of a second ago at most.
    pub fn latest(&self) -> Counted {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
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
    let latest = Arc::new(RwLock::new(Counted::default()));
    let (bound, is_bound) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let name = format!("shard-{}", parts.shard);
    let (count, told) = (sessions.clone(), latest.clone());
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
            turn::Turn::new(machine, socket, parts.events, count, told).run(inbox, parts.media).await;
        });
    })?;
    let candidates = is_bound.await.map_err(std::io::Error::other)??;
    Ok(ShardHandle { orders, sessions, latest, candidates })
}
