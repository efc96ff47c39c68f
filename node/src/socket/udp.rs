//! The socket itself, and the reused memory of its calls.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::UdpSocket;

#[cfg(not(target_os = "linux"))]
use super::elsewhere as system;
#[cfg(target_os = "linux")]
use super::linux as system;
use super::message::{Message, Received};
use super::options::{Caps, SocketOptions};
use super::outcome::{HalfWay, Sent, Stop};
use super::portable;
use crate::forward::train::Train;

/// Messages of one `recvmmsg`.
const MESSAGES: usize = 32;
/// Longest message where the kernel joins packets.
const JOINED: usize = 65_536;
/// Longest packet otherwise: beyond any MTU that media uses; a longer one is cut off and then refused as a whole.
const SINGLE: usize = 2_048;

/// A UDP socket of a shard.
#[derive(Debug)]
pub struct Socket {
    io: UdpSocket,
    local: SocketAddr,
    caps: Caps,
}

impl Socket {
    /// Binds, probes and logs what was found. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// What the system says to `bind`, for example that the port is taken.
    pub fn bind(address: SocketAddr, options: &SocketOptions) -> io::Result<Self> {
        let socket = socket2::Socket::new(
            socket2::Domain::for_address(address),
            socket2::Type::DGRAM,
            Some(socket2::Protocol::UDP),
        )?;
        socket.set_nonblocking(true)?;
        if address.ip() == IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED) {
            socket.set_only_v6(options.only_v6)?;
        }
        grow_buffers(&socket, options);
        socket.bind(&address.into())?;
        if !system::fragment(&socket, address.is_ipv6()) {
            tracing::warn!(
                "the kernel does not say what it does with packets that are longer than their path"
            );
        }
        let caps = system::probe(&socket, address.is_ipv6(), options);
        let io = UdpSocket::from_std(socket.into())?;
        let local = io.local_addr()?;
        tracing::info!(
            %local,
            batches = caps.batches,
            gso = caps.gso,
            gro = caps.gro,
            local_addresses = caps.local_addresses,
            "UDP socket is bound"
        );
        Ok(Self { io, local, caps })
    }

    /// What this socket can do.
    pub fn caps(&self) -> Caps {
        self.caps
    }

    /// The address it is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Packets that came and that the kernel dropped before they were read, mostly because its buffer was full. Those that
    /// it had joined count once. 0 where it does not tell.
    pub fn overflow(&self) -> u64 {
        system::overflow(&self.io).map_or(0, u64::from)
    }

    /// Waits until [`Self::try_recv`] may find something.
    ///
    /// # Errors
    /// When the runtime shuts down.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// The same for one who waits for several sockets.
    pub fn poll_readable(&self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io.poll_recv_ready(task)
    }

    /// Waits until [`Self::try_send`] may have room again.
    ///
    /// # Errors
    /// When the runtime shuts down.
    pub async fn writable(&self) -> io::Result<()> {
        self.io.writable().await
    }

    /// Receives as many packets as are there and fit the batch, in place of those in it. Returns how many.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when nothing is there; else what the system says.
    pub fn try_recv(&self, batch: &mut RecvBatch) -> io::Result<usize> {
        batch.messages.clear();
        if self.caps.batches {
            return self.io.try_io(Interest::READABLE, || {
                system::recv(&self.io, &mut batch.scratch, &mut batch.buffer, batch.slot, &mut batch.messages)
            });
        }
        portable::recv(&self.io, &mut batch.buffer, batch.slot, &mut batch.messages)
    }

    /// Sends trains in order, their bytes in `arena`, as far as the kernel has room.
    ///
    /// The caller keeps the trains that were not sent and gives them to the next call first, with the same batch.
    pub fn try_send(&self, batch: &mut SendBatch, arena: &[u8], trains: &[Train]) -> Sent {
        let mut sent = Sent::default();
        let mut tried = false;
        let noted = self.io.try_io(Interest::WRITABLE, || {
            tried = true;
            self.send_now(batch, arena, trains, &mut sent)
        });
        // The runtime has not looked at the socket yet, or not since it was full: the kernel may have room.
        let done = if tried { noted } else { self.send_now(batch, arena, trains, &mut sent) };
        if let Err(error) = done {
            sent.stop =
                Some(if error.kind() == io::ErrorKind::WouldBlock { Stop::Blocked } else { Stop::Busy });
        }
        sent
    }

    fn send_now(
        &self,
        batch: &mut SendBatch,
        arena: &[u8],
        trains: &[Train],
        sent: &mut Sent,
    ) -> io::Result<()> {
        let is_v6 = self.local.is_ipv6();
        if self.caps.batches {
            let to = system::To { socket: &self.io, is_v6, gso: self.caps.gso };
            return system::send(to, &mut batch.scratch, &mut batch.half, arena, trains, sent);
        }
        portable::send(&self.io, is_v6, &mut batch.half, arena, trains, sent)
    }
}

/// Asks for large kernel buffers and says so when the kernel gives less.
fn grow_buffers(socket: &socket2::Socket, options: &SocketOptions) {
    // What is asked for beyond the system's limit is cut down to it, so the error says nothing: look what there is.
    let _ = socket.set_recv_buffer_size(options.recv_buffer);
    let _ = socket.set_send_buffer_size(options.send_buffer);
    system::force_buffers(socket, options);
    let found = [
        ("receive", options.recv_buffer, socket.recv_buffer_size()),
        ("send", options.send_buffer, socket.send_buffer_size()),
    ];
    for (buffer, wanted, found) in found {
        // Linux tells twice what it gives, its own bookkeeping included.
        let found = found.unwrap_or(0);
        if found < wanted {
            tracing::warn!(
                buffer,
                wanted,
                found,
                "the kernel gives a smaller socket buffer: raise net.core.rmem_max and net.core.wmem_max"
            );
        }
    }
}

/// Buffers for one batch of packets. Reused: nothing is allocated after the first call.
pub struct RecvBatch {
    buffer: Vec<u8>,
    /// Bytes for each message.
    slot: usize,
    messages: Vec<Message>,
    scratch: system::RecvScratch,
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
            scratch: system::RecvScratch::new(MESSAGES),
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
}

/// Scratch space of sends, and the memory of a train whose packets went out only in part.
#[derive(Default)]
pub struct SendBatch {
    half: HalfWay,
    scratch: system::SendScratch,
}

impl std::fmt::Debug for SendBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendBatch").field("half", &self.half).finish_non_exhaustive()
    }
}

impl SendBatch {
    /// Without memory yet; it takes some at the first call.
    pub fn new() -> Self {
        Self::default()
    }

    /// The trains that the last call left are given up: one that is like them later goes out from its beginning. Returns
    /// the packets of them that have not gone.
    pub fn give_up(&mut self, left: &[Train]) -> usize {
        let mut half = std::mem::take(&mut self.half);
        let gone = left.first().map_or(0, |train| half.take(train));
        left.iter().map(Train::segments).sum::<usize>().saturating_sub(gone)
    }

    #[cfg(test)]
    pub(super) fn left_half_way(&mut self, train: &Train, packets: usize) {
        self.half.keep(train, packets);
    }
}
