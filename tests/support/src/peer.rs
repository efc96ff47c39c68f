//! Clients with sockets of their own: who publishes under somebody else's offer, and paths of a length that a test chooses.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_node::peer::sdp;
use freshet_relay_proto::track::MediaKind as TrackKind;
use str0m::config::Fingerprint;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{Extension, ExtensionValues, RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};

use crate::request;

const SDP: (&str, &str) = ("content-type", "application/sdp");
/// What str0m calls Opus where it offers itself.
const OPUS: u8 = 111;

/// How long datagrams are on their way to a server and back, besides what they are in any case.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path {
    /// Each of them, in either direction.
    pub each_way: Duration,
    /// Every other one to the server, on top of that. None overtakes another.
    pub every_other: Duration,
}

/// A datagram on its way: when it is there, and the other end's address.
type OnItsWay = (Instant, Vec<u8>, SocketAddr);

/// Takes out what is there.
fn arrived(way: &mut VecDeque<OnItsWay>) -> Vec<OnItsWay> {
    let now = Instant::now();
    let count = way.iter().take_while(|(at, ..)| *at <= now).count();
    way.drain(..count).collect()
}

/// A packet that came.
pub struct Got {
    pub sound: bool,
    pub timestamp: u32,
    pub marker: bool,
    pub payload: Vec<u8>,
}

/// A datagram of media or of reports, as it is on the wire.
pub struct Seen {
    pub at: Instant,
    /// Its second byte, which tells media from reports (RFC 5761 section 4).
    kind: u8,
    pub len: usize,
}

impl Seen {
    /// None of STUN and DTLS (RFC 7983).
    fn of(datagram: &[u8]) -> Option<Self> {
        let &[first, kind, ..] = datagram else { return None };
        (first >> 6 == 2).then(|| Self { at: Instant::now(), kind, len: datagram.len() })
    }

    pub fn is_report(&self) -> bool {
        (192..=223).contains(&self.kind)
    }

    pub fn payload_type(&self) -> u8 {
        self.kind & 0x7f
    }
}

/// A client with a socket of its own.
pub struct Peer {
    pub rtc: Rtc,
    pub path: Path,
    pub connected: bool,
    pub got: Vec<Got>,
    /// What came, lost or not.
    pub wire: Vec<Seen>,
    /// Of the media that comes, every n-th packet is lost.
    pub lose_every: Option<usize>,
    /// The last packet of media that it sent, as on the wire.
    pub last_sent: Vec<u8>,
    media: usize,
    socket: UdpSocket,
    coming: VecDeque<OnItsWay>,
    leaving: VecDeque<OnItsWay>,
    left: usize,
}

impl Peer {
    pub fn new(codecs: impl FnOnce(RtcConfig) -> RtcConfig) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let provider = Arc::new(str0m_aws_lc_rs::default_provider());
        let config = RtcConfig::new().set_crypto_provider(provider).set_rtp_mode(true).clear_codecs();
        let mut rtc = codecs(config).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        let (coming, leaving) = (VecDeque::new(), VecDeque::new());
        let path = Path::default();
        Self {
            rtc,
            path,
            connected: false,
            got: Vec::new(),
            wire: Vec::new(),
            lose_every: None,
            last_sent: Vec::new(),
            media: 0,
            socket,
            coming,
            leaving,
            left: 0,
        }
    }

    /// Takes what came, and sends what there is to send.
    pub fn pass(&mut self) {
        let (mut buffer, destination) = ([0; 2_048], self.socket.local_addr().unwrap());
        while let Ok((len, source)) = self.socket.recv_from(&mut buffer) {
            let at = Instant::now() + self.path.each_way;
            self.coming.push_back((at, buffer[..len].to_vec(), source));
        }
        for (_, datagram, source) in arrived(&mut self.coming) {
            if self.loses(&datagram) {
                continue;
            }
            let contents = datagram.as_slice().try_into().unwrap();
            let receive = Receive { proto: Protocol::Udp, source, destination, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            self.poll();
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        self.poll();
        for (_, datagram, to) in arrived(&mut self.leaving) {
            self.socket.send_to(&datagram, to).unwrap();
        }
    }

    /// Remembers a datagram that came. Whether it gets lost.
    fn loses(&mut self, datagram: &[u8]) -> bool {
        let Some(seen) = Seen::of(datagram) else { return false };
        let is_media = !seen.is_report();
        self.media += usize::from(is_media);
        self.wire.push(seen);
        is_media && self.lose_every.is_some_and(|n| self.media.is_multiple_of(n))
    }

    fn poll(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => {
                    let late = if self.left % 2 == 1 { self.path.every_other } else { Duration::ZERO };
                    self.left += 1;
                    let at = Instant::now() + self.path.each_way + late;
                    let datagram = transmit.contents.to_vec();
                    if Seen::of(&datagram).is_some_and(|seen| !seen.is_report()) {
                        self.last_sent.clone_from(&datagram);
                    }
                    self.leaving.push_back((at, datagram, transmit.destination));
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(packet)) => {
                    self.got.push(Got {
                        sound: *packet.header.payload_type == OPUS,
                        timestamp: packet.header.timestamp,
                        marker: packet.header.marker,
                        payload: packet.payload.to_vec(),
                    });
                }
                Output::Event(_) => {}
            }
        }
    }
}

/// Lets them talk to the server for so long, or until it is as it should be.
pub async fn talk(
    peers: &mut [&mut Peer],
    time: Duration,
    mut done: impl FnMut(&[&mut Peer]) -> bool,
) -> bool {
    let end = Instant::now() + time;
    loop {
        peers.iter_mut().for_each(|peer| peer.pass());
        if done(peers) {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The answer to an offer.
pub async fn post(url: &str, offer: String) -> String {
    let made = request("POST", url, None, &[SDP], offer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&made.body).into_owned();
    assert_eq!(made.status, 201, "{answer}");
    answer
}

/// A publisher with somebody else's offer, under its own keys and address.
pub struct Host {
    pub peer: Peer,
    /// The number of its next packet of picture.
    pub next: u64,
    /// What its pictures say in header extensions, of those that are negotiated.
    pub exts: ExtensionValues,
    picture: (Pt, Ssrc),
    sound: (Pt, Ssrc),
}

impl Host {
    /// Its packets will have the header extensions that are offered.
    pub async fn publishes(base: &str, room: &str, offer: &str, codec: Codec) -> Self {
        let offer = offer.replace('\n', "\r\n");
        let read = sdp::read(&offer).unwrap();
        let of = |kind| read.media.iter().find(|media| media.kind == Some(kind)).unwrap();
        let (video, audio) = (of(TrackKind::Video), of(TrackKind::Audio));
        let called = |media: &sdp::Media, name: &str| {
            media.codecs.iter().find(|c| c.name.eq_ignore_ascii_case(name)).unwrap().clone()
        };
        let (pictures, opus) = (called(video, &format!("{codec:?}")), called(audio, "opus"));
        let mut peer = Peer::new(|mut config| {
            let mode = pictures.param("packetization-mode").map(|mode| mode.parse().unwrap());
            let params = FormatParams { packetization_mode: mode, ..FormatParams::default() };
            let (rate, rtx) = (Frequency::NINETY_KHZ, pictures.rtx.map(Pt::from));
            config.codec_config().add_config(pictures.pt.into(), rtx, codec, rate, None, params);
            let (rate, params) = (Frequency::FORTY_EIGHT_KHZ, FormatParams::default());
            config.codec_config().add_config(opus.pt.into(), None, Codec::Opus, rate, Some(2), params);
            config = config.clear_extension_map();
            for (id, uri) in video.extensions.iter().chain(&audio.extensions) {
                for known in [
                    Extension::RtpMid,
                    Extension::AbsoluteSendTime,
                    Extension::TransportSequenceNumber,
                    Extension::VideoOrientation,
                    Extension::PlayoutDelay,
                ] {
                    if known.as_uri() == uri {
                        config = config.set_extension(*id, known);
                    }
                }
            }
            config
        });
        let creds = peer.rtc.direct_api().local_ice_credentials();
        let fingerprint = peer.rtc.direct_api().local_dtls_fingerprint().to_string();
        let theirs = sdp::with_credentials(&offer, &creds.ufrag, &creds.pass);
        let theirs = theirs.lines().map(|line| {
            let own = line.starts_with("a=fingerprint:").then(|| format!("a=fingerprint:{fingerprint}"));
            format!("{}\r\n", own.as_deref().unwrap_or(line))
        });
        let answer = post(&format!("{base}/whip/{room}"), theirs.collect()).await;

        let ours = sdp::read(&answer).unwrap();
        let field = |name: &str| answer.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let remote: Fingerprint = field("a=fingerprint:").parse().unwrap();
        let words: Vec<&str> = field("a=candidate:").split(' ').collect();
        let server: SocketAddr = format!("{}:{}", words[4], words[5]).parse().unwrap();
        let mut api = peer.rtc.direct_api();
        api.set_ice_controlling(true);
        api.set_remote_ice_credentials(IceCreds { ufrag: ours.ufrag.unwrap(), pass: ours.pwd.unwrap() });
        api.set_remote_fingerprint(remote);
        // ffmpeg waits for the server's DTLS.
        api.start_dtls(field("a=setup:") == "passive").unwrap();
        let mut stream = |media: &sdp::Media, kind, ssrc: u32, rtx: bool| {
            let mid: Mid = media.mid.as_deref().unwrap().into();
            let ssrc = Ssrc::from(media.ssrc.unwrap_or(ssrc));
            let rtx = rtx.then(|| Ssrc::from(media.rtx_ssrc.unwrap_or(*ssrc + 100)));
            api.declare_media(mid, kind);
            api.declare_stream_tx(ssrc, rtx, mid, None);
            ssrc
        };
        let picture = stream(video, MediaKind::Video, 7_000, pictures.rtx.is_some());
        let sound = stream(audio, MediaKind::Audio, 6_000, false);
        peer.rtc.add_remote_candidate(Candidate::host(server, "udp").unwrap());
        Self {
            peer,
            next: 100,
            exts: ExtensionValues::default(),
            picture: (pictures.pt.into(), picture),
            sound: (opus.pt.into(), sound),
        }
    }

    /// A picture in these packets, of which the last has the marker.
    pub fn shows(&mut self, timestamp: u32, packets: Vec<Vec<u8>>) {
        let ((pt, ssrc), last) = (self.picture, packets.len() - 1);
        let mut api = self.peer.rtc.direct_api();
        let stream = api.stream_tx(&ssrc).unwrap();
        for (nth, payload) in packets.into_iter().enumerate() {
            let write = RtpWrite::new(pt, self.next.into(), timestamp, Instant::now(), payload);
            let write = write.marker(nth == last).nackable(true);
            stream.write_rtp(write.ext_vals(self.exts.clone()));
            self.next += 1;
        }
    }

    pub fn says(&mut self, nth: u32) {
        self.sounds(u64::from(nth + 100), nth * 1_600, false, vec![0x78; 80]);
    }

    /// A packet of sound with this number and time.
    pub fn sounds(&mut self, number: u64, timestamp: u32, marker: bool, payload: Vec<u8>) {
        let (pt, ssrc) = self.sound;
        let write = RtpWrite::new(pt, number.into(), timestamp, Instant::now(), payload);
        self.peer.rtc.direct_api().stream_tx(&ssrc).unwrap().write_rtp(write.marker(marker));
    }
}
