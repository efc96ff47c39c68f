//! Who may be asked: what the user named, and nobody else that an answer points to.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use ::http::Uri;

use super::ClientError;
use super::target::{addresses, check_url, is_near};

/// The hosts that were named. A playlist is written by its server: it must not be able to aim a load at others.
#[derive(Debug)]
pub struct Gate {
    /// Host and port of each URL that was named.
    places: HashSet<String>,
    /// Host and port of those that were allowed beside them.
    allowed: HashSet<String>,
    /// Hosts that may be asked at any port.
    hosts: HashSet<String>,
    /// Near addresses may be asked without being named.
    near_too: bool,
    allow_public: bool,
    /// Places whose addresses were looked at: once is enough for the thousands of requests of a run.
    checked: Mutex<HashSet<String>>,
    /// The addresses of those.
    addresses: Mutex<HashSet<IpAddr>>,
}

/// Where datagrams may go.
#[derive(Debug, Clone, Default)]
pub(super) struct Reach {
    /// Public addresses may be loaded.
    pub allow_public: bool,
    /// Keeps out those of nobody whom the user named; `None`: whatever address may be loaded.
    pub gate: Option<Arc<Gate>>,
}

impl Reach {
    /// Whether this address may be sent to.
    pub fn allows(&self, address: IpAddr) -> bool {
        is_near(address) || (self.allow_public && self.gate.as_ref().is_none_or(|gate| gate.has_at(address)))
    }
}

/// Host, and host with port, of a URL.
fn place(url: &str) -> Result<(String, String), ClientError> {
    let bad = |why: &str| ClientError::BadUrl { url: url.to_owned(), why: why.to_owned() };
    let uri: Uri = url.parse().map_err(|error: ::http::uri::InvalidUri| bad(&error.to_string()))?;
    let usual = match uri.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        Some(_) | None => return Err(bad("it must begin with http:// or https://")),
    };
    let host = uri.host().ok_or_else(|| bad("it names no host"))?.to_ascii_lowercase();
    let port = uri.port_u16().unwrap_or(usual);
    Ok((host.clone(), format!("{host}:{port}")))
}

impl Gate {
    /// Lets through to the places of these URLs and to these hosts, written as `HOST` or `HOST:PORT`.
    pub fn new(urls: &[&str], hosts: &[String], allow_public: bool) -> Result<Self, ClientError> {
        let mut gate = Self {
            places: HashSet::new(),
            allowed: HashSet::new(),
            hosts: HashSet::new(),
            near_too: false,
            allow_public,
            checked: Mutex::default(),
            addresses: Mutex::default(),
        };
        for url in urls {
            gate.places.insert(place(url)?.1);
        }
        for host in hosts {
            let bad =
                |_| ClientError::BadConfig(format!("{host:?} is no host; write it as HOST or HOST:PORT"));
            let (bare, with_port) = place(&format!("http://{host}")).map_err(bad)?;
            if host.contains(['/', '?', '#', '@']) || bare.is_empty() {
                return Err(bad(ClientError::BadConfig(String::new())));
            }
            // An IPv6 address has colons of its own, within its brackets.
            let ported = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
            if ported {
                gate.allowed.insert(with_port)
            } else {
                gate.hosts.insert(bare)
            };
        }
        Ok(gate)
    }

    /// The same for servers of sessions, which send clients on within their cluster: loopback and private addresses may be
    /// asked without being named. A public one must be named though public ones are allowed.
    pub fn of_sessions(urls: &[&str], hosts: &[String], allow_public: bool) -> Result<Self, ClientError> {
        Ok(Self { near_too: true, ..Self::new(urls, hosts, allow_public)? })
    }

    /// Whether the user allowed this URL's host beside those of the URLs: it is one with their servers.
    pub(super) fn allows(&self, url: &str) -> bool {
        place(url).is_ok_and(|(host, place)| self.allowed.contains(&place) || self.hosts.contains(&host))
    }

    /// Whether public addresses may be asked at all.
    pub(super) fn allows_public(&self) -> bool {
        self.allow_public
    }

    /// Whether somebody whom the user named has this address.
    fn has_at(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let written = if address.is_ipv6() { format!("[{address}]") } else { address.to_string() };
        self.hosts.contains(&written)
            || self.addresses.lock().unwrap_or_else(PoisonError::into_inner).contains(&address)
    }

    /// Whether this URL may be asked.
    pub async fn check(&self, url: &str) -> Result<(), ClientError> {
        let named = self.allows(url);
        let (_, place) = place(url)?;
        if !named && !self.places.contains(&place) {
            let strange = ClientError::StrangeHost { url: url.to_owned(), host: place };
            if !self.near_too {
                return Err(strange);
            }
            return match check_url(url, false).await {
                Err(ClientError::ForbiddenTarget { .. }) if self.allow_public => Err(strange),
                near => near.map(|_| ()),
            };
        }
        if self.checked.lock().unwrap_or_else(PoisonError::into_inner).contains(&place) {
            return Ok(());
        }
        let found = addresses(url, self.allow_public).await?;
        let found = found.iter().map(|address| address.ip().to_canonical());
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).insert(place);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_was_named_is_asked() {
        let hosts = ["127.0.0.2".to_owned(), "127.0.0.3:81".to_owned(), "[::1]".to_owned()];
        let gate = Gate::new(&["http://127.0.0.1/live/a.m3u8"], &hosts, false).unwrap();
        for near in [
            "http://127.0.0.1/b",
            "http://127.0.0.1:80/b",
            "http://127.0.0.2:9/b",
            "https://127.0.0.2/b",
            "http://127.0.0.3:81/b",
            "http://[::1]:7/b",
        ] {
            gate.check(near).await.unwrap();
        }
        for strange in
            ["http://127.0.0.1:81/b", "https://127.0.0.1/b", "http://127.0.0.3/b", "http://127.0.0.4/b"]
        {
            let refused = gate.check(strange).await.unwrap_err();
            assert!(matches!(refused, ClientError::StrangeHost { .. }), "{refused}");
            assert!(refused.to_string().contains("--allow-host 127.0.0."), "{refused}");
        }
        assert!(matches!(gate.check("file:///etc/passwd").await, Err(ClientError::BadUrl { .. })));
        let far = Gate::new(&["http://192.0.2.1/a"], &[], false).unwrap();
        assert!(matches!(far.check("http://192.0.2.1/a").await, Err(ClientError::ForbiddenTarget { .. })));
        Gate::new(&["http://192.0.2.1/a"], &[], true).unwrap().check("http://192.0.2.1/b").await.unwrap();
        // A cluster's own machines need no names; whoever is public does, consent or not.
        let cluster = Gate::of_sessions(&["http://192.0.2.1/a"], &["192.0.2.2:81".to_owned()], true).unwrap();
        for fine in
            ["http://192.0.2.1/b", "http://192.0.2.2:81/b", "http://127.0.0.1:9/b", "http://10.0.0.1/b"]
        {
            cluster.check(fine).await.unwrap();
        }
        // Their media is at their addresses, and at none else that an answer names.
        let reach = Reach { allow_public: true, gate: Some(Arc::new(cluster)) };
        for (address, allowed) in [
            ("192.0.2.1", true),
            ("192.0.2.2", true),
            ("::ffff:192.0.2.1", true),
            ("10.9.9.9", true),
            ("192.0.2.3", false),
            ("2001:db8::1", false),
        ] {
            assert_eq!(reach.allows(address.parse().unwrap()), allowed, "{address}");
        }
        let gate =
            Gate::of_sessions(&[], &["192.0.2.7".to_owned(), "[2001:db8::1]".to_owned()], true).unwrap();
        let named = Reach { allow_public: true, gate: Some(Arc::new(gate)) };
        assert!(["192.0.2.7", "2001:db8::1"].iter().all(|address| named.allows(address.parse().unwrap())));
        assert!(!Reach { allow_public: false, ..named }.allows("192.0.2.7".parse().unwrap()));
        let cluster = reach.gate.unwrap();
        for strange in ["http://192.0.2.3/b", "http://192.0.2.2/b", "http://192.0.2.1:81/b"] {
            let refused = cluster.check(strange).await.unwrap_err();
            assert!(matches!(refused, ClientError::StrangeHost { .. }), "{refused}");
        }
        let near = Gate::of_sessions(&["http://127.0.0.1/a"], &[], false).unwrap();
        assert!(matches!(near.check("http://192.0.2.1/b").await, Err(ClientError::ForbiddenTarget { .. })));
        for bad in ["", "a b", "http://x", "h/p", "u@h"] {
            assert!(Gate::new(&[], &[bad.to_owned()], false).is_err(), "{bad:?}");
        }
    }
}
