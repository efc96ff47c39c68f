//! One call for each packet: works everywhere, costs most.

use std::io;

use tokio::net::UdpSocket;

use super::address::{dressed, plain};
use super::message::Message;
use super::outcome::{HalfWay, Sent, Trouble, rest, trouble};
use crate::forward::train::Train;

pub(super) fn recv(
    socket: &UdpSocket,
    buffer: &mut [u8],
    slot: usize,
    messages: &mut Vec<Message>,
) -> io::Result<usize> {
    for (position, place) in buffer.chunks_exact_mut(slot).enumerate() {
        let start = position * slot;
        let (len, source) = loop {
            match socket.try_recv_from(place) {
                Ok(came) => break came,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if messages.is_empty() => return Err(error),
                Err(_) => return Ok(messages.len()),
            }
        };
        messages.push(Message {
            source: plain(source),
            local: None,
            range: start..start + len,
            segment: len,
        });
    }
    Ok(messages.len())
}

pub(super) fn send(
    socket: &UdpSocket,
    is_v6: bool,
    half_way: &mut HalfWay,
    arena: &[u8],
    trains: &[Train],
    sent: &mut Sent,
) -> io::Result<()> {
    let socket = socket2::SockRef::from(socket);
    for train in trains {
        let half = half_way.take(train);
        let unreachable = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let packets = rest(arena, train, half).chunks(train.segment.max(1));
        for (done, packet) in (half..).zip(packets) {
            let result = loop {
                let Some(dst) = dressed(train.dst, is_v6) else { break Err(unreachable()) };
                match socket.send_to(packet, &dst.into()) {
                    Err(error) if trouble(&error) == Trouble::Again => {}
                    other => break other,
                }
            };
            match result {
                Ok(_) => sent.packets += 1,
                Err(error) if trouble(&error) == Trouble::Later => {
                    half_way.keep(train, done);
                    return Err(error);
                }
                Err(error) => sent.refuse(1, error),
            }
        }
        sent.trains += 1;
    }
    Ok(())
}
