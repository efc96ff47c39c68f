//! Response headers that the clients read: `Link` (RFC 8288, for ICE servers RFC 9725 section 4.6) and `Retry-After`.

use std::time::Duration;

use ::http::HeaderMap;
use ::http::header::{LINK, RETRY_AFTER};

/// Longest pause that `Retry-After` may ask for.
const MAX_RETRY: u64 = 3_600;

/// A STUN or TURN server that a response named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceServer {
    /// Such as `turn:turn.example.net?transport=udp`.
    pub url: String,
    /// User name for TURN.
    pub username: Option<String>,
    /// Credential for TURN.
    pub credential: Option<String>,
}

/// A `Link` as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    /// Target, perhaps relative.
    pub url: String,
    parameters: Vec<(String, String)>,
}

impl Link {
    /// Whether it has this relation type.
    pub fn is(&self, rel: &str) -> bool {
        let mut types = self.parameter("rel").into_iter().flat_map(str::split_ascii_whitespace);
        types.any(|found| found.eq_ignore_ascii_case(rel))
    }

    /// A parameter's value.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The `Link`s of a response, from one header or many.
pub(super) fn links(headers: &HeaderMap) -> Vec<Link> {
    let lines = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| split_unquoted(line, ',')).filter_map(link).collect()
}

/// The ICE servers of a response's `Link` headers.
pub fn ice_servers(headers: &HeaderMap) -> Vec<IceServer> {
    let wanted = links(headers).into_iter().filter(|link| link.is("ice-server"));
    let server = |link: Link| IceServer {
        username: link.parameter("username").map(str::to_owned),
        credential: link.parameter("credential").map(str::to_owned),
        url: link.url,
    };
    wanted.map(server).collect()
}

fn link(text: &str) -> Option<Link> {
    let (url, rest) = text.trim().strip_prefix('<')?.split_once('>')?;
    let parameters = split_unquoted(rest, ';').into_iter().filter_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        Some((name.trim().to_ascii_lowercase(), unquote(value.trim())))
    });
    Some(Link { url: url.trim().to_owned(), parameters: parameters.collect() })
}

/// Splits at a character that stands neither in quotes nor in angle brackets.
fn split_unquoted(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut quoted, mut escaped, mut angled, mut from) = (false, false, false, 0);
    for (place, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' if !angled => quoted = !quoted,
            '<' if !quoted => angled = true,
            '>' if !quoted => angled = false,
            found if found == at && !quoted && !angled => {
                parts.extend(text.get(from..place));
                from = place + found.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(from..));
    parts
}

fn unquote(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else {
        return value.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for character in inner.chars() {
        if character == '\\' && !escaped {
            escaped = true;
        } else {
            plain.push(character);
            escaped = false;
        }
    }
    plain
}

/// The pause that a response asks for; dates are not understood and count as absent.
pub(super) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?;
    let seconds: u64 = text.trim().parse().ok()?;
    Some(Duration::from_secs(seconds.min(MAX_RETRY)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ice_servers_come_from_one_header_or_many() {
        let mut headers = HeaderMap::new();
        let both = r#"<stun:a.example>; rel="ice-server", <turn:b.example?transport=udp>; rel="ice-server"; username="17:u,s;er"; credential="p\"w"; credential-type="password""#;
        headers.append(LINK, both.parse().unwrap());
        headers.append(LINK, "<https://c.example/sse>; rel=urn:other".parse().unwrap());
        headers.append(LINK, "<turns:d.example>;rel=ice-server;username=u;credential=c".parse().unwrap());
        let server = |url: &str, username: Option<&str>, credential: Option<&str>| IceServer {
            url: url.into(),
            username: username.map(Into::into),
            credential: credential.map(Into::into),
        };
        let expected = [
            server("stun:a.example", None, None),
            server("turn:b.example?transport=udp", Some("17:u,s;er"), Some("p\"w")),
            server("turns:d.example", Some("u"), Some("c")),
        ];
        assert_eq!(ice_servers(&headers), expected);
    }

    #[test]
    fn nonsense_is_no_server() {
        let mut headers = HeaderMap::new();
        for text in [
            "",
            "<",
            "<>",
            "stun:x; rel=ice-server",
            "<a>; rel",
            "\"<a>; rel=ice-server",
            "<a;rel=ice-server",
        ] {
            headers.append(LINK, text.parse().unwrap());
        }
        assert_eq!(ice_servers(&headers), []);
    }

    #[test]
    fn retry_after_is_seconds_and_bounded() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            retry_after(&headers)
        };
        assert_eq!(of("2"), Some(Duration::from_secs(2)));
        assert_eq!(of(" 99999999 "), Some(Duration::from_secs(3_600)));
        assert_eq!(of("Sat, 21 Nov 2026 03:00:00 GMT"), None);
        assert_eq!(of("-1"), None);
    }
}
