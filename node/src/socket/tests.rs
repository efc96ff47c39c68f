use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{RecvBatch, SendBatch, Sent, Socket, SocketOptions, Stop};
use crate::forward::train::{Train, TrainLimits, Trains};

const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const LOCAL_V6: SocketAddr = SocketAddr::new(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST), 0);

fn block_on(future: impl Future<Output = ()>) {
    let limited = async { tokio::time::timeout(Duration::from_secs(20), future).await.unwrap() };
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(limited);
}

/// Every way to do without something.
fn ways() -> Vec<(&'static str, SocketOptions)> {
    let all = SocketOptions::default();
    vec![
        ("everything", all),
        ("no GSO", SocketOptions { gso: false, ..all }),
        ("no GRO", SocketOptions { gro: false, ..all }),
        ("no batches", SocketOptions { batches: false, ..all }),
        ("no local addresses", SocketOptions { local_addresses: false, ..all }),
        ("neither offload", SocketOptions { gso: false, gro: false, ..all }),
    ]
}

async fn send_all(socket: &Socket, batch: &mut SendBatch, trains: &mut Trains) -> Sent {
    let mut total = Sent::default();
    while !trains.is_empty() {
        let sent = socket.try_send(batch, trains.arena(), trains.pending());
        trains.advance(sent.trains);
        total.trains += sent.trains;
        total.packets += sent.packets;
        total.refused += sent.refused;
        match sent.stop {
            None => {}
            Some(Stop::Blocked) => socket.writable().await.unwrap(),
            Some(Stop::Busy) => tokio::time::sleep(Duration::from_millis(1)).await,
        }
    }
    total
}

type Came = (SocketAddr, Option<IpAddr>, Vec<u8>);

async fn receive(socket: &Socket, count: usize) -> Vec<Came> {
    let mut batch = RecvBatch::new(socket);
    let mut came = vec![];
    while came.len() < count {
        socket.readable().await.unwrap();
        match socket.try_recv(&mut batch) {
            Ok(_) => {
                assert_eq!(batch.len(), batch.iter().count());
                came.extend(batch.iter().map(|packet| (packet.source, packet.local, packet.bytes.to_vec())));
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock),
        }
    }
    assert!(socket.try_recv(&mut batch).is_err() && batch.is_empty(), "nothing more comes");
    came
}

/// Packets of a train: five whole, one shorter, then others of other sizes.
fn packets(viewer: u8) -> Vec<Vec<u8>> {
    let sizes = [1_200, 1_200, 1_200, 1_200, 1_200, 700, 90, 1_300, 1_300, 1];
    sizes.iter().zip(0u8..).map(|(len, nth)| vec![viewer.wrapping_mul(16) ^ nth; *len]).collect()
}

#[test]
fn every_viewer_gets_every_packet_in_order_whatever_the_kernel_lacks() {
    for address in [LOCAL, LOCAL_V6] {
        for (sends, of_sender) in ways() {
            for (receives, of_receiver) in ways() {
                block_on(async {
                    let sender = Socket::bind(address, &of_sender).unwrap();
                    let viewers: Vec<Socket> =
                        (0..20).map(|_| Socket::bind(address, &of_receiver).unwrap()).collect();
                    let mut trains = Trains::new(TrainLimits::default());
                    for (viewer, nth) in viewers.iter().zip(0u8..) {
                        trains.begin(viewer.local_addr(), None);
                        for packet in packets(nth) {
                            trains.slot(1_500).unwrap()[..packet.len()].copy_from_slice(&packet);
                            trains.commit(packet.len());
                        }
                        trains.end();
                    }
                    let sent = send_all(&sender, &mut SendBatch::new(), &mut trains).await;
                    let what = format!("{address}, sender with {sends}, receiver with {receives}");
                    assert_eq!((sent.trains, sent.packets, sent.refused), (60, 200, 0), "{what}");
                    for (viewer, nth) in viewers.iter().zip(0u8..) {
                        let came = receive(viewer, 10).await;
                        let bytes: Vec<_> = came.iter().map(|(_, _, bytes)| bytes.clone()).collect();
                        assert_eq!(bytes, packets(nth), "{what}");
                        let local = viewer.caps().local_addresses.then_some(address.ip());
                        assert!(
                            came.iter().all(|one| (one.0, one.1) == (sender.local_addr(), local)),
                            "{what}"
                        );
                    }
                });
            }
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn this_kernel_has_what_the_fast_path_wants_and_options_turn_it_off() {
    block_on(async {
        let caps = |options: SocketOptions| Socket::bind(LOCAL, &options).unwrap().caps();
        let all = SocketOptions::default();
        let full = caps(all);
        assert!(full.batches && full.gso && full.gro && full.local_addresses, "{full:?}");
        assert!(!caps(SocketOptions { gso: false, ..all }).gso);
        assert!(!caps(SocketOptions { gro: false, ..all }).gro);
        assert!(!caps(SocketOptions { local_addresses: false, ..all }).local_addresses);
        let bare = caps(SocketOptions { batches: false, ..all });
        assert!(!bare.batches && !bare.gso && !bare.gro && !bare.local_addresses);
    });
}

/// A caller that gives up what was left may send a train of the same place and length next.
#[test]
fn what_was_given_up_takes_nothing_from_what_comes_after() {
    block_on(async {
        let (node, viewer) =
            (Socket::bind(LOCAL, &ways()[0].1).unwrap(), Socket::bind(LOCAL, &ways()[0].1).unwrap());
        let train = Train { dst: viewer.local_addr(), src: None, range: 0..30, segment: 10 };
        let mut batch = SendBatch::new();
        batch.left_half_way(&train, 2);
        let another = Train { range: 30..45, ..train.clone() };
        assert_eq!(batch.give_up(&[train.clone(), another]), 1 + 2, "packets, but for those that have gone");
        node.writable().await.unwrap();
        assert_eq!(node.try_send(&mut batch, &[7; 30], &[train]).packets, 3);
        assert_eq!(receive(&viewer, 3).await.len(), 3);
    });
}

#[cfg(target_os = "linux")]
#[test]
fn a_node_answers_from_the_address_that_was_asked() {
    for (any, asked) in [("0.0.0.0:0", "127.0.0.77"), ("[::]:0", "127.0.0.77"), ("[::]:0", "::1")] {
        for gso in [true, false] {
            block_on(async {
                let options = SocketOptions { gso, ..SocketOptions::default() };
                let node = Socket::bind(any.parse().unwrap(), &options).unwrap();
                let asked: IpAddr = asked.parse().unwrap();
                let client = Socket::bind(if asked.is_ipv4() { LOCAL } else { LOCAL_V6 }, &options).unwrap();
                let question = Train {
                    dst: SocketAddr::new(asked, node.local_addr().port()),
                    src: None,
                    range: 0..4,
                    segment: 4,
                };
                let sent = client.try_send_when_ready(b"ask?", &[question]).await;
                assert_eq!(sent.packets, 1);
                let (source, local, _) = receive(&node, 1).await.remove(0);
                assert_eq!((source, local), (client.local_addr(), Some(asked)));
                let answer = Train { dst: source, src: local, range: 0..9, segment: 4 };
                assert_eq!(node.try_send_when_ready(b"toldtoldt", &[answer]).await.packets, 3);
                for (from, _, _) in receive(&client, 3).await {
                    assert_eq!(from, SocketAddr::new(asked, node.local_addr().port()));
                }
            });
        }
    }
}

impl Socket {
    async fn try_send_when_ready(&self, arena: &[u8], trains: &[Train]) -> Sent {
        self.writable().await.unwrap();
        self.try_send(&mut SendBatch::new(), arena, trains)
    }
}

#[test]
fn sending_asks_the_kernel_and_not_the_runtime() {
    for (way, options) in ways() {
        block_on(async {
            let node = Socket::bind(LOCAL, &options).unwrap();
            // Nothing is awaited in between, so the runtime does not know yet that the socket has room.
            let train = Train { dst: node.local_addr(), src: None, range: 0..3, segment: 3 };
            let sent = node.try_send(&mut SendBatch::new(), b"one", &[train]);
            assert_eq!((sent.packets, sent.stop), (1, None), "{way}");
            assert_eq!(receive(&node, 1).await[0].2, b"one");
        });
    }
}

#[test]
fn what_the_kernel_refuses_is_counted_and_the_rest_goes_on() {
    for (way, options) in ways() {
        block_on(async {
            let node = Socket::bind(LOCAL, &options).unwrap();
            let viewer = Socket::bind(LOCAL, &options).unwrap();
            let arena: Vec<u8> = (0..70_000u32).map(|byte| byte as u8).collect();
            let train =
                |dst, range: std::ops::Range<usize>, segment| Train { dst, src: None, range, segment };
            let good = viewer.local_addr();
            let trains = [
                train(good, 0..1_000, 500),
                train("127.0.0.1:0".parse().unwrap(), 0..1_500, 500),
                train(good, 100..1_100, 500),
                train("[::1]:9".parse().unwrap(), 0..1_500, 500),
                train(good, 0..66_000, 66_000),
                train(good, 200..700, 500),
            ];
            let sent = node.try_send_when_ready(&arena, &trains).await;
            assert_eq!((sent.trains, sent.packets, sent.refused), (6, 5, 7), "{way}: {sent:?}");
            assert!(sent.error.is_some() && sent.stop.is_none());
            let came: Vec<_> = receive(&viewer, 5).await.into_iter().map(|(_, _, bytes)| bytes).collect();
            let expected =
                [&arena[..500], &arena[500..1_000], &arena[100..600], &arena[600..1_100], &arena[200..700]];
            assert_eq!(came, expected, "{way}");
        });
    }
}

#[test]
fn a_train_that_the_kernel_will_not_cut_goes_packet_by_packet() {
    block_on(async {
        let node = Socket::bind(LOCAL, &SocketOptions::default()).unwrap();
        let viewer = Socket::bind(LOCAL, &SocketOptions::default()).unwrap();
        let arena: Vec<u8> = (0..40_000u32).map(|byte| (byte / 100) as u8).collect();
        // More segments than any kernel takes (64, later 128).
        let trains = [
            Train { dst: viewer.local_addr(), src: None, range: 0..200, segment: 100 },
            Train { dst: viewer.local_addr(), src: None, range: 200..20_250, segment: 100 },
            Train { dst: viewer.local_addr(), src: None, range: 20_300..20_500, segment: 100 },
        ];
        let sent = node.try_send_when_ready(&arena, &trains).await;
        assert_eq!((sent.trains, sent.packets, sent.refused), (3, 2 + 201 + 2, 0));
        let came: Vec<_> = receive(&viewer, 205).await.into_iter().map(|(_, _, bytes)| bytes[0]).collect();
        let expected: Vec<u8> = (0..205u16).map(|nth| nth as u8).collect();
        assert_eq!(came, expected);
    });
}

/// A shard that does not come to read: what its socket had no room for is known.
#[test]
fn what_the_kernel_drops_before_it_is_read_is_counted() {
    for (way, options) in ways() {
        block_on(async {
            let node = Socket::bind(LOCAL, &SocketOptions { recv_buffer: 16 << 10, ..options }).unwrap();
            assert_eq!(node.overflow(), 0);
            let stranger = std::net::UdpSocket::bind(LOCAL).unwrap();
            for nth in 0..500u16 {
                stranger.send_to(&nth.to_be_bytes(), node.local_addr()).unwrap();
            }
            let lost = usize::try_from(node.overflow()).unwrap();
            assert!((1..500).contains(&lost), "{way}: {lost}");
            let came = receive(&node, 500 - lost).await;
            assert_eq!(
                came.last().unwrap().2,
                u16::try_from(499 - lost).unwrap().to_be_bytes(),
                "those that came last are lost"
            );
            assert_eq!(node.overflow(), lost as u64);
        });
    }
}

#[test]
fn a_train_left_half_way_is_taken_up_where_it_stopped() {
    let train =
        |port| Train { dst: SocketAddr::from(([127, 0, 0, 1], port)), src: None, range: 10..40, segment: 10 };
    let mut batch = super::outcome::HalfWay::default();
    assert_eq!(batch.take(&train(1)), 0);
    batch.keep(&train(1), 2);
    assert_eq!(batch.take(&train(1)), 2);
    assert_eq!(batch.take(&train(1)), 0, "once");
    batch.keep(&train(1), 2);
    assert_eq!(batch.take(&train(2)), 0, "another train is sent from its beginning");
    assert_eq!(super::outcome::rest(&[7; 64], &train(1), 2).len(), 10);
    assert!(super::outcome::rest(&[7; 64], &train(1), 9).is_empty());
}
