//! Where a client is: the connection's other end, or what trusted proxies say of it. Pure.
//!
//! `Forwarded` (RFC 7239) and `X-Forwarded-For` are lists to which each proxy adds whom it took the request from. They
//! are read from the right, and only as far as the one who wrote is trusted: what stands further left anybody may have
//! sent. A value that is no address is no reason to believe the ones beyond it: then the connection's other end counts.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use http::header::HeaderName;
use http::{HeaderMap, header};

/// RFC 7239.
const FORWARDED: HeaderName = header::FORWARDED;
/// What most proxies send.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// Most hops that are looked at.
const HOPS_MAX: usize = 64;

/// Addresses with a common beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    base: IpAddr,
    bits: u8,
}

/// A text is no [`Cidr`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no network: write an address and a prefix length, as in 10.0.0.0/8, 192.0.2.7 or 2001:db8::/32"
)]
pub struct BadCidr(String);

impl FromStr for Cidr {
    type Err = BadCidr;

    fn from_str(text: &str) -> Result<Self, BadCidr> {
        let bad = || BadCidr(text.chars().take(64).collect());
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let all = width(address);
        let digits = |bits: &str| bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit());
        let bits = match bits {
            Some(bits) => bits.parse().ok().filter(|n| digits(bits) && *n <= all).ok_or_else(bad)?,
            None => all,
        };
        // Of an IPv4 network that is written as IPv6.
        match (address, address.to_canonical()) {
            (IpAddr::V6(_), base @ IpAddr::V4(_)) if bits >= 96 => {
                Ok(Self { base, bits: bits.saturating_sub(96) })
            }
            _ => Ok(Self { base: address, bits }),
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.bits)
    }
}

impl Cidr {
    /// Whether the address is in it. An IPv4 address may be written as IPv6 (`::ffff:…`).
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let shift = 32u32.saturating_sub(self.bits.into());
                base.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let shift = 128u32.saturating_sub(self.bits.into());
                base.to_bits().checked_shr(shift) == address.to_bits().checked_shr(shift)
            }
            _ => false,
        }
    }
}

fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

/// The proxies whose word counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trusted(Vec<Cidr>);

impl Trusted {
    /// Nobody is trusted.
    pub const NONE: Self = Self(Vec::new());

    /// Proxies of these networks; none of no network.
    pub fn new(networks: Vec<Cidr>) -> Self {
        Self(networks)
    }

    /// Whether the address is a trusted proxy's.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }

    /// Where the client of a request is that came from `peer`.
    ///
    /// Where both headers are there they must agree: a proxy that writes one of them lets the other pass as the client
    /// sent it, and which of them is whose cannot be seen.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.contains(peer) {
            return peer;
        }
        let forwarded = list(headers, &FORWARDED).map(|list| list.and_then(forwarded));
        let plain = list(headers, &X_FORWARDED_FOR).map(|list| list.map(plain));
        let walked = |hops: Option<Vec<Hop>>| hops.and_then(|hops| self.walk(&hops)).unwrap_or(peer);
        match (forwarded.map(walked), plain.map(walked)) {
            (None, None) => peer,
            (Some(one), None) | (None, Some(one)) => one,
            (Some(one), Some(other)) => {
                if one == other {
                    one
                } else {
                    peer
                }
            }
        }
    }

    /// The first from the right that is no trusted proxy, or the leftmost of all; `None` if one on the way has no
    /// address.
    fn walk(&self, hops: &[Hop]) -> Option<IpAddr> {
        let mut last = None;
        for hop in hops.iter().rev().take(HOPS_MAX) {
            let address = (*hop)?;
            last = Some(address);
            if !self.contains(address) {
                break;
            }
        }
        last
    }
}

/// Whom a proxy took a request from; `None` if it says so in another way than by an address.
type Hop = Option<IpAddr>;

/// All values of a list header as one; `Some(None)` where one is not text.
fn list(headers: &HeaderMap, name: &HeaderName) -> Option<Option<String>> {
    let mut values = headers.get_all(name).iter().peekable();
    values.peek()?;
    let texts: Option<Vec<&str>> = values.map(|value| value.to_str().ok()).collect();
    Some(texts.map(|texts| texts.join(",")))
}

/// `X-Forwarded-For: 192.0.2.7, 2001:db8::7`; some proxies add the port.
fn plain(list: String) -> Vec<Hop> {
    list.split(',').map(|hop| address(hop.trim())).collect()
}

/// `Forwarded: for=192.0.2.7;proto=https, for="[2001:db8::7]:4711"`. `None` when it is not of that form.
fn forwarded(list: String) -> Option<Vec<Hop>> {
    split(&list, ',')?.into_iter().filter(|element| !element.trim().is_empty()).map(element).collect()
}

/// The hop of one element. One without `for` tells of no address.
fn element(text: &str) -> Option<Hop> {
    let mut found = None;
    for pair in split(text, ';')?.into_iter().filter(|pair| !pair.trim().is_empty()) {
        let (name, value) = pair.trim().split_once('=')?;
        if !name.eq_ignore_ascii_case("for") {
            continue;
        }
        if found.is_some() {
            return None;
        }
        found = Some(match value.strip_prefix('"') {
            Some(quoted) => address(quoted.strip_suffix('"')?),
            None => address(value),
        });
    }
    Some(found.flatten())
}

/// Splits outside of quoted strings; `None` if one does not end.
fn split(text: &str, by: char) -> Option<Vec<&str>> {
    let (mut quoted, mut escaped, mut begin, mut parts) = (false, false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if c == by && !quoted => {
                parts.push(text.get(begin..at)?);
                begin = at.saturating_add(c.len_utf8());
            }
            _ => {}
        }
    }
    parts.push(text.get(begin..)?);
    (!quoted).then_some(parts)
}

/// An address, in brackets or not, with a port or without.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let found = match bare {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip())),
    };
    found.map(|address| address.to_canonical()).filter(|address| !address.is_unspecified())
}

/// What one address is to a limit: an IPv4 address, or the /64 of an IPv6 address, which is what one household has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Household(u64);

impl From<IpAddr> for Household {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            // ::/64 is nobody's: what of it is routed at all is IPv4 in another dress.
            IpAddr::V4(address) => Self(address.to_bits().into()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
            }
        }
    }
}

impl fmt::Display for Household {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match u32::try_from(self.0) {
            Ok(bits) => write!(f, "{}", Ipv4Addr::from_bits(bits)),
            Err(_) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(self.0) << 64)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn trusted(networks: &[&str]) -> Trusted {
        Trusted::new(networks.iter().map(|text| text.parse().unwrap()).collect())
    }

    /// Who the client is, of a peer that is 10.0.0.1 unless said.
    fn client(networks: &[&str], headers: &[(&str, &str)]) -> String {
        from("10.0.0.1", networks, headers)
    }

    fn from(peer: &str, networks: &[&str], headers: &[(&str, &str)]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        trusted(networks).client(ip(peer), &map).to_string()
    }

    #[test]
    fn networks_hold_what_begins_as_they_do() {
        let holds = |network: &str, address: &str| network.parse::<Cidr>().unwrap().contains(ip(address));
        assert!(holds("10.0.0.0/8", "10.255.0.1") && !holds("10.0.0.0/8", "11.0.0.1"));
        assert!(holds("10.1.2.3/8", "10.9.9.9"), "what is beyond the prefix does not matter");
        assert!(holds("192.0.2.7", "192.0.2.7") && !holds("192.0.2.7", "192.0.2.6"));
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "2001:db8::1"));
        assert!(holds("::/0", "2001:db8::1") && !holds("::/0", "203.0.113.9"));
        assert!(holds("2001:db8::/33", "2001:db8:7fff::1") && !holds("2001:db8::/33", "2001:db8:8000::1"));
        assert!(holds("10.0.0.0/8", "::ffff:10.1.1.1"), "IPv4 as an IPv6 socket tells it");
        assert!(holds("::ffff:10.0.0.0/104", "10.1.1.1") && !holds("::ffff:10.0.0.0/104", "11.1.1.1"));
        assert!(holds("::ffff:10.1.1.1", "10.1.1.1"));
        for bad in ["", "x", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/+8", "10.0.0/8", "::/129", "10.0.0.0/8/8"]
        {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn strangers_are_not_believed() {
        for name in ["x-forwarded-for", "forwarded"] {
            let said = [(name, if name == "forwarded" { "for=192.0.2.7" } else { "192.0.2.7" })];
            assert_eq!(client(&[], &said), "10.0.0.1", "nobody is trusted");
            assert_eq!(client(&["10.0.0.2"], &said), "10.0.0.1", "another is");
            assert_eq!(client(&["10.0.0.0/8"], &said), "192.0.2.7");
            assert_eq!(from("::ffff:10.0.0.1", &["10.0.0.0/8"], &said), "192.0.2.7", "a mapped peer");
        }
        assert_eq!(from("::ffff:192.0.2.1", &[], &[]), "192.0.2.1");
    }

    #[test]
    fn hops_are_walked_from_the_right_past_trusted_ones() {
        let of = |list: &str| client(&["10.0.0.0/8", "2001:db8:1::/48"], &[("x-forwarded-for", list)]);
        assert_eq!(of("6.6.6.6, 192.0.2.7"), "192.0.2.7", "what a client made up stands further left");
        assert_eq!(of("6.6.6.6, 192.0.2.7, 10.9.9.9,2001:db8:1::5"), "192.0.2.7");
        assert_eq!(of("not an address, 192.0.2.7"), "192.0.2.7", "what is beyond is not looked at");
        assert_eq!(of("10.1.1.1, 10.2.2.2"), "10.1.1.1", "all are ours: the first");
        assert_eq!(of("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(of("192.0.2.7:4711"), "192.0.2.7");
        assert_eq!(of("[2001:db8::7]:4711"), "2001:db8::7");
        assert_eq!(of("[2001:db8::7]"), "2001:db8::7");
        let lines = [("x-forwarded-for", "6.6.6.6"), ("x-forwarded-for", "192.0.2.7")];
        assert_eq!(client(&["10.0.0.0/8"], &lines), "192.0.2.7", "lines are one list");
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        let of = |value: &str| client(&["10.0.0.0/8"], &[("forwarded", value)]);
        assert_eq!(of("for=192.0.2.7;proto=http;by=203.0.113.43"), "192.0.2.7");
        assert_eq!(of("proto=https;For=\"192.0.2.7:4711\" , for=10.3.3.3"), "192.0.2.7");
        assert_eq!(of("For=\"[2001:db8:cafe::17]:4711\""), "2001:db8:cafe::17");
        assert_eq!(of("for=6.6.6.6;host=\"a,for=7.7.7.7;b\\\"\", for=192.0.2.7"), "192.0.2.7");
        assert_eq!(
            of("for=192.0.2.7;host=\"a, for=6.6.6.6\""),
            "192.0.2.7",
            "a comma in quotes parts nothing"
        );
    }

    #[test]
    fn what_is_no_address_leaves_the_connections_other_end() {
        for bad in
            ["", "unknown", "_hidden", "192.0.2", "192.0.2.7, ", "192.0.2.7,x", "10.0.0.0.1", "0.0.0.0"]
        {
            let found = client(&["10.0.0.0/8"], &[("x-forwarded-for", bad)]);
            assert_eq!(found, "10.0.0.1", "{bad:?}");
        }
        for bad in [
            "for=unknown",
            "for=_hidden",
            "for=\"_SEVKISEK\"",
            "proto=http",
            "for=192.0.2.7;for=192.0.2.8",
            "for=\"192.0.2.7",
            "for=192.0.2.7, for",
            "for=192.0.2.7, proto=http",
            "192.0.2.7",
            "",
        ] {
            assert_eq!(client(&["10.0.0.0/8"], &[("forwarded", bad)]), "10.0.0.1", "{bad:?}");
        }
    }

    #[test]
    fn two_headers_are_believed_where_they_agree() {
        let of = |forwarded, plain| {
            client(&["10.0.0.0/8"], &[("forwarded", forwarded), ("x-forwarded-for", plain)])
        };
        assert_eq!(of("for=192.0.2.7", "6.6.6.6, 192.0.2.7"), "192.0.2.7");
        assert_eq!(of("for=6.6.6.6", "192.0.2.7"), "10.0.0.1", "one of them is the client's own");
        assert_eq!(of("for=\"", "192.0.2.7"), "10.0.0.1");
    }

    #[test]
    fn a_household_is_an_address_or_a_64() {
        let of = |text: &str| Household::from(ip(text));
        assert_eq!(of("192.0.2.7"), of("::ffff:192.0.2.7"));
        assert_ne!(of("192.0.2.7"), of("192.0.2.8"));
        assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::8"));
        assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
        assert_eq!(of("192.0.2.7").to_string(), "192.0.2.7");
        assert_eq!(of("2001:db8:1:2::7").to_string(), "2001:db8:1:2::/64");
    }
}
