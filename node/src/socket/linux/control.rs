//! Control messages: segment sizes (UDP GSO and GRO) and local addresses (`IP_PKTINFO`, `IPV6_PKTINFO`).

use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Room for what one message carries: an address of either family and a segment size, or more on receipt.
const WORDS: usize = 16;

/// A buffer for control messages, aligned as they must be.
#[derive(Clone, Copy, Default)]
#[repr(C, align(8))]
pub(super) struct Control([u64; WORDS]);

/// What the kernel told about a message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Size of the packets that the kernel joined.
    pub segment: Option<usize>,
    /// Address that the packets were sent to.
    pub local: Option<IpAddr>,
}

impl Control {
    /// Lets the kernel write control messages here.
    pub fn offer(&mut self, message: &mut libc::msghdr) {
        message.msg_control = self.0.as_mut_ptr().cast();
        message.msg_controllen = size_of::<Self>();
    }

    /// Tells the kernel where to send from and how to cut the message.
    pub fn fill(
        &mut self,
        message: &mut libc::msghdr,
        src: Option<IpAddr>,
        is_v6: bool,
        segment: Option<u16>,
    ) {
        let mut used = 0;
        match src {
            Some(IpAddr::V4(ip)) if !is_v6 => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: libc::in_addr { s_addr: u32::from_ne_bytes(ip.octets()) },
                    ipi_addr: libc::in_addr { s_addr: 0 },
                };
                used = self.put(used, libc::IPPROTO_IP, libc::IP_PKTINFO, info);
            }
            Some(ip) if is_v6 => {
                let ip = match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                let info =
                    libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: ip.octets() }, ipi6_ifindex: 0 };
                used = self.put(used, libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, info);
            }
            _ => {}
        }
        if let Some(segment) = segment {
            used = self.put(used, libc::SOL_UDP, libc::UDP_SEGMENT, segment);
        }
        message.msg_control = if used == 0 { std::ptr::null_mut() } else { self.0.as_mut_ptr().cast() };
        message.msg_controllen = used;
    }

    /// Appends a control message after `used` bytes. Returns the bytes used then.
    fn put<T: Copy>(&mut self, used: usize, level: libc::c_int, kind: libc::c_int, value: T) -> usize {
        let (header_len, len, space) = sizes::<T>();
        if used + space > size_of::<Self>() {
            return used;
        }
        // SAFETY: zeros are a valid `cmsghdr`.
        let mut header: libc::cmsghdr = unsafe { zeroed() };
        header.cmsg_len = len;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        // SAFETY: `used + space` bytes fit the buffer, as just checked, and `space` covers header and value.
        unsafe {
            let base = self.0.as_mut_ptr().cast::<u8>().add(used);
            base.cast::<libc::cmsghdr>().write_unaligned(header);
            base.add(header_len).cast::<T>().write_unaligned(value);
        }
        used + space
    }
}

/// Length of the header with its padding, of header and value, and of both with padding behind.
fn sizes<T>() -> (usize, usize, usize) {
    let value = u32::try_from(size_of::<T>()).unwrap_or(0);
    // SAFETY: these only compute lengths.
    let (header, len, space) = unsafe { (libc::CMSG_LEN(0), libc::CMSG_LEN(value), libc::CMSG_SPACE(value)) };
    let wide = |n: u32| usize::try_from(n).unwrap_or(0);
    (wide(header), wide(len), wide(space))
}

/// Reads what the kernel wrote for a received message.
pub(super) fn read(message: &libc::msghdr) -> Told {
    let mut told = Told::default();
    // SAFETY: `message` describes a control buffer that the kernel has just filled up to `msg_controllen`, so the
    // macros stay inside of it.
    let mut at = unsafe { libc::CMSG_FIRSTHDR(message) };
    while !at.is_null() {
        // SAFETY: `at` points to a control message inside the buffer, aligned as the buffer is.
        let header = unsafe { *at };
        match (header.cmsg_level, header.cmsg_type) {
            (libc::SOL_UDP, libc::UDP_GRO) => {
                told.segment = value::<libc::c_int>(at, &header).and_then(|size| usize::try_from(size).ok());
            }
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                told.local = value::<libc::in_pktinfo>(at, &header)
                    .map(|info| IpAddr::V4(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())));
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                told.local = value::<libc::in6_pktinfo>(at, &header)
                    .map(|info| IpAddr::V6(Ipv6Addr::from(info.ipi6_addr.s6_addr)).to_canonical());
            }
            _ => {}
        }
        // SAFETY: as for `CMSG_FIRSTHDR`.
        at = unsafe { libc::CMSG_NXTHDR(message, at) };
    }
    told
}

/// The value of a control message, when it is as long as it should be.
fn value<T: Copy>(at: *const libc::cmsghdr, header: &libc::cmsghdr) -> Option<T> {
    let (_, len, _) = sizes::<T>();
    if header.cmsg_len < len {
        return None;
    }
    // SAFETY: the message holds at least a `T` behind its header, and the types read here are plain integers.
    Some(unsafe { libc::CMSG_DATA(at).cast::<T>().read_unaligned() })
}
