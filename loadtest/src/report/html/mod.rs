//! A run as one page that needs nothing but itself: no script, nothing to fetch, in light and dark, on a telephone and
//! on paper.

mod charts;
mod details;
mod words;
mod worst;

use self::words::{GLOSSARY, TIME};
use super::around::{Around, MOST, WINDOW_S, around};
use super::chief::chief;
use super::standing::{Standing, judge, others_alone, sentence, value};
use super::thin::thin;
use super::{RunReport, beside, text};

const CSS: &str = include_str!("page.css");
/// Bounds that are shown.
const BOUNDS: usize = 100;
/// Whatever a name may hold, a page that runs no script and fetches nothing is safe to open.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page of a run.
pub fn html(report: &RunReport) -> String {
    let name = if report.name.is_empty() { "Load test" } else { report.name.as_str() };
    let name = text::escape(name);
    let timeline = thin(&report.timeline);
    let around = around(&report.happenings, &report.timeline);
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en-GB\">\n<head>\n<meta charset=\"utf-8\"/>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\"/>\n\
         <title>{name}</title>\n<style>\n{CSS}</style>\n</head>\n<body>\n",
        text::escape(POLICY)
    );
    let when = text::utc(report.started_ms).map_or_else(String::new, |when| format!(" · {when}"));
    let (whep, seconds) = (text::escape(&beside::target(report)), text::clock(report.seconds));
    page.push_str(&format!(
        "<header>\n<p>Load test report</p>\n<h1>{name}</h1>\n<p>{whep} · {seconds}{when}</p>\n</header>\n<main>\n"
    ));
    page.push_str(&verdict(report));
    page.push_str(&tiles(report));
    page.push_str(&bounds(report));
    let watched = !others_alone(report);
    page.push_str(&charts::over_time(&timeline, &report.happenings, report.timeline.len(), watched));
    page.push_str(&events(&around, report.happenings.len()));
    page.push_str(&charts::spreads(report));
    page.push_str(&worst::worst(report));
    page.push_str(&details::details(report));
    page.push_str(&reading());
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn verdict(report: &RunReport) -> String {
    let judgement = judge(report);
    let class = match judgement.standing {
        Standing::Invalid => "invalid",
        Standing::Broken => "broken",
        Standing::Kept => "kept",
        Standing::Unjudged => "unjudged",
    };
    let (headline, said) = (text::escape(&judgement.headline), sentence(report));
    let said = text::escape(&said);
    let mut section = format!("<section class=\"verdict {class}\">\n<h2>{headline}</h2>\n<p>{said}</p>\n");
    if !judgement.reasons.is_empty() {
        section.push_str("<ul>\n");
        for reason in &judgement.reasons {
            section.push_str(&format!("<li>{}</li>\n", text::escape(reason)));
        }
        section.push_str("</ul>\n");
    }
    section.push_str("</section>\n");
    section
}

fn tiles(report: &RunReport) -> String {
    let mut section = "<section>\n<h2>At a glance</h2>\n<dl class=\"tiles\">\n".to_owned();
    for figure in chief(report) {
        let (value, also) = (text::escape(&figure.value), text::escape(&figure.also));
        section.push_str(&format!(
            "<div><dt>{}</dt><dd class=\"value\">{value}</dd><dd class=\"also\">{also}</dd></div>\n",
            figure.name
        ));
    }
    section.push_str("</dl>\n</section>\n");
    section
}

fn bounds(report: &RunReport) -> String {
    if report.bounds.is_empty() {
        return String::new();
    }
    let mut section =
        "<section>\n<h2>Bounds</h2>\n<div class=\"card\">\n<table>\n<thead><tr><th scope=\"col\">bound</th>\
                       <th scope=\"col\">it is</th><th scope=\"col\">so it is</th></tr></thead>\n<tbody>\n"
            .to_owned();
    for verdict in report.bounds.iter().take(BOUNDS) {
        let (bound, value) = (text::escape(&verdict.bound), text::escape(&value(verdict)));
        let (class, word) = match (verdict.broken, verdict.not_measured) {
            (true, _) => ("is-broken", "✗ broken"),
            (false, true) => ("is-broken", "? not measured: the client was the limit"),
            (false, false) => ("is-kept", "✓ kept"),
        };
        section.push_str(&format!(
            "<tr><td>{bound}</td><td>{value}</td><td class=\"{class}\">{word}</td></tr>\n"
        ));
    }
    section.push_str("</tbody>\n</table>\n");
    section.push_str(&more(report.bounds.len(), BOUNDS));
    section.push_str("</div>\n</section>\n");
    section
}

/// What viewers saw around each thing that was done.
fn events(around: &[Around<'_>], all: usize) -> String {
    if around.is_empty() {
        return String::new();
    }
    let gap = |gap: Option<f64>| gap.map_or(text::UNKNOWN.to_owned(), text::millis);
    let some = |count: Option<u64>| count.map_or(text::UNKNOWN.to_owned(), text::count);
    let mut section = format!(
        "<section>\n<h2>Around each event</h2>\n<p class=\"note\">The longest gap of any track in the {WINDOW_S:.0} s before \
         and the {WINDOW_S:.0} s after it, what froze, and which viewers failed or ended in those after it.</p>\n"
    );
    for (place, found) in around.iter().enumerate() {
        let done = found.happening;
        let (what, said) = (text::escape(&done.what), text::escape(&done.said));
        let failed = if done.ok { "" } else { " <span class=\"is-broken\">could not be done</span>" };
        section.push_str(&format!(
            "<div class=\"card\">\n<h3>{}. {what}, at {}{failed}</h3>\n",
            place + 1,
            text::clock(done.at_s)
        ));
        if !said.is_empty() {
            section.push_str(&format!("<p class=\"note\">{said}</p>\n"));
        }
        section.push_str("<table class=\"numbers\"><tbody>\n");
        for (name, figure) in [
            ("Longest gap before", gap(found.gap_before_ms)),
            ("Longest gap after", gap(found.gap_after_ms)),
            ("Freezes after", some(found.freezes)),
            ("Viewers lost after", some(found.lost)),
        ] {
            section.push_str(&details::row(name, &figure));
        }
        section.push_str("</tbody></table>\n</div>\n");
    }
    section.push_str(&more(all, MOST));
    section.push_str("</section>\n");
    section
}

fn more(all: usize, shown: usize) -> String {
    match all.checked_sub(shown) {
        Some(more) if more > 0 => format!("<p class=\"note\">and {more} more, in the JSON report</p>\n"),
        _ => String::new(),
    }
}

fn reading() -> String {
    let mut section =
        "<section>\n<h2>How to read it</h2>\n<div class=\"card\">\n<dl class=\"words\">\n".to_owned();
    for (word, meaning) in GLOSSARY {
        section.push_str(&format!("<dt>{word}</dt><dd>{meaning}</dd>\n"));
    }
    section.push_str(&format!("</dl>\n<p class=\"note\">{TIME}</p>\n</div>\n</section>\n"));
    section
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
