//! What an operator wants of rooms, besides what tokens say: who needs no token, who may not come in.
//!
//! The rules stand in the store. Each process follows them and judges by what it has heard: a rule holds everywhere as
//! soon as the store's word has reached everybody, milliseconds as a rule. While the store is away, what is known stays
//! true; a store that lost its past takes nothing back from those who run.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use freshet_cluster::access::{Ban, RoomSpec};
use freshet_cluster::keys::{self, Key};
use freshet_cluster::store::{Entry, Follow, Revision, SharedStore};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::decode;
use freshet_cluster::{Identity, RoomId};
use http::StatusCode;
use tokio::sync::watch;

use crate::problem::Problem;

/// Most bans of a room.
pub const BANS_MAX: usize = 10_000;
/// Writes of this process that the store's word has not caught up with; beyond it the oldest is taken as caught up.
const AHEAD_MAX: usize = 1_024;

/// The rules as far as this process knows them; clones share them.
#[derive(Clone, Default)]
pub struct Rules(Arc<Inside>);

#[derive(Default)]
struct Inside {
    table: RwLock<Table>,
    changes: watch::Sender<u64>,
}

/// The rules of all rooms.
#[derive(Debug, Default)]
struct Table {
    rooms: HashMap<RoomId, Room>,
    read: bool,
    /// There is a store to read.
    followed: bool,
    /// Some room is public, or has been.
    public: bool,
    /// As of when the store's word is known.
    told: Revision,
    /// What this process has written since: the store's older word does not undo it.
    ahead: HashMap<String, Ahead>,
}

/// A write of this process: the entry as it stands, or none when it was removed.
#[derive(Debug)]
struct Ahead {
    at: Revision,
    entry: Option<Entry>,
}

#[derive(Debug, Default)]
struct Room {
    public: bool,
    bans: HashMap<String, Ban>,
}

impl Rules {
    /// Whether the store, where there is one to follow, has been read once.
    pub fn is_read(&self) -> bool {
        self.table(|table| table.read || !table.followed)
    }

    /// Whether viewers of the room need no token.
    pub fn is_public(&self, room: &RoomId) -> bool {
        self.table(|table| table.rooms.get(room).is_some_and(|room| room.public))
    }

    /// Whether viewers without a token may have sessions: some room is public, or has been.
    pub fn has_public(&self) -> bool {
        self.table(|table| table.public)
    }

    /// Until when the identity may not come in; `None` when it may.
    pub fn ban_of(&self, room: &RoomId, identity: &Identity, now: UnixMillis) -> Option<UnixMillis> {
        self.table(|table| {
            let bans = &table.rooms.get(room)?.bans;
            // Nearly no room has any: nothing is encoded then.
            let ban = if bans.is_empty() { None } else { bans.get(&identity.to_key()) }?;
            (now < ban.until && ban.identity == *identity).then_some(ban.until)
        })
    }

    /// Who may not come into the room now, by name of key.
    pub fn bans(&self, room: &RoomId, now: UnixMillis) -> Vec<Ban> {
        self.table(|table| {
            let bans = table.rooms.get(room).map(|room| room.bans.values()).into_iter().flatten();
            let mut bans: Vec<Ban> = bans.filter(|ban| now < ban.until).cloned().collect();
            bans.sort_by(|a, b| a.identity.as_str().cmp(b.identity.as_str()));
            bans
        })
    }

    /// Refuses with 403 who was sent away from the room.
    pub fn admit(&self, identity: &Identity, room: &RoomId, now: UnixMillis) -> Result<(), Problem> {
        let Some(until) = self.ban_of(room, identity, now) else { return Ok(()) };
        let detail = "you were sent away from this room by those who run it: do not come back by yourself";
        Err(Problem::new(StatusCode::FORBIDDEN, detail).reason("revoked").member("until_ms", until.0))
    }

    /// Tells of each change.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.0.changes.subscribe()
    }

    /// What this process has written itself, before the store says so.
    pub fn set(&self, entry: &Entry) {
        self.change(|table| table.own(&entry.key, entry.revision, Some(entry)));
    }

    /// What this process has removed itself, as of a revision.
    pub fn unset(&self, key: &str, at: Revision) {
        self.change(|table| table.own(key, at, None));
    }

    /// Follows the store until the task is aborted. The rules are unread as soon as this is called.
    pub fn follow(self, store: SharedStore) -> impl Future<Output = ()> + Send + 'static {
        self.change(|table| table.followed = true);
        async move {
            let mut news = store.follow(keys::ACCESS);
            while let Some(news) = news.recv().await {
                match news {
                    Follow::Snapshot { listing, wiped } => {
                        self.change(|table| table.read(&listing.entries, listing.revision, wiped))
                    }
                    Follow::Put(entry) => {
                        self.change(|table| table.hear(&entry.key, entry.revision, Some(&entry)));
                    }
                    Follow::Delete { key, revision } => self.change(|table| table.hear(&key, revision, None)),
                    Follow::Away | Follow::Back => {}
                }
            }
        }
    }

    fn table<T>(&self, look: impl FnOnce(&Table) -> T) -> T {
        look(&self.0.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, change: impl FnOnce(&mut Table)) {
        change(&mut self.0.table.write().unwrap_or_else(PoisonError::into_inner));
        self.0.changes.send_modify(|changes| *changes = changes.wrapping_add(1));
    }
}

impl fmt::Debug for Rules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rules")
    }
}

impl Table {
    /// The store said everything, as of a revision. One that lost its past counts its revisions anew.
    fn read(&mut self, entries: &[Entry], at: Revision, wiped: bool) {
        if wiped {
            self.ahead.clear();
        } else {
            self.rooms.clear();
        }
        self.read = true;
        entries.iter().for_each(|entry| self.put(entry));
        self.caught_up(at);
        // What was written behind the listing.
        for (key, ahead) in std::mem::take(&mut self.ahead) {
            self.apply(&key, ahead.entry.as_ref());
            self.ahead.insert(key, ahead);
        }
    }

    /// The store said what became of a key. Its word comes in the order of revisions.
    fn hear(&mut self, key: &str, at: Revision, entry: Option<&Entry>) {
        self.caught_up(at);
        if !self.ahead.contains_key(key) {
            self.apply(key, entry);
        }
    }

    /// This process wrote a key. What the store has told of by now, and what was written behind it, stays.
    fn own(&mut self, key: &str, at: Revision, entry: Option<&Entry>) {
        if at <= self.told || self.ahead.get(key).is_some_and(|ahead| at < ahead.at) {
            return;
        }
        if self.ahead.len() >= AHEAD_MAX
            && let Some(oldest) =
                self.ahead.iter().min_by_key(|(_, ahead)| ahead.at).map(|(key, _)| key.clone())
        {
            self.ahead.remove(&oldest);
        }
        self.ahead.insert(key.to_owned(), Ahead { at, entry: entry.cloned() });
        self.apply(key, entry);
    }

    fn caught_up(&mut self, at: Revision) {
        self.told = at;
        self.ahead.retain(|_, ahead| ahead.at > at);
    }

    fn apply(&mut self, key: &str, entry: Option<&Entry>) {
        match entry {
            Some(entry) => self.put(entry),
            None => self.delete(key),
        }
    }

    fn put(&mut self, entry: &Entry) {
        match keys::parse(&entry.key) {
            Some(Key::Spec(room)) => match decode::<RoomSpec>("room spec", &entry.value) {
                Ok(spec) => {
                    self.public |= spec.public;
                    self.rooms.entry(room).or_default().public = spec.public;
                }
                // What cannot be read opens no room.
                Err(error) => {
                    tracing::warn!(key = entry.key, %error, "the room is taken as not public");
                    self.unopen(&room);
                }
            },
            Some(Key::Ban(room, name)) => {
                let ban = decode::<Ban>("ban", &entry.value).or_else(|error| {
                    tracing::warn!(key = entry.key, %error, "the ban holds by its key");
                    by_key(&room, &name).ok_or(error)
                });
                if let Ok(ban) = ban {
                    self.rooms.entry(room).or_default().bans.insert(name, ban);
                }
            }
            _ => {}
        }
    }

    fn delete(&mut self, key: &str) {
        match keys::parse(key) {
            Some(Key::Spec(room)) => self.unopen(&room),
            Some(Key::Ban(room, name)) => self.change(&room, |rules| drop(rules.bans.remove(&name))),
            _ => {}
        }
    }

    fn unopen(&mut self, room: &RoomId) {
        self.change(room, |rules| rules.public = false);
    }

    fn change(&mut self, room: &RoomId, change: impl FnOnce(&mut Room)) {
        let Some(rules) = self.rooms.get_mut(room) else { return };
        change(rules);
        if !rules.public && rules.bans.is_empty() {
            self.rooms.remove(room);
        }
    }
}

/// What is known of a ban that cannot be read: whom it names. It holds until the store drops it, with its lease.
fn by_key(room: &RoomId, name: &str) -> Option<Ban> {
    /// The end of the year 9999.
    const OPEN_END: UnixMillis = UnixMillis(253_402_300_799_999);
    Some(Ban::new(room.clone(), Identity::from_key(name)?, UnixMillis(0), OPEN_END))
}

#[cfg(test)]
mod tests {
    use freshet_cluster::store::Revision;
    use freshet_cluster::version::encode;

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_790_000_000_000);

    fn room(name: &str) -> RoomId {
        name.parse().unwrap()
    }

    fn entry(key: String, value: bytes::Bytes) -> Entry {
        Entry { key, value, revision: Revision(1), lease: None }
    }

    fn ban(name: &str, identity: &str, ms: u64) -> Entry {
        let who: Identity = identity.parse().unwrap();
        let value = encode(&Ban::new(room(name), who.clone(), NOW, UnixMillis(NOW.0 + ms)));
        entry(keys::ban(&room(name), &who), value)
    }

    fn spec(name: &str, public: bool) -> Entry {
        entry(keys::room_spec(&room(name)), encode(&RoomSpec::new(public)))
    }

    #[test]
    fn a_ban_holds_in_its_room_for_its_identity_until_its_end() {
        let rules = Rules::default();
        rules.set(&ban("stage", "Zoë", 1_000));
        let until = |at: &str, who: &str, ms: u64| {
            rules
                .ban_of(&room(at), &who.parse().unwrap(), UnixMillis(NOW.0 + ms))
                .map(|until| until.0 - NOW.0)
        };
        assert_eq!(until("stage", "Zoë", 999), Some(1_000));
        assert_eq!(until("stage", "Zoë", 1_000), None, "it has ended, whatever the store's clock says");
        assert_eq!((until("stage", "Zoe", 0), until("hall", "Zoë", 0)), (None, None));
        let refused = rules.admit(&"Zoë".parse().unwrap(), &room("stage"), NOW).unwrap_err();
        assert_eq!((refused.status().as_u16(), refused.why()), (403, Some("revoked")));
        assert!(rules.admit(&"Zoe".parse().unwrap(), &room("stage"), NOW).is_ok());
        assert_eq!(rules.bans(&room("stage"), NOW).len(), 1);
        rules.unset(&ban("stage", "Zoë", 0).key, Revision(2));
        assert_eq!(until("stage", "Zoë", 0), None);
    }

    #[test]
    fn a_room_is_public_until_its_spec_says_otherwise_or_goes() {
        let rules = Rules::default();
        assert!(!rules.is_public(&room("stage")) && !rules.has_public());
        rules.set(&spec("stage", true));
        assert!(rules.is_public(&room("stage")) && !rules.is_public(&room("hall")));
        rules.set(&spec("stage", false));
        assert!(!rules.is_public(&room("stage")));
        rules.set(&spec("stage", true));
        rules.unset(&keys::room_spec(&room("stage")), Revision(1));
        assert!(!rules.is_public(&room("stage")));
        assert!(rules.has_public(), "who came in without a token still has its session");
    }

    #[test]
    fn a_list_replaces_what_was_known_unless_the_store_lost_its_past() {
        let mut table = Table::default();
        table.put(&ban("stage", "a", 1_000));
        table.put(&spec("hall", true));
        table.read(&[ban("stage", "b", 1_000)], Revision(1), true);
        assert_eq!(table.rooms.get(&room("stage")).unwrap().bans.len(), 2);
        assert!(table.rooms.contains_key(&room("hall")));
        table.read(&[ban("stage", "b", 1_000)], Revision(1), false);
        assert_eq!(table.rooms.get(&room("stage")).unwrap().bans.len(), 1);
        assert!(!table.rooms.contains_key(&room("hall")));
        // What a later version wrote is passed over.
        table.put(&entry(keys::room_spec(&room("hall")), bytes::Bytes::from_static(b"{\"min_v\": 9}")));
        table.put(&entry(format!("{}hall/limits", keys::ACCESS), bytes::Bytes::from_static(b"{}")));
        assert!(!table.rooms.contains_key(&room("hall")));
    }

    #[test]
    fn the_stores_older_word_undoes_nothing_that_was_written_here() {
        let (mut table, who) = (Table::default(), "Zoë".parse::<Identity>().unwrap());
        let at = |mut entry: Entry, revision| {
            entry.revision = Revision(revision);
            entry
        };
        let hear = |table: &mut Table, entry: &Entry| table.hear(&entry.key, entry.revision, Some(entry));
        let own = |table: &mut Table, entry: &Entry| table.own(&entry.key, entry.revision, Some(entry));
        let key = keys::ban(&room("stage"), &who);
        let banned =
            |table: &Table| table.rooms.get(&room("stage")).is_some_and(|room| !room.bans.is_empty());
        let public = |table: &Table| table.rooms.get(&room("stage")).is_some_and(|room| room.public);
        table.read(&[], Revision(10), false);
        // Another's ban (11) and its end (12) are under way while this process bans anew (13).
        own(&mut table, &at(ban("stage", "Zoë", 1_000), 13));
        hear(&mut table, &at(ban("stage", "Zoë", 1), 11));
        table.hear(&key, Revision(12), None);
        assert!(banned(&table));
        // A listing from before it, too; and the store's word of itself.
        table.read(&[], Revision(12), false);
        assert!(banned(&table));
        hear(&mut table, &at(ban("stage", "Zoë", 1_000), 13));
        assert!(banned(&table) && table.ahead.is_empty());
        // Lifted here (15) while the store still tells of a longer ban (14).
        table.own(&key, Revision(15), None);
        hear(&mut table, &at(ban("stage", "Zoë", 9_000), 14));
        assert!(!banned(&table));
        // What the store has told already is not undone by a late word of this process.
        hear(&mut table, &at(spec("stage", true), 16));
        table.hear(&keys::room_spec(&room("stage")), Revision(17), None);
        own(&mut table, &at(spec("stage", true), 16));
        assert!(!public(&table));
        // Of two writes here the later one counts, whichever is told first.
        table.own(&keys::room_spec(&room("stage")), Revision(21), None);
        own(&mut table, &at(spec("stage", true), 20));
        assert!(!public(&table));
        // A store that lost its past counts anew.
        table.read(&[at(spec("stage", true), 2)], Revision(3), true);
        assert!(public(&table) && table.ahead.is_empty());
        hear(&mut table, &at(spec("stage", false), 4));
        assert!(!public(&table));
    }

    #[test]
    fn what_the_store_has_not_told_of_is_bounded() {
        let mut table = Table::default();
        for n in 1..=2 * u64::try_from(AHEAD_MAX).unwrap() {
            table.own(&format!("{}stage/bans/{n}", keys::ACCESS), Revision(n), None);
        }
        assert_eq!(table.ahead.len(), AHEAD_MAX);
        assert!(table.ahead.values().all(|ahead| ahead.at.0 > 1_024), "the oldest go first");
    }

    #[test]
    fn what_cannot_be_read_opens_no_room_and_lets_nobody_back() {
        let (rules, zoe) = (Rules::default(), "Zoë".parse::<Identity>().unwrap());
        for text in [&b"{\"min_v\": 9}"[..], b"junk"] {
            let value = bytes::Bytes::from_static(text);
            rules.set(&spec("stage", true));
            assert!(rules.is_public(&room("stage")));
            rules.set(&entry(keys::room_spec(&room("stage")), value.clone()));
            assert!(!rules.is_public(&room("stage")));

            let key = keys::ban(&room("stage"), &zoe);
            assert_eq!(rules.ban_of(&room("stage"), &zoe, NOW), None);
            rules.set(&entry(key.clone(), value.clone()));
            assert!(rules.ban_of(&room("stage"), &zoe, NOW).is_some());
            assert_eq!(rules.ban_of(&room("stage"), &"Zoe".parse().unwrap(), NOW), None);
            rules.unset(&key, Revision(1));
            assert_eq!(rules.ban_of(&room("stage"), &zoe, NOW), None);
            // A key that names nobody.
            rules.set(&entry(format!("{}stage/bans/!", keys::ACCESS), value));
            assert!(rules.bans(&room("stage"), NOW).is_empty());
        }
    }
}
