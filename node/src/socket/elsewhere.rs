//! What a system other than Linux has of what `linux` has: nothing. One function for each capability, with the names and
//! shapes of `linux`, so that whoever calls them need not know which it is. Compiled on Linux as well, where its tests run.
#![cfg_attr(target_os = "linux", allow(dead_code, reason = "built everywhere, so that it stays whole"))]

use std::io;

use tokio::net::UdpSocket;

use super::message::Message;
use super::options::{Caps, SocketOptions};
use super::outcome::{HalfWay, Sent};
use super::portable;
use crate::forward::train::Train;

/// None of it, whatever is asked for.
pub(super) fn probe(_: &socket2::Socket, _: bool, _: &SocketOptions) -> Caps {
    Caps { batches: false, gso: false, gro: false, local_addresses: false }
}

/// The system's own default holds.
pub(super) fn fragment(_: &socket2::Socket, _: bool) -> bool {
    true
}

/// Nothing goes beyond the system's limit.
pub(super) fn force_buffers(_: &socket2::Socket, _: &SocketOptions) {}

/// It does not tell.
pub(super) fn overflow(_: &UdpSocket) -> Option<u32> {
    None
}

/// One call for each packet writes into nothing else.
pub(super) struct RecvScratch;

impl RecvScratch {
    pub fn new(_: usize) -> Self {
        Self
    }
}

/// A batch packet by packet.
pub(super) fn recv(
    socket: &UdpSocket,
    _: &mut RecvScratch,
    buffer: &mut [u8],
    slot: usize,
    messages: &mut Vec<Message>,
) -> io::Result<usize> {
    portable::recv(socket, buffer, slot, messages)
}

/// One call for each packet reads from nothing else.
#[derive(Default)]
pub(super) struct SendScratch;

/// The socket, whether it is one of IPv6, and what nobody cuts up here.
pub(super) struct To<'a> {
    pub socket: &'a UdpSocket,
    pub is_v6: bool,
    #[allow(dead_code, reason = "nobody reads it here")]
    pub gso: bool,
}

/// Trains packet by packet.
pub(super) fn send(
    to: To<'_>,
    _: &mut SendScratch,
    half_way: &mut HalfWay,
    arena: &[u8],
    trains: &[Train],
    sent: &mut Sent,
) -> io::Result<()> {
    portable::send(to.socket, to.is_v6, half_way, arena, trains, sent)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use crate::socket::Socket;

    const LOCAL: &str = "127.0.0.1:0";

    /// So what other systems have is what `batches: false` forces on Linux, and the tests of that run it whole.
    #[tokio::test]
    async fn other_systems_have_what_is_left_on_linux_without_batches() {
        let local: SocketAddr = LOCAL.parse().unwrap();
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None).unwrap();
        let before = (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap());
        let (all, bare) = (SocketOptions::default(), SocketOptions { batches: false, ..Default::default() });
        let found = probe(&socket, false, &all);
        assert_eq!(found, Socket::bind(local, &bare).unwrap().caps());
        assert_eq!(found, probe(&socket, true, &bare));
        assert!(fragment(&socket, false), "no warning about what cannot be asked");
        force_buffers(&socket, &all);
        assert_eq!(before, (socket.recv_buffer_size().unwrap(), socket.send_buffer_size().unwrap()));
    }

    #[tokio::test]
    async fn trains_go_and_come_packet_by_packet() {
        let (node, viewer) = (UdpSocket::bind(LOCAL).await.unwrap(), UdpSocket::bind(LOCAL).await.unwrap());
        let dst = viewer.local_addr().unwrap();
        let train = |range, segment| Train { dst, src: None, range, segment };
        let arena: Vec<u8> = (0..100).collect();
        let mut sent = Sent::default();
        let to = To { socket: &node, is_v6: false, gso: true };
        let trains = [train(0..25, 10), train(25..75, 50)];
        send(to, &mut SendScratch, &mut HalfWay::default(), &arena, &trains, &mut sent).unwrap();
        assert_eq!((sent.trains, sent.packets, sent.refused), (2, 4, 0));
        let (mut buffer, mut came) = ([0; 4 * 64], vec![]);
        while came.len() < 4 {
            tokio::time::timeout(std::time::Duration::from_secs(20), viewer.readable())
                .await
                .unwrap()
                .unwrap();
            let mut messages = vec![];
            if recv(&viewer, &mut RecvScratch::new(4), &mut buffer, 64, &mut messages).is_ok() {
                came.extend(messages.into_iter().map(|message| {
                    assert_eq!((message.source, message.local), (node.local_addr().unwrap(), None));
                    buffer[message.range].to_vec()
                }));
            }
        }
        assert_eq!(came, [&arena[..10], &arena[10..20], &arena[20..25], &arena[25..75]]);
        assert_eq!(overflow(&viewer), None);
    }
}
