//! The node's UDP sockets: batches in, trains out.
//!
//! A system call for each packet is what costs most on the way to a viewer, so packets come in by `recvmmsg` with
//! UDP GRO and leave by `sendmmsg` of GSO trains. What the kernel offers is probed when a socket is bound; without
//! GSO a train leaves as single messages of one `sendmmsg`, and where there is no Linux one call sends one packet.
//! The local address of each packet goes both ways, so that a node with several addresses answers from the one that
//! was asked.
//!
//! Nothing is lost silently: what the kernel has no room for stays with the caller, in order; what it refuses for
//! good is counted. This is the only module with `unsafe`.

use std::io;
use std::net::{IpAddr, SocketAddr};

#[cfg(target_os = "linux")]
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::forward::train::Train;

#[cfg(target_os = "linux")]
mod linux;
mod portable;
mod recv;
mod send;

pub use recv::{Received, RecvBatch};
pub use send::{SendBatch, Sent, Stop};

/// Size asked for each kernel buffer, in bytes: 200 ms of 160 Mbit/s.
const KERNEL_BUFFER: usize = 4 << 20;

/// How to bind, and what to do without: each flag turned off forces its fallback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SocketOptions {
    /// Bytes asked for the kernel's receive buffer.
    pub recv_buffer: usize,
    /// Bytes asked for the kernel's send buffer.
    pub send_buffer: usize,
    /// Use `recvmmsg` and `sendmmsg`.
    pub batches: bool,
    /// Use UDP segmentation offload.
    pub gso: bool,
    /// Use UDP receive offload.
    pub gro: bool,
    /// Ask for, and set, the local address of packets.
    pub local_addresses: bool,
}

impl Default for SocketOptions {
    fn default() -> Self {
        Self {
            recv_buffer: KERNEL_BUFFER,
            send_buffer: KERNEL_BUFFER,
            batches: true,
            gso: true,
            gro: true,
            local_addresses: true,
        }
    }
}

/// What a bound socket can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Many messages in one system call.
    pub batches: bool,
    /// The kernel cuts trains up.
    pub gso: bool,
    /// The kernel joins packets of one sender.
    pub gro: bool,
    /// Packets say which local address they came to.
    pub local_addresses: bool,
}

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
            socket.set_only_v6(false)?;
        }
        grow_buffers(&socket, options);
        socket.bind(&address.into())?;
        #[cfg(target_os = "linux")]
        let caps = linux::probe(&socket, address.is_ipv6(), options);
        #[cfg(not(target_os = "linux"))]
        let caps = Caps { batches: false, gso: false, gro: false, local_addresses: false };
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

    /// Waits until [`Self::try_recv`] may find something.
    ///
    /// # Errors
    /// When the runtime shuts down.
    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
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
        batch.clear();
        #[cfg(target_os = "linux")]
        if self.caps.batches {
            return self.io.try_io(Interest::READABLE, || linux::recv(&self.io, batch));
        }
        portable::recv(&self.io, batch)
    }

    /// Sends trains in order, their bytes in `arena`, as far as the kernel has room.
    ///
    /// The caller keeps the trains that were not sent and gives them to the next call first, with the same batch.
    pub fn try_send(&self, batch: &mut SendBatch, arena: &[u8], trains: &[Train]) -> Sent {
        let mut sent = Sent::default();
        let is_v6 = self.local.is_ipv6();
        #[cfg(target_os = "linux")]
        let done = if self.caps.batches {
            let send = || linux::send(&self.io, is_v6, self.caps, batch, arena, trains, &mut sent);
            self.io.try_io(Interest::WRITABLE, send)
        } else {
            portable::send(&self.io, is_v6, batch, arena, trains, &mut sent)
        };
        #[cfg(not(target_os = "linux"))]
        let done = portable::send(&self.io, is_v6, batch, arena, trains, &mut sent);
        if let Err(error) = done {
            sent.stop =
                Some(if error.kind() == io::ErrorKind::WouldBlock { Stop::Blocked } else { Stop::Busy });
        }
        sent
    }
}

/// Asks for large kernel buffers and says so when the kernel gives less.
fn grow_buffers(socket: &socket2::Socket, options: &SocketOptions) {
    #[cfg(target_os = "linux")]
    linux::force_buffers(socket, options);
    let asked = [
        (
            "receive",
            options.recv_buffer,
            socket.set_recv_buffer_size(options.recv_buffer),
            socket.recv_buffer_size(),
        ),
        (
            "send",
            options.send_buffer,
            socket.set_send_buffer_size(options.send_buffer),
            socket.send_buffer_size(),
        ),
    ];
    for (name, wanted, set, got) in asked {
        // Linux tells twice what it was asked for, its own bookkeeping included.
        match (set, got) {
            (Ok(()), Ok(got)) if got >= wanted => {}
            (_, got) => tracing::warn!(
                buffer = name,
                wanted,
                got = got.unwrap_or(0),
                "the kernel gives a smaller socket buffer: raise net.core.rmem_max and net.core.wmem_max"
            ),
        }
    }
}

/// IPv4 addresses of a socket for both families arrive in IPv6 clothes.
fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address as a socket of this family wants it. None: it cannot be reached from it.
fn dressed(address: SocketAddr, socket_is_v6: bool) -> Option<SocketAddr> {
    match (address, socket_is_v6) {
        (SocketAddr::V4(v4), true) => Some(SocketAddr::new(IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port())),
        (SocketAddr::V6(_), false) => None,
        (same, _) => Some(same),
    }
}

#[cfg(test)]
mod tests;
