//! What clients of rooms' chat saw.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Percentiles;

/// What clients of rooms' chat saw, all together.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ChatReport {
    /// The room, as it was named; `{i}` stands for its number.
    pub url: String,
    /// Rooms.
    pub rooms: u64,
    /// Clients of the plan.
    pub wanted: u64,
    /// Those whose stream of events opened.
    pub connected: u64,
    /// Those whose stream never did.
    pub failed: u64,
    /// Why clients failed, streams broke and messages were refused, and how often.
    pub reasons: BTreeMap<String, u64>,
    /// Messages that were posted; a retry is none.
    pub sent: u64,
    /// Those that the server said it has stored.
    pub acknowledged: u64,
    /// Those that were refused, or whose answer never came.
    pub unacknowledged: u64,
    /// Times that `Retry-After` was obeyed.
    pub retries_obeyed: u64,
    /// Messages that each client should have had: those posted while it listened.
    pub expected: u64,
    /// Those of them that came, each counted once.
    pub received: u64,
    /// Acknowledged ones that never came.
    pub lost: u64,
    /// Messages that came once more.
    pub repeated: u64,
    /// Messages that came behind one that is later in the room, or later of the same sender.
    pub out_of_order: u64,
    /// Messages from before a client listened.
    pub history: u64,
    /// Messages of somebody else.
    pub foreign: u64,
    /// Streams that broke and were opened again.
    pub reconnects: u64,
    /// Times that a server said its history is gone.
    pub resets: u64,
    /// From when a client was due until its stream was open.
    pub open_ms: Option<Percentiles>,
    /// From when a message was due to be posted until it was acknowledged.
    pub acknowledged_ms: Option<Percentiles>,
    /// From when a message was due to be posted until a client had it.
    pub delay_ms: Option<Percentiles>,
}

/// Clients of rooms' chat in one second.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChatSecond {
    /// Clients whose stream of events opened, at its end.
    pub connected: u64,
    /// Clients that are due and whose stream has not opened, at its end.
    pub joining: u64,
    /// Messages that came in it, to all clients together.
    pub received: u64,
    /// Messages that came once more in it.
    pub repeated: u64,
    /// From when a message that came in it was due to be posted.
    pub delay_ms: Option<Percentiles>,
}
