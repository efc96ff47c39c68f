//! What the agent's task leaves for the registrar. Leaving something never waits: however long the store is away, no
//! more lies here than what is wanted now, and what is wanted last counts.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::agent::StreamKey;

/// What is to be done.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// Publishes whose media may flow.
    pub live: BTreeSet<StreamKey>,
    /// Publishes that have ended here. One claim leaves one entry at most.
    pub released: BTreeSet<StreamKey>,
    /// The node takes no new sessions.
    pub draining: bool,
    /// Look whether everything stands.
    pub renew: bool,
}

/// Shared by those who wish and the one who does.
#[derive(Debug, Clone, Default)]
pub struct Desk {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    wishes: Mutex<Wishes>,
    left: Notify,
}

impl Desk {
    fn wishes(&self) -> MutexGuard<'_, Wishes> {
        self.inner.wishes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves a wish.
    pub fn leave(&self, wish: impl FnOnce(&mut Wishes)) {
        wish(&mut self.wishes());
        self.inner.left.notify_one();
    }

    /// The media of a publish may flow.
    pub fn live(&self, key: StreamKey) {
        self.leave(|wishes| {
            wishes.live.insert(key);
        });
    }

    /// A publish has ended: that it was live does not matter any more.
    pub fn release(&self, key: StreamKey) {
        self.leave(|wishes| {
            wishes.live.remove(&key);
            wishes.released.insert(key);
        });
    }

    /// Everything that lies here; waits until there is something.
    pub async fn take(&self) -> Wishes {
        loop {
            let left = std::mem::take(&mut *self.wishes());
            if left != Wishes::default() {
                return left;
            }
            self.inner.left.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use freshet_cluster::Generation;
    use futures::FutureExt;

    use super::*;

    fn key(generation: u64) -> StreamKey {
        let (room, stream) = ("r".parse().unwrap(), "s".parse().unwrap());
        StreamKey { room, stream, generation: Generation(generation) }
    }

    #[test]
    fn what_is_wanted_last_counts_and_nothing_piles_up() {
        let desk = Desk::default();
        assert!(desk.take().now_or_never().is_none(), "nothing to do");
        for _ in 0..10_000 {
            desk.leave(|wishes| wishes.renew = true);
            desk.live(key(1));
        }
        desk.live(key(2));
        desk.release(key(1));
        let wishes = desk.take().now_or_never().unwrap();
        assert_eq!(wishes.live, BTreeSet::from([key(2)]));
        assert_eq!(wishes.released, BTreeSet::from([key(1)]));
        assert!(wishes.renew && !wishes.draining);
        assert!(desk.take().now_or_never().is_none(), "taken once");
    }

    #[tokio::test]
    async fn whoever_waits_is_woken() {
        let desk = Desk::default();
        let there = desk.clone();
        let waits = tokio::spawn(async move { there.take().await });
        tokio::task::yield_now().await;
        desk.leave(|wishes| wishes.draining = true);
        tokio::task::yield_now().await;
        assert!(waits.is_finished(), "it is not looked at again by chance");
        assert!(waits.await.unwrap().draining);
    }
}
