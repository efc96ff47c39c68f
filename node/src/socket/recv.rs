//! What was received: buffers that are reused, and a walk over the packets in them.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use super::Socket;

/// Messages of one `recvmmsg`.
const MESSAGES: usize = 32;
/// Longest message where the kernel joins packets.
const JOINED: usize = 65_536;
/// Longest packet otherwise: beyond any MTU that media uses; a longer one is cut off and then refused as a whole.
const SINGLE: usize = 2_048;

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

/// Buffers for one batch of packets. Reused: nothing is allocated after the first call.
pub struct RecvBatch {
    pub(super) buffer: Vec<u8>,
    /// Bytes for each message.
    pub(super) slot: usize,
    pub(super) messages: Vec<Message>,
    #[cfg(target_os = "linux")]
    pub(super) scratch: super::linux::RecvScratch,
}

impl std::fmt::Debug for RecvBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecvBatch").field("messages", &self.messages).finish_non_exhaustive()
    }
}

impl RecvBatch {
    /// With buffers as this socket needs them.
    pub fn new(socket: &Socket) -> Self {
        let slot = if socket.caps().gro { JOINED } else { SINGLE };
        Self {
            buffer: vec![0; slot * MESSAGES],
            slot,
            messages: Vec::with_capacity(MESSAGES),
            #[cfg(target_os = "linux")]
            scratch: super::linux::RecvScratch::new(MESSAGES),
        }
    }

    /// The packets of the last call, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = Received<'_>> {
        self.messages.iter().flat_map(|message| {
            let bytes = self.buffer.get(message.range.clone()).unwrap_or_default();
            let of = |bytes| Received { source: message.source, local: message.local, bytes };
            bytes.chunks(message.segment.max(1)).map(of)
        })
    }

    /// Packets of the last call.
    pub fn len(&self) -> usize {
        self.messages.iter().map(|message| message.range.len().div_ceil(message.segment.max(1))).sum()
    }

    /// The last call found nothing.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.messages.clear();
    }

    /// There is room for one more message.
    pub(super) fn has_room(&self) -> bool {
        self.messages.len() < MESSAGES
    }
}
