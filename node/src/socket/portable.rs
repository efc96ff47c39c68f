//! One call for each packet: works everywhere, costs most.

use std::io;
use std::net::SocketAddr;

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
    let mut one = |packet: &[u8], dst: SocketAddr| socket.send_to(packet, &dst.into()).map(drop);
    send_by(&mut one, is_v6, half_way, arena, trains, sent)
}

/// Sends packet by packet, as `one` takes them.
fn send_by(
    one: &mut impl FnMut(&[u8], SocketAddr) -> io::Result<()>,
    is_v6: bool,
    half_way: &mut HalfWay,
    arena: &[u8],
    trains: &[Train],
    sent: &mut Sent,
) -> io::Result<()> {
    for train in trains {
        let half = half_way.take(train);
        let unreachable = || io::Error::from(io::ErrorKind::AddrNotAvailable);
        let packets = rest(arena, train, half).chunks(train.segment.max(1));
        for (done, packet) in (half..).zip(packets) {
            let result = loop {
                let Some(dst) = dressed(train.dst, is_v6) else { break Err(unreachable()) };
                match one(packet, dst) {
                    Err(error) if trouble(&error) == Trouble::Again => {}
                    other => break other,
                }
            };
            match result {
                Ok(()) => sent.packets += 1,
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: [i32; 4] = [libc::EAGAIN, libc::ENOBUFS, libc::ENOMEM, libc::EINTR];
    const REFUSED: [i32; 3] = [libc::EMSGSIZE, libc::EPERM, libc::ENETUNREACH];

    proptest! {
        /// Full sockets and short queues lose and reorder nothing; what the system refuses for good is counted, and is
        /// all that is missing.
        #[test]
        fn what_does_not_go_out_was_refused_and_all_else_goes_once_in_order(
            mut troubles in prop::collection::vec(prop::option::of(0usize..7), 0..60),
            lengths in prop::collection::vec((1usize..40, 1usize..9, 0usize..9), 1..30),
        ) {
            let (mut arena, mut trains) = (vec![], vec![]);
            for (port, (segment, whole, rest)) in (1u16..).zip(lengths) {
                let start = arena.len();
                let len = segment * whole + rest.min(segment - 1);
                arena.extend((0..len).map(|n| (n as u8) ^ (port as u8)));
                let dst = SocketAddr::from(([127, 0, 0, 1], port));
                trains.push(Train { dst, src: None, range: start..arena.len(), segment });
            }
            let (mut went, mut refused): (Vec<(SocketAddr, Vec<u8>)>, _) = (vec![], vec![]);
            let all = [&FULL[..], &REFUSED].concat();
            let mut tried = 0;
            let mut one = |packet: &[u8], dst: SocketAddr| {
                if let Some(trouble) = troubles.pop().flatten() {
                    if trouble >= FULL.len() {
                        refused.push(tried);
                        tried += 1;
                    }
                    return Err(io::Error::from_raw_os_error(all[trouble]));
                }
                tried += 1;
                went.push((dst, packet.to_vec()));
                Ok(())
            };
            let (mut half_way, mut done, mut counted, mut lost) = (HalfWay::default(), 0, 0, 0);
            while done < trains.len() {
                let mut sent = Sent::default();
                let said = send_by(&mut one, false, &mut half_way, &arena, &trains[done..], &mut sent);
                prop_assert!(said.is_err() || done + sent.trains == trains.len());
                prop_assert_eq!(sent.refused > 0, sent.error.is_some());
                done += sent.trains;
                counted += sent.packets;
                lost += sent.refused;
            }
            let expected: Vec<(SocketAddr, Vec<u8>)> = trains
                .iter()
                .flat_map(|train| {
                    arena[train.range.clone()].chunks(train.segment).map(|packet| (train.dst, packet.to_vec()))
                })
                .enumerate()
                .filter(|(nth, _)| !refused.contains(nth))
                .map(|(_, packet)| packet)
                .collect();
            prop_assert_eq!((counted, lost), (expected.len(), refused.len()));
            prop_assert_eq!(went, expected);
        }
    }
}
