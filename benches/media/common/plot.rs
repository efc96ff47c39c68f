//! Plots of the scoreboard, drawn from its tables, so that they say what the tables say.

use std::fmt::Write as _;
use std::path::Path;

const WIDTH: f64 = 840.0;
const STYLE: &str = "\
    .card { fill: #ffffff; stroke: #d0d7de }\n\
    text { font: 13px system-ui, -apple-system, 'Segoe UI', sans-serif; fill: #1f2328 }\n\
    .title { font-size: 15px; font-weight: 600 }\n\
    .small { font-size: 12px; fill: #59636e }\n\
    .end { text-anchor: end } .middle { text-anchor: middle }\n\
    .grid { stroke: #d8dee4; stroke-width: 1 }\n\
    .target { stroke: #1f2328; stroke-width: 1.5; stroke-dasharray: 4 3 }\n\
    .ours { fill: #2f6feb; stroke: #2f6feb } .floor { fill: #6e7781; stroke: #6e7781 }\n\
    .missed { fill: #c4432b; stroke: #c4432b }\n\
    .line { fill: none; stroke-width: 2.5 } .dashed { stroke-dasharray: 7 4 }\n\
    text.ours, text.floor, text.missed { stroke: none }\n\
    @media (prefers-color-scheme: dark) {\n\
    .card { fill: #0d1117; stroke: #30363d }\n\
    text { fill: #e6edf3 } .small { fill: #9198a1 }\n\
    .grid { stroke: #262c36 } .target { stroke: #e6edf3 }\n\
    .ours { fill: #6ea8fe; stroke: #6ea8fe } .floor { fill: #a5adb6; stroke: #a5adb6 }\n\
    .missed { fill: #ff8a70; stroke: #ff8a70 } .line { fill: none }\n\
    }\n";

/// A row of a table.
#[derive(Debug, Clone)]
struct Figure {
    name: String,
    ours: f64,
    reference: Option<f64>,
    ratio: Option<f64>,
    /// Its words, such as `ratio ≤ 1.25`.
    target: String,
    held: bool,
}

impl Figure {
    /// From a line of Markdown; none for what is no row of figures.
    fn read(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, name, _unit, ours, reference, ratio, target, held, ..] = cells[..] else { return None };
        let ratio = ratio.split("**").nth(1).and_then(|ratio| ratio.parse().ok());
        Some(Self {
            name: name.to_owned(),
            ours: ours.parse().ok()?,
            reference: reference.parse().ok(),
            ratio,
            target: target.to_owned(),
            held: held == "yes",
        })
    }

    /// The figure that has a target, and how far it goes towards it: 1 stands at it, beyond is missed.
    fn part(&self) -> Option<(f64, f64)> {
        let (sign, bound) = self.target.split_once(['≤', '≥'])?;
        let bound: f64 = bound.trim().parse().ok()?;
        let figure = if sign.trim() == "ratio" { self.ratio? } else { self.ours };
        let part = if self.target.contains('≥') { bound / figure } else { figure / bound };
        Some((figure, part))
    }
}

/// Draws the plots of a scoreboard into a folder.
pub fn draw(scoreboard: &str, folder: &Path) {
    let figures: Vec<Figure> = scoreboard.lines().filter_map(Figure::read).collect();
    std::fs::write(folder.join("targets.svg"), targets(&figures)).unwrap();
    std::fs::write(folder.join("egress.svg"), egress(&figures)).unwrap();
}

fn card(height: f64, title: &str, body: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" \
         height=\"{height}\" role=\"img\">\n<title>{title}</title>\n<style>\n{STYLE}</style>\n\
         <rect class=\"card\" x=\"0.5\" y=\"0.5\" width=\"{}\" height=\"{}\" rx=\"8\"/>\n\
         <text class=\"title\" x=\"20\" y=\"30\">{title}</text>\n{body}</svg>\n",
        WIDTH - 1.0,
        height - 1.0,
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

/// A bar for each figure that has a target; all targets stand at one line.
fn targets(figures: &[Figure]) -> String {
    const LEFT: f64 = 400.0;
    const RIGHT: f64 = 670.0;
    const TOP: f64 = 62.0;
    const STEP: f64 = 26.0;
    let rows: Vec<(&Figure, f64, f64)> = figures
        .iter()
        .filter_map(|figure| figure.part().map(|(value, part)| (figure, value, part)))
        .collect();
    let most = rows.iter().map(|(_, _, part)| *part).fold(1.2, f64::max);
    let x = |part: f64| LEFT + (RIGHT - LEFT) * part / most;
    let bottom = TOP + STEP * rows.len() as f64;
    let mut body = String::new();
    for quarter in 0..4 {
        let at = x(f64::from(quarter) / 4.0);
        let _ = writeln!(body, "<path class=\"grid\" d=\"M{at:.1} {TOP}V{bottom}\"/>");
    }
    for (nth, (figure, value, part)) in rows.iter().enumerate() {
        let top = TOP + STEP * nth as f64;
        let (class, base) = (if figure.held { "ours" } else { "missed" }, top + 17.0);
        let end = x(*part).max(LEFT + 1.0);
        let name = escaped(&figure.name);
        let _ = writeln!(body, "<text class=\"end\" x=\"{}\" y=\"{base}\">{name}</text>", LEFT - 10.0);
        let width = end - LEFT;
        let _ = writeln!(
            body,
            "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"14\" rx=\"2\"/>",
            top + 6.0
        );
        let target = escaped(figure.target.trim_start_matches("ratio").trim());
        let word = if figure.held { "" } else { ", missed" };
        let said = format!("{value:.2} ({target}{word})");
        let at = end.max(x(1.0)) + 8.0;
        let class = if figure.held { "small" } else { "missed" };
        let _ = writeln!(body, "<text class=\"{class}\" x=\"{at:.1}\" y=\"{base}\">{said}</text>");
    }
    let at = x(1.0);
    let _ = writeln!(body, "<path class=\"target\" d=\"M{at:.1} {}V{bottom}\"/>", TOP - 4.0);
    let _ = writeln!(body, "<text class=\"small middle\" x=\"{at:.1}\" y=\"{}\">target</text>", TOP - 9.0);
    card(bottom + 20.0, "Every figure that has a target, as a part of it: shorter is better", &body)
}

/// One of the lines of the egress plot: viewers and microseconds.
struct Line {
    label: &'static str,
    class: &'static str,
    points: Vec<(f64, f64)>,
}

impl Line {
    fn new(figures: &[Figure], label: &'static str, sinks: &str, class: &'static str) -> Self {
        let cost =
            |figure: &Figure| if class.starts_with("ours") { Some(figure.ours) } else { figure.reference };
        let point = |figure: &Figure| {
            let viewers = figure.name.strip_prefix("egress, ")?.strip_suffix(sinks)?;
            Some((viewers.parse().ok()?, cost(figure)?))
        };
        Self { label, class, points: figures.iter().filter_map(point).collect() }
    }
}

/// What a packet costs as the audience grows, ours and the floor.
fn egress(figures: &[Figure]) -> String {
    const LEFT: f64 = 64.0;
    const RIGHT: f64 = 640.0;
    const TOP: f64 = 62.0;
    const BOTTOM: f64 = 330.0;
    let (read, unread) = (" viewers, receivers read", " viewers, receivers not read");
    let lines = [
        Line::new(figures, "ours, receivers read", read, "ours"),
        Line::new(figures, "floor, receivers read", read, "floor"),
        Line::new(figures, "ours, receivers not read", unread, "ours dashed"),
        Line::new(figures, "floor, receivers not read", unread, "floor dashed"),
    ];
    let points = || lines.iter().flat_map(|line| line.points.iter());
    let most = points().map(|(_, cost)| cost.ceil()).fold(1.0, f64::max);
    let few = points().map(|(viewers, _)| *viewers).fold(f64::INFINITY, f64::min);
    let many = points().map(|(viewers, _)| *viewers).fold(few * 2.0, f64::max);
    let x = |viewers: f64| LEFT + (RIGHT - LEFT) * (viewers / few).ln() / (many / few).ln();
    let y = |cost: f64| BOTTOM - (BOTTOM - TOP) * cost / most;
    let mut body = String::new();
    for half in 0..=(most * 2.0) as u32 {
        let (cost, at) = (f64::from(half) / 2.0, y(f64::from(half) / 2.0));
        let _ = writeln!(body, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>");
        let _ = writeln!(
            body,
            "<text class=\"small end\" x=\"{}\" y=\"{:.1}\">{cost:.1}</text>",
            LEFT - 8.0,
            at + 4.0
        );
    }
    for (viewers, _) in &lines[0].points {
        let at = x(*viewers);
        let _ = writeln!(
            body,
            "<text class=\"small middle\" x=\"{at:.1}\" y=\"{}\">{viewers}</text>",
            BOTTOM + 18.0
        );
    }
    let _ = writeln!(body, "<text class=\"small\" x=\"{LEFT}\" y=\"50\">µs of CPU a packet</text>");
    let middle = f64::midpoint(LEFT, RIGHT);
    let _ = writeln!(
        body,
        "<text class=\"small middle\" x=\"{middle}\" y=\"{}\">viewers of one stream</text>",
        BOTTOM + 38.0
    );
    // Labels stand at the ends of their lines, one below the other where the lines meet.
    let mut labels: Vec<(f64, &Line)> =
        lines.iter().filter_map(|line| line.points.last().map(|(_, cost)| (y(*cost), line))).collect();
    labels.sort_by(|(a, _), (b, _)| a.total_cmp(b));
    let mut above = 0.0_f64;
    for (at, line) in labels {
        let place: Vec<String> =
            line.points.iter().map(|(n, cost)| format!("{:.1} {:.1}", x(*n), y(*cost))).collect();
        let _ = writeln!(body, "<path class=\"{} line\" d=\"M{}\"/>", line.class, place.join("L"));
        let base = (at + 4.0).max(above + 17.0);
        above = base;
        let class = line.class.split(' ').next().unwrap_or_default();
        let _ = writeln!(
            body,
            "<text class=\"{class}\" x=\"{}\" y=\"{base:.1}\">{}</text>",
            RIGHT + 10.0,
            line.label
        );
    }
    card(BOTTOM + 54.0, "A forwarded packet, as the audience grows", &body)
}
