//! Who can reach an address, for the operator who wonders why nobody outside does.

use std::net::{IpAddr, SocketAddr};

/// From where an address can be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reach {
    /// This machine alone.
    Machine,
    /// The same link.
    Link,
    /// A private network.
    Network,
    /// Anywhere.
    Anywhere,
}

/// From where this address can be called.
pub fn of(ip: IpAddr) -> Reach {
    match ip.to_canonical() {
        ip if ip.is_loopback() => Reach::Machine,
        IpAddr::V4(ip) if ip.is_link_local() => Reach::Link,
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Reach::Link,
        IpAddr::V4(ip) if ip.is_private() || is_shared(ip.octets()) => Reach::Network,
        IpAddr::V6(ip) if ip.is_unique_local() => Reach::Network,
        _ => Reach::Anywhere,
    }
}

/// Addresses of carrier-grade NAT (RFC 6598).
fn is_shared(octets: [u8; 4]) -> bool {
    matches!(octets, [100, 64..=127, ..])
}

/// From where the best of them can be called.
pub fn best(candidates: &[SocketAddr]) -> Option<Reach> {
    candidates.iter().map(|at| of(at.ip())).max()
}

impl Reach {
    /// Who is left out, and what to do; none when nobody is.
    pub fn warning(self) -> Option<&'static str> {
        match self {
            Self::Anywhere => None,
            Self::Network => Some(
                "every candidate is a private address: only clients of that network, or with a route into it, get \
                 media. For others say the public address, as in --candidate 203.0.113.7=10.0.0.7",
            ),
            Self::Link => Some(
                "every candidate is a link-local address: only clients on the same link get media. For others say \
                 an address that is routed, as in --candidate 203.0.113.7",
            ),
            Self::Machine => Some(
                "every candidate is a loopback address: only clients on this machine get media. For others say the \
                 address that they reach, as in --candidate 192.0.2.10",
            ),
        }
    }
}
