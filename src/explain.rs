//! `freshet token explain` and `verify`: what a token says, who signed it, and whether it is taken now.
//!
//! To explain needs no secret: what a token says can be read by whoever holds it. To verify needs the keys.

use std::fmt::Write as _;
use std::io::Read;
use std::num::NonZeroU32;

use freshet_cluster::token::{
    Alg, ApiKeys, Bound, Claims, Key, Keyring, Peek, PublicKeys, TOKEN_MAX, in_time, peek, signer, verify,
};
use freshet_cluster::unit::UnixMillis;

use crate::cli::ReadArgs;
use crate::config::{self, Layers, ReadFile, Role};

/// What was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// In words, a line for each thing.
    pub text: String,
    /// Signed by a key that was given, and taken now.
    pub valid: bool,
}

/// Takes a token apart and judges it by the keys that are given.
pub fn explain(
    args: &ReadArgs,
    env: impl Fn(&str) -> Option<String>,
    files: ReadFile<'_>,
    mut input: impl Read,
    now: UnixMillis,
) -> Result<Finding, anyhow::Error> {
    let ring = keys(args, env, files)?;
    let has_keys = ring.iter().next().is_some();
    anyhow::ensure!(
        has_keys || !args.must_be_valid,
        "to verify needs the keys: give --api-key-file or --jwks; `freshet token explain` needs none"
    );
    let token = match args.token.as_str() {
        "-" => {
            let mut text = String::new();
            let limit = u64::try_from(TOKEN_MAX).unwrap_or(u64::MAX).saturating_mul(2);
            input.by_ref().take(limit).read_to_string(&mut text)?;
            text
        }
        text => text.to_owned(),
    };
    // As it stands in a header, too.
    let token = token.trim().trim_start_matches("Bearer ").trim();
    let seen = peek(token)?;
    let mut text = said(&seen, now);
    let mut no = if has_keys { Vec::new() } else { never(&seen) };
    let verdict = if has_keys {
        let signed = match signer(&ring, token) {
            Ok(Key::Api(key)) => format!("right: API key {:?}", key.id()),
            Ok(Key::Public(key)) => {
                format!("right: {} key {:?} of the JWK set", key.alg(), key.kid().unwrap_or(""))
            }
            Err(error) => format!("not of these keys: {error}"),
        };
        line(&mut text, "signature", &signed);
        let public = &ring.public;
        if public.passed_over() > 0 {
            let why = format!("{} passed over: {}", public.passed_over(), public.reasons().join("; "));
            line(&mut text, "JWK set", &why);
        }
        verify(&ring, token, now).map(drop)
    } else {
        line(&mut text, "signature", "not checked: give --api-key-file or --jwks");
        seen.claims.and_then(|claims| in_time(&claims, now, ring.life_max_s))
    };
    no.extend(verdict.as_ref().err().map(ToString::to_string));
    let words = match no.as_slice() {
        [] if has_keys => "yes".to_owned(),
        [] => "if the signature is right".to_owned(),
        why => format!("no: {}", why.join("; ")),
    };
    line(&mut text, "valid now", &words);
    Ok(Finding { text: text.trim_end().to_owned(), valid: has_keys && verdict.is_ok() })
}

fn keys(
    args: &ReadArgs,
    env: impl Fn(&str) -> Option<String>,
    files: ReadFile<'_>,
) -> Result<Keyring, anyhow::Error> {
    let layers = Layers::new(Role::Dev, &args.keys.flags, crate::mint::of_keys(env), None)?;
    let api = ApiKeys::new(config::api_keys(&layers, files)?)?;
    let public = match &args.jwks {
        None => PublicKeys::default(),
        Some(path) => {
            let text = files(path).map_err(|error| anyhow::anyhow!("--jwks: cannot read {path}: {error}"))?;
            PublicKeys::parse(text.as_bytes()).map_err(|error| anyhow::anyhow!("--jwks: {path}: {error}"))?
        }
    };
    let audience = layers.get("jwks-audience").and_then(|given| given.texts.first());
    let audience = audience.filter(|text| !text.is_empty()).cloned();
    Ok(Keyring { api, public, audience, life_max_s: config::life_max(&layers, files)?.as_secs() })
}

/// A line. What is in a token must not reach a terminal as it is: characters that steer one, or turn the direction of what
/// is read, are shown by their numbers.
fn line(text: &mut String, name: &str, what: &str) {
    let steers = |c: char| {
        c.is_control()
            || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut shown = String::with_capacity(what.len());
    for c in what.chars() {
        if steers(c) { shown.extend(c.escape_unicode()) } else { shown.push(c) }
    }
    // Writing to a String cannot fail.
    let _written = writeln!(text, "{name:<10} {shown}");
}

/// Why it is refused whatever the keys are.
fn never(seen: &Peek) -> Vec<String> {
    let mut why = Vec::new();
    if seen.alg.parse::<Alg>().is_err() {
        let shown: String = seen.alg.chars().take(16).collect();
        why.push(format!("the algorithm {shown:?} is never taken: HS256, RS256, ES256 and EdDSA are"));
    }
    if seen.critical {
        why.push("its header has crit, and no extension is understood".to_owned());
    }
    if seen.claims.as_ref().is_ok_and(|claims| claims.identity.is_reserved()) {
        why.push("identities that begin with ~ are Freshet's own".to_owned());
    }
    why
}

/// What it says.
fn said(seen: &Peek, now: UnixMillis) -> String {
    let mut text = String::new();
    let named =
        seen.kid.as_ref().map_or_else(|| "without a key's name".to_owned(), |kid| format!("key {kid:?}"));
    line(&mut text, "header", &format!("{:?}, {named}", seen.alg));
    let claims = match &seen.claims {
        Ok(claims) => claims,
        Err(_) => {
            line(&mut text, "payload", &seen.payload.to_string());
            return text;
        }
    };
    let Claims { room, identity, grants, streams, max_sessions, exp, iat, nbf, unknown } = claims;
    let list = |words: Vec<String>| if words.is_empty() { "none".to_owned() } else { words.join(", ") };
    line(&mut text, "room", if room.as_str() == "*" { "every room" } else { room.as_str() });
    line(&mut text, "identity", &format!("{:?}", identity.as_str()));
    line(&mut text, "grants", &list(grants.iter().map(|grant| grant.to_string()).collect()));
    if !streams.is_empty() {
        line(&mut text, "streams", &list(streams.iter().map(|id| format!("{id:?}")).collect()));
    }
    let Bound { publish, subscribe } = Bound::of(*max_sessions);
    let words = |n: Option<NonZeroU32>| n.map_or_else(|| "any number".to_owned(), |n| n.to_string());
    let held = format!("{} that publish, {} that watch, in a room", words(publish), words(subscribe));
    line(&mut text, "sessions", &held);
    let now = now.0 / 1000;
    for (name, at) in [("issued", *iat), ("begins", *nbf), ("expires", Some(*exp))] {
        if let Some(at) = at {
            line(&mut text, name, &format!("{}, {}", utc(at), distance(at, now)));
        }
    }
    if !unknown.is_empty() {
        line(&mut text, "besides", &serde_json::Value::Object(unknown.clone()).to_string());
    }
    text
}

fn distance(at: u64, now: u64) -> String {
    let words = |s: u64| match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{} min {} s", s / 60, s % 60),
        3600..86_400 => format!("{} h {} min", s / 3600, s % 3600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3600),
    };
    if at > now { format!("in {}", words(at - now)) } else { format!("{} ago", words(now - at)) }
}

/// The date in the Gregorian calendar, reckoned in years that begin in March, so that leap days stand at their ends.
fn utc(unix: u64) -> String {
    let (days, second) = (unix / 86_400 + 719_468, unix % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year_of_era + next;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        second / 3600,
        second % 3600 / 60,
        second % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // `date -u -d @N`.
        for (unix, date) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_400, "2000-02-29 00:00:00 UTC"),
            (1_300_819_380, "2011-03-22 18:43:00 UTC"),
            (1_709_251_199, "2024-02-29 23:59:59 UTC"),
            (1_735_689_600, "2025-01-01 00:00:00 UTC"),
            (4_107_542_400, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(unix), date);
        }
    }

    #[test]
    fn what_steers_a_terminal_is_shown_by_its_number() {
        let mut text = String::new();
        line(&mut text, "besides", "a\u{1b}[2J\u{9b}31m\u{7f}\r\n\u{202e}gpj.Λ😀\"");
        assert_eq!(text, "besides    a\\u{1b}[2J\\u{9b}31m\\u{7f}\\u{d}\\u{a}\\u{202e}gpj.Λ😀\"\n");
    }

    #[test]
    fn times_are_told_in_two_words() {
        assert_eq!(distance(100, 105), "5 s ago");
        assert_eq!(distance(105, 100), "in 5 s");
        assert_eq!(distance(3725, 0), "in 1 h 2 min");
        assert_eq!(distance(0, 125), "2 min 5 s ago");
        assert_eq!(distance(0, 90_000), "1 d 1 h ago");
    }
}
