//! Which temporal layers a viewer is sent.
//!
//! A picture of a layer above the limit goes out no more; its sequence numbers and its PictureID close up, so that
//! nobody waits for it. Sequence numbers close up only while nothing behind them has gone out: packets that are still
//! missing then are left out with the rest of their picture where the numbers around them prove that they belong to it.

use std::ops::Range;

use super::descriptor::{Descriptor, PictureId};
use crate::media::packet::Packet;
use crate::media::rewrite::SourceEpoch;

/// Highest TID there is.
const HIGHEST: u8 = 3;
/// A wider hole than any picture's rest stays a gap.
const MAX_HOLE: u64 = 64;

/// The part of a picture that a packet is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture {
    source: SourceEpoch,
    index: u64,
    timestamp: u32,
    ends: bool,
    id: Option<PictureId>,
}

impl Picture {
    pub fn of(source: SourceEpoch, packet: &Packet, descriptor: &Descriptor) -> Self {
        let Packet { index, timestamp, marker: ends, .. } = *packet;
        Self { source, index, timestamp, ends, id: descriptor.picture_id }
    }

    /// `next` is of the picture right behind this one.
    fn precedes(&self, next: &Self) -> bool {
        let ids = self.id.zip(next.id);
        ids.is_some_and(|(id, next)| id.value.wrapping_add(1) & next.mask() == next.value)
    }
}

/// What becomes of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    /// It is left out.
    pub leave_out: bool,
    /// Nothing of its picture has been left out before.
    pub first: bool,
    /// Missing packets before it that belong to pictures that are left out.
    pub hole: Range<u64>,
}

#[derive(Debug)]
pub(super) struct Temporal {
    /// The highest layer that goes out.
    open: u8,
    /// The packet with the highest index so far, and whether it was left out.
    newest: Option<(Picture, bool)>,
}

impl Default for Temporal {
    fn default() -> Self {
        Self { open: HIGHEST, newest: None }
    }
}

impl Temporal {
    pub fn judge(&mut self, packet: Picture, descriptor: &Descriptor, max: Option<u8>) -> Verdict {
        let max = max.unwrap_or(HIGHEST);
        let nothing = packet.index..packet.index;
        let newest = self.newest.filter(|(newest, _)| newest.source == packet.source);
        let Some((newest, left_out)) = newest else {
            // A source begins with a keyframe, and with what comes from there on.
            self.open = max;
            return Verdict { leave_out: false, first: true, hole: nothing };
        };
        let Some(hole) = packet.index.checked_sub(newest.index).and_then(|ahead| ahead.checked_sub(1)) else {
            // Late: what is behind it has closed up, or gone out.
            return Verdict { leave_out: false, first: false, hole: nothing };
        };
        let same = newest.timestamp == packet.timestamp;
        let leave_out = if same { left_out } else { self.is_above(descriptor, max) };
        let next = newest.precedes(&packet);
        let rest_of_newest = left_out && (same || next && descriptor.starts);
        let start_of_this = leave_out && next && (left_out || newest.ends);
        let closes = hole <= MAX_HOLE && (rest_of_newest || start_of_this);
        let hole = if closes { newest.index.saturating_add(1)..packet.index } else { nothing };
        Verdict { leave_out, first: !same, hole }
    }

    /// What became of a packet that was judged.
    pub fn note(&mut self, packet: Picture, left_out: bool) {
        let known = self.newest.filter(|(newest, _)| newest.source == packet.source);
        if known.is_none_or(|(newest, _)| packet.index > newest.index) {
            self.newest = Some((packet, left_out));
        }
    }

    /// Looks at the first packet of a picture: it may open a layer, or be above those that are open.
    fn is_above(&mut self, descriptor: &Descriptor, max: u8) -> bool {
        let tid = descriptor.tid();
        let next_up = descriptor.layer.is_some_and(|layer| layer.sync) && tid == self.open.saturating_add(1);
        let open = match (descriptor.keyframe, next_up) {
            (true, _) => HIGHEST,
            (false, true) => tid,
            (false, false) => self.open,
        };
        self.open = open.min(max);
        tid > self.open
    }
}
