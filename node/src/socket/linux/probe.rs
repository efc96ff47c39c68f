//! What the kernel has.

use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::from_ref;

use crate::socket::options::{Caps, SocketOptions};

/// Turns a flag of a socket on. False: the kernel does not know it.
fn set(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> bool {
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: `value` lives through the call and `len` is its size.
    unsafe { libc::setsockopt(fd, level, option, from_ref(&value).cast(), len) == 0 }
}

/// What kernel and options allow; turns on what is received.
pub(in crate::socket) fn probe(socket: &socket2::Socket, is_v6: bool, options: &SocketOptions) -> Caps {
    let fd = socket.as_raw_fd();
    let local_addresses = options.batches && options.local_addresses && {
        let v4 = set(fd, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
        if is_v6 { set(fd, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO, 1) } else { v4 }
    };
    Caps {
        batches: options.batches,
        gso: options.batches && options.gso && has_gso(),
        gro: options.batches && options.gro && set(fd, libc::SOL_UDP, libc::UDP_GRO, 1),
        local_addresses,
    }
}

/// Asks on a socket of its own, since the option would stay set.
fn has_gso() -> bool {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    if fd < 0 {
        return false;
    }
    // SAFETY: `fd` is a new descriptor that nobody else owns.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    set(fd.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, 1_200)
}

/// Lets what is longer than its path leave in fragments, as far as the path is known, whatever the system's default is.
/// False: the kernel does not know that.
pub(in crate::socket) fn fragment(socket: &socket2::Socket, is_v6: bool) -> bool {
    let fd = socket.as_raw_fd();
    let v4 = set(fd, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_WANT);
    if is_v6 { set(fd, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_WANT) } else { v4 }
}

/// Kernel buffers beyond the system's limit, where the process may.
pub(in crate::socket) fn force_buffers(socket: &socket2::Socket, options: &SocketOptions) {
    let fd = socket.as_raw_fd();
    for (option, bytes) in
        [(libc::SO_RCVBUFFORCE, options.recv_buffer), (libc::SO_SNDBUFFORCE, options.send_buffer)]
    {
        set(fd, libc::SOL_SOCKET, option, libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX));
    }
}

/// Length of what `SO_MEMINFO` tells, and the place of the packets that were dropped in it (`linux/sock_diag.h`).
const MEMINFO: usize = 9;
const DROPS: usize = 8;

/// Packets that the kernel has dropped at a socket before they were read. None: it does not tell (before Linux 4.12).
pub(in crate::socket) fn overflow(socket: &impl AsRawFd) -> Option<u32> {
    let mut told = [0u32; MEMINFO];
    let mut len = libc::socklen_t::try_from(size_of_val(&told)).ok()?;
    // SAFETY: `told` and `len` live through the call, and `len` is the size of `told`.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            told.as_mut_ptr().cast(),
            &raw mut len,
        )
    };
    let came = usize::try_from(len).ok()? / size_of::<u32>();
    told.get(DROPS).copied().filter(|_| done == 0 && came > DROPS)
}
