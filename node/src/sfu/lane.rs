//! A lane: one encoding of one track, its ring and who wants it.

use std::sync::Arc;
use std::time::Instant;

use freshet_relay_proto::track::{CodecInfo, MediaKind};

use super::types::{Hop, Source};
use crate::agent::{Lane as LaneId, StreamKey};
use crate::media::keyframe::{KeyframeGate, MIN_INTERVAL};
use crate::media::packet::Packet;
use crate::media::ring::{Ring, RingConfig};

/// One encoding of a track of one publish.
pub(super) struct Lane {
    pub key: StreamKey,
    pub id: LaneId,
    pub kind: MediaKind,
    pub codecs: Vec<CodecInfo>,
    pub source: Source,
    pub viewers: Vec<(usize, usize)>,
    pub ring: Ring,
    pub gate: KeyframeGate,
    /// For when the gate stands in the timers.
    pub gate_due: Option<Instant>,
    /// Links and other shards that take this lane, each under its alias.
    pub hops: Vec<(Hop, u32)>,
    /// Packets since the last flush, in the order in which they came.
    pub fresh: Vec<Arc<Packet>>,
    /// Slots that begin at this flush with what the ring has.
    pub joiners: Vec<(usize, usize, u64)>,
    /// It stands in the list of what the next flush looks at.
    pub dirty: bool,
}

impl Lane {
    pub fn new(key: StreamKey, id: LaneId, kind: MediaKind, codecs: Vec<CodecInfo>, source: Source) -> Self {
        Self {
            key,
            id,
            kind,
            codecs,
            source,
            viewers: Vec::new(),
            ring: Ring::new(RingConfig::default()),
            gate: KeyframeGate::new(MIN_INTERVAL),
            gate_due: None,
            hops: Vec::new(),
            fresh: Vec::new(),
            joiners: Vec::new(),
            dirty: false,
        }
    }

    /// Somebody here, or behind a hop, takes its packets.
    pub fn is_wanted(&self) -> bool {
        !self.viewers.is_empty() || !self.hops.is_empty()
    }
}
