//! Who holds a stream, who holds a room: takeovers, races, and what is left after everybody has gone.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_cluster::keys;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::store::Store as _;
use freshet_cluster::store::etcd::{EtcdConfig, EtcdStore};
use freshet_cluster::unit::Bitrate;
use freshet_cluster::version::decode;
use freshet_loadtest::client::{Publisher, PublisherConfig, SessionState};
use freshet_test_support as support;
use support::{
    Cluster, Listener, Plan, eventually, metric, publish, received_from, request, served_by, token, view,
};

const SOON: Duration = Duration::from_secs(30);

fn light(config: &mut PublisherConfig) {
    config.video.as_mut().unwrap().bitrate = Bitrate::from_kbps(300);
}

fn whip(cluster: &Cluster, coordinator: usize, room: &str, token: &str) -> PublisherConfig {
    let mut config = PublisherConfig::new(format!("{}/whip/{room}", cluster.url(coordinator)));
    config.token = Some(token.to_owned());
    light(&mut config);
    config
}

/// Its session is over because somebody else publishes the stream.
async fn was_taken_over(publisher: &Publisher) {
    assert!(publisher.ended(SOON).await.is_some(), "the session ends");
    let answer = publisher.resource().request(http::Method::DELETE, &[], "").await.unwrap();
    assert_eq!(answer.status, 404, "{}", answer.text());
    let reason = answer.problem().and_then(|problem| problem.reason);
    assert_eq!(reason.as_deref(), Some("taken-over"), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_publish_takes_the_stream_over_and_viewers_stay() {
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 3 };
    let cluster = Cluster::start("takeover", plan).await;
    let (host, watch) = (token("show", "host", "publish"), token("show", "audience", "subscribe"));
    let first = publish(&cluster.url(0), "show", &host, light).await;
    let mut viewers = Vec::new();
    for n in 0..3 {
        viewers.push(view(&cluster.url(n % 2), "show", &watch, |_| {}).await);
    }
    for viewer in &viewers {
        assert!(viewer.wait_for_media(SOON).await, "{}", cluster.tails());
    }
    let second = publish(&cluster.url(1), "show", &host, light).await;
    let nodes = [&first, &second].map(|p| served_by(p.resource().url()).to_owned());
    assert_ne!(nodes[0], nodes[1], "the first publisher's node is full");
    was_taken_over(&first).await;
    let number = second.stats().publisher;
    for viewer in &viewers {
        let goes_on = viewer.wait_until(SOON, |_| received_from(viewer, number) > 100).await;
        assert!(goes_on, "the new publisher is seen: {:?}\n{}", viewer.report(), cluster.tails());
    }
    second.pause();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let sent = second.stats().video.last_index;
    for viewer in viewers {
        assert_eq!(viewer.state(), SessionState::Connected, "the session stayed");
        let report = viewer.close().await;
        for track in &report.tracks {
            assert_eq!(track.segments.len(), 2, "{track:?}");
            assert_eq!(track.segments[1].publisher, number, "{track:?}");
            assert_eq!(track.payload_mismatch + track.unstamped + track.rejected, 0, "{track:?}");
        }
        let video = report.video().unwrap();
        assert_eq!((video.segments[1].missing, video.last_index), (0, sent), "{video:?}");
    }
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_race_for_a_stream_one_stays() {
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 20 };
    let cluster = Cluster::start("race", plan).await;
    for round in 0..5 {
        let room = format!("race-{round}");
        let (host, watch) = (token(&room, "host", "publish"), token(&room, "audience", "subscribe"));
        let (one, other) = tokio::join!(
            Publisher::connect(whip(&cluster, 0, &room, &host)),
            Publisher::connect(whip(&cluster, 1, &room, &host)),
        );
        let racers: Vec<Publisher> = [one, other].into_iter().flatten().collect();
        let alive = |p: &&Publisher| !matches!(p.state(), SessionState::Ended(_));
        eventually(SOON, "one is left", || async {
            (racers.iter().filter(alive).count() == 1).then_some(())
        })
        .await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let winner: Vec<&Publisher> = racers.iter().filter(alive).collect();
        assert_eq!(winner.len(), 1, "the winner stays: {}", cluster.tails());
        for loser in racers.iter().filter(|p| !alive(p)) {
            was_taken_over(loser).await;
        }
        let number = winner[0].stats().publisher;
        for coordinator in 0..2 {
            let viewer = view(&cluster.url(coordinator), &room, &watch, |_| {}).await;
            let sees = viewer.wait_until(SOON, |_| received_from(&viewer, number) > 30).await;
            assert!(sees, "the winner is seen: {:?}\n{}", viewer.report(), cluster.tails());
            eventually(SOON, "one live stream is known", || async {
                let known = cluster.room(coordinator, &room).await?;
                let streams = known["streams"].as_array()?.clone();
                (streams.len() == 1 && streams[0]["live"] == true).then_some(())
            })
            .await;
            viewer.stop().await.unwrap();
        }
        for racer in racers {
            racer.stop().await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_not_to_take_over_does_not() {
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 20 };
    let cluster = Cluster::start("if-none-match", plan).await;
    let (host, watch) = (token("show", "host", "publish"), token("show", "audience", "subscribe"));
    let polite = |coordinator| {
        let mut config = whip(&cluster, coordinator, "show", &host);
        config.headers = vec![("If-None-Match".to_owned(), "*".to_owned())];
        Publisher::connect(config)
    };
    let first = polite(0).await.expect("nobody publishes yet");
    let viewer = view(&cluster.url(1), "show", &watch, |_| {}).await;
    assert!(viewer.wait_for_media(SOON).await, "{}", cluster.tails());
    for coordinator in 0..2 {
        let refused = polite(coordinator).await.expect_err("the stream is live");
        assert_eq!(refused.status(), Some(409), "{refused}");
        assert!(refused.problem().is_some_and(|p| !p.detail.is_empty()), "{refused}");
    }
    let then = received_from(&viewer, first.stats().publisher);
    let goes_on =
        viewer.wait_until(SOON, |_| received_from(&viewer, first.stats().publisher) > then + 50).await;
    assert!(goes_on, "the first one goes on: {:?}", first.state());
    first.stop().await.unwrap();
    let again = eventually(SOON, "the stream is free again", || async { polite(1).await.ok() }).await;
    let number = again.stats().publisher;
    let goes_on = viewer.wait_until(SOON, |_| received_from(&viewer, number) > 30).await;
    assert!(goes_on, "the viewer carries on at the next publish: {:?}", viewer.report());
    again.stop().await.unwrap();
}

/// Two coordinators of different regions, each with a node of its own region: they never choose the same node first.
async fn two_regions(test: &str) -> Cluster {
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 200 };
    let region = |name: &str| {
        let region = if name.ends_with("-1") { "east" } else { "west" };
        vec!["--region".to_owned(), region.to_owned()]
    };
    Cluster::start_as(test, plan, Box::new(region)).await
}

/// A session of a viewer that never connects; the node that took it.
async fn join(cluster: &Cluster, coordinator: usize, room: &str, token: &str) -> String {
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let url = format!("{}/whep/{room}?wait=1", cluster.url(coordinator));
    let answer = request("POST", &url, Some(token), &[("content-type", "application/sdp")], offer).await;
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 201, "{}", String::from_utf8_lossy(&answer.body));
    served_by(answer.headers["location"].to_str().unwrap()).to_owned()
}

/// Plan writes of both coordinators that lost against another.
async fn conflicts(cluster: &Cluster) -> f64 {
    let mut sum = 0.0;
    for coordinator in 0..2 {
        let name = "freshet_coordinator_plan_conflicts_total";
        sum += metric(&cluster.url(coordinator), name).await.expect("the metric is there");
    }
    sum
}

/// A room's plan as it stands in etcd.
async fn stored_plan(cluster: &Cluster, room: &str) -> RoomPlan {
    let config = EtcdConfig { endpoints: vec![cluster.etcd.url()], ..EtcdConfig::default() };
    let key = keys::room_plan(&room.parse().unwrap());
    let entry = EtcdStore::new(config).unwrap().get(&key).await.expect("etcd answers");
    decode("room plan", &entry.expect("the plan stands in etcd").value).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_coordinators_that_open_a_room_at_once_make_one_plan() {
    let cluster = two_regions("one-plan").await;
    let mut races = 0.0;
    for round in 0..60 {
        let room = format!("new-{round}");
        let watch = token(&room, "audience", "subscribe");
        let before = conflicts(&cluster).await;
        let (east, west) = tokio::join!(join(&cluster, 0, &room, &watch), join(&cluster, 1, &room, &watch));
        assert_eq!(
            (east.as_str(), west.as_str()),
            ("node-1", "node-2"),
            "each chooses its own region's node"
        );
        // Both have been answered, so both nodes stand in the plan now; whoever wrote last wrote over nobody.
        let plan = stored_plan(&cluster, &room).await;
        plan.check().unwrap_or_else(|error| panic!("{error}: {plan:?}"));
        let mut nodes: Vec<&str> = plan.members.iter().map(|member| member.node.as_str()).collect();
        nodes.sort_unstable();
        assert_eq!(nodes, ["node-1", "node-2"], "one plan with both: {plan:?}");
        let known = eventually(SOON, "both coordinators know this plan", || async {
            let [one, other] = [cluster.tree(0, &room).await?, cluster.tree(1, &room).await?];
            (plan_of(&one) == plan_of(&other) && plan_of(&one).0 >= plan.epoch.0).then_some(one)
        })
        .await;
        assert_eq!(plan_of(&known).1.len(), 2, "{known}");
        races += conflicts(&cluster).await - before;
        if races >= 5.0 {
            println!("{races} races in {} rooms", round + 1);
            return;
        }
    }
    panic!("the coordinators met only {races} times: this test has shown nothing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tree_that_two_coordinators_made_at_once_carries_media() {
    let cluster = two_regions("one-plan-tree").await;
    let (host, watch) = (token("show", "host", "publish"), token("show", "audience", "subscribe"));
    let waiting = |coordinator: usize| {
        let (cluster, watch) = (&cluster, &watch);
        async move {
            let url = format!("{}/whep/show?wait=1", cluster.url(coordinator));
            view("", "", watch, |c| (c.url, c.retry_for) = (url, SOON)).await
        }
    };
    let (east, west) = tokio::join!(waiting(0), waiting(1));
    let nodes = [&east, &west].map(|viewer| served_by(viewer.resource().url()).to_owned());
    assert_eq!(nodes, ["node-1", "node-2"]);
    let publisher = publish(&cluster.url(0), "show", &host, light).await;
    for viewer in [&east, &west] {
        assert!(viewer.wait_for_media(SOON).await, "{}", cluster.tails());
    }
    for viewer in [east, west] {
        viewer.stop().await.unwrap();
    }
    publisher.stop().await.unwrap();
}

/// Epoch, and (node, incarnation, parent) of each member.
fn plan_of(tree: &serde_json::Value) -> (u64, Vec<[serde_json::Value; 3]>) {
    let members = tree["members"].as_array().unwrap();
    let member = |m: &serde_json::Value| ["node", "incarnation", "parent"].map(|name| m[name].clone());
    (tree["epoch"].as_u64().unwrap(), members.iter().map(member).collect())
}

/// Everything of which a cluster says how much there is, by process, and the keys in its store.
#[derive(Debug, Clone, PartialEq)]
struct Kept {
    gauges: BTreeMap<String, f64>,
    keys: Vec<String>,
}

impl Kept {
    async fn of(cluster: &Cluster) -> Option<Self> {
        let mut gauges = BTreeMap::new();
        let nodes = cluster.node_ports.iter().map(|port| format!("http://127.0.0.1:{port}"));
        let coordinators = (0..cluster.plan.coordinators).map(|n| cluster.url(n));
        for (n, url) in nodes.chain(coordinators).enumerate() {
            let of_one = support::gauges(&url).await?;
            // How busy something is says nothing of what is left behind.
            let counts = of_one.into_iter().filter(|(name, _)| !name.contains("_busy_ratio"));
            gauges.extend(counts.map(|(name, value)| (format!("{n} {name}"), value)));
        }
        Some(Self { gauges, keys: cluster.stored(keys::ROOT).await })
    }

    fn sum(&self, name: &str) -> f64 {
        let of_it: Vec<f64> =
            self.gauges.iter().filter(|(n, _)| n.ends_with(name)).map(|(_, v)| *v).collect();
        assert!(!of_it.is_empty(), "there is no gauge {name}");
        of_it.iter().sum()
    }

    /// What there is more of than there was.
    fn beyond(&self, before: &Self) -> Vec<String> {
        let was = |name: &str| before.gauges.get(name).copied().unwrap_or_default();
        let more = self.gauges.iter().filter(|(name, value)| **value > was(name));
        let more = more.map(|(name, value)| format!("{name}: {value}, was {}", was(name)));
        more.chain(self.keys.iter().filter(|key| !before.keys.contains(key)).cloned()).collect()
    }
}

/// Ten viewers come and see media, and listeners with them; when all of it is counted they leave, in each way there is.
async fn come_and_go(cluster: &Cluster, room: &str, silent: bool, counted: impl Fn(&Kept) -> bool) {
    let watch = token(room, "audience", "subscribe");
    let mut viewers = Vec::new();
    let mut listeners = Vec::new();
    for n in 0..10 {
        viewers.push(view(&cluster.url(n % 2), room, &watch, |c| c.retry_for = SOON).await);
        if n < 4 {
            listeners.push(Listener::open(&cluster.url(n % 2), room, &watch).await);
        }
    }
    for viewer in &viewers {
        assert!(viewer.wait_for_media(SOON).await, "{}", cluster.tails());
    }
    // Shards tell what they have four times a second.
    eventually(SOON, "all that is there is counted", || async { Kept::of(cluster).await.filter(&counted) })
        .await;
    for (n, viewer) in viewers.into_iter().enumerate() {
        match n {
            0 if silent => drop(viewer),
            n if n % 2 == 0 => drop(viewer.close().await),
            _ => drop(viewer.stop().await.unwrap()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_joins_and_leaves_leave_nothing() {
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 8 };
    let cluster = Cluster::start_with("leaves", plan, &["--room-linger", "2s"]).await;
    // What a process makes once and keeps is made by a room of its own.
    let warm = publish(&cluster.url(0), "warm", &token("warm", "host", "publish"), light).await;
    come_and_go(&cluster, "warm", false, |_| true).await;
    warm.stop().await.unwrap();
    const GONE: [&str; 10] = [
        "node_sessions",
        "node_reserved_sessions",
        "node_viewers",
        "node_lanes",
        "node_streams",
        "node_announced_streams",
        "node_subscriptions",
        "node_shard_subscriptions",
        "node_rooms",
        "coordinator_rooms",
    ];
    let nothing = |kept: &Kept| {
        let rooms = kept.keys.iter().any(|key| key.starts_with(keys::ROOMS));
        !rooms && GONE.iter().all(|name| kept.sum(name) == 0.0) && kept.sum("event_listeners") == 0.0
    };
    // The calmest look counts: a connection that is about to close is a task too.
    let mut before: Option<Kept> = None;
    for _ in 0..16 {
        let kept = eventually(Duration::from_secs(60), "the first room is gone", || async {
            Kept::of(&cluster).await.filter(&nothing)
        })
        .await;
        if before.as_ref().is_none_or(|b| kept.sum("_tasks") < b.sum("_tasks")) {
            before = Some(kept);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let before = before.unwrap();

    let publisher = publish(&cluster.url(0), "show", &token("show", "host", "publish"), light).await;
    let counted = |kept: &Kept| {
        let some = |name: &&str| kept.sum(name) > 0.0;
        let (more_tasks, more_keys) =
            (kept.sum("_tasks") > before.sum("_tasks"), kept.keys.len() > before.keys.len());
        GONE.iter().chain(&["event_listeners", "relay_links"]).all(some) && more_tasks && more_keys
    };
    for round in 0..5 {
        // In the last round one goes without a word.
        come_and_go(&cluster, "show", round == 4, counted).await;
    }
    publisher.stop().await.unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        let after = Kept::of(&cluster).await.expect("metrics are shown");
        let beyond = after.beyond(&before);
        if beyond.is_empty() && nothing(&after) {
            println!("{} tasks before, {} after", before.sum("_tasks"), after.sum("_tasks"));
            break;
        }
        assert!(std::time::Instant::now() < until, "this is left: {beyond:#?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    for coordinator in 0..2 {
        assert_eq!(cluster.tree(coordinator, "show").await, None, "no coordinator remembers the room");
    }
}
