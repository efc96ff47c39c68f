//! A run on a terminal, drawn again each second.

use std::collections::VecDeque;
use std::io::{self, Stderr};

use freshet_loadtest::run::Progress;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{EnterAlternateScreen, LeaveAlternateScreen};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Gauge, Paragraph, Sparkline};
use ratatui::{Frame, Terminal};

/// Seconds that are drawn.
const SECONDS: usize = 240;
/// Events that are told.
const EVENTS: usize = 6;

/// What is drawn of the seconds that have passed.
#[derive(Debug, Clone, Default)]
pub struct Past {
    watching: VecDeque<u64>,
    joined: VecDeque<u64>,
    p99_us: VecDeque<u64>,
    gap_ms: VecDeque<u64>,
}

impl Past {
    /// Adds a second.
    pub fn add(&mut self, progress: &Progress) {
        let second = &progress.second;
        let p99 = second.latency_ms.map_or(0.0, |latency| latency.p99 * 1_000.0);
        for (line, value) in [
            (&mut self.watching, second.watching),
            (&mut self.joined, second.joined),
            (&mut self.p99_us, whole(p99)),
            (&mut self.gap_ms, whole(second.longest_gap_ms)),
        ] {
            if line.len() >= SECONDS {
                line.pop_front();
            }
            line.push_back(value);
        }
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "float casts saturate, NaN becomes 0"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// The terminal while a run goes on. It is as it was when this is dropped.
pub struct Dashboard {
    terminal: Terminal<CrosstermBackend<Stderr>>,
    name: String,
    target: String,
    past: Past,
}

impl Dashboard {
    /// Takes the terminal. What is typed goes where it went, so that Ctrl-C ends the run.
    pub fn open(name: &str, target: &str) -> io::Result<Self> {
        execute!(io::stderr(), EnterAlternateScreen, Hide)?;
        let terminal = Terminal::new(CrosstermBackend::new(io::stderr()));
        let terminal = terminal.inspect_err(|_| close())?;
        Ok(Self { terminal, name: name.to_owned(), target: target.to_owned(), past: Past::default() })
    }

    /// Draws another second.
    pub fn show(&mut self, progress: &Progress) -> io::Result<()> {
        self.past.add(progress);
        let (name, target, past) = (&self.name, &self.target, &self.past);
        self.terminal.draw(|frame| draw(frame, name, target, progress, past)).map(drop)
    }
}

impl Drop for Dashboard {
    fn drop(&mut self) {
        close();
    }
}

fn close() {
    // There is nowhere to say that it cannot be done.
    let _left_as_it_is = execute!(io::stderr(), LeaveAlternateScreen, Show);
}

fn draw(frame: &mut Frame<'_>, name: &str, target: &str, progress: &Progress, past: &Past) {
    let rows = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(1),
        Constraint::Length(5),
        Constraint::Min(4),
        Constraint::Min(4),
        Constraint::Length(8),
    ]);
    let [head, time, figures, viewers, latency, events] = rows.areas(frame.area());
    let title = Line::from(vec![Span::from(name).bold(), Span::from(format!("  {target}")).dim()]);
    frame.render_widget(Paragraph::new(title), head);
    gauge(frame, time, progress);
    frame.render_widget(Paragraph::new(lines(progress)), figures);
    let halves = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]);
    let [watching, joins] = halves.areas(viewers);
    spark(frame, watching, "watching", &past.watching, Color::Cyan);
    spark(frame, joins, "joins a second", &past.joined, Color::Green);
    let [late, gaps] = halves.areas(latency);
    spark(frame, late, "latency p99, µs", &past.p99_us, Color::Yellow);
    spark(frame, gaps, "longest gap, ms", &past.gap_ms, Color::Magenta);
    frame.render_widget(Paragraph::new(happened(progress)).block(Block::bordered().title("events")), events);
}

fn gauge(frame: &mut Frame<'_>, area: Rect, progress: &Progress) {
    let total = progress.total.as_secs_f64().max(0.001);
    let left = (total - progress.second.at_s).max(0.0);
    let label = format!("{left:.0} s of {total:.0} s left · Ctrl-C ends it with a report");
    let ratio = (progress.second.at_s / total).clamp(0.0, 1.0);
    let style = Style::new().fg(Color::Blue);
    frame.render_widget(Gauge::default().gauge_style(style).ratio(ratio).label(label), area);
}

fn lines(progress: &Progress) -> Vec<Line<'static>> {
    let second = &progress.second;
    let failed = Span::from(format!("{} failed", second.failed));
    let failed = if second.failed > 0 { failed.red().bold() } else { failed };
    let now = second.latency_ms.map_or_else(
        || "no media in the last second".to_owned(),
        |now| format!("latency p50 {:.1} ms, p99 {:.1} ms, max {:.1} ms", now.p50, now.p99, now.max),
    );
    let missing = progress.missing_percent().map_or("none came".to_owned(), |share| format!("{share:.3} %"));
    let cores = |cores: Option<f64>| cores.map_or("unknown".to_owned(), |cores| format!("{cores:.2} cores"));
    let server = second.server.map_or(String::new(), |server| {
        let memory = server.resident_bytes.map_or(String::new(), |bytes| format!(", {} MiB", bytes >> 20));
        format!(" · server {}{memory}", cores(server.cores))
    });
    vec![
        Line::from(vec![
            Span::from(format!("{} watching", second.watching)).bold(),
            Span::from(format!(", {} joining, {} left, ", second.joining, second.left)),
            failed,
            Span::from(format!(" · {} joined in the last second", second.joined)),
        ]),
        Line::from(now),
        Line::from(format!(
            "{} packets/s, {:.1} Mbit/s · missing {missing} · {} freezes",
            progress.packets_per_second(),
            second.bits_per_second as f64 / 1e6,
            progress.freezes
        )),
        Line::from(format!("client {}{server}", cores(second.client_cores))),
        Line::from(progress.beside.clone()),
    ]
}

fn spark(frame: &mut Frame<'_>, area: Rect, name: &str, line: &VecDeque<u64>, color: Color) {
    let width = usize::from(area.width.saturating_sub(2));
    let seen: Vec<u64> = line.iter().copied().skip(line.len().saturating_sub(width)).collect();
    let (now, most) = (seen.last().copied().unwrap_or(0), seen.iter().copied().max().unwrap_or(0));
    let title = format!("{name}: {now} (at most {most})");
    let block = Block::bordered().title(title);
    frame.render_widget(Sparkline::default().block(block).data(seen).style(Style::new().fg(color)), area);
}

fn happened(progress: &Progress) -> Vec<Line<'static>> {
    let last = progress.happenings.iter().rev().take(EVENTS);
    let line = |one: &freshet_loadtest::report::Happening| {
        let text = Line::from(format!("{:>6.1} s  {}  {}", one.at_s, one.what, one.said));
        if one.ok { text } else { text.red() }
    };
    last.map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use freshet_loadtest::report::{Happening, Percentiles, Second};
    use freshet_loadtest::run::Sums;
    use ratatui::backend::TestBackend;

    use super::*;

    fn progress(at_s: f64) -> Progress {
        let latency = Percentiles { count: 9, p50: 4.0, p90: 5.0, p99: 9.5, p999: 9.9, max: 12.0 };
        Progress {
            total: Duration::from_secs(60),
            second: Second {
                at_s,
                seconds: 1.0,
                watching: 40,
                failed: 2,
                joined: 7,
                packets: 12_000,
                missing: 12,
                latency_ms: Some(latency),
                longest_gap_ms: f64::NAN,
                ..Second::default()
            },
            latency: None,
            received: 11_988,
            freezes: 3,
            sums: Sums::default(),
            happenings: vec![Happening {
                at_s: 9.0,
                what: "a node dies".to_owned(),
                ok: true,
                said: "killed".to_owned(),
            }],
            beside: "HLS 3 playing".to_owned(),
        }
    }

    fn screen(width: u16, height: u16, seconds: usize) -> String {
        let mut past = Past::default();
        (0..seconds).for_each(|_| past.add(&progress(12.0)));
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let shown = progress(12.0);
        terminal
            .draw(|frame| draw(frame, "the final", "http://127.0.0.1:8080/whep/r", &shown, &past))
            .unwrap();
        let buffer = terminal.backend().buffer();
        buffer
            .content()
            .chunks(usize::from(width))
            .map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>() + "\n")
            .collect()
    }

    #[test]
    fn everything_is_on_the_screen() {
        let text = screen(100, 30, 20);
        for part in [
            "the final",
            "48 s of 60 s left",
            "40 watching",
            "2 failed",
            "7 joined",
            "p50 4.0 ms, p99 9.5 ms",
            "12000 packets/s",
            "missing 0.100 %",
            "3 freezes",
            "HLS 3 playing",
            "latency p99, µs: 9500",
            "a node dies  killed",
        ] {
            assert!(text.contains(part), "{part}:\n{text}");
        }
    }

    #[test]
    fn any_size_of_terminal_and_any_length_of_run_will_do() {
        for (width, height) in [(1, 1), (20, 5), (80, 24), (400, 100)] {
            screen(width, height, 2 * SECONDS);
        }
    }
}
