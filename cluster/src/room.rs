//! What is said in and about a room on the bus.

use serde::{Deserialize, Serialize};

use crate::id::{Generation, Identity, Incarnation, NodeId, RoomId, StreamId};
use crate::unit::UnixMillis;
use crate::version::Unknown;

/// Why a stream or a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndReason {
    /// The client sent DELETE.
    Closed,
    /// Nothing came from the client for 15 seconds.
    IceTimeout,
    /// The client had not done DTLS 30 seconds after its POST.
    DtlsTimeout,
    /// The client closed DTLS.
    DtlsClosed,
    /// A newer publish of the same stream took over. Final for the old client.
    TakenOver,
    /// The node was drained.
    Drained,
    /// Those who run the room ended it, or sent its identity away. Final.
    Revoked,
    /// The origin died.
    NodeDead,
    /// A reason that this version does not know.
    #[serde(other)]
    Unknown,
}

impl EndReason {
    /// The word used on every wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::IceTimeout => "ice-timeout",
            Self::DtlsTimeout => "dtls-timeout",
            Self::DtlsClosed => "dtls-closed",
            Self::TakenOver => "taken-over",
            Self::Drained => "drained",
            Self::Revoked => "revoked",
            Self::NodeDead => "node-dead",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether a stream began or ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StreamState {
    /// Media may flow.
    Started,
    /// No media will come of this generation.
    Ended,
    /// A state that this version does not know.
    #[serde(other)]
    Unknown,
}

/// `freshet.v1.room.{room}.stream`: told by the origin, or by a coordinator that declared the origin dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamEvent {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// Room.
    pub room: RoomId,
    /// Stream.
    pub stream: StreamId,
    /// Which publish of it.
    pub generation: Generation,
    /// Who publishes.
    pub identity: Identity,
    /// Its origin.
    pub node: NodeId,
    /// Began or ended.
    pub state: StreamState,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<EndReason>,
    /// When.
    pub at: UnixMillis,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `freshet.v1.room.{room}.chat`: one message, kept by the history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// The client's own id of the message.
    pub id: String,
    /// Who wrote it.
    pub from: Identity,
    /// 1 to 500 characters.
    pub text: String,
    /// When the coordinator took it.
    pub at: UnixMillis,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `freshet.v1.room.{room}.listening`: how many listen to the room's events at one coordinator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listening {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// Room.
    pub room: RoomId,
    /// Which start of a coordinator.
    pub coordinator: Incarnation,
    /// Listeners there; 0 when so few that they do not matter.
    pub listeners: u32,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

/// `freshet.v1.room.{room}.presence`: how many watch on one node. Coordinators add up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// Room.
    pub room: RoomId,
    /// Viewers in the whole cluster, as this writer adds them up.
    pub viewers: u32,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}
