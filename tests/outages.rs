//! What the cluster leans on goes away and comes back: media goes on meanwhile, and afterwards everything works
//! again without a restart of anything that stayed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use freshet_cluster::keys;
use freshet_cluster::unit::{Bitrate, UnixMillis};
use freshet_loadtest::client::{Publisher, Viewer};
use freshet_loadtest::media::Kind;
use freshet_test_support as support;
use support::{Answer, Cluster, Listener, Plan, eventually, publish, request, served_by, token, view};

const SOON: Duration = Duration::from_secs(30);
/// The longest silence that an outage of something that carries no media may make.
const GAP: Duration = Duration::from_secs(1);

/// A publisher and four viewers in the room `show`, spread over both nodes.
struct Show {
    watch: String,
    publisher: Publisher,
    viewers: Vec<Viewer>,
}

impl Show {
    /// With four sessions for each node: the publisher's node takes three viewers, the other one.
    async fn start(cluster: &Cluster) -> Self {
        let (host, watch) = (token("show", "host", "publish"), token("show", "audience", "subscribe"));
        let publisher = publish(&cluster.url(0), "show", &host, |c| {
            c.video.as_mut().unwrap().bitrate = Bitrate::from_kbps(300);
        })
        .await;
        let mut viewers = Vec::new();
        for n in 0..4 {
            viewers.push(view(&cluster.url(n % cluster.coordinators.len()), "show", &watch, |_| {}).await);
        }
        for viewer in &viewers {
            assert!(viewer.wait_for_media(SOON).await, "media comes: {}", cluster.tails());
        }
        let mut nodes: Vec<&str> = viewers.iter().map(|v| served_by(v.resource().url())).collect();
        nodes.sort_unstable();
        nodes.dedup();
        assert_eq!(nodes.len(), 2, "viewers are on both nodes");
        Self { watch, publisher, viewers }
    }

    /// One more viewer, who gets media.
    async fn grows(&mut self, cluster: &Cluster, coordinator: usize) {
        let viewer = view(&cluster.url(coordinator), "show", &self.watch, |c| c.retry_for = SOON).await;
        assert!(viewer.wait_for_media(SOON).await, "a late viewer gets media: {}", cluster.tails());
        self.viewers.push(viewer);
    }

    /// Every viewer got every packet to the last one, without a silence.
    async fn was_whole(self, cluster: &Cluster) {
        self.publisher.pause();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sent = self.publisher.stats();
        for viewer in self.viewers {
            let report = viewer.close().await;
            for kind in [Kind::Video, Kind::Audio] {
                let track = report.track(kind).unwrap();
                assert_eq!(track.missing_after_keyframe, 0, "{kind:?}: {track:?}\n{}", cluster.tails());
                assert_eq!(track.last_index, sent.track(kind).last_index, "{kind:?}: to the last packet");
                assert_eq!(track.payload_mismatch + track.unstamped + track.rejected, 0, "{track:?}");
                assert_eq!(track.segments.len(), 1, "{kind:?}: one publisher: {track:?}");
                assert!(track.longest_gap < GAP, "{kind:?}: a silence of {:?}", track.longest_gap);
            }
        }
        self.publisher.stop().await.unwrap();
    }
}

fn plan(coordinators: usize) -> Plan {
    Plan { nodes: 2, coordinators, max_sessions: 4 }
}

/// The generation of the show's stream by a coordinator's word.
async fn generation(cluster: &Cluster, coordinator: usize) -> u64 {
    let what = format!("coordinator {coordinator} knows the stream");
    eventually(SOON, &what, || async {
        let room = cluster.room(coordinator, "show").await?;
        let stream = room["streams"].as_array()?.first()?.clone();
        (stream["live"] == true).then(|| stream["generation"].as_u64())?
    })
    .await
}

/// A new publisher and its viewer, by different coordinators.
async fn another_show_works(cluster: &Cluster) -> (Publisher, Viewer) {
    let last = cluster.coordinators.len() - 1;
    let publisher = publish(&cluster.url(last), "next", &token("next", "guest", "publish"), |c| {
        c.retry_for = SOON;
        c.video.as_mut().unwrap().bitrate = Bitrate::from_kbps(300);
    })
    .await;
    let watch = token("next", "audience", "subscribe");
    let viewer = view(&cluster.url(0), "next", &watch, |c| c.retry_for = SOON).await;
    assert!(viewer.wait_for_media(SOON).await, "media of a new room: {}", cluster.tails());
    (publisher, viewer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_is_away_longer_than_the_leases_last() {
    let mut cluster = Cluster::start("outage-etcd", plan(2)).await;
    let mut show = Show::start(&cluster).await;
    let before = generation(&cluster, 0).await;
    cluster.etcd.stop();
    tokio::time::sleep(Duration::from_secs(12)).await;
    cluster.etcd.restart();
    cluster.settled().await;
    let _next = another_show_works(&cluster).await;
    show.grows(&cluster, 1).await;
    for coordinator in 0..2 {
        assert_eq!(generation(&cluster, coordinator).await, before, "it is the same stream");
    }
    show.was_whole(&cluster).await;
}

/// Says something in the show's room; the status, `None` when nobody answers.
async fn say(cluster: &Cluster, token: &str, id: &str) -> Option<u16> {
    let url = format!("{}/v1/rooms/show/chat", cluster.url(0));
    let body = serde_json::json!({ "id": id, "text": format!("text of {id}"), "at_ms": UnixMillis::now().0 });
    let headers = [("content-type", "application/json")];
    let answer: Answer = request("POST", &url, Some(token), &headers, body.to_string()).await?;
    Some(answer.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nats_is_away_and_comes_back() {
    let mut cluster = Cluster::start("outage-nats", plan(2)).await;
    let mut show = Show::start(&cluster).await;
    let chat = token("show", "talker", "chat,subscribe");
    let listener = Listener::open(&cluster.url(1), "show", &chat).await;
    eventually(SOON, "a message is taken", || async {
        (say(&cluster, &chat, "first").await? == 201).then_some(())
    })
    .await;
    let heard = |id: &str| listener.text().matches(&format!("text of {id}")).count();
    eventually(SOON, "it is heard", || async { (heard("first") == 1).then_some(()) }).await;

    cluster.nats.stop();
    tokio::time::sleep(Duration::from_secs(6)).await;
    let status = say(&cluster, &chat, "lost").await;
    assert_eq!(status, Some(503), "a message that nobody stores is not acknowledged");
    cluster.nats.restart();

    let (publisher, viewer) = another_show_works(&cluster).await;
    eventually(SOON, "a message is taken again", || async {
        matches!(say(&cluster, &chat, "second").await?, 200 | 201).then_some(())
    })
    .await;
    eventually(SOON, "it is heard by those who listened before", || async {
        (heard("second") == 1).then_some(())
    })
    .await;
    assert_eq!(heard("first"), 1, "what was heard before is not said again: {}", listener.text());
    cluster.settled().await;
    drop((publisher, viewer));
    show.grows(&cluster, 1).await;
    show.was_whole(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_coordinators_are_killed_and_others_start() {
    let mut cluster = Cluster::start("outage-coordinators", plan(2)).await;
    let mut show = Show::start(&cluster).await;
    let before = generation(&cluster, 0).await;
    for coordinator in &mut cluster.coordinators {
        coordinator.take().unwrap().kill();
    }
    assert!(cluster.room(0, "show").await.is_none(), "nobody answers");
    let received =
        |show: &Show| show.viewers.iter().map(|v| v.report().video().unwrap().received).sum::<u64>();
    let then = received(&show);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(received(&show) > then + 100, "media goes on without any coordinator");

    for n in 0..2 {
        cluster.coordinators[n] = Some(cluster.coordinator(n));
    }
    cluster.settled().await;
    for coordinator in 0..2 {
        assert_eq!(generation(&cluster, coordinator).await, before, "the room is known again");
        eventually(SOON, "its viewers are counted again", || async {
            (cluster.room(coordinator, "show").await?["viewers"] == 4).then_some(())
        })
        .await;
    }
    show.grows(&cluster, 0).await;
    let _next = another_show_works(&cluster).await;
    show.was_whole(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn etcd_loses_its_data() {
    let mut cluster = Cluster::start("outage-wipe", plan(2)).await;
    let mut show = Show::start(&cluster).await;
    let before = generation(&cluster, 0).await;
    let tree = cluster.tree(0, "show").await.unwrap();
    cluster.etcd.wipe();
    tokio::time::sleep(Duration::from_secs(2)).await;
    cluster.etcd.restart();

    eventually(SOON, "both nodes, plan and stream stand in the store again", || async {
        let nodes = cluster.stored(keys::NODES).await.len();
        let rooms = cluster.stored(keys::ROOMS).await;
        let has = |key: &str| rooms.iter().any(|k| k.ends_with(key));
        (nodes == 2 && has("show/plan") && has("show/streams/host")).then_some(())
    })
    .await;
    for coordinator in 0..2 {
        let again = eventually(SOON, "the tree is known at a later epoch", || async {
            let again = cluster.tree(coordinator, "show").await?;
            (again["epoch"].as_u64()? > tree["epoch"].as_u64()?).then_some(again)
        })
        .await;
        assert_eq!(again["members"].as_array().unwrap().len(), 2, "{again}");
    }
    show.grows(&cluster, 1).await;
    let _next = another_show_works(&cluster).await;
    assert_eq!(generation(&cluster, 1).await, before, "it is the same stream");
    show.was_whole(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_node_restarts_under_its_id_within_its_lease() {
    let mut cluster =
        Cluster::start("outage-node", Plan { nodes: 2, coordinators: 1, max_sessions: 3 }).await;
    let (host, watch) = (token("show", "host", "publish"), token("show", "audience", "subscribe"));
    let publisher = publish(&cluster.url(0), "show", &host, |_| {}).await;
    let home = served_by(publisher.resource().url()).to_owned();
    let mut stay = Vec::new();
    for _ in 0..2 {
        stay.push(view(&cluster.url(0), "show", &watch, |_| {}).await);
    }
    let gone = view(&cluster.url(0), "show", &watch, |_| {}).await;
    assert!(gone.wait_for_media(SOON).await, "{}", cluster.tails());
    let away = served_by(gone.resource().url()).to_owned();
    assert_ne!(away, home, "the first node is full");
    let n: usize = if away == "node-1" { 0 } else { 1 };
    let incarnation = cluster.node_info(0, &away).await.unwrap()["incarnation"].clone();

    cluster.nodes[n].take().unwrap().kill();
    let killed = Instant::now();
    cluster.nodes[n] = Some(cluster.node(n));
    let fresh = eventually(SOON, "the new incarnation is alive", || async {
        let node = cluster.node_info(0, &away).await?;
        (node["incarnation"] != incarnation && node["state"] == "alive").then(|| node["incarnation"].clone())
    })
    .await;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(8), "registered after {took:?}, not within the old lease's 10 s");

    let viewer = view(&cluster.url(0), "show", &watch, |c| c.retry_for = SOON).await;
    assert_eq!(served_by(viewer.resource().url()), away, "the restarted node takes sessions");
    assert!(viewer.resource().url().contains(fresh.as_str().unwrap()), "{}", viewer.resource().url());
    assert!(viewer.wait_for_media(SOON).await, "the restarted node has media: {}", cluster.tails());
    let tree = cluster.tree(0, "show").await.unwrap();
    let members = tree["members"].as_array().unwrap();
    assert_eq!(members.len(), 2, "{tree}");
    assert!(members.iter().all(|m| m["incarnation"] != incarnation), "the old one is out: {tree}");
    for old in stay {
        let report = old.close().await;
        let video = report.video().unwrap();
        assert_eq!(video.missing_after_keyframe, 0, "the other node's viewers lost nothing: {video:?}");
        assert!(video.longest_gap < GAP, "{video:?}");
    }
    let late = publisher.resource().request(http::Method::GET, &[], "").await.unwrap();
    assert_ne!(late.status, 404, "the publisher's session is as it was");
    let dead = gone.resource().request(http::Method::DELETE, &[], "").await.unwrap();
    assert_eq!(dead.status, 404, "a session of the old incarnation is known to nobody");
    publisher.stop().await.unwrap();
}
