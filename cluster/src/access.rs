//! Who comes into a room besides what tokens say: a room that is public, an identity that was sent away.

use serde::{Deserialize, Serialize};

use crate::id::{Identity, RoomId};
use crate::unit::UnixMillis;
use crate::version::{MIN_VERSION, Unknown, VERSION};

/// `/freshet/v1/access/{room}/spec`: what an operator wants of a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSpec {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// Viewers need no token.
    pub public: bool,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl RoomSpec {
    /// A new one.
    pub fn new(public: bool) -> Self {
        Self { v: VERSION, min_v: MIN_VERSION, public, unknown: Unknown::new() }
    }
}

/// `/freshet/v1/access/{room}/bans/{identity}`: an identity that may not come in, under a lease that ends when it may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// Version of the writer.
    pub v: u32,
    /// Oldest reader that understands it.
    pub min_v: u32,
    /// From where.
    pub room: RoomId,
    /// Who.
    pub identity: Identity,
    /// When it was said.
    pub at: UnixMillis,
    /// Until when.
    pub until: UnixMillis,
    /// Fields of a newer version.
    #[serde(flatten)]
    pub unknown: Unknown,
}

impl Ban {
    /// A new one.
    pub fn new(room: RoomId, identity: Identity, at: UnixMillis, until: UnixMillis) -> Self {
        Self { v: VERSION, min_v: MIN_VERSION, room, identity, at, until, unknown: Unknown::new() }
    }
}
