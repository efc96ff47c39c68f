//! Viewers of HLS.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::HlsPlan;
use super::address::address;
use crate::hls::{HlsConfig, HlsSeen, HlsViewer};
use crate::measure::Histogram;
use crate::num;
use crate::report::{HlsReport, HlsSecond, Percentiles};

/// The first viewer's own address, on loopback.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 2, 0, 1);

/// All of them.
pub struct HlsCrowd {
    url: String,
    viewers: Vec<HlsViewer>,
    /// What they saw, once the run is over.
    seen: Option<Vec<HlsSeen>>,
    /// Stalls and latency until the last look.
    before: (u64, Histogram),
}

/// Sums over viewers.
#[derive(Default)]
struct Sums {
    report: HlsReport,
    now_playing: u64,
    joining: u64,
    start: Histogram,
    latency: Histogram,
    edge: Histogram,
    fetch: Histogram,
    stall: Histogram,
    unchanged: Histogram,
    stalled: u64,
}

impl HlsCrowd {
    /// They come as they are due. Must be called inside a runtime.
    pub fn come(plan: &HlsPlan, start: Instant) -> Self {
        let viewer = |(number, due): (u32, &Duration)| {
            let url = plan.url_of(number);
            let local = plan.bind.or_else(|| address(&url, FIRST, number));
            HlsViewer::start(HlsConfig {
                url,
                token: plan.token.clone(),
                gate: plan.gate.clone(),
                trust: plan.trust.clone(),
                http_timeout: plan.http_timeout,
                retry_for: plan.retry_for,
                local,
                due: start + *due,
            })
        };
        let viewers = (0..).zip(&plan.due).map(viewer).collect();
        Self { url: plan.url.clone(), viewers, seen: None, before: Default::default() }
    }

    /// Looks at all players a last time; they go.
    pub fn close(&mut self) {
        self.seen = Some(self.look());
        self.viewers.clear();
    }

    fn look(&self) -> Vec<HlsSeen> {
        self.viewers.iter().map(HlsViewer::seen).collect()
    }

    fn sums(&self) -> Sums {
        match &self.seen {
            Some(seen) => sums(seen),
            None => sums(&self.look()),
        }
    }

    /// How they are, and what was played since the last look.
    pub fn second(&mut self) -> HlsSecond {
        let Sums { report, now_playing, joining, latency, .. } = self.sums();
        let (stalls, before) = std::mem::replace(&mut self.before, (report.stalls, latency));
        HlsSecond {
            playing: now_playing,
            joining,
            failed: report.failed,
            stalls: report.stalls.saturating_sub(stalls),
            latency_ms: Percentiles::of(&self.before.1.since(&before)),
        }
    }

    /// How they are, in a few words.
    pub fn words(&self) -> String {
        let Sums { report, now_playing, joining, latency, .. } = self.sums();
        let latency = latency
            .quantile(0.5)
            .map_or(String::new(), |half| format!(", latency p50 {:.2} s", half.as_secs_f64()));
        let (failed, stalls) = (report.failed, report.stalls);
        format!("HLS {now_playing} playing, {joining} joining, {failed} failed, {stalls} stalls{latency}")
    }

    /// What they saw, over so long a run.
    pub fn report(&self, elapsed: Duration) -> HlsReport {
        let sums = self.sums();
        let mut report = sums.report;
        report.url.clone_from(&self.url);
        // Who came and has not played when the run is over has failed, too.
        report.failed += sums.joining;
        report.stalled_ms = num::millis(Duration::from_micros(sums.stalled));
        report.longest_stall_ms = Percentiles::of(&sums.stall);
        report.start_ms = Percentiles::of(&sums.start);
        report.latency_ms = Percentiles::of(&sums.latency);
        report.edge_ms = Percentiles::of(&sums.edge);
        report.fetch_ms = Percentiles::of(&sums.fetch);
        report.unchanged_ms = Percentiles::of(&sums.unchanged);
        report.bits_per_second =
            num::count(num::float(report.bytes) * 8.0 / elapsed.as_secs_f64().max(0.001));
        report
    }
}

fn add(all: &mut BTreeMap<String, u64>, more: &BTreeMap<String, u64>) {
    for (kind, count) in more {
        *all.entry(kind.clone()).or_default() += count;
    }
}

fn sums(seen: &[HlsSeen]) -> Sums {
    let mut sums = Sums::default();
    sums.report.wanted = num::len(seen.len());
    for one in seen {
        let (report, counts) = (&mut sums.report, &one.player.counts);
        report.failed += u64::from(one.failed && one.start.is_none());
        sums.joining += u64::from(one.joining);
        if one.start.is_none() && (one.failed || one.joining) {
            let reason = one.trouble.clone().unwrap_or_else(|| "nothing to play came".to_owned());
            *report.reasons.entry(reason).or_default() += 1;
        }
        report.playlists += counts.playlists;
        report.unchanged += counts.unchanged;
        report.segments += counts.segments;
        report.parts += counts.parts;
        report.missing += counts.missing;
        report.gaps += counts.gaps;
        report.hints_wasted += counts.hints_wasted;
        report.jumps += counts.jumps;
        report.bytes += one.bytes;
        report.retries_obeyed += one.obeyed;
        report.stalls += one.player.stalls;
        add(&mut report.errors, &one.errors);
        sums.stalled += one.player.stalled;
        sums.now_playing += u64::from(one.player.playing);
        sums.edge.merge(&counts.edge);
        sums.fetch.merge(&one.fetch);
        sums.latency.merge(&one.player.latency);
        if let Some(start) = one.start {
            report.played += 1;
            sums.start.record(start);
            sums.stall.record_micros(one.player.longest_stall);
            sums.unchanged.record_micros(counts.longest_unchanged);
        }
    }
    sums
}
