//! What is asked for again, and what was sent again lately.

use std::time::{Duration, Instant};

use crate::forward::blank::Blank;
use crate::media::rewrite::SourceEpoch;

/// A request to send again, as a NACK makes it.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// The sequence number that the viewer misses.
    pub seq: u16,
    /// The source that had it ([`super::Outlet::find`]).
    pub source: SourceEpoch,
    /// When it asks.
    pub now: Instant,
    /// The shortest round trip to it of late, where it is known.
    pub round_trip: Option<Duration>,
    /// Copies that may go.
    pub copies: u64,
}

/// What came of a request to send again.
#[derive(Debug)]
pub enum Again {
    /// It stands in the train.
    Sent {
        /// So many times.
        copies: u64,
        /// So long, all copies together.
        bytes: u64,
    },
    /// It was sent again a moment ago, the viewer has had its share of retransmissions, or it never agreed to NACK.
    TooSoon,
    /// It could not be sealed.
    Failed,
}

/// Retransmissions remembered for each outlet, a power of two.
const KEPT: u16 = 512;

/// A packet that was sent again, and when; nothing where none was.
#[derive(Debug, Clone, Copy, Default)]
pub struct Repeat(Option<(u16, Instant)>);

/// What was sent again lately, by the low bits of its sequence number. Empty until the first is.
#[derive(Debug, Default)]
pub struct Repeated(Vec<Repeat>);

impl Repeated {
    /// Nothing yet, in memory that another has left.
    pub fn within(memory: Blank<Repeat>) -> Self {
        Self(memory.into_list())
    }

    /// It is over: what is left is its memory.
    pub fn into_memory(self) -> Blank<Repeat> {
        Blank::of(self.0)
    }

    fn place(seq: u16) -> usize {
        usize::from(seq % KEPT)
    }

    /// Whether the packet was sent again less than `after` ago.
    pub fn is_recent(&self, seq: u16, now: Instant, after: Duration) -> bool {
        let known = self.0.get(Self::place(seq)).and_then(|repeat| repeat.0);
        known.is_some_and(|(of, at)| of == seq && now.saturating_duration_since(at) < after)
    }

    /// The packet is sent again.
    pub fn note(&mut self, seq: u16, now: Instant) {
        if self.0.is_empty() {
            self.0.resize(usize::from(KEPT), Repeat::default());
        }
        if let Some(place) = self.0.get_mut(Self::place(seq)) {
            *place = Repeat(Some((seq, now)));
        }
    }
}
