//! One track of a viewer whose media is counted by its headers.
//!
//! Payloads stay sealed but for a packet now and then, which says which publisher's numbers these are: so what a
//! publisher sent last is known to be missing, and where a picture began. Retransmissions are always opened, because the
//! number that they make good stands in their payload.

use std::ops::Range;
use std::time::{Duration, Instant};

use super::track::STRAYS;
use super::{Arrival, Gaps, Histogram, IndexWindow, Remaking, Segment, Summary, TrackReport};
use crate::media::Kind;
use crate::media::stamp::{Stamp, StampError};
use crate::num;

/// A track's first number is taken for one of a second round, so that what it overtook has room below.
const LIFT: u64 = 0x1_0000;
/// A packet is opened so often to see whose it is.
const REFRESH: Duration = Duration::from_secs(1);
/// More numbers at a time than this are not lost but another publisher's.
const JUMP: u64 = 500;
/// Sources and publishers that a track may have had: a takeover is rare, so this is plenty.
const MAX_PAST: usize = 64;

/// What a packet's header says.
#[derive(Debug, Clone, Copy)]
pub struct Headed {
    /// When it was read from the socket.
    pub at: Instant,
    /// Its source.
    pub ssrc: u32,
    /// Its sequence number.
    pub sequence: u16,
    /// Bytes of payload.
    pub bytes: usize,
    /// Its payload ends with padding, and may be nothing else.
    pub padded: bool,
    /// It was asked for, where retransmissions come under their own source and number.
    pub again: bool,
}

/// What a payload says that was opened.
#[derive(Debug, Clone, Copy)]
pub struct Opened {
    /// Its stamp, or why there is none.
    pub stamp: Result<Stamp, StampError>,
    /// It starts a keyframe.
    pub keyframe: bool,
    /// It is padding and nothing else.
    pub padding: bool,
}

/// Whose numbers these are.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    publisher: u64,
    /// The publisher's number of the packet whose index is 0.
    offset: i64,
    /// The index of the packet that said so.
    index: u64,
}

/// Measures one track by headers.
#[derive(Debug)]
pub struct HeaderMeter {
    mid: String,
    kind: Kind,
    joined: Instant,
    ssrc: Option<u32>,
    /// The highest index of this source.
    near: Option<u64>,
    window: IndexWindow,
    anchor: Option<Anchor>,
    remaking: Remaking,
    opened_at: Option<Instant>,
    foreign: bool,
    /// Packets without stamps since the last one with.
    strays: u64,
    /// Packets in the window that are none of this publisher's.
    aside: u64,
    past: Vec<Segment>,
    past_sources: Vec<u32>,
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
}

impl HeaderMeter {
    /// A track of a session that began to join at `joined`.
    pub fn new(mid: String, kind: Kind, joined: Instant) -> Self {
        Self {
            mid,
            kind,
            joined,
            ssrc: None,
            near: None,
            window: IndexWindow::default(),
            anchor: None,
            remaking: Remaking::default(),
            opened_at: None,
            foreign: false,
            strays: 0,
            aside: 0,
            past: Vec::new(),
            past_sources: Vec::new(),
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
        }
    }

    /// Video or audio.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The source that its media comes from.
    pub fn source(&self) -> Option<u32> {
        self.ssrc
    }

    /// No keyframe began yet.
    pub fn wants_keyframe(&self) -> bool {
        self.kind == Kind::Video && self.keyframes == 0
    }

    /// The roll-over counter and number of a packet, as SRTP counts them.
    pub fn srtp_index(&self, ssrc: u32, sequence: u16) -> u64 {
        self.index(ssrc, sequence).saturating_sub(LIFT)
    }

    /// A packet's number without wraps; the first one of a source lies in the second round.
    pub fn index(&self, ssrc: u32, sequence: u16) -> u64 {
        let near = self.near.filter(|_| self.ssrc == Some(ssrc));
        near.map_or(u64::from(sequence) + LIFT, |near| num::extend(near, sequence))
    }

    /// A packet has to be opened, because it may say what is not known yet.
    pub fn wants(&self, packet: &Headed) -> bool {
        let stale = |opened: Instant| packet.at.saturating_duration_since(opened) >= REFRESH;
        let ahead = || self.index(packet.ssrc, packet.sequence).saturating_sub(self.near.unwrap_or(0));
        self.wants_keyframe()
            || self.remaking.may_be()
            || packet.padded
            || self.opened_at.is_none_or(stale)
            || self.ssrc != Some(packet.ssrc)
            || ahead() > JUMP
    }

    /// The wire brought a packet, which was opened or not. Gives the indices that it skipped.
    pub fn on_packet(&mut self, packet: &Headed, opened: Option<&Opened>) -> Range<u64> {
        if self.past_sources.contains(&packet.ssrc) {
            // A straggler of a source that was replaced.
            self.late += 1;
            return 0..0;
        }
        if self.ssrc != Some(packet.ssrc) {
            self.replace_source(packet.ssrc);
        }
        if opened.is_some_and(|opened| self.remaking.begins(&opened.stamp)) {
            self.count_by_numbers();
        }
        let by_numbers = |opened: &Opened| Opened { stamp: Err(StampError::Unstamped), ..*opened };
        let opened = opened.map(|opened| if self.remaking.is_seen() { by_numbers(opened) } else { *opened });
        let opened = opened.as_ref();
        let index = self.index(packet.ssrc, packet.sequence);
        let stamp = opened.and_then(|opened| opened.stamp.ok());
        let another = |anchor: Anchor| stamp.is_some_and(|stamp| stamp.publisher != anchor.publisher);
        if self.anchor.is_some_and(another) && index.saturating_sub(self.near.unwrap_or(index)) > JUMP {
            // It numbers its packets as it likes: what was skipped was never sent.
            self.close_segment();
        }
        let aside = opened.is_some_and(|opened| self.is_aside(opened));
        self.near = Some(self.near.map_or(index, |near| near.max(index)));
        let expected = self.window.last().map_or(index, |last| last + 1);
        let arrival = self.window.insert(index);
        match arrival {
            Arrival::Newest => {}
            Arrival::Late => {
                self.late += 1;
                self.recovered += u64::from(packet.again);
            }
            Arrival::TooOld => self.late += 1,
            Arrival::Duplicate => {
                self.duplicates += 1;
                return 0..0;
            }
        }
        let skipped = if arrival == Arrival::Newest { expected..index } else { 0..0 };
        if aside {
            // A number that the publisher did not give; how those behind it are numbered is seen at the next one.
            self.aside += 1;
            self.opened_at = None;
            if let Some(anchor) = self.anchor.as_mut().filter(|anchor| anchor.index < index) {
                anchor.offset -= 1;
            }
            return skipped;
        }
        self.count(packet.at, packet.bytes);
        if let Some(opened) = opened {
            self.opened_at = Some(packet.at);
            self.look(packet.at, index, opened);
        }
        self.unstamped += u64::from(self.foreign);
        skipped
    }

    /// Packets are the server's own from now on. What was counted by the numbers of others is forgotten.
    fn count_by_numbers(&mut self) {
        (self.window, self.aside, self.anchor) = (IndexWindow::default(), 0, None);
        self.past.clear();
        (self.mismatch, self.first_mismatch, self.unstamped, self.foreign) = (0, None, 0, true);
        (self.late, self.duplicates, self.recovered) = (0, 0, 0);
        self.past_missing_after_keyframe = 0;
        if self.keyframes > 0 {
            self.window.mark(0);
        }
    }

    /// Here begins a publisher's own, behind what has no stamps: of strays nothing is counted.
    fn end_of_others(&mut self, strays: u64) {
        // Not all were looked at.
        if strays.max(self.window.arrived()) < STRAYS {
            (self.window, self.aside) = (IndexWindow::default(), 0);
        } else {
            self.close_segment();
        }
    }

    /// Padding, and a few packets without stamps among a publisher's own, are none of its media; many are another's.
    fn is_aside(&mut self, opened: &Opened) -> bool {
        if opened.padding {
            return true;
        }
        if opened.stamp.is_ok() {
            let strays = std::mem::take(&mut self.strays);
            if std::mem::take(&mut self.foreign) {
                self.end_of_others(strays);
            }
        }
        if opened.stamp != Err(StampError::Unstamped) {
            return false;
        }
        self.strays += 1;
        if self.anchor.is_none() {
            return false;
        }
        if self.strays >= STRAYS {
            self.close_segment();
            return false;
        }
        self.unstamped += 1;
        true
    }

    /// A retransmission brought the packet with this number (RFC 4588). Gives the index that it made good, if it did.
    pub fn on_recovered(&mut self, packet: &Headed, opened: &Opened) -> Option<u64> {
        let near = self.near?;
        let index = num::extend(near, packet.sequence);
        match self.window.insert(index) {
            Arrival::Newest | Arrival::Late => {}
            // A retransmission may cross with what it repeats.
            Arrival::Duplicate => return None,
            Arrival::TooOld => {
                self.late += 1;
                return None;
            }
        }
        self.near = Some(near.max(index));
        self.late += 1;
        self.recovered += 1;
        self.unstamped += u64::from(self.foreign);
        self.count(packet.at, packet.bytes);
        let remade = self.remaking.is_seen();
        let stamp = if remade { Err(StampError::Unstamped) } else { opened.stamp };
        self.look(packet.at, index, &Opened { stamp, ..*opened });
        Some(index)
    }

    /// A packet of this track was not sealed by the server.
    pub fn on_rejected(&mut self) {
        self.rejected += 1;
    }

    fn count(&mut self, at: Instant, bytes: usize) {
        self.bytes += num::len(bytes);
        self.gaps.on_packet(at);
        self.first_packet.get_or_insert(at);
    }

    fn look(&mut self, at: Instant, index: u64, opened: &Opened) {
        let frame = match opened.stamp {
            Ok(stamp) => {
                let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
                let offset = number(stamp.sequence).saturating_sub(number(index));
                let publisher = stamp.publisher;
                // What comes late says how it was numbered then, not how it is now.
                let late = |anchor: Anchor| anchor.publisher == publisher && index < anchor.index;
                if !self.anchor.is_some_and(late) {
                    self.anchor = Some(Anchor { publisher, offset, index });
                }
                (stamp.publisher, stamp.frame)
            }
            Err(StampError::Unstamped) => {
                self.foreign = true;
                (0, num::wrap32(index))
            }
            Err(error) => {
                self.mismatch += 1;
                self.first_mismatch.get_or_insert_with(|| error.to_string());
                if !matches!(error, StampError::Length { .. }) {
                    return;
                }
                (0, num::wrap32(index))
            }
        };
        if !opened.keyframe || self.keyframe_frame == Some(frame) {
            return;
        }
        self.keyframe_frame = Some(frame);
        self.keyframes += 1;
        self.first_keyframe.get_or_insert(at);
        self.keyframe_at.get_or_insert(index);
        self.window.mark(index);
    }

    fn replace_source(&mut self, ssrc: u32) {
        if let Some(before) = self.ssrc.replace(ssrc) {
            if self.past_sources.len() >= MAX_PAST {
                self.past_sources.remove(0);
            }
            self.past_sources.push(before);
            self.close_segment();
            self.near = None;
        }
    }

    fn close_segment(&mut self) {
        if let Some(segment) = self.segment() {
            if self.past.len() >= MAX_PAST {
                self.past.remove(0);
            }
            self.past.push(segment);
        }
        self.past_missing_after_keyframe += self.window.missing_after_mark();
        self.window = IndexWindow::default();
        self.aside = 0;
        self.anchor = None;
        if self.keyframes > 0 {
            self.window.mark(0);
        }
    }

    /// An index as the publisher numbers its packets, or as RTP does where that is not known.
    fn told(&self, index: u64) -> u64 {
        match self.anchor {
            Some(anchor) => index.saturating_add_signed(anchor.offset),
            None => index.saturating_sub(LIFT),
        }
    }

    fn segment(&self) -> Option<Segment> {
        Some(Segment {
            publisher: self.anchor.map_or(0, |anchor| anchor.publisher),
            received: self.window.arrived() - self.aside,
            missing: self.window.missing(),
            first_index: self.told(self.window.first()?),
            last_index: self.told(self.window.last()?),
        })
    }

    /// The longest gap that ended since this was asked, or the one that goes on.
    pub fn take_recent_gap(&mut self, now: Instant) -> Duration {
        self.gaps.take_recent(now)
    }

    /// When the last packet came.
    pub fn last_packet(&self) -> Option<Instant> {
        self.gaps.last()
    }

    /// What was seen so far. There is no latency, and no order beyond that of the numbers.
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
            out_of_order_after_recovery: 0,
            payload_mismatch: self.mismatch,
            first_mismatch: self.first_mismatch.clone(),
            unstamped: self.unstamped,
            rejected: self.rejected,
            keyframes: self.keyframes,
            layers: Default::default(),
            layer_switches: 0,
            first_index: self.window.first().map(|index| self.told(index)),
            last_index: self.window.last().map(|index| self.told(index)),
            first_keyframe_index: self.keyframe_at.map(|index| self.told(index)),
            first_packet: self.first_packet.map(since_join),
            first_keyframe: self.first_keyframe.map(since_join),
            longest_gap: self.gaps.longest(),
            freezes: self.gaps.freezes(),
            frozen: self.gaps.frozen(),
            last_packet: self.gaps.last(),
            latency: Histogram::new(),
            latencies: Summary::default(),
            history: 0,
            segments,
        }
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
