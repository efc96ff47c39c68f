//! A bad network, one way: which datagrams are lost, and when the others come out. Pure: time is told, chance is a seed.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;

use crate::num;
use crate::scenario::{Chance, Impairment};

/// A link's queue holds so much of its time; datagrams beyond it are lost.
const QUEUE: Duration = Duration::from_millis(250);
/// Most datagrams that are on their way; more are lost.
const HELD_MAX: usize = 20_000;

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It comes out at once.
    Passes,
    /// It comes out later, by [`Path::take_due`].
    Waits,
    /// It never comes out.
    Lost,
}

/// A datagram that is on its way.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// When it comes out.
    due: Instant,
    /// Of those that are due at one time the first in comes first out.
    nth: u64,
    /// Where it came from, or where it goes.
    pub peer: SocketAddr,
    /// What it says.
    pub datagram: Vec<u8>,
}

/// One way of a path.
#[derive(Debug)]
pub struct Path {
    bad: Option<Impairment>,
    chance: Chance,
    /// The link has sent by then what it was given.
    busy_until: Option<Instant>,
    held: BinaryHeap<Reverse<Held>>,
    nth: u64,
}

impl Path {
    /// A good path; `chance` decides once it is bad.
    pub fn new(chance: Chance) -> Self {
        Self { bad: None, chance, busy_until: None, held: BinaryHeap::new(), nth: 0 }
    }

    /// Makes it bad, or good again. What is on its way comes out as it was to.
    pub fn set(&mut self, bad: Option<Impairment>) {
        self.bad = bad;
        self.busy_until = None;
    }

    /// What is put in may be lost, or come out later; or something that was put in has not come out yet.
    pub fn is_bad(&self) -> bool {
        self.bad.is_some() || !self.held.is_empty()
    }

    /// Puts a datagram in.
    pub fn offer(&mut self, now: Instant, peer: SocketAddr, datagram: &[u8]) -> Fate {
        let Some(bad) = self.bad else { return Fate::Passes };
        if self.chance.unit() < bad.loss {
            return Fate::Lost;
        }
        let late = bad.delay + bad.jitter.mul_f64(self.chance.unit());
        let out = match bad.rate {
            Some(rate) => {
                let free = self.busy_until.map_or(now, |busy| busy.max(now));
                if free.saturating_duration_since(now) > QUEUE {
                    return Fate::Lost;
                }
                let free = free + takes(datagram.len(), rate);
                self.busy_until = Some(free);
                free
            }
            None => now,
        };
        let due = out + late;
        if due <= now {
            return Fate::Passes;
        }
        if self.held.len() >= HELD_MAX {
            return Fate::Lost;
        }
        self.nth = self.nth.wrapping_add(1);
        self.held.push(Reverse(Held { due, nth: self.nth, peer, datagram: datagram.to_vec() }));
        Fate::Waits
    }

    /// When the next datagram comes out.
    pub fn next_due(&self) -> Option<Instant> {
        self.held.peek().map(|Reverse(held)| held.due)
    }

    /// A datagram that comes out by now.
    pub fn take_due(&mut self, now: Instant) -> Option<Held> {
        self.next_due().filter(|due| *due <= now)?;
        self.held.pop().map(|Reverse(held)| held)
    }
}

/// How long a link needs for so many bytes.
fn takes(bytes: usize, rate: Bitrate) -> Duration {
    Duration::from_secs_f64(num::float(num::len(bytes)) * 8.0 / num::float(rate.bps().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 9);

    fn path(bad: Impairment) -> Path {
        let mut path = Path::new(Chance::new(1));
        path.set(Some(bad));
        path
    }

    #[test]
    fn a_good_path_holds_nothing_back() {
        let now = Instant::now();
        let mut path = Path::new(Chance::new(1));
        assert_eq!(path.offer(now, PEER.into(), b"x"), Fate::Passes);
        path.set(Some(Impairment::NONE));
        assert_eq!(path.offer(now, PEER.into(), b"x"), Fate::Passes);
        assert_eq!(path.next_due(), None);
    }

    #[test]
    fn the_share_is_lost_and_the_same_seed_loses_the_same() {
        let now = Instant::now();
        let lost = |_| {
            let mut path = path(Impairment { loss: 0.02, ..Impairment::NONE });
            let fates = (0..20_000).map(|_| path.offer(now, PEER.into(), b"x"));
            fates.enumerate().filter(|(_, fate)| *fate == Fate::Lost).map(|(n, _)| n).collect::<Vec<_>>()
        };
        let (one, other) = (lost(()), lost(()));
        assert_eq!(one, other);
        assert!((330..470).contains(&one.len()), "{}", one.len());
    }

    #[test]
    fn datagrams_are_late_by_delay_and_jitter_and_come_whole() {
        let now = Instant::now();
        let [delay, jitter] = [20, 10].map(Duration::from_millis);
        let mut path = path(Impairment { delay, jitter, ..Impairment::NONE });
        for n in 0..200_u8 {
            assert_eq!(path.offer(now, PEER.into(), &[n; 3]), Fate::Waits);
        }
        assert_eq!(path.take_due(now + Duration::from_millis(19)), None);
        let half = std::iter::from_fn(|| path.take_due(now + Duration::from_millis(25))).count();
        assert!((70..130).contains(&half), "evenly between 20 and 30 ms: {half}");
        let mut rest: Vec<Held> = std::iter::from_fn(|| path.take_due(now + delay + jitter)).collect();
        assert_eq!((rest.len(), path.next_due()), (200 - half, None));
        assert!(rest.iter().all(|held| held.datagram == [held.datagram[0]; 3] && held.peer == PEER.into()));
        rest.sort_by_key(|held| held.datagram[0]);
        assert!(!rest.is_sorted_by_key(|held| held.due), "one may overtake another");
    }

    #[test]
    fn a_slow_link_sends_at_its_rate_and_loses_what_its_queue_does_not_hold() {
        let begin = Instant::now();
        // 1,000 bytes take 8 ms: the queue holds 32 of them, and one is being sent.
        let mut path = path(Impairment { rate: Some(Bitrate::from_mbps(1)), ..Impairment::NONE });
        let fates: Vec<Fate> = (0..100).map(|_| path.offer(begin, PEER.into(), &[0; 1_000])).collect();
        assert_eq!(fates.iter().filter(|fate| **fate == Fate::Waits).count(), 32, "{fates:?}");
        assert!(fates[32..].iter().all(|fate| *fate == Fate::Lost));
        let due: Vec<Duration> = std::iter::from_fn(|| path.take_due(begin + Duration::from_secs(1)))
            .map(|held| held.due - begin)
            .collect();
        let exact: Vec<Duration> = (1..=32).map(|n| Duration::from_millis(8 * n)).collect();
        assert_eq!(due, exact);
        // It is free again later.
        assert_eq!(path.offer(begin + Duration::from_secs(1), PEER.into(), &[0; 1_000]), Fate::Waits);
        assert_eq!(path.next_due(), Some(begin + Duration::from_millis(1_008)));
    }

    #[test]
    fn what_is_on_its_way_is_bounded() {
        let now = Instant::now();
        let mut path = path(Impairment { delay: Duration::from_secs(1), ..Impairment::NONE });
        let waits = (0..HELD_MAX + 5).filter(|_| path.offer(now, PEER.into(), b"x") == Fate::Waits).count();
        assert_eq!(waits, HELD_MAX);
    }
}
