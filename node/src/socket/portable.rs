//! One call for each packet: works everywhere, costs most.

use std::io;

use tokio::net::UdpSocket;

use super::recv::{Message, RecvBatch};
use super::send::{SendBatch, Sent, Trouble, rest, trouble};
use super::{dressed, plain};
use crate::forward::train::Train;

pub(super) fn recv(socket: &UdpSocket, batch: &mut RecvBatch) -> io::Result<usize> {
    while batch.has_room() {
        let start = batch.messages.len() * batch.slot;
        let Some(buffer) = batch.buffer.get_mut(start..start + batch.slot) else { break };
        match socket.try_recv_from(buffer) {
            Ok((0, _)) => {}
            Ok((len, source)) => {
                let source = plain(source);
                batch.messages.push(Message { source, local: None, range: start..start + len, segment: len });
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if batch.messages.is_empty() => return Err(error),
            Err(_) => break,
        }
    }
    Ok(batch.messages.len())
}

pub(super) fn send(
    socket: &UdpSocket,
    is_v6: bool,
    batch: &mut SendBatch,
    arena: &[u8],
    trains: &[Train],
    sent: &mut Sent,
) -> io::Result<()> {
    for train in trains {
        let half = batch.take_half(train);
        let unreachable = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let packets = rest(arena, train, half).chunks(train.segment.max(1));
        for (done, packet) in (half..).zip(packets) {
            let result = loop {
                let Some(dst) = dressed(train.dst, is_v6) else { break Err(unreachable()) };
                match socket.try_send_to(packet, dst) {
                    Err(error) if trouble(&error) == Trouble::Again => {}
                    other => break other,
                }
            };
            match result {
                Ok(_) => sent.packets += 1,
                Err(error) if trouble(&error) == Trouble::Later => {
                    batch.keep_half(train, done);
                    return Err(error);
                }
                Err(error) => sent.refuse(1, error),
            }
        }
        sent.trains += 1;
    }
    Ok(())
}
