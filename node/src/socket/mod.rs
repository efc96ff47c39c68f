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

mod address;
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;
mod message;
mod options;
mod outcome;
mod portable;
mod udp;

pub use message::Received;
pub use options::{Caps, SocketOptions};
pub use outcome::{Sent, Stop};
pub use udp::{RecvBatch, SendBatch, Socket};

#[cfg(test)]
mod tests;
