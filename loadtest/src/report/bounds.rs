//! Bounds that make the exit status: `loss>0.1%`, `p99>100ms`, `failed>0`.
//!
//! A bound names what must not be. Where the figure does not exist, because nothing arrived, the bound is broken too: a
//! run that measured nothing proves nothing.

use std::str::FromStr;

use super::metric::{Metric, Unit};
use super::{Percentiles, RunReport, Verdict, beside};
use crate::{num, units};

fn of(set: Option<&Percentiles>, pick: fn(&Percentiles) -> f64) -> Option<f64> {
    set.map(pick)
}

/// Where nobody was away, nobody was so for any time.
fn away(report: &RunReport, pick: fn(&Percentiles) -> f64) -> Option<f64> {
    let viewers = &report.viewers;
    let nobody = (viewers.sessions > 0).then_some(0.0);
    viewers.reconnects.away_ms.as_ref().map(pick).or(nobody)
}

const METRICS: &[Metric] = &[
    Metric { name: "loss", unit: Unit::Percent, get: |report| report.packets.loss_percent },
    Metric { name: "video-loss", unit: Unit::Percent, get: |report| report.packets.video.loss_percent },
    Metric { name: "audio-loss", unit: Unit::Percent, get: |report| report.packets.audio.loss_percent },
    Metric {
        name: "loss-before-recovery",
        unit: Unit::Percent,
        get: |report| report.packets.loss_before_recovery_percent,
    },
    Metric { name: "p50", unit: Unit::Millis, get: |report| of(report.latency_ms.as_ref(), |set| set.p50) },
    Metric { name: "p90", unit: Unit::Millis, get: |report| of(report.latency_ms.as_ref(), |set| set.p90) },
    Metric { name: "p99", unit: Unit::Millis, get: |report| of(report.latency_ms.as_ref(), |set| set.p99) },
    Metric {
        name: "p99.9",
        unit: Unit::Millis,
        get: |report| of(report.latency_ms.as_ref(), |set| set.p999),
    },
    Metric { name: "max", unit: Unit::Millis, get: |report| of(report.latency_ms.as_ref(), |set| set.max) },
    Metric {
        name: "first-packet-p50",
        unit: Unit::Millis,
        get: |report| of(report.join.first_packet_ms.as_ref(), |set| set.p50),
    },
    Metric {
        name: "first-packet-p99",
        unit: Unit::Millis,
        get: |report| of(report.join.first_packet_ms.as_ref(), |set| set.p99),
    },
    Metric {
        name: "first-keyframe-p50",
        unit: Unit::Millis,
        get: |report| of(report.join.first_keyframe_ms.as_ref(), |set| set.p50),
    },
    Metric {
        name: "first-keyframe-p99",
        unit: Unit::Millis,
        get: |report| of(report.join.first_keyframe_ms.as_ref(), |set| set.p99),
    },
    Metric {
        name: "gap-p50",
        unit: Unit::Millis,
        get: |report| of(report.longest_gap_ms.as_ref(), |set| set.p50),
    },
    Metric {
        name: "gap-p99",
        unit: Unit::Millis,
        get: |report| of(report.longest_gap_ms.as_ref(), |set| set.p99),
    },
    Metric {
        name: "gap-max",
        unit: Unit::Millis,
        get: |report| of(report.longest_gap_ms.as_ref(), |set| set.max),
    },
    Metric { name: "failed", unit: Unit::Count, get: |report| Some(num::float(report.viewers.failed)) },
    Metric { name: "silent", unit: Unit::Count, get: |report| Some(num::float(report.viewers.silent)) },
    Metric { name: "ended", unit: Unit::Count, get: |report| Some(num::float(report.viewers.ended_early)) },
    Metric {
        name: "reconnects",
        unit: Unit::Count,
        get: |report| Some(num::float(report.viewers.reconnects.lost())),
    },
    Metric {
        name: "not-back",
        unit: Unit::Count,
        get: |report| Some(num::float(report.viewers.reconnects.not_back)),
    },
    Metric { name: "not-back-share", unit: Unit::Percent, get: |report| report.viewers.not_back_percent() },
    Metric { name: "away-p50", unit: Unit::Millis, get: |report| away(report, |set| set.p50) },
    Metric { name: "away-p99", unit: Unit::Millis, get: |report| away(report, |set| set.p99) },
    Metric { name: "away-max", unit: Unit::Millis, get: |report| away(report, |set| set.max) },
    Metric {
        name: "duplicates",
        unit: Unit::Count,
        get: |report| Some(num::float(report.packets.duplicates)),
    },
    Metric { name: "overtaken", unit: Unit::Count, get: |report| Some(num::float(report.packets.overtaken)) },
    Metric {
        name: "mismatched",
        unit: Unit::Count,
        get: |report| Some(num::float(report.packets.mismatched)),
    },
    Metric {
        name: "out-of-order",
        unit: Unit::Count,
        get: |report| Some(num::float(report.packets.out_of_order)),
    },
];

/// All that bounds can be about.
fn metrics() -> impl Iterator<Item = &'static Metric> {
    METRICS.iter().chain(beside::METRICS)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Above,
    AtLeast,
    Below,
    AtMost,
}

/// A condition under which a run fails.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    text: String,
    metric: &'static str,
    comparison: Comparison,
    value: f64,
}

/// Why a text is no bound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no bound: {why}")]
pub struct BoundError {
    /// What was given.
    pub text: String,
    /// What is wrong and what would be right.
    pub why: String,
}

impl FromStr for Bound {
    type Err = BoundError;

    fn from_str(text: &str) -> Result<Self, BoundError> {
        let bad = |why: String| BoundError { text: text.to_owned(), why };
        let compact: String = text.chars().filter(|character| !character.is_whitespace()).collect();
        let operator =
            compact.find(['<', '>']).ok_or_else(|| bad("it needs < or >, as in loss>0.1%".into()))?;
        let (name, rest) = compact.split_at_checked(operator).unwrap_or((&compact, ""));
        let (comparison, value) = if let Some(value) = rest.strip_prefix(">=") {
            (Comparison::AtLeast, value)
        } else if let Some(value) = rest.strip_prefix("<=") {
            (Comparison::AtMost, value)
        } else if let Some(value) = rest.strip_prefix('>') {
            (Comparison::Above, value)
        } else {
            (Comparison::Below, rest.trim_start_matches('<'))
        };
        let metric = metrics().find(|metric| metric.name == name).ok_or_else(|| {
            let names: Vec<&str> = metrics().map(|metric| metric.name).collect();
            bad(format!("there is no figure {name:?}; there are {}", names.join(", ")))
        })?;
        let value = in_unit(metric.unit, value).map_err(bad)?;
        Ok(Self { text: text.trim().to_owned(), metric: metric.name, comparison, value })
    }
}

fn in_unit(unit: Unit, text: &str) -> Result<f64, String> {
    let parse = |digits: &str| digits.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0);
    let (parsed, example) = match unit {
        Unit::Percent => (text.strip_suffix('%').and_then(parse), "a share, such as 0.1%"),
        Unit::Count => (parse(text), "a number, such as 0"),
        Unit::Millis => (units::duration(text).ok().map(num::millis), "a time, such as 100ms or 2s"),
    };
    parsed.ok_or_else(|| format!("{text:?} should be {example}"))
}

impl Bound {
    /// A bound that is said the other way round: what must hold, as in `loss<=0.1%`.
    pub fn expected(text: &str) -> Result<Self, BoundError> {
        let bound: Self = text.parse()?;
        let comparison = match bound.comparison {
            Comparison::Above => Comparison::AtMost,
            Comparison::AtLeast => Comparison::Below,
            Comparison::Below => Comparison::AtLeast,
            Comparison::AtMost => Comparison::Above,
        };
        Ok(Self { comparison, text: format!("expected {}", bound.text), ..bound })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The figure that it is about.
    pub fn figure(&self) -> &'static str {
        self.metric
    }

    /// Why no run can keep it, if none can.
    pub fn never_kept(&self) -> Option<&'static str> {
        let share = metrics().any(|metric| metric.name == self.metric && metric.unit == Unit::Percent);
        match self.comparison {
            Comparison::AtLeast if self.value <= 0.0 => Some("no figure is less than 0"),
            Comparison::AtMost if share && self.value >= 100.0 => Some("no share is more than 100 %"),
            Comparison::Below if share && self.value > 100.0 => Some("no share is more than 100 %"),
            _ => None,
        }
    }

    /// Whether a time is as likely this process's own: it was saturated, or half as late by its own clock.
    fn is_ours(&self, value: Option<f64>, report: &RunReport) -> bool {
        let timed = metrics().any(|metric| metric.name == self.metric && metric.unit == Unit::Millis);
        let late = report.late_p99_ms();
        let too_long = matches!(self.comparison, Comparison::Above | Comparison::AtLeast);
        timed && too_long && value.is_some_and(|value| report.saturated() || late * 2.0 >= value)
    }

    /// How a run stands against this bound.
    pub fn judge(&self, report: &RunReport) -> Verdict {
        let value =
            metrics().find(|metric| metric.name == self.metric).and_then(|metric| (metric.get)(report));
        let broken = value.is_none_or(|value| match self.comparison {
            Comparison::Above => value > self.value,
            Comparison::AtLeast => value >= self.value,
            Comparison::Below => value < self.value,
            Comparison::AtMost => value <= self.value,
        });
        // A server is not called slow by a client that was slow itself.
        let not_measured = broken && self.is_ours(value, report);
        Verdict { bound: self.text.clone(), value, broken: broken && !not_measured, not_measured }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> RunReport {
        let mut report = RunReport::default();
        report.packets.loss_percent = Some(0.1);
        report.latency_ms =
            Some(Percentiles { count: 9, p50: 4.0, p90: 5.0, p99: 100.0, p999: 101.0, max: 250.0 });
        report.viewers.failed = 2;
        report
    }

    fn broken(text: &str) -> bool {
        text.parse::<Bound>().unwrap().judge(&report()).broken
    }

    #[test]
    fn bounds_are_broken_beyond_their_value_only() {
        for (text, expected) in [
            ("loss>0.1%", false),
            ("loss>=0.1%", true),
            ("loss > 0.09 %", true),
            ("p99>100ms", false),
            ("p99>99ms", true),
            ("p99>0.1s", false),
            ("p50<5ms", true),
            ("p50<=3.9ms", false),
            ("max>250ms", false),
            ("failed>1", true),
            ("failed>2", false),
        ] {
            assert_eq!(broken(text), expected, "{text}");
        }
    }

    #[test]
    fn bounds_that_nothing_can_keep_are_known() {
        let expected = |text: &str| Bound::expected(text).unwrap().never_kept().is_some();
        let broken_if = |text: &str| text.parse::<Bound>().unwrap().never_kept().is_some();
        assert!(
            expected("loss<0%") && expected("failed < 0") && expected("p99<0ms") && expected("loss>100%")
        );
        assert!(broken_if("loss>=0%") && broken_if("loss<=100%") && broken_if("loss<101%"));
        assert!(!expected("loss<=0%") && !expected("failed>=100") && !expected("p99<1ms"));
        assert!(!broken_if("loss>0%") && !broken_if("loss<100%") && !broken_if("failed<=100"));
    }

    #[test]
    fn figures_of_those_beside_are_broken_where_nobody_was_there() {
        assert!(broken("hls-stalls>0") && broken("chat-lost>0") && broken("chat-delay-p99>1s"));
        let mut report = report();
        report.hls = Some(crate::report::HlsReport { stalls: 2, stalled_ms: 1_500.0, ..Default::default() });
        let judged = |text: &str| text.parse::<Bound>().unwrap().judge(&report).broken;
        assert!(judged("hls-stalls>1") && !judged("hls-stalls>2") && !judged("hls-stalled>1.5s"));
        assert!(judged("hls-latency-p99>10s"), "nothing was played");
    }

    #[test]
    fn what_is_expected_is_broken_where_it_does_not_hold() {
        for (text, expected) in [
            ("loss<=0.1%", false),
            ("loss<0.1%", true),
            ("p99 >= 100ms", false),
            ("p99>100ms", true),
            ("failed<2", true),
            ("failed<=2", false),
            ("first-keyframe-p99<10s", true),
        ] {
            let verdict = Bound::expected(text).unwrap().judge(&report());
            assert_eq!((verdict.broken, verdict.bound), (expected, format!("expected {text}")));
        }
        assert!(Bound::expected("loss").is_err());
    }

    #[test]
    fn a_time_that_the_client_may_have_made_is_not_held_against_the_server() {
        let judged = |text: &str, late: f64, saturated: bool| {
            let mut report = report();
            let late_ms = Percentiles { p99: late, ..Percentiles::default() };
            (report.client.late_ms, report.client.saturated) = (Some(late_ms), saturated);
            let verdict = text.parse::<Bound>().unwrap().judge(&report);
            (verdict.broken, verdict.not_measured)
        };
        assert_eq!(judged("p99>99ms", 49.0, false), (true, false));
        assert_eq!(judged("p99>99ms", 50.0, false), (false, true));
        assert_eq!(judged("p99>99ms", 1.0, true), (false, true));
        assert_eq!(judged("p99>100ms", 50.0, true), (false, false), "it is kept all the same");
        assert_eq!(judged("loss>0%", 50.0, true), (true, false), "what is lost is lost");
        assert_eq!(judged("first-keyframe-p99>1s", 1.0, true), (true, false), "there is no such time");
        let mut chatted = report();
        let delay_ms = Some(Percentiles { p99: 90.0, ..Percentiles::default() });
        chatted.chat = Some(crate::report::ChatReport { delay_ms, ..Default::default() });
        chatted.client.saturated = true;
        let verdict = "chat-delay-p99>50ms".parse::<Bound>().unwrap().judge(&chatted);
        assert!(verdict.not_measured, "those who chat are this process, too");
        let mut watched = report();
        let late_ms = Some(Percentiles { p99: 50.0, ..Percentiles::default() });
        watched.agents = vec![crate::report::AgentReport { late_ms, ..Default::default() }];
        let verdict = "p99>99ms".parse::<Bound>().unwrap().judge(&watched);
        assert!(verdict.not_measured, "an agent's own timers were late");
    }

    #[test]
    fn who_is_away_is_judged_and_nobody_away_keeps_the_bound() {
        let judged = |report: &RunReport, text: &str| text.parse::<Bound>().unwrap().judge(report).broken;
        let mut report = report();
        assert!(judged(&report, "away-max>1h") && judged(&report, "not-back-share>100%"), "nobody came");
        report.viewers.sessions = 12;
        assert!(!judged(&report, "away-max>0ms") && !judged(&report, "not-back-share>0%"));
        report.viewers.reconnects.away_ms =
            Some(Percentiles { p50: 900.0, p99: 4_000.0, max: 5_000.0, ..Default::default() });
        (report.viewers.reconnects.back, report.viewers.reconnects.not_back) = (2, 1);
        assert!(judged(&report, "not-back>0") && !judged(&report, "not-back>1"));
        assert!(
            judged(&report, "not-back-share>9.9%") && !judged(&report, "not-back-share>10%"),
            "one of ten"
        );
        assert!(
            judged(&report, "away-p50>899ms")
                && judged(&report, "away-p99>3s")
                && judged(&report, "away-max>4.9s")
        );
        assert!(!judged(&report, "away-max>5s"));
    }

    #[test]
    fn a_figure_that_does_not_exist_breaks_its_bound() {
        assert!(broken("first-keyframe-p99>10s"));
        let verdict = "loss<=100%".parse::<Bound>().unwrap().judge(&RunReport::default());
        assert!(verdict.broken && verdict.value.is_none());
    }

    #[test]
    fn what_is_no_bound_says_what_would_be_one() {
        for (text, says) in [
            ("", "needs < or >"),
            ("loss", "needs < or >"),
            ("losss>1%", "there are loss,"),
            ("loss>1", "such as 0.1%"),
            ("p99>100", "such as 100ms"),
            ("failed>none", "such as 0"),
            ("loss>-1%", "such as 0.1%"),
            ("loss>NaN%", "such as 0.1%"),
        ] {
            let error = text.parse::<Bound>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn every_figure_has_a_name_of_its_own() {
        let names: Vec<&str> = metrics().map(|metric| metric.name).collect();
        for (place, name) in names.iter().enumerate() {
            assert!(!names[place + 1..].contains(name), "{name}");
        }
    }
}
