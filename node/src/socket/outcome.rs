//! What became of trains, and where one was left half-way.

use std::io;
use std::net::SocketAddr;

use crate::forward::train::Train;

/// Why sending stopped before the last train.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The socket's buffer is full: wait for [`super::Socket::writable`].
    Blocked,
    /// The system is short of memory or queues (`ENOBUFS`, `ENOMEM`): nothing tells when that ends; try again at the
    /// next tick.
    Busy,
}

/// What became of the trains of one call.
#[derive(Debug, Default)]
pub struct Sent {
    /// Trains, from the first on, that need no further call: sent, or given up packet by packet.
    pub trains: usize,
    /// Packets that the kernel took.
    pub packets: usize,
    /// Packets that the kernel refused for good; their trains count as done.
    pub refused: usize,
    /// What the kernel said to the last of them.
    pub error: Option<io::Error>,
    /// Why the rest is left; none when all is done.
    pub stop: Option<Stop>,
}

impl Sent {
    pub(super) fn refuse(&mut self, packets: usize, error: io::Error) {
        self.refused += packets;
        self.error = Some(error);
    }
}

/// What a call has learnt about an error of the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Interrupted: the same again.
    Again,
    /// No room: the same later.
    Later,
    /// This message will never be sent.
    Message,
}

pub(super) fn trouble(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::Interrupted => Trouble::Again,
        io::ErrorKind::WouldBlock | io::ErrorKind::OutOfMemory => Trouble::Later,
        _ if error.raw_os_error() == Some(libc::ENOBUFS) => Trouble::Later,
        _ => Trouble::Message,
    }
}

/// A train of which only the first packets have been sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Half {
    dst: SocketAddr,
    start: usize,
    end: usize,
    packets: usize,
}

impl Half {
    fn of(train: &Train, packets: usize) -> Self {
        Self { dst: train.dst, start: train.range.start, end: train.range.end, packets }
    }
}

/// Remembers, from one call to the next, the train whose packets went out only in part.
#[derive(Debug, Default)]
pub(super) struct HalfWay(Option<Half>);

impl HalfWay {
    /// Packets of this train that an earlier call has sent. Forgets them.
    pub fn take(&mut self, train: &Train) -> usize {
        match self.0.take() {
            Some(half) if half == Half::of(train, half.packets) => half.packets,
            _ => 0,
        }
    }

    /// The call ends with this train half sent.
    pub fn keep(&mut self, train: &Train, packets: usize) {
        self.0 = (packets > 0).then(|| Half::of(train, packets));
    }
}

/// The bytes of a train from its `done`-th packet on.
pub(super) fn rest<'a>(arena: &'a [u8], train: &Train, done: usize) -> &'a [u8] {
    let start = train.range.start.saturating_add(done.saturating_mul(train.segment)).min(train.range.end);
    arena.get(start..train.range.end).unwrap_or_default()
}
