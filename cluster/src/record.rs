//! What a node writes about itself and its streams into the store.

use serde::{Deserialize, Serialize};

use crate::id::{Generation, Identity, Incarnation, NodeId, RoomId, SessionId, StreamId};
use crate::unit::{Bitrate, UnixMillis};
use crate::version::{MIN_VERSION, Unknown, VERSION};

/// `/freshet/v1/mark`: the store's birthmark, which whoever comes first writes and nobody changes. It is compared as it
/// stands, byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// A random number, 16 hexadecimal digits.
    pub mark: String,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Mark {
    /// A new one of a random number.
    pub fn new(random: u64) -> Self {
        let mark = format!("{random:016x}");
        Self { v: VERSION, min_v: MIN_VERSION, mark, unknown: Unknown::new() }
    }
}

/// What a node may carry. Placement takes it as advice; the node enforces it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capacity {
    /// Sessions, publishers and viewers together.
    pub sessions: u32,
    /// Media bits per second sent to viewers and to other nodes.
    pub egress: Bitrate,
    /// Packets per second sent to viewers and to other nodes.
    pub egress_pps: u64,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `/freshet/v1/nodes/{node}`: a node that is registered, under its lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// Who.
    pub id: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Region label, `""` when not configured.
    pub region: String,
    /// Failure domain label, `""` when not configured.
    pub zone: String,
    /// Base URL at which coordinators reach its HTTP, without a slash at the end.
    pub http: String,
    /// Base URL at which clients reach its HTTP, without a slash at the end, where that is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// `ADDR:PORT` at which other nodes reach its relay (UDP, QUIC).
    pub relay: String,
    /// SHA-256 of its relay certificate (DER), 64 lower-case hexadecimal digits.
    pub relay_cert_sha256: String,
    /// When this incarnation started.
    pub started_at: UnixMillis,
    /// It takes no new sessions.
    pub draining: bool,
    /// What it may carry.
    pub capacity: Capacity,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `/freshet/v1/rooms/{room}/streams/{stream}`: a stream that is claimed, under its origin's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// Room.
    pub room: RoomId,
    /// Stream.
    pub stream: StreamId,
    /// Which publish of it; the highest wins.
    pub generation: Generation,
    /// Who publishes.
    pub identity: Identity,
    /// Its origin.
    pub node: NodeId,
    /// Which start of the origin.
    pub incarnation: Incarnation,
    /// The publisher's session.
    pub session: SessionId,
    /// When it was claimed.
    pub started_at: UnixMillis,
    /// Media may flow: ICE and DTLS are done.
    pub live: bool,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}
