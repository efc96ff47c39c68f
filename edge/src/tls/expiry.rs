//! When a certificate ends: the one field of X.509 (RFC 5280 section 4.1) that is read here. Whether a certificate is
//! good is for clients to judge.

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version's explicit tag; left out by version 1.
const VERSION: u8 = 0xa0;

/// From so many days before its end on, a certificate should have been renewed: who renews by themselves does so weeks before.
const SOON: u64 = 7;
const DAY: u64 = 24 * 3600;

/// What is to be said of a certificate's end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It is over.
    Expired,
    /// It is near.
    Soon {
        /// Whole days until then.
        days: u64,
    },
}

impl Notice {
    /// Of a certificate that ends at `end`, both in seconds of the Unix clock.
    pub fn of(end: u64, now: u64) -> Option<Self> {
        let days = end.saturating_sub(now) / DAY;
        match end <= now {
            true => Some(Self::Expired),
            false => (days < SOON).then_some(Self::Soon { days }),
        }
    }
}

/// The end of a certificate's validity in seconds of the Unix clock; `None` if this is no certificate.
pub fn not_after(der: &[u8]) -> Option<u64> {
    let (certificate, _) = tagged(SEQUENCE, der)?;
    let (signed, _) = tagged(SEQUENCE, certificate)?;
    let signed = tagged(VERSION, signed).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = tagged(INTEGER, signed)?;
    let (_algorithm, rest) = tagged(SEQUENCE, rest)?;
    let (_issuer, rest) = tagged(SEQUENCE, rest)?;
    let (validity, _) = tagged(SEQUENCE, rest)?;
    let (_, _not_before, rest) = element(validity)?;
    let (tag, end, _) = element(rest)?;
    seconds(tag, std::str::from_utf8(end).ok()?)
}

/// The contents of an element of this tag, and what follows it.
fn tagged(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, contents, rest) = element(der)?;
    (found == tag).then_some((contents, rest))
}

/// The first element: its tag, its contents, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let (bytes, rest) = rest.split_at_checked(count).filter(|_| (1..=4).contains(&count))?;
        (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest)
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((tag, contents, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, as RFC 5280 allows no other form.
fn seconds(tag: u8, text: &str) -> Option<u64> {
    let digits = text.strip_suffix('Z').filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<u64>().ok();
    let (year, at) = match (tag, digits.len()) {
        (UTC_TIME, 12) => {
            let short = number(0, 2)?;
            (if short < 50 { 2000 + short } else { 1900 + short }, 2)
        }
        (GENERALIZED_TIME, 14) => (number(0, 4)?, 4),
        _ => return None,
    };
    let field = |n: usize| number(at + 2 * n, at + 2 * n + 2);
    let (month, day, hour, minute, second) = (field(0)?, field(1)?, field(2)?, field(3)?, field(4)?);
    let plausible = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60;
    if !plausible {
        return None;
    }
    Some(((days(year, month, day)? * 24 + hour) * 60 + minute) * 60 + second)
}

/// Days since 1970 in the Gregorian calendar; `None` before. Years begin with March here, so that a leap day is a
/// year's last.
fn days(year: u64, month: u64, day: u64) -> Option<u64> {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year.checked_sub(1)?, month + 9) };
    let before = year * 365 + year / 4 - year / 100 + year / 400;
    (before + (153 * month + 2) / 5 + day - 1).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn certificate(ends: u64) -> Vec<u8> {
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(ends);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().der().to_vec()
    }

    #[test]
    fn the_end_of_a_certificate_is_read() {
        // Before 2050 times have two digits for the year, from then on four; leap days and ends of years.
        for ends in [1_709_164_800, 1_709_251_199, 1_798_761_599, 2_524_607_999, 2_524_608_000, 4_107_542_399]
        {
            assert_eq!(not_after(&certificate(ends)), Some(ends));
        }
    }

    #[test]
    fn the_last_week_is_told() {
        let end = 1_800_000_000;
        assert_eq!(Notice::of(end, end - 7 * DAY), None);
        assert_eq!(Notice::of(end, end - 7 * DAY + 1), Some(Notice::Soon { days: 6 }));
        assert_eq!(Notice::of(end, end - 1), Some(Notice::Soon { days: 0 }));
        assert_eq!(
            (Notice::of(end, end), Notice::of(end, u64::MAX)),
            (Some(Notice::Expired), Some(Notice::Expired))
        );
    }

    #[test]
    fn days_are_those_of_the_calendar() {
        for (date, wanted) in [
            ((1970, 1, 1), Some(0)),
            ((1972, 2, 29), Some(789)),
            ((2000, 2, 29), Some(11_016)),
            ((2000, 3, 1), Some(11_017)),
            ((2026, 11, 21), Some(20_778)),
            ((2100, 3, 1), Some(47_541)),
            ((1969, 12, 31), None),
        ] {
            assert_eq!(days(date.0, date.1, date.2), wanted, "{date:?}");
        }
    }

    #[test]
    fn other_forms_are_none() {
        for (tag, text) in [
            (UTC_TIME, "2611210000Z"),
            (UTC_TIME, "261121000000"),
            (UTC_TIME, "261321000000Z"),
            (UTC_TIME, "261100000000Z"),
            (UTC_TIME, "26112100000xZ"),
            (GENERALIZED_TIME, "261121000000Z"),
            (GENERALIZED_TIME, "20261121000000+0100"),
            (INTEGER, "20261121000000Z"),
        ] {
            assert_eq!(seconds(tag, text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _any = not_after(&bytes);
        }

        #[test]
        fn no_cut_certificate_breaks_it(at in 0usize..400, with in any::<u8>()) {
            let mut der = certificate(1_798_761_599);
            if let Some(byte) = der.get_mut(at) {
                *byte = with;
            }
            let _any = not_after(&der);
            der.truncate(at);
            let _any = not_after(&der);
        }
    }
}
