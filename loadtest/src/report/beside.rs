//! Figures of those who watch by HLS and of those who chat: bounds, and rows of tables; and the tables of all that not
//! every run has.

use std::collections::BTreeMap;

use super::metric::{Metric, Unit};
use super::{ChatReport, DecodeReport, HlsReport, Percentiles, RunReport, text};
use crate::num;

/// Reasons that are shown.
const REASONS: usize = 12;

fn hls(report: &RunReport, pick: fn(&HlsReport) -> u64) -> Option<f64> {
    report.hls.as_ref().map(|hls| num::float(pick(hls)))
}

fn chat(report: &RunReport, pick: fn(&ChatReport) -> u64) -> Option<f64> {
    report.chat.as_ref().map(|chat| num::float(pick(chat)))
}

fn decode(report: &RunReport, pick: fn(&DecodeReport) -> u64) -> Option<f64> {
    // Who decoded nothing has not shown that it can be.
    report
        .decode
        .as_ref()
        .filter(|decode| decode.decoded + decode.missing > 0)
        .map(|decode| num::float(pick(decode)))
}

fn hls_set(
    report: &RunReport,
    set: fn(&HlsReport) -> Option<Percentiles>,
    pick: fn(&Percentiles) -> f64,
) -> Option<f64> {
    report.hls.as_ref().and_then(set).as_ref().map(pick)
}

fn delay(report: &RunReport, pick: fn(&Percentiles) -> f64) -> Option<f64> {
    report.chat.as_ref().and_then(|chat| chat.delay_ms).as_ref().map(pick)
}

const fn count(name: &'static str, get: fn(&RunReport) -> Option<f64>) -> Metric {
    Metric { name, unit: Unit::Count, get }
}

const fn millis(name: &'static str, get: fn(&RunReport) -> Option<f64>) -> Metric {
    Metric { name, unit: Unit::Millis, get }
}

/// What bounds can be about.
pub const METRICS: &[Metric] = &[
    count("decode-errors", |report| decode(report, |decode| decode.errors)),
    count("decode-missing", |report| decode(report, |decode| decode.missing)),
    count("hls-failed", |report| hls(report, |hls| hls.failed)),
    count("hls-stalls", |report| hls(report, |hls| hls.stalls)),
    count("hls-missing", |report| hls(report, |hls| hls.missing)),
    count("hls-errors", |report| hls(report, HlsReport::errors)),
    count("hls-jumps", |report| hls(report, |hls| hls.jumps)),
    millis("hls-stalled", |report| report.hls.as_ref().map(|hls| hls.stalled_ms)),
    millis("hls-stall-max", |report| hls_set(report, |hls| hls.longest_stall_ms, |set| set.max)),
    millis("hls-start-p50", |report| hls_set(report, |hls| hls.start_ms, |set| set.p50)),
    millis("hls-start-p99", |report| hls_set(report, |hls| hls.start_ms, |set| set.p99)),
    millis("hls-latency-p50", |report| hls_set(report, |hls| hls.latency_ms, |set| set.p50)),
    millis("hls-latency-p99", |report| hls_set(report, |hls| hls.latency_ms, |set| set.p99)),
    millis("hls-latency-max", |report| hls_set(report, |hls| hls.latency_ms, |set| set.max)),
    millis("hls-edge-p99", |report| hls_set(report, |hls| hls.edge_ms, |set| set.p99)),
    millis("hls-fetch-p99", |report| hls_set(report, |hls| hls.fetch_ms, |set| set.p99)),
    millis("hls-unchanged-max", |report| hls_set(report, |hls| hls.unchanged_ms, |set| set.max)),
    count("chat-failed", |report| chat(report, |chat| chat.failed)),
    count("chat-lost", |report| chat(report, |chat| chat.lost)),
    count("chat-repeated", |report| chat(report, |chat| chat.repeated)),
    count("chat-out-of-order", |report| chat(report, |chat| chat.out_of_order)),
    count("chat-unacknowledged", |report| chat(report, |chat| chat.unacknowledged)),
    count("chat-reconnects", |report| chat(report, |chat| chat.reconnects)),
    millis("chat-delay-p50", |report| delay(report, |set| set.p50)),
    millis("chat-delay-p99", |report| delay(report, |set| set.p99)),
    millis("chat-delay-max", |report| delay(report, |set| set.max)),
];

/// A table of names and values.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    /// What it is about.
    pub title: &'static str,
    /// In one line.
    pub sentence: String,
    /// Its rows; a name may be a reason that a server gave.
    pub rows: Vec<(String, String)>,
}

fn times(set: Option<Percentiles>) -> String {
    set.map_or("nothing measured".to_owned(), |set| {
        let [half, most, longest] = [set.p50, set.p99, set.max].map(text::millis);
        format!("p50 {half}, p99 {most}, longest {longest}")
    })
}

fn add(rows: &mut Vec<(String, String)>, reasons: &BTreeMap<String, u64>, what: &str) {
    let mut all: Vec<(&String, &u64)> = reasons.iter().collect();
    // The most frequent first; those of a kind by name.
    all.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (reason, count) in all.iter().take(REASONS) {
        rows.push((format!("{what}: {reason}"), text::count(**count)));
    }
    if let Some(more) = all.len().checked_sub(REASONS).filter(|more| *more > 0) {
        rows.push((format!("{what}: other kinds"), text::count(num::len(more))));
    }
}

fn of_hls(hls: &HlsReport) -> Section {
    let latency = hls.latency_ms.map_or(String::new(), |set| {
        format!(
            "; half of it {} after its capture, 99 % within {}",
            text::millis(set.p50),
            text::millis(set.p99)
        )
    });
    let sentence = format!(
        "{} of {} viewers of HLS played; {} stalls of {} together{latency}.",
        text::count(hls.played),
        text::count(hls.wanted),
        text::count(hls.stalls),
        text::millis(hls.stalled_ms)
    );
    let whole = |name: &str, value: u64| (name.to_owned(), text::count(value));
    let timed = |name: &str, set: Option<Percentiles>| (name.to_owned(), times(set));
    let mut rows = vec![
        ("Playlist".to_owned(), hls.url.clone()),
        ("Played".to_owned(), format!("{} of {}", text::count(hls.played), text::count(hls.wanted))),
        whole("Failed", hls.failed),
        (
            "Stalls".to_owned(),
            format!("{}, {} together", text::count(hls.stalls), text::millis(hls.stalled_ms)),
        ),
        timed("Longest stall", hls.longest_stall_ms),
        timed("Played after", hls.start_ms),
        timed("Latency of what is played", hls.latency_ms),
        timed("Latency of its arrival", hls.edge_ms),
        timed("Fetched within", hls.fetch_ms),
        whole("Segments", hls.segments),
        whole("Parts", hls.parts),
        whole("Missing", hls.missing),
        whole("Gaps by playlist", hls.gaps),
        whole("Announced parts not listed then", hls.hints_wasted),
        whole("Jumps to the live edge", hls.jumps),
        (
            "Received".to_owned(),
            format!(
                "{}, {}",
                text::bytes(num::float(hls.bytes)),
                text::bits(num::float(hls.bits_per_second))
            ),
        ),
        (
            "Playlists".to_owned(),
            format!("{}, {} without news", text::count(hls.playlists), text::count(hls.unchanged)),
        ),
        timed("Longest without news", hls.unchanged_ms),
        whole("Retry-After obeyed", hls.retries_obeyed),
    ];
    add(&mut rows, &hls.reasons, "failed");
    add(&mut rows, &hls.errors, "error");
    Section { title: "HLS", sentence, rows }
}

fn of_chat(chat: &ChatReport) -> Section {
    let delay =
        chat.delay_ms.map_or(String::new(), |set| format!("; 99 % came within {}", text::millis(set.p99)));
    let sentence = format!(
        "{} of {} chat clients connected; of {} messages to them {} were lost, {} came twice, {} out of order{delay}.",
        text::count(chat.connected),
        text::count(chat.wanted),
        text::count(chat.expected),
        text::count(chat.lost),
        text::count(chat.repeated),
        text::count(chat.out_of_order)
    );
    let whole = |name: &str, value: u64| (name.to_owned(), text::count(value));
    let timed = |name: &str, set: Option<Percentiles>| (name.to_owned(), times(set));
    let mut rows = vec![
        ("Room".to_owned(), chat.url.clone()),
        whole("Rooms", chat.rooms),
        ("Connected".to_owned(), format!("{} of {}", text::count(chat.connected), text::count(chat.wanted))),
        whole("Failed", chat.failed),
        whole("Messages sent", chat.sent),
        whole("Acknowledged", chat.acknowledged),
        whole("Not acknowledged", chat.unacknowledged),
        whole("Expected by clients", chat.expected),
        whole("Received once", chat.received),
        whole("Lost", chat.lost),
        whole("Repeated", chat.repeated),
        whole("Out of order", chat.out_of_order),
        timed("Delay", chat.delay_ms),
        timed("Acknowledged after", chat.acknowledged_ms),
        timed("Connected after", chat.open_ms),
        whole("From history at joining", chat.history),
        whole("Of others", chat.foreign),
        whole("Reconnects", chat.reconnects),
        whole("Histories lost", chat.resets),
        whole("Retry-After obeyed", chat.retries_obeyed),
    ];
    add(&mut rows, &chat.reasons, "reason");
    Section { title: "Chat", sentence, rows }
}

fn of_decode(decode: &DecodeReport) -> Section {
    let whole = |name: &str, value: u64| (name.to_owned(), text::count(value));
    let sentence = format!(
        "{} pictures of {} frames by {} decoders, {} errors, {} missing.",
        text::count(decode.decoded),
        text::count(decode.handed),
        text::count(decode.sessions),
        text::count(decode.errors),
        text::count(decode.missing)
    );
    let mut rows = vec![
        whole("Sessions decoded", decode.sessions),
        whole("Frames handed to decoders", decode.handed),
        whole("Pictures decoded", decode.decoded),
        whole("Pictures missing", decode.missing),
        whole("Of these, frames that came incomplete", decode.broken),
        whole("Errors of decoders", decode.errors),
        whole("Frames that decoders were too slow for", decode.dropped),
    ];
    rows.extend(decode.first_error.iter().map(|error| ("The first error".to_owned(), error.clone())));
    Section { title: "Decoding", sentence, rows }
}

/// Tables of those who were there.
pub fn sections(report: &RunReport) -> Vec<Section> {
    let decode = report.decode.iter().map(of_decode);
    decode.chain(report.hls.iter().map(of_hls)).chain(report.chat.iter().map(of_chat)).collect()
}

/// What was aimed at, in one line.
pub fn target(report: &RunReport) -> String {
    let whep = Some(&report.target.whep).filter(|url| !url.is_empty());
    let hls = report.hls.as_ref().map(|hls| &hls.url);
    let chat = report.chat.as_ref().map(|chat| &chat.url);
    [whep, hls, chat].into_iter().flatten().map(String::as_str).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Bound, html, markdown, sample, table};

    #[test]
    fn decoding_has_rows_everywhere_and_bounds() {
        let mut report = sample::full();
        let judged = |report: &RunReport, text: &str| text.parse::<Bound>().unwrap().judge(report).broken;
        assert!(judged(&report, "decode-errors>0"), "nobody decoded");
        let mut decode =
            DecodeReport { sessions: 1, handed: 90, decoded: 88, missing: 3, ..Default::default() };
        decode.merge(&DecodeReport {
            sessions: 1,
            broken: 1,
            errors: 2,
            first_error: Some("no <frame>!".to_owned()),
            dropped: 1_234,
            ..DecodeReport::default()
        });
        report.decode = Some(decode);
        assert!(judged(&report, "decode-errors>1") && !judged(&report, "decode-errors>2"));
        assert!(judged(&report, "decode-missing>2") && !judged(&report, "decode-missing>3"));
        for text in [html(&report), markdown(&report), table(&report)] {
            assert!(text.contains("Decoding") && text.contains("Pictures missing"), "{text}");
        }
        assert!(html(&report).contains("no &lt;frame&gt;!") && !markdown(&report).contains("<frame>"));
        report.decode = Some(DecodeReport { sessions: 3, ..DecodeReport::default() });
        assert!(judged(&report, "decode-missing>0"), "nothing was decoded");
    }
}
