//! Trains: the packets that go to one viewer in one flush, sent by one call.
//!
//! Sealed packets are written one behind the other into one arena. Those to one viewer that have the same size, with
//! a shorter one allowed at the end, form a train that the kernel cuts up (UDP GSO); what does not fit begins the
//! next. Arena and list are reused: in steady state nothing is allocated. A full arena refuses, so the caller flushes
//! and goes on; packets wait in their ring meanwhile and nothing is lost.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// Bounds of trains and arena.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrainLimits {
    /// Bytes of sealed packets that wait for one flush.
    pub arena: usize,
    /// Most packets of a train.
    pub segments: usize,
    /// Most bytes of a train.
    pub bytes: usize,
}

/// Most packets that every kernel with GSO takes in one call.
pub const MAX_SEGMENTS: usize = 64;
/// Below the 65,507 bytes that an IPv4 datagram carries.
pub const MAX_TRAIN_BYTES: usize = 65_000;

impl Default for TrainLimits {
    /// An arena of 1 MiB: a frame of ten packets for eighty viewers, and it stays in the second-level cache.
    fn default() -> Self {
        Self { arena: 1 << 20, segments: MAX_SEGMENTS, bytes: MAX_TRAIN_BYTES }
    }
}

/// A way to a client: its address, and the one of ours that it used last. Answers from another address would not pass
/// its firewall, nor its ICE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Way {
    /// The client's address.
    pub peer: SocketAddr,
    /// Our address; none leaves it to the kernel.
    pub local: Option<IpAddr>,
}

impl From<SocketAddr> for Way {
    fn from(peer: SocketAddr) -> Self {
        Self { peer, local: None }
    }
}

/// Packets for one destination, one behind the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Train {
    /// Where to.
    pub dst: SocketAddr,
    /// Local address to send from; none leaves it to the kernel.
    pub src: Option<IpAddr>,
    /// Place in the arena.
    pub range: Range<usize>,
    /// Size of each packet; the last may be shorter.
    pub segment: usize,
}

impl Train {
    /// Packets of the train.
    pub fn segments(&self) -> usize {
        self.range.len().div_ceil(self.segment.max(1))
    }
}

/// The train that grows.
#[derive(Debug, Clone, Copy)]
struct Growing {
    start: usize,
    segment: usize,
    count: usize,
    /// A shorter packet came: nothing goes behind it.
    closed: bool,
}

/// Arena and trains of one flush.
#[derive(Debug)]
pub struct Trains {
    limits: TrainLimits,
    arena: Vec<u8>,
    used: usize,
    trains: Vec<Train>,
    sent: usize,
    to: Option<Way>,
    growing: Option<Growing>,
}

impl Trains {
    /// With an arena of its own.
    pub fn new(limits: TrainLimits) -> Self {
        Self {
            limits,
            arena: vec![0; limits.arena],
            used: 0,
            trains: Vec::with_capacity(limits.arena / 4_096),
            sent: 0,
            to: None,
            growing: None,
        }
    }

    /// What follows goes this way.
    pub fn begin_way(&mut self, way: &Way) {
        self.cut(self.used);
        self.to = Some(*way);
    }

    /// What follows goes to `dst`, from the local address `src`.
    pub fn begin(&mut self, dst: SocketAddr, src: Option<IpAddr>) {
        self.begin_way(&Way { peer: dst, local: src });
    }

    /// Room for a packet of up to `max_len` bytes. None: the arena is full; [`Self::end`], send what is
    /// [`Self::pending`], [`Self::begin`] again.
    pub fn slot(&mut self, max_len: usize) -> Option<&mut [u8]> {
        self.arena.get_mut(self.used..self.used.checked_add(max_len)?)
    }

    /// The slot holds a packet of `len` bytes now. Nothing happens for a length of 0, or outside `begin` and `end`.
    pub fn commit(&mut self, len: usize) {
        let start = self.used;
        let end = start.saturating_add(len);
        if len == 0 || self.to.is_none() || end > self.arena.len() {
            return;
        }
        self.used = end;
        if let Some(train) = &mut self.growing {
            let fits = len <= train.segment
                && train.count < self.limits.segments
                && self.used - train.start <= self.limits.bytes;
            if !train.closed && fits {
                train.count += 1;
                train.closed = len < train.segment;
                return;
            }
        }
        self.cut(start);
        self.growing = Some(Growing { start, segment: len, count: 1, closed: false });
    }

    /// Ends what goes to this destination.
    pub fn end(&mut self) {
        self.cut(self.used);
        self.to = None;
    }

    /// Trains that wait to be sent, in order. A train that still grows is not among them.
    pub fn pending(&self) -> &[Train] {
        self.trains.get(self.sent..).unwrap_or_default()
    }

    /// The bytes that the trains' ranges are in.
    pub fn arena(&self) -> &[u8] {
        &self.arena
    }

    /// The first `sent` pending trains have been sent (or given up). After the last the arena is empty again.
    pub fn advance(&mut self, sent: usize) {
        self.sent = self.sent.saturating_add(sent).min(self.trains.len());
        if self.sent == self.trains.len() && self.growing.is_none() {
            self.trains.clear();
            (self.sent, self.used) = (0, 0);
        }
    }

    /// Nothing waits and nothing grows.
    pub fn is_empty(&self) -> bool {
        self.pending().is_empty() && self.growing.is_none()
    }

    /// Ends the growing train at `end`.
    fn cut(&mut self, end: usize) {
        if let (Some(train), Some(way)) = (self.growing.take(), &self.to) {
            let range = train.start..end;
            self.trains.push(Train { dst: way.peer, src: way.local, range, segment: train.segment });
        }
    }
}

#[cfg(test)]
mod tests;
