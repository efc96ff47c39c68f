//! Numbers and names as people read them. What comes from a run's target or a file is not trusted.

use crate::num;

/// Where there is no figure.
pub const UNKNOWN: &str = "–";
/// Longest name, reason or answer that is shown.
pub const LONGEST: usize = 240;

const DAY_MS: u64 = 86_400_000;
/// The year 10000: what is later is no time of a run.
const LATEST_MS: u64 = 253_402_300_800_000;

/// What can stand in XML, as text and in quoted attributes alike, of bounded length.
pub fn escape(text: &str) -> String {
    let mut safe = String::new();
    for character in plain(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// What can stand in a cell of a Markdown table without being markup, a tag or a mention of somebody.
pub fn markdown(text: &str) -> String {
    let mut safe = String::new();
    for character in plain(text).chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '@' => safe.push_str("&#64;"),
            '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '#' | '~' => {
                safe.push('\\');
                safe.push(character);
            }
            other => safe.push(other),
        }
    }
    safe
}

/// One line of printable characters, of bounded length.
pub fn plain(text: &str) -> String {
    clip(text, LONGEST).chars().map(|character| if is_odd(character) { ' ' } else { character }).collect()
}

/// XML forbids most control characters; those that turn the direction of writing make a text read as another.
fn is_odd(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{fffe}' | '\u{ffff}'
        )
}

/// The first `most` characters.
pub fn clip(text: &str, most: usize) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(most).collect();
    if characters.next().is_some() {
        short.push('…');
    }
    short
}

/// `12,345.6`.
pub fn number(value: f64, decimals: usize) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    if value.abs() >= 1e15 {
        return format!("{value:.2e}");
    }
    // Negative zero has a sign that nobody wants to read.
    let written = format!("{:.decimals$}", value + 0.0);
    let (sign, digits) = written.strip_prefix('-').map_or(("", written.as_str()), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut text = sign.to_owned();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

/// `12,345`.
pub fn count(value: u64) -> String {
    number(num::float(value), 0)
}

/// Three digits that count: `0.42`, `4.2`, `42`.
fn short(value: f64) -> String {
    let decimals = match value.abs() {
        size if size < 0.0005 => 0,
        size if size < 0.9995 => 3,
        size if size < 9.995 => 2,
        size if size < 99.95 => 1,
        _ => 0,
    };
    number(value, decimals)
}

/// Milliseconds, or seconds where they are many: `0.420 ms`, `42.0 ms`, `1.40 s`.
pub fn millis(value: f64) -> String {
    if !value.is_finite() {
        UNKNOWN.to_owned()
    } else if value.abs() < 999.5 {
        format!("{} ms", short(value))
    } else {
        format!("{} s", short(value / 1_000.0))
    }
}

/// `0.012 %`. A little is never shown as nothing.
pub fn percent(value: f64) -> String {
    if !value.is_finite() {
        UNKNOWN.to_owned()
    } else if value > 0.0 && value < 0.001 {
        "<0.001 %".to_owned()
    } else {
        format!("{} %", short(value))
    }
}

/// `2.41 Gbit/s`.
pub fn bits(value: f64) -> String {
    with_unit(value, &[(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s")], "bit/s")
}

/// `412 MiB`.
pub fn bytes(value: f64) -> String {
    with_unit(value, &[(1_073_741_824.0, "GiB"), (1_048_576.0, "MiB"), (1_024.0, "KiB")], "bytes")
}

fn with_unit(value: f64, units: &[(f64, &str)], smallest: &str) -> String {
    if !value.is_finite() {
        return UNKNOWN.to_owned();
    }
    match units.iter().find(|(size, _)| value >= *size) {
        Some((size, unit)) => format!("{} {unit}", short(value / size)),
        None => format!("{} {smallest}", short(value)),
    }
}

/// Cores' worth of CPU: `1.42`.
pub fn cores(value: f64) -> String {
    number(value, 2)
}

/// Seconds of a run: `61 s` or, where it is long, `1:05:07`.
pub fn clock(seconds: f64) -> String {
    if !seconds.is_finite() {
        return UNKNOWN.to_owned();
    }
    if seconds < 600.0 {
        let whole = (seconds - seconds.round()).abs() < 0.05;
        return format!("{} s", number(seconds, if whole { 0 } else { 1 }));
    }
    let whole = num::count(seconds.round());
    let (hours, minutes, rest) = (whole / 3_600, whole / 60 % 60, whole % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{rest:02}") } else { format!("{minutes}:{rest:02}") }
}

/// Milliseconds since the Unix epoch as `2026-11-22 18:59:24 UTC`; nothing where no time was noted.
pub fn utc(at_ms: u64) -> Option<String> {
    if at_ms == 0 || at_ms >= LATEST_MS {
        return None;
    }
    let (year, month, day) = date(at_ms / DAY_MS);
    let second = at_ms % DAY_MS / 1_000;
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    Some(format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC"))
}

/// Days since 1970-01-01 as year, month and day. Years are taken to begin in March, so that a leap day comes last.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_text_wherever_they_stand() {
        let hostile = "<script>alert(\"1\" & '2')</script>\n\u{0}\u{202e}|`@all`";
        let safe = escape(hostile);
        assert!(!safe.contains(['<', '>', '"', '\'', '\n', '\u{0}', '\u{202e}']), "{safe}");
        assert!(
            safe.contains("&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;"),
            "{safe}"
        );
        let cell = markdown(hostile);
        assert!(!cell.contains(['<', '>', '\n', '@']) && cell.contains("\\|\\`&#64;all\\`"), "{cell}");
        let long = "é".repeat(1_000_000);
        assert_eq!(plain(&long).chars().count(), LONGEST + 1);
        assert_eq!(clip("four", 4), "four");
    }

    #[test]
    fn numbers_have_the_digits_that_count() {
        for (value, expected) in [(0.0, "0 ms"), (0.42, "0.420 ms"), (4.2, "4.20 ms"), (42.0, "42.0 ms")] {
            assert_eq!(millis(value), expected);
        }
        for (value, expected) in
            [(999.4, "999 ms"), (999.6, "1.00 s"), (1_400.0, "1.40 s"), (9e7, "90,000 s")]
        {
            assert_eq!(millis(value), expected);
        }
        assert_eq!((percent(0.0), percent(0.0001)), ("0 %".to_owned(), "<0.001 %".to_owned()));
        assert_eq!((bits(2.412e9), bits(12.0)), ("2.41 Gbit/s".to_owned(), "12.0 bit/s".to_owned()));
        assert_eq!(bytes(412.0 * 1_048_576.0), "412 MiB");
        assert_eq!(
            (number(1_234_567.891, 1), number(-1_234.0, 0)),
            ("1,234,567.9".to_owned(), "-1,234".to_owned())
        );
        assert_eq!((number(-0.0, 0), number(123.0, 0)), ("0".to_owned(), "123".to_owned()));
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            for text in
                [number(odd, 1), millis(odd), percent(odd), bits(odd), bytes(odd), cores(odd), clock(odd)]
            {
                assert_eq!(text, UNKNOWN);
            }
        }
        assert!(number(f64::MAX, 3).len() < 12 && number(f64::MIN, 3).len() < 12);
        assert_eq!((clock(61.0), clock(1.5)), ("61 s".to_owned(), "1.5 s".to_owned()));
        assert_eq!((clock(3_907.0), clock(605.0)), ("1:05:07".to_owned(), "10:05".to_owned()));
    }

    #[test]
    fn the_calendar_is_the_worlds() {
        for (at_ms, expected) in [
            (1, "1970-01-01 00:00:00 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_709_251_199_000, "2024-02-29 23:59:59 UTC"),
            (1_709_251_200_000, "2024-03-01 00:00:00 UTC"),
            (1_735_689_599_000, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
            (LATEST_MS - 1, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(at_ms).as_deref(), Some(expected));
        }
        assert_eq!((utc(0), utc(LATEST_MS), utc(u64::MAX)), (None, None, None));
    }
}
