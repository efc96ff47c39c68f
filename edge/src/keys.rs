//! The keys in force. They may change while the process runs: a file is written anew, another issuer's set is fetched.
//!
//! Whoever judges a token takes the ring as it is at that moment. A token that names a key which is not there yet, while
//! a set is fetched from a URL, waits for one fetch: so an issuer's new key is known at its first use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use freshet_cluster::token::{ApiKeys, Keyring, PublicKeys};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};

/// A request waits at most so long for a fetch that may bring its token's key.
const PATIENCE: Duration = Duration::from_secs(2);

/// A keyring that can be changed.
#[derive(Debug)]
pub struct Keys {
    ring: RwLock<Arc<Keyring>>,
    fetched: AtomicBool,
    wanted: Notify,
    rounds: watch::Sender<Round>,
}

/// The fetches so far.
#[derive(Debug, Default)]
struct Round {
    /// How many have ended.
    ended: u64,
    /// One has begun.
    runs: bool,
    /// None begins before then.
    rests_until: Option<Instant>,
}

impl Keys {
    /// These, for now.
    pub fn new(ring: Keyring) -> Self {
        Self {
            ring: RwLock::new(Arc::new(ring)),
            fetched: AtomicBool::new(false),
            wanted: Notify::new(),
            rounds: watch::Sender::default(),
        }
    }

    /// The ring in force.
    pub fn current(&self) -> Arc<Keyring> {
        Arc::clone(&self.ring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes these API keys instead of those until now; whether they differ.
    pub fn set_api(&self, api: ApiKeys) -> bool {
        self.change(|ring| (ring.api != api).then(|| Keyring { api, ..ring.clone() }))
    }

    /// Takes these keys of other issuers instead of those until now; whether they differ.
    pub fn set_public(&self, public: PublicKeys) -> bool {
        self.change(|ring| (ring.public != public).then(|| Keyring { public, ..ring.clone() }))
    }

    fn change(&self, change: impl FnOnce(&Keyring) -> Option<Keyring>) -> bool {
        let mut ring = self.ring.write().unwrap_or_else(PoisonError::into_inner);
        let Some(next) = change(&ring) else { return false };
        *ring = Arc::new(next);
        true
    }

    /// From now on a set is fetched, and unknown keys are worth waiting for.
    pub(crate) fn set_fetched(&self) {
        self.fetched.store(true, Ordering::Relaxed);
        self.round_begins();
    }

    /// A fetch begins.
    pub(crate) fn round_begins(&self) {
        self.rounds.send_modify(|round| round.runs = true);
    }

    /// A fetch has ended, whatever it brought; the next begins no sooner than after `rest`.
    pub(crate) fn round_over(&self, rest: Duration) {
        let rests_until = Instant::now().checked_add(rest);
        self.rounds.send_modify(|round| {
            *round = Round { ended: round.ended.wrapping_add(1), runs: false, rests_until };
        });
    }

    /// Until somebody wants a key that is not there.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Asks for a fetch when there is no key of this id, and waits for it unless the last one was a moment ago.
    pub async fn look_for(&self, kid: &str) {
        if !self.fetched.load(Ordering::Relaxed) || self.current().knows(kid) {
            return;
        }
        let mut rounds = self.rounds.subscribe();
        let (ended, runs, rests) = {
            let round = rounds.borrow();
            (round.ended, round.runs, round.rests_until.is_some_and(|until| Instant::now() < until))
        };
        if !runs {
            self.wanted.notify_one();
        }
        if runs || !rests {
            // An error is the patience's end, or a process that ends.
            let _heard = timeout(PATIENCE, rounds.wait_for(|round| round.ended != ended)).await;
        }
    }
}
