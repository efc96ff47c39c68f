//! Those viewers who had it worst.

use crate::report::{RunReport, ViewerRow, text};

/// Characters of why a session ended that are shown.
const WHY: usize = 80;

/// A table of them; nothing where nobody had anything to complain of.
pub fn worst(report: &RunReport) -> String {
    if report.worst.is_empty() {
        return String::new();
    }
    let heads = [
        "Viewer",
        "Room",
        "Due at",
        "First keyframe",
        "Lost",
        "Longest gap",
        "Stood still",
        "Latency, mean",
        "longest",
    ];
    let heads: String =
        heads.iter().map(|head| format!("<th scope=\"col\" class=\"number\">{head}</th>")).collect();
    let rows: String = report.worst.iter().map(row).collect();
    format!(
        "<section>\n<h2>Who had it worst</h2>\n<p class=\"note\">Sessions that saw nothing, then those whose picture stood still \
         longest, then those that missed most. Every session is a row of viewers.csv.</p>\n\
         <div class=\"card scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Who had it worst\">\n\
         <table class=\"numbers\"><thead><tr>{heads}<th scope=\"col\" class=\"became\">What became of it</th></tr></thead>\n\
         <tbody>\n{rows}</tbody></table>\n</div>\n</section>\n"
    )
}

fn row(row: &ViewerRow) -> String {
    let time = |ms: Option<f64>| ms.map_or(text::UNKNOWN.to_owned(), text::millis);
    let became = match (row.ended.as_str(), row.again) {
        ("", false) => "watched to its end".to_owned(),
        ("", true) => "joined again, and watched to its end".to_owned(),
        (why, _) => text::clip(why, WHY),
    };
    let frozen = match row.freezes {
        0 => text::UNKNOWN.to_owned(),
        1 => text::millis(row.frozen_ms),
        times => format!("{} in {}", text::millis(row.frozen_ms), text::count(times)),
    };
    let cells = [
        text::count(row.viewer),
        text::count(row.room),
        text::clock(row.due_s),
        time(row.first_keyframe_ms),
        text::count(row.lost),
        text::millis(row.longest_gap_ms),
        frozen,
        time(row.latency_mean_ms),
        time(row.latency_max_ms),
    ];
    let cells: String =
        cells.iter().map(|cell| format!("<td class=\"number\">{}</td>", text::escape(cell))).collect();
    format!("<tr>{cells}<td class=\"became\">{}</td></tr>\n", text::escape(&became))
}
