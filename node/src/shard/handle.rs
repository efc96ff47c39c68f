//! Starting a shard's thread, and talking to it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::busy::{Busy, Limit, Load, Waits};
use super::choice::Work;
use super::cores;
use super::crossing::Crossings;
use super::intake::Arrivals;
use super::order::{Counted, Order, Tell};
use super::sockets::{Sockets, Unbound};
use super::turn::{Around, Turn};
use crate::book::{Addresses, Book};
use crate::sfu;

/// Orders that wait for a shard; senders wait when it is full (joins are slowed, media is not).
const ORDERS: usize = 1_024;

/// Talks to a shard.
#[derive(Clone)]
pub struct ShardHandle {
    orders: mpsc::Sender<Order>,
    sessions: Arc<AtomicU32>,
    /// Sessions that are being made.
    coming: Arc<AtomicU32>,
    latest: Arc<RwLock<Counted>>,
    candidates: Vec<SocketAddr>,
    max_busy: Limit,
}

impl ShardHandle {
    /// One whose orders a test carries out.
    #[cfg(test)]
    pub fn of_tests() -> (Self, mpsc::Receiver<Order>) {
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (sessions, coming, latest) = (Arc::default(), Arc::default(), Arc::default());
        (Self { orders, sessions, coming, latest, candidates: Vec::new(), max_busy: Limit::NONE }, inbox)
    }

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

    /// What it has to do, as of a quarter of a second ago at most; its sessions as of now.
    pub fn work(&self) -> Work {
        let sessions =
            self.sessions.load(Ordering::Relaxed).saturating_add(self.coming.load(Ordering::Relaxed));
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        Work { packets_per_second: latest.packets_per_second, sessions, full: latest.load.full }
    }

    /// Counts a session that is being made, until what is returned is dropped: joins that come together spread.
    #[must_use]
    pub fn coming(&self) -> Coming {
        self.coming.fetch_add(1, Ordering::Relaxed);
        Coming(self.coming.clone())
    }

    /// How much of its time it is at work, and whether it takes newcomers, as of a quarter of a second ago at most.
    pub fn busy(&self) -> Load {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).load
    }

    /// How busy it may be before it is given no more sessions.
    pub fn max_busy(&self) -> Limit {
        self.max_busy
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

/// A session that is being made.
pub struct Coming(Arc<AtomicU32>);

impl Drop for Coming {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a shard works with.
pub struct Parts {
    /// Which shard this is.
    pub shard: u16,
    /// How many there are.
    pub of: u16,
    /// What its sockets bind to, and what its candidates advertise.
    pub addresses: Addresses,
    /// What the machine is told, made with its candidates.
    pub config: Box<dyn FnOnce(Book) -> sfu::Config + Send>,
    /// Seed of first sequence numbers and ICE credentials, from the operating system.
    pub seed: [u8; 32],
    /// Packets of links.
    pub media: Arrivals,
    /// Where its events go, with its number.
    pub events: mpsc::Sender<(u16, sfu::Event)>,
    /// What crosses between the shards of this node.
    pub crossings: Crossings,
    /// How busy it may be before it says that it takes no newcomers.
    pub max_busy: Limit,
}

/// Starts a shard's thread and returns when its sockets are bound. It ends when its handle is dropped.
pub async fn spawn(parts: Parts) -> Result<ShardHandle, Unbound> {
    let binds = parts.addresses.sockets(parts.shard);
    let failed = |source| Unbound { address: binds.first().copied(), source };
    let (orders, inbox) = mpsc::channel(ORDERS);
    let sessions = Arc::new(AtomicU32::new(0));
    let latest = Arc::new(RwLock::new(Counted::default()));
    let (bound, is_bound) = oneshot::channel();
    let waits = Arc::new(Waits::new());
    let (begins, ends) = (waits.clone(), waits.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(move || begins.begin())
        .on_thread_unpark(move || ends.end())
        .build()
        .map_err(failed)?;
    let name = format!("shard-{}", parts.shard);
    let around = Around {
        shard: parts.shard,
        events: parts.events,
        sessions: sessions.clone(),
        latest: latest.clone(),
        crossings: parts.crossings,
        busy: Busy::new(parts.max_busy, Instant::now()),
        waits,
        media: parts.media,
    };
    let sockets = binds.clone();
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        cores::pin(parts.shard, parts.of);
        runtime.block_on(async move {
            let sockets = match Sockets::bind(&sockets) {
                Ok(sockets) => sockets,
                Err(error) => {
                    let _ = bound.send(Err(error));
                    return;
                }
            };
            let book = Book::new(parts.shard, sockets.bound(), &parts.addresses.advertised);
            let _ = bound.send(Ok(book.candidates().to_vec()));
            let machine = sfu::Sfu::new((parts.config)(book), parts.seed);
            Turn::new(machine, sockets, around).run(inbox).await;
        });
    });
    thread.map_err(failed)?;
    let candidates = is_bound.await.map_err(|gone| failed(std::io::Error::other(gone)))??;
    Ok(ShardHandle { orders, sessions, coming: Arc::default(), latest, candidates, max_busy: parts.max_busy })
}
