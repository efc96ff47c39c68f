//! Who holds a place on this node: the sessions of all its shards, as they were made.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, OnceLock};

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, RoomId, SessionId};

use crate::session::{Direction, Held};

/// All of them.
#[derive(Debug, Default)]
pub struct Roll {
    held: HashMap<SessionId, Place>,
    /// The same by room and identity.
    of: HashMap<RoomId, HashMap<Identity, BTreeSet<SessionId>>>,
    /// Counts those that were made: their order, whatever the clock does.
    made: u64,
}

/// Set when a session is ended before it is made: whoever makes it lets it go again.
pub type Doom = Arc<OnceLock<EndReason>>;

/// One place.
#[derive(Debug)]
struct Place {
    /// The how-manieth session it is; none while it is being made, which may fail.
    made: Option<u64>,
    held: Held,
    doom: Doom,
}

impl Roll {
    /// One more, that is about to be made.
    pub fn insert(&mut self, session: SessionId, held: Held) -> Doom {
        let doom = Doom::default();
        let own = self.of.entry(held.room.clone()).or_default().entry(held.identity.clone()).or_default();
        own.insert(session);
        self.held.insert(session, Place { made: None, held, doom: doom.clone() });
        doom
    }

    /// It is made, behind all that were made before: its number, or none when it has ended meanwhile.
    pub fn made(&mut self, session: SessionId, now: UnixMillis) -> Option<u64> {
        let place = self.held.get_mut(&session).filter(|place| place.doom.get().is_none())?;
        self.made = self.made.wrapping_add(1);
        place.made = Some(self.made);
        place.held.since = now;
        place.made
    }

    /// Ends one that is being made, for a reason. Those that are made are ended where they are.
    pub fn doom(&self, session: SessionId, reason: EndReason) {
        if let Some(place) = self.held.get(&session).filter(|place| place.made.is_none()) {
            // The first word counts.
            let _said = place.doom.set(reason);
        }
    }

    /// One less; whether it was there.
    pub fn remove(&mut self, session: SessionId) -> bool {
        let Some(Place { held, .. }) = self.held.remove(&session) else { return false };
        if let Some(room) = self.of.get_mut(&held.room) {
            if let Some(own) = room.get_mut(&held.identity) {
                own.remove(&session);
                if own.is_empty() {
                    room.remove(&held.identity);
                }
            }
            if room.is_empty() {
                self.of.remove(&held.room);
            }
        }
        true
    }

    /// One of them.
    pub fn get(&self, session: SessionId) -> Option<&Held> {
        self.held.get(&session).map(|place| &place.held)
    }

    /// All of them, those that are being made included.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Held)> {
        self.held.iter().map(|(session, place)| (*session, &place.held))
    }

    /// Those of a room, or of an identity in it, that are made.
    pub fn sessions(
        &self,
        room: &RoomId,
        identity: Option<&Identity>,
    ) -> impl Iterator<Item = (SessionId, &Held)> {
        let made = self.places(room, identity).filter(|(_, place)| place.made.is_some());
        made.map(|(session, place)| (session, &place.held))
    }

    fn places(
        &self,
        room: &RoomId,
        identity: Option<&Identity>,
    ) -> impl Iterator<Item = (SessionId, &Place)> {
        let room = self.of.get(room);
        let (one, all) = match identity {
            Some(identity) => (room.and_then(|room| room.get(identity)), None),
            None => (None, room),
        };
        let ids = one.into_iter().chain(all.into_iter().flat_map(HashMap::values)).flatten();
        ids.filter_map(|session| Some((*session, self.held.get(session)?)))
    }

    /// Viewers by room.
    pub fn viewers(&self) -> BTreeMap<RoomId, u32> {
        let mut rooms = BTreeMap::new();
        for (_, held) in self.iter().filter(|(_, held)| held.direction == Direction::View) {
            let count: &mut u32 = rooms.entry(held.room.clone()).or_default();
            *count = count.saturating_add(1);
        }
        rooms
    }

    /// Whether somebody watches the room.
    pub fn watches(&self, room: &RoomId) -> bool {
        self.places(room, None).any(|(_, place)| place.held.direction == Direction::View)
    }

    /// The oldest of an identity's sessions in a room and direction, so many that `keep` are left of those that were
    /// made until `last`. What is being made may fail, and what was made later sees to this by itself.
    pub fn beyond(
        &self,
        room: &RoomId,
        identity: &Identity,
        direction: Direction,
        keep: usize,
        last: u64,
    ) -> Vec<SessionId> {
        let own = self.places(room, Some(identity)).filter(|(_, place)| place.held.direction == direction);
        let own =
            own.filter_map(|(session, place)| Some((place.made.filter(|made| *made <= last)?, session)));
        let mut own: Vec<(u64, SessionId)> = own.collect();
        own.sort_unstable();
        let over = own.len().saturating_sub(keep);
        own.into_iter().take(over).map(|(_, session)| session).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(room: &str, identity: &str, direction: Direction) -> Held {
        let (room, identity) = (room.parse().unwrap(), identity.parse().unwrap());
        Held { room, identity, direction, stream: None, since: UnixMillis(0) }
    }

    #[test]
    fn the_oldest_of_ones_own_are_beyond_what_one_may_hold() {
        use Direction::{Publish, View};
        let mut roll = Roll::default();
        let id = SessionId::from_bits;
        for (bits, one) in [
            (9, held("r", "ann", View)),
            (3, held("r", "ann", View)),
            (5, held("r", "bob", View)),
            (4, held("other", "ann", View)),
            (6, held("r", "ann", Publish)),
            (1, held("r", "ann", View)),
        ] {
            roll.insert(id(bits), one);
            assert!(roll.made(id(bits), UnixMillis(7)).is_some());
        }
        let (room, ann) = ("r".parse().unwrap(), "ann".parse().unwrap());
        assert_eq!(roll.beyond(&room, &ann, View, 1, 9), [id(9), id(3)]);
        assert_eq!(roll.beyond(&room, &ann, View, 2, 9), [id(9)]);
        assert_eq!(roll.beyond(&room, &ann, View, 3, 9), []);
        assert_eq!(roll.beyond(&room, &ann, Publish, 0, 9), [id(6)]);
        assert_eq!(roll.viewers(), BTreeMap::from([(room.clone(), 4), ("other".parse().unwrap(), 1)]));
        assert!(roll.watches(&room) && !roll.watches(&"empty".parse().unwrap()));
        assert!(roll.remove(id(9)) && !roll.remove(id(9)));
        assert_eq!(roll.beyond(&room, &ann, View, 1, 9), [id(3)]);
    }

    #[test]
    fn what_is_still_being_made_ends_nobody_and_is_ended_by_nobody() {
        let (mut roll, id) = (Roll::default(), SessionId::from_bits);
        let (room, ann) = ("r".parse().unwrap(), "ann".parse().unwrap());
        let join = |roll: &mut Roll, bits| roll.insert(id(bits), held("r", "ann", Direction::View));
        let beyond = |roll: &Roll, keep, last| roll.beyond(&room, &ann, Direction::View, keep, last);
        join(&mut roll, 1);
        roll.made(id(1), UnixMillis(1)).unwrap();
        // One whose offer is bad, in flight while another is made.
        join(&mut roll, 2);
        join(&mut roll, 3);
        let third = roll.made(id(3), UnixMillis(5)).unwrap();
        assert_eq!(beyond(&roll, 2, third), []);
        assert_eq!(beyond(&roll, 1, third), [id(1)]);
        assert_eq!((roll.sessions(&room, None).count(), roll.iter().count()), (2, 3));
        assert_eq!(roll.get(id(3)).unwrap().since, UnixMillis(5));
        assert!(roll.remove(id(2)));
        assert_eq!(roll.made(id(2), UnixMillis(6)), None, "it failed");
        assert_eq!(beyond(&roll, 2, third), []);
    }

    #[test]
    fn what_is_ended_before_it_is_made_is_not_made() {
        let (mut roll, id) = (Roll::default(), SessionId::from_bits);
        let (room, ann) = ("r".parse().unwrap(), "ann".parse().unwrap());
        let doom = roll.insert(id(1), held("r", "ann", Direction::View));
        roll.doom(id(1), EndReason::Revoked);
        roll.doom(id(1), EndReason::TakenOver);
        roll.doom(id(9), EndReason::Revoked);
        assert_eq!(roll.made(id(1), UnixMillis(1)), None);
        assert_eq!(doom.get(), Some(&EndReason::Revoked), "the first word counts");
        assert_eq!(roll.sessions(&room, Some(&ann)).count(), 0);
        // One that is made is ended where it is.
        let doom = roll.insert(id(2), held("r", "ann", Direction::View));
        assert!(roll.made(id(2), UnixMillis(1)).is_some());
        roll.doom(id(2), EndReason::Revoked);
        assert_eq!(doom.get(), None);
        // Whoever makes it hears of it even when its place is gone by then.
        let doom = roll.insert(id(3), held("r", "ann", Direction::View));
        roll.doom(id(3), EndReason::Revoked);
        assert!(roll.remove(id(3)) && doom.get().is_some());
    }

    #[test]
    fn sessions_are_found_by_room_and_identity_and_leave_nothing_behind() {
        let (mut roll, id) = (Roll::default(), SessionId::from_bits);
        let all = [(1, "r", "ann"), (2, "r", "bob"), (3, "r", "ann"), (4, "other", "ann")];
        for (bits, room, identity) in all {
            roll.insert(id(bits), held(room, identity, Direction::View));
            roll.made(id(bits), UnixMillis(1)).unwrap();
        }
        let found = |roll: &Roll, room: &str, identity: Option<&str>| {
            let (room, identity) = (room.parse().unwrap(), identity.map(|name| name.parse().unwrap()));
            let sessions = roll.sessions(&room, identity.as_ref()).map(|(session, _)| session.bits());
            sessions.collect::<BTreeSet<_>>()
        };
        assert_eq!(found(&roll, "r", None), BTreeSet::from([1, 2, 3]));
        assert_eq!(found(&roll, "r", Some("ann")), BTreeSet::from([1, 3]));
        assert_eq!(found(&roll, "other", Some("ann")), BTreeSet::from([4]));
        assert_eq!(found(&roll, "other", Some("bob")), BTreeSet::new());
        assert!(roll.remove(id(1)));
        assert_eq!(found(&roll, "r", Some("ann")), BTreeSet::from([3]));
        assert!([2, 3, 4].into_iter().all(|bits| roll.remove(id(bits))));
        assert!(roll.of.is_empty() && roll.held.is_empty());
    }

    #[test]
    fn of_two_joins_at_once_the_one_that_is_made_last_stays() {
        for order in [[1, 2], [2, 1]] {
            let (mut roll, id) = (Roll::default(), SessionId::from_bits);
            let (room, ann) = ("r".parse().unwrap(), "ann".parse().unwrap());
            for bits in order {
                roll.insert(id(bits), held("r", "ann", Direction::View));
            }
            let [first, last] = [1, 2].map(|bits| roll.made(id(bits), UnixMillis(1)).unwrap());
            let ends = [first, last].map(|own| roll.beyond(&room, &ann, Direction::View, 1, own));
            assert_eq!(ends, [vec![], vec![id(1)]], "one of them goes, and not both");
        }
    }
}
