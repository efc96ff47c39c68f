//! Media on a link whose path is long, lossy, slow or jittery.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation, clippy::print_stderr)]

#[path = "support/impair.rs"]
mod impair;
#[path = "support/nodes.rs"]
mod nodes;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_node::quic::{CongestionControl, LinkHandle, LinkInfo, RelayConfig};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use freshet_relay_proto::track::MediaKind;
use impair::{Impair, Impairment};
use nodes::{Registry, TestNode, config, linked};
use tokio::sync::Mutex;

/// Tests of this file measure time: one after the other.
static ALONE: Mutex<()> = Mutex::const_new(());

const PACKET: usize = 1_100;
const FPS: u64 = 30;
/// A keyframe each second, four times as large as other frames.
const KEYFRAME_EVERY: u64 = 30;

/// What came out at the other end.
#[derive(Debug, Default)]
struct Seen {
    video: u64,
    audio: u64,
    /// Milliseconds on the way, sorted.
    delays: Vec<f64>,
}

impl Seen {
    fn delay(&self, percent: usize) -> f64 {
        self.delays[(self.delays.len() - 1) * percent / 100]
    }
}

#[derive(Debug)]
struct Run {
    offered_video: u64,
    offered_audio: u64,
    seen: Seen,
    info: LinkInfo,
    took: Duration,
}

impl Run {
    fn offered(&self) -> u64 {
        self.offered_video + self.offered_audio
    }

    fn delivered(&self) -> u64 {
        self.seen.video + self.seen.audio
    }

    fn percent(&self) -> f64 {
        self.delivered() as f64 * 100.0 / self.offered() as f64
    }
}

fn header(alias: u32, index: u64, timestamp: u32, keyframe: bool, capture: u64) -> MediaHeader {
    MediaHeader {
        alias,
        track: 0,
        layer: 0,
        index,
        timestamp,
        marker: false,
        keyframe,
        codec: 0,
        capture,
        exts: Extensions::default(),
    }
}

/// Sends `streams` video streams that make up `mbit` together, and as many of audio, for a time.
async fn send(link: LinkHandle, origin: Instant, streams: u32, mbit: u64, time: Duration) -> (u64, u64) {
    let media = link.media();
    let per_second = mbit * 125_000 / u64::from(streams) / PACKET as u64;
    // Frames of 1, one in thirty of 4.
    let packets = per_second / (FPS + 3);
    let payload = Bytes::from(vec![7; PACKET]);
    let sound = Bytes::from(vec![9; 120]);
    let (mut video, mut audio) = (0, 0);
    let mut index = vec![0_u64; streams as usize * 2];
    let mut ticks = tokio::time::interval(Duration::from_millis(1));
    let begin = Instant::now();
    let mut done = 0_u64;
    while begin.elapsed() < time {
        ticks.tick().await;
        // Each millisecond the streams whose frame is due then send it: sources are not in step.
        let now = begin.elapsed().as_millis() as u64;
        for ms in done..now {
            for stream in 0..streams {
                let phase = u64::from(stream) * 7 % 33;
                if ms % 33 == phase {
                    let frame = ms / 33;
                    let key = frame % KEYFRAME_EVERY == u64::from(stream) % KEYFRAME_EVERY;
                    for n in 0..packets * if key { 4 } else { 1 } {
                        let stamp = origin.elapsed().as_micros() as u64;
                        let at = &mut index[stream as usize];
                        let head = header(stream, *at, frame as u32 * 3_000, key && n == 0, stamp);
                        media.try_send(MediaKind::Video, head, payload.clone());
                        *at += 1;
                        video += 1;
                    }
                }
                if ms % 20 == phase % 20 {
                    let at = &mut index[(streams + stream) as usize];
                    let stamp = origin.elapsed().as_micros() as u64;
                    let head = header(1_000 + stream, *at, ms as u32 * 48, false, stamp);
                    media.try_send(MediaKind::Audio, head, sound.clone());
                    *at += 1;
                    audio += 1;
                }
            }
        }
        done = now;
    }
    (video, audio)
}

/// Sends over a path and measures.
async fn run(
    impairment: Impairment,
    congestion: CongestionControl,
    mbit: u64,
    time: Duration,
) -> (Run, Impair) {
    let registry = Registry::default();
    let mut path = None;
    let with = |id: &str, n| RelayConfig { congestion, ..config(id, n) };
    let (a, to_b, b, _to_a) = linked(&registry, with("a", 1), with("b", 2), |addr| {
        let impair = Impair::new(addr, impairment);
        let addr = impair.addr;
        path = Some(impair);
        addr
    })
    .await;
    let path = path.unwrap();
    let origin = Instant::now();
    let TestNode { relay: b_relay, events: _events, mut media, .. } = b;
    let receiver = tokio::spawn(async move {
        let mut seen = Seen::default();
        while let Ok(Some(packet)) = tokio::time::timeout(Duration::from_millis(1_500), media.recv()).await {
            let arrived = packet.arrived.saturating_duration_since(origin);
            let sent = Duration::from_micros(packet.header.capture);
            seen.delays.push(arrived.saturating_sub(sent).as_secs_f64() * 1_000.0);
            if packet.header.alias >= 1_000 {
                assert_eq!(packet.payload.len(), 120);
                seen.audio += 1;
            } else {
                assert_eq!(packet.payload.len(), PACKET);
                seen.video += 1;
            }
        }
        seen.delays.sort_by(f64::total_cmp);
        (seen, media)
    });
    let begin = Instant::now();
    let (offered_video, offered_audio) = send(to_b, origin, 10, mbit, time).await;
    let took = begin.elapsed();
    let (seen, _media) = receiver.await.unwrap();
    let info = a.relay.links().into_iter().next().expect("the link lives");
    assert!(!b_relay.links().is_empty(), "the link lives there too");
    let run = Run { offered_video, offered_audio, seen, info, took };
    eprintln!(
        "{congestion:?} {mbit} Mbit/s over {} ms, {} ‰ loss, {} Mbit/s: offered {} delivered {} ({:.1} %), dropped {} {:?}, audio {:.1} %, delay p50 {:.0} p99 {:.0} max {:.0} ms",
        impairment.delay.as_millis() * 2,
        impairment.loss,
        impairment.rate / 1_000_000,
        run.offered(),
        run.delivered(),
        run.percent(),
        run.info.dropped,
        run.info.policy,
        run.seen.audio as f64 * 100.0 / run.offered_audio as f64,
        run.seen.delay(50),
        run.seen.delay(99),
        run.seen.delay(100),
    );
    (run, path)
}

fn path(rtt_ms: u64, loss: u32) -> Impairment {
    Impairment { delay: Duration::from_millis(rtt_ms) / 2, loss, ..Impairment::default() }
}

const TIME: Duration = Duration::from_secs(6);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_megabits_cross_sixty_milliseconds_and_five_percent_loss() {
    let _alone = ALONE.lock().await;
    let (run, path) = run(path(60, 50), CongestionControl::Delay, 20, TIME).await;
    let mbit = run.offered_video * PACKET as u64 * 8 / run.took.as_micros() as u64;
    assert!(mbit >= 17, "the source keeps its rate: {mbit} Mbit/s");
    assert!(run.percent() >= 93.0, "{} %: more than the path's own loss is missing", run.percent());
    // What was not dropped by policy, and did not arrive, was lost on the path: twice the same count.
    assert_eq!(run.offered(), run.info.packets + run.info.dropped, "every drop is counted");
    let missing = run.info.packets - run.delivered();
    let lost = path.counts.lost.load(Ordering::Relaxed);
    assert!(missing <= lost, "{missing} packets are missing, the path lost {lost} datagrams");
    let waited = run.seen.delay(99) - 30.0;
    assert!(waited <= 60.0, "99 of 100 packets waited less than {waited} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_that_is_too_slow_drops_video_by_policy_and_keeps_audio_and_delay() {
    let _alone = ALONE.lock().await;
    let shape = Impairment { rate: 12_000_000, ..path(40, 10) };
    let (run, path) = run(shape, CongestionControl::Delay, 20, TIME).await;
    assert_eq!(run.offered(), run.info.packets + run.info.dropped, "every drop is counted");
    assert!(run.info.policy.delta > 0, "it was too slow");
    assert_eq!(run.info.policy.audio, 0, "audio is kept");
    let audio = run.seen.audio * 1_000 / run.offered_audio;
    assert!(audio >= 970, "{audio} of 1000 audio packets; the path loses 10");
    // What passed, in bits, is near what the path carries.
    let mbit = run.seen.video as f64 * PACKET as f64 * 8.0 / run.took.as_secs_f64() / 1e6;
    assert!(mbit >= 12.0 * 0.70, "{mbit:.1} of 12 Mbit/s used");
    let waited = Duration::from_micros(path.counts.waited_us.load(Ordering::Relaxed));
    assert!(waited <= Duration::from_millis(250), "{waited:?} at the bottleneck");
    // On the way 20 ms; then the link's own queue, QUIC's buffer and the bottleneck.
    let delay = run.seen.delay(99);
    assert!(delay <= 300.0, "99 of 100 packets within {delay} ms");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jitter_that_reorders_costs_nothing() {
    let _alone = ALONE.lock().await;
    let shape = Impairment { jitter: Duration::from_millis(30), ..path(40, 0) };
    let (run, _path) = run(shape, CongestionControl::Delay, 10, TIME / 2).await;
    assert!(run.percent() >= 99.9, "{} %", run.percent());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_was_cut_for_two_seconds_carries_media_again() {
    let _alone = ALONE.lock().await;
    let registry = Registry::default();
    let mut road = None;
    let (_a, to_b, mut b, _to_a) = linked(&registry, config("a", 1), config("b", 2), |addr| {
        let impair = Impair::new(addr, path(20, 0));
        let addr = impair.addr;
        road = Some(impair);
        addr
    })
    .await;
    let road = road.unwrap();
    let sender = tokio::spawn(send(to_b, Instant::now(), 4, 8, Duration::from_secs(10)));
    tokio::time::sleep(Duration::from_secs(1)).await;
    road.counts.cut.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(2)).await;
    while b.media.try_recv().is_ok() {}
    road.counts.cut.store(false, Ordering::Relaxed);
    let back = Instant::now();
    // QUIC probes a silent path at intervals that double: the next probe may be as far away as the cut was long.
    let first = tokio::time::timeout(Duration::from_secs(4), b.media.recv()).await;
    assert!(first.is_ok(), "media comes again");
    eprintln!("first packet {:?} after the path was back", back.elapsed());
    // A second later all of it passes: 8 Mbit/s are about 900 packets a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    while b.media.try_recv().is_ok() {}
    tokio::time::sleep(Duration::from_secs(1)).await;
    let mut n = 0;
    while b.media.try_recv().is_ok() {
        n += 1;
    }
    assert!(n > 800, "{n} packets in a second");
    sender.await.unwrap();
}

/// Why the link has a controller of its own: the library's default carries a quarter of the same media.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_default_of_the_library_does_not_carry_the_same_media() {
    let _alone = ALONE.lock().await;
    let (cubic, _path) = run(path(60, 50), CongestionControl::QuinnCubic, 20, TIME / 2).await;
    assert!(cubic.percent() < 60.0, "Cubic carries {} % through random loss now", cubic.percent());
}
