//! Values as playlists write them (RFC 8216 section 4.2).

use crate::num;

/// Longest time that a playlist may speak of: a week, in microseconds.
const LONGEST: f64 = 7.0 * 86_400.0 * 1e6;
const DAY: i64 = 86_400;

/// An attribute list: `NAME=value,NAME="value"`.
#[derive(Debug, Default)]
pub(super) struct Attributes<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Attributes<'a> {
    /// Reads a list. What is no attribute is passed over, as clients must.
    pub fn read(text: &'a str) -> Self {
        let mut all = Vec::new();
        let mut rest = text;
        while let Some((name, after)) = rest.split_once('=') {
            let (value, behind) = match after.strip_prefix('"') {
                Some(quoted) => {
                    let (value, behind) = quoted.split_once('"').unwrap_or((quoted, ""));
                    (value, behind.split_once(',').map_or("", |(_, behind)| behind))
                }
                None => after.split_once(',').unwrap_or((after, "")),
            };
            all.push((name.trim(), value.trim()));
            rest = behind;
        }
        Self(all)
    }

    /// The value of an attribute, without quotes.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.0.iter().find(|(found, _)| *found == name).map(|(_, value)| *value)
    }

    /// An attribute that is `YES`.
    pub fn yes(&self, name: &str) -> bool {
        self.get(name) == Some("YES")
    }

    /// An attribute in seconds, as microseconds.
    pub fn seconds(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(seconds)
    }
}

/// Seconds with or without a fraction, as microseconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let micros = text.trim().parse::<f64>().ok()? * 1e6;
    (micros.is_finite() && (0.0..=LONGEST).contains(&micros)).then(|| num::count(micros.round()))
}

/// A date of ISO 8601, as microseconds since the Unix epoch. Without a zone it is taken for UTC.
pub(super) fn date(text: &str) -> Option<u64> {
    let (day, time) = text.trim().split_once(['T', 't', ' '])?;
    let mut parts = day.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let (clock, zone) = match time.find(['Z', 'z', '+', '-']) {
        Some(at) => time.split_at_checked(at)?,
        None => (time, "Z"),
    };
    let mut parts = clock.splitn(3, ':');
    let hour = parts.next()?.parse::<i64>().ok().filter(|hour| (0..24).contains(hour))?;
    let minute = parts.next()?.parse::<i64>().ok().filter(|minute| (0..60).contains(minute))?;
    // A leap second is the next minute's first.
    let micros = seconds(parts.next().unwrap_or("0")).filter(|micros| *micros <= 60_999_999)?;
    let whole = days(year, month, day) * DAY + hour * 3_600 + minute * 60 - offset(zone)?;
    u64::try_from(whole).ok()?.checked_mul(1_000_000)?.checked_add(micros)
}

/// Seconds by which a zone is ahead of UTC: `Z`, `+01:00`, `-0330`, `+02`.
fn offset(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("Z" | "z", "") => return Some(0),
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    let (hours, minutes) = digits.split_at_checked(2)?;
    let minutes = if minutes.is_empty() { 0 } else { minutes.parse::<i64>().ok()? };
    let hours = hours.parse::<i64>().ok()?;
    ((0..24).contains(&hours) && (0..60).contains(&minutes)).then(|| sign * (hours * 3_600 + minutes * 60))
}

/// Days since 1970-01-01. Years are taken to begin in March, so that a leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_the_worlds() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01T01:00:00.5+01:00", 500_000),
            ("2000-02-29T00:00:00Z", 951_782_400_000_000),
            ("2026-11-22T18:59:24.123Z", 1_795_373_964_123_000),
            ("2026-11-22T20:59:24.123+0200", 1_795_373_964_123_000),
            ("2026-11-22T15:29:24.123-03:30", 1_795_373_964_123_000),
            ("2026-11-22T18:59:24.123", 1_795_373_964_123_000),
        ] {
            assert_eq!(date(text), Some(expected), "{text}");
        }
        for bad in [
            "",
            "now",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "2026-11-22T25:00:00Z",
            "2026-11-22T00:00:99Z",
            "2026-11-22T00:00:00+é",
            "2026-11-22T00:00:00+9",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "99999999999999999999-01-01T00:00:00Z",
        ] {
            assert_eq!(date(bad), None, "{bad}");
        }
    }

    #[test]
    fn attributes_are_split_outside_of_quotes() {
        let list = Attributes::read(r#"URI="a,b=c.mp4",DURATION=1.5, INDEPENDENT=YES,X="open"#);
        assert_eq!(list.get("URI"), Some("a,b=c.mp4"));
        assert_eq!((list.seconds("DURATION"), list.yes("INDEPENDENT")), (Some(1_500_000), true));
        assert_eq!((list.get("X"), list.get("b")), (Some("open"), None));
        for odd in ["", ",", "=", "\"", "A=\"", "=,=,=", "é=\"é\",é"] {
            Attributes::read(odd);
        }
        for bad in ["-1", "NaN", "inf", "1e30", "", "x"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }
}
