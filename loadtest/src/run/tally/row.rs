//! What one session was to its viewer, in the same figures as the sums.

use std::time::Instant;

use super::{Session, Tally, Truth};
use crate::client::{Depth, SessionState, ViewerReport};
use crate::measure::{Summary, mean_ms};
use crate::num;
use crate::report::ViewerRow;
use crate::run::Seat;

impl Tally {
    /// A session as its viewer saw it; without the truth what is behind its last packet is not known.
    pub fn row(
        seat: Seat,
        start: Instant,
        report: &ViewerReport,
        session: Session,
        truth: Option<&Truth>,
    ) -> ViewerRow {
        // Counted as all are, alone: a row and the sums cannot disagree.
        let mut own = Self::default();
        match truth {
            Some(truth) => own.viewer(report, session, truth),
            None => own.left_behind(report, session),
        }
        let packets = &own.packets;
        let millis = |time: Option<std::time::Duration>| time.map(num::millis);
        let latencies =
            report.tracks.iter().map(|track| track.latencies).fold(Summary::default(), Summary::and);
        let (mean, longest) = latencies.millis().unzip();
        ViewerRow {
            viewer: seat.number.into(),
            room: seat.room.into(),
            due_s: report.joined.saturating_duration_since(start).as_secs_f64(),
            again: matches!(session, Session::Again(_)),
            whole: report.depth == Depth::Whole,
            relayed: report.relayed,
            put_off: num::len(report.put_off.len()),
            answered_ms: millis(report.answered),
            ice_ms: millis(report.ice),
            connected_ms: millis(report.connected),
            first_packet_ms: millis(report.tracks.iter().filter_map(|track| track.first_packet).min()),
            first_keyframe_ms: millis(report.video().and_then(|track| track.first_keyframe)),
            received: packets.received,
            bytes: own.bytes,
            lost: packets.lost,
            lost_before_recovery: packets.lost_before_recovery,
            duplicates: packets.duplicates,
            overtaken: packets.overtaken,
            out_of_order: packets.out_of_order,
            mismatched: packets.mismatched,
            latency_mean_ms: mean,
            latency_max_ms: longest,
            video_behind_ms: mean_ms(report.skew.video_behind_us, report.skew.seconds),
            longest_gap_ms: own.gap.max().map_or(0.0, num::millis),
            freezes: own.freezes,
            frozen_ms: num::millis(own.frozen),
            ended: match &report.state {
                SessionState::Ended(reason) => reason.to_string(),
                _ => String::new(),
            },
        }
    }

    /// Nobody sits at a place; why.
    pub fn empty_row(seat: Seat, why: &str) -> ViewerRow {
        ViewerRow {
            viewer: seat.number.into(),
            room: seat.room.into(),
            due_s: seat.due.as_secs_f64(),
            ended: why.to_owned(),
            ..ViewerRow::default()
        }
    }
}
