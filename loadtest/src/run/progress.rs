//! How a run is going.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::measure::Histogram;
use crate::num;
use crate::report::{Happening, Second};

/// What came of all viewers since the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sums {
    /// Sessions that connected.
    pub joins: u64,
    /// Why viewers failed or ended, and how many.
    pub reasons: BTreeMap<String, u64>,
    /// Payload bytes.
    pub bytes: u64,
    /// Packets that came as retransmissions.
    pub recovered: u64,
    /// From scheduled capture to arrival.
    pub latency: Histogram,
    /// How far sound and picture were apart, of each second of each viewer.
    pub skew: Histogram,
    /// From when joins were due to SRTP keys.
    pub connected: Histogram,
    /// From when joins were due to the first keyframe.
    pub first_keyframe: Histogram,
}

/// How a run is going, told once a second.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    /// The whole of the run.
    pub total: Duration,
    /// The last second of it.
    pub second: Second,
    /// Latency since the start: median and 99th percentile.
    pub latency: Option<(Duration, Duration)>,
    /// Packets that came since the start.
    pub received: u64,
    /// Gaps of more than 200 ms in video since the start.
    pub freezes: u64,
    /// All the rest since the start.
    pub sums: Sums,
    /// What was done so far.
    pub happenings: Vec<Happening>,
    /// How viewers of HLS and those who chat are, in a few words; empty where nobody is there.
    pub beside: String,
}

impl Progress {
    /// Packets that are missing, of all that should have come; none where nothing came.
    pub fn missing_percent(&self) -> Option<f64> {
        let expected = self.received.saturating_add(self.second.missing);
        (self.received > 0).then(|| num::float(self.second.missing) * 100.0 / num::float(expected))
    }

    /// Packets a second.
    pub fn packets_per_second(&self) -> u64 {
        num::count(num::float(self.second.packets) / self.second.seconds.max(0.001))
    }
}

/// One line while a run goes on.
pub fn progress_line(progress: &Progress) -> String {
    let second = &progress.second;
    let latency = progress.latency.map_or_else(
        || "no media yet".to_owned(),
        |(p50, p99)| format!("latency p50 {:.1} p99 {:.1} ms", num::millis(p50), num::millis(p99)),
    );
    let cores = |who: &str, cores: Option<f64>| cores.map(|cores| format!(" · {who} {cores:.2} cores"));
    let client = cores("client", second.client_cores).unwrap_or_default();
    let server = cores("server", second.server.and_then(|server| server.cores)).unwrap_or_default();
    let event = progress.happenings.last().map(|last| format!(" · {}", last.what)).unwrap_or_default();
    let beside = match progress.beside.as_str() {
        "" => String::new(),
        words => format!(" · {words}"),
    };
    format!(
        "{:>4.0}/{:.0} s · {} watching, {} joining, {} failed · {} packets/s · {} missing · {latency}{beside}{client}{server}{event}",
        second.at_s,
        progress.total.as_secs_f64(),
        second.watching,
        second.joining,
        second.failed,
        progress.packets_per_second(),
        second.missing,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_how_it_goes() {
        let mut progress = Progress {
            total: Duration::from_secs(30),
            second: Second {
                at_s: 4.0,
                seconds: 0.5,
                watching: 3,
                packets: 50,
                missing: 1,
                ..Second::default()
            },
            latency: None,
            received: 99,
            freezes: 0,
            sums: Sums::default(),
            happenings: Vec::new(),
            beside: String::new(),
        };
        let line = progress_line(&progress);
        assert_eq!(
            line,
            "   4/30 s · 3 watching, 0 joining, 0 failed · 100 packets/s · 1 missing · no media yet"
        );
        assert_eq!(progress.missing_percent(), Some(1.0));
        progress.latency = Some((Duration::from_millis(4), Duration::from_micros(9_500)));
        progress.second.client_cores = Some(0.25);
        progress.happenings.push(Happening { what: "a node dies".to_owned(), ..Happening::default() });
        let line = progress_line(&progress);
        assert!(line.ends_with("latency p50 4.0 p99 9.5 ms · client 0.25 cores · a node dies"), "{line}");
        progress.beside = "HLS 3 playing".to_owned();
        assert!(progress_line(&progress).contains("9.5 ms · HLS 3 playing · client"));
        progress.received = 0;
        assert_eq!(progress.missing_percent(), None);
    }
}
