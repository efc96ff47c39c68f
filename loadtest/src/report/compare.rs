//! Two runs side by side.

use serde::Serialize;

use super::{Percentiles, RunReport, SCHEMA, text};
use crate::num;

/// Two runs of one plan differ by as much, beside the 0.1 % of their histograms' steps.
const STEP: f64 = 0.02;
/// What a host does beside a run moves its CPU and memory by as much.
const HOST: f64 = 0.05;
/// Publishers' bit rate and the length of a run differ by as much between two runs of one plan.
const SHAPE: f64 = 0.15;
/// Longest list of happenings that is compared.
const HAPPENINGS: usize = 100;

/// Which way a figure should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Good {
    Less,
    More,
    /// It says what the run was rather than how good.
    Neither,
}

/// What is compared.
struct Figure {
    name: &'static str,
    unit: &'static str,
    good: Good,
    /// Values that differ by no more than this share are the same.
    slack: f64,
    get: fn(&RunReport) -> Option<f64>,
}

const fn figure(
    name: &'static str,
    unit: &'static str,
    good: Good,
    slack: f64,
    get: fn(&RunReport) -> Option<f64>,
) -> Figure {
    Figure { name, unit, good, slack, get }
}

fn of(set: Option<Percentiles>, pick: fn(&Percentiles) -> f64) -> Option<f64> {
    set.map(|set| pick(&set))
}

fn whole(value: u64) -> Option<f64> {
    Some(num::float(value))
}

const FIGURES: &[Figure] = &[
    figure("viewers connected", "viewers", Good::More, 0.0, |run| whole(run.viewers.seated)),
    figure("viewers failed", "viewers", Good::Less, 0.0, |run| whole(run.viewers.failed)),
    figure("viewers ended early", "viewers", Good::Less, 0.0, |run| whole(run.viewers.ended_early)),
    figure("viewers not back", "viewers", Good::Less, 0.0, |run| whole(run.viewers.reconnects.not_back)),
    figure("away longest", "ms", Good::Less, STEP, |run| of(run.viewers.reconnects.away_ms, |set| set.max)),
    figure("viewers with a silent track", "viewers", Good::Less, 0.0, |run| whole(run.viewers.silent)),
    figure("loss after recovery", "%", Good::Less, 0.0, |run| run.packets.loss_percent),
    figure("video loss", "%", Good::Less, 0.0, |run| run.packets.video.loss_percent),
    figure("audio loss", "%", Good::Less, 0.0, |run| run.packets.audio.loss_percent),
    figure("loss before recovery", "%", Good::Neither, 0.0, |run| run.packets.loss_before_recovery_percent),
    figure("latency p50", "ms", Good::Less, STEP, |run| of(run.latency_ms, |set| set.p50)),
    figure("latency p90", "ms", Good::Less, STEP, |run| of(run.latency_ms, |set| set.p90)),
    figure("latency p99", "ms", Good::Less, STEP, |run| of(run.latency_ms, |set| set.p99)),
    figure("latency p99.9", "ms", Good::Less, STEP, |run| of(run.latency_ms, |set| set.p999)),
    figure("latency longest", "ms", Good::Less, STEP, |run| of(run.latency_ms, |set| set.max)),
    figure("connected after p50", "ms", Good::Less, STEP, |run| of(run.join.connected_ms, |set| set.p50)),
    figure("connected after p99", "ms", Good::Less, STEP, |run| of(run.join.connected_ms, |set| set.p99)),
    figure("first keyframe after p50", "ms", Good::Less, STEP, |run| {
        of(run.join.first_keyframe_ms, |set| set.p50)
    }),
    figure("first keyframe after p99", "ms", Good::Less, STEP, |run| {
        of(run.join.first_keyframe_ms, |set| set.p99)
    }),
    figure("longest gap p50", "ms", Good::Less, STEP, |run| of(run.longest_gap_ms, |set| set.p50)),
    figure("longest gap p99", "ms", Good::Less, STEP, |run| of(run.longest_gap_ms, |set| set.p99)),
    figure("longest gap", "ms", Good::Less, STEP, |run| of(run.longest_gap_ms, |set| set.max)),
    figure("sound to picture p99", "ms", Good::Less, STEP, |run| of(run.av_skew_ms, |set| set.p99)),
    figure("freezes", "freezes", Good::Less, 0.0, |run| whole(run.freezes)),
    figure("video stood still", "ms", Good::Less, STEP, |run| Some(run.frozen_ms)),
    figure("duplicates", "packets", Good::Less, 0.0, |run| whole(run.packets.duplicates)),
    figure("out of order", "packets", Good::Less, 0.0, |run| whole(run.packets.out_of_order)),
    figure("damaged", "packets", Good::Less, 0.0, |run| whole(run.packets.mismatched)),
    figure("received", "bit/s", Good::Neither, STEP, |run| whole(run.packets.bits_per_second)),
    figure("HLS viewers that played", "viewers", Good::More, 0.0, |run| whole(run.hls.as_ref()?.played)),
    figure("HLS viewers failed", "viewers", Good::Less, 0.0, |run| whole(run.hls.as_ref()?.failed)),
    figure("HLS played after p50", "ms", Good::Less, STEP, |run| {
        of(run.hls.as_ref()?.start_ms, |set| set.p50)
    }),
    figure("HLS played after p99", "ms", Good::Less, STEP, |run| {
        of(run.hls.as_ref()?.start_ms, |set| set.p99)
    }),
    figure("HLS latency p50", "ms", Good::Less, STEP, |run| of(run.hls.as_ref()?.latency_ms, |set| set.p50)),
    figure("HLS latency p99", "ms", Good::Less, STEP, |run| of(run.hls.as_ref()?.latency_ms, |set| set.p99)),
    figure("HLS stalls", "stalls", Good::Less, 0.0, |run| whole(run.hls.as_ref()?.stalls)),
    figure("HLS stood still", "ms", Good::Less, STEP, |run| run.hls.as_ref().map(|hls| hls.stalled_ms)),
    figure("HLS longest stall", "ms", Good::Less, STEP, |run| {
        of(run.hls.as_ref()?.longest_stall_ms, |set| set.max)
    }),
    figure("HLS missing", "segments", Good::Less, 0.0, |run| whole(run.hls.as_ref()?.missing)),
    figure("HLS jumps", "jumps", Good::Less, 0.0, |run| whole(run.hls.as_ref()?.jumps)),
    figure("HLS errors", "requests", Good::Less, 0.0, |run| whole(run.hls.as_ref()?.errors())),
    figure("chat clients connected", "clients", Good::More, 0.0, |run| whole(run.chat.as_ref()?.connected)),
    figure("chat clients failed", "clients", Good::Less, 0.0, |run| whole(run.chat.as_ref()?.failed)),
    figure("chat reconnects", "streams", Good::Less, 0.0, |run| whole(run.chat.as_ref()?.reconnects)),
    figure("chat messages refused", "messages", Good::Less, 0.0, |run| {
        whole(run.chat.as_ref()?.unacknowledged)
    }),
    figure("chat messages lost", "messages", Good::Less, 0.0, |run| whole(run.chat.as_ref()?.lost)),
    figure("chat messages repeated", "messages", Good::Less, 0.0, |run| whole(run.chat.as_ref()?.repeated)),
    figure("chat messages out of order", "messages", Good::Less, 0.0, |run| {
        whole(run.chat.as_ref()?.out_of_order)
    }),
    figure("chat delay p50", "ms", Good::Less, STEP, |run| of(run.chat.as_ref()?.delay_ms, |set| set.p50)),
    figure("chat delay p99", "ms", Good::Less, STEP, |run| of(run.chat.as_ref()?.delay_ms, |set| set.p99)),
    figure("chat delay longest", "ms", Good::Less, STEP, |run| {
        of(run.chat.as_ref()?.delay_ms, |set| set.max)
    }),
    figure("client CPU", "cores", Good::Neither, HOST, |run| run.client.cpu_cores),
    figure("server CPU", "cores", Good::Less, HOST, |run| {
        run.server.as_ref().and_then(|server| server.cores)
    }),
    figure("server CPU, busiest second", "cores", Good::Less, HOST, |run| {
        run.server.as_ref().and_then(|server| server.cores_max)
    }),
    figure("server CPU for each packet", "µs", Good::Less, HOST, |run| {
        run.server.as_ref().and_then(|server| server.cpu_us_per_packet)
    }),
    figure("server CPU for each join", "ms", Good::Less, HOST, |run| {
        run.server.as_ref().and_then(|server| server.cpu_ms_per_join)
    }),
    figure("server's packets sent", "packets", Good::Neither, STEP, |run| {
        whole(run.server.as_ref()?.packets?)
    }),
    figure("server memory", "bytes", Good::Less, HOST, |run| {
        run.server.as_ref().and_then(|server| server.resident_bytes_max).map(num::float)
    }),
];

/// How a figure of the second run stands to that of the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    /// The second run did better.
    Better,
    /// It did worse.
    Worse,
    /// They are as near as they can be told apart.
    Same,
    /// They differ, which is neither good nor bad.
    Other,
    /// One of them did not measure it.
    Unknown,
}

impl Change {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Other => "other",
            Self::Unknown => "unknown",
        }
    }
}

/// A figure of two runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub figure: &'static str,
    /// What it is counted in.
    pub unit: &'static str,
    /// Of the first run; none where it was not measured.
    pub a: Option<f64>,
    /// Of the second run.
    pub b: Option<f64>,
    /// The second of the first; none where that is 0.
    pub ratio: Option<f64>,
    /// What that means.
    pub change: Change,
}

/// Which run is compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// When its first join was due, in milliseconds since the Unix epoch.
    pub started_ms: u64,
}

/// Two runs side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Schema of both reports.
    pub schema: u32,
    /// The first run.
    pub a: Compared,
    /// The second run.
    pub b: Compared,
    /// Why the figures say less than they seem to.
    pub notes: Vec<String>,
    /// Figures that at least one run measured.
    pub rows: Vec<Row>,
}

/// A report cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "report {which} has schema {found} and this program compares schema {ours}; make it again with this freshet-loadtest",
    ours = SCHEMA
)]
pub struct OtherSchema {
    /// `a` or `b`.
    pub which: &'static str,
    /// Its schema.
    pub found: u32,
}

/// Puts two runs side by side. Reports of another schema may mean other things by the same names: they are refused.
pub fn compare(a: &RunReport, b: &RunReport) -> Result<Comparison, OtherSchema> {
    for (which, report) in [("a", a), ("b", b)] {
        if report.schema != SCHEMA {
            return Err(OtherSchema { which, found: report.schema });
        }
    }
    let known = |row: &Row| row.a.is_some() || row.b.is_some();
    let rows = FIGURES.iter().map(|figure| row(figure, a, b)).filter(known).collect();
    let run =
        |report: &RunReport| Compared { name: text::plain(&report.name), started_ms: report.started_ms };
    Ok(Comparison { schema: SCHEMA, a: run(a), b: run(b), notes: notes(a, b), rows })
}

fn row(figure: &Figure, a: &RunReport, b: &RunReport) -> Row {
    let finite = |value: &f64| value.is_finite();
    let (a, b) = ((figure.get)(a).filter(finite), (figure.get)(b).filter(finite));
    let both = a.zip(b);
    let ratio = both.filter(|(a, _)| *a > 0.0).map(|(a, b)| b / a).filter(finite);
    let change = match both {
        None => Change::Unknown,
        Some((a, b)) if !differ(a, b, figure.slack) => Change::Same,
        Some((a, b)) => match figure.good {
            Good::Neither => Change::Other,
            Good::Less if b < a => Change::Better,
            Good::More if b > a => Change::Better,
            Good::Less | Good::More => Change::Worse,
        },
    };
    Row { figure: figure.name, unit: figure.unit, a, b, ratio, change }
}

fn differ(a: f64, b: f64, slack: f64) -> bool {
    (a - b).abs() > slack * a.abs().max(b.abs())
}

/// What makes two runs different in shape, or a run doubtful.
fn notes(a: &RunReport, b: &RunReport) -> Vec<String> {
    let mut notes = Vec::new();
    for (which, report) in [("a", a), ("b", b)] {
        if let Some(first) = report.invalid.first() {
            notes.push(format!("{which} is INVALID: {}", text::plain(first)));
        }
        if report.interrupted {
            notes.push(format!("{which} was stopped by hand before its end"));
        }
    }
    let mut shape = |what: &str, of_a: String, of_b: String| {
        if of_a != of_b {
            notes.push(format!(
                "not the same shape: {what} {} in a and {} in b",
                text::plain(&of_a),
                text::plain(&of_b)
            ));
        }
    };
    let published = |report: &RunReport| report.target.whip.clone().unwrap_or_else(|| "none".to_owned());
    let mode = |report: &RunReport| match report.mode.name.as_str() {
        "sampled" => format!("sampled, one in {}", report.mode.every),
        _ => "full".to_owned(),
    };
    shape("mode", mode(a), mode(b));
    shape("viewers", text::count(a.viewers.wanted), text::count(b.viewers.wanted));
    shape("publishers", text::count(a.publishers.wanted), text::count(b.publishers.wanted));
    shape("watched", a.target.whep.clone(), b.target.whep.clone());
    shape("published to", published(a), published(b));
    let played = |run: &RunReport| text::count(run.hls.as_ref().map_or(0, |hls| hls.wanted));
    let chatted = |run: &RunReport| text::count(run.chat.as_ref().map_or(0, |chat| chat.wanted));
    shape("viewers of HLS", played(a), played(b));
    shape("chat clients", chatted(a), chatted(b));
    shape("events", happenings(a), happenings(b));
    shape("cores of the client’s host", text::count(a.client.host_cores), text::count(b.client.host_cores));
    shape("threads for viewers", text::count(a.client.threads), text::count(b.client.threads));
    let lossy =
        |report: &RunReport| if report.packets.injected_loss > 0 { "some" } else { "none" }.to_owned();
    shape("loss on purpose", lossy(a), lossy(b));
    if differ(a.seconds, b.seconds, SHAPE) {
        shape("measured for", text::clock(a.seconds), text::clock(b.seconds));
    }
    if let Some((one, other)) =
        bit_rate(a).zip(bit_rate(b)).filter(|(one, other)| differ(*one, *other, SHAPE))
    {
        shape("each publisher sent", text::bits(one), text::bits(other));
    }
    notes
}

/// What was done, for comparison and in words.
fn happenings(report: &RunReport) -> String {
    if report.happenings.is_empty() {
        return "none".to_owned();
    }
    let done: Vec<String> =
        report.happenings.iter().take(HAPPENINGS).map(|done| text::clip(&done.what, text::LONGEST)).collect();
    done.join(", ")
}

/// Payload bits a second of each publisher, nearly: it sends a little before and after measuring too.
fn bit_rate(report: &RunReport) -> Option<f64> {
    let published = &report.publishers;
    let shares = num::float(published.wanted) * report.seconds;
    (shares > 0.0 && published.bytes > 0).then(|| num::float(published.bytes) * 8.0 / shares)
}

impl Row {
    fn shown(&self, value: Option<f64>) -> String {
        let Some(value) = value else { return text::UNKNOWN.to_owned() };
        match self.unit {
            "%" => text::percent(value),
            "ms" => text::millis(value),
            "bit/s" => text::bits(value),
            "bytes" => text::bytes(value),
            "cores" => format!("{} cores", text::cores(value)),
            "µs" => format!("{} µs", text::number(value, 2)),
            _ => text::number(value, 0),
        }
    }

    fn shown_ratio(&self) -> String {
        match self.ratio {
            Some(ratio) => format!("×{}", text::number(ratio, if ratio < 10.0 { 2 } else { 0 })),
            None => text::UNKNOWN.to_owned(),
        }
    }
}

impl Comparison {
    /// For a terminal.
    pub fn table(&self) -> String {
        let mut out = format!("a: {}\nb: {}\n", self.a.shown(), self.b.shown());
        for note in &self.notes {
            out.push_str(&format!("NOTE: {note}\n"));
        }
        out.push_str(&format!("\n{:<28} {:>16} {:>16} {:>10}  b is\n", "figure", "a", "b", "b / a"));
        for row in &self.rows {
            let (a, b, ratio) = (row.shown(row.a), row.shown(row.b), row.shown_ratio());
            out.push_str(&format!("{:<28} {a:>16} {b:>16} {ratio:>10}  {}\n", row.figure, row.change.word()));
        }
        out
    }

    /// For an issue or a chat.
    pub fn markdown(&self) -> String {
        let md = text::markdown;
        let mut out = format!("- a: {}\n- b: {}\n\n", md(&self.a.shown()), md(&self.b.shown()));
        for note in &self.notes {
            out.push_str(&format!("> {}\n\n", md(note)));
        }
        out.push_str("| figure | a | b | b / a | b is |\n|---|--:|--:|--:|---|\n");
        for row in &self.rows {
            let word = match row.change {
                Change::Better | Change::Worse => format!("**{}**", row.change.word()),
                Change::Same | Change::Other | Change::Unknown => row.change.word().to_owned(),
            };
            let (a, b, ratio) = (md(&row.shown(row.a)), md(&row.shown(row.b)), row.shown_ratio());
            out.push_str(&format!("| {} | {a} | {b} | {ratio} | {word} |\n", row.figure));
        }
        out
    }
}

impl Compared {
    fn shown(&self) -> String {
        let name = if self.name.is_empty() { "a run without a name" } else { self.name.as_str() };
        match text::utc(self.started_ms) {
            Some(when) => format!("{name}, {when}"),
            None => name.to_owned(),
        }
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;
