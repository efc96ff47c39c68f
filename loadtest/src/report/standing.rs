//! How a run stands, in the words that come first wherever it is shown.

use super::{RunReport, SCHEMA, Verdict, beside, text};

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its figures do not speak of the server.
    Invalid,
    /// A bound is broken.
    Broken,
    /// All bounds are kept.
    Kept,
    /// There were no bounds.
    Unjudged,
}

/// The judgement on a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// In one word.
    pub standing: Standing,
    /// In a few.
    pub headline: String,
    /// Why, and what else limits what the figures say.
    pub reasons: Vec<String>,
}

/// Reasons that are told.
const REASONS: usize = 12;

/// The judgement on a run.
pub fn judge(report: &RunReport) -> Judgement {
    let bounds = report.bounds.len();
    let broken: Vec<&Verdict> = report.bounds.iter().filter(|verdict| verdict.broken).collect();
    let of =
        if bounds == 1 { "the one bound".to_owned() } else { format!("{} of {bounds} bounds", broken.len()) };
    let all = if bounds == 1 { "the one bound".to_owned() } else { format!("all {bounds} bounds") };
    let (standing, headline) = if !report.invalid.is_empty() {
        (Standing::Invalid, "INVALID: the figures do not speak of the server".to_owned())
    } else if !broken.is_empty() {
        (Standing::Broken, format!("Broken: {of}"))
    } else if bounds > 0 {
        (Standing::Kept, format!("Kept: {all}"))
    } else {
        (Standing::Unjudged, "Measured: no bounds were set".to_owned())
    };
    let mut reasons: Vec<String> = report.invalid.iter().map(|reason| text::plain(reason)).collect();
    reasons.extend(broken.iter().map(|verdict| {
        let bound = text::plain(&verdict.bound);
        match verdict.value {
            Some(_) => format!("{bound} is broken: it is {}", value(verdict)),
            None => format!("{bound} is broken: nothing was measured"),
        }
    }));
    if reasons.len() > REASONS {
        let more = reasons.len() - REASONS;
        reasons.truncate(REASONS);
        reasons.push(format!("and {more} more"));
    }
    if report.interrupted {
        reasons.push("it was stopped by hand before its end".to_owned());
    }
    if report.viewers.sessions == 0 && !others_alone(report) {
        reasons.push("no viewer connected".to_owned());
    }
    if report.schema != SCHEMA {
        reasons.push(format!(
            "the report has schema {} and this program shows schema {SCHEMA}: figures may mean other things",
            report.schema
        ));
    }
    Judgement { standing, headline, reasons }
}

/// Nobody was to watch by WHEP.
pub fn others_alone(report: &RunReport) -> bool {
    report.viewers.wanted == 0 && (report.hls.is_some() || report.chat.is_some())
}

/// The figure of a verdict, in the unit of its bound.
pub fn value(verdict: &Verdict) -> String {
    let Some(value) = verdict.value else { return "nothing was measured".to_owned() };
    let bound = verdict.bound.trim_end();
    if bound.ends_with('%') {
        text::percent(value)
    } else if bound.ends_with(|last: char| last.is_ascii_alphabetic()) {
        text::millis(value)
    } else {
        text::number(value, 0)
    }
}

/// Which viewers' packets the figures are of, where it is not everybody's.
pub fn mode(report: &RunReport) -> Option<String> {
    let mode = &report.mode;
    (mode.headers > 0).then(|| {
        format!(
            "sampled: {} of {} sessions decrypted every packet, and latency, order and damage are theirs; the others' \
             media was counted by its headers",
            text::count(mode.whole),
            text::count(mode.whole.saturating_add(mode.headers))
        )
    })
}

/// What happened, in a sentence for each kind of audience.
pub fn sentence(report: &RunReport) -> String {
    let mut said = Vec::new();
    if !others_alone(report) {
        said.push(watched(report));
    }
    said.extend(beside::sections(report).into_iter().map(|section| section.sentence));
    said.join(" ")
}

fn watched(report: &RunReport) -> String {
    let viewers = &report.viewers;
    let mut said = format!(
        "{} of {} viewers connected in {}",
        text::count(viewers.seated),
        text::count(viewers.wanted),
        text::clock(report.seconds)
    );
    if let Some(loss) = report.packets.loss_percent {
        said.push_str(&format!("; {} of packets never came", text::percent(loss)));
    }
    if let Some(latency) = report.latency_ms {
        let (half, most) = (text::millis(latency.p50), text::millis(latency.p99));
        said.push_str(&format!("; half came within {half} of capture, 99 % within {most}"));
    }
    if let Some(gap) = report.longest_gap_ms {
        said.push_str(&format!("; no track stood still for more than {}", text::millis(gap.max)));
    }
    said.push('.');
    if let Some(mode) = mode(report) {
        said.push_str(&format!(" Mode {mode}."));
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Percentiles;

    fn verdict(bound: &str, value: Option<f64>, broken: bool) -> Verdict {
        Verdict { bound: bound.to_owned(), value, broken, not_measured: false }
    }

    fn judged(invalid: &[&str], bounds: Vec<Verdict>) -> Judgement {
        let invalid = invalid.iter().map(|reason| (*reason).to_owned()).collect();
        let mut report = RunReport { schema: SCHEMA, invalid, bounds, ..RunReport::default() };
        report.viewers.sessions = 1;
        judge(&report)
    }

    #[test]
    fn an_invalid_run_is_never_called_kept_or_broken() {
        let found = judged(&["this host dropped 7"], vec![verdict("loss>0.1%", Some(0.24), true)]);
        assert_eq!(found.standing, Standing::Invalid);
        assert_eq!(found.reasons, ["this host dropped 7", "loss>0.1% is broken: it is 0.240 %"]);
        let kept = judged(&["late"], vec![verdict("loss>0.1%", Some(0.0), false)]);
        assert_eq!(kept.standing, Standing::Invalid);
    }

    #[test]
    fn broken_kept_and_unjudged_are_told_apart() {
        let kept = verdict("failed>0", Some(0.0), false);
        let broken = judged(&[], vec![kept.clone(), verdict("p99>100ms", None, true)]);
        assert_eq!((broken.standing, broken.headline.as_str()), (Standing::Broken, "Broken: 1 of 2 bounds"));
        assert_eq!(broken.reasons, ["p99>100ms is broken: nothing was measured"]);
        let found = judged(&[], vec![kept.clone(), kept.clone()]);
        assert_eq!((found.standing, found.headline.as_str()), (Standing::Kept, "Kept: all 2 bounds"));
        assert_eq!(judged(&[], vec![kept]).headline, "Kept: the one bound");
        assert_eq!(judged(&[], Vec::new()).standing, Standing::Unjudged);
        assert_eq!(judge(&RunReport::default()).reasons.len(), 2, "nobody connected, another schema");
    }

    #[test]
    fn a_figure_has_the_unit_of_its_bound() {
        for (bound, expected) in [("loss>0.1%", "4.20 %"), ("p99>1s", "4.20 ms"), ("failed>0", "4")] {
            assert_eq!(value(&verdict(bound, Some(4.2), true)), expected);
        }
        let mut report = RunReport { seconds: 120.0, ..RunReport::default() };
        assert_eq!(sentence(&report), "0 of 0 viewers connected in 120 s.");
        report.latency_ms = Some(Percentiles { p50: 4.0, p99: 18.0, ..Percentiles::default() });
        let whole = sentence(&report);
        report.mode.whole = 5;
        assert_eq!(sentence(&report), whole, "everybody decrypted everything");
        report.mode.headers = 95;
        assert!(
            sentence(&report).contains(" Mode sampled: 5 of 100 sessions decrypted"),
            "{}",
            sentence(&report)
        );
        assert!(whole.ends_with("; half came within 4.00 ms of capture, 99 % within 18.0 ms."));
    }
}
