//! What can go wrong between a client and a server, in words that say what to do.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::Deserialize;

/// A problem detail (RFC 9457); absent members are empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// URI of the problem's type.
    #[serde(rename = "type")]
    pub kind: String,
    /// Short summary.
    pub title: String,
    /// HTTP status, if the body repeats it.
    pub status: Option<u16>,
    /// What was wrong and what to do.
    pub detail: String,
    /// Machine-readable reason, where the server gives one.
    pub reason: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = if self.detail.is_empty() { &self.title } else { &self.detail };
        match &self.reason {
            Some(reason) => write!(f, "{text} [{reason}]"),
            None => f.write_str(text),
        }
    }
}

/// Longest kind, in characters.
const KIND_MAX: usize = 120;
/// Words of more characters than these that hold several digits are an address, a number or a name of one case alone.
const SHORT: usize = 4;

/// The kind of a failure: its words without what differs from one case to the next. URLs, and words with digits but for
/// statuses and names such as H264 and #EXTM3U, are left out.
pub fn kind(text: &str) -> String {
    let mut kind = String::new();
    for word in text.split_whitespace() {
        let core = word.trim_matches(|character: char| !character.is_alphanumeric());
        let digits = core.chars().filter(char::is_ascii_digit).count();
        let own = word.contains("://")
            || (digits > 1 && core.len() > SHORT)
            || (digits > 0 && core.contains([':', '.']));
        let next = if own { "…" } else { word };
        if own && kind.ends_with('…') {
            continue;
        }
        if !kind.is_empty() {
            kind.push(' ');
        }
        kind.push_str(next);
    }
    kind.chars().take(KIND_MAX).collect()
}

/// Errors of the WHIP and WHEP clients.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ClientError {
    /// The URL cannot be used.
    #[error("the URL {url:?} cannot be used: {why}")]
    BadUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The configuration asks for something impossible.
    #[error("{0}")]
    BadConfig(String),
    /// The target is on the internet and nobody said that it may be loaded.
    #[error(
        "{host} is {address}, neither loopback nor private: a load test of it needs its owner's consent (--i-own-the-target)"
    )]
    ForbiddenTarget {
        /// Host of a URL, or "a candidate of the answer".
        host: String,
        /// Its address.
        address: IpAddr,
    },
    /// A redirect or a playlist leads to where the user did not point.
    #[error("{url} is at {host}, which was not named: give --allow-host {host} if it may be asked, too")]
    StrangeHost {
        /// What would have been asked.
        url: String,
        /// Its host and port.
        host: String,
    },
    /// No answer on the transport.
    #[error("{url} cannot be reached: {why}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What the transport said.
        why: String,
    },
    /// Nothing came in time.
    #[error("{what} took more than {} ms", after.as_millis())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        after: Duration,
    },
    /// The server said no.
    #[error("{method} {url} was answered with {status}{}", explain(problem.as_deref(), body))]
    Refused {
        /// Request method.
        method: String,
        /// Request URL.
        url: String,
        /// Status of the response.
        status: u16,
        /// The problem detail, if the body is one.
        problem: Option<Box<Problem>>,
        /// The `Retry-After` header, in its form of seconds.
        retry_after: Option<Duration>,
        /// The beginning of the body.
        body: String,
    },
    /// The response is a success that breaks the protocol.
    #[error("{url} answered against the protocol: {why}")]
    BadResponse {
        /// What was asked.
        url: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// A TURN server that has to be used cannot be.
    #[error("the TURN server {url} cannot be used: {why}")]
    Relay {
        /// Which.
        url: String,
        /// What happened.
        why: String,
    },
    /// WebRTC failed.
    #[error("the WebRTC session failed: {0}")]
    Session(String),
    /// The session is over.
    #[error("the session has ended: {0}")]
    Ended(String),
    /// This host refused something.
    #[error("{what}: {why}")]
    Host {
        /// What was tried.
        what: String,
        /// What the system said.
        why: String,
    },
}

impl ClientError {
    /// Status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// When a refusal asks to come again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Problem detail of a refusal.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Refused { problem, .. } => problem.as_deref(),
            _ => None,
        }
    }

    /// A few words by which failures are counted together: those of one kind have the same, whatever their addresses,
    /// numbers and times.
    pub fn class(&self) -> String {
        match self {
            // Which host it was is what the user has to know, and they are few.
            Self::StrangeHost { host, .. } => format!("{host} was not named: --allow-host {host}"),
            other => kind(&other.words()),
        }
    }

    fn words(&self) -> String {
        match self {
            Self::BadUrl { .. } => "bad URL".into(),
            Self::BadConfig(_) => "bad configuration".into(),
            Self::ForbiddenTarget { .. } => "target not allowed".into(),
            Self::StrangeHost { .. } => "a host was not named".into(),
            // The last cause is what happened; those before it say in which call.
            Self::Unreachable { why, .. } => {
                format!("unreachable: {}", why.rsplit(": ").next().unwrap_or(why))
            }
            Self::Timeout { what, .. } => format!("timeout: {what}"),
            Self::Refused { status, problem, .. } => {
                match problem.as_ref().and_then(|problem| problem.reason.as_ref()) {
                    Some(reason) => format!("HTTP {status} {reason}"),
                    None => format!("HTTP {status}"),
                }
            }
            Self::BadResponse { why, .. } => format!("bad response: {why}"),
            Self::Relay { why, .. } => format!("TURN: {why}"),
            Self::Session(why) => format!("WebRTC: {why}"),
            Self::Ended(why) => format!("ended: {why}"),
            Self::Host { what, .. } => what.clone(),
        }
    }
}

fn explain(problem: Option<&Problem>, body: &str) -> String {
    match (problem, body.trim()) {
        (Some(problem), _) => format!(": {problem}"),
        (None, "") => String::new(),
        (None, body) => format!(": {body}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_differ_in_addresses_numbers_and_times_are_one_kind() {
        let of = |n: u32| {
            [
                ClientError::Timeout {
                    what: format!("POST http://h/whep/room-{n}?t={n}"),
                    after: Duration::from_millis(n.into()),
                },
                ClientError::BadResponse {
                    url: format!("http://h/{n}"),
                    why: format!("session 0x{n:08x} of [fe80::{n:x}]:{n} and 10.0.0.{n}: no"),
                },
                ClientError::Ended(format!("after {n}ms12: gone")),
            ]
            .map(|error| error.class())
        };
        assert_eq!(of(1), of(254));
        assert_eq!(of(1)[0], "timeout: POST …");
        let (url, why) =
            ("http://h".to_owned(), "client error (Connect): tcp: Connection refused (os error 111)");
        let refused = ClientError::Unreachable { url, why: why.to_owned() };
        assert_eq!(refused.class(), "unreachable: Connection refused (os error 111)");
        assert_eq!(kind("HTTP 503 over-capacity"), "HTTP 503 over-capacity");
        assert_eq!(kind("the answer takes no H264"), "the answer takes no H264");
        assert_eq!(kind(&"x ".repeat(999)).chars().count(), KIND_MAX);
    }
}
