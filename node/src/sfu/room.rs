//! Rooms and streams as a shard knows them.

use std::collections::{BTreeSet, HashMap};

use freshet_cluster::StreamId;
use freshet_cluster::unit::UnixMillis;
use freshet_relay_proto::track::TrackInfo;

use super::table::Bag;
use super::types::Source;
use crate::agent::{Lane as LaneId, StreamKey};
use crate::media::clock::ViewClock;

/// A room as this shard knows it.
#[derive(Default)]
pub(super) struct Room {
    pub viewers: Bag<usize>,
    /// Those of them of whom somebody wants to know what they are shown.
    pub listeners: BTreeSet<usize>,
    pub streams: HashMap<StreamId, Stream>,
}

/// One publish of a stream as this shard knows it.
pub(super) struct Stream {
    pub key: StreamKey,
    pub started_at: UnixMillis,
    pub live: bool,
    pub tracks: Vec<TrackInfo>,
    pub lanes: Vec<(LaneId, usize)>,
    pub source: Source,
    pub clock: ViewClock,
}
