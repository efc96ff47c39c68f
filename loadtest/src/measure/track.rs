//! One track of one viewer.

use std::time::{Duration, Instant};

use super::order::{OrderCheck, Place};
use super::resent::Resent;
use super::{Arrival, Gaps, Histogram, IndexWindow, Latencies, Remaking, Summary};
use crate::media::stamp::{Stamp, StampError};
use crate::media::{Kind, MAX_LAYERS};
use crate::num;

/// Publishers remembered one by one; a takeover is rare, so this is plenty.
const MAX_SEGMENTS: usize = 64;
/// The publisher of all that has no stamp.
const OTHERS: u64 = 0;
/// So many packets without a stamp, one after the other, are another publisher's; fewer are strays among a publisher's own.
pub(super) const STRAYS: u64 = 100;
/// A damaged packet's number follows from its neighbours', which are no further away.
const NEIGHBOURS: u64 = 500;

/// A packet as a viewer's session delivered it.
#[derive(Debug, Clone, Copy)]
pub struct Observed {
    /// When it was read from the socket.
    pub at: Instant,
    /// The same in microseconds since the Unix epoch, by the clock of stamps.
    pub at_us: u64,
    /// Extended RTP sequence number.
    pub sequence: u64,
    /// It came as a retransmission (RFC 4588).
    pub via_rtx: bool,
    /// Bytes of payload.
    pub bytes: usize,
    /// Its stamp, or why there is none.
    pub stamp: Result<Stamp, StampError>,
    /// When it was captured by its header, where it has no stamp; in microseconds since the Unix epoch.
    pub captured_us: Option<u64>,
    /// It starts a keyframe.
    pub keyframe: bool,
}

/// What came from one publisher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Number of the publisher's session; 0 for media without stamps.
    pub publisher: u64,
    /// Different packets that came.
    pub received: u64,
    /// Packets between first and last that did not come.
    pub missing: u64,
    /// Lowest index that came.
    pub first_index: u64,
    /// Highest index that came.
    pub last_index: u64,
}

/// What a viewer saw of a track. An index is the stamp's sequence number, or the extended RTP sequence number where
/// media has no stamps or several layers.
#[derive(Debug, Clone)]
pub struct TrackReport {
    /// Media id in the session's SDP.
    pub mid: String,
    /// Video or audio.
    pub kind: Kind,
    /// Different packets that came, by first transmission or recovered.
    pub received: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Packets that did not come by first transmission: recovered ones and missing ones.
    pub lost_before_recovery: u64,
    /// Packets that came as retransmissions, by RTX or, where that was not agreed on, under their own numbers.
    pub recovered_by_rtx: u64,
    /// Packets between the first and the last index that never came.
    pub missing: u64,
    /// The same, counted from the first keyframe on.
    pub missing_after_keyframe: u64,
    /// Packets that came more than once: repeated on the wire, or the same stamp under another RTP number.
    pub duplicates: u64,
    /// Packets that came after one with a higher index.
    pub late: u64,
    /// Packets whose RTP numbers contradict the order of capture.
    pub out_of_order_after_recovery: u64,
    /// Payloads that are not what was sent.
    pub payload_mismatch: u64,
    /// The first of those, in words.
    pub first_mismatch: Option<String>,
    /// Packets without a stamp: not our media.
    pub unstamped: u64,
    /// Packets that the session could not decrypt or refused.
    pub rejected: u64,
    /// Keyframes that began.
    pub keyframes: u64,
    /// Packets by simulcast layer, the largest first; all 0 where there is one encoding.
    pub layers: [u64; MAX_LAYERS as usize],
    /// How often the layer was another one than before.
    pub layer_switches: u64,
    /// First index of the current publisher.
    pub first_index: Option<u64>,
    /// Last index of the current publisher.
    pub last_index: Option<u64>,
    /// Index at which the first keyframe began.
    pub first_keyframe_index: Option<u64>,
    /// From the start of the join to the first packet.
    pub first_packet: Option<Duration>,
    /// From the start of the join to the first packet of the first keyframe.
    pub first_keyframe: Option<Duration>,
    /// Longest time between two packets.
    pub longest_gap: Duration,
    /// How often more than 200 ms lay between two packets.
    pub freezes: u64,
    /// All of these times together.
    pub frozen: Duration,
    /// When the last packet came.
    pub last_packet: Option<Instant>,
    /// From scheduled capture to arrival, retransmissions included; only packets captured since the session was
    /// connected. A run fetches them ([`TrackMeter::take_latency`]); then it has those since.
    pub latency: Histogram,
    /// Of all of them, fetched or not.
    pub latencies: Summary,
    /// Packets captured before the session was connected: the server's history, sent so that pictures start at once.
    pub history: u64,
    /// What came from each publisher, in order; the last is the current one.
    pub segments: Vec<Segment>,
}

impl TrackReport {
    /// Packets that never came though `last_sent` was sent: gaps, and what is behind the last that came.
    pub fn missing_up_to(&self, last_sent: u64) -> u64 {
        self.missing + self.last_index.map_or(0, |last| last_sent.saturating_sub(last))
    }

    /// The longest gap, counting the silence from the last packet that came to `due`, when the last one should have.
    pub fn longest_gap_until(&self, due: Instant) -> Duration {
        let silence = self.last_packet.map(|last| due.saturating_duration_since(last));
        self.longest_gap.max(silence.unwrap_or_default())
    }

    /// The share of packets, from the first that came to `last_sent`, that came in the end. 0 where none came.
    pub fn delivered(&self, last_sent: u64) -> f64 {
        let all = self.received + self.missing_up_to(last_sent);
        if all == 0 { 0.0 } else { num::float(self.received) / num::float(all) }
    }
}

/// Measures one track.
#[derive(Debug)]
pub struct TrackMeter {
    mid: String,
    kind: Kind,
    joined: Instant,
    publisher: Option<u64>,
    remaking: Remaking,
    window: IndexWindow,
    /// What is added to RTP numbers to have the publisher's, by the last stamp.
    offset: i64,
    /// Packets without stamps since the last one with.
    strays: u64,
    /// Padding whose number is in the window.
    padding: u64,
    /// The layer of the newest packet, where there are several.
    layer: Option<u8>,
    layers: [u64; MAX_LAYERS as usize],
    layer_switches: u64,
    order: OrderCheck,
    /// Where retransmissions come under their own numbers.
    resent: Option<Resent>,
    past: Vec<Segment>,
    past_missing_after_keyframe: u64,
    bytes: u64,
    recovered: u64,
    duplicates: u64,
    late: u64,
    mismatch: u64,
    first_mismatch: Option<String>,
    unstamped: u64,
    rejected: u64,
    keyframes: u64,
    keyframe_at: Option<u64>,
    keyframe_frame: Option<(u64, u32)>,
    first_packet: Option<Instant>,
    first_keyframe: Option<Instant>,
    gaps: Gaps,
    latency: Latencies,
    live_from_us: u64,
    history: u64,
}

impl TrackMeter {
    /// A track of a session that began to join at `joined`.
    pub fn new(mid: String, kind: Kind, joined: Instant) -> Self {
        Self {
            mid,
            kind,
            joined,
            publisher: None,
            remaking: Remaking::default(),
            window: IndexWindow::default(),
            offset: 0,
            strays: 0,
            padding: 0,
            layer: None,
            layers: Default::default(),
            layer_switches: 0,
            order: OrderCheck::default(),
            resent: None,
            past: Vec::new(),
            past_missing_after_keyframe: 0,
            bytes: 0,
            recovered: 0,
            duplicates: 0,
            late: 0,
            mismatch: 0,
            first_mismatch: None,
            unstamped: 0,
            rejected: 0,
            keyframes: 0,
            keyframe_at: None,
            keyframe_frame: None,
            first_packet: None,
            first_keyframe: None,
            gaps: Gaps::default(),
            latency: Latencies::default(),
            live_from_us: 0,
            history: 0,
        }
    }

    /// Packets that are asked for again come under their own source and number: RTX was not agreed on.
    #[must_use]
    pub fn resent(self) -> Self {
        Self { resent: Some(Resent::default()), ..self }
    }

    /// The session is connected, so many microseconds after the Unix epoch: what was captured before is history, and
    /// its age is no latency.
    pub fn on_connected(&mut self, at_us: u64) {
        self.live_from_us = at_us;
    }

    /// Video or audio.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// No keyframe began yet.
    pub fn wants_keyframe(&self) -> bool {
        self.kind == Kind::Video && self.keyframes == 0
    }

    /// The wire repeated a packet of this track.
    pub fn on_repeat(&mut self) {
        self.duplicates += 1;
    }

    /// The session refused a packet of this track.
    pub fn on_rejected(&mut self) {
        self.rejected += 1;
    }

    /// The session delivered a packet; says whether it was a retransmission.
    pub fn on_packet(&mut self, packet: &Observed) -> bool {
        let plain = self.resent.as_mut().is_some_and(|resent| resent.on_packet(packet.sequence, packet.at));
        let again = packet.via_rtx || plain;
        self.count(packet, again);
        again
    }

    fn count(&mut self, packet: &Observed, again: bool) {
        if packet.bytes == 0 {
            self.on_padding(packet.sequence);
            return;
        }
        self.bytes += num::len(packet.bytes);
        self.gaps.on_packet(packet.at);
        self.first_packet.get_or_insert(packet.at);
        if self.remaking.begins(&packet.stamp) {
            self.count_by_numbers();
        }
        let Some((publisher, index)) = self.whose(packet) else { return };
        if self.publisher.is_some_and(|current| current != publisher) {
            let ours = ![self.publisher, Some(publisher)].contains(&Some(OTHERS));
            if ours && self.past.iter().any(|segment| segment.publisher == publisher) {
                // A straggler of a publisher that was replaced.
                self.late += 1;
                return;
            }
            self.close_segment();
        }
        self.publisher = Some(publisher);
        if packet.stamp.is_ok() {
            self.strays = 0;
        }
        match self.window.insert(index) {
            Arrival::Newest => self.layer(packet),
            Arrival::Late => self.late += 1,
            Arrival::Duplicate => {
                self.duplicates += 1;
                return;
            }
            Arrival::TooOld => {
                self.late += 1;
                return;
            }
        }
        self.recovered += u64::from(again);
        if self.remaking.is_seen() {
            // What begins with a stamp says how old it is.
            if let Ok(Stamp { captured_us, .. }) | Err(StampError::Length { captured_us, .. }) = packet.stamp
            {
                self.captured(packet.at_us, captured_us);
            }
        } else if let Ok(stamp) = packet.stamp {
            self.offset = number(index).saturating_sub(number(packet.sequence));
            // Over all layers it is the frames that are in order.
            let place = match stamp.layer {
                Some(layer) => Place { frame: stamp.frame.into(), layer, part: stamp.part },
                None => Place { frame: index, layer: 0, part: 0 },
            };
            self.order.insert(packet.sequence, place);
            if let Some(count) = stamp.layer.and_then(|layer| self.layers.get_mut(usize::from(layer))) {
                *count += 1;
            }
            self.captured(packet.at_us, stamp.captured_us);
        } else if let Some(captured_us) = packet.captured_us {
            self.captured(packet.at_us, captured_us);
        }
        if packet.keyframe {
            self.keyframe(packet, index);
        }
    }

    /// The newest packet may be of another layer than those before.
    fn layer(&mut self, packet: &Observed) {
        let Ok(Stamp { layer: Some(layer), .. }) = packet.stamp else { return };
        let before = self.layer.replace(layer);
        self.layer_switches += u64::from(before.is_some_and(|before| before != layer));
    }

    /// Packets are the server's own from now on. What was counted by the numbers of others is forgotten.
    fn count_by_numbers(&mut self) {
        let fresh = Self::new(String::new(), self.kind, self.joined);
        self.publisher = Some(OTHERS);
        (self.window, self.order, self.past) = (fresh.window, fresh.order, fresh.past);
        (self.layer, self.layers, self.layer_switches) = (None, fresh.layers, 0);
        (self.mismatch, self.first_mismatch, self.unstamped) = (0, None, 0);
        (self.late, self.duplicates, self.recovered, self.padding) = (0, 0, 0, 0);
        self.past_missing_after_keyframe = 0;
        if self.keyframes > 0 {
            self.window.mark(0);
        }
    }

    /// Whose packet it is, and its number there; nothing if it counts for nobody.
    fn whose(&mut self, packet: &Observed) -> Option<(u64, u64)> {
        if self.remaking.is_seen() {
            self.unstamped += 1;
            return Some((OTHERS, packet.sequence));
        }
        match packet.stamp {
            // Each layer numbers its packets by itself: what the server makes one stream of them is numbered by the server.
            Ok(Stamp { publisher, layer: Some(_), .. }) => Some((publisher, packet.sequence)),
            Ok(stamp) => Some((stamp.publisher, stamp.sequence)),
            Err(StampError::Unstamped) => {
                self.unstamped += 1;
                self.strays += 1;
                // A few among a publisher's own do not end its count.
                let stray = self.publisher.is_some_and(|is| is != OTHERS) && self.strays < STRAYS;
                (!stray).then_some((OTHERS, packet.sequence))
            }
            Err(error) => {
                self.mismatch += 1;
                self.first_mismatch.get_or_insert_with(|| error.to_string());
                if self.publisher.is_none() && matches!(error, StampError::Length { .. }) {
                    // Perhaps all are so; then this is the first of them.
                    return Some((OTHERS, packet.sequence));
                }
                // It came all the same, and which it is its RTP number says.
                let (publisher, last) = (self.publisher?, self.window.last()?);
                let offset = if publisher == OTHERS { 0 } else { self.offset };
                let index = packet.sequence.saturating_add_signed(offset);
                (index.abs_diff(last) <= NEIGHBOURS).then_some((publisher, index))
            }
        }
    }

    /// Padding is no media. Among media that is counted by RTP's numbers it has one that is not missing.
    fn on_padding(&mut self, sequence: u64) {
        if (self.publisher == Some(OTHERS) || self.layer.is_some())
            && matches!(self.window.insert(sequence), Arrival::Newest | Arrival::Late)
        {
            self.padding += 1;
        }
    }

    fn captured(&mut self, at_us: u64, captured_us: u64) {
        if captured_us < self.live_from_us {
            self.history += 1;
        } else {
            self.latency.record_micros(at_us.saturating_sub(captured_us));
        }
    }

    fn keyframe(&mut self, packet: &Observed, index: u64) {
        let frame = packet.stamp.map_or((0, num::wrap32(index)), |stamp| (stamp.publisher, stamp.frame));
        if self.keyframe_frame == Some(frame) {
            return;
        }
        self.keyframe_frame = Some(frame);
        self.keyframes += 1;
        self.first_keyframe.get_or_insert(packet.at);
        self.keyframe_at.get_or_insert(index);
        self.window.mark(index);
    }

    fn close_segment(&mut self) {
        // Strays before a publisher's own were no stream.
        let strays = self.publisher == Some(OTHERS) && self.strays < STRAYS;
        if let Some(segment) = self.segment().filter(|_| !strays) {
            if self.past.len() >= MAX_SEGMENTS {
                self.past.remove(0);
            }
            self.past.push(segment);
        }
        if !strays {
            self.past_missing_after_keyframe += self.window.missing_after_mark();
        }
        self.padding = 0;
        self.layer = None;
        self.order.restart();
        self.window = IndexWindow::default();
        if self.keyframes > 0 {
            self.window.mark(0);
        }
    }

    fn segment(&self) -> Option<Segment> {
        Some(Segment {
            publisher: self.publisher?,
            received: self.window.arrived() - self.padding,
            missing: self.window.missing(),
            first_index: self.window.first()?,
            last_index: self.window.last()?,
        })
    }

    /// The longest gap that ended since this was asked, or the one that goes on.
    pub fn take_recent_gap(&mut self, now: Instant) -> Duration {
        self.gaps.take_recent(now)
    }

    /// Moves the latencies since this was asked into a histogram of many.
    pub fn take_latency(&mut self, sum: &mut Histogram) {
        self.latency.take_into(sum);
    }

    /// When the last packet came.
    pub fn last_packet(&self) -> Option<Instant> {
        self.gaps.last()
    }

    /// What was seen so far.
    pub fn report(&self) -> TrackReport {
        let segments: Vec<Segment> = self.past.iter().cloned().chain(self.segment()).collect();
        let missing = segments.iter().map(|segment| segment.missing).sum();
        let since_join = |at: Instant| at.saturating_duration_since(self.joined);
        TrackReport {
            mid: self.mid.clone(),
            kind: self.kind,
            received: segments.iter().map(|segment| segment.received).sum(),
            bytes: self.bytes,
            lost_before_recovery: self.recovered + missing,
            recovered_by_rtx: self.recovered,
            missing,
            missing_after_keyframe: self.past_missing_after_keyframe + self.window.missing_after_mark(),
            duplicates: self.duplicates,
            late: self.late,
            out_of_order_after_recovery: self.order.wrong(),
            payload_mismatch: self.mismatch,
            first_mismatch: self.first_mismatch.clone(),
            unstamped: self.unstamped,
            rejected: self.rejected,
            keyframes: self.keyframes,
            layers: self.layers,
            layer_switches: self.layer_switches,
            first_index: self.window.first(),
            last_index: self.window.last(),
            first_keyframe_index: self.keyframe_at,
            first_packet: self.first_packet.map(since_join),
            first_keyframe: self.first_keyframe.map(since_join),
            longest_gap: self.gaps.longest(),
            freezes: self.gaps.freezes(),
            frozen: self.gaps.frozen(),
            last_packet: self.gaps.last(),
            latency: self.latency.histogram(),
            latencies: self.latency.summary(),
            history: self.history,
            segments,
        }
    }
}

fn number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "track_tests.rs"]
mod tests;
