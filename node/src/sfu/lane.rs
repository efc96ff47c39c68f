//! A lane: one encoding of one track, its ring and who wants it.

use std::time::Instant;

use freshet_relay_proto::track::{CodecInfo, MediaKind};

use super::table::Bag;
use super::types::{Hop, Source};
use crate::agent::{Lane as LaneId, StreamKey};
use crate::forward::pace::Meter;
use crate::media::keyframe::{KeyframeGate, MIN_INTERVAL};
use crate::media::ring::{Ring, RingConfig};

/// One encoding of a track of one publish.
pub(super) struct Lane {
    pub key: StreamKey,
    pub id: LaneId,
    pub kind: MediaKind,
    pub codecs: Vec<CodecInfo>,
    pub source: Source,
    /// The slots that take it: session and place in it.
    pub viewers: Bag<(usize, usize)>,
    pub ring: Ring,
    pub gate: KeyframeGate,
    /// For when the gate stands in the timers.
    pub gate_due: Option<Instant>,
    /// When its newest packet came, and for when it stands in the timers to be looked at for silence.
    pub heard: Option<Instant>,
    pub hush_due: Option<Instant>,
    /// Links and other shards that take this lane, each under its alias.
    pub hops: Vec<(Hop, u32)>,
    /// Its rate, for the pacing of all its viewers.
    pub meter: Meter,
    /// Its rate as its publisher's node tells it, in kilobits a second; 0 while it is not sent, none where nothing has
    /// been told.
    pub told: Option<u32>,
    /// It stands in the list of what the next flush sends.
    pub ripe: bool,
    /// When it is ripe, while it waits for more.
    pub due: Option<Instant>,
}

impl Lane {
    pub fn new(
        (key, id): (StreamKey, LaneId),
        kind: MediaKind,
        codecs: Vec<CodecInfo>,
        source: Source,
        ring: RingConfig,
    ) -> Self {
        Self {
            key,
            id,
            kind,
            codecs,
            source,
            viewers: Bag::default(),
            ring: Ring::new(ring),
            gate: KeyframeGate::new(MIN_INTERVAL),
            gate_due: None,
            heard: None,
            hush_due: None,
            hops: Vec::new(),
            meter: Meter::default(),
            told: None,
            ripe: false,
            due: None,
        }
    }

    /// Somebody here, or behind a hop, takes its packets.
    pub fn is_wanted(&self) -> bool {
        !self.viewers.is_empty() || !self.hops.is_empty()
    }
}
