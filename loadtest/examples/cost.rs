//! What a viewer costs this side, in CPU for each packet that it receives:
//! `cargo run --release --package freshet-loadtest --example cost`.
//!
//! A naive one, str0m in a loop around a socket; one of the harness that decrypts every packet; one that counts media by
//! its headers. Each kind has a thread of its own, and all of them watch one stream at the same time. Exits with 1 if the
//! last kind takes more than half of what the first takes. With `--quick` it runs shortly and judges nothing: that it runs at
//! all is a test's to see. `--viewers 200` takes so many of each kind (40).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

#[path = "../tests/fixture/mod.rs"]
mod fixture;

use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use fixture::{Fixture, Script};
use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Depth, Publisher, PublisherConfig, Viewer, ViewerConfig, call};
use freshet_loadtest::media::VideoConfig;
use str0m::change::SdpAnswer;
use str0m::media::{Direction, MediaKind};
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::net::UdpSocket;
use tokio::runtime::{Builder, Runtime};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// Viewers of each kind.
    viewers: usize,
    /// Windows, and how long each is.
    rounds: usize,
    window: Duration,
}

const WHOLE: Extent = Extent { viewers: 40, rounds: 7, window: Duration::from_secs(3) };
const QUICK: Extent = Extent { viewers: 3, rounds: 1, window: Duration::from_secs(1) };
/// For what comes at joining.
const QUIET: Duration = Duration::from_secs(2);
/// Most that a sampled packet may cost, of a naive one.
const TARGET: f64 = 0.5;

#[derive(Debug, Clone, Copy)]
enum Group {
    Naive,
    Harness(Depth),
}

impl Group {
    fn name(self) -> &'static str {
        match self {
            Self::Naive => "naive",
            Self::Harness(Depth::Whole) => "full",
            Self::Harness(Depth::Headers) => "sampled",
        }
    }
}

const GROUPS: [Group; 3] = [Group::Naive, Group::Harness(Depth::Whole), Group::Harness(Depth::Headers)];

fn main() -> ExitCode {
    let mut out = std::io::stdout();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let mut extent = if quick { QUICK } else { WHOLE };
    if let Some(at) = arguments.iter().position(|argument| argument == "--viewers") {
        let viewers =
            arguments.get(at + 1).and_then(|text| text.parse().ok()).filter(|n| (1..=500).contains(n));
        extent.viewers = viewers.expect("--viewers is followed by how many there are of each kind, 1 to 500");
    }
    let Extent { viewers, rounds, window } = extent;
    writeln!(
        out,
        "CPU a received packet, median of {rounds} windows of {window:?}, {viewers} viewers of each kind"
    )
    .unwrap();
    writeln!(out, "{:<34} {:>9} {:>9} {:>9} {:>16}", "", "naive", "full", "sampled", "sampled / naive")
        .unwrap();
    let video = VideoConfig { bitrate: Bitrate::from_kbps(240), ..VideoConfig::default() };
    let mut kept = true;
    for (name, video) in
        [("video, some 32 packets a second", Some(video)), ("Opus, 50 packets a second", None)]
    {
        let costs = row(video, extent);
        let of = |group: usize| median(costs.iter().map(|round| round[group]).collect());
        let ratio = median(costs.iter().map(|round| round[2] / round[0]).collect());
        kept &= ratio <= TARGET;
        writeln!(out, "{name:<34} {:>6.2} µs {:>6.2} µs {:>6.2} µs {ratio:>16.2}", of(0), of(1), of(2))
            .unwrap();
    }
    if quick {
        return ExitCode::SUCCESS;
    }
    let word = if kept { "kept" } else { "broken" };
    writeln!(out, "target: sampled / naive at most {TARGET}: {word}").unwrap();
    if kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Microseconds a packet of each group, window by window.
fn row(video: Option<VideoConfig>, extent: Extent) -> Vec<[f64; 3]> {
    let serving = runtime();
    let server = serving.block_on(Fixture::start(Script::default()));
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let config = PublisherConfig { video, audio: video.is_none(), ..PublisherConfig::new(whip) };
    let (send, stop) = std::sync::mpsc::channel::<()>();
    // Server and publisher run beside those who are measured.
    let (told, published) = std::sync::mpsc::channel();
    let beside = std::thread::spawn(move || {
        serving.block_on(async {
            let _publisher = Publisher::connect(config).await.unwrap();
            told.send(()).unwrap();
            while stop.try_recv().is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(server.count(|counters| &counters.forwarded) > 0);
        });
    });
    published.recv().unwrap();
    let ready = Arc::new(Barrier::new(GROUPS.len()));
    let groups = GROUPS.map(|group| {
        let (whep, ready) = (whep.clone(), Arc::clone(&ready));
        // A profiler tells threads by their names.
        let thread = std::thread::Builder::new().name(group.name().to_owned());
        thread.spawn(move || measure(group, &whep, video.is_some(), extent, &ready)).unwrap()
    });
    let [naive, full, sampled] = groups.map(|group| group.join().unwrap());
    send.send(()).unwrap();
    beside.join().unwrap();
    (0..extent.rounds).map(|round| [naive[round], full[round], sampled[round]]).collect()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn measure(group: Group, whep: &str, video: bool, extent: Extent, ready: &Barrier) -> Vec<f64> {
    let runtime = runtime();
    let (received, mut viewers) = (Arc::new(AtomicU64::new(0)), Vec::new());
    runtime.block_on(async {
        for _ in 0..extent.viewers {
            match group {
                Group::Naive => naive(whep, video, Arc::clone(&received)).await,
                Group::Harness(depth) => {
                    let config = ViewerConfig { depth, video, audio: !video, ..ViewerConfig::new(whep) };
                    viewers.push(Viewer::connect(config).await.unwrap());
                }
            }
        }
        tokio::time::sleep(QUIET).await;
    });
    ready.wait();
    let count = || {
        let tracks = viewers.iter().flat_map(|viewer| viewer.report().tracks);
        received.load(Ordering::Relaxed) + tracks.map(|track| track.received).sum::<u64>()
    };
    let mut costs = Vec::new();
    for _ in 0..extent.rounds {
        let (before, began) = (count(), cpu());
        runtime.block_on(async { tokio::time::sleep(extent.window).await });
        let used = cpu() - began;
        let packets = count() - before;
        assert!(packets > 20 * num(extent.viewers), "{group:?} received {packets} packets only");
        costs.push(used.as_secs_f64() * 1e6 / packets as f64);
    }
    costs
}

fn num(value: usize) -> u64 {
    u64::try_from(value).unwrap()
}

/// CPU time of this thread, in the kernel too.
fn cpu() -> Duration {
    let text =
        std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with scheduler statistics");
    Duration::from_nanos(text.split_ascii_whitespace().next().unwrap().parse().unwrap())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A viewer as anybody would write it who begins with str0m's examples: it counts packets and nothing else.
async fn naive(whep: &str, video: bool, received: Arc<AtomicU64>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let local = socket.local_addr().unwrap();
    let config = RtcConfig::new()
        .set_crypto_provider(Arc::new(str0m_aws_lc_rs::default_provider()))
        .set_rtp_mode(true)
        .clear_codecs()
        .enable_opus(true, false)
        .enable_h264(true);
    let mut rtc = config.build(Instant::now());
    rtc.add_local_candidate(Candidate::host(local, "udp").unwrap());
    let mut changes = rtc.sdp_api();
    let kind = if video { MediaKind::Video } else { MediaKind::Audio };
    changes.add_media(kind, Direction::RecvOnly, None, None, None);
    let (offer, pending) = changes.apply().unwrap();
    let offer = offer.to_sdp_string();
    let answer = call("POST", whep, None, Some(&offer), &ViewerConfig::new(whep)).await.unwrap();
    let answer = SdpAnswer::from_sdp_string(&answer.text()).unwrap();
    rtc.sdp_api().accept_answer(pending, answer).unwrap();
    let (told, connected) = tokio::sync::oneshot::channel();
    tokio::spawn(drive(rtc, socket, received, told));
    connected.await.unwrap();
}

async fn drive(
    mut rtc: Rtc,
    socket: UdpSocket,
    received: Arc<AtomicU64>,
    told: tokio::sync::oneshot::Sender<()>,
) {
    let (mut told, local, mut buffer) = (Some(told), socket.local_addr().unwrap(), vec![0; 2_000]);
    loop {
        let timeout = loop {
            match rtc.poll_output().unwrap() {
                Output::Timeout(timeout) => break timeout,
                Output::Transmit(packet) => {
                    let _full = socket.try_send_to(&packet.contents, packet.destination);
                }
                Output::Event(Event::Connected) => told.take().unwrap().send(()).unwrap(),
                Output::Event(Event::RtpPacket(_)) => {
                    received.fetch_add(1, Ordering::Relaxed);
                }
                Output::Event(_) => {}
            }
        };
        tokio::select! {
            read = socket.recv_from(&mut buffer) => {
                let (length, source) = read.unwrap();
                let contents = buffer[..length].try_into().unwrap();
                let receive = Receive { proto: Protocol::Udp, source, destination: local, contents };
                rtc.handle_input(Input::Receive(Instant::now(), receive)).unwrap();
            }
            () = tokio::time::sleep_until(timeout.into()) => {
                rtc.handle_input(Input::Timeout(Instant::now())).unwrap();
            }
        }
    }
}
