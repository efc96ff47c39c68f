//! A real shard machine with clients that did real ICE and DTLS, and a real socket.
//!
//! Time is the stage's own and passes as fast as work is done. Everything that the shard does is on the clock: packets
//! in, timers, what clients say (STUN each second; reports, feedback and NACKs where they are read), sender reports,
//! sealing and sending. What clients do themselves is off it. The stream comes by a link, so that the publisher's unsealing is not in the price.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, SessionId};
use freshet_node::agent::{Lane, Link, StreamKey};
use freshet_node::book::{Addresses, Book};
use freshet_node::forward::train::{MAX_SEGMENTS, Train, TrainLimits, Trains};
use freshet_node::media::clock::{Skew, Wall};
use freshet_node::media::packet::{CaptureMicros, Extensions, Packet};
use freshet_node::media::ring::RingConfig;
use freshet_node::peer::keys::Keys;
use freshet_node::peer::negotiate::Common;
use freshet_node::peer::{crypto, opened};
use freshet_node::session::Direction;
use freshet_node::sfu::{Ask, Config, Datagram, Event, Hop, Incoming, Sfu};
use freshet_node::shard::{Arrivals, Crossings, Limit, Parts, ShardHandle, spawn};
use freshet_node::socket::{SendBatch, Socket, SocketOptions};
use freshet_relay_proto::track::{CodecInfo, MediaKind, TrackInfo};
use tokio::sync::mpsc;

use super::allocations;
use super::client::{Client, sealer};
use super::feedback::Feedback;
use super::measure::Meter;
use super::sinks::Sinks;
use super::trace::{Sample, Trace};
use crate::READER_CORE;

pub const SERVER: &str = "127.0.0.1:5000";
/// How often clients are given time.
const CLIENTS_EVERY: Duration = Duration::from_secs(1);
/// A session of which nothing is heard for so long is over.
pub const SILENCE: Duration = Duration::from_secs(15);
const WALL: Duration = Duration::from_secs(1_800_000_000);
/// Bytes of a sealed packet from which on it is video: the trace's sound has 100, its video 800 or more.
const VIDEO_FROM: usize = 500;

/// How packets leave.
struct Out {
    socket: Socket,
    batch: SendBatch,
    trains: Trains,
    sent: Sent,
}

/// What has left.
struct Sent {
    packets: usize,
    /// Packets of video by the length of the train that they rode in.
    rides: [u64; MAX_SEGMENTS + 1],
}

impl Sent {
    /// Sound is short and may close a train of video; in any other train there is no video.
    fn note(&mut self, train: &Train) {
        let packets = train.segments();
        self.packets += packets;
        if train.segment >= VIDEO_FROM {
            let last = train.range.len() - (packets - 1) * train.segment;
            self.rides[packets] += (packets - usize::from(last < VIDEO_FROM)) as u64;
        }
    }
}

impl Out {
    /// Hands all trains to the kernel; loopback always has room in the end.
    fn depart(socket: &Socket, batch: &mut SendBatch, trains: &mut Trains, counts: &mut Sent) {
        while !trains.pending().is_empty() {
            let sent = socket.try_send(batch, trains.arena(), trains.pending());
            assert_eq!(sent.refused, 0, "{sent:?}");
            trains.pending()[..sent.trains].iter().for_each(|train| counts.note(train));
            trains.advance(sent.trains);
        }
    }

    fn datagram(&mut self, datagram: &Datagram) {
        self.trains.begin(datagram.to, None);
        if self.trains.slot(datagram.contents.len()).is_none() {
            self.trains.end();
            Self::depart(&self.socket, &mut self.batch, &mut self.trains, &mut self.sent);
            self.trains.begin(datagram.to, None);
        }
        let slot = self.trains.slot(datagram.contents.len()).unwrap();
        slot.copy_from_slice(&datagram.contents);
        self.trains.commit(datagram.contents.len());
        self.trains.end();
    }
}

pub struct Stage {
    pub sfu: Sfu,
    pub now: Instant,
    start: Instant,
    rooms: usize,
    clients: Vec<Client>,
    by_address: HashMap<SocketAddr, usize>,
    clients_due: Instant,
    /// What those say whose packets are read.
    feedback: Option<Feedback>,
    /// For clients, whenever they are given time.
    mail: Vec<Datagram>,
    out: Out,
    /// Datagrams of str0m do not go to the socket: what they are compared to has none either.
    mute: bool,
    told: usize,
    played: u32,
    indices: (u64, u64),
    /// Allocations while packets were taken in, and in flushes.
    pub forward_allocations: usize,
    /// What it took to put packets into rings; it is in the price too.
    pub ingress: Meter,
    /// What it took to take in what clients say that read what they get; it is in the price too.
    pub reports: Reports,
    /// Allocations in all that is on the clock.
    pub allocated: usize,
    next: u128,
}

/// Datagrams of RTCP that were taken in.
#[derive(Default)]
pub struct Reports {
    pub count: usize,
    pub allocated: usize,
    pub cost: Meter,
}

impl Stage {
    pub async fn new(rooms: usize, batch: Duration) -> Self {
        Self::keyed(rooms, batch, crypto::take_keys).await
    }

    /// Whose viewers get keys by `take_keys`.
    pub async fn keyed(rooms: usize, batch: Duration, take_keys: fn() -> Option<Keys>) -> Self {
        Self::told(rooms, batch, |config| config.common.take_keys = take_keys).await
    }

    /// Who keeps the memory of so many viewers for the next.
    pub async fn sparing(spares: usize) -> Self {
        Self::told(1, Duration::ZERO, |config| config.spares = spares).await
    }

    async fn told(rooms: usize, batch: Duration, tell: impl FnOnce(&mut Config)) -> Self {
        let socket = Socket::bind("127.0.0.1:0".parse().unwrap(), &SocketOptions::default()).unwrap();
        socket.writable().await.unwrap();
        let now = Instant::now();
        let mut config =
            config(Book::plain(vec![SERVER.parse().unwrap()]), SILENCE, batch, Wall::new(now, WALL));
        tell(&mut config);
        let trains = Trains::new(TrainLimits::default());
        let mut stage = Self {
            sfu: Sfu::new(config, [7; 32]),
            now,
            start: now,
            rooms,
            clients: Vec::new(),
            by_address: HashMap::new(),
            clients_due: now,
            feedback: None,
            mail: Vec::new(),
            out: Out {
                socket,
                batch: SendBatch::new(),
                trains,
                sent: Sent { packets: 0, rides: [0; MAX_SEGMENTS + 1] },
            },
            mute: false,
            told: 0,
            played: 0,
            indices: (1, 1),
            forward_allocations: 0,
            ingress: Meter::default(),
            reports: Reports::default(),
            allocated: 0,
            next: 1,
        };
        for room in 0..rooms {
            stage.sfu.handle_incoming_up(now, incoming(room));
        }
        stage
    }

    /// Makes a session for a client that has offered, on the clock, and gives it the answer.
    pub fn create(&mut self, direction: Direction, room: usize, offer: String, meter: &mut Meter) -> String {
        let session = SessionId::from_bits(self.next);
        self.next += 1;
        let ask = Ask {
            session,
            direction,
            room: format!("room-{room}").parse().unwrap(),
            pinned: None,
            identity: "me".parse().unwrap(),
            whose: Default::default(),
            client: None,
            offer,
        };
        let Self { sfu, now, .. } = self;
        let before = allocations::made();
        let answer = meter.time(|| sfu.create(*now, ask)).unwrap().0;
        self.allocated += allocations::made() - before;
        answer
    }

    /// Viewers join, all at once, and connect. Returns the microseconds that answering their offers took.
    pub fn join(&mut self, addresses: &[SocketAddr], meter: &mut Meter) -> f64 {
        let before = meter.micros();
        let first = self.clients.len();
        for address in addresses {
            let at = self.clients.len();
            let (mut client, offer) = Client::new(self.now, *address, str0m::media::Direction::RecvOnly);
            let answer = self.create(Direction::View, at % self.rooms, offer, meter);
            client.accept(&answer);
            self.clients.push(client);
            self.by_address.insert(*address, at);
        }
        let answering = meter.micros() - before;
        for _ in 0..300 {
            self.now += Duration::from_millis(10);
            self.clients_due = self.now;
            while self.exchange(meter) > 0 {}
            if self.clients[first..].iter().all(|client| client.connected) {
                return answering;
            }
        }
        panic!("not all clients connect");
    }

    /// From now on clients say what they hear at the sinks that they joined with, of losses and, if `transport`, of
    /// transport-wide numbers, sealed by the keys that `agreed` makes of theirs.
    pub fn listen(&mut self, sinks: &Sinks, transport: bool, agreed: fn(Keys) -> Keys) {
        let seal = |client: &mut Client| sealer(&agreed(client.keys.take().unwrap()));
        let sealers = self.clients.iter_mut().map(seal).collect();
        self.feedback = Some(Feedback::new(self.now, sinks.heard(), sealers, transport, READER_CORE));
    }

    /// What clients say of what they heard.
    fn report(&mut self, meter: &mut Meter) {
        let Some(feedback) = &mut self.feedback else { return };
        let said = feedback.say(self.now).into_iter();
        let said: Vec<_> = said.map(|(at, contents)| (self.clients[at].address(), contents)).collect();
        // The system call that receives them, which is not in the price, would leave them in this core's cache.
        std::hint::black_box(
            said.iter().flat_map(|(_, contents)| contents).map(|b| u64::from(*b)).sum::<u64>(),
        );
        let Self { sfu, now, reports, .. } = self;
        let before = allocations::made();
        meter.time(|| {
            reports
                .cost
                .time(|| said.iter().for_each(|(from, contents)| sfu.handle_datagram(*now, *from, contents)));
        });
        let allocated = allocations::made() - before;
        reports.count += said.len();
        reports.allocated += allocated;
        self.allocated += allocated;
        self.turn(meter, &[], |_, _| {});
    }

    /// From now on nothing of str0m's goes to the socket.
    pub fn mute(&mut self) {
        self.mute = true;
    }

    /// All sessions are ended; their clients do not hear of it.
    pub fn end_all(&mut self, meter: &mut Meter) {
        let Self { sfu, now, .. } = self;
        let before = allocations::made();
        meter.time(|| {
            sfu.end_all(*now, EndReason::Closed);
            while sfu.poll_datagram().is_some() {}
            while sfu.poll_event().is_some() {}
        });
        self.allocated += allocations::made() - before;
        self.drop_clients();
    }

    /// Clients leave without a word.
    pub fn drop_clients(&mut self) {
        self.feedback = None;
        self.clients = Vec::new();
        self.by_address = HashMap::new();
        self.mail = Vec::new();
    }

    /// Mail to clients, time for clients, and what they say to the shard. Returns how many datagrams those were.
    fn exchange(&mut self, meter: &mut Meter) -> usize {
        for datagram in std::mem::take(&mut self.mail) {
            if let Some(at) = self.by_address.get(&datagram.to) {
                self.clients[*at].receive(self.now, &datagram.contents);
            }
        }
        let mut said = Vec::new();
        for client in &mut self.clients {
            let from = client.address();
            said.extend(client.pass(self.now).into_iter().map(|contents| (from, contents)));
        }
        self.clients_due = self.now + CLIENTS_EVERY;
        self.turn(meter, &said, |_, _| {});
        said.len()
    }

    /// One turn of the shard: datagrams, packets, time, then all that leaves.
    fn turn(
        &mut self,
        meter: &mut Meter,
        said: &[(SocketAddr, Vec<u8>)],
        media: impl FnOnce(&mut Sfu, Instant),
    ) {
        let Self { sfu, now, mail, out, forward_allocations, ingress, mute, allocated, .. } = self;
        let (now, all_before) = (*now, allocations::made());
        meter.time(|| {
            for (from, contents) in said {
                sfu.handle_datagram(now, *from, contents);
            }
            let before = allocations::made();
            ingress.time(|| media(sfu, now));
            *forward_allocations += allocations::made() - before;
            if sfu.poll_timeout().is_some_and(|due| due <= now) {
                sfu.handle_timeout(now);
            }
            while let Some(datagram) = sfu.poll_datagram() {
                if !*mute {
                    out.datagram(&datagram);
                }
                mail.push(datagram);
            }
            let before = allocations::made();
            let Out { socket, batch, trains, sent } = out;
            sfu.flush(now, trains, &mut |trains| Out::depart(socket, batch, trains, sent));
            trains.end();
            Out::depart(socket, batch, trains, sent);
            *forward_allocations += allocations::made() - before;
            while sfu.poll_event().is_some() {}
            sfu.drain_hop_packets();
        });
        *allocated += allocations::made() - all_before;
    }

    /// Lets time pass to `end`, with every timer on its way.
    pub fn run_until(&mut self, end: Instant, meter: &mut Meter) {
        loop {
            let timer = self.sfu.poll_timeout().unwrap_or(end);
            let reports = self.feedback.as_ref().map(|feedback| feedback.due);
            let due = if self.clients.is_empty() { timer } else { timer.min(self.clients_due) };
            let due = reports.map_or(due, |reports| reports.min(due));
            if due > end {
                break;
            }
            self.now = self.now.max(due);
            if reports.is_some_and(|reports| reports <= self.now) {
                self.report(meter);
            } else if self.clients_due <= self.now && !self.clients.is_empty() {
                self.exchange(meter);
            } else {
                self.turn(meter, &[], |_, _| {});
            }
            if due == end {
                break;
            }
        }
        self.now = end;
    }

    /// Plays the trace once in every room. After each moment the sinks catch up, off the clock.
    pub fn play(&mut self, trace: &Trace, sinks: &Sinks, meter: &mut Meter) {
        let (begin, base) = (self.now, self.played);
        for moment in &trace.moments {
            self.run_until(begin + moment.at, meter);
            let arrived = self.now;
            let capture = CaptureMicros(0).later(WALL + arrived.duration_since(self.start));
            let packets: Vec<(Lane, Arc<Packet>)> = moment
                .packets
                .iter()
                .map(|sample| {
                    let index = if sample.video { &mut self.indices.0 } else { &mut self.indices.1 };
                    *index += 1;
                    let lane: Lane = (u8::from(sample.video), 0);
                    (lane, Arc::new(packet(sample, *index, base, arrived, capture)))
                })
                .collect();
            let rooms = self.rooms;
            self.turn(meter, &[], |sfu, now| {
                for room in 0..rooms {
                    for (lane, packet) in &packets {
                        sfu.handle_hop_packet(now, Hop::Link(Link(0)), room as u32, *lane, packet.clone());
                    }
                }
            });
            self.read(sinks);
        }
        self.run_until(begin + trace.length, meter);
        self.read(sinks);
        self.played = base.wrapping_add(trace.length.as_secs() as u32 * 90_000);
    }

    fn read(&mut self, sinks: &Sinks) {
        sinks.expect(self.out.sent.packets - self.told);
        self.told = self.out.sent.packets;
    }

    /// What was sent so far does not concern the sinks that come: nobody read it yet.
    pub fn forget_sent(&mut self, sinks: &Sinks) {
        self.read(sinks);
        self.take_ride();
    }

    /// Media packets of viewers so far, and those sent again.
    pub fn media(&self) -> (u64, u64) {
        let counters = self.sfu.counters();
        (counters.egress_packets, counters.rtx_packets)
    }

    /// How long the train was that a video packet rode in, since the last call: the median over video packets, so
    /// half of them or more shared the kernel's price of a buffer with so many. 0 when there was none.
    pub fn take_ride(&mut self) -> usize {
        let rides = std::mem::replace(&mut self.out.sent.rides, [0; MAX_SEGMENTS + 1]);
        let (half, mut so_far) = (rides.iter().sum::<u64>().div_ceil(2), 0);
        let middle = rides.iter().position(|packets| {
            so_far += packets;
            so_far >= half
        });
        middle.unwrap_or(0)
    }
}

/// What a shard is told that differs from a node's defaults in nothing else.
fn config(book: Book, silence: Duration, batch: Duration, wall: Wall) -> Config {
    Config {
        shard: 0,
        common: Common {
            cert: crypto::certificate().unwrap(),
            book,
            provider: crypto::provider(),
            take_keys: crypto::take_keys,
            opened: opened::opened,
        },
        silence,
        opening: silence,
        half_open: usize::MAX,
        places: usize::MAX,
        batch,
        viewer_cap: None,
        ring: RingConfig::default(),
        fresh_keyframe: Duration::from_millis(1_000),
        spares: 256,
        report_skew: Skew::default(),
        wall,
    }
}

/// A shard as a node runs it, on the core of whom calls, and what it has to say.
pub async fn shard(
    silence: Duration,
    batch: Duration,
    wall: Wall,
    media: Arrivals,
) -> (ShardHandle, mpsc::Receiver<(u16, Event)>) {
    let (events, told) = mpsc::channel(65_536);
    let parts = Parts {
        shard: 0,
        of: 1,
        addresses: Addresses::one("127.0.0.1".parse().unwrap(), 0),
        config: Box::new(move |book| config(book, silence, batch, wall)),
        seed: [7; 32],
        media,
        events,
        crossings: Crossings::new(1),
        max_busy: Limit::percent(90),
    };
    (spawn(parts).await.unwrap(), told)
}

/// The stream of a room.
pub fn key(room: usize) -> StreamKey {
    StreamKey {
        room: format!("room-{room}").parse().unwrap(),
        stream: "main".parse().unwrap(),
        generation: Generation(1),
    }
}

/// A room's stream as it comes by a link.
pub fn incoming(room: usize) -> Incoming {
    let codec = |name: &str, clock_rate, channels, fmtp: &str| CodecInfo {
        name: name.into(),
        clock_rate,
        channels,
        fmtp: fmtp.into(),
    };
    let track = |id, kind, codec| TrackInfo { id, kind, codecs: vec![codec], layers: vec![] };
    let h264 = "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f";
    Incoming {
        key: key(room),
        started_at: UnixMillis(1),
        tracks: vec![
            track(0, MediaKind::Audio, codec("opus", 48_000, 2, "minptime=10;useinbandfec=1")),
            track(1, MediaKind::Video, codec("H264", 90_000, 1, h264)),
        ],
        hop: Hop::Link(Link(0)),
        alias: room as u32,
    }
}

fn packet(sample: &Sample, index: u64, base: u32, arrived: Instant, capture: CaptureMicros) -> Packet {
    Packet {
        index,
        timestamp: base.wrapping_add(sample.timestamp),
        marker: sample.marker,
        keyframe: sample.keyframe,
        codec: 0,
        capture,
        arrived,
        exts: Extensions::default(),
        payload: sample.payload.clone(),
    }
}
