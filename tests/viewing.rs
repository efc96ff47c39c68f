//! What a viewer's socket gets: no datagram that is too long, reports while nothing is sent, and sound as it was made.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use freshet_node::forward::rtp::parse;
use freshet_node::peer::sdp;
use freshet_test_support as support;
use serde_json::Value;
use str0m::change::SdpAnswer;
use str0m::format::Codec;
use str0m::media::{Direction, MediaKind, MediaTime};
use str0m::rtp::{Extension, ExtensionValues, VideoOrientation};
use support::dev::Dev;
use support::peer::{Host, Peer, Seen, talk};
use support::{eventually, request, served_by};

const SOON: Duration = Duration::from_secs(20);
const SDP: (&str, &str) = ("content-type", "application/sdp");
const BROWSER: &str = include_str!("data/offer-publish.sdp");
const OBS: &str = include_str!("data/offer-obs.sdp");

/// Time between two pictures, and the same in the RTP clock of video.
const FRAME: Duration = Duration::from_millis(20);
const TICKS: u32 = 1_800;
/// NAL units of an IDR slice and of another one.
const IDR: u8 = 0x65;
const SLICE: u8 = 0x41;

/// A picture in one packet whose payload is so long.
fn picture(unit: u8, len: usize) -> Vec<Vec<u8>> {
    let mut payload = vec![unit, 0x88];
    payload.resize(len, 7);
    vec![payload]
}

/// Who watches a room with all extensions that are forwarded, the answer, and the node that serves it.
async fn watches(base: &str, room: &str) -> (Peer, String, String) {
    let mut peer = Peer::new(|config| {
        // str0m offers the others by itself, under other ids.
        config.enable_opus(true, false).enable_h264(true).set_extension(5, Extension::PlayoutDelay)
    });
    let mut api = peer.rtc.sdp_api();
    for kind in [MediaKind::Audio, MediaKind::Video] {
        api.add_media(kind, Direction::RecvOnly, None, None, None);
    }
    let (offer, pending) = api.apply().unwrap();
    let (url, offer) = (format!("{base}/whep/{room}?wait=1"), offer.to_sdp_string());
    // Where places are scarce, a coordinator may count one twice until it hears from the node.
    let made = eventually(SOON, "a node has a place", || async {
        request("POST", &url, None, &[SDP], offer.clone()).await.filter(|made| made.status == 201)
    })
    .await;
    let answer = String::from_utf8_lossy(&made.body).into_owned();
    peer.rtc.sdp_api().accept_answer(pending, SdpAnswer::from_sdp_string(&answer).unwrap()).unwrap();
    let node = served_by(made.headers["location"].to_str().unwrap()).to_owned();
    (peer, answer, node)
}

/// Lets a host and its viewers talk to the servers.
async fn together(
    host: &mut Host,
    viewers: &mut [Peer],
    time: Duration,
    done: impl FnMut(&[&mut Peer]) -> bool,
) -> bool {
    let mut all: Vec<&mut Peer> = viewers.iter_mut().collect();
    all.push(&mut host.peer);
    talk(&mut all, time, done).await
}

fn all_connected(peers: &[&mut Peer]) -> bool {
    peers.iter().all(|peer| peer.connected)
}

async fn health(base: &str, room: &str) -> Value {
    let url = format!("{base}/v1/rooms/{room}/streams/main/health");
    request("GET", &url, None, &[], "").await.expect("an answer").json()
}

/// What is said of the only layer of a track.
fn layer<'a>(health: &'a Value, kind: &str) -> &'a Value {
    let tracks = health["tracks"].as_array().unwrap_or_else(|| panic!("{health}"));
    &tracks.iter().find(|track| track["kind"] == kind).unwrap()["layers"][0]
}

/// The longest of these.
fn longest<'a>(datagrams: impl Iterator<Item = &'a Seen>) -> usize {
    datagrams.map(|seen| seen.len).max().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_in_1200_bytes_reaches_viewers_in_1250_the_second_time_too() {
    const PICTURES: u32 = 60;
    let dev = Dev::start("viewing-long", 1, 10).await;
    // A browser's packets have all that is negotiated in their headers; those of OBS have the longest payloads.
    for (name, offer, extended) in [("browser", BROWSER, true), ("obs", OBS, false)] {
        let (viewer, answer, _) = watches(dev.url(), name).await;
        let mut viewers = [viewer];
        let answer = sdp::read(&answer).unwrap();
        let codecs = answer.media.iter().flat_map(|media| media.codecs.iter());
        let rtx: BTreeSet<u8> = codecs.filter_map(|codec| codec.rtx).collect();
        let again = |seen: &&Seen| rtx.contains(&seen.payload_type());
        let mut host = Host::publishes(dev.url(), name, offer, Codec::H264).await;
        host.exts = ExtensionValues {
            video_orientation: Some(VideoOrientation::Deg90),
            play_delay_min: Some(MediaTime::from_hundredths(10)),
            play_delay_max: Some(MediaTime::from_hundredths(40)),
            ..ExtensionValues::default()
        };
        assert!(together(&mut host, &mut viewers, SOON, all_connected).await, "{name}: ICE and DTLS");
        host.shows(0, picture(IDR, 500));
        let begins = together(&mut host, &mut viewers, SOON, |peers| !peers[0].got.is_empty()).await;
        assert!(begins, "{name}: the first picture comes");
        let header = parse(&host.peer.last_sent).unwrap().header_len;
        // A block without extensions has four bytes.
        assert_eq!(header > 16, extended, "{name}: headers of {header} bytes");

        viewers[0].wire.clear();
        viewers[0].lose_every = Some(4);
        for n in 1..=PICTURES {
            host.shows(n * TICKS, picture(SLICE, 1_200 - header));
            together(&mut host, &mut viewers, FRAME, |_| false).await;
        }
        let repeated = |peers: &[&mut Peer]| peers[0].wire.iter().filter(again).count() >= 5;
        assert!(together(&mut host, &mut viewers, SOON, repeated).await, "{name}: some are sent again");
        let came = &viewers[0].wire;
        let media = longest(came.iter().filter(|seen| !seen.is_report()));
        let repeats = longest(came.iter().filter(again));
        assert!((1_201..=1_250).contains(&media), "{name}: {media} bytes");
        assert!((1_201..=1_250).contains(&repeats), "{name}: {repeats} bytes the second time");

        // They came in 1,200 bytes and no fewer: with one more they are too long.
        let said = health(dev.url(), name).await;
        assert_eq!(layer(&said, "video")["oversized_packets"], 0, "{name}: {said}");
        host.shows((PICTURES + 1) * TICKS, picture(SLICE, 1_201 - header));
        together(&mut host, &mut viewers, FRAME, |_| false).await;
        eventually(SOON, &format!("{name}: a longer one is counted"), || async {
            (layer(&health(dev.url(), name).await, "video")["oversized_packets"] == 1).then_some(())
        })
        .await;
    }
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_of_a_quiet_host_hear_every_300_ms_that_their_node_is_there_wherever_they_are() {
    const SETTLES: Duration = Duration::from_millis(500);
    const QUIET: Duration = Duration::from_millis(6_500);
    // 300 ms, and what a busy machine adds.
    const GAP: Duration = Duration::from_millis(400);
    // Two nodes with two places each, all of them taken: one viewer is where the host is, and two come by a link.
    let dev = Dev::start("viewing-quiet", 2, 2).await;
    let mut host = Host::publishes(dev.url(), "quiet", OBS, Codec::H264).await;
    let (mut viewers, mut nodes) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (viewer, _, node) = watches(dev.url(), "quiet").await;
        viewers.push(viewer);
        nodes.push(node);
    }
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    for node in &nodes {
        *places.entry(node).or_default() += 1;
    }
    let mut places: Vec<usize> = places.into_values().collect();
    places.sort_unstable();
    assert_eq!(places, [1, 2], "{nodes:?}");
    assert!(together(&mut host, &mut viewers, SOON, all_connected).await, "ICE and DTLS");

    let (began, mut n) = (Instant::now(), 0_u32);
    // A second of media, and more until it is everywhere.
    while n < 50 || viewers.iter().any(|viewer| viewer.got.iter().all(|got| got.sound)) {
        assert!(began.elapsed() < SOON, "a viewer gets no picture");
        host.shows(n * TICKS, picture(if n.is_multiple_of(25) { IDR } else { SLICE }, 500));
        host.sounds(u64::from(n) + 100, n * 960, n == 0, vec![0x78; 80]);
        together(&mut host, &mut viewers, FRAME, |_| false).await;
        n += 1;
    }
    let from = Instant::now() + SETTLES;
    // How long nobody looked at the sockets, which is not the node's silence.
    let (mut looked, mut stalled) = (Instant::now(), Duration::ZERO);
    together(&mut host, &mut viewers, QUIET, |_| {
        stalled = stalled.max(looked.elapsed());
        looked = Instant::now();
        false
    })
    .await;
    let end = Instant::now();
    for (viewer, node) in viewers.iter().zip(&nodes) {
        let reports = viewer.wire.iter().filter(|seen| seen.is_report()).map(|seen| seen.at);
        let reports: Vec<Instant> = reports.filter(|at| (from..end).contains(at)).collect();
        // Twenty of them would be exactly 300 ms apart.
        assert!(reports.len() >= 18, "{node}: {} reports in {:?}", reports.len(), end - from);
        let times: Vec<Instant> = [from].into_iter().chain(reports).chain([end]).collect();
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(longest <= GAP + stalled, "{node}: {longest:?}, of which {stalled:?} may be our own");
    }
    dev.stop();
}

/// Sound that pauses, as Opus does with DTX (RFC 7587 section 3.1.3): when each packet is sent, in milliseconds, whether it
/// begins a talkspurt (RFC 3551 section 4.1), and its payload.
fn voice_that_pauses() -> Vec<(u32, bool, Vec<u8>)> {
    // A TOC of hybrid frames of 20 ms, as those have in which earlier ones are repeated.
    const TOC: u8 = 0x78;
    let mut sound = Vec::new();
    for begin in [0_u32, 1_500] {
        for n in 0..15_u32 {
            // Bytes of its own for each: what stands in them, copies of frames before it among it, is the decoder's.
            let at = begin + n * 20;
            let noise = (0..100_u32).map(|byte| (byte ^ (at / 20)).to_le_bytes()[0]);
            sound.push((at, n == 0, [TOC].into_iter().chain(noise).collect()));
        }
        // One packet in 400 ms, of which nothing is left but the TOC.
        sound.extend([300, 700, 1_100].map(|at| (begin + at, false, vec![TOC])));
    }
    sound
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sound_with_pauses_and_repair_in_it_reaches_viewers_as_it_is_and_is_nothing_to_warn_of() {
    let dev = Dev::start("viewing-sound", 1, 10).await;
    let offer = BROWSER.replace("useinbandfec=1", "useinbandfec=1;usedtx=1");
    let (viewer, _, _) = watches(dev.url(), "voice").await;
    let mut viewers = [viewer];
    let mut host = Host::publishes(dev.url(), "voice", &offer, Codec::H264).await;
    assert!(together(&mut host, &mut viewers, SOON, all_connected).await, "ICE and DTLS");
    let began = Instant::now();
    // In the RTP clock of Opus, which goes on as the wall's does.
    let ticks = |at: Instant| u32::try_from(at.duration_since(began).as_millis() * 48).unwrap();
    let mut number = 100_u64;
    // Once one has come, all that follow do.
    loop {
        let payload = vec![0x78, number.to_le_bytes()[0]];
        host.sounds(number, ticks(Instant::now()), number == 100, payload.clone());
        number += 1;
        let came = |peers: &[&mut Peer]| peers[0].got.last().is_some_and(|got| got.payload == payload);
        if together(&mut host, &mut viewers, Duration::from_millis(200), came).await {
            break;
        }
        assert!(began.elapsed() < SOON, "no sound comes");
    }
    viewers[0].got.clear();

    let (start, sound) = (Instant::now(), voice_that_pauses());
    for (at, marker, payload) in &sound {
        let due = start + Duration::from_millis(u64::from(*at));
        let time = due.saturating_duration_since(Instant::now());
        together(&mut host, &mut viewers, time, |_| false).await;
        host.sounds(number, ticks(start) + at * 48, *marker, payload.clone());
        number += 1;
    }
    let all = |peers: &[&mut Peer]| peers[0].got.len() >= sound.len();
    together(&mut host, &mut viewers, SOON, all).await;
    let came = &viewers[0].got;
    assert_eq!(came.len(), sound.len(), "of the packets");
    for (got, (at, marker, payload)) in came.iter().zip(&sound) {
        assert!(got.sound && got.payload == *payload, "what is sent after {at} ms is another");
        let since = got.timestamp.wrapping_sub(came[0].timestamp);
        assert_eq!((since, got.marker), (at * 48, *marker), "time and marker of what is sent after {at} ms");
    }

    let said = health(dev.url(), "voice").await;
    let told = layer(&said, "audio");
    assert!(told["packets"].as_u64().unwrap() >= u64::try_from(sound.len()).unwrap(), "{said}");
    assert_eq!(told["lost_packets"], 0, "{said}");
    let warnings = said["warnings"].as_array().unwrap_or_else(|| panic!("{said}"));
    let of_sound = |warning: &&Value| warning["text"].as_str().unwrap().starts_with("audio");
    assert_eq!(warnings.iter().find(of_sound), None, "{said}");
    dev.stop();
}
