//! What crosses a link between two nodes: one copy of what is wanted, whole, and nothing that nobody wants.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Publisher, Viewer};
use freshet_loadtest::media::{Kind, Oversized};
use freshet_test_support as support;
use support::{Cluster, Plan, metric, publish, served_by, token, view};

/// Viewers join by the coordinator of the child's region and are placed there.
fn regions(name: &str) -> Vec<String> {
    let region = if name.ends_with('1') { "east" } else { "west" };
    vec!["--region".to_owned(), region.to_owned()]
}

/// The origin's counters of what its links carried.
#[derive(Debug, Clone, Copy)]
struct Carried {
    packets: f64,
    datagrams: f64,
    bytes: f64,
}

async fn carried(origin: &str) -> Carried {
    let of = |name: &'static str| async move {
        metric(origin, &format!("freshet_node_relay_sent_{name}_total")).await.expect("the metric")
    };
    Carried { packets: of("packets").await, datagrams: of("datagrams").await, bytes: of("bytes").await }
}

/// Bytes on the link for each byte of payload that the publisher sent meanwhile.
async fn bytes_for_a_byte(origin: &str, publisher: &Publisher, time: Duration) -> f64 {
    let sent = |publisher: &Publisher| {
        let stats = publisher.stats();
        stats.video.bytes + stats.audio.bytes
    };
    let (before, sent_before) = (carried(origin).await, sent(publisher));
    tokio::time::sleep(time).await;
    let (after, sent_after) = (carried(origin).await, sent(publisher));
    (after.bytes - before.bytes) / (sent_after - sent_before) as f64
}

async fn join(cluster: &Cluster, count: usize, watch: &str) -> Vec<Viewer> {
    let mut viewers = Vec::new();
    for _ in 0..count {
        viewers.push(view(&cluster.url(1), "show", watch, |_| {}).await);
    }
    for viewer in &viewers {
        assert!(viewer.wait_for_media(Duration::from_secs(10)).await, "media comes: {}", cluster.tails());
        assert_eq!(served_by(viewer.resource().url()), "node-2", "the child serves it");
    }
    viewers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_carries_one_copy_however_many_watch_behind_it_and_none_for_nobody() {
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 100 };
    let cluster = Cluster::start_as("links", plan, Box::new(regions)).await;
    let host = token("show", "host", "publish");
    let watch = token("show", "audience", "subscribe");
    let publisher = publish(&cluster.url(0), "show", &host, |c| {
        let video = c.video.as_mut().unwrap();
        video.bitrate = Bitrate::from_kbps(800);
        // Larger than a QUIC datagram may be on any path.
        video.oversized = Some(Oversized { every: 10, bytes: 1_850 });
    })
    .await;
    assert_eq!(served_by(publisher.resource().url()), "node-1");
    let origin = format!("http://127.0.0.1:{}", cluster.node_ports[0]);

    let mut viewers = join(&cluster, 1, &watch).await;
    // A steady state: what a joiner is served from the ring is behind.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let for_one = bytes_for_a_byte(&origin, &publisher, Duration::from_secs(8)).await;
    viewers.extend(join(&cluster, 29, &watch).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let for_thirty = bytes_for_a_byte(&origin, &publisher, Duration::from_secs(8)).await;
    let differ = (for_thirty / for_one - 1.0).abs();
    println!("bytes on the link for a byte of payload: {for_one:.4} with 1 viewer, {for_thirty:.4} with 30");
    assert!(differ < 0.02, "{for_one} with 1 viewer, {for_thirty} with 30");
    assert!((1.0..1.2).contains(&for_one), "one copy: {for_one}");
    let now = carried(&origin).await;
    assert!(now.datagrams > now.packets, "oversized packets were split: {now:?}");

    // Packets larger than a datagram arrive whole: payloads are checked byte by byte.
    let sent = publisher.stats();
    for viewer in viewers {
        let report = viewer.stop().await.unwrap();
        for kind in [Kind::Video, Kind::Audio] {
            let track = report.track(kind).unwrap();
            assert_eq!(track.missing_after_keyframe, 0, "{kind:?}: {track:?}");
            assert_eq!(track.payload_mismatch + track.unstamped, 0, "{kind:?}: {track:?}");
            assert!(track.received > 200, "{kind:?}: {track:?}");
        }
    }

    tokio::time::sleep(Duration::from_secs(2)).await;
    let after = carried(&origin).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let later = carried(&origin).await;
    let sent_on = publisher.stats().video.packets - sent.video.packets;
    assert!(sent_on > 200, "the publisher goes on: {sent_on}");
    assert_eq!(later.packets, after.packets, "nothing crosses for nobody");

    // The last packet of all arrives too.
    let viewers = join(&cluster, 3, &watch).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    publisher.pause();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let sent = publisher.stats();
    for viewer in viewers {
        let report = viewer.stop().await.unwrap();
        for kind in [Kind::Video, Kind::Audio] {
            let track = report.track(kind).unwrap();
            let got = (track.missing_after_keyframe, track.last_index);
            assert_eq!(got, (0, sent.track(kind).last_index), "{kind:?}: {track:?}");
        }
    }
    publisher.stop().await.unwrap();
}
