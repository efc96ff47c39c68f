//! Reads trains of datagrams from a socket, and when they came.

use std::io::{self, IoSliceMut};
use std::net::{SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::AsRawFd;
use std::slice::Chunks;
use std::time::{Duration, Instant, SystemTime};

use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

/// Most that is read at once: the longest train, or the longest datagram.
const LONGEST: usize = 0x1_0000;
/// Nothing waits longer in a socket that is read at each step: who says so has had its clock set.
const WAITED: Duration = Duration::from_secs(2);

/// From now on this socket has trains, and says when they came.
pub(super) fn listen(socket: &UdpSocket) -> io::Result<()> {
    socket.set_nonblocking(true)?;
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    // A kernel without it has none, and nobody is worse off.
    if let Err(error) = setsockopt(socket, sockopt::UdpGroSegment, &true) {
        tracing::debug!(%error, "trains are read datagram by datagram");
    }
    Ok(())
}

/// From now on it has none; those that have come stay whole.
pub(super) fn part(socket: &UdpSocket) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::UdpGroSegment, &false)?)
}

/// What is read into.
pub(super) struct Scratch {
    buffer: Vec<u8>,
    control: Vec<u8>,
}

impl Default for Scratch {
    fn default() -> Self {
        Self { buffer: vec![0; LONGEST], control: nix::cmsg_space!(TimeSpec, i32) }
    }
}

/// Datagrams that came at once, all of one length but the last one, which may be shorter.
pub(super) struct Train<'a> {
    pub from: SocketAddr,
    /// When it came.
    pub at: Instant,
    /// When it was read.
    pub read_at: Instant,
    bytes: &'a [u8],
    segment: usize,
}

impl Train<'_> {
    pub fn datagrams(&self) -> Chunks<'_, u8> {
        self.bytes.chunks(self.segment.max(1))
    }

    /// Bytes of all of them.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Scratch {
    /// The next train of this socket.
    pub fn read(&mut self, socket: &UdpSocket) -> io::Result<Train<'_>> {
        let (fd, flags) = (socket.as_raw_fd(), MsgFlags::MSG_DONTWAIT);
        let (length, from, mut segment, mut came) = {
            let mut parts = [IoSliceMut::new(&mut self.buffer)];
            let message = recvmsg::<SockaddrStorage>(fd, &mut parts, Some(&mut self.control), flags)?;
            let (mut segment, mut came) = (message.bytes, None);
            for control in message.cmsgs()? {
                match control {
                    ControlMessageOwned::UdpGroSegments(bytes) => {
                        segment = usize::try_from(bytes).unwrap_or(segment);
                    }
                    ControlMessageOwned::ScmTimestampns(at) => came = Some(Duration::from(at)),
                    _ => {}
                }
            }
            (message.bytes, message.address.as_ref().and_then(address), segment, came)
        };
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        let read_at = Instant::now();
        let today = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let waited = came.take().and_then(|came| today.checked_sub(came)).filter(|waited| *waited < WAITED);
        let at = waited.and_then(|waited| read_at.checked_sub(waited)).unwrap_or(read_at);
        if segment == 0 {
            segment = length;
        }
        Ok(Train { from, at, read_at, bytes: self.buffer.get(..length).unwrap_or_default(), segment })
    }
}

fn address(from: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = from.as_sockaddr_in().map(|v4| SocketAddr::V4(SocketAddrV4::from(*v4)));
    v4.or_else(|| from.as_sockaddr_in6().map(|v6| SocketAddr::V6(SocketAddrV6::from(*v6))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trains_say_when_they_came_and_are_parted_when_nobody_wants_them() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        listen(&receiver).unwrap();
        let mut scratch = Scratch::default();
        assert_eq!(scratch.read(&receiver).err().unwrap().kind(), io::ErrorKind::WouldBlock);

        setsockopt(&sender, sockopt::UdpGsoSegment, &4).unwrap();
        let before = Instant::now();
        sender.send(b"aaaabbbbcc").unwrap();
        let sent = Instant::now();
        std::thread::sleep(Duration::from_millis(30));
        let train = scratch.read(&receiver).unwrap();
        assert_eq!(train.datagrams().collect::<Vec<_>>(), [&b"aaaa"[..], b"bbbb", b"cc"]);
        assert_eq!((train.from, train.len()), (sender.local_addr().unwrap(), 10));
        // The two clocks are not read at the same time.
        let slack = Duration::from_millis(1);
        assert!(train.at + slack >= before && train.at <= sent + slack, "{:?}", sent - train.at);
        assert!(train.read_at >= sent + Duration::from_millis(30));

        part(&receiver).unwrap();
        sender.send(b"aaaabb").unwrap();
        for expected in [&b"aaaa"[..], b"bb"] {
            assert_eq!(scratch.read(&receiver).unwrap().datagrams().collect::<Vec<_>>(), [expected]);
        }
        setsockopt(&sender, sockopt::UdpGsoSegment, &0).unwrap();
        sender.send(b"").unwrap();
        assert_eq!(scratch.read(&receiver).unwrap().datagrams().count(), 0, "an empty one is no train");
    }
}
