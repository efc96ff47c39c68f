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

/// What takes messages: the kernel, or in tests one with moods. Returns how many, from the first on, it took.
trait Taker {
    fn take(&mut self, messages: &mut [libc::mmsghdr]) -> io::Result<usize>;
}

struct Kernel<'a, S>(&'a S);

impl<S: AsRawFd> Taker for Kernel<'_, S> {
    fn take(&mut self, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
        let count = libc::c_uint::try_from(messages.len()).unwrap_or(0);
        // SAFETY: all messages were filled just now by `fill`; they point into scratch space that stays borrowed and
        // unmoved, and into the arena, which the kernel only reads.
        let done = unsafe {
            libc::sendmmsg(
                self.0.as_raw_fd(),
                messages.as_mut_ptr(),
                count,
                libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL,
            )
        };
        usize::try_from(done).map_err(|_| io::Error::last_os_error())
    }
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
    send_to(&mut Kernel(to.socket), (to.is_v6, to.gso), scratch, half_way, arena, trains, sent)
}

fn send_to(
    taker: &mut impl Taker,
    (is_v6, gso): (bool, bool),
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
        let gso = gso && !scratch.gso_failed;
        fill(scratch, (is_v6, gso, single), arena, trains, place);
        let Some(first) = scratch.packets.first().copied() else {
            let lost = trains.get(place.train).map_or(1, |train| train.segments() - place.packets);
            sent.refuse(lost, io::ErrorKind::AddrNotAvailable.into());
            place.advance(trains, lost);
            continue;
        };
        let count = scratch.packets.len();
        let error = match taker.take(scratch.headers.get_mut(..count).unwrap_or_default()) {
            Ok(done) => {
                for packets in scratch.packets.iter().take(done) {
                    sent.packets += packets;
                    place.advance(trains, *packets);
                }
                continue;
            }
            Err(error) => error,
        };
        match trouble(&error) {
            Trouble::Again => {}
            Trouble::Later => {
                if let Some(train) = trains.get(place.train) {
                    half_way.keep(train, place.packets);
                }
                return Err(error);
            }
            Trouble::Message if first > 1 => {
                // EIO: the device has no checksum offload, so no train will ever pass. Else it is this path's MTU
                // (EMSGSIZE, EINVAL), which a packet alone passes in fragments.
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a kernel may say to a call.
    #[derive(Debug, Clone, Copy)]
    enum Mood {
        All,
        First,
        Half,
        /// No room, or interrupted.
        Fails(i32),
        /// Fails when the first message is a train that it should cut up.
        FailsTrain(i32),
        /// Fails when the first message is one packet: that one is refused for good.
        Refuses(i32),
    }

    /// A packet: to which port, and its bytes.
    type Packet = (u16, Vec<u8>);

    #[derive(Default)]
    struct Moody {
        moods: Vec<Mood>,
        segments: Vec<usize>,
        took: Vec<Packet>,
        refused: Vec<Packet>,
    }

    impl Moody {
        fn packets(&self, message: &libc::mmsghdr) -> Vec<Packet> {
            let header = &message.msg_hdr;
            // SAFETY: `fill` has written name and vector for this message just now.
            let (name, vector) = unsafe { (&*header.msg_name.cast::<Name>(), &*header.msg_iov) };
            // SAFETY: the vector describes bytes of the arena.
            let bytes = unsafe { std::slice::from_raw_parts(vector.iov_base.cast::<u8>(), vector.iov_len) };
            let port = name.address(header.msg_namelen).unwrap().port();
            let segment = self.segments[usize::from(port) - 1];
            assert!(header.msg_controllen > 0 || bytes.len() <= segment, "one packet, or told how to cut");
            bytes.chunks(segment).map(|packet| (port, packet.to_vec())).collect()
        }
    }

    impl Taker for Moody {
        fn take(&mut self, messages: &mut [libc::mmsghdr]) -> io::Result<usize> {
            let trained = messages[0].msg_hdr.msg_controllen > 0;
            let count = match self.moods.pop().unwrap_or(Mood::All) {
                Mood::Fails(error) => return Err(io::Error::from_raw_os_error(error)),
                Mood::FailsTrain(error) if trained => return Err(io::Error::from_raw_os_error(error)),
                Mood::Refuses(error) if !trained => {
                    let packet = self.packets(&messages[0]);
                    self.refused.extend(packet);
                    return Err(io::Error::from_raw_os_error(error));
                }
                Mood::First => 1,
                Mood::Half => messages.len().div_ceil(2),
                Mood::All | Mood::FailsTrain(_) | Mood::Refuses(_) => messages.len(),
            };
            for message in &messages[..count] {
                let packets = self.packets(message);
                self.took.extend(packets);
            }
            Ok(count)
        }
    }

    fn mood() -> impl Strategy<Value = Mood> {
        prop_oneof![
            Just(Mood::All),
            Just(Mood::First),
            Just(Mood::Half),
            prop::sample::select(vec![libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::EINTR])
                .prop_map(Mood::Fails),
            prop::sample::select(vec![libc::EIO, libc::EMSGSIZE, libc::EINVAL]).prop_map(Mood::FailsTrain),
            prop::sample::select(vec![libc::EMSGSIZE, libc::EPERM, libc::ENETUNREACH])
                .prop_map(Mood::Refuses),
        ]
    }

    proptest! {
        /// Full sockets, short queues, half-taken calls, trains that no device cuts up: what goes out is every packet
        /// of every train, once and in order, but for those that were refused for good; all of it is counted.
        #[test]
        fn whatever_the_kernel_says_all_goes_out_once_and_in_order(
            moods in prop::collection::vec(mood(), 0..60),
            lengths in prop::collection::vec((1usize..40, 1usize..9, 0usize..9), 1..90),
            gso: bool,
        ) {
            let (mut arena, mut trains) = (vec![], vec![]);
            for (port, (segment, whole, rest)) in (1u16..).zip(lengths) {
                let start = arena.len();
                let len = segment * whole + rest.min(segment - 1);
                arena.extend((start..start + len).map(|n| (n % 251) as u8));
                let dst = SocketAddr::from(([127, 0, 0, 1], port));
                trains.push(Train { dst, src: None, range: start..arena.len(), segment });
            }
            let segments = trains.iter().map(|train| train.segment).collect();
            let mut kernel = Moody { moods, segments, ..Moody::default() };
            let (mut scratch, mut half_way) = (SendScratch::default(), HalfWay::default());
            let (mut done, mut counted, mut lost) = (0, 0, 0);
            while done < trains.len() {
                let mut sent = Sent::default();
                let said = send_to(
                    &mut kernel, (false, gso), &mut scratch, &mut half_way, &arena, &trains[done..], &mut sent,
                );
                prop_assert!(said.is_err() || done + sent.trains == trains.len());
                prop_assert_eq!(sent.refused > 0, sent.error.is_some());
                done += sent.trains;
                counted += sent.packets;
                lost += sent.refused;
            }
            prop_assert_eq!((counted, lost), (kernel.took.len(), kernel.refused.len()));
            let (mut took, mut refused) = (kernel.took.into_iter().peekable(), kernel.refused.into_iter().peekable());
            for train in &trains {
                for packet in arena[train.range.clone()].chunks(train.segment) {
                    let expected = (train.dst.port(), packet.to_vec());
                    let came = took.next_if_eq(&expected).or_else(|| refused.next_if_eq(&expected));
                    prop_assert!(came.is_some(), "{expected:?} is missing or out of order");
                }
            }
            prop_assert!(took.next().is_none() && refused.next().is_none());
        }
    }
}
