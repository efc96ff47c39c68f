//! A client of a shard, with str0m as its stack.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use freshet_cluster::SessionId;
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, MediaKind, Mid, Pt, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::rtcp::Rtcp;
use str0m::rtp::{RawPacket, RtpPacket, Ssrc};
use str0m::{Event, Input, Output, Rtc, RtcConfig};

use crate::forward::srtp::{Profile, SrtpSender};
use crate::peer::crypto;
use crate::peer::keys::Keys;

pub const SERVER: &str = "127.0.0.1:5000";

pub struct Client {
    pub rtc: Rtc,
    /// Where it is seen to be.
    pub addr: SocketAddr,
    /// Its own address, whatever a NAT makes of that.
    home: SocketAddr,
    pub session: SessionId,
    pub mids: Vec<(MediaKind, Mid)>,
    pub got: Vec<RtpPacket>,
    pub connected: bool,
    pub connected_at: Option<Instant>,
    pub closed: bool,
    pub keyframes_asked: usize,
    /// Layers of which a keyframe has been asked for and not been sent yet.
    pub asked: Vec<Rid>,
    pub answer: String,
    /// Media packets that get lost on their way here: every n-th.
    pub lose_every: Option<usize>,
    /// What its DTLS agreed on.
    pub keys: Option<Keys>,
    /// The last RTP packets that it sent and got, as on the wire.
    pub last_sent: Vec<u8>,
    pub last_got: Vec<u8>,
    /// The last RTCP that it sent.
    pub last_report: Vec<u8>,
    /// When RTP came, and how long it was, lost or not.
    pub wire: Vec<(Instant, usize)>,
    seen: usize,
    pub dropped: usize,
    /// Since `lose_every` was set: RTP datagrams that got lost on their way here, and those that came.
    pub lost: Vec<Vec<u8>>,
    pub came: Vec<Vec<u8>>,
    /// What RTCP told, in which datagram and when; only for clients that ask str0m for it.
    pub told: Vec<(Instant, usize, Rtcp)>,
    /// Of the RTP that it sends, every n-th datagram gets lost.
    pub lose_sent_every: Option<usize>,
    pub sent_lost: usize,
    sent: usize,
    /// It answers NACKs with the very same datagrams, as clients without RTX do: all that it sent, by SSRC and sequence
    /// number.
    pub repeats: Option<HashMap<(u32, u16), Vec<u8>>>,
    /// Its own DTLS says nothing: what comes for it waits here for another's.
    pub others_dtls: Option<VecDeque<Vec<u8>>>,
    datagrams: usize,
    clock: Instant,
    pending: VecDeque<Vec<u8>>,
}

/// What clients speak.
pub fn usual(config: RtcConfig) -> RtcConfig {
    let sound = config.enable_opus(true, false);
    sound.enable_h264(true).enable_vp8(true).enable_vp9(true).enable_av1(true)
}

/// What a packet with this number carries: an IDR slice or a P slice, then bytes made of the number.
pub fn payload(kind: MediaKind, seq: u64, key: bool) -> Vec<u8> {
    let first = match (kind, key) {
        (MediaKind::Video, true) => 0x65,
        (MediaKind::Video, false) => 0x41,
        _ => 0x78,
    };
    let mut bytes = vec![first];
    bytes.extend((0..if kind == MediaKind::Video { 900_u64 } else { 80 }).map(|n| (n ^ seq) as u8));
    bytes
}

pub fn is_rtp(contents: &[u8]) -> bool {
    contents[0] & 0xc0 == 0x80 && !(192..=223).contains(&contents[1])
}

fn is_dtls(contents: &[u8]) -> bool {
    (20..=63).contains(&contents[0])
}

impl Client {
    /// A client that has its answer.
    pub fn new(
        rtc: Rtc,
        (addr, now): (SocketAddr, Instant),
        session: SessionId,
        mids: Vec<(MediaKind, Mid)>,
        answer: String,
    ) -> Self {
        Self {
            rtc,
            addr,
            home: addr,
            session,
            mids,
            got: Vec::new(),
            connected: false,
            connected_at: None,
            closed: false,
            keyframes_asked: 0,
            asked: Vec::new(),
            answer,
            lose_every: None,
            keys: None,
            last_sent: Vec::new(),
            last_got: Vec::new(),
            last_report: Vec::new(),
            wire: Vec::new(),
            seen: 0,
            dropped: 0,
            lost: Vec::new(),
            came: Vec::new(),
            told: Vec::new(),
            lose_sent_every: None,
            sent_lost: 0,
            sent: 0,
            repeats: None,
            others_dtls: None,
            datagrams: 0,
            clock: now,
            pending: VecDeque::new(),
        }
    }

    pub fn tx(&mut self, kind: MediaKind) -> (Pt, Ssrc) {
        self.tx_of(kind, if kind == MediaKind::Video { Codec::H264 } else { Codec::Opus })
    }

    pub fn tx_of(&mut self, kind: MediaKind, codec: Codec) -> (Pt, Ssrc) {
        let mid = self.mids.iter().find(|(k, _)| *k == kind).unwrap().1;
        let pt = self.rtc.media(mid).unwrap().remote_pts().iter().copied();
        let params: Vec<Pt> = pt.collect();
        let pt = self
            .rtc
            .codec_config()
            .find(|p| p.spec().codec == codec && params.contains(&p.pt()))
            .unwrap()
            .pt();
        let ssrc = self.rtc.direct_api().stream_tx_by_mid(mid, None).unwrap().ssrc();
        (pt, ssrc)
    }

    /// Whether this datagram of its own gets lost. Remembers it.
    pub fn loses_sent(&mut self, contents: &[u8]) -> bool {
        self.last_sent = contents.to_vec();
        self.sent += 1;
        if let Some(repeats) = &mut self.repeats {
            let ssrc = u32::from_be_bytes(contents[8..12].try_into().unwrap());
            repeats.insert((ssrc, u16::from_be_bytes([contents[2], contents[3]])), contents.to_vec());
        }
        let lost = self.lose_sent_every.is_some_and(|n| self.sent.is_multiple_of(n));
        self.sent_lost += usize::from(lost);
        lost
    }

    pub fn receive(&mut self, now: Instant, contents: &[u8]) {
        (self.clock, self.datagrams) = (now, self.datagrams + 1);
        if let Some(waiting) = self.others_dtls.as_mut().filter(|_| is_dtls(contents)) {
            return waiting.push_back(contents.to_vec());
        }
        if is_rtp(contents) {
            self.last_got = contents.to_vec();
            self.wire.push((now, contents.len()));
            self.seen += 1;
            if self.lose_every.is_some_and(|n| self.seen.is_multiple_of(n)) {
                self.dropped += 1;
                self.lost.push(contents.to_vec());
                return;
            }
            if self.lose_every.is_some() {
                self.came.push(contents.to_vec());
            }
        }
        let Ok(parsed) = contents.try_into() else { return };
        let receive = Receive {
            proto: Protocol::Udp,
            source: SERVER.parse().unwrap(),
            destination: self.home,
            contents: parsed,
        };
        self.rtc.handle_input(Input::Receive(now, receive)).unwrap();
        let mut out = VecDeque::new();
        self.poll(&mut out);
        self.pending.extend(out);
    }

    /// What it wants to send now.
    pub fn take(&mut self, now: Instant) -> VecDeque<Vec<u8>> {
        let mut out = VecDeque::new();
        self.rtc.handle_input(Input::Timeout(now)).unwrap();
        self.poll(&mut out);
        out
    }

    pub fn poll(&mut self, out: &mut VecDeque<Vec<u8>>) {
        out.append(&mut self.pending);
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => break,
                Output::Transmit(t) if self.others_dtls.is_some() && is_dtls(&t.contents) => {}
                Output::Transmit(t) => out.push_back(t.contents.to_vec()),
                Output::Event(Event::Connected) => {
                    (self.connected, self.connected_at) = (true, Some(self.clock));
                }
                Output::Event(Event::Closed) => self.closed = true,
                Output::Event(Event::RtpPacket(packet)) => self.got.push(packet),
                Output::Event(Event::KeyframeRequest(request)) => {
                    self.keyframes_asked += 1;
                    self.asked.extend(request.rid);
                }
                Output::Event(Event::RawPacket(raw)) => {
                    if let RawPacket::RtcpRx(rtcp) = *raw {
                        self.repeat(&rtcp, out);
                        self.told.push((self.clock, self.datagrams, rtcp));
                    }
                }
                Output::Event(_) => {}
            }
        }
        // Left by this client's DTLS on this thread; the shard must not take them for its own.
        self.keys = crypto::take_keys().or(self.keys.take());
    }

    fn repeat(&self, rtcp: &Rtcp, out: &mut VecDeque<Vec<u8>>) {
        let (Rtcp::Nack(nack), Some(repeats)) = (rtcp, &self.repeats) else { return };
        for entry in nack.reports.iter() {
            let asked = (0..=16_u16).filter(|n| *n == 0 || entry.blp & (1 << (n - 1)) != 0);
            out.extend(asked.filter_map(|n| repeats.get(&(*nack.ssrc, entry.pid.wrapping_add(n))).cloned()));
        }
    }

    /// Seals what this client might send.
    pub fn srtp(&self) -> SrtpSender {
        let keys = self.keys.as_ref().expect("its DTLS is through");
        let profile = Profile::try_from(keys.profile).unwrap();
        SrtpSender::from_keying_material(profile, &keys.material, keys.client).unwrap()
    }

    /// Asks for a keyframe as a decoder that lost its picture.
    pub fn ask_keyframe(&mut self) {
        self.ask_keyframe_by(KeyframeRequestKind::Pli);
    }

    /// The same by PLI or FIR.
    pub fn ask_keyframe_by(&mut self, kind: KeyframeRequestKind) {
        let mid = self.mids.iter().find(|(k, _)| *k == MediaKind::Video).unwrap().1;
        let mut api = self.rtc.direct_api();
        api.stream_rx_by_mid(mid, None).unwrap().request_keyframe(kind);
    }
}
