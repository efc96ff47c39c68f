//! Series that a server exposes to Prometheus, by name; its text is read as far as a few of them need it.

use std::fmt;
use std::str::FromStr;

/// A series by its name and, where it is written, those of its labels that must have these values:
/// `packets_total{direction="out"}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    name: String,
    labels: Vec<(String, String)>,
}

impl Selector {
    /// A series without regard to its labels.
    pub(crate) fn named(name: &str) -> Self {
        Self { name: name.to_owned(), labels: Vec::new() }
    }

    /// All series of a page that it fits, added up; nothing where there is none.
    pub(crate) fn sum(&self, page: &str) -> Option<f64> {
        let fitting = page.lines().filter_map(Line::read).filter(|line| self.fits(line));
        fitting.map(|line| line.value).reduce(|sum, value| sum + value)
    }

    fn fits(&self, line: &Line<'_>) -> bool {
        line.name == self.name && self.labels.iter().all(|wanted| line.labels.contains(wanted))
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text:?} is no series: write a name such as packets_total or packets_total{{way=\"out\"}}"
            )
        };
        let (name, rest) = name(text.trim()).ok_or_else(bad)?;
        let (labels, rest) = labels(rest).ok_or_else(bad)?;
        if !rest.is_empty() {
            return Err(bad());
        }
        Ok(Self { name: name.to_owned(), labels })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (place, (label, value)) in self.labels.iter().enumerate() {
            write!(f, "{}{label}={value:?}", if place == 0 { "{" } else { "," })?;
        }
        f.write_str(if self.labels.is_empty() { "" } else { "}" })
    }
}

/// A sample of a page.
struct Line<'a> {
    name: &'a str,
    labels: Vec<(String, String)>,
    value: f64,
}

impl<'a> Line<'a> {
    /// Comments, and what is no sample or no number, are passed over.
    fn read(line: &'a str) -> Option<Self> {
        let (name, rest) = name(line)?;
        let (labels, rest) = labels(rest)?;
        // A time may follow the value.
        let value: f64 = rest.split_ascii_whitespace().next()?.parse().ok()?;
        value.is_finite().then_some(Self { name, labels, value })
    }
}

fn name(text: &str) -> Option<(&str, &str)> {
    let part = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    let end = text.find(|character: char| !part(character)).unwrap_or(text.len());
    let (name, rest) = text.split_at_checked(end)?;
    name.starts_with(|first: char| !first.is_ascii_digit()).then_some((name, rest))
}

/// Labels in braces, if any, and what is behind them.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let Some(mut rest) = text.strip_prefix('{') else { return Some((labels, text)) };
    loop {
        rest = rest.trim_start_matches([' ', ',']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (label, behind) = name(rest)?;
        let (value, behind) = quoted(behind.trim_start().strip_prefix('=')?.trim_start())?;
        labels.push((label.to_owned(), value));
        rest = behind;
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut value = String::new();
    let mut characters = inside.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, inside.get(at + 1..)?)),
            '\\' => value.push(match characters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = "\
# HELP packets_total Packets {\"sent\"} 900
# TYPE packets_total counter
packets_total{way=\"out\",peer=\"a } b\"} 1200 1795262400000
packets_total{peer=\"a \\\"b\\\\\",way=\"out\",} 3.5e2
packets_total{ way = \"in\" } 7
packets_total_created 99
bytes_total 12
broken{ 4
broken 5x
odd NaN
process_cpu_seconds_total 1.25
";

    fn sum(selector: &str) -> Option<f64> {
        selector.parse::<Selector>().unwrap().sum(PAGE)
    }

    #[test]
    fn series_are_added_up_as_far_as_their_labels_fit() {
        assert_eq!(sum("packets_total"), Some(1_557.0));
        assert_eq!(sum("packets_total{way=\"out\"}"), Some(1_550.0));
        assert_eq!(sum("packets_total{way=\"out\",peer=\"a } b\"}"), Some(1_200.0));
        assert_eq!(sum("packets_total{peer=\"a \\\"b\\\\\"}"), Some(350.0));
        assert_eq!(sum("packets_total{way=\"up\"}"), None);
        assert_eq!((sum("bytes_total"), sum("process_cpu_seconds_total")), (Some(12.0), Some(1.25)));
        for none in ["packets", "broken", "odd", "HELP"] {
            assert_eq!(sum(none), None, "{none}");
        }
    }

    #[test]
    fn selectors_are_read_and_written() {
        for text in ["packets_total", "a:b_c{d=\"e\"}", "x{a=\"1\",b=\"\\\"\"}"] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
        for bad in ["", "9a", "a b", "a{", "a{b}", "a{b=\"c\"", "a{b=c}", "a{b=\"c\"}d", "ä"] {
            assert!(bad.parse::<Selector>().unwrap_err().contains("packets_total"), "{bad}");
        }
    }

    #[test]
    fn nothing_that_a_page_holds_panics() {
        for cut in 0..PAGE.len() {
            let _whatever = Selector::named("packets_total").sum(&PAGE[cut..]);
            let _whatever = Selector::named("packets_total").sum(&PAGE[..cut]);
        }
        let _whatever = Selector::named("a").sum(&"a{".repeat(100_000));
        let _whatever = Selector::named("a").sum("a{b=\"\\");
    }
}
