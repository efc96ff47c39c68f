//! Whose token runs out, and who is sent away: the one goes on, the other ends and stays away, restarts included.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use freshet_cluster::token::{ApiKey, Claims, LEEWAY_S, sign};
use freshet_cluster::unit::{Bitrate, UnixMillis};
use freshet_loadtest::client::{PublisherConfig, SessionState};
use freshet_test_support as support;
use serde_json::{Value, json};

use support::{
    Answer, Cluster, KEY, Listener, Plan, eventually, get_json, publish, received_from, request, token, view,
};

const SOON: Duration = Duration::from_secs(30);
/// A session that is ended by those who run the room: here with a debug build, and others' tests beside it.
const AT_ONCE: Duration = Duration::from_secs(2);
const SDP: (&str, &str) = ("content-type", "application/sdp");
const JSON: (&str, &str) = ("content-type", "application/json");
/// Seconds in which the tokens that run out are still taken: enough to join on a busy machine.
const LEFT_S: u64 = 20;

fn light(config: &mut PublisherConfig) {
    config.video.as_mut().unwrap().bitrate = Bitrate::from_kbps(300);
}

async fn cluster(test: &str) -> Cluster {
    Cluster::start(test, Plan { nodes: 2, coordinators: 2, max_sessions: 20 }).await
}

/// A token that has run out but for the leeway.
fn ending(room: &str, identity: &str, grants: &[&str]) -> String {
    let exp = UnixMillis::now().0 / 1000 - LEEWAY_S + LEFT_S;
    let claims = json!({"room": room, "identity": identity, "grants": grants, "exp": exp});
    let claims: Claims = serde_json::from_value(claims).unwrap();
    sign(&KEY.parse::<ApiKey>().unwrap(), &claims)
}

/// POSTs an offer: `whip/room` or `whep/room`.
async fn join(base: &str, path: &str, token: &str) -> Answer {
    let offer = if path.starts_with("whip") {
        include_str!("data/offer-publish.sdp")
    } else {
        include_str!("data/offer-view.sdp")
    };
    let offer = offer.replace("\r\n", "\n").replace('\n', "\r\n");
    request("POST", &format!("{base}/{path}?wait=1"), Some(token), &[SDP], offer).await.expect("an answer")
}

async fn say(base: &str, room: &str, token: &str, id: &str) -> Answer {
    let (url, body) = (format!("{base}/v1/rooms/{room}/chat"), json!({"id": id, "text": "hello"}));
    request("POST", &url, Some(token), &[JSON], body.to_string()).await.expect("an answer")
}

fn why(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["reason"].as_str().unwrap_or_default().to_owned())
}

/// The room's sessions, once there are as many.
async fn sessions(base: &str, room: &str, admin: &str, count: usize) -> Vec<Value> {
    eventually(SOON, &format!("{count} sessions are listed"), || async {
        let page = get_json(&format!("{base}/v1/rooms/{room}/sessions"), Some(admin)).await?;
        let all = page["sessions"].as_array()?.clone();
        (all.len() == count).then_some(all)
    })
    .await
}

/// The newest thing that was said about streams to those who listen.
fn ended(heard: &str, identity: &str, reason: &str) -> bool {
    heard.split("\n\n").filter(|event| event.contains("event: stream")).any(|event| {
        let data = event.lines().find_map(|line| line.strip_prefix("data: "));
        let data: Value = data.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        data["state"] == "ended" && data["identity"] == identity && data["reason"] == reason
    })
}

/// Refused everywhere, to publish, to watch and to chat, once every process has heard of it.
async fn stays_away(cluster: &Cluster, room: &str, who: &str) {
    let nodes = cluster.node_ports.iter().map(|port| format!("http://127.0.0.1:{port}"));
    for at in nodes.chain((0..2).map(|n| cluster.url(n))) {
        for path in ["whip", "whep"] {
            eventually(SOON, "refused", || async {
                (why(&join(&at, &format!("{path}/{room}"), who).await) == (403, "revoked".to_owned()))
                    .then_some(())
            })
            .await;
        }
    }
    for n in 0..2 {
        let answer = say(&cluster.url(n), room, who, "again").await;
        assert_eq!(why(&answer), (403, "revoked".to_owned()));
        assert!(answer.json()["until_ms"].as_u64().unwrap() > UnixMillis::now().0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_runs_out_ends_no_session() {
    let cluster = cluster("expelled-expiry").await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    let (host, guest) =
        (ending("stage", "host", &["publish"]), ending("stage", "ann", &["subscribe", "publish"]));
    let publisher = publish(&one, "stage", &host, light).await;
    let viewer = view(&two, "stage", &guest, |_| {}).await;
    let listener = Listener::open(&one, "stage", &guest).await;
    let number = publisher.stats().publisher;
    assert!(viewer.wait_until(SOON, |_| received_from(&viewer, number) > 30).await, "{}", cluster.tails());
    let admin = token("stage", "boss", "admin");
    let before = sessions(&one, "stage", &admin, 2).await;

    for (who, path) in [(&host, "whip/stage"), (&guest, "whep/stage")] {
        for base in [&one, &two] {
            eventually(Duration::from_secs(LEFT_S + 30), "the token has run out", || async {
                let asked = request("GET", &format!("{base}/v1/rooms/stage"), Some(who), &[], "").await?;
                (asked.status == 401).then_some(())
            })
            .await;
            assert_eq!(why(&join(base, path, who).await), (401, "token-invalid".to_owned()));
        }
    }
    let then = received_from(&viewer, number);
    let goes_on = viewer.wait_until(SOON, |_| received_from(&viewer, number) > then + 150).await;
    assert!(goes_on, "{:?}\n{}", viewer.report(), cluster.tails());
    assert_eq!(publisher.state(), SessionState::Connected);
    assert_eq!(viewer.state(), SessionState::Connected);
    assert!(!listener.ended(), "who listened goes on, too");
    let ids = |all: &[Value]| all.iter().map(|one| one["session"].clone()).collect::<Vec<_>>();
    assert_eq!(ids(&sessions(&two, "stage", &admin, 2).await), ids(&before), "the same sessions");
    let report = viewer.close().await;
    assert_eq!(report.video().unwrap().segments.len(), 1, "one publish without a break");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_keeps_nobody_in_a_room() {
    let cluster = cluster("expelled-hanging").await;
    let admin = token("stage", "boss", "admin");
    for (node, who) in cluster.node_ports.iter().zip(["ann", "bob"]) {
        let made =
            join(&format!("http://127.0.0.1:{node}"), "whep/stage", &token("stage", who, "subscribe")).await;
        assert_eq!(made.status, 201, "{}", made.json());
    }
    let all = sessions(&cluster.url(0), "stage", &admin, 2).await;
    let there = all.iter().find(|one| one["node"] == "node-1").expect("one is at the first node");
    let hangs = cluster.nodes[1].as_ref().unwrap();
    hangs.signal("-STOP");
    let began = std::time::Instant::now();
    let url = format!("{}/v1/rooms/stage/sessions/{}", cluster.url(0), there["session"].as_str().unwrap());
    let answer = request("DELETE", &url, Some(&admin), &[], "").await;
    let took = began.elapsed();
    hangs.signal("-CONT");
    assert_eq!(answer.expect("an answer").status, 200);
    assert!(took < AT_ONCE, "it took {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_is_sent_away_is_heard_to_go_and_stays_away() {
    let mut cluster = cluster("expelled-publisher").await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    let admin = token("stage", "boss", "admin");
    let (dismissed, banned) =
        (token("stage", "host", "publish,subscribe,chat"), token("stage", "rival", "publish,subscribe,chat"));
    let audience = token("stage", "audience", "subscribe");
    let viewers = [
        view(&one, "stage", &audience, |config| config.url.push_str("?wait=1")).await,
        view(&two, "stage", &audience, |config| config.url.push_str("?wait=1")).await,
    ];
    let listeners =
        [Listener::open(&one, "stage", &audience).await, Listener::open(&two, "stage", &audience).await];
    let hear = async |identity: &str| {
        eventually(SOON, "those who listen hear that it ended, and why", || async {
            listeners.iter().all(|listener| ended(&listener.text(), identity, "revoked")).then_some(())
        })
        .await;
    };
    for (who, identity) in [(&dismissed, "host"), (&banned, "rival")] {
        let publisher = publish(&one, "stage", who, light).await;
        let number = publisher.stats().publisher;
        for viewer in &viewers {
            let sees = viewer.wait_until(SOON, |_| received_from(viewer, number) > 30).await;
            assert!(sees, "{identity}: {:?}\n{}", viewer.report(), cluster.tails());
        }
        eventually(SOON, "chat is open", || async {
            (say(&two, "stage", who, &format!("first-{identity}")).await.status < 300).then_some(())
        })
        .await;
        // One by its session, the other by its name; each by the coordinator that it did not come through.
        if identity == "host" {
            let all = sessions(&two, "stage", &admin, 3).await;
            let id = all.iter().find(|one| one["direction"] == "publish").unwrap()["session"].clone();
            let url = format!("{two}/v1/rooms/stage/sessions/{}", id.as_str().unwrap());
            let answer = request("DELETE", &url, Some(&admin), &[], "").await.unwrap();
            assert_eq!((answer.status, &answer.json()["session"]["identity"]), (200, &json!("host")));
        } else {
            let url = format!("{two}/v1/rooms/stage/bans/{identity}");
            assert_eq!(request("PUT", &url, Some(&admin), &[], "").await.unwrap().status, 200);
        }
        assert!(publisher.ended(AT_ONCE).await.is_some(), "its session ends\n{}", cluster.tails());
        let asked = publisher.resource().request(http::Method::DELETE, &[], "").await.unwrap();
        let reason = asked.problem().and_then(|problem| problem.reason);
        assert_eq!((asked.status, reason.as_deref()), (404, Some("revoked")), "{}", asked.text());
        hear(identity).await;
        stays_away(&cluster, "stage", who).await;
        for viewer in &viewers {
            assert_eq!(viewer.state(), SessionState::Connected, "who watches stays");
        }
    }
    // A viewer who plays, too: nothing more comes from a moment after the answer on.
    let again = publish(&one, "stage", &token("stage", "heir", "publish"), light).await;
    let number = again.stats().publisher;
    let [watching, other] = viewers;
    for viewer in [&watching, &other] {
        let sees = viewer.wait_until(SOON, |_| received_from(viewer, number) > 30).await;
        assert!(sees, "{:?}\n{}", viewer.report(), cluster.tails());
    }
    let id = watching.resource().url().rsplit_once('/').unwrap().1.to_owned();
    let url = format!("{two}/v1/rooms/stage/sessions/{id}?ban=0");
    let answer = request("DELETE", &url, Some(&admin), &[], "").await.unwrap();
    assert_eq!((answer.status, &answer.json()["session"]["direction"]), (200, &json!("view")));
    assert!(watching.ended(AT_ONCE).await.is_some(), "its session ends\n{}", cluster.tails());
    let seen = (received_from(&watching, number), received_from(&other, number));
    let goes_on = other.wait_until(SOON, |_| received_from(&other, number) > seen.1 + 60).await;
    assert!(goes_on, "the other one plays on: {:?}", other.report());
    assert_eq!(received_from(&watching, number), seen.0, "nothing comes any more");
    again.stop().await.unwrap();
    other.close().await;

    // Every process of ours starts anew: the store remembers.
    for process in cluster.nodes.iter_mut().chain(&mut cluster.coordinators) {
        process.take().unwrap().kill();
    }
    for n in 0..2 {
        cluster.coordinators[n] = Some(cluster.coordinator(n));
        cluster.nodes[n] = Some(cluster.node(n));
    }
    cluster.settled().await;
    let bans = get_json(&format!("{two}/v1/rooms/stage/bans"), Some(&admin)).await.unwrap();
    let names: Vec<&str> =
        bans["bans"].as_array().unwrap().iter().map(|ban| ban["identity"].as_str().unwrap()).collect();
    assert_eq!(names, ["host", "rival"]);
    for who in [&dismissed, &banned] {
        stays_away(&cluster, "stage", who).await;
    }
    assert_eq!(join(&one, "whep/stage", &audience).await.status, 201, "everybody else comes in");
}
