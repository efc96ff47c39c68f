//! Where packets end: sockets that a thread on another core reads, or that nobody reads.

use std::mem::zeroed;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::feedback::Heard;
use super::measure::pin;

/// Whether the sinks are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// By another core: the sender pays for the receive path and for waking the reader.
    Read,
    /// By nobody: the kernel drops at their full buffers, and the sender's own cost is left.
    Unread,
}

/// One socket for each viewer.
pub struct Sinks {
    sockets: Arc<Vec<UdpSocket>>,
    heard: Arc<Vec<Heard>>,
    reading: Reading,
    received: Arc<AtomicUsize>,
    told: AtomicUsize,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<()>>,
}

impl Sinks {
    pub fn new(viewers: usize, reading: Reading, core: usize) -> Self {
        let bind = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_nonblocking(true).unwrap();
            socket
        };
        let sockets: Arc<Vec<UdpSocket>> = Arc::new((0..viewers).map(bind).collect());
        let heard: Arc<Vec<Heard>> = Arc::new((0..viewers).map(|_| Heard::default()).collect());
        let (received, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let reader = (reading == Reading::Read).then(|| {
            let (sockets, heard) = (sockets.clone(), heard.clone());
            let (received, stop) = (received.clone(), stop.clone());
            std::thread::spawn(move || {
                pin(core);
                read(&sockets, &heard, &received, &stop);
            })
        });
        Self { sockets, heard, reading, received, told: AtomicUsize::new(0), stop, reader }
    }

    pub fn reading(&self) -> Reading {
        self.reading
    }

    /// What each of them has heard last; nothing where nobody reads.
    pub fn heard(&self) -> Arc<Vec<Heard>> {
        self.heard.clone()
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.sockets.iter().map(|socket| socket.local_addr().unwrap()).collect()
    }

    /// Waits until so many packets more have been read; fails when they do not come.
    pub fn expect(&self, packets: usize) {
        if self.reading == Reading::Unread {
            return;
        }
        let wanted = self.told.fetch_add(packets, Ordering::Relaxed) + packets;
        let deadline = Instant::now() + Duration::from_secs(5);
        while self.received.load(Ordering::Relaxed) < wanted && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
        assert_eq!(self.received.load(Ordering::Relaxed), wanted, "packets that arrived");
    }
}

impl Drop for Sinks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
    }
}

/// Reads all sockets by epoll and `recvmmsg`, the cheapest way there is.
fn read(sockets: &[UdpSocket], heard: &[Heard], received: &AtomicUsize, stop: &AtomicBool) {
    const BATCH: usize = 32;
    const SLOT: usize = 2_048;
    let mut buffer = vec![0u8; BATCH * SLOT];
    // SAFETY: all pointers handed to the kernel are to `buffer`, `vectors`, `headers` and `events`, which live to
    // the end of this function and are not moved.
    unsafe {
        let poll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        for (nth, socket) in sockets.iter().enumerate() {
            let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: nth as u64 };
            libc::epoll_ctl(poll, libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event);
        }
        let mut vectors: Vec<libc::iovec> = (0..BATCH)
            .map(|nth| libc::iovec { iov_base: buffer.as_mut_ptr().add(nth * SLOT).cast(), iov_len: SLOT })
            .collect();
        let mut headers: Vec<libc::mmsghdr> = vec![zeroed(); BATCH];
        for (header, vector) in headers.iter_mut().zip(&mut vectors) {
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
        }
        let mut events: Vec<libc::epoll_event> = vec![zeroed(); 256];
        while !stop.load(Ordering::Relaxed) {
            let ready = libc::epoll_wait(poll, events.as_mut_ptr(), 256, 50).max(0) as usize;
            for event in &events[..ready] {
                let (fd, heard) = (sockets[event.u64 as usize].as_raw_fd(), &heard[event.u64 as usize]);
                loop {
                    let flags = libc::MSG_DONTWAIT;
                    let got = libc::recvmmsg(fd, headers.as_mut_ptr(), BATCH as u32, flags, null_mut());
                    for (nth, header) in headers[..got.max(0) as usize].iter().enumerate() {
                        heard.note(&buffer[nth * SLOT..nth * SLOT + header.msg_len as usize]);
                    }
                    received.fetch_add(got.max(0) as usize, Ordering::Relaxed);
                    if got < BATCH as i32 {
                        break;
                    }
                }
            }
        }
        libc::close(poll);
    }
}
