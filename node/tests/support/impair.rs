//! A stretch of network in user space: UDP between two addresses with delay, jitter, loss and a bottleneck, all from
//! one seed. Loopback alone has none of them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// What happens to datagrams, in each direction.
#[derive(Debug, Clone, Copy)]
pub struct Impairment {
    /// Time on the way.
    pub delay: Duration,
    /// Up to so much more, each datagram by itself: they overtake each other.
    pub jitter: Duration,
    /// Lost at random, in thousandths.
    pub loss: u32,
    /// Bits a second that pass; 0 for no limit.
    pub rate: u64,
    /// How long a datagram may wait for its turn at the bottleneck; those that would longer are lost.
    pub queue: Duration,
    /// Where chance comes from.
    pub seed: u64,
}

impl Default for Impairment {
    fn default() -> Self {
        let delay = Duration::ZERO;
        Self { delay, jitter: delay, loss: 0, rate: 0, queue: Duration::from_secs(1), seed: 1 }
    }
}

/// Counts, both directions together, and of the direction towards the server alone.
#[derive(Debug, Default)]
pub struct Counts {
    pub passed: AtomicU64,
    pub lost: AtomicU64,
    pub overflowed: AtomicU64,
    /// Longest wait at the bottleneck towards the server, in microseconds.
    pub waited_us: AtomicU64,
    /// Everything is lost while this is set.
    pub cut: AtomicBool,
}

/// The stretch. Dial `addr` instead of the server.
pub struct Impair {
    pub addr: SocketAddr,
    pub counts: Arc<Counts>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Impair {
    /// Between whoever sends to `addr` and the server.
    pub fn new(server: SocketAddr, impairment: Impairment) -> Self {
        let front = bind();
        let addr = front.local_addr().unwrap();
        let (counts, stop) = (Arc::new(Counts::default()), Arc::new(AtomicBool::new(false)));
        let road = Road {
            server,
            impairment,
            rng: SmallRng::seed_from_u64(impairment.seed),
            counts: counts.clone(),
            flying: BinaryHeap::new(),
            free: [Instant::now(); 2],
            number: 0,
        };
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || road.run(front, &stopped));
        Self { addr, counts, stop, thread: Some(thread) }
    }
}

impl Drop for Impair {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn bind() -> UdpSocket {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
    let _ = socket.set_recv_buffer_size(8 << 20);
    let _ = socket.set_send_buffer_size(8 << 20);
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.into()
}

/// When, in which order, from which client, towards the server or not, what.
type Flying = Reverse<(Instant, u64, SocketAddr, bool, Vec<u8>)>;

struct Road {
    server: SocketAddr,
    impairment: Impairment,
    rng: SmallRng,
    counts: Arc<Counts>,
    flying: BinaryHeap<Flying>,
    /// When the bottleneck is free, in each direction.
    free: [Instant; 2],
    number: u64,
}

impl Road {
    fn run(mut self, front: UdpSocket, stop: &AtomicBool) {
        let mut backs: HashMap<SocketAddr, UdpSocket> = HashMap::new();
        let mut buffer = vec![0; 65_536];
        while !stop.load(Ordering::Relaxed) {
            let mut idle = true;
            while let Ok((len, client)) = front.recv_from(&mut buffer) {
                idle = false;
                backs.entry(client).or_insert_with(bind);
                self.take(client, true, &buffer[..len]);
            }
            let mut answers = Vec::new();
            for (client, back) in &backs {
                while let Ok((len, _)) = back.recv_from(&mut buffer) {
                    idle = false;
                    answers.push((*client, buffer[..len].to_vec()));
                }
            }
            for (client, bytes) in answers {
                self.take(client, false, &bytes);
            }
            let now = Instant::now();
            while self.flying.peek().is_some_and(|Reverse((due, ..))| *due <= now) {
                let Some(Reverse((_, _, client, up, bytes))) = self.flying.pop() else { break };
                let _ = match (up, backs.get(&client)) {
                    (true, Some(back)) => back.send_to(&bytes, self.server),
                    _ => front.send_to(&bytes, client),
                };
                idle = false;
            }
            if idle {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn take(&mut self, client: SocketAddr, up: bool, bytes: &[u8]) {
        let Impairment { delay, jitter, loss, rate, queue, .. } = self.impairment;
        let now = Instant::now();
        if self.counts.cut.load(Ordering::Relaxed) || self.rng.random_range(0..1_000) < loss {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let free = &mut self.free[usize::from(up)];
        let mut due = now;
        if rate > 0 {
            let wait = free.saturating_duration_since(now);
            if wait > queue {
                self.counts.overflowed.fetch_add(1, Ordering::Relaxed);
                return;
            }
            if up {
                self.counts.waited_us.fetch_max(u64::try_from(wait.as_micros()).unwrap(), Ordering::Relaxed);
            }
            let bits = (bytes.len() as f64 + 28.0) * 8.0;
            *free = (*free).max(now) + Duration::from_secs_f64(bits / rate as f64);
            due = *free;
        }
        let more = self.rng.random_range(0..=u64::try_from(jitter.as_micros()).unwrap());
        due += delay + Duration::from_micros(more);
        self.number += 1;
        self.counts.passed.fetch_add(1, Ordering::Relaxed);
        self.flying.push(Reverse((due, self.number, client, up, bytes.to_vec())));
    }
}
