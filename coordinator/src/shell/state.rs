//! The state that all handlers and tasks of one coordinator share.
//!
//! The core sits behind one lock that is held for the length of a decision and never across an await.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use freshet_cluster::RoomId;
use freshet_cluster::bus::SharedBus;
use freshet_cluster::store::SharedStore;
use tokio::sync::Notify;

use crate::config::CoordinatorConfig;
use crate::core::Core;
use crate::metrics::Metrics;
use crate::readiness::{Missing, Readiness, Seen};

/// What one coordinator shares among its handlers and tasks.
pub struct State {
    /// How it runs.
    pub config: CoordinatorConfig,
    /// Keys, plans, streams.
    pub store: SharedStore,
    /// Heartbeats, events, chat.
    pub bus: SharedBus,
    /// What it counts.
    pub metrics: Metrics,
    core: Mutex<Core>,
    watchers: Mutex<HashMap<RoomId, Weak<Notify>>>,
    draining: AtomicBool,
    history: AtomicBool,
    readiness: Mutex<Readiness>,
    audiences: Mutex<HashMap<RoomId, usize>>,
}

impl State {
    /// Nothing observed yet.
    pub fn new(config: CoordinatorConfig, store: SharedStore, bus: SharedBus, metrics: Metrics) -> Self {
        let core = Mutex::new(Core::new(config.linger));
        let readiness = Mutex::new(Readiness::new(config.patience));
        let (watchers, audiences) = (Mutex::default(), Mutex::default());
        let (draining, history) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { config, store, bus, metrics, core, watchers, draining, history, readiness, audiences }
    }

    /// The core, for one decision.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        // A panic while the lock was held is a bug that was reported where it happened; the maps are still maps.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whoever holds the result when streams or plan of the room change.
    pub fn watch(&self, room: &RoomId) -> Arc<Notify> {
        let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        watchers.retain(|_, watcher| watcher.strong_count() > 0);
        if let Some(watcher) = watchers.get(room).and_then(Weak::upgrade) {
            return watcher;
        }
        let watcher = Arc::new(Notify::new());
        watchers.insert(room.clone(), Arc::downgrade(&watcher));
        watcher
    }

    /// A room changed.
    pub fn wake(&self, room: &RoomId) {
        let watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watcher) = watchers.get(room).and_then(Weak::upgrade) {
            watcher.notify_one();
        }
    }

    /// So many listen to a room's events at all coordinators together.
    pub fn set_audience(&self, room: &RoomId, listeners: usize) {
        let mut audiences = self.audiences.lock().unwrap_or_else(PoisonError::into_inner);
        match listeners {
            0 => drop(audiences.remove(room)),
            _ => drop(audiences.insert(room.clone(), listeners)),
        }
    }

    /// How many listen to a room's events, if anybody does here.
    pub fn audience(&self, room: &RoomId) -> usize {
        self.audiences.lock().unwrap_or_else(PoisonError::into_inner).get(room).copied().unwrap_or(0)
    }

    /// The history of chat was found: messages can be stored.
    pub fn set_history(&self) {
        self.history.store(true, Ordering::Relaxed);
    }

    /// Whether it should be sent work, as far as its start goes.
    pub fn ready(&self, now: Instant) -> Result<(), Missing> {
        let seen = {
            let core = self.core();
            let view = core.view();
            Seen {
                store_read: view.is_synced() && self.config.guard.rules().is_read(),
                bus_up: self.bus.is_up(),
                history: self.history.load(Ordering::Relaxed),
                registered: view.registered(),
                unheard: view.unheard().cloned().collect(),
            }
        };
        self.readiness.lock().unwrap_or_else(PoisonError::into_inner).look(&seen, now)
    }

    /// Whether it takes no new joins.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on it takes no new joins and says that it is not ready.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }
}
