//! The reader: an epoll, asked at each step.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::{Timespec, epoll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::runtime::{Handle, Id};
use tokio::sync::oneshot;

use super::super::guard::lock;
use super::pace::Pace;
use super::train::{Scratch, Train};
use super::{Due, Tap, train};

/// What is due waits so long for a packet to send it after: looking after all of them costs more.
const SLACK: Duration = Duration::from_millis(50);
/// Between two looks at what is due, and at all.
const TEND: Duration = Duration::from_millis(25);
const TEND_ALL: Duration = Duration::from_secs(1);
/// Nothing came for so long: then the kernel says when there is something again.
const QUIET: Duration = Duration::from_millis(60);
/// What came so lately is the newest that there is, mostly.
const FRESH: Duration = Duration::from_millis(12);
/// Reads of a socket at a step.
const READ_BURST: usize = 64;
/// Sockets that are read before other tasks get their turn.
const TURN: usize = 256;
/// Datagrams that wait for their session; more are left to the kernel's buffer.
const WAITING: usize = 256;
/// Shorter datagrams, in bytes, end a frame or are all that there is of it.
const LONG: usize = 900;

/// Nothing of the same frame follows, as far as can be told: a marker says so (RFC 3550 section 5.1), or a short datagram.
fn ends_frame(datagram: &[u8]) -> bool {
    datagram.len() < LONG || datagram.get(1).is_some_and(|second| second & 0x80 != 0)
}

/// A socket that is read in steps.
pub struct Ear {
    ears: Arc<Ears>,
    number: usize,
    place: Arc<Place>,
}

impl std::fmt::Debug for Ear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Ear({:?})", self.place.socket)
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // The socket may live on, as another's: the kernel forgets it only with the last of its names.
        if let Err(error) = epoll::delete(&*self.ears.epoll, &self.place.socket) {
            tracing::debug!(%error, "a socket stays listened to");
        }
        if let Some(place) = lock(&self.ears.places).get_mut(self.number) {
            *place = None;
        }
    }
}

/// A session's socket, and what has come.
struct Place {
    socket: UdpSocket,
    bell: Bell,
    inbox: Mutex<Inbox>,
}

#[derive(Default)]
struct Inbox {
    /// Who counts, and where what it counts comes from.
    tap: Option<(SocketAddr, Arc<dyn Tap>)>,
    /// For the session.
    waiting: VecDeque<(SocketAddr, Vec<u8>)>,
}

#[derive(Default)]
struct Bell {
    rung: AtomicBool,
    waker: Mutex<Option<Waker>>,
}

impl Bell {
    fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel)
            && let Some(waker) = &*lock(&self.waker)
        {
            waker.wake_by_ref();
        }
    }

    fn heard(&self) -> bool {
        // Without writing where nothing rang: every wake-up of the task asks.
        self.rung.load(Ordering::Acquire) && self.rung.swap(false, Ordering::AcqRel)
    }
}

impl Ear {
    /// There is such a thing here.
    pub const CAN_BE: bool = true;

    /// Takes a socket. Must be called inside a runtime.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        train::listen(&socket)?;
        let place = Place { socket, bell: Bell::default(), inbox: Mutex::default() };
        let ear = Ears::of_runtime()?.hang(Arc::new(place));
        let data = epoll::EventData::new_u64(u64::try_from(ear.number).unwrap_or(u64::MAX));
        epoll::add(&*ear.ears.epoll, &ear.place.socket, data, epoll::EventFlags::IN)?;
        Ok(ear)
    }

    /// From now on this one counts what comes from there.
    pub fn tap(&self, from: SocketAddr, tap: Arc<dyn Tap>) {
        lock(&self.place.inbox).tap = Some((from, tap));
    }

    /// Nobody counts any more, and nothing more comes in trains: what came waits for the session.
    pub fn untap(&self) -> io::Result<()> {
        train::part(&self.place.socket)?;
        let mut inbox = lock(&self.place.inbox);
        if let Some((_, tap)) = inbox.tap.take() {
            tap.let_go();
        }
        let Inbox { waiting, .. } = &mut *inbox;
        let mut scratch = Scratch::default();
        while let Ok(train) = scratch.read(&self.place.socket) {
            waiting.extend(train.datagrams().map(|datagram| (train.from, datagram.to_vec())));
        }
        Ok(())
    }

    /// The first of what waits for the session.
    pub fn try_recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let waiting = lock(&self.place.inbox).waiting.pop_front();
        let (from, datagram) = waiting.ok_or(ErrorKind::WouldBlock)?;
        // What does not fit is cut off, as a socket does.
        let parts = buffer.iter_mut().zip(&datagram);
        Ok((parts.map(|(to, from)| *to = *from).count(), from))
    }

    pub fn send_to(&self, datagram: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.place.socket.send_to(datagram, to)
    }

    #[cfg(test)]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Gives the socket back; nobody reads it any more.
    pub fn into_socket(self) -> io::Result<UdpSocket> {
        self.place.socket.try_clone()
    }

    /// Ready once for each step at which something came for the session.
    pub fn poll(&self, context: &Context<'_>) -> Poll<()> {
        let bell = &self.place.bell;
        if bell.heard() {
            return Poll::Ready(());
        }
        {
            let mut waker = lock(&bell.waker);
            if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
                *waker = Some(context.waker().clone());
            }
        }
        // It may have rung before it was known whom to wake.
        if bell.heard() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Place {
    /// Reads what there is. Tells when it has to be tended at the latest.
    fn read(
        self: &Arc<Self>,
        scratch: &mut Scratch,
        pace: &mut Pace,
        outbox: &mut Outbox,
    ) -> Option<Instant> {
        let mut inbox = lock(&self.inbox);
        let Inbox { tap, waiting } = &mut *inbox;
        let (tap, mut counted) = (tap.as_ref(), None);
        for _ in 0..READ_BURST {
            if waiting.len() >= WAITING {
                break;
            }
            let train = match scratch.read(&self.socket) {
                Ok(train) => train,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // ICMP errors of earlier datagrams surface here; ICE notices by itself.
                Err(_) => continue,
            };
            let Train { from, at, read_at, .. } = train;
            pace.on_read(train.len());
            let mut aside = |datagram: &[u8]| waiting.push_back((from, datagram.to_vec()));
            match tap {
                Some((media, tap)) if *media == from => {
                    tap.take(train.datagrams(), at, &mut aside);
                    counted = Some(read_at);
                }
                _ => train.datagrams().for_each(aside),
            }
            // Who hears of what is left need not ask whether there is more: mostly there is not.
            let fresh = read_at.saturating_duration_since(at) < FRESH;
            if fresh && train.datagrams().next_back().is_none_or(ends_frame) {
                break;
            }
        }
        if !waiting.is_empty() {
            self.bell.ring();
        }
        let (to, tap) = tap?;
        self.put_due(*to, &**tap, counted?, outbox)
    }

    /// Puts out what is due. Tells when something will be due again.
    fn tend(self: &Arc<Self>, now: Instant, outbox: &mut Outbox) -> Option<Instant> {
        let inbox = lock(&self.inbox);
        let (to, tap) = inbox.tap.as_ref()?;
        self.put_due(*to, &**tap, now, outbox)
    }

    fn put_due(
        self: &Arc<Self>,
        to: SocketAddr,
        tap: &dyn Tap,
        now: Instant,
        outbox: &mut Outbox,
    ) -> Option<Instant> {
        let Due { send, next } = tap.due(now);
        outbox.0.extend(send.into_iter().map(|datagram| (Arc::clone(self), to, datagram)));
        next.map(|next| next + SLACK)
    }
}

/// What is to be sent at the end of a step: a server is woken once for what comes to it in one go.
#[derive(Default)]
struct Outbox(Vec<(Arc<Place>, SocketAddr, Vec<u8>)>);

impl Outbox {
    fn send(&mut self) {
        for (place, to, datagram) in self.0.drain(..) {
            // A full send buffer loses the datagram, as a network would.
            if let Err(error) = place.socket.send_to(&datagram, to) {
                tracing::trace!(%error, "datagram not sent");
            }
        }
    }
}

/// All whom one task reads for. There are as many such tasks as the runtime has threads.
struct Ears {
    epoll: Arc<OwnedFd>,
    places: Mutex<Vec<Option<Arc<Place>>>>,
    /// Gone with the last ear.
    _used: oneshot::Sender<()>,
}

impl Ears {
    fn of_runtime() -> io::Result<Arc<Self>> {
        type Known = (Id, usize, Weak<Ears>);
        static ALL: Mutex<Vec<Known>> = Mutex::new(Vec::new());
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let runtime = Handle::current();
        let threads = runtime.metrics().num_workers().max(1);
        let key = (runtime.id(), NEXT.fetch_add(1, Ordering::Relaxed) % threads);
        let mut all = lock(&ALL);
        all.retain(|(_, _, ears)| ears.strong_count() > 0);
        let known = all.iter().find(|(id, thread, _)| (*id, *thread) == key);
        if let Some(ears) = known.and_then(|(_, _, ears)| ears.upgrade()) {
            return Ok(ears);
        }
        let epoll = Arc::new(epoll::create(epoll::CreateFlags::CLOEXEC)?);
        let (_used, over) = oneshot::channel();
        let ears = Arc::new(Self { epoll: Arc::clone(&epoll), places: Mutex::default(), _used });
        all.push((key.0, key.1, Arc::downgrade(&ears)));
        tokio::spawn(listen(Arc::downgrade(&ears), epoll, over));
        Ok(ears)
    }

    /// An ear in the first free place.
    fn hang(self: Arc<Self>, place: Arc<Place>) -> Ear {
        let mut places = lock(&self.places);
        let number = places.iter().position(Option::is_none).unwrap_or(places.len());
        match places.get_mut(number) {
            Some(free) => *free = Some(Arc::clone(&place)),
            None => places.push(Some(Arc::clone(&place))),
        }
        drop(places);
        Ear { ears: self, number, place }
    }

    /// Those that have something to read.
    fn ready(&self) -> io::Result<Vec<Numbered>> {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut events = Vec::with_capacity(lock(&self.places).len().max(1));
        epoll::wait(&*self.epoll, spare_capacity(&mut events), Some(&at_once))?;
        let numbers = events.iter().map(|event| usize::try_from(event.data.u64()).unwrap_or(usize::MAX));
        Ok(self.places(numbers))
    }

    fn places(&self, numbers: impl Iterator<Item = usize>) -> Vec<Numbered> {
        let places = lock(&self.places);
        numbers.filter_map(|number| Some((number, places.get(number)?.clone()?))).collect()
    }
}

type Numbered = (usize, Arc<Place>);

/// When those have to be tended of whom nothing comes. By their numbers: looking at all of them must be cheap.
#[derive(Default)]
struct Dues(Vec<Option<Instant>>);

impl Dues {
    fn set(&mut self, number: usize, due: Option<Instant>) {
        if number >= self.0.len() {
            self.0.resize(number + 1, None);
        }
        if let Some(place) = self.0.get_mut(number) {
            *place = due;
        }
    }

    fn take(&mut self, now: Instant) -> Vec<usize> {
        let due = self.0.iter_mut().enumerate().filter_map(|(number, due)| {
            due.take_if(|due| *due <= now)?;
            Some(number)
        });
        due.collect()
    }
}

/// Reads for as long as there is anybody to read for.
async fn listen(ears: Weak<Ears>, epoll: Arc<OwnedFd>, mut over: oneshot::Receiver<()>) {
    let (mut scratch, mut dues, mut outbox) = (Scratch::default(), Dues::default(), Outbox::default());
    let begun = Instant::now();
    let (mut pace, mut last) = (Pace::new(begun), None);
    let (mut tended, mut all_tended) = (begun, begun);
    loop {
        if last.is_none_or(|last: Instant| last.elapsed() >= QUIET) {
            tokio::select! {
                came = something(&epoll) => if let Err(error) = came {
                    tracing::error!(%error, "nobody can tell any more what has come");
                    return;
                },
                () = tokio::time::sleep(TEND) => {}
                _ = &mut over => return,
            }
        }
        // Nothing that comes meanwhile wakes anybody.
        tokio::time::sleep(pace.step(Instant::now())).await;
        let Some(ears) = ears.upgrade() else { return };
        let ready = match ears.ready() {
            Ok(ready) => ready,
            Err(error) => {
                tracing::debug!(%error, "nothing was read at a step");
                continue;
            }
        };
        for (nth, (number, place)) in ready.iter().enumerate() {
            if nth % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            dues.set(*number, place.read(&mut scratch, &mut pace, &mut outbox));
        }
        outbox.send();
        let now = Instant::now();
        if !ready.is_empty() {
            last = Some(now);
        }
        if now.saturating_duration_since(tended) < TEND {
            continue;
        }
        tended = now;
        let mut due = dues.take(now);
        if now.saturating_duration_since(all_tended) >= TEND_ALL {
            // Of whom nothing was ever counted nothing is known.
            all_tended = now;
            due = (0..lock(&ears.places).len()).collect();
        }
        for (number, place) in ears.places(due.into_iter()) {
            dues.set(number, place.tend(now, &mut outbox));
        }
        outbox.send();
    }
}

/// Waits until anything has come to anybody. The runtime knows of the epoll no longer than that.
async fn something(epoll: &Arc<OwnedFd>) -> io::Result<()> {
    // What is deprecated is that a type could name another descriptor later on: this one cannot.
    #[expect(deprecated)]
    let waiting = AsyncFd::with_interest(Arc::clone(epoll), Interest::READABLE)?;
    waiting.readable().await.map(drop)
}
