//! A search for people: rows as it goes, and what came of it.

use super::{CapacityReport, StepReport};
use crate::num;
use crate::report::text;

/// Steps that are told.
const STEPS: usize = 200;

/// The head of the table that [`row`] goes on.
pub fn table_head() -> String {
    format!(
        "{:>7}  {:<7}  {:>9}  {:>9}  {:>11}  {:>6}  {:>12}  {}",
        "viewers", "bounds", "loss", "p99", "keyframe", "failed", "client cores", "why"
    )
}

/// One run, in a line.
pub fn row(step: &StepReport) -> String {
    let [loss, latency, keyframe, cores] = cells(step);
    let line = format!(
        "{:>7}  {:<7}  {loss:>9}  {latency:>9}  {keyframe:>11}  {:>6}  {cores:>12}  {}",
        step.viewers,
        step.outcome,
        step.failed,
        reasons(step)
    );
    line.trim_end().to_owned()
}

/// Loss, latency, first keyframe and CPU.
pub(super) fn cells(step: &StepReport) -> [String; 4] {
    let some = |value: Option<f64>, say: fn(f64) -> String| value.map_or(text::UNKNOWN.to_owned(), say);
    [
        some(step.loss_percent, text::percent),
        some(step.latency_p99_ms, text::millis),
        some(step.first_keyframe_p99_ms, text::millis),
        some(step.client_cores, text::cores),
    ]
}

/// What broke, and what else there is to say.
pub(super) fn reasons(step: &StepReport) -> String {
    let broken = step.broken.iter().map(|verdict| text::plain(&verdict.bound));
    broken.chain(step.why.iter().map(|why| text::plain(why))).collect::<Vec<_>>().join("; ")
}

/// What came of it, in sentences.
pub fn summary(report: &CapacityReport) -> Vec<String> {
    let mut said = Vec::new();
    let count = |viewers: u32| text::count(viewers.into());
    match (report.holds, report.breaks) {
        (Some(holds), Some(breaks)) => {
            said.push(format!("{} viewers keep every bound; {} do not.", count(holds), count(breaks)));
        }
        (Some(holds), None) => said.push(format!("{} viewers keep every bound.", count(holds))),
        (None, Some(breaks)) => said.push(format!("Not even {} viewers keep every bound.", count(breaks))),
        (None, None) => said.push("Nothing is known of the server.".to_owned()),
    }
    for (place, limit) in report.limits().iter().enumerate() {
        let first = if place == 0 { "First to break there" } else { "Also broken there" };
        let value = limit
            .verdict
            .value
            .map_or("nothing was measured".to_owned(), |value| format!("it was {value:.3}"));
        let of = report.breaks.map_or(0, |breaks| report.runs(breaks).count());
        said.push(format!("{first}: {} ({value}; {} of {of} runs).", text::plain(&limit.bound), limit.times));
    }
    if let Some(breaks) = report.breaks
        && report.limits().is_empty()
    {
        let why = report.runs(breaks).flat_map(|step| &step.why).next();
        said.extend(why.map(|why| format!("There: {}.", text::plain(why))));
    }
    if let Some(stopped) = report.stopped {
        let why = report.runs(stopped).flat_map(|step| &step.why).next();
        let why = why.map_or(String::new(), |why| format!(": {}", text::plain(why)));
        said.push(format!(
            "The search stopped at {} viewers because of this side{why}. The server may hold more.",
            count(stopped)
        ));
    } else if report.holds.is_some() && report.breaks.is_none() && !report.interrupted {
        said.push("More was not to be tried: the server may hold more.".to_owned());
    }
    if report.interrupted {
        said.push("The search was ended by hand: nothing of this is confirmed.".to_owned());
    }
    said
}

/// A search for an issue or a chat.
pub fn markdown(report: &CapacityReport) -> String {
    let md = text::markdown;
    let name = if report.name.is_empty() { "Capacity" } else { report.name.as_str() };
    let mut out = format!("## {}\n\n", md(name));
    for (place, sentence) in summary(report).iter().enumerate() {
        let sentence = md(sentence);
        out.push_str(&if place == 0 { format!("**{sentence}**\n\n") } else { format!("- {sentence}\n") });
    }
    let when = text::utc(report.started_ms).map_or_else(String::new, |when| format!(", {when}"));
    let bounds: Vec<String> = report.bounds.iter().map(|bound| md(bound)).collect();
    out.push_str(&format!("\n{}{when}\n\nBounds: {}\n\n", md(&report.target.whep), bounds.join(", ")));
    out.push_str("| viewers | | loss | latency p99 | first keyframe p99 | failed | client cores | why |\n");
    out.push_str("|---|---|---|---|---|---|---|---|\n");
    for step in report.steps.iter().take(STEPS) {
        let [loss, latency, keyframe, cores] = cells(step).map(|cell| md(&cell));
        let (viewers, failed) = (text::count(step.viewers.into()), text::count(step.failed));
        let (outcome, why) = (md(&step.outcome), md(&reasons(step)));
        out.push_str(&format!(
            "| {viewers} | {outcome} | {loss} | {latency} | {keyframe} | {failed} | {cores} | {why} |\n"
        ));
    }
    if report.steps.len() > STEPS {
        out.push_str(&format!("\nand {} more\n", text::count(num::len(report.steps.len() - STEPS))));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capacity::{Found, Outcome, html};
    use crate::report::{RunReport, Verdict};

    fn step(viewers: u32, bound: Option<&str>, invalid: Option<&str>) -> StepReport {
        let mut run = RunReport::default();
        run.packets.loss_percent = Some(f64::from(viewers) / 1_000.0);
        run.bounds.push(Verdict {
            bound: "failed>0".to_owned(),
            value: Some(0.0),
            broken: false,
            not_measured: false,
        });
        let broken = |bound: &str| Verdict {
            bound: bound.to_owned(),
            value: Some(0.4),
            broken: true,
            not_measured: false,
        };
        run.bounds.extend(bound.map(broken));
        run.invalid.extend(invalid.map(str::to_owned));
        let (outcome, step) = StepReport::of(viewers, &run);
        let expected = match (bound, invalid) {
            (_, Some(_)) => Outcome::Stopped,
            (Some(_), None) => Outcome::Broken,
            (None, None) => Outcome::Kept,
        };
        assert_eq!(outcome, expected);
        step
    }

    fn report(steps: Vec<StepReport>, found: Found) -> CapacityReport {
        let mut report =
            CapacityReport { name: "a | <b>".to_owned(), steps, confirm: 2, ..CapacityReport::default() };
        report.found(found);
        report
    }

    #[test]
    fn it_says_what_holds_and_what_broke_first() {
        let mut last = step(450, Some("expected loss <= 0.1%"), None);
        last.broken.push(Verdict {
            bound: "p99>1s".to_owned(),
            value: None,
            broken: true,
            not_measured: false,
        });
        let steps = vec![step(400, None, None), step(450, Some("expected loss <= 0.1%"), None), last];
        let report = report(steps, Found { holds: Some(400), breaks: Some(450), stopped: None });
        assert_eq!(
            summary(&report),
            [
                "400 viewers keep every bound; 450 do not.",
                "First to break there: expected loss <= 0.1% (it was 0.400; 2 of 2 runs).",
                "Also broken there: p99>1s (nothing was measured; 1 of 2 runs).",
            ]
        );
        let text = markdown(&report);
        assert!(
            text.starts_with("## a \\| &lt;b&gt;\n\n**400 viewers keep every bound; 450 do not.**"),
            "{text}"
        );
        assert!(
            text.contains("| 450 | broken | 0.450 % | – | – | 0 | – | expected loss &lt;= 0.1% |"),
            "{text}"
        );
        let page = html(&report);
        assert!(page.contains("400 viewers keep every bound") && page.contains("a | &lt;b&gt;"), "{page}");
        assert!(!page.contains("<b>") && !page.contains("<script"), "{page}");
        assert_eq!(page.matches("<tr>").count(), 4, "a head and three runs: {page}");
    }

    #[test]
    fn a_search_that_this_side_ended_says_so() {
        let dropped = "this host dropped 7 datagrams";
        let steps = vec![step(400, None, None), step(800, Some("p99>1s"), Some(dropped))];
        let report = report(steps, Found { holds: Some(400), breaks: None, stopped: Some(800) });
        let said = summary(&report).join(" ");
        assert!(said.contains("stopped at 800 viewers because of this side: this host dropped 7"), "{said}");
        assert!(said.contains("400 viewers keep every bound. "), "{said}");
        assert!(row(&report.steps[1]).contains("stopped"), "{}", row(&report.steps[1]));
    }

    #[test]
    fn a_process_without_cpu_left_speaks_of_itself() {
        let mut run = RunReport::default();
        (run.client.cpu_cores, run.client.host_cores) = (Some(1.0), 8);
        assert_eq!(StepReport::of(9, &run).0, Outcome::Kept);
        let agent = |cores| crate::report::AgentReport {
            cpu_cores: Some(cores),
            host_cores: 4,
            ..Default::default()
        };
        run.agents = vec![agent(1.0), agent(3.7)];
        let (outcome, step) = StepReport::of(9, &run);
        assert_eq!((outcome, step.client_cores, step.host_cores), (Outcome::Stopped, Some(3.7), 4));
        assert!(step.why[0].contains("3.7 of its 4 cores"), "{step:?}");
    }

    #[test]
    fn nothing_found_is_said_as_such() {
        let none = report(Vec::new(), Found { breaks: Some(50), ..Found::default() });
        assert_eq!(summary(&none)[0], "Not even 50 viewers keep every bound.");
        let refused = StepReport::failed(50, Outcome::Broken, "none of 50 viewers connected".to_owned());
        let none = report(vec![refused], Found { breaks: Some(50), ..Found::default() });
        assert_eq!(summary(&none)[1], "There: none of 50 viewers connected.");
        let all = report(Vec::new(), Found { holds: Some(50), ..Found::default() });
        assert!(summary(&all)[1].contains("may hold more"));
    }
}
