//! A publisher goes, in each way that a publisher can: its stream ends, the room hears why, and viewers stay for the
//! next.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Publisher, SessionState};
use freshet_test_support as support;
use serde_json::Value;
use support::{Cluster, Listener, Plan, eventually, publish, received_from, request, served_by, token, view};

const ROOM: &str = "stage";
const SOON: Duration = Duration::from_secs(15);
/// A publisher that says nothing is gone after 15 s; its last word was up to a second before it vanished.
const SILENT: std::ops::Range<Duration> = Duration::from_secs(13)..Duration::from_secs(20);

/// How a publisher leaves.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Leave {
    Delete,
    DtlsClose,
    Vanish,
}

/// What the room was told of ended streams: generation and reason.
fn ended(heard: &str) -> Vec<(u64, String)> {
    let complete = heard.rsplit_once("\n\n").map_or("", |(events, _)| events);
    let told = complete.split("\n\n").filter(|event| event.lines().any(|line| line == "event: stream"));
    let data = told.filter_map(|event| event.lines().find_map(|line| line.strip_prefix("data: ")));
    data.map(|data| serde_json::from_str::<Value>(data).expect("events are JSON"))
        .filter(|event| event["state"] == "ended")
        .map(|event| (event["generation"].as_u64().unwrap(), event["reason"].as_str().unwrap().to_owned()))
        .collect()
}

async fn host(cluster: &Cluster) -> Publisher {
    let light = |config: &mut freshet_loadtest::client::PublisherConfig| {
        config.video.as_mut().unwrap().bitrate = Bitrate::from_kbps(300);
    };
    publish(&cluster.url(0), ROOM, &token(ROOM, "host", "publish"), light).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn however_a_publisher_leaves_the_room_is_told_why_and_viewers_stay_for_the_next() {
    let cluster = Cluster::start("gone", Plan { nodes: 2, coordinators: 1, max_sessions: 2 }).await;
    let base = cluster.url(0);
    let watch = token(ROOM, "audience", "subscribe");
    let room = Listener::open(&base, ROOM, &watch).await;

    let mut publisher = host(&cluster).await;
    let mut viewers = Vec::new();
    for _ in 0..2 {
        viewers.push(view(&base, ROOM, &watch, |_| {}).await);
    }
    let nodes: std::collections::BTreeSet<&str> =
        viewers.iter().map(|viewer| served_by(viewer.resource().url())).collect();
    assert_eq!(nodes.len(), 2, "one is where the publisher is, one is not");
    for (n, (leave, reason)) in
        [(Leave::Delete, "closed"), (Leave::DtlsClose, "dtls-closed"), (Leave::Vanish, "ice-timeout")]
            .into_iter()
            .enumerate()
    {
        let number = publisher.stats().publisher;
        for viewer in &viewers {
            let seen = viewer.wait_until(SOON, |_| received_from(viewer, number) > 50).await;
            assert!(seen, "{leave:?}: publisher {n} is seen: {:?}\n{}", viewer.report(), cluster.tails());
        }
        let left = Instant::now();
        match leave {
            Leave::Delete => {
                publisher.stop().await.unwrap();
            }
            Leave::DtlsClose => {
                publisher.close().await;
            }
            Leave::Vanish => drop(publisher),
        }
        let told = eventually(SILENT.end + Duration::from_secs(5), "the room is told", || async {
            ended(&room.text()).get(n).cloned()
        })
        .await;
        let after = left.elapsed();
        assert_eq!(told.1, reason, "{leave:?}\n{}", cluster.tails());
        match leave {
            Leave::Vanish => assert!(SILENT.contains(&after), "told after {after:?}"),
            _ => assert!(after < Duration::from_secs(5), "{leave:?}: told after {after:?}"),
        }
        eventually(SOON, "nobody publishes", || async {
            let answer = request("GET", &format!("{base}/v1/rooms/{ROOM}"), Some(&watch), &[], "").await?;
            answer.json()["streams"].as_array().is_some_and(Vec::is_empty).then_some(())
        })
        .await;
        for viewer in &viewers {
            assert!(matches!(viewer.state(), SessionState::Connected), "{leave:?}: {:?}", viewer.state());
            let look = viewer.resource().request(http::Method::GET, &[], "").await.unwrap();
            assert_eq!(look.status, 204, "{}", look.text());
        }
        // The next publish is watched in the same sessions: the head of this loop waits for it.
        publisher = host(&cluster).await;
    }
    let number = publisher.stats().publisher;
    for viewer in &viewers {
        let seen = viewer.wait_until(SOON, |_| received_from(viewer, number) > 50).await;
        assert!(seen, "the last publisher is seen: {:?}\n{}", viewer.report(), cluster.tails());
    }
    let generations: Vec<u64> = ended(&room.text()).into_iter().map(|(generation, _)| generation).collect();
    assert!(generations.len() == 3 && generations.is_sorted_by(|a, b| a < b), "each once: {generations:?}");
}
