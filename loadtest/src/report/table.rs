//! A run for human eyes, in a terminal.

use std::fmt::Write;

use super::standing::{mode, others_alone};
use super::{Percentiles, RunReport, ServerReport, agents, beside};
use crate::num;

/// The table after a run.
pub fn table(report: &RunReport) -> String {
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{name:<22} {value}");
    };
    row(
        "target",
        format!(
            "{} → {}",
            report.target.whip.as_deref().unwrap_or("(published by others)"),
            beside::target(report)
        ),
    );
    row(
        "measured",
        format!("{:.1} s{}", report.seconds, if report.interrupted { ", interrupted" } else { "" }),
    );
    if !others_alone(report) {
        watched(report, &mut row);
    }
    for section in beside::sections(report) {
        row(section.title, section.sentence);
        section.rows.into_iter().for_each(|(name, value)| row(&format!("  {name}"), value));
    }
    for done in &report.happenings {
        let word = if done.ok { "" } else { "NOT DONE: " };
        row("event", format!("{:.1} s: {word}{} {}", done.at_s, done.what, done.said).trim_end().to_owned());
    }
    if let Some(server) = &report.server {
        for line in self::server(server) {
            row("server", line);
        }
    }
    let client = &report.client;
    let cpu = client
        .cpu_cores
        .map_or("unknown".to_owned(), |cores| format!("{cores:.2} of {} cores", client.host_cores));
    let drops = client.socket_drops.map_or("unknown".to_owned(), |drops| drops.to_string());
    row(
        "client",
        format!("{cpu} used, {} threads for viewers, {drops} datagrams dropped here", client.threads),
    );
    if let Some(late) = &client.late_ms {
        row(
            "client's own timers",
            format!("late by {}; no time left in {} seconds", millis(Some(late)), client.full_seconds),
        );
    }
    for agent in &report.agents {
        row("agent", agents::line(agent));
    }
    for doubt in &report.invalid {
        row("INVALID", doubt.clone());
    }
    for verdict in &report.bounds {
        let well = !verdict.broken && !verdict.not_measured;
        row(if well { "bound" } else { "BOUND" }, verdict.to_string());
    }
    text
}

/// What viewers by WHEP saw.
fn watched(report: &RunReport, row: &mut impl FnMut(&str, String)) {
    row("mode", mode(report).unwrap_or_else(|| "full: every viewer decrypted every packet".to_owned()));
    let (viewers, packets) = (&report.viewers, &report.packets);
    row(
        "viewers",
        format!(
            "{} of {} connected, {} failed, {} left; {} sessions, {} ended early, {} with a silent track",
            viewers.seated,
            viewers.wanted,
            viewers.failed,
            viewers.left,
            viewers.sessions,
            viewers.ended_early,
            viewers.silent
        ),
    );
    for (reason, count) in &viewers.reasons {
        row("", format!("{count} × {reason}"));
    }
    if viewers.relayed > 0 {
        row("by TURN", format!("{} sessions", viewers.relayed));
    }
    for (status, count) in &viewers.put_off {
        row("put off", format!("{count} × {status}"));
    }
    let reconnects = &viewers.reconnects;
    if reconnects.lost() > 0 {
        let away = millis(reconnects.away_ms.as_ref());
        let (lost, back, not_back) = (reconnects.lost(), reconnects.back, reconnects.not_back);
        row("reconnects", format!("{lost} lost, {back} back, {not_back} not back; away {away}"));
        row("  first keyframe after", millis(reconnects.first_keyframe_ms.as_ref()));
        for (reason, count) in &reconnects.reasons {
            row("", format!("{count} × {reason}"));
        }
        for (reason, count) in &reconnects.failed {
            row("", format!("{count} × not back yet: {reason}"));
        }
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
            "{} ({}), {} recovered",
            packets.lost_before_recovery,
            percent(packets.loss_before_recovery_percent),
            packets.recovered
        ),
    );
    row(
        "duplicates",
        format!(
            "{}; overtaken {}, out of order {}, damaged {}, rejected {}",
            packets.duplicates, packets.overtaken, packets.out_of_order, packets.mismatched, packets.rejected
        ),
    );
    if packets.layers.iter().any(|count| *count > 0) {
        let [first, second, third] = packets.layers;
        row(
            "layers",
            format!(
                "{first}, {second}, {third} packets, the largest first; {} changes",
                packets.layer_switches
            ),
        );
    }
    if packets.unstamped > 0 {
        row("other media", format!("{} packets without stamps: no latency of them", packets.unstamped));
    }
    row("latency", millis(report.latency_ms.as_ref()));
    row("sound to picture", skew(report));
    row("answered after", millis(report.join.answered_ms.as_ref()));
    row("connected after", millis(report.join.connected_ms.as_ref()));
    row("first packet after", millis(report.join.first_packet_ms.as_ref()));
    row("first keyframe after", millis(report.join.first_keyframe_ms.as_ref()));
    row("longest gap", millis(report.longest_gap_ms.as_ref()));
    row(
        "freezes",
        format!("{} of more than 200 ms in video, {:.1} s in all", report.freezes, report.frozen_ms / 1e3),
    );
}

/// How far sound and picture are apart, and which of them is behind.
fn skew(report: &RunReport) -> String {
    let (Some(set), Some(behind)) = (&report.av_skew_ms, report.video_behind_ms) else {
        return "nothing measured".to_owned();
    };
    let who = if behind < 0.0 { "sound" } else { "picture" };
    format!(
        "p50 {:.1}  p99 {:.1}  max {:.1} ms, the {who} {:.1} ms behind on average",
        set.p50,
        set.p99,
        set.max,
        behind.abs()
    )
}

/// What is known of the server.
fn server(server: &ServerReport) -> Vec<String> {
    let mut used = vec![server.cores.map_or("CPU unknown".to_owned(), |cores| format!("{cores:.2} cores"))];
    used.extend(server.cores_max.map(|most| format!("{most:.2} in the busiest second")));
    used.extend(server.resident_bytes_max.map(|bytes| format!("{} MiB at most", bytes >> 20)));
    used.extend(server.switches_per_second.map(|each| format!("{each:.0} context switches a second")));
    let (packet, join) = server.counted();
    let mut each = Vec::new();
    each.extend(
        server.cpu_us_per_packet.map(|us| format!("{us:.2} µs of CPU for each packet that {packet}")),
    );
    each.extend(server.cpu_ms_per_join.map(|ms| format!("{ms:.2} ms for each {join}")));
    let mut did = Vec::new();
    did.extend(server.packets.map(|packets| format!("{packets} packets sent")));
    did.extend(server.bits_per_second.map(|bits| format!("{:.1} Mbit/s", bits / 1e6)));
    did.extend(server.joins.map(|joins| format!("{joins} sessions taken")));
    if server.unread > 0 {
        did.push(format!("its metrics could not be read {} times", server.unread));
    }
    [used, each, did].iter().filter(|parts| !parts.is_empty()).map(|parts| parts.join(", ")).collect()
}

fn millis(set: Option<&Percentiles>) -> String {
    set.map_or("nothing measured".to_owned(), |set| {
        format!(
            "p50 {:.1}  p90 {:.1}  p99 {:.1}  p99.9 {:.1}  max {:.1} ms",
            set.p50, set.p90, set.p99, set.p999, set.max
        )
    })
}
