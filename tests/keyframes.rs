//! Viewers on every node of a tree ask for keyframes without end: the publisher hears of it twice a second.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;
use freshet_test_support as support;
use support::{Cluster, Plan, metric, publish, served_by, token, view};

const ROOM: &str = "show";
const ASKING: Duration = Duration::from_secs(4);
/// At most one request in this time.
const APART: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wishes_from_three_nodes_reach_the_publisher_at_most_twice_a_second() {
    // The publisher's node has room for two viewers more, the others for three.
    let cluster = Cluster::start("keyframes", Plan { nodes: 3, coordinators: 1, max_sessions: 3 }).await;
    let base = cluster.url(0);
    // Keyframes come when they are asked for, and seldom otherwise.
    let seldom = |config: &mut freshet_loadtest::client::PublisherConfig| {
        let video = config.video.as_mut().unwrap();
        video.bitrate = Bitrate::from_kbps(300);
        video.gop = video.fps * 600;
    };
    let publisher = publish(&base, ROOM, &token(ROOM, "host", "publish"), seldom).await;
    let watch = token(ROOM, "audience", "subscribe");
    let mut viewers = Vec::new();
    for _ in 0..8 {
        viewers.push(view(&base, ROOM, &watch, |_| {}).await);
    }
    for viewer in &viewers {
        assert!(viewer.wait_for_media(Duration::from_secs(15)).await, "{}", cluster.tails());
    }
    let nodes: std::collections::BTreeSet<&str> =
        viewers.iter().map(|viewer| served_by(viewer.resource().url())).collect();
    assert_eq!(nodes.len(), 3, "some watch on each");

    let wishes = async || {
        let mut all = Vec::new();
        for port in &cluster.node_ports {
            let url = format!("http://127.0.0.1:{port}");
            all.push(metric(&url, "freshet_node_keyframe_wishes_total").await.expect("it is counted"));
        }
        all
    };
    let (before, wished) = (publisher.stats().keyframe_requests, wishes().await);
    let began = Instant::now();
    while began.elapsed() < ASKING {
        viewers.iter().for_each(freshet_loadtest::client::Viewer::request_keyframe);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let asked = publisher.stats().keyframe_requests - before;
    let most = began.elapsed().as_millis() / APART.as_millis() + 2;
    // A viewer says no more than what it can in a turn of its own, and the machine may be busy: a few must get through.
    assert!((3..=most).contains(&u128::from(asked)), "{asked} requests in {:?}", began.elapsed());
    for (node, (before, after)) in wished.iter().zip(wishes().await).enumerate() {
        assert!(after - before > 10.0, "viewers of node {node} asked {} times", after - before);
    }
}
