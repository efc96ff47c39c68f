//! A run for human eyes.

use std::fmt::Write;

use super::Progress;
use super::report::{Percentiles, RunReport};
use crate::num;

/// One line while a run goes on.
pub fn progress_line(progress: &Progress) -> String {
    let latency = progress.latency.map_or_else(
        || "no media yet".to_owned(),
        |(p50, p99)| format!("latency p50 {:.1} p99 {:.1} ms", num::millis(p50), num::millis(p99)),
    );
    let cpu = progress.cpu_cores.map_or_else(String::new, |cores| format!(" · client {cores:.2} cores"));
    format!(
        "{:>4.0}/{:.0} s · {} watching, {} joining, {} failed · {} packets/s · {} missing · {latency}{cpu}",
        progress.elapsed.as_secs_f64(),
        progress.total.as_secs_f64(),
        progress.connected,
        progress.waiting,
        progress.failed,
        progress.packets_per_second,
        progress.missing,
    )
}

/// The table after a run.
pub fn table(report: &RunReport) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{name:<22} {value}");
    };
    let (viewers, packets) = (&report.viewers, &report.packets);
    row(
        "target",
        format!(
            "{} → {}",
            report.target.whip.as_deref().unwrap_or("(published by others)"),
            report.target.whep
        ),
    );
    row(
        "measured",
        format!("{:.1} s{}", report.seconds, if report.interrupted { ", interrupted" } else { "" }),
    );
    row(
        "viewers",
        format!(
            "{} of {} connected, {} failed, {} ended early, {} with a silent track",
            viewers.connected, viewers.wanted, viewers.failed, viewers.ended_early, viewers.silent
        ),
    );
    for (reason, count) in &viewers.reasons {
        row("", format!("{count} × {reason}"));
    }
    let published = &report.publishers;
    if published.wanted > 0 {
        row(
            "published",
            format!(
                "{} packets, {} keyframes, {} keyframe requests came, at most {:.1} ms late",
                published.packets,
                published.keyframes,
                published.keyframe_requests,
                published.worst_lateness_ms
            ),
        );
    }
    row(
        "received",
        format!(
            "{} packets, {:.1} Mbit/s in all; {} from history at joining",
            packets.received,
            num::float(packets.bits_per_second) / 1e6,
            packets.history
        ),
    );
    let percent = |value: Option<f64>| value.map_or("none".to_owned(), |value| format!("{value:.4} %"));
    row(
        "lost",
        format!(
            "{} ({}); video {}, audio {}",
            packets.lost,
            percent(packets.loss_percent),
            percent(packets.video.loss_percent),
            percent(packets.audio.loss_percent)
        ),
    );
    row(
        "lost before recovery",
        format!(
            "{} ({}), {} recovered by RTX",
            packets.lost_before_recovery,
            percent(packets.loss_before_recovery_percent),
            packets.recovered
        ),
    );
    row(
        "duplicates",
        format!(
            "{}; out of order {}, damaged {}, rejected {}",
            packets.duplicates, packets.out_of_order, packets.mismatched, packets.rejected
        ),
    );
    if packets.unstamped > 0 {
        row("other media", format!("{} packets without stamps: no latency of them", packets.unstamped));
    }
    row("latency", millis(report.latency_ms.as_ref()));
    row("answered after", millis(report.join.answered_ms.as_ref()));
    row("connected after", millis(report.join.connected_ms.as_ref()));
    row("first packet after", millis(report.join.first_packet_ms.as_ref()));
    row("first keyframe after", millis(report.join.first_keyframe_ms.as_ref()));
    row("longest gap", millis(report.longest_gap_ms.as_ref()));
    let client = &report.client;
    let cpu = client
        .cpu_cores
        .map_or("unknown".to_owned(), |cores| format!("{cores:.2} of {} cores", client.host_cores));
    let drops = client.socket_drops.map_or("unknown".to_owned(), |drops| drops.to_string());
    row(
        "client",
        format!("{cpu} used, {} threads for viewers, {drops} datagrams dropped here", client.threads),
    );
    for doubt in &report.invalid {
        row("INVALID", doubt.clone());
    }
    for verdict in &report.bounds {
        row(if verdict.broken { "BOUND" } else { "bound" }, verdict.to_string());
    }
    text
}

fn millis(set: Option<&Percentiles>) -> String {
    set.map_or("nothing measured".to_owned(), |set| {
        format!(
            "p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1} ms",
            set.p50, set.p90, set.p99, set.p999, set.max
        )
    })
}
