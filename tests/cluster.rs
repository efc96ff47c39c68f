//! A whole cluster from the built binary: a publisher on one node, viewers on all, media checked packet by packet.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::time::Duration;

use freshet_loadtest::client::{Loss, Viewer};
use freshet_loadtest::media::Kind;
use support::{Cluster, Plan, eventually, get_json, metric, publish, token, view};

const VIEWERS: usize = 60;

async fn join(cluster: &Cluster, room: &str, watch: &str, loss: Option<f64>) -> Vec<Viewer> {
    let mut viewers = Vec::new();
    for n in 0..VIEWERS {
        let base = cluster.url(n % 2);
        let lossy = loss.map(|fraction| Loss { fraction, seed: 1_000 + n as u64 });
        viewers.push(view(&base, room, watch, |c| c.loss = lossy).await);
    }
    viewers
}

/// The nodes that carry the room, by the coordinators' word.
async fn members(cluster: &Cluster, room: &str) -> usize {
    let state = get_json(&format!("{}/v1/cluster", cluster.url(0)), Some(&token(room, "operator", "admin")))
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
    let publisher = publish(&cluster.url(0), "show", &host, |c| {
        let video = c.video.as_mut().unwrap();
        video.bitrate = freshet_cluster::unit::Bitrate::from_kbps(600);
    })
    .await;

    let viewers = join(&cluster, "show", &watch, None).await;
    for viewer in &viewers {
        assert!(viewer.wait_for_media(Duration::from_secs(10)).await, "media comes: {}", cluster.tails());
    }
    assert_eq!(members(&cluster, "show").await, 3, "placement was made to use all three nodes");
    tokio::time::sleep(Duration::from_secs(8)).await;
    publisher.pause();
    tokio::time::sleep(Duration::from_millis(700)).await;
    let sent = publisher.stats();
    assert!(sent.video.packets > 400 && sent.audio.packets > 300, "{sent:?}");
    let mut worst = Duration::ZERO;
    for viewer in viewers {
        let report = viewer.close().await;
        for kind in [Kind::Video, Kind::Audio] {
            let track = report.track(kind).unwrap();
            let last = sent.track(kind).last_index.unwrap();
            assert_eq!(track.missing_after_keyframe, 0, "{kind:?}: {track:?}");
            assert_eq!(track.last_index, Some(last), "{kind:?}: to the last packet");
            assert_eq!(track.payload_mismatch + track.unstamped + track.rejected, 0, "{kind:?}: {track:?}");
            assert_eq!(track.out_of_order_after_recovery, 0, "{kind:?}: {track:?}");
            assert!(track.received > 200, "{kind:?}: {track:?}");
            worst = worst.max(track.latency.quantile(0.99).unwrap_or_default());
        }
    }
    println!("latency p99 of the worst viewer: {worst:?}");
    assert!(worst <= Duration::from_millis(100), "p99 of the worst viewer is {worst:?}");
    for port in &cluster.node_ports {
        let url = format!("http://127.0.0.1:{port}");
        assert_eq!(metric(&url, "freshet_node_str0m_viewer_rtp_total").await, Some(0.0));
    }
    publisher.stop().await.unwrap();
    nothing_is_left(&cluster).await;
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
    let publisher = publish(&cluster.url(1), "show", &host, |c| {
        let video = c.video.as_mut().unwrap();
        video.bitrate = freshet_cluster::unit::Bitrate::from_kbps(600);
    })
    .await;
    let viewers = join(&cluster, "show", &watch, Some(0.01)).await;
    for viewer in &viewers {
        assert!(viewer.wait_for_media(Duration::from_secs(10)).await, "media comes: {}", cluster.tails());
    }
    tokio::time::sleep(Duration::from_secs(8)).await;
    publisher.pause();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (mut received, mut missing, mut lost) = (0, 0, 0);
    for viewer in viewers {
        let report = viewer.close().await;
        let video = report.video().unwrap();
        assert_eq!(video.out_of_order_after_recovery, 0, "{video:?}");
        assert_eq!(video.payload_mismatch + video.unstamped, 0, "{video:?}");
        received += video.received;
        missing += video.missing_after_keyframe;
        lost += report.injected_loss;
    }
    println!("{received} received, {missing} missing, {lost} datagrams lost on purpose");
    assert!(lost > 100, "the loss happened: {lost}");
    assert!(missing * 1_000 <= received, "{missing} of {received} are missing");
    publisher.stop().await.unwrap();
}
