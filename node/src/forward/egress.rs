//! What a viewer is sent: rewritten, sealed under the viewer's own keys, straight into the train.
//!
//! Per viewer there is one [`Sealer`] (the SRTP context) and per m-line one [`Outlet`] (SSRCs, rewriting, reports,
//! what may be sent again). Nothing of the publisher's mid, rid, extension ids, payload types and SSRCs passes.

pub mod repeated;

use std::time::{Duration, Instant};

pub use repeated::{Again, Request};
use repeated::{Repeat, Repeated};

use crate::forward::blank::Blank;
use crate::forward::history::{EstimateInput, Sent};
use crate::forward::rtcp::{self, Compound, SenderReport, Twcc};
use crate::forward::rtp::{ExtensionIds, HEADER_MAX, Header, Stamps};
use crate::forward::srtp::{RTCP_OVERHEAD, RTP_OVERHEAD, SrtpSender};
use crate::forward::stamp::{Once, SentAt, Stamper};
use crate::forward::train::{Trains, Way};
use crate::media::clock::{ReportPoint, Skew, ViewClock};
use crate::media::packet::{CaptureMicros, Packet};
use crate::media::rewrite::{Outgoing, Refused, Rewriter, SourceEpoch, SourceStart};
use crate::media::vp8::{Descriptor, Patch, Vp8};
use crate::media::wrap::low_32;

/// Packets of an SSRC that carry the MID extension: enough for a client that does not read `a=ssrc` lines to map it
/// (RFC 9143 section 15).
const MID_PACKETS: u64 = 64;
/// It and the payload are no longer together, in bytes, where it stands: so what came in 1,200 goes in 1,250, all else included.
const MID_ROOM: usize = 1_184;
/// A packet is not sent again when it was sent again within a round trip: the request crossed the answer. A receiver
/// that misses the answer waits for a round trip itself, and should its path be a hair faster just then, the request
/// that it makes again must not be taken for one that crossed. So the shortest round trip of late counts, which no path
/// beats for long; browsers wait longer, for the longest that they know, or 100 ms where they know none. The bounds
/// hold for a round trip that is not believed.
const AGAIN_AFTER: (Duration, Duration) = (Duration::from_millis(10), Duration::from_secs(1));
/// Where it is not known.
const ROUND_TRIP: Duration = Duration::from_millis(25);
/// Retransmissions are at most a fifth of what is sent, plus this many bytes to begin with.
const AGAIN_BURST: u64 = 128 * 1024;
/// What was not used of that fifth is saved up to so many bytes: two seconds of 2 Mbit/s. A viewer of hours would have
/// saved up for a flood otherwise.
const AGAIN_SAVED: u64 = 512 * 1024;
/// Retransmissions are few while they are less than this part of the media, once so many bytes of it have gone.
const FEW: u64 = 20;
const FEW_FROM: u64 = 128 * 1024;
/// The time between two layers' captures differs from that between their sending by less, in microseconds, or their
/// clocks are not believed.
const CAPTURE_GAP: u64 = 4_000_000;
/// A layer that shows what was captured before, in microseconds, runs ahead by as much at most.
const AHEAD_MAX: i64 = 200_000;

/// The payload types of one codec on one m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    /// Payload type.
    pub pt: u8,
    /// Payload type of retransmissions (RFC 4588); plain repeats when absent.
    pub rtx: Option<u8>,
    /// NACK was negotiated: the viewer may ask for packets again.
    pub nack: bool,
    /// Clock rate in hertz.
    pub clock_rate: u32,
    /// Payloads are VP8's: their descriptors are renumbered.
    pub vp8: bool,
}

/// A viewer's SRTP context, and the order of all that is sealed with it. What is read for each packet stands together.
#[repr(C)]
pub struct Sealer {
    stamper: Stamper,
    srtp: SrtpSender,
}

impl Sealer {
    /// Around keys, in memory that another has left.
    pub fn new(srtp: SrtpSender, memory: Blank<Sent>) -> Self {
        Self { srtp, stamper: Stamper::within(memory) }
    }

    /// It is over: its keys are gone, and what is left is memory.
    pub fn into_memory(self) -> Blank<Sent> {
        let Self { srtp: _, stamper } = self;
        stamper.into_memory()
    }

    /// Reads what sending will read, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        self.srtp.glance() ^ self.stamper.glance()
    }

    /// Seals reports; none when there are none.
    pub fn report(&mut self, compound: &Compound) -> Option<Vec<u8>> {
        let plain = compound.plain()?;
        let mut sealed = vec![0; plain.len().saturating_add(RTCP_OVERHEAD)];
        let len = self.srtp.seal_rtcp(plain, &mut sealed).ok()?;
        sealed.truncate(len);
        Some(sealed)
    }

    /// What the viewer tells of packets by their transport-wide numbers.
    pub fn feedback(&mut self, twcc: Twcc<'_>) -> EstimateInput {
        self.stamper.feedback(twcc)
    }
}

/// Where sealed packets go: trains towards one viewer, handed to the socket when the arena is full.
pub struct Road<'a> {
    /// The trains of this flush.
    pub trains: &'a mut Trains,
    /// Sends the pending trains and empties the arena.
    pub depart: &'a mut dyn FnMut(&mut Trains),
    /// Where the viewer is.
    pub to: &'a Way,
    /// When this flush sends.
    pub at: SentAt,
}

impl Road<'_> {
    fn slot(&mut self, room: usize) -> Option<&mut [u8]> {
        if self.trains.slot(room).is_none() {
            self.trains.end();
            (self.depart)(self.trains);
            self.trains.begin_way(self.to);
        }
        self.trains.slot(room)
    }
}

/// Why a packet was not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unsent {
    /// It has no place on this SSRC: it comes from before the source began for this viewer, is late for what has closed
    /// up, or is left out on purpose.
    NoPlace,
    /// It could not be sealed.
    Failed,
}

/// One outgoing media stream.
pub struct Outlet {
    ssrc: u32,
    rtx_ssrc: Option<u32>,
    ids: ExtensionIds,
    mid: Box<str>,
    /// Sequence numbers below this one carry the MID extension.
    mid_until: u64,
    rewriter: Rewriter,
    source: Option<SourceEpoch>,
    /// The next source is a layer of the same track as the last.
    by_capture: bool,
    /// By how many microseconds time as sent is ahead of the captures, because layers showed a moment twice.
    ahead: i64,
    /// The lowest index of the next source that has a place.
    first: Option<u64>,
    newest: Option<ReportPoint>,
    packets: u64,
    bytes: u64,
    rtx_seq: u64,
    rtx_bytes: u64,
    /// Bytes that may be sent again.
    again_left: u64,
    repeated: Repeated,
    once: Once,
    scratch: Vec<u8>,
    /// None until a VP8 packet comes.
    vp8: Option<Box<Vp8>>,
    max_temporal: Option<u8>,
}

impl Outlet {
    /// From what the answer says. `seeds` are random: first sequence numbers and first timestamp.
    pub fn new(
        ssrc: u32,
        rtx_ssrc: Option<u32>,
        mid: &str,
        extensions: &[(u8, String)],
        seeds: (u32, u32),
    ) -> Self {
        let [a, b, c, d] = seeds.0.to_be_bytes();
        let first = u16::from_be_bytes([a, b]);
        let rtx_first = u64::from(u16::from_be_bytes([c, d]) & 0x7fff).max(1);
        Self {
            ssrc,
            rtx_ssrc,
            ids: ExtensionIds::from_uris(extensions.iter().map(|(id, uri)| (*id, uri.as_str()))),
            mid: mid.into(),
            mid_until: u64::from(first & 0x7fff).max(1).saturating_add(MID_PACKETS),
            rewriter: Rewriter::new(first, seeds.1),
            source: None,
            by_capture: false,
            ahead: 0,
            first: None,
            newest: None,
            packets: 0,
            bytes: 0,
            rtx_seq: rtx_first,
            rtx_bytes: 0,
            again_left: AGAIN_BURST,
            repeated: Repeated::default(),
            once: Once::default(),
            scratch: Vec::new(),
            vp8: None,
            max_temporal: None,
        }
    }

    /// Remembers what it sends again in memory that another has left.
    pub fn within(self, memory: Blank<Repeat>) -> Self {
        Self { repeated: Repeated::within(memory), ..self }
    }

    /// It is over: what is left is memory.
    pub fn into_memory(self) -> Blank<Repeat> {
        self.repeated.into_memory()
    }

    /// Reads what sending will read, so that it is on its way from memory.
    pub fn glance(&self) -> u64 {
        let named = self.source.map_or(0, |source| u64::from(source.0)) ^ u64::from(self.ids.mid.is_some());
        let newest = self.newest.map_or(0, |newest| newest.capture.0);
        named ^ newest ^ self.packets ^ self.again_left ^ self.once.glance() ^ self.rewriter.glance()
    }

    /// Packets sent, retransmissions left out.
    pub fn packets(&self) -> u64 {
        self.packets
    }

    /// When the newest picture or sound that was sent was captured.
    pub fn newest_capture(&self) -> Option<CaptureMicros> {
        self.newest.map(|newest| newest.capture)
    }

    /// When the newest packet was sent.
    pub fn newest_at(&self) -> Option<Instant> {
        self.rewriter.newest_at()
    }

    /// Ticks of the media clock in a second, once something was sent.
    pub fn clock_rate(&self) -> Option<u32> {
        self.newest.map(|newest| newest.clock_rate)
    }

    /// The SSRC of media.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The SSRC of retransmissions.
    pub fn rtx_ssrc(&self) -> Option<u32> {
        self.rtx_ssrc
    }

    /// The next packet is of another source: numbers go on where they stand.
    pub fn switch_source(&mut self) {
        self.source = None;
        self.by_capture = false;
        self.ahead = 0;
        self.first = None;
    }

    /// The next packet is of another layer of the same track: numbers go on where they stand, and time by what passed
    /// between the captures. Returns the source that has ended.
    pub fn switch_layer(&mut self) -> Option<SourceEpoch> {
        self.by_capture = true;
        self.first = None;
        self.source.take()
    }

    /// The next source begins with the frame whose first packet has this index, though another packet of it may be sent
    /// before that one. Without a word it begins with the packet that is sent first.
    pub fn begin_at(&mut self, index: u64) {
        self.first = Some(index);
    }

    /// Whether packets of this format carry stamps. Those that may be repeated plainly do not: a repeat is the very
    /// same packet under the very same nonce, and remembering the stamps of each sent packet is dearer than doing
    /// without for the few clients that have NACK and no RTX. Sound is mostly without NACK, and is stamped.
    fn is_stamped(&self, format: Format) -> bool {
        !format.nack || (format.rtx.is_some() && self.rtx_ssrc.is_some())
    }

    /// Pictures of temporal layers above `max` are left out: from the next on, and until a picture comes with which
    /// a layer can begin again. All layers go where there is no limit.
    pub fn set_max_temporal(&mut self, max: Option<u8>) {
        self.max_temporal = max;
    }

    /// Rewrites and seals one packet into the train. Returns its length.
    ///
    /// # Errors
    /// [`Unsent`]; the packet's number is not given to another.
    pub fn send(
        &mut self,
        sealer: &mut Sealer,
        format: Format,
        packet: &Packet,
        now: Instant,
        road: &mut Road<'_>,
    ) -> Result<u64, Unsent> {
        let source = match self.source {
            Some(source) => source,
            None => {
                let by_capture = std::mem::take(&mut self.by_capture);
                let start = SourceStart {
                    index: self.first.take().map_or(packet.index, |first| first.min(packet.index)),
                    timestamp: packet.timestamp,
                    clock_rate: format.clock_rate,
                    at: if by_capture { self.due(packet, now).unwrap_or(now) } else { now },
                    latest: self.newest.map(|newest| newest.timestamp),
                };
                *self.source.insert(self.rewriter.begin(start))
            }
        };
        let descriptor = if format.vp8 { Descriptor::parse(&packet.payload) } else { None };
        let patch = match &descriptor {
            Some(descriptor) => {
                let vp8 = self.vp8.get_or_insert_default();
                let shift = vp8.take(&mut self.rewriter, source, packet, descriptor, self.max_temporal);
                Some(Patch::new(descriptor, shift.ok_or(Unsent::NoPlace)?))
            }
            None => None,
        };
        let out = self.rewriter.map(source, packet.index, packet.timestamp, now);
        let out = out.map_err(|_| Unsent::NoPlace)?;
        if let (Some(vp8), Some(patch)) = (&mut self.vp8, &patch) {
            vp8.sent(out.seq, patch);
        }
        let room = HEADER_MAX.saturating_add(packet.payload.len()).saturating_add(RTP_OVERHEAD);
        let mut stamps = Stamps::default();
        if self.is_stamped(format) {
            if !self.once.first(out.seq) {
                return Err(Unsent::NoPlace);
            }
            stamps = sealer.stamper.stamps(&self.ids, road.at);
        }
        let slot = road.slot(room).ok_or(Unsent::Failed)?;
        let len = self.seal(sealer, format.pt, packet, patch.as_ref(), out, &stamps, slot);
        let len = len.ok_or(Unsent::Failed)?;
        road.trains.commit(len);
        sealer.stamper.sent(stamps, road.at, len);
        self.packets = self.packets.saturating_add(1);
        let payload = u64::try_from(packet.payload.len()).unwrap_or_default();
        self.bytes = self.bytes.saturating_add(payload);
        self.again_left = self.again_left.saturating_add(payload / 5).min(AGAIN_SAVED);
        if self.newest.is_none_or(|n| out.timestamp.wrapping_sub(n.timestamp).cast_signed() >= 0) {
            self.newest = Some(ReportPoint {
                timestamp: out.timestamp,
                capture: packet.capture,
                clock_rate: format.clock_rate,
                skew: Skew::default(),
            });
        }
        Ok(u64::try_from(len).unwrap_or_default())
    }

    fn named(&self, packet: &Packet) -> Option<&str> {
        Some(&*self.mid).filter(|mid| mid.len().saturating_add(packet.payload.len()) <= MID_ROOM)
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "in groups they are copied, and the core waits for their parts"
    )]
    fn seal(
        &self,
        sealer: &Sealer,
        pt: u8,
        packet: &Packet,
        patch: Option<&Patch>,
        out: Outgoing,
        stamps: &Stamps,
        slot: &mut [u8],
    ) -> Option<usize> {
        let header = Header {
            pt,
            marker: packet.marker,
            seq: out.seq16(),
            timestamp: out.timestamp,
            ssrc: self.ssrc,
            // By the sequence number, so that a plain repeat has the very same header under the same nonce.
            mid: self.named(packet).filter(|_| out.seq < self.mid_until),
            exts: &packet.exts,
            stamps,
        };
        let header_len = header.write(&self.ids, slot)?;
        let (srtp, payload, ssrc) = (&sealer.srtp, &packet.payload, self.ssrc);
        let Some(patch) = patch.filter(|patch| !patch.is_nothing()) else {
            return srtp.seal_rtp(slot, header_len, payload, ssrc, out.roc(), out.seq16()).ok();
        };
        // The ring's payload is everybody's: the numbers are written into the copy in the train.
        let body = slot.get_mut(header_len..header_len.checked_add(payload.len())?)?;
        body.copy_from_slice(payload);
        patch.apply(body);
        srtp.seal_rtp_in_place(slot, header_len, payload.len(), ssrc, out.roc(), out.seq16()).ok()
    }

    /// What is written over the descriptor of a packet that is sent again: what was written the first time.
    fn patch_again(
        &self,
        format: Format,
        packet: &Packet,
        source: SourceEpoch,
    ) -> Result<Option<Patch>, Refused> {
        let descriptor = if format.vp8 { Descriptor::parse(&packet.payload) } else { None };
        let Some(descriptor) = descriptor else { return Ok(None) };
        let shift = self.vp8.as_ref().and_then(|vp8| vp8.shift(source, packet.index));
        shift.map(|shift| Some(Patch::new(&descriptor, shift))).ok_or(Refused::UnknownSource)
    }

    /// When a packet would have gone had it come from the same layer as the newest that went. Layers of one track have
    /// one capture clock, which their own arrival and sending jitter do not touch, nor an encoder that held a picture
    /// back. None when the clocks do not agree.
    fn due(&mut self, packet: &Packet, now: Instant) -> Option<Instant> {
        let ahead = std::mem::take(&mut self.ahead);
        let (captured, at) = (packet.capture.micros_since(self.newest?.capture), self.rewriter.newest_at()?);
        let sent = i64::try_from(now.saturating_duration_since(at).as_micros()).ok()?;
        if captured.abs_diff(sent) >= CAPTURE_GAP {
            return None;
        }
        // What one change shows twice the next one takes back.
        let passed = captured.saturating_sub(ahead);
        self.ahead = passed.saturating_neg().clamp(0, AHEAD_MAX);
        at.checked_add(Duration::from_micros(passed.max(0).unsigned_abs()))
    }

    /// The source, and the origin's index in it, behind a sequence number in a NACK.
    pub fn find(&self, seq: u16) -> Option<(SourceEpoch, u64)> {
        self.rewriter.reverse(seq)
    }

    /// The source that is being sent.
    pub fn source(&self) -> Option<SourceEpoch> {
        self.source
    }

    /// Seals a packet again: as RTX (RFC 4588) where negotiated, else as a plain repeat.
    pub fn again(
        &mut self,
        sealer: &mut Sealer,
        format: Format,
        packet: &Packet,
        request: Request,
        road: &mut Road<'_>,
    ) -> Again {
        let Request { seq, source, now, round_trip, copies: most } = request;
        let after = round_trip.unwrap_or(ROUND_TRIP).clamp(AGAIN_AFTER.0, AGAIN_AFTER.1);
        // As long as a copy may be: one that was begun with too little left would never be paid for.
        let copy_max = u64::try_from(copy_room(packet)).unwrap_or(u64::MAX);
        if self.again_left < copy_max || self.repeated.is_recent(seq, now, after) {
            return Again::TooSoon;
        }
        let rtx = self.rtx_ssrc.zip(format.rtx);
        if rtx.is_none() && self.is_stamped(format) {
            return Again::TooSoon;
        }
        let Ok(out) = self.rewriter.map(source, packet.index, packet.timestamp, now) else {
            return Again::Failed;
        };
        let Ok(patch) = self.patch_again(format, packet, source) else { return Again::Failed };
        let copy = (packet, patch, out);
        let Some(mut bytes) = self.seal_again(sealer, (format, rtx), copy, road) else {
            return Again::Failed;
        };
        let mut copies = 1;
        // A browser that misses the answer asks again after 100 ms, and stands still meanwhile. While few are asked for,
        // a second copy costs little; a plain repeat would be the same packet, which SRTP drops as a replay.
        let few = self.bytes > FEW_FROM && self.rtx_bytes < self.bytes / FEW;
        if rtx.is_some()
            && few
            && most > 1
            && self.again_left >= copy_max
            && let Some(more) = self.seal_again(sealer, (format, rtx), copy, road)
        {
            (copies, bytes) = (2, bytes.saturating_add(more));
        }
        self.repeated.note(seq, now);
        Again::Sent { copies, bytes }
    }

    /// Seals one copy of a packet that is asked for into the train; returns its length.
    fn seal_again(
        &mut self,
        sealer: &mut Sealer,
        (format, rtx): (Format, Option<(u32, u8)>),
        (packet, patch, out): (&Packet, Option<Patch>, Outgoing),
        road: &mut Road<'_>,
    ) -> Option<u64> {
        let at = road.at;
        let slot = road.slot(copy_room(packet))?;
        let stamps = if rtx.is_some() { sealer.stamper.stamps(&self.ids, at) } else { Stamps::default() };
        let sealed = match rtx {
            Some(names) => self.seal_rtx(sealer, names, (packet, patch), (out, stamps), slot),
            // Sealing the very same packet under the same index gives the very same bytes: the nonce is not used
            // for anything else.
            None => self.seal(sealer, format.pt, packet, patch.as_ref(), out, &stamps, slot),
        };
        let len = sealed?;
        road.trains.commit(len);
        sealer.stamper.sent(stamps, at, len);
        let len = u64::try_from(len).unwrap_or_default();
        self.rtx_bytes = self.rtx_bytes.saturating_add(len);
        self.again_left = self.again_left.saturating_sub(len);
        Some(len)
    }

    fn seal_rtx(
        &mut self,
        sealer: &Sealer,
        (ssrc, pt): (u32, u8),
        (packet, patch): (&Packet, Option<Patch>),
        (out, stamps): (Outgoing, Stamps),
        slot: &mut [u8],
    ) -> Option<usize> {
        let rtx = Outgoing { seq: self.rtx_seq, timestamp: out.timestamp };
        self.rtx_seq = self.rtx_seq.saturating_add(1);
        let header = Header {
            pt,
            marker: packet.marker,
            seq: rtx.seq16(),
            timestamp: rtx.timestamp,
            ssrc,
            mid: self.named(packet).filter(|_| self.rtx_bytes < AGAIN_BURST),
            exts: &packet.exts,
            stamps: &stamps,
        };
        let header_len = header.write(&self.ids, slot)?;
        self.scratch.clear();
        self.scratch.extend_from_slice(&out.seq16().to_be_bytes());
        self.scratch.extend_from_slice(&packet.payload);
        if let (Some(patch), Some(body)) = (patch, self.scratch.get_mut(2..)) {
            patch.apply(body);
        }
        sealer.srtp.seal_rtp(slot, header_len, &self.scratch, ssrc, rtx.roc(), rtx.seq16()).ok()
    }

    /// Appends a sender report with CNAME (RFC 3550 sections 6.4.1 and 6.5); nothing while nothing has been sent.
    pub fn report(
        &self,
        compound: &mut Compound,
        cname: &str,
        clock: &ViewClock,
        wall: CaptureMicros,
        skew: Skew,
    ) {
        let Some(newest) = self.newest else { return };
        let (ntp, rtp) = clock.sender_report(wall, ReportPoint { skew, ..newest });
        let report = SenderReport {
            ssrc: self.ssrc,
            ntp,
            rtp,
            packets: low_32(self.packets),
            octets: low_32(self.bytes),
        };
        compound.add(|out| rtcp::write_sender_report(&report, cname, out));
    }

    /// Appends a receiver report about nothing, with CNAME: this side is there, and has sent nothing yet.
    pub fn alive(&self, compound: &mut Compound, cname: &str) {
        compound.add(|out| rtcp::write_receiver_report(self.ssrc, cname, out));
    }
}

/// Bytes that a packet takes at most when it is sent again.
fn copy_room(packet: &Packet) -> usize {
    HEADER_MAX.saturating_add(packet.payload.len()).saturating_add(2 + RTP_OVERHEAD)
}

#[cfg(test)]
mod changes;
#[cfg(test)]
mod pictures;
#[cfg(test)]
mod recycled;
#[cfg(test)]
mod tests;
