//! Joins have a slice of each turn, packets go first.
//!
//! A DTLS handshake costs as much as forwarding some seventy packets, most of it in a few steps, an answer to an offer a
//! third of that, and when many join at once hundreds of either are there together. So one turn does a slice of that work
//! and then flushes; what is left of it waits for the next turn, in the order in which it came. A datagram that finds no
//! place is lost as one on the way is: DTLS sends it again.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::forward::train::Way;

/// What joins may take of one turn; a step that has begun is ended.
const SLICE: Duration = Duration::from_millis(1);
/// Datagrams of handshakes that wait: those of a thousand joins, 6 MB at most.
const WAITING: usize = 4_096;
/// Those of one address: a client's longest flight several times over. So one that floods keeps nobody out.
const OF_ONE: usize = 16;
/// The longest that is kept; a path's longest packet.
const LONGEST: usize = 1_500;

/// The work of joins that a turn has not come to yet.
pub(super) struct Later {
    slice: Duration,
    spent: Duration,
    waiting: VecDeque<(Way, Vec<u8>)>,
    /// How many of them are whose; no address with none.
    whose: HashMap<SocketAddr, usize>,
    /// Datagrams that found no place.
    pub dropped: u64,
}

impl Default for Later {
    fn default() -> Self {
        Self::with_slice(SLICE)
    }
}

impl Later {
    /// With so much time in each turn. A turn does one step at least.
    pub fn with_slice(slice: Duration) -> Self {
        let (waiting, whose) = (VecDeque::new(), HashMap::new());
        Self { slice, spent: Duration::ZERO, waiting, whose, dropped: 0 }
    }

    /// A turn begins.
    pub fn begin(&mut self) {
        self.spent = Duration::ZERO;
    }

    /// The turn has time left for joins.
    pub fn has_time(&self) -> bool {
        self.spent.is_zero() || self.spent < self.slice
    }

    /// Work that began then is done.
    pub fn spend(&mut self, began: Instant, done: Instant) {
        self.spent = self.spent.saturating_add(done.saturating_duration_since(began));
    }

    /// Whether this datagram is to wait: a handshake's while others wait, or when the turn has no time left for it.
    pub fn takes(&self, datagram: &[u8]) -> bool {
        is_handshake(datagram) && !(self.has_time() && self.waiting.is_empty())
    }

    /// Keeps a datagram for later.
    pub fn put(&mut self, way: Way, datagram: &[u8]) {
        let of_one = self.whose.get(&way.peer).copied().unwrap_or(0);
        if self.waiting.len() >= WAITING || of_one >= OF_ONE || datagram.len() > LONGEST {
            self.dropped = self.dropped.saturating_add(1);
            return;
        }
        self.whose.insert(way.peer, of_one.saturating_add(1));
        self.waiting.push_back((way, datagram.to_vec()));
    }

    /// The one that has waited for longest.
    pub fn next(&mut self) -> Option<(Way, Vec<u8>)> {
        let (way, datagram) = self.waiting.pop_front()?;
        match self.whose.get_mut(&way.peer) {
            Some(of_one) if *of_one > 1 => *of_one = of_one.saturating_sub(1),
            _ => {
                self.whose.remove(&way.peer);
            }
        }
        Some((way, datagram))
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

/// DTLS, by its first byte (RFC 7983 section 7).
pub(super) fn is_handshake(datagram: &[u8]) -> bool {
    matches!(datagram, [20..=63, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(port: u16) -> Way {
        SocketAddr::from(([127, 0, 0, 1], port)).into()
    }

    #[test]
    fn handshakes_are_done_at_once_while_there_is_time_and_wait_their_turn_after() {
        let (mut later, start) = (Later::default(), Instant::now());
        later.begin();
        assert!(!later.takes(&[22, 1]));
        later.spend(start, start + SLICE / 2);
        assert!(later.has_time() && !later.takes(&[22, 1]), "half is left");
        later.spend(start, start + SLICE / 2);
        assert!(!later.has_time() && later.takes(&[22, 1]));
        later.put(from(1), &[22, 1]);
        later.begin();
        assert!(later.has_time());
        assert!(later.takes(&[22, 2]), "none overtakes another");
        later.put(from(1), &[22, 2]);
        assert_eq!(later.next(), Some((from(1), vec![22, 1])));
        assert_eq!(later.next(), Some((from(1), vec![22, 2])));
        assert!(later.waiting() == 0 && !later.takes(&[22, 3]));
    }

    #[test]
    fn however_small_the_slice_a_turn_does_a_step() {
        let (mut later, start) = (Later::with_slice(Duration::ZERO), Instant::now());
        assert!(later.has_time());
        later.spend(start, start + Duration::from_nanos(1));
        assert!(!later.has_time());
        later.begin();
        assert!(later.has_time());
    }

    #[test]
    fn media_and_stun_never_wait() {
        let mut later = Later::default();
        later.put(from(1), &[22, 1]);
        assert!(later.takes(&[20]) && later.takes(&[63]));
        for first in (0..20).chain(64..=255) {
            assert!(!later.takes(&[first, 96]), "{first}");
        }
        assert!(!later.takes(&[]));
    }

    #[test]
    fn what_waits_is_bounded_and_the_rest_counted() {
        let mut later = Later::default();
        let ports = (0..WAITING + 5).map(|n| u16::try_from(n).unwrap());
        ports.for_each(|port| later.put(from(port), &[22]));
        assert_eq!(later.dropped, 5);
        assert_eq!(std::iter::from_fn(|| later.next()).count(), WAITING);
        later.put(from(1), &[22; LONGEST + 1]);
        assert_eq!((later.dropped, later.waiting()), (6, 0));
    }

    #[test]
    fn one_address_keeps_no_other_out() {
        let mut later = Later::default();
        (0..WAITING).for_each(|_| later.put(from(1), &[22, 1]));
        later.put(from(2), &[22, 2]);
        assert_eq!(later.dropped, u64::try_from(WAITING - OF_ONE).unwrap());
        let waited: Vec<_> = std::iter::from_fn(|| later.next()).collect();
        assert_eq!((waited.len(), waited.last()), (OF_ONE + 1, Some(&(from(2), vec![22, 2]))));
        assert!(later.whose.is_empty(), "nothing is left of them");
        later.put(from(1), &[22, 3]);
        assert_eq!(later.waiting(), 1, "and there is room for it again");
    }
}
