//! From what each viewer and publisher saw to one report.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::Sums;
use crate::client::{Depth, PublisherStats, SessionState, ViewerReport, kind};
use crate::measure::{FREEZE, Histogram, TrackReport, mean_ms};
use crate::media::Kind;
use crate::num;
use crate::report::{
    Bars, DecodeReport, Figures, JoinReport, PacketReport, Percentiles, PublishersReport, ViewersReport,
};

mod merge;
mod row;

/// What publishers did, by their number.
#[derive(Debug)]
pub(crate) struct Truth {
    /// What they sent.
    pub sent: HashMap<u64, PublisherStats>,
    /// Those whose session ended before the run did: what they should have sent since is not in `sent`.
    pub ended: HashSet<u64>,
    /// Until then media was due.
    pub until: Instant,
}

impl Truth {
    /// Nothing is known of publishers, and media is due until now.
    pub fn unknown() -> Self {
        Self { sent: HashMap::new(), ended: HashSet::new(), until: Instant::now() }
    }

    /// The last packet that a track should have, and when it was due.
    fn last(&self, track: &TrackReport) -> (Option<u64>, Instant) {
        let Some(publisher) = track.segments.last().map(|segment| segment.publisher) else {
            return (None, self.until);
        };
        let sent = self.sent.get(&publisher).map(|stats| stats.track(track.kind));
        let due = sent.and_then(|sent| sent.last_due).filter(|_| !self.ended.contains(&publisher));
        (sent.and_then(|sent| sent.last_index), due.unwrap_or(self.until))
    }
}

/// What a session was to its viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Session {
    /// Its first.
    First,
    /// It lost one before, and had seen nothing since then.
    Again(Instant),
}

impl Session {
    /// Since when who has it has seen nothing, if it now loses a session whose last packet came then.
    pub fn lost(self, last: Option<Instant>) -> Option<Instant> {
        match self {
            Self::First => last,
            // By a session of which nothing came nobody was back.
            Self::Again(since) => last.or(Some(since)),
        }
    }
}

/// Reasons that are counted apart; a server that has more has them in its own words.
const REASONS: usize = 32;
/// What all others are counted as.
const OTHERS: &str = "other reasons";

/// Counts a reason among others.
pub(super) fn count(reasons: &mut BTreeMap<String, u64>, reason: String) {
    count_many(reasons, reason, 1);
}

fn count_many(reasons: &mut BTreeMap<String, u64>, reason: String, times: u64) {
    let known = reasons.len() < REASONS || reasons.contains_key(&reason);
    let sum = reasons.entry(if known { reason } else { OTHERS.to_owned() }).or_default();
    *sum = sum.saturating_add(times);
}

/// Sums over viewers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tally {
    pub viewers: ViewersReport,
    /// Of those that connected.
    pub whole: u64,
    pub packets: PacketReport,
    pub latency: Histogram,
    pub skew: Histogram,
    skew_seconds: u64,
    video_behind_us: i64,
    pub bytes: u64,
    answered: Histogram,
    ice: Histogram,
    connected: Histogram,
    first_packet: Histogram,
    pub first_keyframe: Histogram,
    gap: Histogram,
    away: Histogram,
    back_packet: Histogram,
    back_keyframe: Histogram,
    pub freezes: u64,
    frozen: Duration,
    pub decode: DecodeReport,
}

impl Tally {
    /// A viewer that could not connect.
    pub fn failed(&mut self, class: String) {
        self.viewers.failed += 1;
        count(&mut self.viewers.reasons, class);
    }

    /// A viewer that lost its session and is to come back.
    pub fn lost(&mut self, reason: String) {
        count(&mut self.viewers.reconnects.reasons, kind(&reason));
    }

    /// It tried, and is not back yet.
    pub fn in_vain(&mut self, class: String) {
        count(&mut self.viewers.reconnects.failed, class);
    }

    /// Somebody sits at a place where nobody did before.
    pub fn seated(&mut self) {
        self.viewers.seated += 1;
    }

    /// Its stay or the run is over, and it has seen nothing for so long since it lost its session.
    pub fn not_back(&mut self, away: Duration, why: &str) {
        self.failed(format!("not back: {why}"));
        self.viewers.reconnects.not_back += 1;
        self.away.record(away);
    }

    /// What it missed in that time, which no session tells of.
    pub fn missed(&mut self, away: Duration, video: bool) {
        self.gap.record(away);
        if video {
            self.freeze(away);
        }
    }

    fn freeze(&mut self, gap: Duration) {
        if gap > FREEZE {
            self.freezes += 1;
            self.frozen += gap;
        }
    }

    /// The session that a viewer has, or had to the end of its stay.
    pub fn viewer(&mut self, report: &ViewerReport, session: Session, truth: &Truth) {
        self.session(report, session);
        report.tracks.iter().for_each(|track| self.track(track, session, Some(truth)));
    }

    /// A session that its viewer lost, and is to follow by another: the silence behind it is told with that one.
    pub fn left_behind(&mut self, report: &ViewerReport, session: Session) {
        self.session(report, session);
        report.tracks.iter().for_each(|track| self.track(track, session, None));
    }

    fn session(&mut self, report: &ViewerReport, session: Session) {
        self.viewers.sessions += 1;
        self.whole += u64::from(report.depth == Depth::Whole);
        if let SessionState::Ended(reason) = &report.state {
            self.viewers.ended_early += 1;
            count(&mut self.viewers.reasons, kind(&format!("ended: {reason}")));
        }
        if let Some(seen) = &report.decoded {
            self.decode.merge(&DecodeReport {
                sessions: 1,
                handed: seen.handed,
                decoded: seen.decoded,
                missing: seen.missing(),
                broken: seen.broken,
                errors: seen.errors,
                first_error: seen.first_error.clone(),
                dropped: seen.dropped,
            });
        }
        self.viewers.relayed += u64::from(report.relayed);
        for status in &report.put_off {
            *self.viewers.put_off.entry(format!("HTTP {status}")).or_default() += 1;
        }
        self.viewers.silent += u64::from(report.tracks.iter().any(|track| track.received == 0));
        self.packets.injected_loss += report.injected_loss + report.injected_rtx_loss;
        self.packets.rejected += report.unmapped;
        let first_packet = report.tracks.iter().filter_map(|track| track.first_packet).min();
        let first_keyframe = report.video().and_then(|track| track.first_keyframe);
        let times = match session {
            Session::First => vec![
                (&mut self.answered, report.answered),
                (&mut self.ice, report.ice),
                (&mut self.connected, report.connected),
                (&mut self.first_packet, first_packet),
                (&mut self.first_keyframe, first_keyframe),
            ],
            // Times of a session count from when it was due: since its viewer has seen nothing.
            Session::Again(_) => {
                self.viewers.reconnects.back += u64::from(first_packet.is_some());
                vec![
                    (&mut self.away, first_packet),
                    (&mut self.back_packet, first_packet),
                    (&mut self.back_keyframe, first_keyframe),
                ]
            }
        };
        for (histogram, value) in times {
            value.into_iter().for_each(|value| histogram.record(value));
        }
        self.skew.merge(&report.skew.apart);
        self.skew_seconds += report.skew.seconds;
        self.video_behind_us = self.video_behind_us.saturating_add(report.skew.video_behind_us);
    }

    fn track(&mut self, track: &TrackReport, session: Session, truth: Option<&Truth>) {
        if track.received == 0 {
            return;
        }
        // What the publisher sent behind the last packet that came is lost too.
        let (last_sent, due) = truth.map_or((None, None), |truth| {
            let (last_sent, due) = truth.last(track);
            (last_sent, Some(due))
        });
        let lost = last_sent.map_or(track.missing, |last| track.missing_up_to(last));
        let packets = &mut self.packets;
        packets.received += track.received;
        packets.lost += lost;
        packets.expected += track.received + lost;
        let kind = match track.kind {
            Kind::Video => &mut packets.video,
            Kind::Audio => &mut packets.audio,
        };
        kind.lost += lost;
        kind.expected += track.received + lost;
        packets.recovered += track.recovered_by_rtx;
        packets.lost_before_recovery += track.recovered_by_rtx + lost;
        packets.duplicates += track.duplicates;
        // A retransmission comes behind its time, too, and is counted as what it is.
        packets.overtaken += track.late.saturating_sub(track.recovered_by_rtx);
        packets.out_of_order += track.out_of_order_after_recovery;
        packets.mismatched += track.payload_mismatch;
        packets.unstamped += track.unstamped;
        packets.layers.iter_mut().zip(track.layers).for_each(|(sum, of)| *sum += of);
        packets.layer_switches += track.layer_switches;
        packets.history += track.history;
        packets.rejected += track.rejected;
        self.bytes += track.bytes;
        self.latency.merge(&track.latency);
        // Silence before a session that replaces another, and at the end of one that nothing follows, is a gap, too.
        let before = track.first_packet.filter(|_| matches!(session, Session::Again(_)));
        let longest = due.map_or(track.longest_gap, |due| track.longest_gap_until(due));
        self.gap.record(longest.max(before.unwrap_or_default()));
        if track.kind == Kind::Video {
            self.freezes += track.freezes;
            self.frozen += track.frozen;
            let after = track.last_packet.zip(due).map(|(last, due)| due.saturating_duration_since(last));
            [before, after].into_iter().flatten().for_each(|silence| self.freeze(silence));
        }
    }

    /// What is told while the run goes on.
    pub fn sums(&self) -> Sums {
        Sums {
            joins: self.viewers.sessions,
            reasons: self.viewers.reasons.clone(),
            bytes: self.bytes,
            recovered: self.packets.recovered,
            latency: self.latency.clone(),
            skew: self.skew.clone(),
            connected: self.connected.clone(),
            first_keyframe: self.first_keyframe.clone(),
        }
    }

    /// Percentages and rates; `elapsed` is the time over which packets came.
    pub fn finish(mut self, elapsed: Duration) -> Finished {
        let reconnects = &mut self.viewers.reconnects;
        reconnects.away_ms = Percentiles::of(&self.away);
        reconnects.first_packet_ms = Percentiles::of(&self.back_packet);
        reconnects.first_keyframe_ms = Percentiles::of(&self.back_keyframe);
        let packets = &mut self.packets;
        let percent = |part: u64, of: u64| (of > 0).then(|| num::float(part) * 100.0 / num::float(of));
        packets.loss_percent = percent(packets.lost, packets.expected);
        for kind in [&mut packets.video, &mut packets.audio] {
            kind.loss_percent = percent(kind.lost, kind.expected);
        }
        packets.loss_before_recovery_percent = percent(packets.lost_before_recovery, packets.expected);
        packets.bits_per_second = num::count(num::float(self.bytes) * 8.0 / elapsed.as_secs_f64().max(0.001));
        Finished {
            viewers: self.viewers,
            packets: self.packets,
            latency: Percentiles::of(&self.latency),
            skew: Percentiles::of(&self.skew),
            video_behind_ms: mean_ms(self.video_behind_us, self.skew_seconds),
            join: JoinReport {
                answered_ms: Percentiles::of(&self.answered),
                ice_ms: Percentiles::of(&self.ice),
                connected_ms: Percentiles::of(&self.connected),
                first_packet_ms: Percentiles::of(&self.first_packet),
                first_keyframe_ms: Percentiles::of(&self.first_keyframe),
            },
            longest_gap: Percentiles::of(&self.gap),
            freezes: self.freezes,
            frozen: self.frozen,
            figures: Figures {
                latency: bars(&self.latency),
                connected: bars(&self.connected),
                first_keyframe: bars(&self.first_keyframe),
                longest_gap: bars(&self.gap),
            },
        }
    }
}

/// A tally that is complete.
#[derive(Debug)]
pub(crate) struct Finished {
    pub viewers: ViewersReport,
    pub packets: PacketReport,
    pub latency: Option<Percentiles>,
    pub skew: Option<Percentiles>,
    pub video_behind_ms: Option<f64>,
    pub join: JoinReport,
    pub longest_gap: Option<Percentiles>,
    pub freezes: u64,
    pub frozen: Duration,
    pub figures: Figures,
}

fn bars(histogram: &Histogram) -> Bars {
    let (ends, counts): (Vec<Duration>, Vec<u64>) = histogram.steps().unzip();
    Bars { upper_ms: ends.into_iter().map(num::millis).collect(), counts }
}

/// Sums over publishers.
pub(super) fn publishers(wanted: u32, truth: &Truth) -> PublishersReport {
    let ended_early = num::len(truth.ended.len());
    let mut report = PublishersReport { wanted: wanted.into(), ended_early, ..PublishersReport::default() };
    for stats in truth.sent.values() {
        for track in [&stats.video, &stats.audio] {
            report.packets += track.packets;
            report.bytes += track.bytes;
        }
        report.keyframes += stats.video.keyframes;
        report.keyframe_requests += stats.keyframe_requests;
        report.worst_lateness_ms = report.worst_lateness_ms.max(num::millis(stats.worst_lateness));
    }
    report
}

#[cfg(test)]
#[path = "tally_tests.rs"]
mod tests;
