//! Publishers as they are, by real HTTP and UDP: what OBS, Safari, GStreamer and ffmpeg offer gives a session, all that they
//! send reaches who watches, and what is wrong with it is said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_node::peer::sdp;
use freshet_relay_proto::track::MediaKind as TrackKind;
use str0m::change::SdpAnswer;
use str0m::config::Fingerprint;
use str0m::format::{Codec, FormatParams};
use str0m::media::{Direction, Frequency, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive};
use str0m::rtp::{RtpWrite, Ssrc};
use str0m::{Candidate, Event, IceCreds, Input, Output, Rtc, RtcConfig};
use support::dev::Dev;
use support::request;

const SOON: Duration = Duration::from_secs(20);
const FRAME: Duration = Duration::from_millis(33);
const FRAMES: u32 = 60;
const SDP: (&str, &str) = ("content-type", "application/sdp");
/// In the RTP clock of video.
const TICKS: u32 = 3_000;

const OBS: &str = include_str!("data/offer-obs.sdp");
const SAFARI: &str = include_str!("data/offer-safari.sdp");
const GSTREAMER: &str = include_str!("data/offer-gstreamer.sdp");
const FFMPEG: &str = include_str!("data/offer-ffmpeg.sdp");

/// A client with a socket of its own.
struct Peer {
    rtc: Rtc,
    socket: UdpSocket,
    connected: bool,
    /// Payloads of picture and sound, with their timestamps.
    got: Vec<(u32, Vec<u8>)>,
}

impl Peer {
    fn new(codecs: impl FnOnce(RtcConfig) -> RtcConfig) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let provider = Arc::new(str0m_aws_lc_rs::default_provider());
        let config = RtcConfig::new().set_crypto_provider(provider).set_rtp_mode(true).clear_codecs();
        let mut rtc = codecs(config).build(Instant::now());
        rtc.add_local_candidate(Candidate::host(socket.local_addr().unwrap(), "udp").unwrap());
        Self { rtc, socket, connected: false, got: Vec::new() }
    }

    /// Takes what came, and sends what there is to send.
    fn pass(&mut self) {
        let (mut buffer, destination) = ([0; 2_048], self.socket.local_addr().unwrap());
        while let Ok((len, source)) = self.socket.recv_from(&mut buffer) {
            let contents = buffer[..len].try_into().unwrap();
            let receive = Receive { proto: Protocol::Udp, source, destination, contents };
            self.rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            self.poll();
        }
        self.rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
        self.poll();
    }

    fn poll(&mut self) {
        loop {
            match self.rtc.poll_output().unwrap() {
                Output::Timeout(_) => return,
                Output::Transmit(transmit) => {
                    self.socket.send_to(&transmit.contents, transmit.destination).unwrap();
                }
                Output::Event(Event::Connected) => self.connected = true,
                Output::Event(Event::RtpPacket(packet)) => {
                    self.got.push((packet.header.timestamp, packet.payload.to_vec()));
                }
                Output::Event(_) => {}
            }
        }
    }
}

/// Lets them talk to the server for so long, or until it is as it should be.
async fn talk(peers: &mut [&mut Peer], time: Duration, mut done: impl FnMut(&[&mut Peer]) -> bool) -> bool {
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

async fn post(url: &str, offer: String) -> String {
    let made = request("POST", url, None, &[SDP], offer).await.expect("an answer");
    let answer = String::from_utf8_lossy(&made.body).into_owned();
    assert_eq!(made.status, 201, "{answer}");
    answer
}

/// Who watches a room, with sound and picture.
async fn watches(base: &str, room: &str) -> Peer {
    let mut peer = Peer::new(|config| config.enable_opus(true, false).enable_h264(true));
    let mut api = peer.rtc.sdp_api();
    for kind in [MediaKind::Audio, MediaKind::Video] {
        api.add_media(kind, Direction::RecvOnly, None, None, None);
    }
    let (offer, pending) = api.apply().unwrap();
    let answer = post(&format!("{base}/whep/{room}?wait=1"), offer.to_sdp_string()).await;
    peer.rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    peer
}

/// A publisher with somebody else's offer, under its own keys and address.
struct Host {
    peer: Peer,
    picture: (Pt, Ssrc),
    sound: (Pt, Ssrc),
    next: u64,
}

impl Host {
    async fn publishes(base: &str, room: &str, offer: &str) -> Self {
        let offer = offer.replace('\n', "\r\n");
        let read = sdp::read(&offer).unwrap();
        let of = |kind| read.media.iter().find(|media| media.kind == Some(kind)).unwrap();
        let (video, audio) = (of(TrackKind::Video), of(TrackKind::Audio));
        let called = |media: &sdp::Media, name: &str| {
            media.codecs.iter().find(|c| c.name.eq_ignore_ascii_case(name)).unwrap().clone()
        };
        let (h264, opus) = (called(video, "H264"), called(audio, "opus"));
        let mut peer = Peer::new(|mut config| {
            let mode = h264.param("packetization-mode").map(|mode| mode.parse().unwrap());
            let params = FormatParams { packetization_mode: mode, ..FormatParams::default() };
            let (rate, rtx) = (Frequency::NINETY_KHZ, h264.rtx.map(Pt::from));
            config.codec_config().add_config(h264.pt.into(), rtx, Codec::H264, rate, None, params);
            let (rate, params) = (Frequency::FORTY_EIGHT_KHZ, FormatParams::default());
            config.codec_config().add_config(opus.pt.into(), None, Codec::Opus, rate, Some(2), params);
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
        let picture = stream(video, MediaKind::Video, 7_000, h264.rtx.is_some());
        let sound = stream(audio, MediaKind::Audio, 6_000, false);
        peer.rtc.add_remote_candidate(Candidate::host(server, "udp").unwrap());
        Self { peer, picture: (h264.pt.into(), picture), sound: (opus.pt.into(), sound), next: 100 }
    }

    fn shows(&mut self, timestamp: u32, payload: Vec<u8>) {
        let (pt, ssrc) = self.picture;
        let write = RtpWrite::new(pt, self.next.into(), timestamp, Instant::now(), payload).marker(true);
        let mut api = self.peer.rtc.direct_api();
        api.stream_tx(&ssrc).unwrap().write_rtp(write.nackable(true));
        self.next += 1;
    }

    fn says(&mut self, nth: u32) {
        let (pt, ssrc) = self.sound;
        let payload = vec![0x78; 80];
        let write = RtpWrite::new(pt, u64::from(nth + 100).into(), nth * 1_600, Instant::now(), payload);
        self.peer.rtc.direct_api().stream_tx(&ssrc).unwrap().write_rtp(write.marker(false));
    }
}

async fn connect(host: &mut Host, viewer: &mut Peer) -> bool {
    let all = |peers: &[&mut Peer]| peers.iter().all(|peer| peer.connected);
    talk(&mut [&mut host.peer, viewer], SOON, all).await
}

/// A slice of an IDR picture or of another one, and bytes of its own.
fn payload(nth: u32) -> Vec<u8> {
    let mut bytes = vec![if nth == 0 { 0x65 } else { 0x41 }, 0x88];
    bytes.extend((0..900_u32).map(|n| (n ^ nth) as u8));
    bytes
}

/// In which place a picture is shown that is sent as the n-th: I P B P B.
fn reordered(nth: u32) -> u32 {
    match nth {
        0 => 0,
        n if n % 2 == 1 => n + 1,
        n => n - 1,
    }
}

async fn warnings(base: &str, room: &str) -> BTreeSet<String> {
    let url = format!("{base}/v1/rooms/{room}/streams/main/health");
    let said = request("GET", &url, None, &[], "").await.expect("an answer").json();
    let all = said["warnings"].as_array().unwrap_or_else(|| panic!("{said}"));
    for warning in all {
        assert!(warning["text"].as_str().unwrap().len() > 20, "in words: {warning}");
    }
    all.iter().map(|warning| warning["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_obs_safari_gstreamer_and_ffmpeg_send_reaches_who_watches() {
    let dev = Dev::start("publishers", 1, 20).await;
    for (name, offer, bframes) in [
        ("obs", OBS, true),
        ("safari", SAFARI, false),
        ("gstreamer", GSTREAMER, true),
        ("ffmpeg", FFMPEG, false),
    ] {
        let mut viewer = watches(dev.url(), name).await;
        let mut host = Host::publishes(dev.url(), name, offer).await;
        assert!(connect(&mut host, &mut viewer).await, "{name}: ICE and DTLS");
        let place = |n: u32| if bframes { reordered(n) } else { n };
        for n in 0..FRAMES {
            host.shows(900_000 + place(n) * TICKS, payload(n));
            host.says(n);
            talk(&mut [&mut host.peer, &mut viewer], FRAME, |_| false).await;
        }
        let all = |peers: &[&mut Peer]| {
            peers[1].got.iter().filter(|(_, p)| p.len() > 200).count() >= FRAMES as usize
        };
        talk(&mut [&mut host.peer, &mut viewer], SOON, all).await;
        let (video, audio): (Vec<_>, Vec<_>) =
            viewer.got.iter().partition(|(_, payload)| payload.len() > 200);
        assert!(audio.len() >= FRAMES as usize - 2, "{name}: {} packets of sound", audio.len());
        assert_eq!(video.len(), FRAMES as usize, "{name}");
        for (n, (timestamp, came)) in (0..FRAMES).zip(&video) {
            assert!(*came == payload(n), "{name}: packet {n} is another");
            assert_eq!(timestamp.wrapping_sub(video[0].0), place(n) * TICKS, "{name}: when {n} is shown");
        }
        let expected: BTreeSet<String> = bframes.then(|| "bframes".to_owned()).into_iter().collect();
        assert_eq!(warnings(dev.url(), name).await, expected, "{name}");
    }
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_publisher_is_said_by_its_node_and_by_coordinators() {
    let dev = Dev::start("publishers-health", 1, 20).await;
    let (base, node) = (dev.url().to_owned(), dev.node_url());
    let mut viewer = watches(&base, "bad").await;
    let mut host = Host::publishes(&base, "bad", OBS).await;
    assert!(connect(&mut host, &mut viewer).await, "ICE and DTLS");
    // No keyframe comes, though one is asked for; pictures are out of order, some packets are too long, some are missing,
    // and the media's clock goes two seconds ahead of the wall's.
    for n in 1..=180_u32 {
        let ahead = if n > 90 { 180_000 } else { 0 };
        let mut picture = payload(n);
        picture.resize(if n % 20 == 0 { 1_300 } else { 1_000 }, 0);
        host.shows(900_000 + ahead + reordered(n) * TICKS, picture);
        host.next += u64::from(n % 10 == 0);
        talk(&mut [&mut host.peer, &mut viewer], FRAME, |_| false).await;
    }
    let of_late = ["bframes", "clock-jump", "keyframe-interval", "loss", "oversized-packets"];
    let wanted: BTreeSet<String> = of_late.map(str::to_owned).into();
    assert_eq!(warnings(&node, "bad").await, wanted, "by the node");
    assert_eq!(warnings(&base, "bad").await, wanted, "by the coordinator");
    // A picture a second is left.
    let end = Instant::now() + SOON;
    loop {
        host.shows(1_800_000, vec![0x41; 100]);
        talk(&mut [&mut host.peer, &mut viewer], Duration::from_secs(1), |_| false).await;
        let (by_node, by_coordinator) = (warnings(&node, "bad").await, warnings(&base, "bad").await);
        if by_node.contains("bitrate-collapse") && by_coordinator.contains("bitrate-collapse") {
            break;
        }
        assert!(Instant::now() < end, "{by_node:?}, {by_coordinator:?}");
    }
    dev.stop();
}
