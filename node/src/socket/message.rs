//! What was received.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Received<'a> {
    /// Who sent it; IPv4 is told as IPv4 on every socket.
    pub source: SocketAddr,
    /// Which local address it was sent to, where the system says so.
    pub local: Option<IpAddr>,
    /// The datagram.
    pub bytes: &'a [u8],
}

/// One message of the kernel: one packet, or several of one sender that it has joined.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub source: SocketAddr,
    pub local: Option<IpAddr>,
    pub range: Range<usize>,
    /// Size of each joined packet; the last may be shorter.
    pub segment: usize,
}
