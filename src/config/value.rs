//! The forms of values: times, bit rates, URLs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use freshet_edge::rate::Rate;

/// Reads a time: numbers with a unit, as in `500ms`, `10s`, `1h30m`; `0` needs none.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is not a time: write a number with ms, s, m, h or d, as in 10s or 1h30m");
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let (number, tail) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?);
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        let number: u64 = number.parse().map_err(|_| wrong())?;
        let ms = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(wrong()),
        };
        let part = number.checked_mul(ms).map(Duration::from_millis).ok_or_else(wrong)?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = tail;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Reads a bit rate: `4G`, `800M`, `64k`, `1000000`; `bit/s` or `bps` may follow.
pub fn bitrate(text: &str) -> Result<Bitrate, String> {
    let wrong = || format!("{text:?} is not a bit rate: write bits per second, as in 4G, 800M or 64000k");
    let bare = text.trim_end_matches("bit/s").trim_end_matches("bps").trim_end_matches("bit").trim_end();
    let (number, unit) = bare.split_at(bare.find(|c: char| !c.is_ascii_digit()).unwrap_or(bare.len()));
    let factor: u64 = match unit.trim() {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match number.checked_mul(factor) {
        Some(bps) if bps > 0 => Ok(Bitrate::from_bps(bps)),
        _ => Err(wrong()),
    }
}

/// Reads a share in whole per cent, from 1 to 100: `90%`; the sign may be left out.
pub fn percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim_end().parse().ok();
    number
        .filter(|percent| (1..=100).contains(percent))
        .ok_or_else(|| format!("{text:?} is not a share: write 1% to 100%"))
}

/// Reads a size: bytes, or `KiB`, `MiB`, `GiB`, as in `4MiB`.
pub fn bytes(text: &str) -> Result<usize, String> {
    let wrong = || format!("{text:?} is not a size: write a number with KiB, MiB or GiB, as in 4MiB");
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let factor: usize = match unit.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: usize = number.parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// Reads the base of URLs that others are told and call without TLS.
pub fn plain_url(text: &str) -> Result<String, String> {
    let url = reached_url(text)?;
    match url.get(..8) {
        Some(scheme) if scheme.eq_ignore_ascii_case("https://") => {
            Err("coordinators call nodes without TLS: write http://, and the address of --listen-plain"
                .to_owned())
        }
        _ => Ok(url),
    }
}

/// Reads how often something may happen: `200:2000` is 200 a second in the long run and 2,000 at once; `off` is no limit.
pub fn limit(text: &str) -> Result<Option<Rate>, String> {
    let wrong = || format!("{text:?} is not a limit: write RATE:BURST, as in 200:2000, or off");
    if text == "off" {
        return Ok(None);
    }
    let (rate, burst) = text.split_once(':').ok_or_else(wrong)?;
    let positive = |text: &str| text.parse().ok().filter(|n: &u32| *n > 0).ok_or_else(wrong);
    Ok(Some(Rate { per_second: f64::from(positive(rate)?), burst: positive(burst)? }))
}

/// Reads the base of URLs: http or https, a host, perhaps a path; no query. Comes back without a slash at the end.
pub fn base_url(text: &str) -> Result<String, String> {
    let wrong = |why: &str| {
        // The text itself is left out: a password may stand in it.
        Err(format!(
            "not a base URL, {why}: write it as in https://live.example.org/cast or http://127.0.0.1:2379"
        ))
    };
    let Ok(uri) = text.parse::<http::Uri>() else { return wrong("it does not parse") };
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return wrong("it does not begin with http:// or https://");
    }
    if uri.query().is_some() || text.contains('#') {
        return wrong("it has a query or a fragment");
    }
    match uri.authority() {
        Some(authority) if authority.as_str().contains('@') => {
            wrong("it has a user name, and names and passwords have settings of their own")
        }
        Some(authority)
            if authority.port_u16().is_none() && authority.as_str().len() > authority.host().len() =>
        {
            wrong("its port is no number from 0 to 65535")
        }
        Some(_) => Ok(text.trim_end_matches('/').to_owned()),
        None => wrong("it has no host"),
    }
}

/// The same of a server's URL: no path.
pub fn server_url(text: &str) -> Result<String, String> {
    let url = base_url(text)?;
    match url.parse::<http::Uri>() {
        Ok(uri) if matches!(uri.path(), "" | "/") => Ok(url),
        _ => Err("it has a path: write scheme, host and port alone, as in http://127.0.0.1:2379".to_owned()),
    }
}

/// The same of a URL that others are told: no address that means "every one of mine".
pub fn reached_url(text: &str) -> Result<String, String> {
    let url = base_url(text)?;
    let uri = url.parse::<http::Uri>().ok();
    let host = uri.as_ref().and_then(|uri| uri.host()).unwrap_or_default();
    if host.is_empty() {
        return Err("it names no host: write it as in https://live.example.org".to_owned());
    }
    if host.contains('*') {
        return Err("clients need a name, not a pattern: write the one that they call".to_owned());
    }
    if uri.as_ref().and_then(|uri| uri.port_u16()) == Some(0) {
        return Err("nobody can reach port 0: write the port that others use".to_owned());
    }
    // Clients are given it with a path behind it, in a header.
    let path = uri.as_ref().map_or("", |uri| uri.path());
    if !url.is_ascii() || path.split('/').any(|part| matches!(part, "." | "..")) {
        return Err(
            "its path has to be plain: percent-encode what is not ASCII, and leave . and .. out".to_owned()
        );
    }
    let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
    if ip.is_ok_and(|ip| ip.is_unspecified()) {
        return Err("nobody can reach that address: write the one that others use".to_owned());
    }
    Ok(url)
}

/// Checks `HOST:PORT`, the host being a name, an IPv4 address or an IPv6 address in brackets.
pub fn host_port(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is not HOST:PORT, as in 10.0.0.7:7600 or [2001:db8::7]:7600");
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_unspecified() => {
            return Err(format!("nobody can reach {text:?}: write the address that others use"));
        }
        Ok(address) if address.port() != 0 => return Ok(text.to_owned()),
        _ => {}
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let named =
        !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'));
    match port.parse::<u16>() {
        Ok(port) if port != 0 && named => Ok(text.to_owned()),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, ms) in
            [("0", 0), ("0s", 0), ("500ms", 500), ("10s", 10_000), ("1h30m", 5_400_000), ("2d", 172_800_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in
            ["", "10", "s", "10 s", "-1s", "1.5h", "10x", "99999999999999999999s", "18446744073709551615d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bit_rates_have_factors() {
        for (text, bps) in [
            ("1000", 1_000),
            ("64k", 64_000),
            ("800M", 800_000_000),
            ("4G", 4_000_000_000),
            ("10 Mbit/s", 10_000_000),
            ("1Gbps", 1_000_000_000),
        ] {
            assert_eq!(bitrate(text), Ok(Bitrate::from_bps(bps)), "{text}");
        }
        for text in ["", "0", "G", "4T", "-1M", "1.5G", "99999999999999999999", "18446744073709551615G"] {
            assert!(bitrate(text).is_err(), "{text}");
        }
    }

    #[test]
    fn shares_are_in_whole_per_cent() {
        for (text, share) in [("90%", 90), ("1", 1), ("100 %", 100)] {
            assert_eq!(percent(text), Ok(share), "{text}");
        }
        for text in ["", "%", "0", "0%", "101%", "-5%", "9.5%", "half"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units_of_1024() {
        for (text, size) in [("1000", 1_000), ("256KiB", 262_144), ("4MiB", 4_194_304), ("1 GiB", 1 << 30)] {
            assert_eq!(bytes(text), Ok(size), "{text}");
        }
        for text in ["", "MiB", "4M", "4mb", "-1KiB", "1.5MiB", "99999999999999999999"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn base_urls_lose_their_last_slash_and_nothing_else() {
        assert_eq!(base_url("https://a.example/cast/"), Ok("https://a.example/cast".into()));
        assert_eq!(base_url("http://[::1]:8080"), Ok("http://[::1]:8080".into()));
        assert_eq!(base_url("http://[::1]"), Ok("http://[::1]".into()));
        assert_eq!(server_url("http://10.0.0.2:2379/"), Ok("http://10.0.0.2:2379".into()));
        assert!(server_url("http://10.0.0.2:2379/v3").unwrap_err().contains("path"));
        for text in [
            "",
            "a.example",
            "/cast",
            "ftp://a",
            "https://a?x",
            "https://a/#x",
            "https://",
            "https://u:p@a",
            "https://a:99999",
            "https://a:",
            "http://[::1]:x",
        ] {
            assert!(base_url(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_others_are_told_can_be_reached() {
        assert_eq!(reached_url("http://10.0.0.7:80/"), Ok("http://10.0.0.7:80".into()));
        assert_eq!(reached_url("http://node-0:80"), Ok("http://node-0:80".into()));
        assert_eq!(reached_url("https://x.org/a.b/..c"), Ok("https://x.org/a.b/..c".into()));
        for text in [
            "http://:80",
            "https://x.org:0",
            "https://x.org/ä",
            "http://x.org/../a",
            "http://x.org/./a",
            "https://*.x.org",
        ] {
            assert!(reached_url(text).is_err(), "{text}");
        }
        for text in ["http://0.0.0.0:80", "http://[::]:80/cast"] {
            assert!(reached_url(text).unwrap_err().contains("reach"), "{text}");
        }
        for text in ["0.0.0.0:7600", "[::]:7600"] {
            assert!(host_port(text).unwrap_err().contains("reach"), "{text}");
        }
    }

    #[test]
    fn limits_are_a_rate_and_a_burst() {
        assert_eq!(limit("200:2000"), Ok(Some(Rate { per_second: 200.0, burst: 2000 })));
        assert_eq!(limit("off"), Ok(None));
        for text in ["", "200", "0:1", "1:0", ":", "1:2:3", "-1:5", "1.5:3", "none"] {
            assert!(limit(text).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_have_ports() {
        for text in ["10.0.0.7:7600", "[2001:db8::7]:7600", "node-0.nodes:7600"] {
            assert_eq!(host_port(text), Ok(text.into()));
        }
        for text in
            ["", "a", "a:", ":1", "a:0", "10.0.0.7:0", "a:65536", "2001:db8::7:7600", "http://a:1", "a b:1"]
        {
            assert!(host_port(text).is_err(), "{text}");
        }
    }
}
