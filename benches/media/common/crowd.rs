//! Viewers of a live shard: each with a socket and a session of its own, all read by one thread.
//!
//! ICE and DTLS are str0m's. Media is only looked at from outside: sequence numbers stand in clear, the rest is
//! sealed. One packet in a hundred is taken as lost, whatever came; what is missing is asked for again by NACK, at once
//! and then every 100 ms, ten times at most, as browsers do. A retransmission counts for the oldest hole.

use std::collections::VecDeque;
use std::mem::zeroed;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::time::{Duration, Instant};

use freshet_node::forward::srtp::SrtpSender;
use freshet_node::peer::crypto;

use super::client::{Client, sealer};

/// One packet in so many is lost on a viewer's way.
const LOSS: u32 = 100;
const ASK_EVERY: Duration = Duration::from_millis(100);
const ASKS: u8 = 10;
/// Wider gaps are not asked for: a decoder wants a keyframe then.
const GAP: i64 = 64;
/// Kernel buffer of each viewer's socket: a keyframe of some streams.
const BUFFER: libc::c_int = 512 * 1024;
const NACK_SSRC: u32 = 1;
/// Words that one NACK has at most.
const NACK: usize = 200;

/// Sound or picture of a viewer, numbered from the first packet that came.
#[derive(Default)]
struct Lane {
    ssrc: u32,
    seq: u16,
    place: Option<i64>,
}

struct Hole {
    ssrc: u32,
    seq: u16,
    asks: u8,
    due: Instant,
}

/// What a viewer got.
#[derive(Debug, Clone, Copy, Default)]
pub struct Got {
    pub packets: u64,
    pub again: u64,
}

pub struct Viewer {
    client: Client,
    socket: UdpSocket,
    sealer: Option<SrtpSender>,
    opus: u8,
    rtx: Vec<u8>,
    /// Sound, picture.
    lanes: [Lane; 2],
    holes: VecDeque<Hole>,
    pub room: usize,
    pub got: Got,
}

impl Viewer {
    /// A viewer of a room and its offer.
    pub fn new(now: Instant, room: usize, server: SocketAddr) -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(server).unwrap();
        socket.set_nonblocking(true).unwrap();
        let size = BUFFER;
        // SAFETY: the option's value is an int that lives through the call.
        unsafe {
            let (place, len) = ((&raw const size).cast(), size_of::<libc::c_int>() as u32);
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_RCVBUF, place, len);
        }
        let (address, flow) = (socket.local_addr().unwrap(), str0m::media::Direction::RecvOnly);
        let (client, offer) = Client::with(crypto::provider(), server, now, address, flow);
        let types = |name: &str| -> Vec<u8> {
            let line = |line: &str| {
                line.strip_prefix("a=rtpmap:")?.split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned()))
            };
            let named = offer.lines().filter_map(line).filter(|(_, codec)| codec.starts_with(name));
            named.map(|(pt, _)| pt.parse().unwrap()).collect()
        };
        let (opus, rtx) = (types("opus/")[0], types("rtx/"));
        let viewer = Self {
            client,
            socket,
            sealer: None,
            opus,
            rtx,
            lanes: Default::default(),
            holes: VecDeque::new(),
            room,
            got: Got::default(),
        };
        (viewer, offer)
    }

    pub fn accept(&mut self, answer: &str) {
        self.client.accept(answer);
    }

    fn pass(&mut self, now: Instant) {
        for contents in self.client.pass(now) {
            let _ = self.socket.send(&contents);
        }
        if let Some(keys) = self.client.keys.take() {
            self.sealer = Some(sealer(&keys));
        }
    }

    /// Asks for holes that are due.
    fn ask_again(&mut self, now: Instant) {
        while self.holes.front().is_some_and(|hole| hole.asks >= ASKS && hole.due <= now) {
            self.holes.pop_front();
        }
        self.ask(now, 0);
    }

    /// Asks for those that nobody has asked for yet.
    fn ask_first(&mut self, now: Instant) {
        let fresh = self.holes.iter().rev().take_while(|hole| hole.asks == 0).count();
        if fresh > 0 {
            self.ask(now, self.holes.len() - fresh);
        }
    }

    /// Asks for holes that are due, from this place on.
    fn ask(&mut self, now: Instant, from: usize) {
        let Some(sealer) = &mut self.sealer else { return };
        // Words of a generic NACK (RFC 4585 section 6.2.1): a number, and a bit for each of the sixteen behind it.
        let (mut due, mut of) = (Vec::<(u16, u16)>::new(), 0);
        for hole in self.holes.range_mut(from..).filter(|hole| hole.due <= now && hole.asks < ASKS) {
            // One stream at a time; the other's turn is the next.
            if (of != 0 && of != hole.ssrc) || due.len() >= NACK {
                continue;
            }
            (of, hole.asks, hole.due) = (hole.ssrc, hole.asks + 1, now + ASK_EVERY);
            match due.last_mut() {
                Some((first, behind)) if (1..=16).contains(&hole.seq.wrapping_sub(*first)) => {
                    *behind |= 1 << (hole.seq.wrapping_sub(*first) - 1);
                }
                _ => due.push((hole.seq, 0)),
            }
        }
        if due.is_empty() {
            return;
        }
        let words = 2 + due.len() as u16;
        let mut nack = vec![0x81, 205];
        nack.extend(words.to_be_bytes());
        nack.extend(NACK_SSRC.to_be_bytes());
        nack.extend(of.to_be_bytes());
        due.iter().for_each(|(first, behind)| {
            nack.extend(first.to_be_bytes());
            nack.extend(behind.to_be_bytes());
        });
        let mut out = [0; 1_400];
        let len = sealer.seal_rtcp(&nack, &mut out).unwrap();
        let _ = self.socket.send(&out[..len]);
    }

    /// What came: `heard` is told of packets of the stream, by when, room, picture or sound, and place.
    fn take(
        &mut self,
        now: Instant,
        lost: bool,
        datagram: &[u8],
        heard: &mut impl FnMut(Instant, usize, bool, usize),
    ) {
        match datagram {
            [0x80..=0xbf, 192..=223, ..] => {}
            [0x80..=0xbf, second, a, b, _, _, _, _, c, d, e, f, ..] => {
                let pt = second & 0x7f;
                if lost {
                    return;
                }
                if self.rtx.contains(&pt) {
                    self.got.again += 1;
                    self.holes.pop_front();
                    return;
                }
                let (video, seq) = (pt != self.opus, u16::from_be_bytes([*a, *b]));
                let lane = &mut self.lanes[usize::from(video)];
                let place = match lane.place {
                    None => 0,
                    Some(place) => {
                        let step = i64::from(seq.wrapping_sub(lane.seq) as i16);
                        if (2..GAP).contains(&step) {
                            let missing = (1..step).map(|nth| lane.seq.wrapping_add(nth as u16));
                            let ssrc = lane.ssrc;
                            self.holes.extend(missing.map(|seq| Hole { ssrc, seq, asks: 0, due: now }));
                        }
                        place + step
                    }
                };
                if lane.place.is_none_or(|newest| place > newest) {
                    (lane.place, lane.seq) = (Some(place), seq);
                }
                lane.ssrc = u32::from_be_bytes([*c, *d, *e, *f]);
                self.got.packets += 1;
                heard(now, self.room, video, place as usize);
            }
            other => {
                self.client.receive(now, other);
                self.pass(now);
            }
        }
    }
}

/// All viewers, and the one who reads for them.
pub struct Crowd {
    pub viewers: Vec<Viewer>,
    poll: libc::c_int,
    post: Post,
    /// Packets may be taken as lost.
    pub lossy: bool,
    seed: u32,
    /// Whose turn it is to be given time, and when.
    turn: (usize, Instant),
}

const BATCH: usize = 32;
const SLOT: usize = 2_048;
/// Sockets that one look tells of.
const EVENTS: usize = 256;

/// What the kernel writes to, laid out once.
struct Post {
    buffer: Vec<u8>,
    events: Vec<libc::epoll_event>,
    headers: Vec<libc::mmsghdr>,
    /// The headers point to them, and they to the buffer: neither is touched again.
    _vectors: Vec<libc::iovec>,
}

impl Post {
    fn new() -> Self {
        let mut buffer = vec![0; BATCH * SLOT];
        let place = |slot: &mut [u8]| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT };
        let mut vectors: Vec<libc::iovec> = buffer.chunks_exact_mut(SLOT).map(place).collect();
        let header = |vector: &mut libc::iovec| {
            // SAFETY: zeros are a valid value of this plain structure.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (vector, 1);
            header
        };
        let headers = vectors.iter_mut().map(header).collect();
        let events = vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        Self { buffer, events, headers, _vectors: vectors }
    }
}

impl Crowd {
    pub fn new(viewers: Vec<Viewer>) -> Self {
        // SAFETY: the event lives through the call that reads it.
        let poll = unsafe {
            let poll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
            for (nth, viewer) in viewers.iter().enumerate() {
                let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: nth as u64 };
                libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, viewer.socket.as_raw_fd(), &raw mut event);
            }
            poll
        };
        Self { viewers, poll, post: Post::new(), lossy: false, seed: 1, turn: (0, Instant::now()) }
    }

    /// Until all are connected.
    pub fn connect(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.viewers.iter().all(|viewer| viewer.client.connected && viewer.sealer.is_some()) {
            assert!(Instant::now() < deadline, "not all viewers connect");
            for at in 0..self.viewers.len() {
                self.viewers[at].pass(Instant::now());
                if at % 50 == 0 {
                    self.read(&mut |_, _, _, _| {});
                }
            }
        }
    }

    /// Everyone has had the first packet of sound and picture.
    pub fn primed(&self) -> bool {
        self.viewers.iter().all(|viewer| viewer.lanes.iter().all(|lane| lane.place.is_some()))
    }

    /// Gives each viewer time once a second, and asks again. Those whose time came while others were read have theirs now: a
    /// viewer's checks of its way (RFC 7675) wait for nobody else.
    pub fn tend(&mut self, now: Instant) {
        let everyone = self.viewers.len();
        let share = Duration::from_secs(1) / everyone as u32;
        for _ in 0..everyone {
            let (at, due) = self.turn;
            if due > now {
                break;
            }
            self.viewers[at].pass(now);
            self.turn = ((at + 1) % everyone, due + share);
            // Ten of them a turn: each is looked at ten times a second.
            for nth in 0..10 {
                let of = (at * 10 + nth) % everyone;
                if !self.viewers[of].holes.is_empty() {
                    self.viewers[of].ask_again(now);
                }
            }
        }
        // More than a second behind is no debt.
        self.turn.1 = self.turn.1.max(now - Duration::from_secs(1));
    }

    /// Reads what has come, 256 sockets at most. Returns how many packets.
    pub fn read(&mut self, heard: &mut impl FnMut(Instant, usize, bool, usize)) -> usize {
        let Self { viewers, poll, post, lossy, seed, .. } = self;
        let Post { buffer, events, headers, .. } = post;
        let mut count = 0;
        // SAFETY: all pointers handed to the kernel are to what `post` holds, which is neither moved nor freed.
        unsafe {
            let ready = libc::epoll_wait(*poll, events.as_mut_ptr(), EVENTS as i32, 0).max(0) as usize;
            for event in &events[..ready] {
                let viewer = &mut viewers[event.u64 as usize];
                let fd = viewer.socket.as_raw_fd();
                let got =
                    libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as u32, libc::MSG_DONTWAIT, null_mut());
                let now = Instant::now();
                for nth in 0..got.max(0) as usize {
                    *seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let lost = *lossy && (*seed >> 8).is_multiple_of(LOSS);
                    let datagram = &buffer[nth * SLOT..nth * SLOT + headers[nth].msg_len as usize];
                    viewer.take(now, lost, datagram, heard);
                    count += 1;
                }
                viewer.ask_first(now);
            }
        }
        count
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        // SAFETY: the descriptor is ours and is used nowhere after this.
        unsafe { libc::close(self.poll) };
    }
}
