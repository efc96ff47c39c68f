//! What shards allocate while they forward, counted at their threads: real turns on real sockets. Two shards, one of which a
//! stream comes to, by a publisher's socket or by a link; it crosses to the other, and viewers of both are sent it: sound
//! and picture, in batches of the default time, to nobody, to a small audience and to a larger one.
//!
//! A packet that goes to a viewer or to another shard allocates nothing. All that is left has a name. By packets: what comes
//! by a link becomes a shared value, which is one; what a publisher sends is opened by str0m, too, which makes one, and one
//! more where its m-line is named in it. By time: a viewer's report, which is one, and str0m's timers for its publisher.

#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::print_stdout
)]

#[path = "../benches/media/common/allocations.rs"]
mod allocations;

use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, SessionId};
use freshet_node::agent::{Lane, Link, StreamKey};
use freshet_node::book::{Addresses, Book};
use freshet_node::media::clock::{Skew, Wall};
use freshet_node::media::ring::RingConfig;
use freshet_node::peer::negotiate::Common;
use freshet_node::peer::{crypto, opened};
use freshet_node::quic::{LinkId, MediaIn};
use freshet_node::session::Direction;
use freshet_node::sfu::{Ask, Config, Event, Hop, Incoming};
use freshet_node::shard::{Arrivals, Crossings, Limit, Order, Parts, ShardHandle, Tell, spawn};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use freshet_relay_proto::track::{CodecInfo, MediaKind as Kind, TrackInfo};
use str0m::change::SdpAnswer;
use str0m::media::{Direction as Flow, MediaKind, Mid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Input, Output, Rtc, RtcConfig};
use tokio::sync::{mpsc, oneshot};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

const MINUTE: Duration = Duration::from_secs(60);
/// Packets of a frame, and of the sound that goes with it, and frames from one keyframe to the next.
const PICTURE: u64 = 8;
const PACKETS: u64 = PICTURE + 1;
const KEYFRAME_EVERY: u64 = 8;
/// Frames that are counted, and those before, in which rings fill and lists grow.
const COUNTED: u64 = 150;
const WARM: u64 = 150;
/// Viewers of each shard, few and many.
const VIEWERS: [usize; 2] = [5, 20];
/// A frame begins so long after the one before, so that all plays take the same time and what goes by time is the same in
/// each.
const FRAME: Duration = Duration::from_millis(10);
/// Allocations of a play that have no name: a list may still grow for the last time.
const STRAY: f64 = 30.0;
/// What str0m's timers for a publisher may differ by from play to play.
const TIMERS: f64 = 200.0;
/// Aliases of streams on links, and between shards.
const ALIAS: u32 = 7;

/// A client as a browser would be, that says nothing by itself once it is connected.
struct Client {
    rtc: Rtc,
    socket: UdpSocket,
    server: SocketAddr,
    session: SessionId,
    /// Of picture and sound.
    mids: [Mid; 2],
    connected: bool,
}

impl Client {
    async fn join(shard: &ShardHandle, direction: Direction, room: &str, nth: u128) -> Self {
        let server = shard.candidates()[0];
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let config = RtcConfig::new().set_crypto_provider(crypto::provider()).set_rtp_mode(true);
        let mut rtc = config.clear_codecs().enable_h264(true).enable_opus(true, true).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let flow = if direction == Direction::Publish { Flow::SendOnly } else { Flow::RecvOnly };
        let mut api = rtc.sdp_api();
        let mids =
            [MediaKind::Video, MediaKind::Audio].map(|kind| api.add_media(kind, flow, None, None, None));
        let (offer, pending) = api.apply().unwrap();
        let session = SessionId::from_bits(nth);
        let ask = Ask {
            session,
            direction,
            room: room.parse().unwrap(),
            pinned: None,
            identity: "me".parse().unwrap(),
            whose: Default::default(),
            client: None,
            offer: offer.to_sdp_string(),
        };
        let (reply, answer) = oneshot::channel();
        shard.order(Order::Create(ask, reply)).await;
        let (answer, _) = answer.await.unwrap().unwrap();
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
        let mut client = Self { rtc, socket, server, session, mids, connected: false };
        let begin = Instant::now();
        while !client.connected {
            assert!(begin.elapsed() < MINUTE, "it does not connect");
            client.pass();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        client
    }

    /// Takes what came and sends what there is to send.
    fn pass(&mut self) {
        let mut buffer = [0; 2_048];
        let destination = self.socket.local_addr().unwrap();
        while let Ok(len) = self.socket.recv(&mut buffer) {
            let Ok(contents) = buffer[..len].try_into() else { continue };
            let receive = Receive { proto: Protocol::Udp, source: self.server, destination, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            self.send();
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        self.send();
    }

    /// Drops what came. How many datagrams of it were reports: RTCP, by its second byte (RFC 5761 section 4).
    fn reports(&mut self) -> usize {
        let mut buffer = [0; 2_048];
        let came =
            std::iter::from_fn(|| Some(self.socket.recv(&mut buffer).ok()? > 1 && buffer[1] & !31 == 192));
        came.filter(|is_report| *is_report).count()
    }

    fn send(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Transmit(transmit) => {
                    self.socket.send_to(&transmit.contents, self.server).unwrap();
                }
                Output::Event(str0m::Event::Connected) => self.connected = true,
                Output::Event(_) => {}
            }
        }
        // This thread's clients must not be taken for a shard's.
        let _ = crypto::take_keys();
    }
}

/// How a stream comes to the first shard.
enum Source {
    Socket(Box<Client>),
    Link(Arrivals),
}

impl Source {
    /// One frame and its sound.
    fn frame(&mut self, nth: u64) {
        let keyframe = nth.is_multiple_of(KEYFRAME_EVERY);
        for n in 0..PICTURE {
            let first = keyframe && n == 0;
            let payload = vec![if first { 0x65 } else { 0x41 }; 200];
            let last = n + 1 == PICTURE;
            self.packet(0, 1_000 + nth * PICTURE + n, nth as u32 * 3_000, (last, first), nth, payload);
        }
        self.packet(1, 1_000 + nth, nth as u32 * 1_600, (false, false), nth, vec![0x78; 80]);
    }

    /// One packet of picture or sound: the last of its frame or not, the first of a keyframe or not.
    fn packet(
        &mut self,
        track: u8,
        index: u64,
        timestamp: u32,
        (marker, keyframe): (bool, bool),
        nth: u64,
        payload: Vec<u8>,
    ) {
        match self {
            Self::Socket(client) => {
                let mid = client.mids[usize::from(track)];
                let pt = client.rtc.media(mid).unwrap().remote_pts()[0];
                let mut api = client.rtc.direct_api();
                let stream = api.stream_tx_by_mid(mid, None).unwrap();
                let write = RtpWrite::new(pt, index.into(), timestamp, Instant::now(), payload);
                stream.write_rtp(write.marker(marker));
                client.pass();
            }
            Self::Link(door) => {
                let header = MediaHeader {
                    alias: ALIAS,
                    track,
                    layer: 0,
                    index,
                    timestamp,
                    marker,
                    keyframe,
                    codec: 0,
                    capture: 1_800_000_000_000_000 + nth * 33_333,
                    exts: Extensions::default(),
                };
                let (link, payload, arrived) = (LinkId(0), payload.into(), Instant::now());
                door.put(arrived, MediaIn { link, header, payload, arrived });
            }
        }
    }
}

struct Shards {
    shards: [ShardHandle; 2],
    doors: Vec<Arrivals>,
    events: mpsc::Receiver<(u16, Event)>,
    sessions: u128,
    frames: u64,
}

/// What a number of frames came to.
#[derive(Debug)]
struct Counted {
    /// Allocations of the shards' threads, without one for each report.
    allocated: f64,
    /// Reports to viewers.
    reports: usize,
    /// Packets that came, that crossed, and that went to viewers.
    came: u64,
    crossed: u64,
    went: u64,
}

impl Shards {
    async fn new() -> Self {
        let (told, events) = mpsc::channel(65_536);
        let crossings = Crossings::new(2);
        let (mut shards, mut doors) = (Vec::new(), Vec::new());
        for shard in 0..2 {
            let door = Arrivals::default();
            let parts = Parts {
                shard,
                of: 2,
                addresses: Addresses::one("127.0.0.1".parse().unwrap(), 0),
                config: Box::new(move |book| config(shard, book)),
                seed: [7; 32],
                media: door.clone(),
                events: told.clone(),
                crossings: crossings.clone(),
                max_busy: Limit::NONE,
            };
            shards.push(spawn(parts).await.unwrap());
            doors.push(door);
        }
        let shards = shards.try_into().ok().unwrap();
        Self { shards, doors, events, sessions: 0, frames: 0 }
    }

    async fn join(&mut self, shard: usize, direction: Direction, room: &str) -> Client {
        self.sessions += 1;
        Client::join(&self.shards[shard], direction, room, self.sessions).await
    }

    /// Packets that came in, crossed and went out, in all.
    async fn count(&self) -> [u64; 3] {
        let [one, other] = [&self.shards[0], &self.shards[1]];
        let [one, other] = [one.count().await.unwrap().counters, other.count().await.unwrap().counters];
        [
            one.ingress_packets + other.ingress_packets,
            one.crossed_packets + other.crossed_packets,
            one.egress_packets + other.egress_packets,
        ]
    }

    /// Plays frames one by one; each waits until the one before has come to every viewer.
    async fn play(&mut self, source: &mut Source, frames: u64, audience: &mut [Client]) -> Counted {
        for viewer in &mut *audience {
            viewer.reports();
        }
        let (before, allocated) = (self.count().await, allocations::of_others());
        let viewers = audience.len();
        let (mut now, mut reports) = (before, 0);
        for nth in 1..=frames {
            source.frame(self.frames);
            self.frames += 1;
            let (came, begin) = (nth * PACKETS, Instant::now());
            // Those who have just joined begin at a keyframe, and catch up.
            while now[0] < before[0] + came || (now[2] - before[2] < came * viewers as u64 && nth > WARM / 2)
            {
                assert!(begin.elapsed() < MINUTE, "frame {nth}: {now:?} after {before:?}");
                if let Source::Socket(client) = source {
                    client.pass();
                }
                tokio::task::yield_now().await;
                now = self.count().await;
            }
            reports += audience.iter_mut().map(Client::reports).sum::<usize>();
            tokio::time::sleep(FRAME.saturating_sub(begin.elapsed())).await;
        }
        let allocated = (allocations::of_others() - allocated) as f64 - reports as f64;
        let [came, crossed, went] = std::array::from_fn(|n| now[n] - before[n]);
        Counted { allocated, reports, came, crossed, went }
    }

    /// What is allocated for each packet that comes, with nobody there, and with few and many viewers on both shards.
    async fn measure(
        &mut self,
        source: &mut Source,
        key: &StreamKey,
        tracks: Vec<TrackInfo>,
    ) -> [Counted; 3] {
        self.play(source, WARM, &mut []).await;
        let alone = self.play(source, COUNTED, &mut []).await;
        let (lanes, hop): (Vec<Lane>, _) =
            (tracks.iter().map(|track| (track.id, 0)).collect(), Hop::Shard(0));
        let started_at = UnixMillis(1);
        let incoming = Incoming { key: key.clone(), started_at, tracks, hop, alias: ALIAS };
        self.shards[1].tell(Tell::Up(incoming)).await;
        for lane in lanes {
            let (key, hop) = (key.clone(), Hop::Shard(1));
            self.shards[0].tell(Tell::Forward { key, lane, hop, alias: ALIAS, from: None }).await;
        }
        let (room, mut audience) = (key.room.as_str(), Vec::new());
        let mut watched = Vec::new();
        for viewers in VIEWERS {
            while audience.len() < 2 * viewers {
                audience.push(self.join(audience.len() % 2, Direction::View, room).await);
            }
            self.warm(source).await;
            watched.push(self.play(source, COUNTED, &mut audience).await);
        }
        let [few, many] = watched.try_into().unwrap();
        [alone, few, many]
    }

    /// Until all viewers are sent every packet, and all lists are as long as they get.
    async fn warm(&mut self, source: &mut Source) {
        for _ in 0..WARM {
            source.frame(self.frames);
            self.frames += 1;
            if let Source::Socket(client) = source {
                client.pass();
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // What the pacer held has gone.
        let mut last = self.count().await;
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            let now = self.count().await;
            if now == last {
                return;
            }
            last = now;
        }
    }
}

fn config(shard: u16, book: Book) -> Config {
    Config {
        shard,
        common: Common {
            cert: crypto::certificate().unwrap(),
            provider: crypto::provider(),
            take_keys: crypto::take_keys,
            opened: opened::opened,
            book,
        },
        silence: MINUTE * 10,
        opening: MINUTE,
        half_open: usize::MAX,
        places: usize::MAX,
        batch: Duration::from_millis(5),
        viewer_cap: None,
        ring: RingConfig::new(Duration::from_secs(2), 256 << 10),
        fresh_keyframe: Duration::from_secs(1),
        spares: 4,
        report_skew: Skew::default(),
        wall: Wall::new(Instant::now(), Duration::from_secs(1_800_000_000)),
    }
}

fn key(room: &str) -> StreamKey {
    let (room, stream) = (room.parse().unwrap(), "main".parse().unwrap());
    StreamKey { room, stream, generation: Generation(1) }
}

fn tracks() -> Vec<TrackInfo> {
    let fmtp = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".to_owned();
    let h264 = CodecInfo { name: "H264".into(), clock_rate: 90_000, channels: 1, fmtp };
    let opus = CodecInfo { name: "opus".into(), clock_rate: 48_000, channels: 2, fmtp: String::new() };
    let track = |id, kind, codec| TrackInfo { id, kind, codecs: vec![codec], layers: vec![] };
    vec![track(0, Kind::Video, h264), track(1, Kind::Audio, opus)]
}

async fn by_link() -> [Counted; 3] {
    let mut shards = Shards::new().await;
    let key = key("by-link");
    let (hop, alias) = (Hop::Link(Link(0)), ALIAS);
    let up = Incoming { key: key.clone(), started_at: UnixMillis(1), tracks: tracks(), hop, alias };
    shards.shards[0].tell(Tell::Up(up)).await;
    let mut link = Source::Link(shards.doors[0].clone());
    shards.measure(&mut link, &key, tracks()).await
}

async fn by_socket() -> [Counted; 3] {
    let mut shards = Shards::new().await;
    let key = key("by-socket");
    let host = shards.join(0, Direction::Publish, "by-socket").await;
    let (session, started_at) = (host.session, UnixMillis(1));
    shards.shards[0].tell(Tell::Claimed { session, key: key.clone(), started_at }).await;
    let live = tokio::time::timeout(MINUTE, async {
        loop {
            if let Some((_, Event::Live(_, tracks))) = shards.events.recv().await {
                return tracks;
            }
        }
    });
    let tracks = live.await.expect("its media may flow");
    let mut socket = Source::Socket(Box::new(host));
    shards.measure(&mut socket, &key, tracks).await
}

#[tokio::test]
async fn a_turn_allocates_nothing_for_a_packet_that_goes_to_viewers_and_another_shard() {
    let linked = by_link().await;
    println!("by link: {linked:?}");
    let published = by_socket().await;
    println!("by socket: {published:?}");

    let packets = COUNTED * PACKETS;
    for [alone, few, many] in [&linked, &published] {
        assert_eq!((alone.came, alone.crossed, alone.went), (packets, 0, 0));
        for (watched, viewers) in [few, many].into_iter().zip(VIEWERS) {
            assert_eq!((watched.came, watched.crossed), (packets, packets), "each crosses once");
            assert_eq!(watched.went, packets * 2 * viewers as u64);
            assert!(watched.reports > viewers, "{} reports are seen", watched.reports);
        }
    }
    for counted in &linked {
        let more = counted.allocated - packets as f64;
        assert!(more.abs() < STRAY, "{more} allocations beyond a shared value for each packet: {linked:?}");
    }
    // One is the shared value, one or two are str0m's for the packet; the others are its timers'.
    let [alone, few, many] = &published;
    assert!((2.0..4.0).contains(&(alone.allocated / packets as f64)), "{published:?}");
    for (more, fewer) in [(few, alone), (many, few)] {
        let more = more.allocated - fewer.allocated;
        assert!(more < TIMERS, "{more} allocations more for a larger audience: {published:?}");
    }
    for ([_, few, many], most) in [(&linked, 0.001), (&published, 0.005)] {
        let each = (many.allocated - few.allocated) / (many.went - few.went) as f64;
        assert!(each < most, "{each:.4} allocations for each packet and viewer: {few:?}, {many:?}");
    }
}
