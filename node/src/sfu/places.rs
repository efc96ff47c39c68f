//! Who holds the places of sessions that are half open: by client, and by age.
//!
//! A session that is being made for real is whole within a fraction of a second. So what tells a greedy client from a crowd
//! behind one address is not how many it holds but how long it holds them: those older than [`LATE`] are *late*. While
//! more than half of the free places are taken, whoever has most late ones loses the oldest of them; a client with few is left
//! alone, unless it is one of so many that three quarters are taken. When all places are taken a newcomer takes the oldest
//! place of the client with most late ones, if that holds more than its own does, else a late one of its own, else one of
//! the client that holds most, and is refused if there is none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::session::Whose;

/// A session that is half open for longer is late: ICE by a relay that is tried last, with packets lost, takes less.
pub(super) const LATE: Duration = Duration::from_secs(5);
/// So many late ones of a client are nothing to take away before three quarters of the free places are taken.
pub(super) const FEW: usize = 8;

/// A session that is half open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Half {
    /// Where it stands.
    pub at: usize,
    pub since: Instant,
    pub whose: Whose,
}

/// What one client holds.
#[derive(Debug, Default)]
struct Client {
    /// By age; the late ones are the first.
    sessions: BTreeSet<u64>,
    late: usize,
}

/// All of them, by serial number, which is by age.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    all: BTreeMap<u64, Half>,
    clients: HashMap<Whose, Client>,
    /// How many each client holds, and how many late ones each has that has some.
    held: BTreeSet<(usize, Whose)>,
    late: BTreeSet<(usize, Whose)>,
    /// From this number on none is known to be late.
    fresh: u64,
}

impl Places {
    /// For so many.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            all: BTreeMap::new(),
            clients: HashMap::new(),
            held: BTreeSet::new(),
            late: BTreeSet::new(),
            fresh: 0,
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// How many there may be.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// One more. Its number is greater than all before.
    pub fn enter(&mut self, serial: u64, half: Half) {
        self.change(&half.whose, |client| {
            client.sessions.insert(serial);
        });
        self.all.insert(serial, half);
    }

    /// One less, if it is among them.
    pub fn leave(&mut self, serial: u64) {
        let Some(Half { whose, .. }) = self.all.remove(&serial) else { return };
        let was_late = usize::from(serial < self.fresh);
        self.change(&whose, |client| {
            client.sessions.remove(&serial);
            client.late = client.late.saturating_sub(was_late);
        });
    }

    /// What makes way for one more of a client: none while there is room, an error if it finds no place.
    pub fn way_for(&mut self, now: Instant, newcomer: &Whose) -> Result<Option<usize>, ()> {
        if self.len() < self.limit {
            return Ok(None);
        }
        self.grow_late(now);
        let own = self.clients.get(newcomer);
        let (own_held, own_late) = own.map_or((0, 0), |own| (own.sessions.len(), own.late));
        let late = self.late.last().map(|(_, whose)| whose);
        let late = late.filter(|whose| self.holds(whose) > own_held);
        let late = late.or(Some(newcomer).filter(|_| own_late > 0));
        let most = self.held.last().filter(|(held, _)| *held > own_held.saturating_add(1));
        let whose = late.or(most.map(|(_, whose)| whose)).ok_or(())?;
        self.oldest(whose).map(Some).ok_or(())
    }

    /// What is to end because a client has many late ones while more are half open than half of `free` places.
    pub fn surplus(&mut self, now: Instant, free: usize) -> Option<usize> {
        if !self.is_pressed(free) {
            return None;
        }
        self.grow_late(now);
        let few = if self.takes_more_than(free, 3, 4) { 0 } else { FEW };
        let (_, whose) = self.late.last().filter(|(late, _)| *late > few)?;
        self.oldest(whose)
    }

    /// When there may be a [`surplus`](Self::surplus) that there is not yet.
    pub fn due(&self, free: usize) -> Option<Instant> {
        let next = self.is_pressed(free).then(|| self.all.range(self.fresh..).next())??;
        next.1.since.checked_add(LATE)
    }

    fn is_pressed(&self, free: usize) -> bool {
        self.takes_more_than(free, 1, 2)
    }

    fn takes_more_than(&self, free: usize, part: usize, of: usize) -> bool {
        self.len().saturating_mul(of) > free.min(self.limit).saturating_mul(part)
    }

    fn holds(&self, whose: &Whose) -> usize {
        self.clients.get(whose).map_or(0, |client| client.sessions.len())
    }

    fn oldest(&self, whose: &Whose) -> Option<usize> {
        let serial = self.clients.get(whose)?.sessions.first()?;
        self.all.get(serial).map(|half| half.at)
    }

    /// Counts those as late that have become so.
    fn grow_late(&mut self, now: Instant) {
        while let Some((serial, half)) = self.all.range(self.fresh..).next() {
            if now.saturating_duration_since(half.since) < LATE {
                return;
            }
            self.fresh = serial.saturating_add(1);
            let whose = half.whose.clone();
            self.change(&whose, |client| client.late = client.late.saturating_add(1));
        }
    }

    /// Changes what a client holds, and where that puts it among the others.
    fn change(&mut self, whose: &Whose, change: impl FnOnce(&mut Client)) {
        let mut client = self.clients.remove(whose).unwrap_or_default();
        let before = (client.sessions.len(), client.late);
        change(&mut client);
        let after = (client.sessions.len(), client.late);
        for (order, before, after) in
            [(&mut self.held, before.0, after.0), (&mut self.late, before.1, after.1)]
        {
            if before != after {
                order.remove(&(before, whose.clone()));
            }
            if before != after && after > 0 {
                order.insert((after, whose.clone()));
            }
        }
        if after.0 > 0 {
            self.clients.insert(whose.clone(), client);
        }
    }
}

#[cfg(test)]
mod tests;
