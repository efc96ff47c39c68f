//! Relay links over QUIC: endpoint, certificates, one connection for each pair of nodes, media in datagrams.
//!
//! Both ends show a certificate of their own making; TLS proves that they hold its key, and after Hello each compares
//! its fingerprint with the registry's entry of the node that the other claims to be. A stranger, a wrong fingerprint or
//! a wrong version is closed with a code of its own and a log line.

mod connection;
mod controller;
mod relay;
mod tls;
mod types;

pub use relay::Relay;
pub use types::{
    CongestionControl, Directory, LinkHandle, LinkId, LinkInfo, MediaIn, MediaOut, Peer, RelayConfig, RelayError, RelayEvent,
};
