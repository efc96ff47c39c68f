//! Relay links over QUIC: endpoint, certificates, one connection for each pair of nodes, media in datagrams.
//!
//! The shell around `freshet_relay_proto::link` and `crate::link`. Both ends show a certificate; TLS proves that they
//! hold its key, and after Hello each compares its fingerprint with the registry's entry of the node that the other
//! claims to be. A stranger, a wrong fingerprint, another start of a node or a version that is not spoken is closed
//! with a code of its own and a log line.
//!
//! A link takes media without ever making its sender wait: a queue that is full drops and counts, and so does the
//! policy of `crate::link::queue` when the path is too slow. Control frames wait; when too many do, the link is
//! closed, because a neighbour that misses one is worse than a neighbour that is gone. When the node is slow to take
//! events, the link stops reading its control stream, while media goes on.

mod accept;
mod config;
mod controller;
mod core;
mod counted;
mod dial;
mod event;
mod greet;
mod handle;
mod media;
mod relay;
mod serve;
mod tls;
mod transport;
mod types;

pub use config::{CongestionControl, RelayConfig, RelayError, Trust};
pub use event::RelayEvent;
pub use handle::{LinkHandle, MediaOut};
pub use relay::Relay;
pub use types::{Directory, Ended, LinkId, LinkInfo, LinkTotals, MediaIn, MediaSink, Peer};
