//! Socket addresses as the kernel has them.

use std::mem::{offset_of, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An address of either family.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) union Name {
    v4: libc::sockaddr_in,
    v6: libc::sockaddr_in6,
}

impl Default for Name {
    fn default() -> Self {
        // SAFETY: zeros are valid in every field of both.
        unsafe { zeroed() }
    }
}

fn len<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(0)
}

fn family(family: libc::c_int) -> libc::sa_family_t {
    libc::sa_family_t::try_from(family).unwrap_or(0)
}

impl Name {
    /// Bytes that the kernel may write.
    pub const ROOM: libc::socklen_t = 28;

    /// Holds the address now. Returns its length.
    pub fn set(&mut self, address: SocketAddr) -> libc::socklen_t {
        match address {
            SocketAddr::V4(v4) => {
                self.v4 = libc::sockaddr_in {
                    sin_family: family(libc::AF_INET),
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
                    sin_zero: [0; 8],
                };
                len::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                self.v6 = libc::sockaddr_in6 {
                    sin6_family: family(libc::AF_INET6),
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr { s6_addr: v6.ip().octets() },
                    sin6_scope_id: v6.scope_id(),
                };
                len::<libc::sockaddr_in6>()
            }
        }
    }

    /// The address that the kernel wrote, `written` bytes of it.
    pub fn address(&self, written: libc::socklen_t) -> Option<SocketAddr> {
        // SAFETY: every bit pattern is valid in every field of both, and all bytes have been initialised.
        let (v4, v6) = unsafe { (self.v4, self.v6) };
        if written >= len::<libc::sockaddr_in6>() && v6.sin6_family == family(libc::AF_INET6) {
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            return Some(std::net::SocketAddrV6::new(ip, port, v6.sin6_flowinfo, v6.sin6_scope_id).into());
        }
        if written >= len::<libc::sockaddr_in>() && v4.sin_family == family(libc::AF_INET) {
            let ip = Ipv4Addr::from(v4.sin_addr.s_addr.to_ne_bytes());
            return Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(v4.sin_port)));
        }
        None
    }
}

const _: () = assert!(size_of::<Name>() == 28 && offset_of!(Name, v4) == 0 && offset_of!(Name, v6) == 0);
