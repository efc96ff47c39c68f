//! Who holds a place on this node: the sessions of all its shards, as they were made.

use std::collections::{BTreeMap, HashMap};

use freshet_cluster::{Identity, RoomId, SessionId};

use crate::session::{Direction, Held};

/// All of them.
#[derive(Debug, Default)]
pub struct Roll {
    held: HashMap<SessionId, (u64, Held)>,
    /// Counts those that came: their order, whatever the clock does.
    came: u64,
}

impl Roll {
    /// One more.
    pub fn insert(&mut self, session: SessionId, held: Held) {
        self.came = self.came.wrapping_add(1);
        self.held.insert(session, (self.came, held));
    }

    /// One less; whether it was there.
    pub fn remove(&mut self, session: SessionId) -> bool {
        self.held.remove(&session).is_some()
    }

    /// One of them.
    pub fn get(&self, session: SessionId) -> Option<&Held> {
        self.held.get(&session).map(|(_, held)| held)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (SessionId, &Held)> {
        self.held.iter().map(|(session, (_, held))| (*session, held))
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

    /// The oldest of an identity's sessions in a room and direction, so many that `keep` are left.
    pub fn beyond(
        &self,
        room: &RoomId,
        identity: &Identity,
        direction: Direction,
        keep: usize,
    ) -> Vec<SessionId> {
        let own =
            |held: &Held| held.direction == direction && held.identity == *identity && held.room == *room;
        let mut own: Vec<(u64, SessionId)> = self
            .held
            .iter()
            .filter(|(_, (_, held))| own(held))
            .map(|(session, (came, _))| (*came, *session))
            .collect();
        own.sort_unstable();
        let over = own.len().saturating_sub(keep);
        own.into_iter().take(over).map(|(_, session)| session).collect()
    }
}

#[cfg(test)]
mod tests {
    use freshet_cluster::unit::UnixMillis;

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
        }
        let (room, ann) = ("r".parse().unwrap(), "ann".parse().unwrap());
        assert_eq!(roll.beyond(&room, &ann, View, 1), [id(9), id(3)]);
        assert_eq!(roll.beyond(&room, &ann, View, 2), [id(9)]);
        assert_eq!(roll.beyond(&room, &ann, View, 3), []);
        assert_eq!(roll.beyond(&room, &ann, Publish, 0), [id(6)]);
        assert_eq!(roll.viewers(), BTreeMap::from([(room.clone(), 4), ("other".parse().unwrap(), 1)]));
        assert!(roll.watches(&room) && !roll.watches(&"empty".parse().unwrap()));
        assert!(roll.remove(id(9)) && !roll.remove(id(9)));
        assert_eq!(roll.beyond(&room, &ann, View, 1), [id(3)]);
    }
}
