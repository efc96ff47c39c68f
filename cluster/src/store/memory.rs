//! A store in this process, for `freshet dev` and for tests: the same promises as etcd, kept until the process ends.
//!
//! Handles are clones of one store. It has hooks to be away, to lose its past, to end a lease and to compact its
//! history, so that everything that etcd can do to its users can be tried without etcd.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::follower::{Follower, Next};
use super::{Entry, Expect, FOLLOW_QUEUE, Follow, LeaseId, Listing, Revision, Store, StoreError};

/// Changes that are remembered; a follower that lags further lists again, as after a compaction.
const HISTORY: usize = 65_536;

/// A handle on a store in memory.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
    /// Raised at each change, so that followers look again.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Clone)]
struct Change {
    revision: Revision,
    key: String,
    entry: Option<Entry>,
}

#[derive(Debug)]
struct Lease {
    ttl: Duration,
    deadline: Instant,
}

#[derive(Debug)]
struct State {
    /// Which life of the store this is; a wipe begins another.
    life: u64,
    away: bool,
    revision: Revision,
    entries: BTreeMap<String, Entry>,
    history: VecDeque<Change>,
    /// Changes up to this revision are forgotten.
    compacted: Revision,
    leases: HashMap<LeaseId, Lease>,
    last_lease: i64,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        let state = State {
            life: 1,
            away: false,
            revision: Revision(1),
            entries: BTreeMap::new(),
            history: VecDeque::new(),
            compacted: Revision(1),
            leases: HashMap::new(),
            last_lease: 0,
        };
        Self { inner: Arc::new(Inner { state: Mutex::new(state), changed: watch::Sender::new(0) }) }
    }

    /// Makes the store stop (or begin again) to answer. Leases do not run out while it is away, as with etcd.
    pub fn set_away(&self, away: bool) {
        let mut state = self.inner.lock();
        if state.away && !away {
            let now = Instant::now();
            for lease in state.leases.values_mut() {
                lease.deadline = now + lease.ttl;
            }
        }
        state.away = away;
        drop(state);
        self.inner.wake();
    }

    /// Loses everything: keys, leases and the count of revisions.
    pub fn wipe(&self) {
        let mut state = self.inner.lock();
        state.life = state.life.saturating_add(1);
        state.revision = Revision(1);
        state.compacted = Revision(1);
        state.entries.clear();
        state.history.clear();
        state.leases.clear();
        drop(state);
        self.inner.wake();
    }

    /// Ends a lease as if nobody had kept it alive.
    pub fn expire_lease(&self, lease: LeaseId) {
        self.inner.lock().end_lease(lease);
        self.inner.wake();
    }

    /// Forgets the history up to now; followers that have not read it yet list again.
    pub fn compact(&self) {
        let mut state = self.inner.lock();
        state.history.clear();
        state.compacted = state.revision;
    }

    /// How many leases have been opened and have not ended.
    pub fn leases(&self) -> usize {
        self.inner.lock().leases.len()
    }

    /// The revision of the newest write.
    pub fn revision(&self) -> Revision {
        self.inner.lock().revision
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds the lock; the state is whole in any case.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answering(&self) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self.lock();
        if state.away {
            return Err(StoreError::Unavailable("the memory store was told to be away".into()));
        }
        Ok(state)
    }

    fn wake(&self) {
        self.changed.send_modify(|n| *n = n.wrapping_add(1));
    }
}

impl State {
    fn check(&self, key: &str, expect: Expect) -> Result<(), StoreError> {
        let found = self.entries.get(key).map(|e| e.revision);
        let holds = match expect {
            Expect::Any => true,
            Expect::Absent => found.is_none(),
            Expect::At(revision) => found == Some(revision),
        };
        if holds { Ok(()) } else { Err(StoreError::Conflict { key: key.to_owned() }) }
    }

    fn advance(&mut self) -> Revision {
        self.revision = Revision(self.revision.0.saturating_add(1));
        self.revision
    }

    fn record(&mut self, change: Change) {
        self.history.push_back(change);
        while self.history.len() > HISTORY {
            if let Some(forgotten) = self.history.pop_front() {
                self.compacted = forgotten.revision;
            }
        }
    }

    fn remove(&mut self, key: &str, revision: Revision) {
        self.entries.remove(key);
        self.record(Change { revision, key: key.to_owned(), entry: None });
    }

    fn end_lease(&mut self, lease: LeaseId) -> bool {
        if self.leases.remove(&lease).is_none() {
            return false;
        }
        let keys: Vec<String> =
            self.entries.values().filter(|e| e.lease == Some(lease)).map(|e| e.key.clone()).collect();
        if !keys.is_empty() {
            let revision = self.advance();
            for key in keys {
                self.remove(&key, revision);
            }
        }
        true
    }

    fn listing(&self, prefix: &str) -> Listing {
        let entries = self
            .entries
            .range(prefix.to_owned()..)
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(_, entry)| entry.clone())
            .collect();
        Listing { entries, revision: self.revision }
    }

    /// Changes under the prefix after a revision; `None` when they are forgotten.
    fn since(&self, prefix: &str, after: Revision) -> Option<Vec<Change>> {
        if after < self.compacted {
            return None;
        }
        let from = self.history.partition_point(|c| c.revision <= after);
        Some(self.history.iter().skip(from).filter(|c| c.key.starts_with(prefix)).cloned().collect())
    }
}

/// Ends a lease when its time is over and nobody has moved it.
async fn watch_lease(inner: Weak<Inner>, lease: LeaseId) {
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let (deadline, away) = {
            let state = strong.lock();
            let Some(found) = state.leases.get(&lease) else { return };
            (found.deadline, state.away)
        };
        if !away && deadline <= Instant::now() {
            tracing::debug!(?lease, "lease has run out");
            strong.lock().end_lease(lease);
            strong.wake();
            return;
        }
        let mut changed = strong.changed.subscribe();
        drop(strong);
        if away {
            // It comes back by `set_away`, which wakes us; an error means that the store is gone.
            if changed.changed().await.is_err() {
                return;
            }
        } else {
            tokio::time::sleep_until(deadline).await;
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        Ok(self.inner.answering()?.entries.get(key).cloned())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        Ok(self.inner.answering()?.listing(prefix))
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        let mut state = self.inner.answering()?;
        state.check(key, expect)?;
        if let Some(lease) = lease
            && !state.leases.contains_key(&lease)
        {
            return Err(StoreError::LeaseGone(lease));
        }
        let revision = state.advance();
        let entry = Entry { key: key.to_owned(), value, revision, lease };
        state.entries.insert(key.to_owned(), entry.clone());
        state.record(Change { revision, key: key.to_owned(), entry: Some(entry) });
        drop(state);
        self.inner.wake();
        Ok(revision)
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<Revision, StoreError> {
        let mut state = self.inner.answering()?;
        state.check(key, expect)?;
        if state.entries.contains_key(key) {
            let revision = state.advance();
            state.remove(key, revision);
        }
        let revision = state.revision;
        drop(state);
        self.inner.wake();
        Ok(revision)
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let mut state = self.inner.answering()?;
        state.last_lease = state.last_lease.saturating_add(1);
        let lease = LeaseId(state.last_lease);
        state.leases.insert(lease, Lease { ttl, deadline: Instant::now() + ttl });
        drop(state);
        tokio::spawn(watch_lease(Arc::downgrade(&self.inner), lease));
        Ok(lease)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let mut state = self.inner.answering()?;
        let found = state.leases.get_mut(&lease).ok_or(StoreError::LeaseGone(lease))?;
        found.deadline = Instant::now() + found.ttl;
        Ok(())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let ended = self.inner.answering()?.end_lease(lease);
        self.inner.wake();
        if ended { Ok(()) } else { Err(StoreError::LeaseGone(lease)) }
    }

    fn follow(&self, prefix: &str) -> mpsc::Receiver<Follow> {
        let (tx, rx) = mpsc::channel(FOLLOW_QUEUE);
        tokio::spawn(follow(Arc::downgrade(&self.inner), prefix.to_owned(), tx));
        rx
    }
}

async fn follow(inner: Weak<Inner>, prefix: String, tx: mpsc::Sender<Follow>) {
    let mut machine = Follower::default();
    let Some(mut changed) = inner.upgrade().map(|strong| strong.changed.subscribe()) else { return };
    loop {
        changed.mark_unchanged();
        let Some(strong) = inner.upgrade() else { return };
        look(&strong.lock(), &prefix, &mut machine);
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

/// One look at the store on behalf of a follower.
fn look(state: &State, prefix: &str, machine: &mut Follower) {
    if state.away {
        machine.handle_failure();
        return;
    }
    machine.handle_contact(&state.life.to_string(), state.revision);
    if let Next::Watch { after } = machine.next() {
        match state.since(prefix, after) {
            None => machine.handle_compacted(),
            Some(changes) => {
                for change in changes {
                    match change.entry {
                        Some(entry) => machine.handle_put(entry),
                        None => machine.handle_delete(change.key, change.revision),
                    }
                }
                machine.handle_progress(state.revision);
            }
        }
    }
    if machine.next() == Next::List {
        machine.handle_listing(state.listing(prefix));
    }
}
