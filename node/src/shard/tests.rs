//! A shard on real sockets.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, SessionId};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use freshet_relay_proto::track::{CodecInfo, MediaKind, TrackInfo};
use str0m::change::SdpAnswer;
use str0m::media::Direction as Flow;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};

use super::{Arrivals, Crossings, Limit, Order, Parts, ShardHandle, Tell, spawn};
use crate::agent::{Link, StreamKey};
use crate::book::Addresses;
use crate::peer::crypto;
use crate::quic::{LinkId, MediaIn};
use crate::session::Direction;
use crate::sfu::{Ask, Config, Hop, Incoming};

const WAIT: Duration = Duration::from_secs(20);

fn stream() -> Incoming {
    let codec = CodecInfo { name: "opus".into(), clock_rate: 48_000, channels: 2, fmtp: String::new() };
    Incoming {
        key: StreamKey {
            room: "room".parse().unwrap(),
            stream: "main".parse().unwrap(),
            generation: Generation(1),
        },
        started_at: UnixMillis(1),
        tracks: vec![TrackInfo { id: 0, kind: MediaKind::Audio, codecs: vec![codec], layers: vec![] }],
        hop: Hop::Link(Link(0)),
        alias: 0,
    }
}

fn sound(index: u64) -> MediaIn {
    let header = MediaHeader {
        alias: 0,
        track: 0,
        layer: 0,
        index,
        timestamp: (index as u32).wrapping_mul(960),
        marker: false,
        keyframe: false,
        codec: 0,
        capture: 1_800_000_000_000_000 + index * 20_000,
        exts: Extensions::default(),
    };
    MediaIn { link: LinkId(0), header, payload: vec![0x78; 80].into(), arrived: Instant::now() }
}

async fn shard(bind: &str, advertised: IpAddr) -> (ShardHandle, Arrivals) {
    let media = Arrivals::default();
    // Nobody listens to the events: the shard goes on.
    let (events, _) = mpsc::channel(64);
    let parts = Parts {
        shard: 0,
        of: 1,
        addresses: Addresses {
            binds: vec![bind.parse().unwrap()],
            port: 0,
            advertised: vec![advertised.into()],
        },
        config: Box::new(|book| Config::of_tests(Instant::now(), book)),
        seed: [7; 32],
        media: media.clone(),
        events,
        crossings: Crossings::new(1),
        max_busy: Limit::NONE,
    };
    (spawn(parts).await.unwrap(), media)
}

/// A viewer that hears nothing but what comes from the address that it calls: its socket is connected.
struct Caller {
    rtc: Rtc,
    socket: UdpSocket,
    called: SocketAddr,
    got: usize,
}

impl Caller {
    async fn join(shard: &ShardHandle, called: IpAddr) -> Self {
        let known = shard.candidates()[0];
        let called = SocketAddr::new(called, known.port());
        let bind = if called.is_ipv4() { "127.0.0.1:0" } else { "[::1]:0" };
        let socket = UdpSocket::bind(bind).await.unwrap();
        socket.connect(called).await.unwrap();
        let config = RtcConfig::new().set_crypto_provider(crypto::provider()).set_rtp_mode(true);
        let mut rtc = config.clear_codecs().enable_opus(true, false).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let mut api = rtc.sdp_api();
        api.add_media(str0m::media::MediaKind::Audio, Flow::RecvOnly, None, None, None);
        let (offer, pending) = api.apply().unwrap();
        let ask = Ask {
            session: SessionId::from_bits(1),
            direction: Direction::View,
            room: "room".parse().unwrap(),
            pinned: None,
            identity: "me".parse().unwrap(),
            whose: Default::default(),
            client: None,
            offer: offer.to_sdp_string(),
        };
        let (reply, answer) = oneshot::channel();
        shard.order(Order::Create(ask, reply)).await;
        let (answer, _) = answer.await.unwrap().unwrap();
        // As behind a router of the house: another address of the node than the one that it tells.
        let answer = answer.replace(
            &format!(" {} {} ", known.ip(), known.port()),
            &format!(" {} {} ", called.ip(), called.port()),
        );
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
        Self { rtc, socket, called, got: 0 }
    }

    /// Sends what is to be sent and takes what comes within a moment.
    async fn turn(&mut self) {
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Transmit(transmit) => {
                    self.socket.send(&transmit.contents).await.unwrap();
                }
                Output::Event(Event::RtpPacket(_)) => self.got += 1,
                Output::Event(_) => {}
            }
        }
        let mut buffer = [0; 2_000];
        let came = tokio::time::timeout(Duration::from_millis(10), self.socket.recv(&mut buffer)).await;
        let Ok(Ok(len)) = came else { return };
        let destination = self.socket.local_addr().unwrap();
        let (source, contents) = (self.called, buffer[..len].try_into().unwrap());
        let receive = Receive { proto: Protocol::Udp, source, destination, contents };
        self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_viewer_is_answered_from_the_address_that_it_calls() {
    let table = [
        ("0.0.0.0", "127.0.0.1", "127.0.0.1"),
        ("0.0.0.0", "127.0.0.1", "127.0.0.2"),
        ("::", "127.0.0.1", "127.0.0.2"),
        ("::", "::1", "::1"),
    ];
    for (bind, advertised, called) in table {
        let (shard, media) = shard(bind, advertised.parse().unwrap()).await;
        shard.tell(Tell::Up(stream())).await;
        let mut caller = Caller::join(&shard, called.parse().unwrap()).await;
        let start = Instant::now();
        let mut index = 0;
        // Handshake and reports by str0m's datagrams, sound by trains.
        while caller.got < 5 {
            assert!(start.elapsed() < WAIT, "{called} of {bind} does not answer");
            caller.turn().await;
            index += 1;
            media.put(Instant::now(), sound(index));
        }
    }
}
