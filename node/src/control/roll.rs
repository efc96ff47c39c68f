//! Who holds a place on this node: the sessions of all its shards, as they were made.

use std::collections::{BTreeMap, HashMap};

use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, RoomId, SessionId};

use crate::session::{Direction, Held};

/// All of them.
#[derive(Debug, Default)]
pub struct Roll {
    held: HashMap<SessionId, Place>,
    /// Counts those that were made: their order, whatever the clock does.
    made: u64,
}

/// One place.
#[derive(Debug)]
struct Place {
    /// The how-manieth session it is; none while it is being made, which may fail.
    made: Option<u64>,
    held: Held,
}

impl Roll {
    /// One more, that is about to be made.
    pub fn insert(&mut self, session: SessionId, held: Held) {
        self.held.insert(session, Place { made: None, held });
    }

    /// It is made, behind all that were made before: its number, or none when it has ended meanwhile.
    pub fn made(&mut self, session: SessionId, now: UnixMillis) -> Option<u64> {
        let place = self.held.get_mut(&session)?;
        self.made = self.made.wrapping_add(1);
        place.made = Some(self.made);
        place.held.since = now;
        place.made
    }

    /// One less; whether it was there.
    pub fn remove(&mut self, session: SessionId) -> bool {
        self.held.remove(&session).is_some()
    }

    /// One of them.
    pub fn get(&self, session: SessionId) -> Option<&Held> {
        self.held.get(&session).map(|place| &place.held)
    }

    /// All of them, those that are being made included.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Held)> {
        self.held.iter().map(|(session, place)| (*session, &place.held))
    }

    /// Those that are made.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Held)> {
        let made = self.held.iter().filter(|(_, place)| place.made.is_some());
        made.map(|(session, place)| (*session, &place.held))
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
        self.iter().any(|(_, held)| held.direction == Direction::View && held.room == *room)
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
        let own =
            |held: &Held| held.direction == direction && held.identity == *identity && held.room == *room;
        let mut own: Vec<(u64, SessionId)> = self
            .held
            .iter()
            .filter(|(_, place)| own(&place.held))
            .filter_map(|(session, place)| Some((place.made.filter(|made| *made <= last)?, *session)))
            .collect();
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
        assert_eq!((roll.sessions().count(), roll.iter().count()), (2, 3));
        assert_eq!(roll.get(id(3)).unwrap().since, UnixMillis(5));
        assert!(roll.remove(id(2)));
        assert_eq!(roll.made(id(2), UnixMillis(6)), None, "it failed");
        assert_eq!(beyond(&roll, 2, third), []);
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
