//! A bus in this process, for `freshet dev` and for tests: the same promises as NATS, kept until the process ends.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::reader::Reader;
use super::{
    Bus, BusError, DEDUP_WINDOW, KEPT_PER_SUBJECT, KEPT_SUBJECTS, Kept, Message, ReadFrom, Receipt,
    SUBSCRIPTION_QUEUE, Tail, first_sequence, is_kept, matches,
};

/// A handle on a bus in memory; clones share it.
#[derive(Debug, Clone)]
pub struct MemoryBus {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Raised at each change of the history, so that readers look again.
    changed: watch::Sender<u64>,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct State {
    /// Which life of the history this is; a wipe begins another.
    life: u64,
    away: bool,
    /// The first sequence of this life.
    first: u64,
    last: u64,
    kept: HashMap<String, VecDeque<Kept>>,
    /// The kept subjects by the sequence of their newest message.
    by_newest: BTreeMap<u64, String>,
    ids: HashMap<String, u64>,
    ids_by_age: VecDeque<(Instant, String)>,
    subscribers: Vec<(String, mpsc::Sender<Message>)>,
}

impl Default for MemoryBus {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBus {
    /// A bus that nobody listens to yet.
    pub fn new() -> Self {
        let first = first_sequence(SystemTime::now());
        let state = State {
            life: 1,
            away: false,
            first,
            last: first.saturating_sub(1),
            kept: HashMap::new(),
            by_newest: BTreeMap::new(),
            ids: HashMap::new(),
            ids_by_age: VecDeque::new(),
            subscribers: Vec::new(),
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(state),
                changed: watch::Sender::new(0),
                dropped: AtomicU64::new(0),
            }),
        }
    }

    /// Makes the bus stop (or begin again) to answer.
    pub fn set_away(&self, away: bool) {
        self.inner.lock().away = away;
        self.inner.wake();
    }

    /// The sequence of the first message of this history, come or still to come.
    pub fn first_sequence(&self) -> u64 {
        self.inner.lock().first
    }

    /// Loses the history, the message ids and the count of sequences: another history begins.
    pub fn wipe(&self) {
        let mut state = self.inner.lock();
        state.life = state.life.saturating_add(1);
        state.first = first_sequence(SystemTime::now()).max(state.last.saturating_add(1));
        state.last = state.first.saturating_sub(1);
        state.kept.clear();
        state.by_newest.clear();
        state.ids.clear();
        state.ids_by_age.clear();
        drop(state);
        self.inner.wake();
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answering(&self) -> Result<MutexGuard<'_, State>, BusError> {
        let state = self.lock();
        if state.away {
            return Err(BusError::Unavailable("the memory bus was told to be away".into()));
        }
        Ok(state)
    }

    fn wake(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }

    fn fan_out(&self, state: &mut State, subject: &str, payload: &Bytes) {
        state.subscribers.retain(|(_, tx)| !tx.is_closed());
        for (pattern, tx) in &state.subscribers {
            if matches(pattern, subject) {
                let message = Message { subject: subject.to_owned(), payload: payload.clone() };
                if let Err(mpsc::error::TrySendError::Full(_)) = tx.try_send(message) {
                    self.dropped.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }
}

impl State {
    fn forget_old_ids(&mut self, now: Instant) {
        while let Some((at, id)) = self.ids_by_age.pop_front() {
            if now.duration_since(at) < DEDUP_WINDOW {
                self.ids_by_age.push_front((at, id));
                return;
            }
            self.ids.remove(&id);
        }
    }

    fn keep(&mut self, message: Kept) {
        let (seq, subject) = (message.seq, message.subject.clone());
        let kept = self.kept.entry(subject.clone()).or_default();
        if let Some(before) = kept.back() {
            self.by_newest.remove(&before.seq);
        }
        self.by_newest.insert(seq, subject);
        kept.push_back(message);
        if u64::try_from(kept.len()).unwrap_or(u64::MAX) > KEPT_PER_SUBJECT {
            kept.pop_front();
        }
        if self.kept.len() > KEPT_SUBJECTS
            && let Some((_, silent)) = self.by_newest.pop_first()
        {
            self.kept.remove(&silent);
        }
    }
}

#[async_trait]
impl Bus for MemoryBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        let mut state = self.inner.answering()?;
        self.inner.fan_out(&mut state, subject, &payload);
        Ok(())
    }

    fn subscribe(&self, subject: &str) -> mpsc::Receiver<Message> {
        let (tx, rx) = mpsc::channel(SUBSCRIPTION_QUEUE);
        self.inner.lock().subscribers.push((subject.to_owned(), tx));
        rx
    }

    async fn append(&self, subject: &str, id: &str, payload: Bytes) -> Result<Receipt, BusError> {
        if !is_kept(subject) {
            return Err(BusError::Refused(format!("no history keeps {subject:?}: publish it instead")));
        }
        let now = Instant::now();
        let mut guard = self.inner.answering()?;
        let state = &mut *guard;
        state.forget_old_ids(now);
        if let Some(seq) = state.ids.get(id) {
            return Ok(Receipt { seq: *seq, duplicate: true });
        }
        state.last = state.last.saturating_add(1);
        let seq = state.last;
        state.ids.insert(id.to_owned(), seq);
        state.ids_by_age.push_back((now, id.to_owned()));
        state.keep(Kept { seq, subject: subject.to_owned(), payload: payload.clone() });
        self.inner.fan_out(state, subject, &payload);
        drop(guard);
        self.inner.wake();
        Ok(Receipt { seq, duplicate: false })
    }

    async fn prepare(&self) -> Result<(), BusError> {
        self.inner.answering().map(drop)
    }

    fn tail(&self, subject: &str, from: ReadFrom) -> mpsc::Receiver<Tail> {
        let (tx, rx) = mpsc::channel(SUBSCRIPTION_QUEUE);
        tokio::spawn(tail(Arc::downgrade(&self.inner), subject.to_owned(), from, tx));
        rx
    }

    fn is_up(&self) -> bool {
        !self.inner.lock().away
    }

    fn dropped(&self) -> u64 {
        self.inner.dropped.load(Ordering::Relaxed)
    }
}

async fn tail(inner: Weak<Inner>, subject: String, from: ReadFrom, tx: mpsc::Sender<Tail>) {
    let mut machine = Reader::new(from);
    let Some(mut changed) = inner.upgrade().map(|strong| strong.changed.subscribe()) else { return };
    loop {
        changed.mark_unchanged();
        let Some(strong) = inner.upgrade() else { return };
        look(&strong.lock(), &subject, &mut machine);
        drop(strong);
        while let Some(next) = machine.poll_output() {
            if tx.send(next).await.is_err() {
                return;
            }
        }
        tokio::select! {
            result = changed.changed() => if result.is_err() { return },
            () = tx.closed() => return,
        }
    }
}

/// One look at the history on behalf of a reader.
fn look(state: &State, subject: &str, machine: &mut Reader) {
    if state.away {
        machine.handle_failure();
        return;
    }
    machine.handle_open(&state.life.to_string(), state.first, state.last);
    // At most KEPT_PER_SUBJECT: what was read before is dropped by the machine.
    for kept in state.kept.get(subject).into_iter().flatten() {
        machine.handle_kept(kept.clone());
    }
    machine.handle_drained();
}
