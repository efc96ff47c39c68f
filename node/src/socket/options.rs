//! What is asked of a socket, and what it turned out to have.

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
    /// `::` is for IPv6 alone, because IPv4 has a socket of its own.
    pub only_v6: bool,
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
            only_v6: false,
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
