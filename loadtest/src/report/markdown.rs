//! A run for an issue or a chat.

use super::around::{WINDOW_S, around};
use super::chief::chief;
use super::standing::{judge, sentence, value};
use super::{RunReport, agents, beside, text};

/// Agents that are told.
const AGENTS: usize = 100;
/// Bounds that are told.
const BOUNDS: usize = 40;

/// A short summary in Markdown.
pub fn markdown(report: &RunReport) -> String {
    let md = text::markdown;
    let judgement = judge(report);
    let name = if report.name.is_empty() { "Load test" } else { report.name.as_str() };
    let mut out = format!("## {}\n\n**{}**\n\n", md(name), md(&judgement.headline));
    for reason in &judgement.reasons {
        out.push_str(&format!("- {}\n", md(reason)));
    }
    if !judgement.reasons.is_empty() {
        out.push('\n');
    }
    out.push_str(&md(&sentence(report)));
    let when = text::utc(report.started_ms).map_or_else(String::new, |when| format!(", {when}"));
    out.push_str(&format!("\n{}{when}\n\n", md(&beside::target(report))));
    out.push_str("| figure | value | |\n|---|---|---|\n");
    for figure in chief(report) {
        out.push_str(&format!("| {} | {} | {} |\n", figure.name, md(&figure.value), md(&figure.also)));
    }
    for section in beside::sections(report) {
        out.push_str(&format!("\n| {} | |\n|---|---|\n", section.title));
        for (name, value) in &section.rows {
            out.push_str(&format!("| {} | {} |\n", md(name), md(value)));
        }
    }
    if !report.bounds.is_empty() {
        out.push_str("\n| bound | | value |\n|---|---|---|\n");
        for verdict in report.bounds.iter().take(BOUNDS) {
            let word = if verdict.broken { "**broken**" } else { verdict.word() };
            out.push_str(&format!("| {} | {word} | {} |\n", md(&verdict.bound), md(&value(verdict))));
        }
    }
    if !report.agents.is_empty() {
        out.push_str(
            "\n| agent | viewers connected | packets | its clock | CPU | |\n|---|---|---|---|---|---|\n",
        );
        for agent in report.agents.iter().take(AGENTS) {
            let [viewers, packets, clock, cpu, lost] = agents::cells(agent).map(|cell| md(&cell));
            out.push_str(&format!(
                "| {} | {viewers} | {packets} | {clock} | {cpu} | {lost} |\n",
                md(&agent.name)
            ));
        }
    }
    let around = around(&report.happenings, &report.timeline);
    if !around.is_empty() {
        let head = format!("longest gap {WINDOW_S:.0} s before | {WINDOW_S:.0} s after");
        out.push_str(&format!(
            "\n| at | done | {head} | freezes | viewers lost |\n|---|---|---|---|---|---|\n"
        ));
        for found in &around {
            let gap = |gap: Option<f64>| gap.map_or(text::UNKNOWN.to_owned(), text::millis);
            let some = |count: Option<u64>| count.map_or(text::UNKNOWN.to_owned(), text::count);
            let failed = if found.happening.ok { "" } else { " (failed)" };
            out.push_str(&format!(
                "| {} | {}{failed} | {} | {} | {} | {} |\n",
                text::clock(found.happening.at_s),
                md(&found.happening.what),
                gap(found.gap_before_ms),
                gap(found.gap_after_ms),
                some(found.freezes),
                some(found.lost)
            ));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn the_summary_says_what_matters_and_nothing_breaks_its_tables() {
        let mut report = sample::full();
        report.name = "a | b\n<script>@all".to_owned();
        report.happenings[0].what = "kill | `x`\n| y |".to_owned();
        let summary = markdown(&report);
        assert!(summary.starts_with("## a \\| b &lt;script&gt;&#64;all\n"), "{summary}");
        for part in
            ["**Broken: 1 of 2 bounds**", "| loss&gt;0.1% | **broken** | 0.240 % |", "1.40 s", "| 12 |"]
        {
            assert!(summary.contains(part), "{part}: {summary}");
        }
        let mut wide = 0;
        for row in summary.lines().filter(|line| line.starts_with('|')) {
            let cells = row.replace("\\|", "").matches('|').count() - 1;
            assert!([2, 3, 6].contains(&cells), "{row}");
            wide += usize::from(cells == 6);
        }
        assert_eq!(wide, 3, "{summary}");
    }

    #[test]
    fn a_run_that_measured_nothing_has_a_summary() {
        let summary = markdown(&RunReport::default());
        assert!(
            summary.starts_with("## Load test\n") && summary.contains("no viewer connected"),
            "{summary}"
        );
        assert!(!summary.contains("| bound |") && !summary.contains("| at |"), "{summary}");
        let mut hostile = sample::full();
        hostile.happenings = vec![hostile.happenings[0].clone(); 5_000];
        assert!(markdown(&hostile).len() < 20_000);
    }
}
