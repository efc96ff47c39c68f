//! Publishers as they are, by real HTTP and UDP: what OBS, Safari, GStreamer, ffmpeg and Firefox offer gives a session, all
//! that they send reaches who watches, what it is is told, and what is wrong with it is said.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use freshet_test_support as support;
use serde_json::Value;
use str0m::change::SdpAnswer;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind};
use support::dev::Dev;
use support::peer::{Host, Peer, post, talk};
use support::request;

const SOON: Duration = Duration::from_secs(20);
const FRAME: Duration = Duration::from_millis(33);
const FRAMES: u32 = 45;
/// Every so many pictures comes one that needs no other.
const KEYFRAMES: u32 = 31;
/// In the RTP clock of video.
const TICKS: u32 = 3_000;

const OBS: &str = include_str!("data/offer-obs.sdp");
const SAFARI: &str = include_str!("data/offer-safari.sdp");
const GSTREAMER: &str = include_str!("data/offer-gstreamer.sdp");
const FFMPEG: &str = include_str!("data/offer-ffmpeg.sdp");
const FIREFOX: &str = include_str!("data/offer-firefox.sdp");

/// What each of them sends, and whether with B-frames.
const PUBLISHERS: [(&str, &str, Encoder, bool); 6] = [
    ("obs", OBS, Encoder::H264([0x64, 0x00, 0x28]), true),
    ("safari", SAFARI, Encoder::H264([0x64, 0x0c, 0x1f]), false),
    ("gstreamer", GSTREAMER, Encoder::H264([0x4d, 0x40, 0x1f]), true),
    ("ffmpeg", FFMPEG, Encoder::H264([0x42, 0xc0, 0x1f]), false),
    ("firefox", FIREFOX, Encoder::Vp8, false),
    ("firefox-h264", FIREFOX, Encoder::H264([0x42, 0xe0, 0x1f]), false),
];

/// Makes pictures of VP8, or of H.264 with parameter sets of this profile, these constraints and this level.
#[derive(Clone, Copy)]
enum Encoder {
    Vp8,
    H264([u8; 3]),
}

impl Encoder {
    fn codec(self) -> Codec {
        match self {
            Self::Vp8 => Codec::Vp8,
            Self::H264(_) => Codec::H264,
        }
    }

    /// What health says of it: codec and profile.
    fn told(self) -> (&'static str, Option<String>) {
        match self {
            Self::Vp8 => ("VP8", None),
            Self::H264([profile, constraints, level]) => {
                ("H264", Some(format!("{profile:02x}{constraints:02x}{level:02x}")))
            }
        }
    }

    /// The packets of the n-th picture: a keyframe has four, any other one.
    fn picture(self, nth: u32) -> Vec<Vec<u8>> {
        let keyframe = nth.is_multiple_of(KEYFRAMES);
        let packet = |start: &[u8]| [start, &noise(nth)].concat();
        match (self, keyframe) {
            // With a PictureID of 15 bits in each packet; what begins the picture says whether it is a keyframe.
            (Self::Vp8, _) => {
                let [high, low] = (0x1234 + nth as u16).to_be_bytes();
                let rest = if keyframe { 3 } else { 0 };
                let first = packet(&[0x90, 0x80, 0x80 | high, low, 0x10 | u8::from(!keyframe)]);
                let others = (0..rest).map(|part| packet(&[0x80, 0x80, 0x80 | high, low, part]));
                std::iter::once(first).chain(others).collect()
            }
            // Both parameter sets in one packet, and a slice in three fragments.
            (Self::H264(profile), true) => {
                let sps = [&[0x67_u8][..], &profile, &[0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb]].concat();
                let pps = [0x68_u8, 0xeb, 0xe3, 0xcb];
                let sets = [&[0x78, 0, sps.len() as u8][..], &sps, &[0, pps.len() as u8], &pps].concat();
                vec![sets, packet(&[0x7c, 0x85]), packet(&[0x7c, 0x05]), packet(&[0x7c, 0x45])]
            }
            (Self::H264(_), false) => vec![packet(&[0x41, 0x88])],
        }
    }
}

/// Bytes of its own for each picture.
fn noise(nth: u32) -> Vec<u8> {
    (0..900_u32).map(|n| (n ^ nth) as u8).collect()
}

/// Who watches a room, with sound and picture.
async fn watches(base: &str, room: &str) -> Peer {
    let mut peer = Peer::new(|config| config.enable_opus(true, false).enable_vp8(true).enable_h264(true));
    let mut api = peer.rtc.sdp_api();
    for kind in [MediaKind::Audio, MediaKind::Video] {
        api.add_media(kind, Direction::RecvOnly, None, None, None);
    }
    let (offer, pending) = api.apply().unwrap();
    let answer = post(&format!("{base}/whep/{room}?wait=1"), offer.to_sdp_string()).await;
    peer.rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    peer
}

async fn connect(host: &mut Host, viewer: &mut Peer) -> bool {
    let all = |peers: &[&mut Peer]| peers.iter().all(|peer| peer.connected);
    talk(&mut [&mut host.peer, viewer], SOON, all).await
}

/// In which place a picture is shown that is sent as the n-th: I P B P B.
fn reordered(nth: u32) -> u32 {
    match nth {
        0 => 0,
        n if n % 2 == 1 => n + 1,
        n => n - 1,
    }
}

async fn health(base: &str, room: &str) -> Value {
    let url = format!("{base}/v1/rooms/{room}/streams/main/health");
    request("GET", &url, None, &[], "").await.expect("an answer").json()
}

/// Codec and profile of the picture.
fn told(health: &Value) -> (Option<&str>, Option<&str>) {
    let tracks = health["tracks"].as_array().unwrap_or_else(|| panic!("{health}"));
    let video = tracks.iter().find(|track| track["kind"] == "video").unwrap();
    (video["codec"].as_str(), video["profile"].as_str())
}

fn warnings(health: &Value) -> BTreeSet<String> {
    let all = health["warnings"].as_array().unwrap_or_else(|| panic!("{health}"));
    for warning in all {
        assert!(warning["text"].as_str().unwrap().len() > 20, "in words: {warning}");
    }
    all.iter().map(|warning| warning["reason"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_obs_safari_gstreamer_ffmpeg_and_firefox_send_reaches_who_watches() {
    // Each node has room for one: host and viewer are never at the same one, and all of it crosses a link.
    let dev = Dev::start("publishers", 2 * PUBLISHERS.len(), 1).await;
    for (name, offer, encoder, bframes) in PUBLISHERS {
        let mut viewer = watches(dev.url(), name).await;
        let mut host = Host::publishes(dev.url(), name, offer, encoder.codec()).await;
        assert!(connect(&mut host, &mut viewer).await, "{name}: ICE and DTLS");
        let place = |n: u32| if bframes { reordered(n) } else { n };
        let mut sent = Vec::new();
        for n in 0..FRAMES {
            let (time, packets) = (place(n) * TICKS, encoder.picture(n));
            let last = packets.len() - 1;
            sent.extend(
                packets.iter().cloned().enumerate().map(|(part, packet)| (time, part == last, packet)),
            );
            host.shows(900_000 + time, packets);
            host.says(n);
            talk(&mut [&mut host.peer, &mut viewer], FRAME, |_| false).await;
        }
        let all = |peers: &[&mut Peer]| peers[1].got.iter().filter(|got| !got.sound).count() >= sent.len();
        talk(&mut [&mut host.peer, &mut viewer], SOON, all).await;
        let (audio, video): (Vec<_>, Vec<_>) = viewer.got.iter().partition(|got| got.sound);
        assert!(audio.len() >= FRAMES as usize - 2, "{name}: {} packets of sound", audio.len());
        assert_eq!(video.len(), sent.len(), "{name}");
        for (n, (came, (time, marker, packet))) in video.iter().zip(&sent).enumerate() {
            assert!(came.payload == *packet, "{name}: packet {n} is another");
            let shown = came.timestamp.wrapping_sub(video[0].timestamp);
            assert_eq!((shown, came.marker), (*time, *marker), "{name}: packet {n}, its time and marker");
        }
        let said = health(dev.url(), name).await;
        let (codec, profile) = encoder.told();
        assert_eq!(told(&said), (Some(codec), profile.as_deref()), "{name}: {said}");
        let expected: BTreeSet<String> = bframes.then(|| "bframes".to_owned()).into_iter().collect();
        assert_eq!(warnings(&said), expected, "{name}: {said}");
    }
    dev.stop();
}

/// OBS without a viewer, at 30 pictures a second whatever the machine does: a tenth of its packets is lost.
struct Early {
    host: Host,
    began: Instant,
    shown: u32,
    /// Of payloads.
    bytes: usize,
}

impl Early {
    async fn connects(base: &str, room: &str) -> Self {
        let mut host = Host::publishes(base, room, OBS, Codec::H264).await;
        assert!(talk(&mut [&mut host.peer], SOON, |peers| peers[0].connected).await, "ICE and DTLS");
        Self { host, began: Instant::now(), shown: 0, bytes: 0 }
    }

    async fn shows(&mut self, keyframe: bool) {
        let packets = Encoder::H264([0x64, 0x00, 0x28]).picture(u32::from(!keyframe));
        self.bytes += packets.iter().map(Vec::len).sum::<usize>();
        self.host.shows(900_000 + self.shown * TICKS, packets);
        // Nothing has this number, and no keyframe comes next.
        self.host.next += u64::from(self.shown % 9 == 4);
        self.shown += 1;
        let due = self.began + Duration::from_secs(1) * self.shown / 30;
        let time = due.saturating_duration_since(Instant::now());
        talk(&mut [&mut self.host.peer], time, |_| false).await;
    }

    /// Whether pictures, bits and losses are told as they are.
    fn is_told(&self, health: &Value) -> bool {
        let tracks = health["tracks"].as_array().unwrap_or_else(|| panic!("{health}"));
        let video = &tracks.iter().find(|track| track["kind"] == "video").unwrap()["layers"][0];
        let sent = self.bytes as f64 * 8.0 / self.began.elapsed().as_secs_f64();
        let of = |name: &str| video[name].as_f64().unwrap_or_else(|| panic!("{name}: {health}"));
        (27.0..=33.0).contains(&of("fps"))
            && (0.75 * sent..=1.25 * sent).contains(&of("bitrate_bps"))
            && (80.0..=120.0).contains(&of("loss_permille"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_hears_before_anybody_watches_that_its_keyframes_are_far_apart() {
    // 4.5 s of pictures: busy moments make no interval shorter than 4 s.
    const APART: u32 = 135;
    let dev = Dev::start("publishers-early", 1, 10).await;
    let mut early = Early::connects(dev.url(), "early").await;
    let (mut keyframes, mut warned, mut told) = (0, None, false);
    while warned.is_none() || !told {
        let keyframe = early.shown.is_multiple_of(APART);
        keyframes += u32::from(keyframe);
        early.shows(keyframe).await;
        if !early.shown.is_multiple_of(15) {
            continue;
        }
        let said = health(dev.url(), "early").await;
        told |= early.is_told(&said);
        let warnings = said["warnings"].as_array().unwrap_or_else(|| panic!("{said}"));
        warned = warnings.iter().find(|warning| warning["reason"] == "keyframe-interval").cloned();
        assert!(keyframes > 2 || warned.is_none(), "after {keyframes} keyframes: {said}");
        assert!(early.began.elapsed() < SOON, "warned: {warned:?}, figures: {told}: {said}");
    }
    let text = warned.unwrap()["text"].as_str().unwrap().to_owned();
    assert!(text.contains("set the encoder's keyframe interval to 2 s"), "{text}");
    // Shorter intervals are well.
    early.shows(true).await;
    early.shows(true).await;
    let end = Instant::now() + SOON;
    loop {
        early.shows(false).await;
        let said = health(dev.url(), "early").await;
        if !warnings(&said).contains("keyframe-interval") {
            break;
        }
        assert!(Instant::now() < end, "{said}");
    }
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_wrong_with_a_publisher_is_said_by_its_node_and_by_coordinators() {
    let dev = Dev::start("publishers-health", 1, 20).await;
    let (base, node) = (dev.url().to_owned(), dev.node_url());
    let mut viewer = watches(&base, "bad").await;
    let mut host = Host::publishes(&base, "bad", OBS, Codec::H264).await;
    assert!(connect(&mut host, &mut viewer).await, "ICE and DTLS");
    // No keyframe comes, though one is asked for; pictures are out of order, some packets are too long, some are missing,
    // and the media's clock goes two seconds ahead of the wall's.
    for n in 1..=180_u32 {
        let ahead = if n > 90 { 180_000 } else { 0 };
        let mut picture = vec![0x41, 0x88];
        picture.resize(if n % 20 == 0 { 1_300 } else { 1_000 }, n as u8);
        host.shows(900_000 + ahead + reordered(n) * TICKS, vec![picture]);
        host.next += u64::from(n % 10 == 0);
        talk(&mut [&mut host.peer, &mut viewer], FRAME, |_| false).await;
    }
    let of_late = ["bframes", "clock-jump", "keyframe-interval", "loss", "oversized-packets"];
    let wanted: BTreeSet<String> = of_late.map(str::to_owned).into();
    for (by, at) in [("node", &node), ("coordinator", &base)] {
        let said = health(at, "bad").await;
        assert_eq!(warnings(&said), wanted, "by the {by}: {said}");
        // Nothing that came has parameter sets: it is what was negotiated.
        assert_eq!(told(&said), (Some("H264"), Some("64001f")), "by the {by}: {said}");
    }
    // A picture a second is left.
    let end = Instant::now() + SOON;
    loop {
        host.shows(1_800_000, vec![vec![0x41; 100]]);
        talk(&mut [&mut host.peer, &mut viewer], Duration::from_secs(1), |_| false).await;
        let by_node = warnings(&health(&node, "bad").await);
        let by_coordinator = warnings(&health(&base, "bad").await);
        if by_node.contains("bitrate-collapse") && by_coordinator.contains("bitrate-collapse") {
            break;
        }
        assert!(Instant::now() < end, "{by_node:?}, {by_coordinator:?}");
    }
    dev.stop();
}
