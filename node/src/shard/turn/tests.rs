//! A shard's turns one by one, while many join: what each does of the joins, and that packets go out in each.

use std::net::{SocketAddr, UdpSocket};
use std::pin::pin;

use bytes::Bytes;
use freshet_cluster::Generation;
use freshet_cluster::unit::UnixMillis;
use freshet_relay_proto::header::{Extensions, MediaHeader};
use freshet_relay_proto::track::{CodecInfo, MediaKind as Kind, TrackInfo};
use str0m::change::{SdpAnswer, SdpPendingOffer};
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};

use super::super::busy::Limit;
use super::*;
use crate::agent::StreamKey;
use crate::book::Book;
use crate::quic::LinkId;
use crate::service::CreateError;
use crate::sfu::{Ask, Config, Incoming};

/// Joins that come together.
const STORM: usize = 12;
const ALIAS: u32 = 7;

/// A viewer as a browser would be. What it sends is handed to the shard by whoever holds it.
struct Client {
    rtc: Rtc,
    pending: Option<SdpPendingOffer>,
    socket: UdpSocket,
    server: SocketAddr,
    connected: bool,
    packets: usize,
}

impl Client {
    /// A client and its offer.
    fn new(server: SocketAddr) -> (Self, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let provider = Arc::new(str0m_aws_lc_rs::default_provider());
        let config = RtcConfig::new().set_crypto_provider(provider).set_rtp_mode(true).clear_codecs();
        let mut rtc = config.enable_h264(true).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut api = rtc.sdp_api();
        api.add_media(MediaKind::Video, Direction::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let pending = Some(pending);
        (Self { rtc, pending, socket, server, connected: false, packets: 0 }, offer.to_sdp_string())
    }

    fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    fn accept(&mut self, answer: &str) {
        let answer = SdpAnswer::from_sdp_string(answer).unwrap();
        self.rtc.sdp_api().accept_answer(self.pending.take().unwrap(), answer).unwrap();
    }

    /// Takes what came; what it sends now.
    fn pass(&mut self) -> Vec<Vec<u8>> {
        let (mut buffer, mut out) = ([0; 2_048], Vec::new());
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let Ok(contents) = buffer[..len].try_into() else { continue };
            let destination = self.address();
            let receive = Receive { proto: Protocol::Udp, source: self.server, destination, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            self.poll(&mut out);
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        self.poll(&mut out);
        out
    }

    fn poll(&mut self, out: &mut Vec<Vec<u8>>) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => out.push(transmit.contents.to_vec()),
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(_)) => self.packets += 1,
                Output::Event(_) => {}
            }
        }
    }
}

type Answer = Result<(String, String), CreateError>;

/// A shard whose turns the test does, and what comes to it.
struct Stage {
    turn: Turn,
    media: Arrivals,
    orders: (mpsc::Sender<Order>, mpsc::Receiver<Order>),
    server: SocketAddr,
    sessions: u128,
    frames: u32,
    _events: mpsc::Receiver<(u16, sfu::Event)>,
}

impl Stage {
    fn new() -> Self {
        let sockets = Sockets::bind(&["127.0.0.1:0".parse().unwrap()]).unwrap();
        let server = sockets.bound()[0];
        let minute = Duration::from_secs(60);
        let config = Config {
            silence: minute,
            fresh_keyframe: minute,
            ..Config::of_tests(Instant::now(), Book::plain(vec![server]))
        };
        let (events, _events) = mpsc::channel(1_024);
        let crossings = Crossings::new(1);
        let (sessions, latest) = (Arc::default(), Arc::default());
        let (busy, waits) = (Busy::new(Limit::NONE, Instant::now()), Arc::new(Waits::new()));
        let media = Arrivals::default();
        let around =
            Around { shard: 0, events, sessions, latest, crossings, busy, waits, media: media.clone() };
        let mut turn = Turn::new(Sfu::new(config, [7; 32]), sockets, around);
        turn.tell(Instant::now(), Tell::Up(stream()));
        let orders = mpsc::channel(64);
        Self { turn, media, orders, server, sessions: 0, frames: 0, _events }
    }

    fn ask(&mut self, offer: String) -> Ask {
        self.sessions += 1;
        Ask {
            session: SessionId::from_bits(self.sessions),
            direction: crate::service::Direction::View,
            room: "room".parse().unwrap(),
            pinned: None,
            identity: "me".parse().unwrap(),
            whose: Default::default(),
            client: None,
            offer,
        }
    }

    /// A client whose offer has been answered.
    fn join(&mut self) -> Client {
        let (mut client, offer) = Client::new(self.server);
        let ask = self.ask(offer);
        let (answer, _) = self.turn.machine.create(Instant::now(), ask).unwrap();
        client.accept(&answer);
        client
    }

    /// A client's order to join, which waits in the queue.
    fn queue(&mut self) -> oneshot::Receiver<Answer> {
        let ask = self.ask(Client::new(self.server).1);
        let (reply, answer) = oneshot::channel();
        assert!(self.orders.0.try_send(Order::Create(ask, reply)).is_ok());
        answer
    }

    /// A frame of one packet comes by the link.
    fn frame(&mut self) {
        let header = MediaHeader {
            alias: ALIAS,
            track: 1,
            layer: 0,
            index: u64::from(self.frames) + 1,
            timestamp: self.frames * 3_000,
            marker: true,
            keyframe: self.frames == 0,
            codec: 0,
            capture: 1_800_000_000_000_000 + u64::from(self.frames) * 33_333,
            exts: Extensions::default(),
        };
        let payload = Bytes::from_static(if self.frames == 0 { &[0x65; 100] } else { &[0x41; 100] });
        let packet = MediaIn { link: LinkId(0), header, payload, arrived: Instant::now() };
        self.media.put(packet.arrived, packet);
        self.frames += 1;
    }

    async fn turn(&mut self) {
        self.turn.rest(&mut self.orders.1).await;
        self.turn.later.begin();
    }

    fn sent(&self) -> u64 {
        self.turn.machine.counters().egress_packets
    }

    fn take(&mut self, from: SocketAddr, datagram: &[u8]) {
        self.turn.take(Instant::now(), from.into(), datagram);
    }
}

fn stream() -> Incoming {
    let h264 = CodecInfo {
        name: "H264".into(),
        clock_rate: 90_000,
        channels: 1,
        fmtp: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
    };
    let (room, stream) = ("room".parse().unwrap(), "main".parse().unwrap());
    Incoming {
        key: StreamKey { room, stream, generation: Generation(1) },
        started_at: UnixMillis(1),
        tracks: vec![TrackInfo { id: 1, kind: Kind::Video, codecs: vec![h264], layers: vec![] }],
        hop: Hop::Link(Link(0)),
        alias: ALIAS,
    }
}

/// Lets clients and shard talk until all are as they should be; a handshake's first datagrams are kept back if so
/// wished, each client's own.
async fn talk(stage: &mut Stage, clients: &mut [Client], keep: bool) -> Vec<Vec<u8>> {
    let mut kept: Vec<Option<Vec<u8>>> = vec![None; clients.len()];
    for _ in 0..10_000 {
        for (client, kept) in clients.iter_mut().zip(&mut kept) {
            for datagram in client.pass() {
                if keep && later::is_handshake(&datagram) {
                    kept.get_or_insert(datagram);
                } else {
                    stage.take(client.address(), &datagram);
                }
            }
        }
        stage.turn().await;
        if clients.iter().zip(&kept).all(|(client, kept)| client.connected || kept.is_some()) {
            return kept.into_iter().flatten().collect();
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("the clients do not get on");
}

#[tokio::test]
async fn a_storm_of_joins_is_done_in_slices_and_every_turn_sends_its_packets() {
    let mut stage = Stage::new();
    let mut watcher = [stage.join()];
    stage.frame();
    talk(&mut stage, &mut watcher, false).await;
    for _ in 0..1_000 {
        stage.turn().await;
        watcher[0].pass();
        if watcher[0].packets == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((watcher[0].packets, stage.sent()), (1, 1), "the keyframe has come");

    let mut joiners: Vec<Client> = (0..STORM).map(|_| stage.join()).collect();
    let hellos = talk(&mut stage, &mut joiners, true).await;
    assert_eq!(hellos.len(), STORM);
    let mut asked: Vec<_> = (0..STORM).map(|_| stage.queue()).collect();
    // So short a slice that a turn does one step of one handshake and carries out one order.
    stage.turn.later = Later::with_slice(Duration::from_nanos(1));
    for (joiner, hello) in joiners.iter().zip(&hellos) {
        stage.take(joiner.address(), hello);
    }
    let (mut left, mut answered, mut turns) = (STORM - 1, 0, 0);
    assert_eq!(stage.turn.later.waiting(), left, "the turn that finds them does one");
    (1..100).for_each(|port| stage.take(SocketAddr::from(([127, 0, 0, 9], port)), &hellos[0]));
    assert_eq!(stage.turn.later.waiting(), left, "strangers take no places");
    while left > 0 || answered < STORM {
        let before = stage.sent();
        stage.frame();
        stage.turn().await;
        assert_eq!(stage.sent() - before, 1, "turn {turns} sends what came in it");
        let told = asked.iter_mut().filter_map(|answer| answer.try_recv().ok());
        let told = told.inspect(|answer| assert!(answer.is_ok())).count();
        let done = left - stage.turn.later.waiting();
        if turns == 0 {
            assert_eq!((done, told), (1, 0), "the first turn has had its slice: one step, and no order");
        } else {
            assert!(done <= 1 && told <= 1, "turn {turns} does {done} steps and {told} orders");
            assert!(done + told > 0, "turn {turns} does something for those who join");
        }
        (left, answered, turns) = (left - done, answered + told, turns + 1);
    }
    assert_eq!(stage.turn.later.dropped, 0);

    // With time for them all of them get through, their first datagrams having been kept for so long.
    stage.turn.later = Later::default();
    talk(&mut stage, &mut joiners, false).await;
}

#[tokio::test]
async fn a_link_that_brings_more_than_may_wait_loses_the_oldest_and_they_are_counted() {
    const BROUGHT: u64 = 20_000;
    const MAY_WAIT: u64 = 16_384;
    let mut stage = Stage::new();
    let mut watcher = [stage.join()];
    stage.frame();
    talk(&mut stage, &mut watcher, false).await;
    // The shard is not there for a while.
    (0..BROUGHT).for_each(|_| stage.frame());
    let came = |stage: &Stage| stage.turn.machine.counters().ingress_packets;
    for _ in 0..1_000 {
        let before = came(&stage);
        stage.turn().await;
        watcher[0].pass();
        if came(&stage) == before && before > 1 {
            break;
        }
    }
    let dropped = stage.turn.counted().arrivals_dropped;
    assert_eq!(came(&stage) + dropped, 1 + BROUGHT, "each was taken or is counted");
    // What a slow machine takes later than a second is stale, too.
    assert!(dropped >= BROUGHT - MAY_WAIT, "{dropped} dropped");
    assert!(stage.sent() > 1, "it goes on with what came last");
}

#[tokio::test]
async fn reports_beyond_a_turns_share_are_dropped_and_what_comes_behind_them_is_heard() {
    for (behind, most) in [(0, REPORTS), (BEHIND - 1, REPORTS), (BEHIND, REPORTS_BEHIND)] {
        let mut stage = Stage::new();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..most + 100 {
            client.send_to(&[0x80, 201, 0, 1, 0, 0, 0, 1], stage.server).unwrap();
        }
        client.send_to(b"\0 what is no RTCP", stage.server).unwrap();
        stage.turn.behind = behind;
        let mut received = stage.turn.sockets.batches();
        stage.turn.sockets.readable().await;
        stage.turn.receive(&mut received);
        let counted = stage.turn.counted();
        // A stranger's all of them, and each of those that are taken in is counted as that.
        let heard = counted.counters.unknown_datagrams;
        assert_eq!((counted.reports_dropped, heard), (100, most as u64 + 1), "{behind} turns behind");
    }
}

#[tokio::test]
async fn a_shard_is_behind_while_links_bring_as_much_as_a_turn_takes() {
    let mut stage = Stage::new();
    (0..2 * PER_TURN).for_each(|_| stage.frame());
    for behind in [1, 2, 0] {
        stage.turn().await;
        assert_eq!(stage.turn.behind, behind);
    }
}

#[tokio::test]
async fn clients_are_heard_at_every_turn_though_more_of_links_waits() {
    let mut stage = Stage::new();
    (0..20 * PER_TURN).for_each(|_| stage.frame());
    let mut client = stage.join();
    for datagram in client.pass() {
        client.socket.send_to(&datagram, stage.server).unwrap();
    }
    let Stage { turn, media, orders, .. } = stage;
    let mut run = pin!(turn.run(orders.1));
    for _ in 0..5 {
        poll_fn(|task| Poll::Ready(run.as_mut().poll(task).is_pending())).await;
        tokio::task::yield_now().await;
    }
    let mut left = vec![];
    media.take(Instant::now(), usize::MAX, &mut left);
    assert!(left.len() >= 10 * PER_TURN, "only {} packets wait still", left.len());
    let mut answer = [0; 2_000];
    assert!(client.socket.recv_from(&mut answer).is_ok(), "nobody has heard the client's check");
}
