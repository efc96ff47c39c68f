//! The floor: header, seal, GSO train, `sendmmsg`, and nothing else.

use std::mem::zeroed;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac::{self, HMAC_SHA1_FOR_LEGACY_USE_ONLY};

use super::trace::Sample;

/// Messages of one call.
const BATCH: usize = 64;
/// Room for the largest moment of the trace, sealed.
const TRAIN: usize = 40_000;
const HEADER: usize = 12;

/// How packets are sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// AES-256-GCM, which browsers get.
    Gcm,
    /// AES-128 in counter mode with HMAC-SHA1-80, for clients without AEAD.
    Cm,
}

/// A prepared cipher.
enum Key {
    Gcm(Box<LessSafeKey>),
    Cm(Box<(EncryptingKey, hmac::Key)>),
}

impl Key {
    fn new(profile: Profile, nth: usize) -> Self {
        let mut key = [7; 32];
        key[..8].copy_from_slice(&nth.to_le_bytes());
        match profile {
            Profile::Gcm => {
                Self::Gcm(Box::new(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())))
            }
            Profile::Cm => {
                let cipher = UnboundCipherKey::new(&AES_128, &key[..16]).unwrap();
                let auth = hmac::Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key[..20]);
                Self::Cm(Box::new((EncryptingKey::ctr(cipher).unwrap(), auth)))
            }
        }
    }

    fn tag_len(&self) -> usize {
        match self {
            Self::Gcm(_) => 16,
            Self::Cm(_) => 10,
        }
    }
}

struct Viewer {
    key: Key,
    ssrc: u32,
    seq: u64,
    address: libc::sockaddr_in,
}

pub struct Floor {
    socket: UdpSocket,
    viewers: Vec<Viewer>,
    arena: Vec<u8>,
    headers: Vec<libc::mmsghdr>,
    vectors: Vec<libc::iovec>,
    controls: Vec<[u64; 3]>,
}

impl Floor {
    pub fn new(viewers: &[SocketAddr], profile: Profile) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let viewer = |(nth, address): (usize, &SocketAddr)| {
            let key = Key::new(profile, nth);
            Viewer { key, ssrc: nth as u32, seq: 1, address: raw(*address) }
        };
        // SAFETY: zeros are valid values of these plain structures.
        let (headers, vectors) = unsafe { (vec![zeroed(); BATCH], vec![zeroed(); BATCH]) };
        Self {
            socket,
            viewers: viewers.iter().enumerate().map(viewer).collect(),
            arena: vec![0; BATCH * TRAIN],
            headers,
            vectors,
            controls: vec![[0; 3]; BATCH],
        }
    }

    /// Sends a moment to every viewer, and returns how many packets that were.
    pub fn send(&mut self, moment: &[Sample]) -> usize {
        // A train ends with its first shorter packet, so sound behind picture is a train of its own.
        let sounds = moment.iter().position(|packet| !packet.video).unwrap_or(moment.len());
        let (picture, sound) = moment.split_at(sounds);
        self.trains(picture);
        self.trains(sound);
        moment.len() * self.viewers.len()
    }

    fn trains(&mut self, moment: &[Sample]) {
        if moment.is_empty() {
            return;
        }
        let Self { socket, viewers, arena, headers, vectors, controls } = self;
        for viewers in viewers.chunks_mut(BATCH) {
            let parts = headers.iter_mut().zip(vectors.iter_mut()).zip(controls.iter_mut());
            let tag_len = viewers[0].key.tag_len();
            for ((viewer, place), ((header, vector), control)) in
                viewers.iter_mut().zip(arena.chunks_exact_mut(TRAIN)).zip(parts)
            {
                let mut len = 0;
                for packet in moment {
                    len += viewer.seal(&mut place[len..], packet);
                }
                *vector = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: len };
                let message = &mut header.msg_hdr;
                message.msg_name = (&raw mut viewer.address).cast();
                message.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                message.msg_iov = vector;
                message.msg_iovlen = 1;
                let segment = (HEADER + moment[0].payload.len() + tag_len) as u16;
                cut(message, control, if moment.len() > 1 { Some(segment) } else { None });
            }
            flush(socket, &mut headers[..viewers.len()]);
        }
    }
}

impl Viewer {
    fn seal(&mut self, out: &mut [u8], packet: &Sample) -> usize {
        let (header, rest) = out.split_at_mut(HEADER);
        let pt = if packet.video { 102 } else { 111 };
        let payload = &packet.payload[..];
        let seq = self.seq as u16;
        header[0] = 0x80;
        header[1] = pt | u8::from(packet.marker) << 7;
        header[2..4].copy_from_slice(&seq.to_be_bytes());
        header[4..8].copy_from_slice(&packet.timestamp.to_be_bytes());
        header[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        let (body, tag) = rest.split_at_mut(payload.len());
        let index = self.seq.to_be_bytes();
        self.seq += 1;
        match &self.key {
            Key::Gcm(key) => {
                let mut nonce = [3u8; 12];
                nonce[2..6].copy_from_slice(&self.ssrc.to_be_bytes());
                nonce[6..12].copy_from_slice(&index[2..]);
                let nonce = Nonce::assume_unique_for_key(nonce);
                let aad = Aad::from(&*header);
                key.seal_out_of_place_scatter(nonce, aad, payload, body, &[], &mut tag[..16]).unwrap();
            }
            Key::Cm(keys) => {
                let (key, auth) = &**keys;
                let mut start = [3u8; 16];
                start[4..8].copy_from_slice(&self.ssrc.to_be_bytes());
                start[8..14].copy_from_slice(&index[2..]);
                body.copy_from_slice(payload);
                key.less_safe_encrypt(body, EncryptionContext::Iv128(start.into())).unwrap();
                let mut context = hmac::Context::with_key(auth);
                context.update(header);
                context.update(body);
                context.update(&index[2..6]);
                tag[..10].copy_from_slice(&context.sign().as_ref()[..10]);
            }
        }
        HEADER + payload.len() + self.key.tag_len()
    }
}

fn raw(address: SocketAddr) -> libc::sockaddr_in {
    let SocketAddr::V4(v4) = address else { unreachable!("sinks are IPv4") };
    libc::sockaddr_in {
        sin_family: libc::AF_INET as u16,
        sin_port: v4.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(v4.ip().octets()) },
        sin_zero: [0; 8],
    }
}

fn cut(message: &mut libc::msghdr, control: &mut [u64; 3], segment: Option<u16>) {
    let Some(segment) = segment else {
        message.msg_control = std::ptr::null_mut();
        message.msg_controllen = 0;
        return;
    };
    message.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the buffer of 24 bytes has room for one control message of two bytes.
    unsafe {
        message.msg_controllen = libc::CMSG_SPACE(2) as usize;
        let header = libc::CMSG_FIRSTHDR(message);
        (*header).cmsg_level = libc::SOL_UDP;
        (*header).cmsg_type = libc::UDP_SEGMENT;
        (*header).cmsg_len = libc::CMSG_LEN(2) as usize;
        libc::CMSG_DATA(header).cast::<u16>().write_unaligned(segment);
    }
}

fn flush(socket: &UdpSocket, mut headers: &mut [libc::mmsghdr]) {
    while !headers.is_empty() {
        // SAFETY: the headers were filled by the caller and point to memory that it still holds.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), headers.len() as u32, 0) };
        assert!(sent > 0, "{}", std::io::Error::last_os_error());
        headers = &mut headers[sent as usize..];
    }
}
