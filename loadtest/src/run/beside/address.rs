//! Where clients come from.

use std::net::{IpAddr, Ipv4Addr};

/// An address for each of many on loopback, so that a server that counts by address sees as many clients as there are.
pub fn address(url: &str, first: Ipv4Addr, number: u32) -> Option<IpAddr> {
    let uri: http::Uri = url.parse().ok()?;
    let server: Ipv4Addr = uri.host()?.parse().ok()?;
    let own = Ipv4Addr::from_bits(first.to_bits().saturating_add(number));
    (cfg!(target_os = "linux") && server.is_loopback()).then(|| own.into())
}
