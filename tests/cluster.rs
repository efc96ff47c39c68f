//! A whole cluster from the built binary: a publisher on one node, viewers on all, media checked packet by packet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Loss, PacketHook, PublisherConfig, Viewer, ViewerConfig, ViewerReport};
use freshet_loadtest::media::{Kind, MAX_PAYLOAD, Oversized};
use freshet_test_support as support;
use support::{Cluster, Plan, eventually, get_json, metric, publish, served_by, token, view};

const VIEWERS: usize = 60;
/// Every so many frames one is a single packet, larger than what a datagram between nodes carries.
const OVERSIZED: u32 = 5;
const KINDS: [Kind; 2] = [Kind::Video, Kind::Audio];

/// The viewers, one after the other by either coordinator; all have media, and every node serves some of them.
async fn join(cluster: &Cluster, watch: &str, edit: impl Fn(usize, &mut ViewerConfig)) -> Vec<Viewer> {
    let mut viewers = Vec::new();
    for n in 0..VIEWERS {
        viewers.push(view(&cluster.url(n % 2), "show", watch, |config| edit(n, config)).await);
    }
    for viewer in &viewers {
        assert!(viewer.wait_for_media(Duration::from_secs(10)).await, "media comes: {}", cluster.tails());
    }
    let mut served: BTreeMap<&str, usize> = BTreeMap::new();
    for viewer in &viewers {
        *served.entry(served_by(viewer.resource().url())).or_default() += 1;
    }
    println!("viewers by node: {served:?}");
    assert!(served.len() == 3 && served.values().all(|of_one| *of_one > 0), "{served:?}");
    viewers
}

fn show(config: &mut PublisherConfig) {
    let video = config.video.as_mut().unwrap();
    video.bitrate = Bitrate::from_kbps(600);
    video.oversized = Some(Oversized { every: OVERSIZED, bytes: MAX_PAYLOAD });
}

/// What came was decrypted, is what was sent and is in order.
fn nothing_is_wrong(report: &ViewerReport) {
    assert_eq!(report.unmapped, 0, "{report:?}");
    for kind in KINDS {
        let track = report.track(kind).unwrap();
        assert_eq!(track.payload_mismatch + track.unstamped + track.rejected, 0, "{kind:?}: {track:?}");
        assert_eq!(track.out_of_order_after_recovery, 0, "{kind:?}: {track:?}");
    }
}

/// The publisher's node has split what is too large for a datagram, and the others have joined it.
async fn oversized_packets_crossed(cluster: &Cluster, origin: &str) {
    for (n, port) in cluster.node_ports.iter().enumerate() {
        let (node, url) = (format!("node-{}", n + 1), format!("http://127.0.0.1:{port}"));
        let of = |name: &'static str| {
            let url = url.clone();
            async move { metric(&url, &format!("freshet_node_relay_{name}_total")).await.unwrap() }
        };
        let (packets, datagrams) = (of("sent_packets").await, of("sent_datagrams").await);
        let joined = of("joined_packets").await;
        println!("{node}: {packets} packets in {datagrams} datagrams sent on links, {joined} joined");
        assert!(node != origin || datagrams > packets + 20.0, "the publisher's node splits");
        assert!(node == origin || joined > 20.0, "{node} joins");
    }
}

/// The nodes that carry the room, by the coordinators' word.
async fn members(cluster: &Cluster, room: &str) -> usize {
    let state = get_json(&format!("{}/v1/cluster", cluster.url(0)), Some(&token("*", "operator", "admin")))
        .await
        .unwrap();
    let rooms = state["rooms"].as_array().unwrap();
    let room = rooms.iter().find(|r| r["room"] == room).expect("the room is known");
    room["members"].as_array().unwrap().len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_viewers_on_three_nodes_get_every_packet() {
    let plan = Plan { nodes: 3, coordinators: 2, max_sessions: 25 };
    let cluster = Cluster::start("cluster", plan).await;
    let host = token("show", "host", "publish");
    let watch = token("show", "audience", "subscribe");
    let publisher = publish(&cluster.url(0), "show", &host, show).await;

    let large: Vec<Arc<AtomicU64>> = (0..VIEWERS).map(|_| Arc::default()).collect();
    let viewers = join(&cluster, &watch, |n, config| {
        let seen = large[n].clone();
        config.on_packet = Some(PacketHook::new(move |packet| {
            seen.fetch_add(u64::from(packet.payload.len() == MAX_PAYLOAD), Ordering::Relaxed);
        }));
    })
    .await;
    assert_eq!(members(&cluster, "show").await, 3, "placement was made to use all three nodes");
    tokio::time::sleep(Duration::from_secs(2)).await;
    heartbeats_tell_the_load(&cluster, &viewers).await;
    publisher.pause();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let sent = publisher.stats();
    assert!(sent.video.packets > 400 && sent.audio.packets > 300, "{sent:?}");
    let mut worst = Duration::ZERO;
    for (viewer, large) in viewers.into_iter().zip(large) {
        let report = viewer.close().await;
        nothing_is_wrong(&report);
        // Their bytes have been compared with the rest.
        let large = large.load(Ordering::Relaxed);
        assert!(large >= 20, "a viewer had {large} packets of {MAX_PAYLOAD} bytes");
        for kind in KINDS {
            let track = report.track(kind).unwrap();
            let last = sent.track(kind).last_index.unwrap();
            assert_eq!(track.missing_after_keyframe, 0, "{kind:?}: {track:?}");
            assert_eq!(track.last_index, Some(last), "{kind:?}: to the last packet");
            assert!(track.received > 200, "{kind:?}: {track:?}");
            worst = worst.max(track.latency.quantile(0.99).unwrap_or_default());
        }
    }
    println!("latency p99 of the worst viewer: {worst:?}");
    assert!(worst <= Duration::from_millis(100), "p99 of the worst viewer is {worst:?}");
    oversized_packets_crossed(&cluster, served_by(publisher.resource().url())).await;
    for port in &cluster.node_ports {
        let url = format!("http://127.0.0.1:{port}");
        assert_eq!(metric(&url, "freshet_node_str0m_viewer_rtp_total").await, Some(0.0));
        support::names::check(&url, "node").await;
    }
    for coordinator in 0..2 {
        support::names::check(&cluster.url(coordinator), "coordinator").await;
    }
    publisher.stop().await.unwrap();
    nothing_is_left(&cluster).await;
}

/// Payload bytes and packets that all viewers have received so far.
fn received(viewers: &[Viewer]) -> (u64, u64) {
    let reports: Vec<_> = viewers.iter().map(Viewer::report).collect();
    let tracks = || reports.iter().flat_map(|r| [r.video(), r.audio()]).flatten();
    (tracks().map(|t| t.bytes).sum(), tracks().map(|t| t.received).sum())
}

/// While media runs, what the nodes' heartbeats say is what the viewers get; takes six seconds.
async fn heartbeats_tell_the_load(cluster: &Cluster, viewers: &[Viewer]) {
    const SAMPLES: u32 = 12;
    let (begin, before) = (std::time::Instant::now(), received(viewers));
    let (mut bits, mut packets) = (0_u64, 0_u64);
    let mut cpu = [0_u64; 3];
    let mut last = Vec::new();
    for _ in 0..SAMPLES {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let token = token("*", "operator", "admin");
        let page = get_json(&format!("{}/v1/nodes", cluster.url(1)), Some(&token)).await.unwrap();
        last = page["nodes"].as_array().unwrap().clone();
        assert_eq!(last.len(), 3, "{page:#}");
        for (node, cpu) in last.iter().zip(&mut cpu) {
            bits += node["egress_bps"].as_u64().unwrap();
            packets += node["egress_pps"].as_u64().unwrap();
            *cpu = (*cpu).max(node["cpu_millicores"].as_u64().unwrap());
        }
    }
    let (after, seconds) = (received(viewers), begin.elapsed().as_secs_f64());
    let told = [bits, packets].map(|sum| sum as f64 / f64::from(SAMPLES));
    // On the wire a packet has 12 bytes of header, some extensions and a tag: about 40 bytes in all.
    let (bytes, count) = (after.0 - before.0, after.1 - before.1);
    let got = [(bytes + count * 40) * 8, count].map(|n| n as f64 / seconds);
    println!("told {told:.0?}, got {got:.0?} bits and packets per second; {cpu:?} thousandths of a core");
    for (told, got) in told.into_iter().zip(got) {
        assert!(
            (0.7..=1.3).contains(&(told / got)),
            "heartbeats tell {told:.0} a second, viewers got {got:.0}"
        );
    }
    assert!(cpu.iter().all(|cpu| *cpu > 0), "{cpu:?}");
    let sessions: u64 = last.iter().map(|n| n["sessions"].as_u64().unwrap()).sum();
    assert_eq!(sessions, VIEWERS as u64 + 1, "every viewer and the publisher: {last:#?}");
    for node in &last {
        assert!(node["egress_bps"].as_u64() > Some(0) && node["egress_pps"].as_u64() > Some(0), "{node:#}");
        assert_eq!(node["rooms"], 1, "{node:#}");
        let links = node["links"].as_array().unwrap();
        let peers = |link: &serde_json::Value| last.iter().any(|n| n["id"] == link["peer"]);
        assert!(!links.is_empty() && links.iter().all(peers), "{node:#}");
        assert!(links.iter().all(|link| link["peer"] != node["id"]), "{node:#}");
    }
}

/// Sessions, rings, streams: all gone a while after everybody has left.
async fn nothing_is_left(cluster: &Cluster) {
    for port in &cluster.node_ports {
        let url = format!("http://127.0.0.1:{port}");
        for name in ["sessions", "lanes", "streams", "viewers", "reserved_sessions"] {
            let what = format!("{name} is 0 on {url}");
            eventually(Duration::from_secs(20), &what, || async {
                let value = metric(&url, &format!("freshet_node_{name}")).await?;
                (value == 0.0).then_some(())
            })
            .await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_percent_of_loss_is_recovered_in_order() {
    let plan = Plan { nodes: 3, coordinators: 2, max_sessions: 25 };
    let cluster = Cluster::start("cluster-loss", plan).await;
    let host = token("show", "host", "publish");
    let watch = token("show", "audience", "subscribe");
    let publisher = publish(&cluster.url(1), "show", &host, show).await;
    let viewers = join(&cluster, &watch, |n, config| {
        config.loss = Some(Loss { fraction: 0.01, seed: 1_000 + n as u64 });
        // Sound too is asked for again; browsers do not by themselves.
        config.audio_nack = true;
    })
    .await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    let sent = publisher.stats();
    // Nobody can miss the very last packets, so some that do not count follow those that do.
    tokio::time::sleep(Duration::from_secs(1)).await;
    publisher.pause();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut lost, mut recovered) = (0, BTreeMap::new());
    let mut missing = Vec::new();
    for (n, viewer) in viewers.into_iter().enumerate() {
        let answer = viewer.negotiated().answer.clone();
        assert!(answer.lines().any(|line| line == "a=rtcp-fb:111 nack"), "NACK for Opus: {answer}");
        let report = viewer.close().await;
        nothing_is_wrong(&report);
        assert!(report.injected_loss > 0, "viewer {n} lost something: {report:?}");
        lost += report.injected_loss;
        for kind in KINDS {
            let track = report.track(kind).unwrap();
            assert!(track.received > 400, "viewer {n}, {kind:?}: {track:?}");
            assert!(track.last_index >= sent.track(kind).last_index, "viewer {n}, {kind:?}: {track:?}");
            *recovered.entry(kind).or_default() += track.recovered_by_rtx;
            if track.missing_after_keyframe * 1_000 > track.received {
                let (count, of) = (track.missing_after_keyframe, track.received);
                missing.push(format!("viewer {n}: {count} missing beside {of} of {kind:?}"));
            }
        }
    }
    println!("{lost} datagrams lost on purpose, recovered by RTX: {recovered:?}");
    assert!(missing.is_empty(), "less than 99.9 % came: {missing:#?}");
    let of = |kind: Kind| recovered.get(&kind).copied().unwrap_or(0_u64);
    assert!(of(Kind::Video) > 200 && of(Kind::Audio) > 150, "{recovered:?}");
    publisher.stop().await.unwrap();
}
