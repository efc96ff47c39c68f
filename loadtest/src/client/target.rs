//! Which addresses may be loaded, and what a `Location` means.
//!
//! A load harness is a weapon in careless hands: unless told that the target is the user's own, it talks to loopback and
//! private addresses only, in URLs, redirects, `Location`s and ICE candidates alike.

use std::net::{IpAddr, SocketAddr};

use ::http::Uri;

use super::ClientError;

/// Loopback, private (RFC 1918, RFC 4193), link-local or shared (RFC 6598) address.
pub(super) fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [first, second, ..] = v4.octets();
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_near(IpAddr::V4(v4)),
            None => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
        },
    }
}

/// Whether two URLs are of one origin (RFC 6454): a token that was given for one may go to the other.
pub(super) fn same_origin(one: &str, other: &str) -> bool {
    parts(one).zip(parts(other)).is_some_and(|(one, other)| one == other)
}

/// Whether a URL is at the same host, at whichever port, and not without the encryption that the other has.
pub(super) fn same_host(one: &str, from: &str) -> bool {
    parts(one)
        .zip(parts(from))
        .is_some_and(|(one, from)| one.1 == from.1 && (one.0 == from.0 || one.0 == "https"))
}

/// Whether a URL is without the encryption that the other has.
pub(super) fn less_secret(one: &str, than: &str) -> bool {
    parts(one).zip(parts(than)).is_none_or(|(one, than)| than.0 == "https" && one.0 != "https")
}

/// Scheme, host and port.
fn parts(url: &str) -> Option<(String, String, u16)> {
    let uri: Uri = url.parse().ok()?;
    let scheme = uri.scheme_str()?.to_ascii_lowercase();
    let usual = if scheme == "https" { 443 } else { 80 };
    Some((scheme, uri.host()?.to_ascii_lowercase(), uri.port_u16().unwrap_or(usual)))
}

/// Checks a URL and gives the address behind it. `allow_public` says that the target is the user's own.
pub async fn check_url(url: &str, allow_public: bool) -> Result<SocketAddr, ClientError> {
    let addresses = addresses(url, allow_public).await?;
    let why = "the name has no address".to_owned();
    addresses.first().copied().ok_or_else(|| ClientError::Unreachable { url: url.to_owned(), why })
}

/// The same with all addresses behind it.
pub(super) async fn addresses(url: &str, allow_public: bool) -> Result<Vec<SocketAddr>, ClientError> {
    let bad = |why: &str| ClientError::BadUrl { url: url.to_owned(), why: why.to_owned() };
    let uri: Uri = url.parse().map_err(|error: ::http::uri::InvalidUri| bad(&error.to_string()))?;
    let usual = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) | None => return Err(bad("it must begin with http:// or https://")),
    };
    let host = uri.host().ok_or_else(|| bad("it names no host"))?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = uri.port_u16().unwrap_or(usual);
    let resolved = tokio::net::lookup_host((bare, port)).await;
    let unreachable = |why: String| ClientError::Unreachable { url: url.to_owned(), why };
    let addresses: Vec<SocketAddr> = resolved.map_err(|error| unreachable(error.to_string()))?.collect();
    if let Some(public) = addresses.iter().find(|address| !allow_public && !is_near(address.ip())) {
        return Err(ClientError::ForbiddenTarget { host: host.to_owned(), address: public.ip() });
    }
    Ok(addresses)
}

/// Resolves a reference such as a `Location` against the URL it came from (RFC 3986 section 5.2).
pub fn resolve_reference(base: &str, reference: &str) -> Result<String, ClientError> {
    let bad = |why: &str| ClientError::BadUrl { url: reference.to_owned(), why: why.to_owned() };
    let reference = reference.trim();
    let base: Uri = base.parse().map_err(|error: ::http::uri::InvalidUri| bad(&error.to_string()))?;
    let scheme = base.scheme_str().ok_or_else(|| bad("the base URL has no scheme"))?;
    let authority = base.authority().ok_or_else(|| bad("the base URL has no host"))?;
    let text = if reference.is_empty() {
        return Err(bad("it is empty"));
    } else if reference.starts_with("http://") || reference.starts_with("https://") {
        reference.to_owned()
    } else if let Some(rest) = reference.strip_prefix("//") {
        format!("{scheme}://{rest}")
    } else if let Some(query) = reference.strip_prefix('?') {
        format!("{scheme}://{authority}{}?{query}", base.path())
    } else {
        let (path, query) =
            reference.split_once('?').map_or((reference, None), |(path, query)| (path, Some(query)));
        let joined = match path.starts_with('/') {
            true => path.to_owned(),
            false => format!("{}/{path}", base.path().rsplit_once('/').map_or("", |(folder, _)| folder)),
        };
        let path = without_dots(&joined);
        query.map_or_else(
            || format!("{scheme}://{authority}{path}"),
            |query| format!("{scheme}://{authority}{path}?{query}"),
        )
    };
    text.parse::<Uri>().map(|_| text).map_err(|error| bad(&error.to_string()))
}

fn without_dots(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    format!("/{}", segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_resolved_as_browsers_do() {
        let base = "http://h:80/a/whip/room?x=1";
        for (reference, expected) in [
            ("/sessions/1", "http://h:80/sessions/1"),
            ("/s/../t/./u", "http://h:80/t/u"),
            ("s/1", "http://h:80/a/whip/s/1"),
            ("../s/1?k=v", "http://h:80/a/s/1?k=v"),
            ("?y=2", "http://h:80/a/whip/room?y=2"),
            ("//other/s", "http://other/s"),
            ("http://other:1/s", "http://other:1/s"),
            ("../../../../s", "http://h:80/s"),
        ] {
            assert_eq!(resolve_reference(base, reference).unwrap(), expected, "{reference}");
        }
        for bad in ["", "  ", "http://", "/with space"] {
            assert!(resolve_reference(base, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn origins_are_scheme_host_and_port() {
        for (one, other, same, near) in [
            ("http://h/a", "http://H:80/b?c", true, true),
            ("https://h/a", "https://h:443", true, true),
            ("http://h/a", "http://h:81/a", false, true),
            ("http://h/a", "https://h/a", false, false),
            ("https://h/a", "http://h/a", false, true),
            ("http://h.evil/a", "http://h/a", false, false),
            ("http://h@evil/a", "http://h/a", false, false),
            ("/a", "/a", false, false),
        ] {
            assert_eq!((same_origin(one, other), same_host(one, other)), (same, near), "{one} {other}");
        }
        assert!(less_secret("http://h/", "https://h/") && !less_secret("https://h/", "http://h/"));
    }

    #[test]
    fn only_near_addresses_are_near() {
        for near in [
            "127.0.0.1",
            "127.9.9.9",
            "10.0.0.1",
            "172.16.3.4",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:10.0.0.1",
        ] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in [
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "192.169.0.1",
            "2001:db8::1",
            "::ffff:8.8.8.8",
            "0.0.0.0",
        ] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }

    #[tokio::test]
    async fn public_targets_need_consent_and_bad_urls_say_why() {
        let refused = check_url("http://192.0.2.1/whip", false).await.unwrap_err();
        assert!(matches!(refused, ClientError::ForbiddenTarget { .. }), "{refused}");
        assert!(refused.to_string().contains("--i-own-the-target"));
        assert_eq!(check_url("http://192.0.2.1/whip", true).await.unwrap().port(), 80);
        assert_eq!(check_url("https://127.0.0.1/whip", false).await.unwrap().port(), 443);
        assert_eq!(check_url("http://[::1]:81/whip", false).await.unwrap().port(), 81);
        for bad in ["", "whip", "ftp://127.0.0.1/", "/whip", "http://"] {
            assert!(matches!(check_url(bad, false).await, Err(ClientError::BadUrl { .. })), "{bad:?}");
        }
    }
}
