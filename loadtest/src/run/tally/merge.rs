//! Sums of sums: what several processes counted, put together. Exact, histograms included.

use super::Tally;
use crate::report::{LossReport, PacketReport, ViewersReport};

impl Tally {
    /// Adds what another process counted.
    pub fn merge(&mut self, other: &Self) {
        // Every field is named, so that a new one cannot be forgotten.
        let Self {
            viewers: theirs,
            whole,
            packets,
            latency,
            skew,
            skew_seconds,
            video_behind_us,
            bytes,
            answered,
            ice,
            connected,
            first_packet,
            first_keyframe,
            gap,
            freezes,
            frozen,
        } = other;
        viewers(&mut self.viewers, theirs);
        self.whole = self.whole.saturating_add(*whole);
        add(&mut self.packets, packets);
        for (mine, theirs) in [
            (&mut self.latency, latency),
            (&mut self.skew, skew),
            (&mut self.answered, answered),
            (&mut self.ice, ice),
            (&mut self.connected, connected),
            (&mut self.first_packet, first_packet),
            (&mut self.first_keyframe, first_keyframe),
            (&mut self.gap, gap),
        ] {
            mine.merge(theirs);
        }
        self.skew_seconds = self.skew_seconds.saturating_add(*skew_seconds);
        self.video_behind_us = self.video_behind_us.saturating_add(*video_behind_us);
        self.bytes = self.bytes.saturating_add(*bytes);
        self.freezes = self.freezes.saturating_add(*freezes);
        self.frozen = self.frozen.saturating_add(*frozen);
    }
}

fn viewers(mine: &mut ViewersReport, theirs: &ViewersReport) {
    let ViewersReport { wanted, connected, failed, ended_early, left, silent, reasons } = theirs;
    for (mine, theirs) in [
        (&mut mine.wanted, wanted),
        (&mut mine.connected, connected),
        (&mut mine.failed, failed),
        (&mut mine.ended_early, ended_early),
        (&mut mine.left, left),
        (&mut mine.silent, silent),
    ] {
        *mine = mine.saturating_add(*theirs);
    }
    for (reason, count) in reasons {
        let mine = mine.reasons.entry(reason.clone()).or_default();
        *mine = mine.saturating_add(*count);
    }
}

/// Rates and percentages follow from these, when all is there.
fn add(mine: &mut PacketReport, theirs: &PacketReport) {
    let PacketReport {
        expected,
        received,
        lost,
        loss_percent: _,
        video,
        audio,
        lost_before_recovery,
        loss_before_recovery_percent: _,
        recovered,
        duplicates,
        out_of_order,
        mismatched,
        history,
        unstamped,
        rejected,
        injected_loss,
        bits_per_second: _,
    } = theirs;
    for (mine, theirs) in [
        (&mut mine.expected, expected),
        (&mut mine.received, received),
        (&mut mine.lost, lost),
        (&mut mine.lost_before_recovery, lost_before_recovery),
        (&mut mine.recovered, recovered),
        (&mut mine.duplicates, duplicates),
        (&mut mine.out_of_order, out_of_order),
        (&mut mine.mismatched, mismatched),
        (&mut mine.history, history),
        (&mut mine.unstamped, unstamped),
        (&mut mine.rejected, rejected),
        (&mut mine.injected_loss, injected_loss),
    ] {
        *mine = mine.saturating_add(*theirs);
    }
    for (mine, theirs) in [(&mut mine.video, video), (&mut mine.audio, audio)] {
        let LossReport { expected, lost, loss_percent: _ } = theirs;
        mine.expected = mine.expected.saturating_add(*expected);
        mine.lost = mine.lost.saturating_add(*lost);
    }
}
