//! What the API says, as types.

use freshet_cluster::{Epoch, Generation, Identity, Incarnation, NodeId, RoomId, StreamId};
use freshet_edge::ice::IceServer;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A stream of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StreamInfo {
    /// Stream id.
    #[schema(value_type = String)]
    pub stream: StreamId,
    /// Which publish of it; the highest wins.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// Who publishes.
    #[schema(value_type = String)]
    pub identity: Identity,
    /// When it was claimed, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// Media may flow; false between the claim and the end of ICE and DTLS.
    pub live: bool,
}

/// A room with something in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomInfo {
    /// Room id.
    #[schema(value_type = String)]
    pub room: RoomId,
    /// Viewers in the whole cluster, a second or two old.
    pub viewers: u32,
    /// Its streams that have not ended.
    pub streams: Vec<StreamInfo>,
    /// When the oldest of them was claimed, in milliseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at_ms: Option<u64>,
}

/// Rooms with a stream or a viewer, most viewers first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RoomsPage {
    /// At most 1,000.
    pub rooms: Vec<RoomInfo>,
    /// There are more than are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// A live link of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LinkInfo {
    /// The other end.
    #[schema(value_type = String)]
    pub peer: NodeId,
    /// Smoothed round-trip time, in microseconds.
    pub rtt_us: u64,
}

/// What a node may carry; an egress of 0 means that none is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CapacityInfo {
    /// Sessions, publishers and viewers together.
    pub sessions: u32,
    /// Bits per second sent.
    pub egress_bps: u64,
    /// Packets per second sent.
    pub egress_pps: u64,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeInfo {
    /// Node id.
    #[schema(value_type = String)]
    pub id: NodeId,
    /// Which start of it, 16 hexadecimal digits.
    #[schema(value_type = String)]
    pub incarnation: Incarnation,
    /// Region label.
    pub region: String,
    /// Failure domain label.
    pub zone: String,
    /// `alive`, `suspect`, `draining` or `dead`.
    pub state: String,
    /// Its key stands in the store.
    pub registered: bool,
    /// When this incarnation started, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// A heartbeat of this incarnation has arrived. Until one has, nobody knows how full the node is, and sessions go to
    /// others first.
    pub heard: bool,
    /// How long ago its last heartbeat, or else its registration, arrived, in milliseconds.
    pub heard_ms_ago: u64,
    /// Sessions at the last heartbeat.
    pub sessions: u32,
    /// Joins handed to it that the heartbeat does not count yet.
    pub pending: u32,
    /// How full it is, in thousandths, pending joins included.
    pub load_permille: u32,
    /// Bits per second sent.
    pub egress_bps: u64,
    /// Packets per second sent.
    pub egress_pps: u64,
    /// Processor time, in thousandths of a core.
    pub cpu_millicores: u32,
    /// Rooms that it carries.
    pub rooms: usize,
    /// What it may carry.
    pub capacity: CapacityInfo,
    /// Its live links.
    pub links: Vec<LinkInfo>,
}

/// All nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodesPage {
    /// In the order of their ids.
    pub nodes: Vec<NodeInfo>,
}

/// A node's place in a room's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MemberInfo {
    /// Node id.
    #[schema(value_type = String)]
    pub node: NodeId,
    /// Which start of it.
    #[schema(value_type = String)]
    pub incarnation: Incarnation,
    /// Its neighbour towards the root; absent for the root.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<NodeId>,
    /// The parent it goes to when its own is silent.
    #[schema(value_type = Option<String>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub standby: Option<NodeId>,
    /// The newest plan that it says it knows.
    #[schema(value_type = Option<u64>)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// Viewers there.
    pub viewers: u32,
    /// Publishers there.
    pub publishers: u32,
}

/// A room's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TreeInfo {
    /// Room id.
    #[schema(value_type = String)]
    pub room: RoomId,
    /// The order of the room's plans.
    #[schema(value_type = u64)]
    pub epoch: Epoch,
    /// In the order in which they joined.
    pub members: Vec<MemberInfo>,
}

/// The cluster as one coordinator sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ClusterInfo {
    /// All nodes.
    pub nodes: Vec<NodeInfo>,
    /// All rooms' trees.
    pub rooms: Vec<TreeInfo>,
    /// The store answers this coordinator.
    pub store_up: bool,
    /// The bus answers this coordinator.
    pub bus_up: bool,
}

/// What a page needs to know before it does anything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClientConfig {
    /// No token is needed.
    pub open: bool,
    /// For `RTCPeerConnection`. With tokens, TURN credentials are given to bearers of one.
    pub ice_servers: Vec<IceServer>,
}
