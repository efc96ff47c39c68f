//! What people write: `2M`, `30s`, `50/s`, `1%`, `30:1850`.

use std::time::Duration;

use freshet_cluster::unit::Bitrate;

use crate::media::{MAX_PAYLOAD, Oversized};
use crate::num;

/// Longest duration accepted: a week.
const LONGEST: f64 = 7.0 * 86_400.0;

fn number(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
}

/// A bit rate: `800k`, `2M`, `2.5Mbit/s`, `64000`.
pub fn bit_rate(text: &str) -> Result<Bitrate, String> {
    let bare = text.trim().trim_end_matches("bit/s").trim_end_matches("bps");
    let (digits, factor) = match bare.chars().last() {
        Some('k' | 'K') => (bare.get(..bare.len() - 1), 1e3),
        Some('m' | 'M') => (bare.get(..bare.len() - 1), 1e6),
        Some('g' | 'G') => (bare.get(..bare.len() - 1), 1e9),
        _ => (Some(bare), 1.0),
    };
    let value = digits.and_then(number).map(|value| value * factor);
    match value {
        Some(bps) if (1e3..=1e9).contains(&bps) => Ok(Bitrate::from_bps(num::count(bps))),
        Some(_) => Err(format!("{text:?} is out of range; between 1k and 1G can be sent")),
        None => Err(format!("{text:?} is no bit rate; write it as 800k or 2M")),
    }
}

/// A duration: `500ms`, `30s`, `2m`, `1h`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let bare = text.trim();
    let split = bare.find(|character: char| character.is_ascii_alphabetic()).unwrap_or(bare.len());
    let (digits, unit) = bare.split_at_checked(split).unwrap_or((bare, ""));
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" | "min" => 60.0,
        "h" => 3_600.0,
        "" => return Err(format!("{text:?} has no unit; write it as 500ms, 30s or 2m")),
        _ => return Err(format!("{text:?} has an unknown unit; write it as 500ms, 30s or 2m")),
    };
    match number(digits).map(|value| value * factor) {
        Some(seconds) if seconds <= LONGEST => Ok(Duration::from_secs_f64(seconds)),
        Some(_) => Err(format!("{text:?} is longer than a week")),
        None => Err(format!("{text:?} is no duration; write it as 500ms, 30s or 2m")),
    }
}

/// A rate: `50/s`, `600/m`; in events a second.
pub fn rate(text: &str) -> Result<f64, String> {
    let (digits, per) = match text.trim().split_once('/') {
        Some((digits, "s" | "1s")) => (digits, 1.0),
        Some((digits, "m" | "min")) => (digits, 60.0),
        _ => return Err(format!("{text:?} is no rate; write it as 50/s or 600/m")),
    };
    match number(digits).map(|value| value / per) {
        Some(rate) if (0.01..=10_000.0).contains(&rate) => Ok(rate),
        _ => Err(format!("{text:?} is out of range; between 1/m and 10000/s can be started")),
    }
}

/// A share below 1: `0.01` or `1%`.
pub fn share(text: &str) -> Result<f64, String> {
    let bare = text.trim();
    let value = match bare.strip_suffix('%') {
        Some(percent) => number(percent).map(|value| value / 100.0),
        None => number(bare),
    };
    value
        .filter(|share| *share < 1.0)
        .ok_or_else(|| format!("{text:?} is no share below 1; write it as 0.01 or 1%"))
}

/// Oversized packets: `EVERY:BYTES`, such as `30:1850`.
pub fn oversized(text: &str) -> Result<Oversized, String> {
    let parsed = text.split_once(':').and_then(|(every, bytes)| {
        Some(Oversized { every: every.trim().parse().ok()?, bytes: bytes.trim().parse().ok()? })
    });
    match parsed {
        Some(over) if over.every > 0 && (100..=MAX_PAYLOAD).contains(&over.bytes) => Ok(over),
        Some(_) => Err(format!("{text:?}: every frame at most, and between 100 and {MAX_PAYLOAD} bytes")),
        None => Err(format!("{text:?} is not FRAMES:BYTES; write it as 30:1850")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_units() {
        assert_eq!(bit_rate("2M").unwrap(), Bitrate::from_mbps(2));
        assert_eq!(bit_rate("800kbit/s").unwrap(), Bitrate::from_kbps(800));
        assert_eq!(bit_rate("2.5M").unwrap(), Bitrate::from_kbps(2_500));
        assert_eq!(duration("500ms").unwrap(), Duration::from_millis(500));
        assert_eq!(duration("1.5m").unwrap(), Duration::from_secs(90));
        assert_eq!((rate("50/s").unwrap(), rate("600/m").unwrap()), (50.0, 10.0));
        assert_eq!((share("1%").unwrap(), share("0.01").unwrap()), (0.01, 0.01));
        assert_eq!(oversized("30:1850").unwrap(), Oversized { every: 30, bytes: 1_850 });
    }

    #[test]
    fn what_means_nothing_is_refused_with_an_example() {
        for bad in ["", "M", "2X", "-1M", "NaN", "inf", "2T", "10", "é", "1é"] {
            assert!(bit_rate(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "30", "s", "-1s", "30 parsecs", "1e30s", "NaNs"] {
            assert!(duration(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "50", "/s", "0/s", "1e9/s", "50/h"] {
            assert!(rate(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "1", "100%", "-1%", "x"] {
            assert!(share(bad).is_err(), "{bad:?}");
        }
        for bad in ["", "30", "0:1850", "30:99999", "30:x"] {
            assert!(oversized(bad).is_err(), "{bad:?}");
        }
        assert!(duration("30").unwrap_err().contains("30s"));
    }
}
