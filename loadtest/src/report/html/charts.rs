//! Which plots a page has.

use crate::num;
use crate::report::plot::{Lines, Mark, Series, Side, Spread, Unit};
use crate::report::{Bars, Happening, Percentiles, RunReport, Second, text};

/// A plot with what it shows.
struct Chart {
    title: &'static str,
    means: &'static str,
    left: Unit,
    right: Option<Unit>,
    fit: bool,
    series: Vec<Series>,
}

/// Takes a value out of every second.
type Pick = fn(&Second) -> Option<f64>;

fn series(seconds: &[Second], name: &'static str, side: Side, pick: Pick) -> Series {
    Series { name, side, values: seconds.iter().map(pick).collect() }
}

/// Of those who watched by WHEP.
fn watched(seconds: &[Second]) -> Vec<Chart> {
    let mut viewers = vec![
        series(seconds, "watching", Side::Left, |second| Some(num::float(second.watching))),
        series(seconds, "joining", Side::Left, |second| Some(num::float(second.joining))),
        series(seconds, "failed", Side::Left, |second| Some(num::float(second.failed))),
        series(seconds, "joins", Side::Columns, |second| {
            (second.seconds > 0.0).then(|| num::float(second.joined) / second.seconds)
        }),
    ];
    // Where nobody leaves, a line along the ground is of no use.
    if seconds.iter().any(|second| second.left > 0) {
        viewers.push(series(seconds, "left", Side::Left, |second| Some(num::float(second.left))));
    }
    vec![
        Chart {
            title: "Viewers",
            means: "How many watched, were joining or had failed; columns: joins a second.",
            left: Unit::Count("viewers"),
            right: Some(Unit::Count("joins/s")),
            fit: false,
            series: viewers,
        },
        Chart {
            title: "Latency",
            means: "From scheduled capture to arrival, of the packets of each second.",
            left: Unit::Millis,
            right: None,
            fit: true,
            series: vec![
                series(seconds, "p50", Side::Left, |second| second.latency_ms.map(|set| set.p50)),
                series(seconds, "p99", Side::Left, |second| second.latency_ms.map(|set| set.p99)),
                series(seconds, "longest", Side::Left, |second| second.latency_ms.map(|set| set.max)),
            ],
        },
        Chart {
            title: "Gaps and freezes",
            means: "The longest that any track stood still; columns: freezes that ended in the second.",
            left: Unit::Millis,
            right: Some(Unit::Count("freezes")),
            fit: false,
            series: vec![
                series(seconds, "longest gap", Side::Left, |second| Some(second.longest_gap_ms)),
                series(seconds, "freezes", Side::Columns, |second| Some(num::float(second.freezes))),
            ],
        },
        Chart {
            title: "First keyframe",
            means: "Of those whose first picture could begin in the second: how long after their join was due.",
            left: Unit::Millis,
            right: None,
            fit: true,
            series: vec![
                series(seconds, "p50", Side::Left, |second| second.first_keyframe_ms.map(|set| set.p50)),
                series(seconds, "p99", Side::Left, |second| second.first_keyframe_ms.map(|set| set.p99)),
            ],
        },
        Chart {
            title: "Bits received",
            means: "Payload of all viewers together; and the packets that were missing.",
            left: Unit::Bits,
            right: Some(Unit::Count("missing")),
            fit: false,
            series: vec![
                series(seconds, "received", Side::Left, |second| Some(num::float(second.bits_per_second))),
                series(seconds, "missing packets", Side::Right, |second| Some(num::float(second.missing))),
            ],
        },
    ]
}

/// Of those who watched by HLS and of those who chatted, where anybody did.
fn beside(seconds: &[Second]) -> Vec<Chart> {
    vec![
        Chart {
            title: "HLS viewers",
            means: "How many played, were joining or had failed; columns: stalls that began in the second.",
            left: Unit::Count("viewers"),
            right: Some(Unit::Count("stalls")),
            fit: false,
            series: vec![
                series(seconds, "playing", Side::Left, |second| Some(num::float(second.hls?.playing))),
                series(seconds, "joining", Side::Left, |second| Some(num::float(second.hls?.joining))),
                series(seconds, "failed", Side::Left, |second| Some(num::float(second.hls?.failed))),
                series(seconds, "stalls", Side::Columns, |second| Some(num::float(second.hls?.stalls))),
            ],
        },
        Chart {
            title: "HLS latency",
            means: "From capture until it was played, of what began to be played in each second.",
            left: Unit::Millis,
            right: None,
            fit: true,
            series: vec![
                series(seconds, "p50", Side::Left, |second| second.hls?.latency_ms.map(|set| set.p50)),
                series(seconds, "p99", Side::Left, |second| second.hls?.latency_ms.map(|set| set.p99)),
            ],
        },
        Chart {
            title: "Chat clients",
            means: "How many were connected or joining; columns: messages that came to them a second.",
            left: Unit::Count("clients"),
            right: Some(Unit::Count("messages/s")),
            fit: false,
            series: vec![
                series(seconds, "connected", Side::Left, |second| Some(num::float(second.chat?.connected))),
                series(seconds, "joining", Side::Left, |second| Some(num::float(second.chat?.joining))),
                series(seconds, "messages", Side::Columns, |second| {
                    let received = num::float(second.chat?.received);
                    (second.seconds > 0.0).then(|| received / second.seconds)
                }),
            ],
        },
        Chart {
            title: "Chat delay",
            means: "From when a message was due to be posted until a client had it, of those of each second.",
            left: Unit::Millis,
            right: None,
            fit: true,
            series: vec![
                series(seconds, "p50", Side::Left, |second| second.chat?.delay_ms.map(|set| set.p50)),
                series(seconds, "p99", Side::Left, |second| second.chat?.delay_ms.map(|set| set.p99)),
            ],
        },
    ]
}

/// Of both sides' machines.
fn machines(seconds: &[Second]) -> Vec<Chart> {
    let server = seconds.iter().any(|second| second.server.is_some());
    let mut cpu = vec![series(seconds, "client", Side::Left, |second| second.client_cores)];
    if server {
        cpu.push(series(seconds, "server", Side::Left, |second| second.server?.cores));
        cpu.push(series(seconds, "server memory", Side::Right, |second| {
            second.server?.resident_bytes.map(num::float)
        }));
    }
    vec![
        Chart {
            title: "CPU and memory",
            means: "Cores’ worth of CPU of the viewers’ process and, where it was named, of the server’s with its memory.",
            left: Unit::Cores,
            right: server.then_some(Unit::Bytes),
            fit: false,
            series: cpu,
        },
        Chart {
            title: "What the server sent",
            means: "By its own count, to viewers; columns: sessions that it took a second.",
            left: Unit::Count("packets/s"),
            right: Some(Unit::Count("joins/s")),
            fit: false,
            series: vec![
                series(seconds, "packets", Side::Left, |second| second.server?.packets_per_second),
                series(seconds, "joins", Side::Columns, |second| second.server?.joins_per_second),
            ],
        },
    ]
}

/// Plots of the timeline, with marks where something was done. `measured` seconds were merged to those given; `whep`:
/// somebody was to watch by WHEP.
pub fn over_time(seconds: &[Second], happenings: &[Happening], measured: usize, whep: bool) -> String {
    if seconds.is_empty() {
        return String::new();
    }
    let ends: Vec<f64> = seconds.iter().map(|second| second.at_s).collect();
    let marks: Vec<Mark> = (1..)
        .zip(happenings)
        .map(|(number, done): (u64, &Happening)| Mark {
            at: done.at_s,
            short: number.to_string(),
            words: done.what.clone(),
            bad: !done.ok,
        })
        .collect();
    let mut section = "<section>\n<h2>Over time</h2>\n".to_owned();
    if measured > seconds.len() {
        let each = measured.div_ceil(seconds.len());
        section.push_str(&format!(
            "<p class=\"note\">Each point stands for about {each} s: of what is bad it shows the worst.</p>\n"
        ));
    }
    if !marks.is_empty() {
        section.push_str("<p class=\"note\">Numbered lines are the events below.</p>\n");
    }
    section.push_str("<div class=\"plots\">\n");
    let watched = if whep { watched(seconds) } else { Vec::new() };
    for chart in watched.into_iter().chain(beside(seconds)).chain(machines(seconds)) {
        let about = format!("{}. {}", chart.title, chart.means);
        let lines = Lines {
            about: &about,
            ends: &ends,
            left: chart.left,
            right: chart.right,
            fit: chart.fit,
            series: chart.series,
            marks: &marks,
        };
        if lines.has_values() {
            section.push_str(&figure(chart.title, chart.means, &lines.legend(), &lines.svg()));
        }
    }
    section.push_str("</div>\n</section>\n");
    section
}

/// Plots of how often values occurred.
pub fn spreads(report: &RunReport) -> String {
    let (figures, join) = (&report.figures, &report.join);
    let all: [(&str, &str, &Bars, Option<Percentiles>); 4] = [
        (
            "How long to the first keyframe",
            "Share of viewers by the time from when their join was due.",
            &figures.first_keyframe,
            join.first_keyframe_ms,
        ),
        (
            "How long to connect",
            "Share of viewers by the time from when their join was due until media could be decrypted.",
            &figures.connected,
            join.connected_ms,
        ),
        (
            "How long packets took",
            "Share of packets by the time from scheduled capture to arrival.",
            &figures.latency,
            report.latency_ms,
        ),
        (
            "How long tracks stood still",
            "Share of tracks by their longest gap.",
            &figures.longest_gap,
            report.longest_gap_ms,
        ),
    ];
    let mut plots = String::new();
    for (title, means, bars, set) in all {
        let mark =
            |at: f64, short: &str| Mark { at, short: short.to_owned(), words: String::new(), bad: false };
        let marks = set.map_or_else(Vec::new, |set| vec![mark(set.p50, "p50"), mark(set.p99, "p99")]);
        let about = format!("{title}. {means}");
        if let Some(svg) = (Spread { about: &about, bars, marks: &marks }).svg() {
            plots.push_str(&figure(title, means, "", &svg));
        }
    }
    if plots.is_empty() {
        return plots;
    }
    format!("<section>\n<h2>How often</h2>\n<div class=\"plots\">\n{plots}</div>\n</section>\n")
}

fn figure(title: &str, means: &str, legend: &str, svg: &str) -> String {
    let (title, means) = (text::escape(title), text::escape(means));
    format!("<figure>\n<figcaption><h3>{title}</h3><p>{means}</p></figcaption>\n{legend}\n{svg}</figure>\n")
}
