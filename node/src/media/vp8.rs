//! VP8 inside RTP (RFC 7741): what its payload descriptor says, and how it reads for one viewer.
//!
//! A decoder's jitter buffer follows three counters of the descriptor: PictureID, TL0PICIDX and KEYIDX. Each source
//! counts them by itself, so a viewer that changes from one to another, or is not sent every temporal layer, needs
//! them renumbered. [`Vp8`] does so for one slot. What a packet is called depends on its source and index alone: a
//! packet that comes late or is sent again has the very same bytes as ever, which AES-GCM asks for.

mod descriptor;
mod numbering;
mod temporal;

pub use descriptor::{Descriptor, Layer, PictureId};
pub use numbering::{Patch, Shift};

use numbering::Numbering;
use temporal::{Picture, Temporal};

use super::packet::Packet;
use super::rewrite::{Rewriter, SourceEpoch};

/// The descriptors of one viewer's slot.
#[derive(Debug, Default)]
pub struct Vp8 {
    numbering: Numbering,
    temporal: Temporal,
}

impl Vp8 {
    /// Decides about a packet of the source that goes out now, before the rewriter maps it. None: the packet is left
    /// out, either on purpose, for its temporal layer is above `max_temporal`, or because its numbers are forgotten.
    ///
    /// A picture goes whole or not at all. Layers are left out from the next picture on, and come back one by one,
    /// each with a picture that needs no other but the base layer. What is too late to close up is sent.
    pub fn take(
        &mut self,
        rewriter: &mut Rewriter,
        source: SourceEpoch,
        packet: &Packet,
        descriptor: &Descriptor,
        max_temporal: Option<u8>,
    ) -> Option<Shift> {
        if self.numbering.source() != Some(source) {
            // The first packet may come behind the second.
            let first = rewriter.first_index().unwrap_or(packet.index).min(packet.index);
            self.numbering.begin(source, first, descriptor);
        }
        let picture = Picture::of(source, packet, descriptor);
        let verdict = self.temporal.judge(picture, descriptor, max_temporal);
        for index in verdict.hole {
            if rewriter.skip(source, index) {
                self.numbering.leave_out(index, false);
            }
        }
        if verdict.leave_out && rewriter.skip(source, packet.index) {
            self.numbering.leave_out(packet.index, verdict.first);
            self.temporal.note(picture, true);
            return None;
        }
        self.temporal.note(picture, false);
        self.numbering.shift(source, packet.index)
    }

    /// What is added to the numbers of a packet of any source; none when it is forgotten or has no place.
    pub fn shift(&self, source: SourceEpoch, index: u64) -> Option<Shift> {
        self.numbering.shift(source, index)
    }

    /// The packet went out under the extended sequence number `seq`.
    pub fn sent(&mut self, seq: u64, patch: &Patch) {
        self.numbering.sent(seq, patch);
    }
}

#[cfg(test)]
mod tests;
