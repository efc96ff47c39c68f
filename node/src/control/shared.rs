//! What the tasks of one node share: counts, what is live, who holds a place.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::Instant;

use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Incarnation, NodeId, RoomId, SessionId, StreamId};

use super::roll::{Doom, Roll};
use super::standing::{Standing, Unfit};
use crate::session::Held;

/// What agent and switchboard keep now.
#[derive(Debug, Default)]
pub struct Kept {
    /// Plans.
    pub rooms: AtomicU64,
    /// Publishes.
    pub streams: AtomicU64,
    /// Encodings that viewers here or links want.
    pub subscriptions: AtomicU64,
    /// The same for each shard that wants one.
    pub of_shards: AtomicU64,
}

/// What tasks of one node share.
pub struct Shared {
    /// Who this is.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Sessions, reservations included.
    pub sessions: AtomicU32,
    /// Of those, sessions that no shard has accepted yet.
    opening: AtomicU32,
    /// Joins accepted since the start.
    pub joins: AtomicU64,
    /// Sessions refused because all shards were busy.
    pub refused_busy: AtomicU64,
    /// Announcements of streams refused because of a loop, and because of an older generation.
    pub refused_announcements: (AtomicU64, AtomicU64),
    /// What agent and switchboard keep.
    pub kept: Kept,
    /// The limit that the node enforces.
    pub limit: u32,
    /// No new sessions.
    pub draining: AtomicBool,
    standing: Mutex<Standing>,
    live: RwLock<HashMap<RoomId, Vec<StreamId>>>,
    /// Sessions that hold a place.
    held: Mutex<Roll>,
}

impl Shared {
    /// For a node that starts.
    pub fn new(node: NodeId, incarnation: Incarnation, limit: u32) -> Self {
        Self {
            node,
            incarnation,
            sessions: AtomicU32::new(0),
            opening: AtomicU32::new(0),
            joins: AtomicU64::new(0),
            refused_busy: AtomicU64::new(0),
            refused_announcements: Default::default(),
            kept: Kept::default(),
            limit,
            draining: AtomicBool::new(false),
            standing: Mutex::default(),
            live: RwLock::default(),
            held: Mutex::default(),
        }
    }

    /// The node's own place in the registry.
    pub fn standing<T>(&self, f: impl FnOnce(&mut Standing) -> T) -> T {
        f(&mut self.standing.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Why the node takes no new session of a room because of its own place in the registry.
    pub(super) fn unfit(&self, now: Instant, room: &RoomId) -> Option<Unfit> {
        let carried = || self.roll(|roll| roll.watches(room));
        let standing = self.standing(|standing| *standing);
        standing.unfit(now, false)?;
        standing.unfit(now, self.is_live(room, None) || carried())
    }

    /// Whether a stream, or any stream of a room, is live here.
    pub fn is_live(&self, room: &RoomId, stream: Option<&StreamId>) -> bool {
        let live = self.live.read().unwrap_or_else(PoisonError::into_inner);
        live.get(room).is_some_and(|streams| match stream {
            Some(stream) => streams.contains(stream),
            None => !streams.is_empty(),
        })
    }

    /// Who holds a place.
    pub fn roll<T>(&self, look: impl FnOnce(&Roll) -> T) -> T {
        look(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a place for a session that is about to be made; none when there is none.
    pub(super) fn reserve(&self, session: SessionId, held: Held) -> Option<Doom> {
        let take = |n: u32| (n < self.limit).then(|| n.saturating_add(1));
        self.sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, take).ok()?;
        self.opening.fetch_add(1, Ordering::AcqRel);
        Some(self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(session, held))
    }

    /// It is known what became of a session that a place was taken for: a shard has it, or it failed.
    pub(super) fn opened(&self, accepted: bool) {
        let _ = self.opening.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
        if accepted {
            self.joins.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Sessions as heartbeats tell them: those that `joins` has counted. Whoever sends one that is still being made counts it.
    pub fn accepted(&self) -> u32 {
        let opening = self.opening.load(Ordering::Acquire);
        self.sessions.load(Ordering::Acquire).saturating_sub(opening)
    }

    /// The session that a place was taken for is made: its number in the roll, or none when it has ended meanwhile.
    pub(super) fn made(&self, session: SessionId) -> Option<u64> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).made(session, UnixMillis::now())
    }

    /// Gives a session's place back, once, whoever says first that it is over.
    pub(super) fn release(&self, session: SessionId) {
        if self.held.lock().unwrap_or_else(PoisonError::into_inner).remove(session) {
            let _ = self.sessions.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| n.checked_sub(1));
        }
    }

    /// Viewers by room.
    pub fn viewers(&self) -> BTreeMap<RoomId, u32> {
        self.roll(Roll::viewers)
    }

    /// Says which streams are live here.
    pub(super) fn set_live(&self, live: HashMap<RoomId, Vec<StreamId>>) {
        let mut known = self.live.write().unwrap_or_else(PoisonError::into_inner);
        if *known != live {
            *known = live;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::Direction;

    fn held(room: &RoomId, direction: Direction) -> Held {
        let (room, identity) = (room.clone(), "ann".parse().unwrap());
        Held { room, identity, direction, stream: None, since: UnixMillis(0) }
    }

    #[test]
    fn a_node_that_lost_its_record_goes_on_with_the_rooms_that_it_carries() {
        use super::super::standing::LOST_MAX;
        let shared = Shared::new("n".parse().unwrap(), Incarnation::from_bits(1), 9);
        let [watched, live, new]: [RoomId; 3] = ["watched", "live", "new"].map(|room| room.parse().unwrap());
        assert!(shared.reserve(SessionId::from_bits(1), held(&watched, Direction::View)).is_some());
        shared.set_live(HashMap::from([(live.clone(), vec!["s".parse().unwrap()])]));
        let now = Instant::now();
        shared.standing(|standing| {
            standing.handle_registered();
            standing.handle_lost(now);
        });
        assert_eq!(shared.unfit(now, &new), None);
        let late = now + LOST_MAX;
        assert_eq!(shared.unfit(late, &new), Some(Unfit::LeaseLost));
        assert_eq!((shared.unfit(late, &watched), shared.unfit(late, &live)), (None, None));
        shared.standing(|standing| standing.handle_replaced(Incarnation::from_bits(2)));
        assert_eq!(shared.unfit(late, &live), Some(Unfit::Replaced));
    }

    #[test]
    fn heartbeats_tell_a_session_once_its_join_is_counted() {
        let shared = Shared::new("n".parse().unwrap(), Incarnation::from_bits(1), 9);
        let room: RoomId = "room".parse().unwrap();
        let [a, b] = [1, 2].map(SessionId::from_bits);
        assert!(shared.reserve(a, held(&room, Direction::View)).is_some());
        assert!(shared.reserve(b, held(&room, Direction::View)).is_some());
        let told = || (shared.accepted(), shared.joins.load(Ordering::Acquire));
        assert_eq!(told(), (0, 0));
        shared.opened(true);
        assert_eq!(told(), (1, 1));
        shared.opened(false);
        shared.release(b);
        assert_eq!(told(), (1, 1), "one that failed");
        shared.release(a);
        assert_eq!(told(), (0, 1));
    }

    #[test]
    fn a_place_is_given_back_once() {
        let shared = Shared::new("n".parse().unwrap(), Incarnation::from_bits(1), 2);
        let room: RoomId = "room".parse().unwrap();
        let [a, b, c] = [1, 2, 3].map(SessionId::from_bits);
        let (view, publish) = (|| held(&room, Direction::View), || held(&room, Direction::Publish));
        assert!(shared.reserve(a, view()).is_some() && shared.reserve(b, publish()).is_some());
        assert!(shared.reserve(c, publish()).is_none(), "there are two places");
        assert_eq!(shared.viewers().get(&room), Some(&1));
        // The caller gave up waiting, and the shard ends what it made.
        shared.release(a);
        shared.release(a);
        assert_eq!(shared.sessions.load(Ordering::Acquire), 1);
        assert!(shared.viewers().is_empty());
        assert!(shared.reserve(c, publish()).is_some());
        assert!(shared.reserve(a, publish()).is_none());
    }
}
