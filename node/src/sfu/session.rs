//! A session of a shard, and when it wants to be polled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::Instant;

use freshet_cluster::room::EndReason;
use freshet_cluster::{Identity, RoomId, SessionId};
use str0m::Rtc;

use super::way_back::WayBack;
use crate::book::Book;
use crate::forward::allowance::Allowance;
use crate::forward::train::Way;
use crate::peer::publisher::Publisher;
use crate::peer::viewer::Viewer;

/// A session of either kind.
pub(super) struct Session {
    pub id: SessionId,
    pub room: RoomId,
    pub identity: Identity,
    pub rtc: Rtc,
    pub role: Role,
    pub heard: Instant,
    /// Names this use of the table's slot in timers.
    pub serial: u64,
    pub closing: Option<EndReason>,
    /// Where it is found: of each address and each candidate that is called from it, by which of our addresses it came
    /// from there last.
    pub addresses: Vec<Way>,
    /// The way of the last media or report that was authentic.
    pub proven: Option<Way>,
    /// Where its client is known to be.
    pub way_back: WayBack,
    pub ufrag: String,
    pub offer: String,
    /// str0m has handed out a packet and may have more to say.
    pub undrained: bool,
    /// Addresses of candidates that its client named in PATCHes of this ICE session.
    pub candidates: Vec<SocketAddr>,
    /// Addresses from which this ICE session was checked.
    pub checked: Vec<SocketAddr>,
    /// ICE restarts that it may still ask for.
    pub restarts: Allowance,
    /// When its DTLS must be done; none once it is.
    pub open_by: Option<Instant>,
    /// When str0m wants to be told the time, by its last word.
    pub engine_due: Instant,
    /// For when it stands in the timers: not later than `wanted`.
    pub due: Option<Instant>,
    /// When it has something to do.
    pub wanted: Instant,
    /// When others asked for it to be looked at, until it was.
    pub asked: Option<Instant>,
}

impl Session {
    /// The way on which str0m sends from one of the candidates. STUN answers whoever asked; all else goes to where what
    /// was authentic came from last, for that is where the client is, whichever pair str0m holds for the best.
    pub fn way(&self, book: &Book, from: SocketAddr, to: SocketAddr, is_stun: bool) -> Way {
        if let (false, Some(proven)) = (is_stun, self.proven) {
            return proven;
        }
        let ways = || self.addresses.iter().filter(|way| way.peer == to);
        let called = ways().find(|way| book.candidate(way.local) == Some(from));
        called.or_else(|| ways().next()).copied().unwrap_or(to.into())
    }
}

/// What a session is for.
pub(super) enum Role {
    Publisher(Box<Publisher>),
    Viewer(Box<Viewer>),
}

/// When a session wants to be polled: then, its place in the table, and its serial number.
pub(super) type Timer = (Instant, usize, u64);

/// When which session wants to be polled; entries that are out of date are skipped.
#[derive(Default)]
pub(super) struct Timers {
    /// When which lane's keyframe gate wants to be looked at.
    pub gates: BinaryHeap<Reverse<(Instant, usize)>>,
    /// When which lane may have fallen silent.
    pub hushes: BinaryHeap<Reverse<(Instant, usize)>>,
    pub heap: BinaryHeap<Reverse<Timer>>,
    /// Room for those that are due; empty between time-outs.
    pub due: Vec<Timer>,
    pub serial: u64,
    /// How many went off.
    #[cfg(test)]
    pub went_off: usize,
}

impl Timers {
    /// Takes out what is due by now.
    pub fn take_due(&mut self, now: Instant, due: &mut Vec<Timer>) {
        while let Some(Reverse(timer)) = self.heap.peek().copied().filter(|Reverse((at, ..))| *at <= now) {
            self.heap.pop();
            due.push(timer);
        }
        #[cfg(test)]
        {
            self.went_off += due.len();
        }
    }
}

/// Sessions that have not been drained since they handed out a packet.
#[derive(Default)]
pub(super) struct Rest {
    pub sessions: Vec<usize>,
    /// When the first of them was left. They are to be drained at once, as soon as nothing more comes.
    pub since: Option<Instant>,
}
