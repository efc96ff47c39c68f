//! A shard with clients around it, in a time of its own.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, SessionId};
use str0m::change::SdpAnswer;
use str0m::format::Codec;
use str0m::media::{Direction as Flow, MediaKind, Rid, Simulcast, SimulcastLayer};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Input, Rtc, RtcConfig};

use super::client::{Client, SERVER, is_rtp, payload, usual};
use crate::agent::StreamKey;
use crate::book::Book;
use crate::forward::train::{TrainLimits, Trains, Way};
use crate::peer::crypto;
use crate::service::Direction;
use crate::session::{Choice, CreateError, SessionError, Whose};
use crate::sfu::{Ask, Config, Sfu};

/// The RTCP packet type of sender reports.
const SENDER_REPORT: u8 = 200;

pub struct World {
    pub sfu: Sfu,
    pub now: Instant,
    pub clients: Vec<Client>,
    pub datagrams_of_str0m: usize,
    /// When trains went, to whom, and of how many packets.
    pub sent: Vec<(Instant, SocketAddr, usize)>,
    /// Which address of the shard clients call, and where it answers from.
    pub called: Option<IpAddr>,
    pub answered: Vec<(SocketAddr, Option<IpAddr>)>,
    /// What every other STUN message calls instead, as clients check all pairs all the time: where each was sent to, and
    /// where STUN was answered from.
    pub checks: Option<IpAddr>,
    pub checked: Vec<Option<IpAddr>>,
    pub check_answers: Vec<Option<IpAddr>>,
    /// When sender reports went, and to whom.
    pub reports: Vec<(Instant, SocketAddr)>,
    /// The first packet of each keyframe comes behind the others, which have been flushed by then.
    pub first_comes_last: bool,
    /// For whom those count who join.
    pub whose: Whose,
    /// The host that they ask from.
    pub client: Option<IpAddr>,
    trains: Trains,
    next: u128,
}

impl World {
    pub fn new() -> Self {
        Self::with(|_| {})
    }

    pub fn with(edit: impl FnOnce(&mut Config)) -> Self {
        let now = Instant::now();
        let mut config = Config::of_tests(now, Book::plain(vec![SERVER.parse().unwrap()]));
        edit(&mut config);
        Self {
            sfu: Sfu::new(config, [7; 32]),
            now,
            clients: Vec::new(),
            datagrams_of_str0m: 0,
            sent: Vec::new(),
            called: None,
            answered: Vec::new(),
            checks: None,
            checked: Vec::new(),
            check_answers: Vec::new(),
            reports: Vec::new(),
            first_comes_last: false,
            whose: Whose::default(),
            client: None,
            trains: Trains::new(TrainLimits::default()),
            next: 1,
        }
    }

    /// A client that publishes or views; returns its place.
    pub fn join(&mut self, direction: Direction, kinds: &[MediaKind]) -> usize {
        self.join_with(direction, kinds, usual)
    }

    /// A publisher of one picture in these simulcast layers.
    pub fn join_layers(&mut self, names: &[&str]) -> usize {
        let mut simulcast = Simulcast::new();
        for name in names {
            simulcast.add_send_layer(SimulcastLayer::new(name));
        }
        self.join_as(Direction::Publish, &[MediaKind::Video], usual, Some(simulcast))
    }

    /// The same with codecs of its own.
    pub fn join_with(
        &mut self,
        direction: Direction,
        kinds: &[MediaKind],
        codecs: impl FnOnce(RtcConfig) -> RtcConfig,
    ) -> usize {
        self.join_as(direction, kinds, codecs, None)
    }

    fn join_as(
        &mut self,
        direction: Direction,
        kinds: &[MediaKind],
        codecs: impl FnOnce(RtcConfig) -> RtcConfig,
        simulcast: Option<Simulcast>,
    ) -> usize {
        let (mut rtc, addr) = self.rtc(codecs);
        let flow = if direction == Direction::Publish { Flow::SendOnly } else { Flow::RecvOnly };
        let mut api = rtc.sdp_api();
        let mids =
            kinds.iter().map(|k| (*k, api.add_media(*k, flow, None, None, simulcast.clone()))).collect();
        let (offer, pending) = api.apply().unwrap();
        let (session, answer) = self.ask(direction, offer.to_sdp_string());
        rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
        self.clients.push(Client::new(rtc, (addr, self.now), session, mids, answer));
        self.clients.len() - 1
    }

    /// A client's session before any offer, and its address.
    pub fn rtc(&self, codecs: impl FnOnce(RtcConfig) -> RtcConfig) -> (Rtc, SocketAddr) {
        let addr: SocketAddr = format!("127.0.0.1:{}", 20_000 + self.clients.len()).parse().unwrap();
        let config =
            RtcConfig::new().set_crypto_provider(crypto::provider()).set_rtp_mode(true).clear_codecs();
        let mut rtc = codecs(config).build(self.now);
        rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap());
        (rtc, addr)
    }

    /// Offers; returns the session and the answer.
    pub fn ask(&mut self, direction: Direction, offer: String) -> (SessionId, String) {
        self.try_ask(direction, offer).unwrap()
    }

    /// The same where it may be refused.
    pub fn try_ask(
        &mut self,
        direction: Direction,
        offer: String,
    ) -> Result<(SessionId, String), CreateError> {
        let session = SessionId::from_bits(self.next);
        self.next += 1;
        let ask = Ask {
            session,
            direction,
            room: "room".parse().unwrap(),
            pinned: None,
            identity: "me".parse().unwrap(),
            whose: self.whose.clone(),
            client: self.client,
            offer,
        };
        let (answer, _) = self.sfu.create(self.now, ask)?;
        Ok((session, answer))
    }

    pub fn key(generation: u64) -> StreamKey {
        let (room, stream) = ("room".parse().unwrap(), "main".parse().unwrap());
        StreamKey { room, stream, generation: Generation(generation) }
    }

    /// With a publisher of these layers, connected.
    pub fn with_layers(names: &[&str]) -> Self {
        let mut world = Self::new();
        world.join_layers(names);
        world.claim(0, 1);
        world.pass(Duration::from_millis(200));
        assert!(world.clients[0].connected, "{}", world.clients[0].answer);
        world
    }

    /// A viewer picks a layer.
    pub fn pick(&mut self, viewer: usize, rid: &str) -> Result<(), SessionError> {
        let choice = Choice { rid: Some(rid.to_owned()), max_temporal: None };
        self.sfu.choose_layer(self.now, self.clients[viewer].session, None, None, choice)
    }

    /// The publisher's claim holds.
    pub fn claim(&mut self, client: usize, generation: u64) {
        let session = self.clients[client].session;
        let key = Self::key(generation);
        self.sfu.handle_claimed(self.now, session, key, UnixMillis(generation));
    }

    /// Lets everything that is on its way arrive, at one moment.
    pub fn settle(&mut self) {
        for _ in 0..200 {
            let mut moved = false;
            for at in 0..self.clients.len() {
                let mut out = VecDeque::new();
                self.clients[at].rtc.handle_input(Input::Timeout(self.now)).unwrap();
                self.clients[at].poll(&mut out);
                moved |= !out.is_empty();
                let addr = self.clients[at].addr;
                for contents in out {
                    if is_rtp(&contents) && self.clients[at].loses_sent(&contents) {
                        continue;
                    }
                    if !is_rtp(&contents) && contents[0] & 0xc0 == 0x80 {
                        self.clients[at].last_report.clone_from(&contents);
                    }
                    let other = contents[0] < 4 && self.checks.is_some() && self.checked.len() % 2 == 1;
                    let local = if other { self.checks } else { self.called };
                    if contents[0] < 4 {
                        self.checked.push(local);
                    }
                    let way = Way { peer: addr, local };
                    self.sfu.handle_datagram(self.now, way, &contents);
                }
            }
            self.sfu.handle_timeout(self.now);
            moved |= self.deliver();
            if !moved {
                return;
            }
        }
        panic!("it never settles");
    }

    fn deliver(&mut self) -> bool {
        let mut wire: Vec<(SocketAddr, Vec<u8>)> = Vec::new();
        while let Some(datagram) = self.sfu.poll_datagram() {
            self.datagrams_of_str0m += 1;
            match datagram.contents[0] {
                0..4 => self.check_answers.push(datagram.from),
                _ => self.answered.push((datagram.to, datagram.from)),
            }
            if datagram.contents[1] == SENDER_REPORT {
                self.reports.push((self.now, datagram.to));
            }
            wire.push((datagram.to, datagram.contents));
        }
        let (now, mut sent) = (self.now, std::mem::take(&mut self.sent));
        let mut answered = std::mem::take(&mut self.answered);
        let mut take = |trains: &mut Trains, wire: &mut Vec<(SocketAddr, Vec<u8>)>| {
            for train in trains.pending() {
                sent.push((now, train.dst, train.segments()));
                answered.push((train.dst, train.src));
                for packet in trains.arena()[train.range.clone()].chunks(train.segment) {
                    wire.push((train.dst, packet.to_vec()));
                }
            }
            let all = trains.pending().len();
            trains.advance(all);
        };
        let Self { sfu, trains, .. } = self;
        let mut early = Vec::new();
        sfu.flush(self.now, trains, &mut |trains| take(trains, &mut early));
        trains.end();
        wire.extend(early);
        take(trains, &mut wire);
        (self.sent, self.answered) = (sent, answered);
        let moved = !wire.is_empty();
        for (to, contents) in wire {
            if let Some(client) = self.clients.iter_mut().find(|c| c.addr == to) {
                client.receive(self.now, &contents);
            }
        }
        moved
    }

    pub fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now = (self.now + Duration::from_millis(10)).min(end);
            self.settle();
        }
    }

    /// Sends one packet that is not a keyframe, and lets it arrive.
    pub fn packet(&mut self, client: usize, kind: MediaKind, seq: u64, ts: u32, marker: bool) {
        let (now, (pt, ssrc)) = (self.now, self.clients[client].tx(kind));
        let write = RtpWrite::new(pt, seq.into(), ts, now, payload(kind, seq, false)).marker(marker);
        self.clients[client].rtc.direct_api().stream_tx(&ssrc).unwrap().write_rtp(write);
        self.settle();
    }

    /// Sends a frame of one packet of video in a codec.
    pub fn send(&mut self, client: usize, codec: Codec, seq: u64, ts: u32, payload: Vec<u8>) {
        let now = self.now;
        let client = &mut self.clients[client];
        let (pt, ssrc) = client.tx_of(MediaKind::Video, codec);
        let write = RtpWrite::new(pt, seq.into(), ts, now, payload).marker(true).nackable(true);
        client.rtc.direct_api().stream_tx(&ssrc).unwrap().write_rtp(write);
        self.settle();
    }

    /// Sends one frame of `packets` packets of the first m-line of a kind.
    pub fn frame(&mut self, client: usize, kind: MediaKind, first: u64, packets: u64, ts: u32, key: bool) {
        let now = self.now;
        let (pt, ssrc) = self.clients[client].tx(kind);
        for n in self.order(packets, key) {
            let seq = first + n;
            let payload = payload(kind, seq, key && n == 0);
            let marker = n + 1 == packets;
            let write = RtpWrite::new(pt, seq.into(), ts, now, payload).marker(marker).nackable(true);
            let client = &mut self.clients[client];
            client.rtc.direct_api().stream_tx(&ssrc).unwrap().write_rtp(write);
            if self.first_comes_last {
                self.settle();
            }
        }
        self.settle();
    }

    /// The order in which the packets of a frame come.
    fn order(&self, packets: u64, key: bool) -> Vec<u64> {
        let mut order: Vec<u64> = (0..packets).collect();
        if self.first_comes_last && key {
            order.rotate_left(1);
        }
        order
    }

    /// Sends one frame of a simulcast layer, of `packets` packets of `size` bytes: a keyframe where one was asked for.
    pub fn layer_frame(&mut self, client: usize, name: &str, first: u64, packets: u64, ts: u32, size: usize) {
        let make = |n: u64, key: bool| {
            let mut payload = vec![name.as_bytes()[0]; size];
            payload[0] = if key && n == 0 { 0x65 } else { 0x41 };
            payload
        };
        self.layer_frame_of(client, (Codec::H264, name), (first, packets), ts, make);
    }

    /// The same in a codec, of payloads by their place in the frame; returns whether it is a keyframe.
    pub fn layer_frame_of(
        &mut self,
        client: usize,
        (codec, name): (Codec, &str),
        (first, packets): (u64, u64),
        ts: u32,
        mut payload: impl FnMut(u64, bool) -> Vec<u8>,
    ) -> bool {
        let (now, at) = (self.now, client);
        let client = &mut self.clients[at];
        let (pt, _) = client.tx_of(MediaKind::Video, codec);
        let (mid, rid) = (client.mids[0].1, Rid::from(name));
        let key = client.asked.contains(&rid);
        client.asked.retain(|asked| *asked != rid);
        for n in self.order(packets, key) {
            let write = RtpWrite::new(pt, (first + n).into(), ts, now, payload(n, key));
            let write = write.marker(n + 1 == packets).nackable(true);
            let client = &mut self.clients[at];
            client.rtc.direct_api().stream_tx_by_mid(mid, Some(rid)).unwrap().write_rtp(write);
            if self.first_comes_last {
                self.settle();
            }
        }
        self.settle();
        key
    }
}
