//! What the tasks of one node share: counts, what is live, why sessions ended.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use freshet_cluster::room::EndReason;
use freshet_cluster::{Incarnation, NodeId, RoomId, SessionId, StreamId};

/// How long the reason of an ended session is known.
const TOMBSTONE: Duration = Duration::from_secs(60);
/// Tombstones kept; older ones go first.
const TOMBSTONES_MAX: usize = 10_000;

/// What tasks of one node share.
pub struct Shared {
    /// Who this is.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Sessions, reservations included.
    pub sessions: AtomicU32,
    /// Joins accepted since the start.
    pub joins: AtomicU64,
    /// The limit that the node enforces.
    pub limit: u32,
    /// No new sessions.
    pub draining: AtomicBool,
    /// The node's record stands in the store.
    pub registered: AtomicBool,
    live: RwLock<HashMap<RoomId, Vec<StreamId>>>,
    ended: Mutex<BTreeMap<(Instant, SessionId), EndReason>>,
    viewers: Mutex<HashMap<SessionId, RoomId>>,
}

impl Shared {
    /// For a node that starts.
    pub fn new(node: NodeId, incarnation: Incarnation, limit: u32) -> Self {
        Self {
            node,
            incarnation,
            sessions: AtomicU32::new(0),
            joins: AtomicU64::new(0),
            limit,
            draining: AtomicBool::new(false),
            registered: AtomicBool::new(false),
            live: RwLock::default(),
            ended: Mutex::default(),
            viewers: Mutex::default(),
        }
    }

    /// Whether a stream, or any stream of a room, is live here.
    pub fn is_live(&self, room: &RoomId, stream: Option<&StreamId>) -> bool {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(room).is_some_and(|streams| match stream {
            Some(stream) => streams.contains(stream),
            None => !streams.is_empty(),
        })
    }

    /// Why a session ended, for as long as it is known.
    pub fn ended(&self, session: SessionId) -> Option<EndReason> {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.iter().find(|((_, id), _)| *id == session).map(|(_, reason)| *reason)
    }

    pub(super) fn bury(&self, now: Instant, session: SessionId, reason: EndReason) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.insert((now, session), reason);
        while let Some(((at, id), _)) = ended.first_key_value() {
            let key = (*at, *id);
            if ended.len() <= TOMBSTONES_MAX && now.saturating_duration_since(key.0) < TOMBSTONE {
                break;
            }
            ended.remove(&key);
        }
    }

    pub(super) fn watch(&self, session: SessionId, room: RoomId) {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner).insert(session, room);
    }

    /// Gives a place back.
    pub(super) fn release(&self, session: SessionId) {
        self.viewers.lock().unwrap_or_else(PoisonError::into_inner).remove(&session);
        self.free();
    }

    /// Gives a place back that no session took.
    pub(super) fn free(&self) {
        let _ = self.sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
    }

    /// Viewers by room.
    pub fn viewers(&self) -> BTreeMap<RoomId, u32> {
        let mut rooms = BTreeMap::new();
        for room in self.viewers.lock().unwrap_or_else(PoisonError::into_inner).values() {
            let count: &mut u32 = rooms.entry(room.clone()).or_default();
            *count = count.saturating_add(1);
        }
        rooms
    }

    /// Says which streams are live here.
    pub(super) fn set_live(&self, live: HashMap<RoomId, Vec<StreamId>>) {
        let mut known = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if *known != live {
            *known = live;
        }
    }
}
