//! Nodes of four shards on two cores: sessions spread over them, each track crosses once to each shard that wants it,
//! and every viewer has every packet in order.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::store::memory::MemoryStore;
use freshet_cluster::testing::free_ports;
use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
use freshet_loadtest::media::Kind;
use freshet_node::Node;
use freshet_test_support as support;
use support::node::config;
use support::{Process, eventually, hears, metric};

const SHARDS: u16 = 4;

/// Threads of a program, each with its name.
#[cfg(target_os = "linux")]
fn threads(program: u32) -> Vec<(rustix::process::Pid, String)> {
    let thread = |task: std::fs::DirEntry| {
        let number = task.file_name().to_str().unwrap().parse().unwrap();
        // One that has just ended has none.
        let name = std::fs::read_to_string(task.path().join("comm")).ok()?;
        Some((rustix::process::Pid::from_raw(number)?, name))
    };
    std::fs::read_dir(format!("/proc/{program}/task"))
        .unwrap()
        .filter_map(|task| thread(task.unwrap()))
        .collect()
}

/// Puts this program on two cores, with the threads and programs that it starts: however many the machine has, there are
/// more shards.
#[cfg(target_os = "linux")]
fn on_two_cores() {
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    let allowed = sched_getaffinity(None).unwrap();
    let mut two = CpuSet::new();
    (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).take(2).for_each(|core| two.set(core));
    for (thread, _) in threads(std::process::id()) {
        // One that has just ended is nowhere.
        let _ = sched_setaffinity(Some(thread), &two);
    }
}

/// A program has so many shards or more, and all of them have this test's cores and none of their own.
#[cfg(target_os = "linux")]
fn share_two_cores(program: u32, shards: u16) {
    let cores = |thread| rustix::thread::sched_getaffinity(thread).ok().map(|cores| cores.count());
    let all = threads(program).into_iter().filter(|(_, name)| name.starts_with("shard-"));
    let found: Vec<u32> = all.filter_map(|(thread, _)| cores(Some(thread))).collect();
    let here = cores(None).unwrap();
    assert!(here <= 2 && found.len() >= usize::from(shards), "{found:?} of {here}");
    assert!(found.iter().all(|cores| *cores == here), "{found:?} of {here}");
}

#[cfg(not(target_os = "linux"))]
fn on_two_cores() {}

#[cfg(not(target_os = "linux"))]
fn share_two_cores(_: u32, _: u16) {}

/// A node alone, and its URL.
async fn start(id: &str) -> (Node, String) {
    on_two_cores();
    let (store, bus) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBus::new()));
    let node = Node::start(config(id, SHARDS), store, bus).await.unwrap();
    share_two_cores(std::process::id(), SHARDS);
    let base = format!("http://{}", node.http_addr());
    (node, base)
}

async fn publish(base: &str, room: &str) -> Publisher {
    let mut config = PublisherConfig::new(format!("{base}/whip/{room}"));
    config.video.as_mut().unwrap().bitrate = Bitrate::from_kbps(600);
    Publisher::connect(config).await.expect("the publisher joins")
}

async fn join(base: &str, room: &str, count: usize) -> Vec<Viewer> {
    let mut viewers = Vec::new();
    for _ in 0..count {
        let mut config = ViewerConfig::new(format!("{base}/whep/{room}"));
        config.retry_for = Duration::from_secs(15);
        viewers.push(Viewer::connect(config).await.expect("a viewer joins"));
    }
    for viewer in &viewers {
        assert!(viewer.wait_for_media(Duration::from_secs(10)).await, "media comes");
    }
    viewers
}

/// The shard that serves a viewer: its ICE user name, which is its ETag, begins with it.
fn shard(viewer: &Viewer) -> u16 {
    let etag = viewer.negotiated().etag.as_deref().unwrap();
    u16::from_str_radix(&etag.trim_matches('"')[..3], 16).unwrap()
}

/// Every viewer has every packet since its first keyframe up to the last one that was sent, in order.
async fn all_complete(publisher: Publisher, viewers: Vec<Viewer>) {
    publisher.pause();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let sent = publisher.stats();
    for viewer in viewers {
        let report = viewer.close().await;
        for kind in [Kind::Video, Kind::Audio] {
            let track = report.track(kind).unwrap();
            assert_eq!(track.missing_after_keyframe, 0, "{kind:?}: {track:?}");
            assert_eq!(track.last_index, sent.track(kind).last_index, "{kind:?}: to the last packet");
            assert_eq!(track.lost_before_recovery, track.recovered_by_rtx, "{kind:?}: {track:?}");
            assert_eq!(track.out_of_order_after_recovery, 0, "{kind:?}: {track:?}");
            // On the wire nothing comes after what was captured later, but what was lost and sent again.
            assert!(track.late <= track.recovered_by_rtx, "{kind:?}: {track:?}");
            assert_eq!(track.payload_mismatch + track.unstamped + track.rejected, 0, "{kind:?}: {track:?}");
            assert!(track.received > 100, "{kind:?}: {track:?}");
        }
    }
    publisher.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newcomers_go_to_the_shards_with_least_to_do() {
    let (node, base) = start("placed").await;
    let publisher = publish(&base, "show").await;
    let viewers = join(&base, "show", 12).await;
    // Everybody leaves two of the shards.
    let (leaving, staying): (Vec<_>, Vec<_>) =
        viewers.into_iter().partition(|viewer| [1, 2].contains(&shard(viewer)));
    assert!(leaving.len() >= 4 && staying.len() >= 4, "{} and {}", leaving.len(), staying.len());
    for viewer in leaving {
        viewer.close().await;
    }
    // What shards send is told four times a second.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let newcomers = join(&base, "show", 4).await;
    let mut shards: Vec<u16> = newcomers.iter().map(shard).collect();
    shards.sort_unstable();
    assert_eq!(shards, [1, 1, 2, 2], "not to those who still send");
    for viewer in newcomers.into_iter().chain(staying) {
        viewer.close().await;
    }
    publisher.stop().await.unwrap();
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_track_crosses_once_to_each_shard_and_every_viewer_is_complete() {
    let (node, base) = start("shards").await;
    let publisher = publish(&base, "show").await;
    eventually(Duration::from_secs(10), "the stream is live", || async {
        let streams = metric(&base, "freshet_node_streams").await?;
        (streams >= f64::from(SHARDS)).then_some(())
    })
    .await;
    let viewers = join(&base, "show", 24).await;
    let shards: BTreeSet<u16> = viewers.iter().map(shard).collect();
    assert_eq!(shards.len(), usize::from(SHARDS), "sessions are on every shard");

    let before = counts(&base).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    let after = counts(&base).await;
    let [ingress, crossed, egress] = [0, 1, 2].map(|n| after[n] - before[n]);
    println!("{ingress} packets came in, {crossed} crossed, {egress} went out");
    assert!(ingress > 300.0, "{ingress} packets came in");
    // The publisher's shard keeps them, each of the others gets them once. The figures of the shards are up to a
    // quarter of a second apart.
    let crossings = crossed / ingress;
    assert!((2.5..3.5).contains(&crossings), "{crossings} copies between shards");
    let copies = egress / ingress;
    assert!((20.0..28.0).contains(&copies), "{copies} copies to viewers");

    all_complete(publisher, viewers).await;
    eventually(Duration::from_secs(10), "nothing is left", || async {
        let mut left = 0.0;
        for name in ["sessions", "lanes", "streams", "viewers", "reserved_sessions"] {
            left += metric(&base, &format!("freshet_node_{name}")).await?;
        }
        (left == 0.0).then_some(())
    })
    .await;
    assert_eq!(metric(&base, "freshet_node_crossings_dropped_total").await, Some(0.0));
    support::names::check(&base, "node").await;
    // Twenty-four viewers on loopback reported for seconds: in microseconds the mean would be a thousand times this.
    let told = metric(&base, "freshet_node_viewer_round_trips_total").await.unwrap();
    let mean = metric(&base, "freshet_node_viewer_round_trip_seconds_total").await.unwrap() / told;
    println!("{told} round trips of {mean} s");
    assert!(mean < 1.0, "{told} round trips of {mean} s");
    node.stop().await;
}

async fn counts(base: &str) -> [f64; 3] {
    let mut counts = [0.0; 3];
    for (count, name) in counts.iter_mut().zip(["ingress", "crossed", "egress"]) {
        *count = metric(base, &format!("freshet_node_{name}_packets_total")).await.unwrap();
    }
    counts
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn viewers_on_the_shards_of_another_node_are_complete() {
    on_two_cores();
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>();
    let base = format!("http://127.0.0.1:{port}");
    // Twelve sessions a node: the publisher's node has no room for all viewers.
    let args =
        ["dev", "--nodes", "2", "--shards", "4", "--max-sessions", "12", "--max-busy", "100%", "--listen"];
    let args: Vec<String> =
        args.into_iter().map(str::to_owned).chain([format!("127.0.0.1:{port}")]).collect();
    let mut dev = Process::start(dir.path(), "shards", "dev", &args, &[]);
    hears(&base, 2, None).await;
    share_two_cores(dev.pid().unsigned_abs(), 2 * SHARDS);
    let publisher = publish(&base, "show").await;
    let viewers = join(&base, "show", 20).await;
    let nodes: BTreeSet<&str> = viewers.iter().map(|v| support::served_by(v.resource().url())).collect();
    assert_eq!(nodes.len(), 2, "viewers are on both nodes");
    tokio::time::sleep(Duration::from_secs(4)).await;
    all_complete(publisher, viewers).await;
    dev.signal("-TERM");
    assert_eq!(dev.wait(Duration::from_secs(8)), Some(0), "{}", dev.tail());
}

/// UDP ports of loopback one after the other, which nobody has.
fn ports_in_a_row(count: u16) -> u16 {
    let free = |first: &u16| {
        let bind = |n| std::net::UdpSocket::bind(("127.0.0.1", first + n)).is_ok();
        (0..count).all(bind)
    };
    std::iter::repeat_with(|| free_ports::<1>()[0]).take(100).find(free).expect("free UDP ports")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shard_has_the_next_port() {
    on_two_cores();
    let port = ports_in_a_row(SHARDS);
    let mut config = config("ports", SHARDS);
    config.addresses.port = port;
    let node = Node::start(config, Arc::new(MemoryStore::new()), Arc::new(MemoryBus::new())).await.unwrap();
    let base = format!("http://{}", node.http_addr());
    let publisher = publish(&base, "show").await;
    let viewers = join(&base, "show", 2 * usize::from(SHARDS)).await;
    let mut seen = BTreeSet::new();
    for viewer in &viewers {
        let answer = &viewer.negotiated().answer;
        let candidates = answer.lines().filter(|line| line.starts_with("a=candidate:"));
        let ports: BTreeSet<&str> = candidates.filter_map(|line| line.split(' ').nth(5)).collect();
        let own = shard(viewer);
        assert_eq!(ports, BTreeSet::from([(port + own).to_string().as_str()]), "shard {own}: {answer}");
        seen.insert(own);
    }
    assert!(seen.len() > 1, "{seen:?}");
    for viewer in viewers {
        viewer.close().await;
    }
    publisher.stop().await.unwrap();
    node.stop().await;
}
