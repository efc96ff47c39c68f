//! What a node says of itself once a second on the bus.

use serde::{Deserialize, Serialize};

use crate::id::{Epoch, Generation, Identity, Incarnation, NodeId, RoomId, StreamId};
use crate::unit::{Bitrate, UnixMillis};
use crate::version::Unknown;

/// `freshet.v1.node.{node}.load`: a heartbeat, 1 Hz.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeLoad {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// Who.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Counts heartbeats of this incarnation.
    pub seq: u64,
    /// It takes no new sessions.
    pub draining: bool,
    /// Sessions now, publishers and viewers together, as far as `joins_total` counts them: whoever sends one that is still
    /// being made counts it.
    pub sessions: u32,
    /// Joins that it has accepted since it started; lets coordinators forget assignments that it already counts.
    pub joins_total: u64,
    /// Bits per second sent, averaged over the last second.
    pub egress: Bitrate,
    /// Packets per second sent, averaged over the last second.
    pub egress_pps: u64,
    /// Processor time used over the last second, in thousandths of one core.
    pub cpu_millicores: u32,
    /// Every room that it carries.
    pub rooms: Vec<RoomLoad>,
    /// Peers with whom a relay link is live.
    pub links: Vec<LinkLoad>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// One room on one node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomLoad {
    /// Which.
    pub room: RoomId,
    /// The newest plan that the node knows.
    pub epoch: Epoch,
    /// Viewers here.
    pub viewers: u32,
    /// Streams that originate here.
    pub streams: Vec<StreamLoad>,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// One stream at its origin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamLoad {
    /// Which.
    pub stream: StreamId,
    /// Which publish of it.
    pub generation: Generation,
    /// Who publishes.
    pub identity: Identity,
    /// When it was claimed.
    pub started_at: UnixMillis,
    /// Media may flow.
    pub live: bool,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// One live link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkLoad {
    /// The other end.
    pub peer: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: u64,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}
