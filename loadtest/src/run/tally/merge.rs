//! Sums of sums: what several processes counted, put together. Exact, histograms included.

use std::collections::BTreeMap;

use super::{Tally, count_many};
use crate::report::{LossReport, PacketReport, ReconnectsReport, ViewersReport};

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
            away,
            back_packet,
            back_keyframe,
            freezes,
            frozen,
            decode,
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
            (&mut self.away, away),
            (&mut self.back_packet, back_packet),
            (&mut self.back_keyframe, back_keyframe),
        ] {
            mine.merge(theirs);
        }
        self.skew_seconds = self.skew_seconds.saturating_add(*skew_seconds);
        self.video_behind_us = self.video_behind_us.saturating_add(*video_behind_us);
        self.bytes = self.bytes.saturating_add(*bytes);
        self.freezes = self.freezes.saturating_add(*freezes);
        self.frozen = self.frozen.saturating_add(*frozen);
        self.decode.merge(decode);
    }
}

fn viewers(mine: &mut ViewersReport, theirs: &ViewersReport) {
    let ViewersReport {
        wanted,
        seated,
        sessions,
        failed,
        ended_early,
        left,
        silent,
        reasons,
        relayed,
        put_off,
        reconnects:
            ReconnectsReport {
                reasons: lost,
                back,
                not_back,
                failed: attempts,
                // They follow from the histograms.
                away_ms: _,
                first_packet_ms: _,
                first_keyframe_ms: _,
            },
    } = theirs;
    for (mine, theirs) in [
        (&mut mine.wanted, wanted),
        (&mut mine.seated, seated),
        (&mut mine.sessions, sessions),
        (&mut mine.failed, failed),
        (&mut mine.ended_early, ended_early),
        (&mut mine.left, left),
        (&mut mine.silent, silent),
        (&mut mine.relayed, relayed),
        (&mut mine.reconnects.back, back),
        (&mut mine.reconnects.not_back, not_back),
    ] {
        *mine = mine.saturating_add(*theirs);
    }
    count(&mut mine.reasons, reasons);
    count(&mut mine.put_off, put_off);
    count(&mut mine.reconnects.reasons, lost);
    count(&mut mine.reconnects.failed, attempts);
}

/// No more kinds apart than one process tells.
fn count(mine: &mut BTreeMap<String, u64>, theirs: &BTreeMap<String, u64>) {
    theirs.iter().for_each(|(what, count)| count_many(mine, what.clone(), *count));
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
        overtaken,
        out_of_order,
        mismatched,
        layers,
        layer_switches,
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
        (&mut mine.overtaken, overtaken),
        (&mut mine.out_of_order, out_of_order),
        (&mut mine.mismatched, mismatched),
        (&mut mine.layer_switches, layer_switches),
        (&mut mine.history, history),
        (&mut mine.unstamped, unstamped),
        (&mut mine.rejected, rejected),
        (&mut mine.injected_loss, injected_loss),
    ] {
        *mine = mine.saturating_add(*theirs);
    }
    mine.layers.iter_mut().zip(layers).for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
    for (mine, theirs) in [(&mut mine.video, video), (&mut mine.audio, audio)] {
        let LossReport { expected, lost, loss_percent: _ } = theirs;
        mine.expected = mine.expected.saturating_add(*expected);
        mine.lost = mine.lost.saturating_add(*lost);
    }
}
