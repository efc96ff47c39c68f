//! The layout of the store and of the bus.
//!
//! Keys and subjects are made here and nowhere else, from checked ids only, so that no id can name another's key.

use crate::id::{Identity, NodeId, RoomId, StreamId};

/// Everything that this major version stores.
pub const ROOT: &str = "/freshet/v1/";
/// Prefix of all node records.
pub const NODES: &str = "/freshet/v1/nodes/";
/// Prefix of all rooms: plans and streams.
pub const ROOMS: &str = "/freshet/v1/rooms/";
/// Prefix of what says who comes into rooms. Apart from the rooms, whose plans and streams change all the time: every
/// process that lets people in follows it.
pub const ACCESS: &str = "/freshet/v1/access/";
/// The store's birthmark: a random number that whoever comes first writes and nobody changes. Another mark means
/// another store: the past is lost.
pub const MARK: &str = "/freshet/v1/mark";
/// The leader's key.
pub const LEADER: &str = "/freshet/v1/leader";

/// Key of a node's record.
pub fn node(node: &NodeId) -> String {
    format!("{NODES}{}", node.as_str())
}

/// Key of a room's plan.
pub fn room_plan(room: &RoomId) -> String {
    format!("{ROOMS}{}/plan", room.as_str())
}

/// Prefix of a room's streams.
pub fn room_streams(room: &RoomId) -> String {
    format!("{ROOMS}{}/streams/", room.as_str())
}

/// Key of a stream.
pub fn stream(room: &RoomId, stream: &StreamId) -> String {
    format!("{ROOMS}{}/streams/{}", room.as_str(), stream.as_str())
}

/// Key of what an operator wants of a room.
pub fn room_spec(room: &RoomId) -> String {
    format!("{ACCESS}{}/spec", room.as_str())
}

/// Key of a ban.
pub fn ban(room: &RoomId, identity: &Identity) -> String {
    format!("{ACCESS}{}/bans/{}", room.as_str(), identity.to_key())
}

/// What a key names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A node's record.
    Node(NodeId),
    /// A room's plan.
    Plan(RoomId),
    /// A stream.
    Stream(RoomId, StreamId),
    /// What is wanted of a room.
    Spec(RoomId),
    /// A ban, by its identity as it stands in keys.
    Ban(RoomId, String),
    /// The leader.
    Leader,
}

/// Reads a key back; `None` for a key of a later version or of somebody else.
pub fn parse(key: &str) -> Option<Key> {
    if key == LEADER {
        return Some(Key::Leader);
    }
    if let Some(id) = key.strip_prefix(NODES) {
        return id.parse().ok().map(Key::Node);
    }
    if let Some(rest) = key.strip_prefix(ACCESS) {
        let (room, rest) = rest.split_once('/')?;
        let room: RoomId = room.parse().ok()?;
        return match rest.split_once('/') {
            None if rest == "spec" => Some(Key::Spec(room)),
            Some(("bans", name)) if !name.is_empty() && !name.contains('/') => {
                Some(Key::Ban(room, name.to_owned()))
            }
            _ => None,
        };
    }
    let rest = key.strip_prefix(ROOMS)?;
    let mut parts = rest.split('/');
    let room: RoomId = parts.next()?.parse().ok()?;
    let key = match (parts.next()?, parts.next()) {
        ("plan", None) => Key::Plan(room),
        ("streams", Some(id)) => Key::Stream(room, id.parse().ok()?),
        _ => return None,
    };
    if parts.next().is_some() { None } else { Some(key) }
}

/// Subject of a node's heartbeat.
pub fn load_subject(node: &NodeId) -> String {
    format!("freshet.v1.node.{}.load", node.as_str())
}

/// Heartbeats of all nodes.
pub const ALL_LOADS: &str = "freshet.v1.node.*.load";
/// Stream events of all rooms.
pub const ALL_STREAM_EVENTS: &str = "freshet.v1.room.*.stream";
/// Chat of all rooms: the subjects of the kept history.
pub const ALL_CHAT: &str = "freshet.v1.room.*.chat";

/// What is said in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Topic {
    /// Chat messages, kept.
    Chat,
    /// Tips, kept.
    Tip,
    /// Reactions.
    Reaction,
    /// How many watch.
    Presence,
    /// Streams that begin and end.
    Stream,
    /// How many listen to its events at one coordinator.
    Listening,
}

/// Subject of a room's topic.
pub fn room_subject(room: &RoomId, topic: Topic) -> String {
    let topic = match topic {
        Topic::Chat => "chat",
        Topic::Tip => "tip",
        Topic::Reaction => "reaction",
        Topic::Presence => "presence",
        Topic::Stream => "stream",
        Topic::Listening => "listening",
    };
    format!("freshet.v1.room.{}.{topic}", room.as_str())
}
