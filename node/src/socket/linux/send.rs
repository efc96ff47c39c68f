//! Many trains by one call.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::ptr::from_mut;

use super::control::Control;
use super::names::Name;
use super::recv::{headers, vectors};
use crate::forward::train::Train;
use crate::socket::address::dressed;
use crate::socket::outcome::{HalfWay, Sent, Trouble, rest, trouble};

/// Messages of one `sendmmsg`.
const MESSAGES: usize = 64;

/// What `sendmmsg` reads from besides the packets.
#[derive(Default)]
pub(in crate::socket) struct SendScratch {
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
            self.headers = headers(MESSAGES);
            self.vectors = vectors(MESSAGES);
            self.names = vec![Name::default(); MESSAGES];
            self.controls = vec![Control::default(); MESSAGES];
            self.packets = Vec::with_capacity(MESSAGES);
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

/// The socket, whether it is one of IPv6, and whether the kernel cuts trains up for it.
pub(in crate::socket) struct To<'a, S> {
    pub socket: &'a S,
    pub is_v6: bool,
    pub gso: bool,
}

/// Sends trains in order until all are done or the kernel has no room.
pub(in crate::socket) fn send<S: AsRawFd>(
    to: To<'_, S>,
    scratch: &mut SendScratch,
    half_way: &mut HalfWay,
    arena: &[u8],
    trains: &[Train],
    sent: &mut Sent,
) -> io::Result<()> {
    let mut place = Place { train: 0, packets: trains.first().map_or(0, |train| half_way.take(train)) };
    // This train is sent packet by packet, because the kernel refused it whole.
    let mut single = None;
    while place.train < trains.len() {
        sent.trains = place.train;
        let gso = to.gso && !scratch.gso_failed;
        fill(scratch, (to.is_v6, gso, single), arena, trains, place);
        let Some(first) = scratch.packets.first().copied() else {
            let lost = trains.get(place.train).map_or(1, |train| train.segments() - place.packets);
            sent.refuse(lost, io::ErrorKind::AddrNotAvailable.into());
            place.advance(trains, lost);
            continue;
        };
        let count = libc::c_uint::try_from(scratch.packets.len()).unwrap_or(0);
        // SAFETY: the first `count` headers were filled just now; they point into `scratch`, which stays borrowed
        // and unmoved, and into `arena`, which the kernel only reads.
        let done = unsafe {
            libc::sendmmsg(
                to.socket.as_raw_fd(),
                scratch.headers.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        if let Ok(done) = usize::try_from(done) {
            for packets in scratch.packets.iter().take(done) {
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
                    half_way.keep(train, place.packets);
                }
                return Err(error);
            }
            Trouble::Message if first > 1 => {
                // EIO: the device has no checksum offload, so no train will ever pass. Else it is this path's MTU.
                scratch.gso_failed |= error.raw_os_error() == Some(libc::EIO);
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
