//! Many messages by one call.

use std::io;
use std::mem::zeroed;
use std::os::fd::AsRawFd;
use std::ptr::{from_mut, null_mut};

use super::control::{self, Control, Told};
use super::names::Name;
use crate::socket::address::plain;
use crate::socket::message::Message;

/// What `recvmmsg` writes into besides the packets.
pub(in crate::socket) struct RecvScratch {
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

/// Receives what is there, without waiting.
pub(in crate::socket) fn recv(
    socket: &impl AsRawFd,
    scratch: &mut RecvScratch,
    buffer: &mut [u8],
    slot: usize,
    messages: &mut Vec<Message>,
) -> io::Result<usize> {
    let RecvScratch { headers, vectors, names, controls } = scratch;
    let slots = buffer.chunks_exact_mut(slot);
    let parts = headers.iter_mut().zip(vectors.iter_mut()).zip(names.iter_mut()).zip(controls.iter_mut());
    let mut count = 0;
    for (place, (((header, vector), name), control)) in slots.zip(parts) {
        *vector = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
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
        let start = position * slot;
        let len = usize::try_from(header.msg_len).unwrap_or(0).min(slot);
        let Told { segment, local } = control::read(message);
        messages.push(Message {
            source: plain(source),
            local,
            range: start..start + len,
            segment: segment.filter(|segment| *segment > 0).unwrap_or(len),
        });
    }
    Ok(messages.len())
}

pub(super) fn headers(count: usize) -> Vec<libc::mmsghdr> {
    // SAFETY: zeros are a valid `mmsghdr`: null pointers and lengths of 0.
    (0..count).map(|_| unsafe { zeroed() }).collect()
}

pub(super) fn vectors(count: usize) -> Vec<libc::iovec> {
    vec![libc::iovec { iov_base: null_mut(), iov_len: 0 }; count]
}
