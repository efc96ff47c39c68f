//! Damaged offers from a fixed seed, thrown at a whole server: each gets an answer in time, and the server works on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
use freshet_loadtest::media::Kind;
use freshet_test_support as support;
use support::{Process, hears, request};

const SEED: u64 = 0x5eed_0f5d_90ff_e125;
/// Offers to each of WHIP and WHEP.
const OFFERS: usize = 400;

/// SplitMix64: the same damage on every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

const NUMBERS: [&str; 8] = [
    "4294967296",
    "18446744073709551616",
    "99999999999999999999999999999999",
    "-1",
    "0",
    "65536",
    "256",
    "1e308",
];

const LINES: [&str; 14] = [
    "m=audio 9 UDP/TLS/RTP/SAVPF",
    "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
    "m=video 0 RTP/AVP 96",
    "a=group:BUNDLE",
    "a=group:BUNDLE 0 0 1 1 2",
    "a=mid:",
    "a=mid:0",
    "a=simulcast:send h;m;l;~x,y",
    "a=rid:h send pt=300",
    "a=fingerprint:sha-256 zz",
    "a=ssrc-group:FID 1",
    "a=extmap:99999/both urn:x",
    "a=fmtp:97 apt=97",
    "a=candidate:1 1 udp 99999999999 ::::: 99999 typ host",
];

/// One act of damage.
fn damage(random: &mut Random, text: &mut Vec<u8>) {
    let mut lines: Vec<Vec<u8>> = text.split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    let (one, other) = (random.below(lines.len()), random.below(lines.len()));
    match random.below(13) {
        0 => drop(lines.remove(one)),
        1 => lines.insert(other, lines[one].clone()),
        2 => lines.swap(one, other),
        3 => {
            let copy = lines[one].clone();
            let times = 1 + random.below(200);
            lines.splice(one..one, std::iter::repeat_n(copy, times));
        }
        4 => lines.truncate(one),
        5 => {
            let end = random.below(lines[one].len() + 1);
            lines[one].truncate(end);
        }
        6 => flip(random, &mut lines[one]),
        7 => {
            let number = random.pick(&NUMBERS);
            lines[one] = other_number(&lines[one], number);
        }
        8 => {
            let filler = random.pick(&["a", "1", " ", ";", "%", "é"]);
            let long = filler.repeat(1 + random.below(9_000));
            lines[one].extend_from_slice(long.as_bytes());
        }
        9 => {
            let at = random.below(lines[one].len() + 1);
            lines[one].insert(at, 0);
        }
        10 => lines.insert(one, format!("{}\r", random.pick(&LINES)).into_bytes()),
        11 => lines[one] = format!("{}\r", random.pick(&LINES)).into_bytes(),
        _ => {
            // The value goes: `a=mid:` instead of `a=mid:0`.
            let end = lines[one].iter().position(|b| matches!(b, b':' | b'=')).map_or(0, |at| at + 1);
            lines[one].truncate(end);
            lines[one].push(b'\r');
        }
    }
    *text = lines.join(&b'\n');
}

fn flip(random: &mut Random, bytes: &mut [u8]) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= 1 << random.below(8);
        }
    }
}

/// The line with all its digits' runs replaced.
fn other_number(line: &[u8], number: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut inside = false;
    for byte in line {
        let digit = byte.is_ascii_digit();
        if digit && !inside {
            out.extend_from_slice(number.as_bytes());
        }
        if !digit {
            out.push(*byte);
        }
        inside = digit;
    }
    out
}

/// A whole server in one process.
async fn dev() -> (Process, String, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let [port] = freshet_cluster::testing::free_ports::<1>();
    let listen = format!("127.0.0.1:{port}");
    let args =
        ["dev", "--max-sessions", "5000", "--max-busy", "100%", "--listen", &listen].map(str::to_owned);
    let process = Process::start(dir.path(), "hostile", "dev", &args, &[]);
    let url = format!("http://{listen}");
    hears(&url, 1, None).await;
    (process, url, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_offers_are_answered_in_time_and_harm_nobody() {
    let (mut process, url, _dir) = dev().await;
    let mut random = Random(SEED);
    let mut statuses = BTreeMap::<(&str, u16), usize>::new();
    let mut slowest = Duration::ZERO;
    for n in 0..OFFERS {
        for (path, offer) in [
            ("/whip", include_str!("data/offer-publish.sdp")),
            ("/whep", include_str!("data/offer-view.sdp")),
        ] {
            let mut body = offer.replace('\n', "\r\n").into_bytes();
            for _ in 0..=random.below(3) {
                damage(&mut random, &mut body);
            }
            // Rooms of all kinds: new ones, and one that many share.
            let room = if n % 4 == 0 { "shared".to_owned() } else { format!("room-{n}") };
            let target = format!("{url}{path}/{room}?wait=1");
            let asked = Instant::now();
            let answer =
                request("POST", &target, None, &[("content-type", "application/sdp")], body.clone()).await;
            let took = asked.elapsed();
            let offer = || String::from_utf8_lossy(&body).into_owned();
            let answer = answer.unwrap_or_else(|| panic!("no answer: {}\n{}", offer(), process.tail()));
            let said = String::from_utf8_lossy(&answer.body);
            let fine = (200..300).contains(&answer.status) || (400..500).contains(&answer.status);
            assert!(fine, "{path} {n}: {} {said}\n{}\n{}", answer.status, offer(), process.tail());
            let foreign = ["PointerOffset", "Unexpected", "SDP parse", "SDP inconsistent", "remote sdp"];
            assert!(!foreign.iter().any(|word| said.contains(word)), "words of a library: {said}");
            assert!(answer.status != 400 || said.len() < 500, "who sends nonsense is told in short: {said}");
            assert!(took < Duration::from_secs(2), "{path} {n}: {took:?} for {}", offer());
            slowest = slowest.max(took);
            *statuses.entry((path, answer.status)).or_default() += 1;
        }
    }
    println!("{statuses:?}, the slowest took {slowest:?}");
    for path in ["/whip", "/whep"] {
        let with = |status| statuses.get(&(path, status)).copied().unwrap_or_default();
        assert!(with(201) > 20 && with(400) + with(422) > 20, "the damage is of all degrees: {statuses:?}");
    }

    works(&url).await;
    process.signal("-TERM");
    assert_eq!(process.wait(Duration::from_secs(8)), Some(0), "{}", process.tail());
}

/// A publish and a view, in a room of their own and in the one that was under fire.
async fn works(url: &str) {
    for room in ["afterwards", "shared"] {
        let publisher = Publisher::connect(PublisherConfig::new(format!("{url}/whip/{room}"))).await.unwrap();
        let mut config = ViewerConfig::new(format!("{url}/whep/{room}/main"));
        config.retry_for = Duration::from_secs(15);
        let viewer = Viewer::connect(config).await.unwrap();
        assert!(viewer.wait_for_media(Duration::from_secs(15)).await, "media comes in {room}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let report = viewer.close().await;
        for kind in [Kind::Video, Kind::Audio] {
            let track = report.track(kind).unwrap();
            assert!(track.received > 30, "{kind:?} in {room}: {track:?}");
            assert_eq!(track.payload_mismatch + track.unstamped, 0, "{kind:?} in {room}: {track:?}");
        }
        publisher.stop().await.unwrap();
    }
}
