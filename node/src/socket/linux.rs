//! `recvmmsg`, `sendmmsg`, and the control messages that carry segment sizes and local addresses.
#![allow(unsafe_code, reason = "the standard library has no batches and no control messages")]

use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{from_mut, from_ref, null_mut};

use super::recv::{Message, RecvBatch};
use super::send::{SendBatch, Sent, Trouble, rest, trouble};
use super::{Caps, SocketOptions, dressed, plain};
use crate::forward::train::Train;

mod control;
mod names;

use control::{Control, Told};
use names::Name;

/// Turns a flag of a socket on. False: the kernel does not know it.
fn set(fd: RawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> bool {
    let len = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: `value` lives through the call and `len` is its size.
    unsafe { libc::setsockopt(fd, level, option, from_ref(&value).cast(), len) == 0 }
}

/// What kernel and options allow; turns on what is received.
pub(super) fn probe(socket: &socket2::Socket, is_v6: bool, options: &SocketOptions) -> Caps {
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

/// Kernel buffers beyond the system's limit, where the process may.
pub(super) fn force_buffers(socket: &socket2::Socket, options: &SocketOptions) {
    let fd = socket.as_raw_fd();
    for (option, bytes) in
        [(libc::SO_RCVBUFFORCE, options.recv_buffer), (libc::SO_SNDBUFFORCE, options.send_buffer)]
    {
        set(fd, libc::SOL_SOCKET, option, libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX));
    }
}

/// What `recvmmsg` writes into besides the packets.
pub(super) struct RecvScratch {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
}

// SAFETY: the pointers in `headers` and `vectors` are written at the start of each call and not used after it.
unsafe impl Send for RecvScratch {}

impl RecvScratch {
    pub fn new(messages: usize) -> Self {
        Self {
            headers: headers(messages),
            vectors: vectors(messages),
            names: vec![Name::default(); messages],
            controls: vec![Control::default(); messages],
        }
    }
}

fn headers(count: usize) -> Vec<libc::mmsghdr> {
    // SAFETY: zeros are a valid `mmsghdr`: null pointers and lengths of 0.
    (0..count).map(|_| unsafe { zeroed() }).collect()
}

fn vectors(count: usize) -> Vec<libc::iovec> {
    vec![libc::iovec { iov_base: null_mut(), iov_len: 0 }; count]
}

/// Receives what is there, without waiting.
pub(super) fn recv(socket: &impl AsRawFd, batch: &mut RecvBatch) -> io::Result<usize> {
    let RecvScratch { headers, vectors, names, controls } = &mut batch.scratch;
    let slots = batch.buffer.chunks_exact_mut(batch.slot);
    let parts = headers.iter_mut().zip(vectors.iter_mut()).zip(names.iter_mut()).zip(controls.iter_mut());
    let mut count = 0;
    for (slot, (((header, vector), name), control)) in slots.zip(parts) {
        *vector = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: slot.len() };
        let message = &mut header.msg_hdr;
        message.msg_name = from_mut(name).cast();
        message.msg_namelen = Name::ROOM;
        message.msg_iov = vector;
        message.msg_iovlen = 1;
        message.msg_flags = 0;
        control.offer(message);
        count += 1;
    }
    let received = loop {
        // SAFETY: `headers` holds at least `count` entries whose pointers are to slots, names and control buffers of
        // the lengths given, borrowed mutably by this function until the call is over.
        let done = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count, libc::MSG_DONTWAIT, null_mut())
        };
        match usize::try_from(done) {
            Ok(received) => break received,
            Err(_) => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    };
    for (position, (header, name)) in headers.iter().zip(names.iter()).enumerate().take(received) {
        let message = &header.msg_hdr;
        let Some(source) = name.address(message.msg_namelen) else { continue };
        if message.msg_flags & libc::MSG_TRUNC != 0 {
            continue;
        }
        let start = position * batch.slot;
        let len = usize::try_from(header.msg_len).unwrap_or(0).min(batch.slot);
        let Told { segment, local } = control::read(message);
        batch.messages.push(Message {
            source: plain(source),
            local,
            range: start..start + len,
            segment: segment.filter(|segment| *segment > 0).unwrap_or(len),
        });
    }
    Ok(batch.messages.len())
}

/// What `sendmmsg` reads from besides the packets.
#[derive(Default)]
pub(super) struct SendScratch {
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    names: Vec<Name>,
    controls: Vec<Control>,
    /// Packets in each message.
    packets: Vec<usize>,
    /// The network device cannot cut trains up although the kernel can.
    gso_failed: bool,
}

// SAFETY: the pointers in `headers` and `vectors` are written for each call and not used after it.
unsafe impl Send for SendScratch {}

impl SendScratch {
    fn prepare(&mut self) {
        if self.headers.is_empty() {
            self.headers = headers(SendBatch::MESSAGES);
            self.vectors = vectors(SendBatch::MESSAGES);
            self.names = vec![Name::default(); SendBatch::MESSAGES];
            self.controls = vec![Control::default(); SendBatch::MESSAGES];
            self.packets = Vec::with_capacity(SendBatch::MESSAGES);
        }
        self.packets.clear();
    }

    /// Adds a message: the first packet of `bytes`, or as GSO train all of them. False: no room.
    fn add(
        &mut self,
        dst: SocketAddr,
        src: Option<IpAddr>,
        is_v6: bool,
        bytes: &[u8],
        train: Option<u16>,
    ) -> bool {
        let at = self.packets.len();
        let (Some(header), Some(vector), Some(name), Some(control)) = (
            self.headers.get_mut(at),
            self.vectors.get_mut(at),
            self.names.get_mut(at),
            self.controls.get_mut(at),
        ) else {
            return false;
        };
        // The kernel only reads from it; the field is mutable because receiving uses the same type.
        *vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let message = &mut header.msg_hdr;
        message.msg_namelen = name.set(dst);
        message.msg_name = from_mut(name).cast();
        message.msg_iov = vector;
        message.msg_iovlen = 1;
        control.fill(message, src, is_v6, train);
        let packets = train.map_or(1, |segment| bytes.len().div_ceil(usize::from(segment).max(1)));
        self.packets.push(packets);
        true
    }
}

/// Where a call stands: trains done, and packets of the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    train: usize,
    packets: usize,
}

impl Place {
    fn advance(&mut self, trains: &[Train], packets: usize) {
        self.packets += packets;
        if trains.get(self.train).is_none_or(|train| self.packets >= train.segments()) {
            *self = Place { train: self.train + 1, packets: 0 };
        }
    }
}

/// Sends trains in order until all are done or the kernel has no room.
pub(super) fn send(
    socket: &impl AsRawFd,
    is_v6: bool,
    caps: Caps,
    batch: &mut SendBatch,
    arena: &[u8],
    trains: &[Train],
    sent: &mut Sent,
) -> io::Result<()> {
    let mut place = Place { train: 0, packets: trains.first().map_or(0, |train| batch.take_half(train)) };
    // This train is sent packet by packet, because the kernel refused it whole.
    let mut single = None;
    while place.train < trains.len() {
        sent.trains = place.train;
        let gso = caps.gso && !batch.scratch.gso_failed;
        fill(&mut batch.scratch, (is_v6, gso, single), arena, trains, place);
        let Some(first) = batch.scratch.packets.first().copied() else {
            let lost = trains.get(place.train).map_or(1, |train| train.segments() - place.packets);
            sent.refuse(lost, io::ErrorKind::AddrNotAvailable.into());
            place.advance(trains, lost);
            continue;
        };
        let count = libc::c_uint::try_from(batch.scratch.packets.len()).unwrap_or(0);
        // SAFETY: the first `count` headers were filled just now; they point into `scratch`, which stays borrowed
        // and unmoved, and into `arena`, which the kernel only reads.
        let done = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                batch.scratch.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if let Ok(done) = usize::try_from(done) {
            for packets in batch.scratch.packets.iter().take(done) {
                sent.packets += packets;
                place.advance(trains, *packets);
            }
            continue;
        }
        let error = io::Error::last_os_error();
        match trouble(&error) {
            Trouble::Again => {}
            Trouble::Later => {
                if let Some(train) = trains.get(place.train) {
                    batch.keep_half(train, place.packets);
                }
                return Err(error);
            }
            Trouble::Message if first > 1 => {
                // EIO: the device has no checksum offload, so no train will ever pass. Else it is this path's MTU.
                batch.scratch.gso_failed |= error.raw_os_error() == Some(libc::EIO);
                single = Some(place.train);
            }
            Trouble::Message => {
                sent.refuse(first, error);
                place.advance(trains, first);
            }
        }
    }
    sent.trains = place.train;
    Ok(())
}

/// Fills messages from `place` on. None are filled when the first destination cannot be reached by this socket.
fn fill(
    scratch: &mut SendScratch,
    (is_v6, gso, single): (bool, bool, Option<usize>),
    arena: &[u8],
    trains: &[Train],
    mut place: Place,
) {
    scratch.prepare();
    while let Some(train) = trains.get(place.train) {
        let Some(dst) = dressed(train.dst, is_v6) else { return };
        let bytes = rest(arena, train, place.packets);
        let segment = u16::try_from(train.segment).ok().filter(|segment| bytes.len() > usize::from(*segment));
        let whole = segment.filter(|_| gso && single != Some(place.train));
        let packet = if whole.is_some() { bytes } else { bytes.get(..train.segment).unwrap_or(bytes) };
        if !scratch.add(dst, train.src, is_v6, packet, whole) {
            return;
        }
        let packets = scratch.packets.last().copied().unwrap_or(1);
        place.advance(trains, packets);
    }
}
