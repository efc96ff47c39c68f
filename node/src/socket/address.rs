//! Addresses on sockets that serve both families.

use std::net::{IpAddr, SocketAddr};

/// IPv4 addresses of a socket for both families arrive in IPv6 clothes.
pub(super) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// The address as a socket of this family wants it. None: it cannot be reached from it.
pub(super) fn dressed(address: SocketAddr, socket_is_v6: bool) -> Option<SocketAddr> {
    match (address, socket_is_v6) {
        (SocketAddr::V4(v4), true) => Some(SocketAddr::new(IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port())),
        (SocketAddr::V6(_), false) => None,
        (same, _) => Some(same),
    }
}
