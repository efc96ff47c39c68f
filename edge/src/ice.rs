//! ICE servers for clients: `Link` headers (RFC 9725 section 4.6) and JSON.
//!
//! TURN credentials are made per client and end by themselves (draft-uberti-behave-turn-rest): the user name carries
//! its expiry, the password is an HMAC of it under a secret that the TURN server shares. The secret itself is never
//! sent, and what is sent is of use to nobody after its time.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshet_cluster::Identity;
use freshet_cluster::secret::Secret;
use freshet_cluster::unit::UnixMillis;
use http::HeaderValue;
use serde::Serialize;

/// How long TURN credentials are good when nothing else is configured.
pub const TTL: Duration = Duration::from_secs(12 * 3600);

/// What is configured.
#[derive(Debug, Clone, Default)]
pub struct IceServers {
    /// `stun:` URLs, and `turn:` URLs that need no credentials of ours.
    pub plain: Vec<String>,
    /// TURN servers with a shared secret.
    pub turn: Option<TurnRest>,
}

/// TURN servers that share a secret with us.
#[derive(Debug, Clone)]
pub struct TurnRest {
    /// `turn:` and `turns:` URLs.
    pub urls: Vec<String>,
    /// The secret (`static-auth-secret` of coturn).
    pub secret: Secret,
    /// How long credentials are good.
    pub ttl: Duration,
}

/// One entry of `RTCConfiguration.iceServers`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct IceServer {
    /// Its URLs.
    pub urls: Vec<String>,
    /// TURN user name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// TURN password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// Why an ICE server URL is refused at start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no ICE server URL: use stun:HOST[:PORT], turn:HOST[:PORT][?transport=udp|tcp] or turns:…")]
pub struct BadUrl(String);

/// Checks an ICE server URL (RFC 7064, RFC 7065) as far as it must be to stand in a header.
pub fn check_url(url: &str) -> Result<(), BadUrl> {
    let rest = ["stun:", "stuns:", "turn:", "turns:"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._~[]:?=%".contains(c);
    match rest {
        Some(rest) if !rest.is_empty() && rest.len() <= 255 && rest.chars().all(plain) => Ok(()),
        _ => Err(BadUrl(url.chars().take(80).collect())),
    }
}

/// Whether a URL is of a TURN server.
pub fn is_turn(url: &str) -> bool {
    url.starts_with("turn:") || url.starts_with("turns:")
}

impl IceServers {
    /// Checks every URL.
    pub fn check(&self) -> Result<(), BadUrl> {
        let turn = self.turn.iter().flat_map(|t| &t.urls);
        self.plain.iter().chain(turn).try_for_each(|url| check_url(url))
    }

    /// What this client gets.
    pub fn for_client(&self, who: &Identity, now: UnixMillis) -> Vec<IceServer> {
        let mut servers = Vec::new();
        if !self.plain.is_empty() {
            servers.push(IceServer { urls: self.plain.clone(), username: None, credential: None });
        }
        if let Some(turn) = self.turn.as_ref().filter(|t| !t.urls.is_empty()) {
            let (username, credential) = turn.credentials(who, now);
            let urls = turn.urls.clone();
            servers.push(IceServer { urls, username: Some(username), credential: Some(credential) });
        }
        servers
    }

    /// One `Link` header value for each URL.
    pub fn links(&self, who: &Identity, now: UnixMillis) -> Vec<HeaderValue> {
        let value = |url: &str, server: &IceServer| {
            let mut text = format!("<{url}>; rel=\"ice-server\"");
            if let (Some(username), Some(credential)) = (&server.username, &server.credential) {
                // Of characters that need no escape inside quotes: see `credentials`.
                text.push_str(&format!(
                    "; username=\"{username}\"; credential=\"{credential}\"; credential-type=\"password\""
                ));
            }
            HeaderValue::from_str(&text).ok()
        };
        let servers = self.for_client(who, now);
        servers.iter().flat_map(|s| s.urls.iter().filter_map(|url| value(url, s))).collect()
    }
}

impl TurnRest {
    /// User name (`expiry:identity`) and password. An identity that would need quoting stands there as base64url.
    pub fn credentials(&self, who: &Identity, now: UnixMillis) -> (String, String) {
        let expiry = (now.0 / 1000).saturating_add(self.ttl.as_secs());
        let plain = who.as_str().chars().all(|c| c.is_ascii_alphanumeric() || "_-.@".contains(c));
        let name = if plain { who.as_str().to_owned() } else { who.to_key() };
        let username = format!("{expiry}:{name}");
        // The draft fixes SHA-1. As an HMAC it is not broken, and TURN servers know no other.
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.secret.expose().as_bytes());
        let credential = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
        (username, credential)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers() -> IceServers {
        IceServers {
            plain: vec!["stun:stun.example.net:3478".into()],
            turn: Some(TurnRest {
                urls: vec!["turn:turn.example.net?transport=udp".into(), "turns:turn.example.net:443".into()],
                secret: Secret::new("north"),
                ttl: Duration::from_secs(600),
            }),
        }
    }

    #[test]
    fn turn_credentials_are_what_a_turn_server_computes() {
        let turn = servers().turn.unwrap();
        let at = |who: &str| turn.credentials(&who.parse().unwrap(), UnixMillis(1_700_000_000_999));
        // printf 1700000600:alice | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(at("alice"), ("1700000600:alice".into(), "gthUwOpcRoLI0MMCziCEBOWYnpo=".into()));
        assert_eq!(at("Zoë \"1\"").0, "1700000600:Wm_DqyAiMSI");
    }

    #[test]
    fn every_url_is_one_link() {
        let links = servers().links(&"alice".parse().unwrap(), UnixMillis(1_700_000_000_000));
        let texts: Vec<_> = links.iter().map(|l| l.to_str().unwrap()).collect();
        assert_eq!(texts.len(), 3);
        assert_eq!(texts[0], "<stun:stun.example.net:3478>; rel=\"ice-server\"");
        assert_eq!(
            texts[1],
            "<turn:turn.example.net?transport=udp>; rel=\"ice-server\"; username=\"1700000600:alice\"; \
             credential=\"gthUwOpcRoLI0MMCziCEBOWYnpo=\"; credential-type=\"password\""
        );
    }

    #[test]
    fn json_is_what_rtcpeerconnection_takes() {
        let json = serde_json::to_value(servers().for_client(&"a".parse().unwrap(), UnixMillis(0))).unwrap();
        assert_eq!(json[0], serde_json::json!({"urls": ["stun:stun.example.net:3478"]}));
        assert!(json[1]["username"].is_string() && json[1]["credential"].is_string());
        assert!(IceServers::default().for_client(&"a".parse().unwrap(), UnixMillis(0)).is_empty());
    }

    #[test]
    fn a_url_that_would_break_a_header_is_refused() {
        servers().check().unwrap();
        for bad in ["http://x", "stun:", "stun:a>b", "turn:a\r\nX: y", "turn:a b", "stun:é"] {
            assert!(check_url(bad).is_err(), "{bad:?}");
        }
        check_url("turn:[2001:db8::1]:3478").unwrap();
    }
}
