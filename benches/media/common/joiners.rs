//! Clients with a socket each, all on one thread: they join as browsers do, and then only note when packets come.

use std::mem::zeroed;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freshet_cluster::SessionId;
use str0m::media::Direction;

use super::client::Client;
use crate::storm::ROOMS;

/// Frames that lengths tell apart.
pub const FRAMES: usize = 200;
/// The shortest payload; each frame's is a byte longer than the one's before.
const SHORTEST: usize = 600;
/// When the last frames of each room were sent, in nanoseconds of the wall clock.
pub type Sent = [[AtomicU64; FRAMES]; ROOMS];

const BATCH: usize = 32;
const ROOM: usize = 2_048;
/// How often clients that are not connected yet are given time.
const PATIENCE: Duration = Duration::from_millis(20);
/// GCM's tag.
const TAG: usize = 16;

pub fn realtime() -> u64 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
}

struct Peer {
    socket: UdpSocket,
    /// Until it is connected.
    client: Option<(Client, String)>,
    session: Option<SessionId>,
    asked: Option<Instant>,
    /// How long after it asked its first packet came.
    seen: Option<Duration>,
    due: Instant,
}

/// The clients.
pub struct Crowd {
    server: SocketAddr,
    sent: Arc<Sent>,
    poll: i32,
    peers: Vec<Peer>,
    joining: Vec<usize>,
    /// Latencies of the first peers, in nanoseconds.
    latencies: Vec<u64>,
    measured: usize,
    buffer: Vec<u8>,
}

impl Crowd {
    pub fn new(server: SocketAddr, sent: Arc<Sent>) -> Self {
        // SAFETY: no pointers.
        let poll = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        let buffer = vec![0; BATCH * ROOM];
        Self { server, sent, poll, peers: vec![], joining: vec![], latencies: vec![], measured: 0, buffer }
    }

    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Clients with their offers made, so that making them is not done while they join.
    pub fn invite(&mut self, count: usize) {
        for _ in 0..count {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            let on: libc::c_int = 1;
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: self.peers.len() as u64 };
            // SAFETY: both pointers are to values that live during the call.
            unsafe {
                let size = size_of_val(&on) as u32;
                let fd = socket.as_raw_fd();
                libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, (&raw const on).cast(), size);
                libc::epoll_ctl(self.poll, libc::EPOLL_CTL_ADD, fd, &raw mut event);
            }
            let now = Instant::now();
            let (mut client, offer) = Client::new(now, socket.local_addr().unwrap(), Direction::RecvOnly);
            client.faces(self.server);
            let client = Some((client, offer));
            self.peers.push(Peer { socket, client, session: None, asked: None, seen: None, due: now });
        }
    }

    /// A client's offer; its clock starts.
    pub fn ask(&mut self, at: usize) -> String {
        self.peers[at].asked = Some(Instant::now());
        self.peers[at].client.as_ref().unwrap().1.clone()
    }

    /// The session that a client asked for.
    pub fn of(&mut self, at: usize, session: SessionId) {
        self.peers[at].session = Some(session);
    }

    pub fn accept(&mut self, at: usize, answer: &str) {
        let peer = &mut self.peers[at];
        peer.client.as_mut().unwrap().0.accept(answer);
        peer.due = Instant::now();
        self.joining.push(at);
    }

    /// Forgets what was measured; from now on the first so many peers are.
    pub fn measure(&mut self, first: usize) {
        self.latencies.clear();
        self.measured = first;
    }

    /// A quantile of what was measured, in milliseconds.
    pub fn latency(&mut self, part: f64) -> f64 {
        assert!(self.latencies.len() > 100, "packets come: {}", self.latencies.len());
        quantile(&mut self.latencies, part)
    }

    /// How many from `first` on have not seen a packet yet.
    pub fn unseen(&self, first: usize) -> usize {
        self.peers[first..].iter().filter(|peer| peer.seen.is_none()).count()
    }

    /// A quantile of how long it took the peers from `first` on to see a packet, in milliseconds.
    pub fn joined(&self, first: usize, part: f64) -> f64 {
        assert_eq!(self.unseen(first), 0, "everybody sees a packet");
        let seen = self.peers[first..].iter().filter_map(|peer| peer.seen);
        quantile(&mut seen.map(|seen| seen.as_nanos() as u64).collect::<Vec<_>>(), part)
    }

    /// The peers from `first` on are gone; their sessions.
    pub fn leave(&mut self, first: usize) -> Vec<SessionId> {
        assert!(self.joining.is_empty(), "all have joined");
        self.peers.split_off(first).into_iter().filter_map(|peer| peer.session).collect()
    }

    /// Reads what came, and gives those who join time.
    pub fn turn(&mut self) {
        let mut buffer = std::mem::take(&mut self.buffer);
        // SAFETY: all pointers handed to the kernel are to `buffer` and the local arrays, which live to the end of
        // the block and are not moved; what is read of a message is what the kernel says it wrote.
        unsafe {
            let mut events: [libc::epoll_event; 256] = zeroed();
            let ready = libc::epoll_wait(self.poll, events.as_mut_ptr(), 256, 1).max(0) as usize;
            let mut vectors: [libc::iovec; BATCH] = zeroed();
            let mut controls = [[0_u64; 8]; BATCH];
            let mut headers: [libc::mmsghdr; BATCH] = zeroed();
            for event in &events[..ready] {
                let at = event.u64 as usize;
                for (nth, header) in headers.iter_mut().enumerate() {
                    vectors[nth] =
                        libc::iovec { iov_base: buffer.as_mut_ptr().add(nth * ROOM).cast(), iov_len: ROOM };
                    header.msg_hdr.msg_iov = &raw mut vectors[nth];
                    header.msg_hdr.msg_iovlen = 1;
                    header.msg_hdr.msg_control = controls[nth].as_mut_ptr().cast();
                    header.msg_hdr.msg_controllen = size_of_val(&controls[nth]);
                }
                let fd = self.peers[at].socket.as_raw_fd();
                let flags = libc::MSG_DONTWAIT;
                let got = libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as u32, flags, null_mut());
                for (nth, header) in headers.iter().enumerate().take(got.max(0) as usize) {
                    let stamp = stamp(&header.msg_hdr);
                    let len = header.msg_len as usize;
                    let contents = std::slice::from_raw_parts(buffer.as_ptr().add(nth * ROOM), len);
                    self.take(at, contents, stamp);
                }
            }
        }
        self.buffer = std::mem::take(&mut buffer);
        let now = Instant::now();
        for at in std::mem::take(&mut self.joining) {
            if self.peers[at].due <= now {
                self.pass(at, now);
            }
            if self.peers[at].client.is_some() {
                self.joining.push(at);
            }
        }
    }

    fn pass(&mut self, at: usize, now: Instant) {
        let peer = &mut self.peers[at];
        peer.due = now + PATIENCE;
        let Some((client, _)) = &mut peer.client else { return };
        for contents in client.pass(now) {
            peer.socket.send_to(&contents, self.server).unwrap();
        }
    }

    fn take(&mut self, at: usize, contents: &[u8], stamp: Option<u64>) {
        let peer = &mut self.peers[at];
        if !matches!(contents, [128..=191, kind, ..] if !(192..=223).contains(kind)) {
            if let Some((client, _)) = &mut peer.client {
                let now = Instant::now();
                client.receive(now, contents);
                self.pass(at, now);
            }
            return;
        }
        // Media comes: the handshake is over for both.
        peer.client = None;
        if peer.seen.is_none() {
            peer.seen = peer.asked.map(|asked| asked.elapsed());
        }
        if at >= self.measured {
            return;
        }
        let extensions = if contents[0] & 0x10 == 0 {
            0
        } else {
            4 + 4 * usize::from(u16::from_be_bytes([contents[14], contents[15]]))
        };
        let payload = contents.len() - 12 - extensions - TAG;
        let sent = self.sent[at % ROOMS][payload - SHORTEST].load(Ordering::Relaxed);
        self.latencies.push(stamp.expect("the kernel stamps").saturating_sub(sent));
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // SAFETY: ours, and not used after.
        unsafe { libc::close(self.poll) };
    }
}

/// The kernel's time of arrival, in nanoseconds of the wall clock.
///
/// # Safety
/// `header` is as the kernel left it, its control buffer still there.
unsafe fn stamp(header: &libc::msghdr) -> Option<u64> {
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_SOCKET && (*control).cmsg_type == libc::SCM_TIMESTAMPNS {
                let time: libc::timespec = libc::CMSG_DATA(control).cast::<libc::timespec>().read_unaligned();
                return Some(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
        None
    }
}

fn quantile(nanos: &mut [u64], part: f64) -> f64 {
    nanos.sort_unstable();
    nanos[((nanos.len() - 1) as f64 * part) as usize] as f64 / 1e6
}
