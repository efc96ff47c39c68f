//! The relay between two Freshet nodes: wire format and link state machine, without I/O.
//!
//! One QUIC connection per pair of nodes carries all rooms: a control stream with length-limited frames and media in
//! datagrams. This crate decodes bytes that come from a network and never panics on any of them; what it buffers is
//! bounded in number, bytes and age. It opens no socket, reads no clock and draws no random number.
//!
//! `docs/relay.md` is the specification; a test holds its annotated example to what this code writes.

pub mod code;
pub mod control;
pub mod error;
pub mod frame;
pub mod header;
pub mod link;
pub mod split;
pub mod track;
pub mod varint;
mod wire;

/// The application protocol of the TLS handshake (RFC 7301). A change that old nodes cannot read gets a new number.
pub const ALPN: &[u8] = b"freshet-relay/1";
/// The version of the control protocol that this build speaks, sent in Hello.
pub const VERSION: u32 = 1;
/// The oldest version of the other end that this build can speak with.
pub const MIN_VERSION: u32 = 1;
