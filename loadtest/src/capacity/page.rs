//! A search as one page that needs nothing but itself.

use super::CapacityReport;
use super::words::{cells, reasons, summary};
use crate::report::text;

/// The look of a run's page.
const CSS: &str = include_str!("../report/html/page.css");
/// Whatever a name may hold, a page that runs no script and fetches nothing is safe to open.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// Runs that are shown.
const STEPS: usize = 500;

/// The page of a search.
pub fn html(report: &CapacityReport) -> String {
    let escape = text::escape;
    let name = escape(if report.name.is_empty() { "Capacity" } else { report.name.as_str() });
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en-GB\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\"/>\n\
         <title>{name}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n",
        escape(POLICY)
    );
    let when = text::utc(report.started_ms).map_or_else(String::new, |when| format!(" · {when}"));
    let whep = escape(&report.target.whep);
    page.push_str(&format!(
        "<header>\n<p>Search for the largest audience</p>\n<h1>{name}</h1>\n<p>{whep}{when}</p>\n</header>\n<main>\n"
    ));
    page.push_str(&verdict(report));
    let bounds: String = report.bounds.iter().map(|bound| format!("<li>{}</li>\n", escape(bound))).collect();
    page.push_str(&format!(
        "<section>\n<h2>Bounds</h2>\n<div class=\"card\"><ul>\n{bounds}</ul></div>\n</section>\n"
    ));
    page.push_str(&runs(report));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn verdict(report: &CapacityReport) -> String {
    let class = match (report.holds, report.stopped) {
        _ if report.interrupted => "unjudged",
        (Some(_), None) => "kept",
        (None, None) => "broken",
        (_, Some(_)) => "invalid",
    };
    let said = summary(report);
    let (headline, rest) = said.split_first().map_or(("", &[][..]), |(first, rest)| (first.as_str(), rest));
    let rest: String = rest.iter().map(|sentence| format!("<li>{}</li>\n", text::escape(sentence))).collect();
    let headline = text::escape(headline);
    format!("<section class=\"verdict {class}\">\n<h2>{headline}</h2>\n<ul>\n{rest}</ul>\n</section>\n")
}

fn runs(report: &CapacityReport) -> String {
    let head =
        ["viewers", "bounds", "loss", "latency p99", "first keyframe p99", "failed", "client cores", "why"];
    let head: String = head.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    let mut section = format!(
        "<section>\n<h2>Each run, in order</h2>\n<div class=\"card scroll\">\n<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n"
    );
    for step in report.steps.iter().take(STEPS) {
        let class = match step.outcome.as_str() {
            "kept" => "is-kept",
            "broken" => "is-broken",
            _ => "note",
        };
        let [loss, latency, keyframe, cores] = cells(step).map(|cell| text::escape(&cell));
        let (outcome, why) = (text::escape(&step.outcome), text::escape(&reasons(step)));
        section.push_str(&format!(
            "<tr><td>{}</td><td class=\"{class}\">{outcome}</td><td>{loss}</td><td>{latency}</td><td>{keyframe}</td>\
             <td>{}</td><td>{cores}</td><td>{why}</td></tr>\n",
            text::count(step.viewers.into()),
            text::count(step.failed)
        ));
    }
    section.push_str("</tbody>\n</table>\n</div>\n</section>\n");
    section
}
