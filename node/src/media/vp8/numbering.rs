//! PictureID, TL0PICIDX and KEYIDX of one slot, from source to source without a seam.
//!
//! Runs say from which index of a source on what is added to its numbers. A run begins with a source, and behind each
//! picture that was left out. An index is never sent under one run and then found in another.

use std::collections::VecDeque;

use super::descriptor::{Descriptor, PictureId};
use crate::media::rewrite::SourceEpoch;

/// Runs remembered for late packets and repeats: as many as the rewriter remembers, and each of these begins with one
/// of those.
const MAX_RUNS: usize = 128;
const PICTURE_MASK: u16 = 0x7fff;
const KEY_MASK: u8 = 0x1f;

/// What is added to the numbers of a source, each modulo its width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shift {
    picture: u16,
    tl0: u8,
    key: u8,
}

/// A descriptor and what is added to its numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    renumbered: Descriptor,
    same: bool,
}

impl Patch {
    /// For a packet with this descriptor.
    pub fn new(descriptor: &Descriptor, shift: Shift) -> Self {
        let picture_id = descriptor
            .picture_id
            .map(|id| PictureId { value: id.value.wrapping_add(shift.picture) & id.mask(), ..id });
        let tl0 = descriptor.tl0.map(|tl0| tl0.wrapping_add(shift.tl0));
        let keyidx = descriptor.keyidx.map(|key| key.wrapping_add(shift.key) & KEY_MASK);
        let renumbered = Descriptor { picture_id, tl0, keyidx, ..*descriptor };
        Self { renumbered, same: renumbered == *descriptor }
    }

    /// The numbers are those that the publisher wrote: the payload goes as it is.
    pub fn is_nothing(&self) -> bool {
        self.same
    }

    /// Writes the numbers over those of a copy of the payload.
    pub fn apply(&self, payload: &mut [u8]) {
        self.renumbered.write(payload);
    }
}

#[derive(Debug, Clone, Copy)]
struct Run {
    source: SourceEpoch,
    first_index: u64,
    shift: Shift,
}

/// The numbers that went out last; none where no source has written them yet.
#[derive(Debug, Clone, Copy, Default)]
struct Last {
    seq: u64,
    picture: Option<u16>,
    tl0: Option<u8>,
    key: Option<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Numbering {
    runs: VecDeque<Run>,
    last: Last,
}

impl Numbering {
    /// The source that goes out now.
    pub fn source(&self) -> Option<SourceEpoch> {
        self.runs.back().map(|run| run.source)
    }

    /// A source begins with this index, and this descriptor of its first picture: its numbers follow the last that went
    /// out. Those of the first stay.
    pub fn begin(&mut self, source: SourceEpoch, index: u64, first: &Descriptor) {
        let Last { picture, tl0, key, .. } = self.last;
        let picture = picture
            .zip(first.picture_id)
            .map_or(0, |(last, first)| last.wrapping_add(1).wrapping_sub(first.value) & PICTURE_MASK);
        let tl0 = tl0.zip(first.tl0).map_or(0, |(last, first)| last.wrapping_add(1).wrapping_sub(first));
        let key = key
            .zip(first.keyidx)
            .map_or(0, |(last, first)| last.wrapping_add(1).wrapping_sub(first) & KEY_MASK);
        self.open(Run { source, first_index: index, shift: Shift { picture, tl0, key } });
    }

    /// The packet with this index of the present source is left out, for good. With the `first` of its picture, the
    /// pictures behind it close up.
    pub fn leave_out(&mut self, index: u64, first: bool) {
        let (Some(run), Some(next)) = (self.runs.back_mut(), index.checked_add(1)) else { return };
        let picture = run.shift.picture.wrapping_sub(u16::from(first)) & PICTURE_MASK;
        let after = Run { first_index: next, shift: Shift { picture, ..run.shift }, ..*run };
        if run.first_index == index {
            // Nothing of the run has been sent.
            *run = after;
        } else if first {
            self.open(after);
        }
    }

    /// What is added to the numbers of a packet; none when its run is forgotten, or it comes before its source.
    pub fn shift(&self, source: SourceEpoch, index: u64) -> Option<Shift> {
        let run = self.runs.iter().rev().find(|run| run.source == source && run.first_index <= index)?;
        Some(run.shift)
    }

    pub fn sent(&mut self, seq: u64, patch: &Patch) {
        let Descriptor { picture_id, tl0, keyidx, .. } = patch.renumbered;
        if seq >= self.last.seq {
            let last = self.last;
            self.last = Last {
                seq,
                picture: picture_id.map(|id| id.value).or(last.picture),
                tl0: tl0.or(last.tl0),
                key: keyidx.or(last.key),
            };
        }
    }

    fn open(&mut self, run: Run) {
        if self.runs.len() >= MAX_RUNS {
            self.runs.pop_front();
        }
        self.runs.push_back(run);
    }
}
