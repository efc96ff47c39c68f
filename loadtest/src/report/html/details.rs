//! Tables of everything else.

use std::collections::BTreeMap;

use crate::num;
use crate::report::standing::{mode, others_alone};
use crate::report::{LossReport, Percentiles, RunReport, agents, beside, text};

/// Agents that are shown.
const AGENTS: usize = 100;
/// Reasons that are shown.
const REASONS: usize = 30;
/// Names of processes that are shown.
const PIDS: usize = 16;
/// Characters of the server's URLs that are shown.
const URLS: usize = 300;

/// A row of a name and its value.
pub fn row(name: &str, value: &str) -> String {
    let (name, value) = (text::escape(name), text::escape(value));
    format!("<tr><th scope=\"row\">{name}</th><td class=\"number\">{value}</td></tr>\n")
}

fn table(caption: &str, rows: &[(&str, String)]) -> String {
    let rows: String = rows.iter().map(|(name, value)| row(name, value)).collect();
    format!(
        "<div class=\"card\">\n<table><caption>{}</caption><tbody>\n{rows}</tbody></table>\n</div>\n",
        text::escape(caption)
    )
}

/// Distributions, then counts, then what the run was.
pub fn details(report: &RunReport) -> String {
    let mut section = "<section>\n<h2>Details</h2>\n".to_owned();
    let whep = !others_alone(report);
    if whep {
        section.push_str(&times(report));
    }
    section.push_str("<div class=\"cards\">\n");
    if whep {
        section.push_str(&packets(report));
        section.push_str(&viewers(report));
    }
    section.push_str(&publishers(report));
    for beside in beside::sections(report) {
        let rows: Vec<(&str, String)> =
            beside.rows.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        section.push_str(&table(beside.title, &rows));
    }
    section.push_str(&server(report));
    section.push_str(&agents_of(report));
    section.push_str(&what_it_was(report));
    section.push_str("</div>\n</section>\n");
    section
}

fn times(report: &RunReport) -> String {
    let join = &report.join;
    let sets: [(&str, Option<Percentiles>); 10] = [
        ("Answered after", join.answered_ms),
        ("ICE after", join.ice_ms),
        ("Connected after", join.connected_ms),
        ("First packet after", join.first_packet_ms),
        ("First keyframe after", join.first_keyframe_ms),
        ("Latency", report.latency_ms),
        ("Between sound and picture", report.av_skew_ms),
        ("Longest gap of a track", report.longest_gap_ms),
        ("Away between two sessions", report.viewers.reconnects.away_ms),
        ("Back with a keyframe after", report.viewers.reconnects.first_keyframe_ms),
    ];
    let mut rows = String::new();
    for (name, set) in sets {
        rows.push_str(&format!("<tr><th scope=\"row\">{name}</th>"));
        match set {
            Some(set) => {
                for value in [set.p50, set.p90, set.p99, set.p999, set.max] {
                    rows.push_str(&format!(
                        "<td class=\"number\">{}</td>",
                        text::escape(&text::millis(value))
                    ));
                }
                rows.push_str(&format!("<td class=\"number\">{}</td>", text::count(set.count)));
            }
            None => rows.push_str("<td colspan=\"6\">nothing measured</td>"),
        }
        rows.push_str("</tr>\n");
    }
    let heads: String = ["p50", "p90", "p99", "p99.9", "longest", "values"]
        .iter()
        .map(|head| format!("<th scope=\"col\" class=\"number\">{head}</th>"))
        .collect();
    format!(
        "<div class=\"card scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Times\">\n\
         <table class=\"numbers\"><caption>Times</caption><thead><tr><td></td>{heads}</tr></thead>\n\
         <tbody>\n{rows}</tbody></table>\n</div>\n"
    )
}

fn lost(loss: LossReport) -> String {
    share(loss.lost, loss.loss_percent)
}

fn share(count: u64, percent: Option<f64>) -> String {
    match percent {
        Some(percent) => format!("{} ({})", text::count(count), text::percent(percent)),
        None => text::count(count),
    }
}

fn packets(report: &RunReport) -> String {
    let packets = &report.packets;
    let layered = packets.layers.iter().any(|count| *count > 0);
    let layers = packets.layers.map(text::count).join(", ");
    let layers =
        [("By layer, the largest first", layers), ("Changes of layer", text::count(packets.layer_switches))];
    let counts = [
        ("Expected", text::count(packets.expected)),
        ("Received", text::count(packets.received)),
        ("Lost", share(packets.lost, packets.loss_percent)),
        ("Lost video", lost(packets.video)),
        ("Lost audio", lost(packets.audio)),
        ("Lost before recovery", share(packets.lost_before_recovery, packets.loss_before_recovery_percent)),
        ("Recovered by RTX", text::count(packets.recovered)),
        ("Duplicates", text::count(packets.duplicates)),
        ("Overtaken", text::count(packets.overtaken)),
        ("Out of order", text::count(packets.out_of_order)),
        ("Damaged", text::count(packets.mismatched)),
        ("Rejected", text::count(packets.rejected)),
        ("From history at joining", text::count(packets.history)),
        ("Without stamps", text::count(packets.unstamped)),
        ("Dropped on purpose", text::count(packets.injected_loss)),
    ];
    let all: Vec<_> = counts.into_iter().chain(layers.into_iter().filter(|_| layered)).collect();
    table("Packets of all viewers", &all)
}

fn viewers(report: &RunReport) -> String {
    let viewers = &report.viewers;
    let counts = [
        ("Wanted", text::count(viewers.wanted)),
        ("Connected", text::count(viewers.seated)),
        ("Sessions", text::count(viewers.sessions)),
        ("Failed", text::count(viewers.failed)),
        ("Ended early", text::count(viewers.ended_early)),
        ("With a silent track", text::count(viewers.silent)),
        ("By a TURN server", text::count(viewers.relayed)),
        ("Sessions lost", text::count(viewers.reconnects.lost())),
        ("Back again", text::count(viewers.reconnects.back)),
        ("Not back", text::count(viewers.reconnects.not_back)),
        ("Freezes", text::count(report.freezes)),
        ("Video stood still, all together", text::millis(report.frozen_ms)),
    ];
    let mut tables = table("Viewers", &counts);
    let reconnects = &viewers.reconnects;
    for (caption, found) in [
        ("Why viewers failed or ended", &viewers.reasons),
        ("How often viewers were put off", &viewers.put_off),
        ("Why viewers joined again", &reconnects.reasons),
        ("Why they were not back at once", &reconnects.failed),
    ] {
        tables.push_str(&reasons(caption, found));
    }
    tables
}

/// Reasons with their counts; nothing where there are none.
fn reasons(caption: &str, found: &BTreeMap<String, u64>) -> String {
    if found.is_empty() {
        return String::new();
    }
    let mut reasons: Vec<(&String, &u64)> = found.iter().collect();
    // The most frequent first; those of a kind by name.
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let mut rows: Vec<(&str, String)> =
        reasons.iter().take(REASONS).map(|(reason, count)| (reason.as_str(), text::count(**count))).collect();
    if reasons.len() > REASONS {
        rows.push(("other reasons", text::count(num::len(reasons.len() - REASONS))));
    }
    table(caption, &rows)
}

fn publishers(report: &RunReport) -> String {
    let publishers = &report.publishers;
    if publishers.wanted == 0 {
        return String::new();
    }
    table(
        "Publishers",
        &[
            ("Wanted", text::count(publishers.wanted)),
            ("Ended early", text::count(publishers.ended_early)),
            ("Packets sent", text::count(publishers.packets)),
            ("Payload sent", text::bytes(num::float(publishers.bytes))),
            ("Keyframes sent", text::count(publishers.keyframes)),
            ("Keyframes asked of them", text::count(publishers.keyframe_requests)),
            ("Sent late by at most", text::millis(publishers.worst_lateness_ms)),
        ],
    )
}

fn server(report: &RunReport) -> String {
    let Some(server) = &report.server else { return String::new() };
    let mut pids: Vec<String> = server.pids.iter().take(PIDS).map(u32::to_string).collect();
    if server.pids.len() > PIDS {
        pids.push("…".to_owned());
    }
    let some = |value: Option<f64>, say: fn(f64) -> String| value.map_or(text::UNKNOWN.to_owned(), say);
    let (packet, join) = server.counted();
    let (packet, join) = (format!("CPU for each packet that {packet}"), format!("CPU for each {join}"));
    let mut rows = Vec::new();
    if !pids.is_empty() {
        rows.push(("Processes", pids.join(", ")));
    }
    if !server.metrics.is_empty() {
        rows.push(("Its metrics", text::clip(&server.metrics.join(", "), URLS)));
        rows.push(("Times they could not be read", text::count(server.unread)));
        rows.push(("Packets sent", server.packets.map_or(text::UNKNOWN.to_owned(), text::count)));
        rows.push(("Sent on average", some(server.bits_per_second, text::bits)));
        rows.push(("Sessions taken", server.joins.map_or(text::UNKNOWN.to_owned(), text::count)));
    }
    let micros = some(server.cpu_us_per_packet, |us| format!("{} µs", text::number(us, 2)));
    rows.extend([
        ("CPU on average, cores", some(server.cores, text::cores)),
        ("CPU in the busiest second, cores", some(server.cores_max, text::cores)),
        (packet.as_str(), micros),
        (join.as_str(), some(server.cpu_ms_per_join, text::millis)),
        ("Most memory", some(server.resident_bytes_max.map(num::float), text::bytes)),
        ("Context switches a second", some(server.switches_per_second, |each| text::number(each, 0))),
    ]);
    table("Server", &rows)
}

fn agents_of(report: &RunReport) -> String {
    if report.agents.is_empty() {
        return String::new();
    }
    let rows: Vec<(&str, String)> =
        report.agents.iter().take(AGENTS).map(|agent| (agent.name.as_str(), agents::words(agent))).collect();
    table("Agents", &rows)
}

fn what_it_was(report: &RunReport) -> String {
    let client = &report.client;
    let unknown = || text::UNKNOWN.to_owned();
    let published = report.target.whip.as_deref().unwrap_or("by others");
    table(
        "What this run was",
        &[
            ("Name", report.name.clone()),
            ("First join was due", text::utc(report.started_ms).unwrap_or_else(unknown)),
            ("Measured for", text::clock(report.seconds)),
            ("Stopped by hand", if report.interrupted { "yes" } else { "no" }.to_owned()),
            ("Mode", mode(report).unwrap_or_else(|| "full: every viewer decrypted every packet".to_owned())),
            ("Watched", beside::target(report)),
            ("Published", published.to_owned()),
            ("Client’s threads for viewers", text::count(client.threads)),
            ("Client’s CPU on average, cores", client.cpu_cores.map_or_else(unknown, text::cores)),
            ("Cores of the client’s host", text::count(client.host_cores)),
            ("Datagrams that host dropped", client.socket_drops.map_or_else(unknown, text::count)),
            (
                "Its own timers were late by, p99",
                client.late_ms.map_or_else(unknown, |late| text::millis(late.p99)),
            ),
            ("Seconds in which its threads had no time left", text::count(client.full_seconds)),
            ("Schema of the report", report.schema.to_string()),
        ],
    )
}
