//! What the page says, in Prometheus's text format.

use std::fmt::Write;
use std::time::Duration;

use crate::measure::Histogram;
use crate::num;
use crate::run::Progress;

/// Where buckets of a histogram end, in microseconds.
const BUCKETS: [u64; 15] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 150_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000, 30_000_000,
];
/// Reasons that have a series of their own: more would be no label but a log.
const REASONS: usize = 20;
/// Characters of a reason that are told.
const REASON_MAX: usize = 120;

/// A page as it is written.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // Writing to a string cannot fail.
        let _infallible =
            write!(self.0, "# HELP freshet_loadtest_{name} {help}\n# TYPE freshet_loadtest_{name} {kind}\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str("freshet_loadtest_");
        self.0.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _infallible = write!(self.0, "{}{label}=\"{value}\"", if place == 0 { '{' } else { ',' });
        }
        let _infallible = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.head(name, "gauge", help);
        self.sample(name, &[], value);
    }

    /// What nobody knows has no sample; its head says that it could have one.
    fn known(&mut self, name: &str, help: &str, value: Option<f64>) {
        self.head(name, "gauge", help);
        if let Some(value) = value {
            self.sample(name, &[], value);
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.head(name, "counter", help);
        self.sample(name, &[], num::float(value));
    }

    fn histogram(&mut self, name: &str, help: &str, values: &Histogram) {
        self.head(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        for end in BUCKETS.map(Duration::from_micros) {
            let end_s = end.as_secs_f64().to_string();
            self.sample(&bucket, &[("le", &end_s)], num::float(values.at_most(end)));
        }
        self.sample(&bucket, &[("le", "+Inf")], num::float(values.len()));
        self.sample(&format!("{name}_sum"), &[], values.sum().as_secs_f64());
        self.sample(&format!("{name}_count"), &[], num::float(values.len()));
    }

    fn quantiles(&mut self, name: &str, help: &str, values: &Histogram) {
        self.head(name, "gauge", help);
        for (label, fraction) in [("0.5", 0.5), ("0.9", 0.9), ("0.99", 0.99), ("0.999", 0.999), ("1", 1.0)] {
            if let Some(value) = values.quantile(fraction) {
                self.sample(name, &[("quantile", label)], value.as_secs_f64());
            }
        }
    }
}

/// How it goes.
pub(super) fn page(progress: &Progress) -> String {
    let mut page = Page(String::with_capacity(8 << 10));
    viewers(&mut page, progress);
    media(&mut page, progress);
    hosts(&mut page, progress);
    page.0
}

fn viewers(page: &mut Page, progress: &Progress) {
    let (second, sums) = (&progress.second, &progress.sums);
    page.gauge("elapsed_seconds", "Time since the first join was due.", second.at_s);
    page.gauge("planned_seconds", "Time from then to the end of measuring.", progress.total.as_secs_f64());
    page.head("viewers", "gauge", "Viewers by where they stand.");
    for (state, count) in [
        ("joining", second.joining),
        ("watching", second.watching),
        ("failed", second.failed),
        ("left", second.left),
    ] {
        page.sample("viewers", &[("state", state)], num::float(count));
    }
    page.counter("joins_total", "Sessions that connected.", sums.joins);
    page.head(
        "failures_total",
        "counter",
        "Viewers that could not connect, or whose session ended, by reason.",
    );
    let mut reasons: Vec<(&String, &u64)> = sums.reasons.iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let (most, rest) = reasons.split_at(reasons.len().min(REASONS));
    for (reason, count) in most {
        let reason: String = reason.chars().take(REASON_MAX).collect();
        page.sample("failures_total", &[("reason", &reason)], num::float(**count));
    }
    let others = rest.iter().map(|(_, count)| **count).sum();
    page.sample("failures_total", &[("reason", "others")], num::float(others));
    page.histogram("connected_seconds", "From when a join was due to SRTP keys.", &sums.connected);
    page.histogram(
        "first_keyframe_seconds",
        "From when a join was due to the first keyframe.",
        &sums.first_keyframe,
    );
}

fn media(page: &mut Page, progress: &Progress) {
    let (second, sums) = (&progress.second, &progress.sums);
    page.counter("received_packets_total", "Different packets that came.", progress.received);
    page.counter("received_payload_bytes_total", "Payload of them.", sums.bytes);
    page.gauge("received_bits_per_second", "Payload of the last second.", num::float(second.bits_per_second));
    page.counter("recovered_packets_total", "Packets that came as retransmissions.", sums.recovered);
    page.gauge("missing_packets", "Packets that have not come; some still do.", num::float(second.missing));
    let missing = progress.missing_percent().map(|percent| percent / 100.0);
    page.known("loss_ratio", "Missing packets, of all that should have come.", missing);
    page.histogram("latency_seconds", "From scheduled capture to arrival.", &sums.latency);
    page.quantiles(
        "latency_quantile_seconds",
        "Latency since the start; quantile 1 is the longest.",
        &sums.latency,
    );
    let second_p99 = second.latency_ms.map(|set| set.p99 / 1_000.0);
    page.known("latency_last_second_p99_seconds", "99th percentile of the last second.", second_p99);
    page.quantiles(
        "av_skew_quantile_seconds",
        "How far sound and picture are apart, since the start.",
        &sums.skew,
    );
    page.counter("freezes_total", "Gaps of more than 200 ms in viewers' video.", progress.freezes);
    page.gauge(
        "longest_gap_seconds",
        "The longest that a track stood still.",
        second.longest_gap_ms / 1_000.0,
    );
}

fn hosts(page: &mut Page, progress: &Progress) {
    let server = progress.second.server.unwrap_or_default();
    page.known("client_cpu_cores", "Cores' worth of CPU of this process.", progress.second.client_cores);
    page.known("server_cpu_cores", "The same of the server, where it is measured.", server.cores);
    let resident = server.resident_bytes.map(num::float);
    page.known("server_resident_bytes", "Memory of the server.", resident);
    page.known(
        "server_context_switches_per_second",
        "Context switches of the server.",
        server.switches_per_second,
    );
    page.known("server_packets_per_second", "Packets that the server sent.", server.packets_per_second);
    page.known("server_bits_per_second", "Bits that the server sent.", server.bits_per_second);
    page.known("server_joins_per_second", "Sessions that the server took.", server.joins_per_second);
}
