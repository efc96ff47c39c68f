//! Processes whose clocks differ: tokens are judged by the coordinator's, and nodes take its word.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use freshet_cluster::token::{ApiKey, Claims, sign};
use freshet_cluster::unit::UnixMillis;
use freshet_test_support as support;
use serde_json::json;
use support::{Cluster, KEY, Plan, metric, publish, request, served_by, token, view};

const SOON: Duration = Duration::from_secs(20);

/// The environment of a process whose clock is off by so many seconds. Its clock for intervals is as everybody's.
fn off_by(seconds: &str) -> Vec<(&'static str, String)> {
    let folders = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let library = folders.map(|path| path.join("faketime/libfaketimeMT.so.1")).find(|path| path.exists());
    let library = library.expect("libfaketime: install the package faketime (`make test` does)");
    vec![
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME", format!("{seconds}s")),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ]
}

/// A token whose times are so many seconds from now.
fn minted(room: &str, grant: &str, exp: i64, nbf: i64) -> String {
    let now = i64::try_from(UnixMillis::now().0 / 1_000).unwrap();
    let claims =
        json!({"room": room, "identity": grant, "grants": [grant], "exp": now + exp, "nbf": now + nbf});
    let claims: Claims = serde_json::from_value(claims).unwrap();
    sign(&KEY.parse::<ApiKey>().unwrap(), &claims)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_whose_clocks_are_off_serve_whom_the_coordinator_lets_in() {
    // Their clocks are 100 s apart: the first would take a token for over that the coordinator takes, the second one for early.
    let env = |name: &str| match name {
        "node-1" => off_by("+50"),
        "node-2" => off_by("-50"),
        _ => Vec::new(),
    };
    let plan = Plan { nodes: 2, coordinators: 1, max_sessions: 1 };
    let cluster = Cluster::start_in("clocks", plan, Box::new(|_| Vec::new()), env).await;
    let base = cluster.url(0);
    let grants = [("one", -30, -600), ("two", 600, 30), ("three", -30, -600), ("four", 600, 30)];
    for (room, exp, nbf) in grants {
        let token = minted(room, "publish", exp, nbf);
        // Places of the round before are free when a heartbeat says so.
        let publisher = publish(&base, room, &token, |config| config.retry_for = SOON).await;
        let viewer = view(&base, room, &minted(room, "subscribe", exp, nbf), |_| {}).await;
        let nodes = [served_by(publisher.resource().url()), served_by(viewer.resource().url())];
        assert_ne!(nodes[0], nodes[1], "it comes by a link");
        assert!(viewer.wait_for_media(SOON).await, "{room}: {:?}", viewer.report());
        let more = viewer.report().video().unwrap().received + 100;
        assert!(viewer.wait_until(SOON, |report| report.video().unwrap().received >= more).await, "{room}");
        viewer.close().await;
        publisher.stop().await.unwrap();
    }
    // By the coordinator's own clock it is too late, and too early.
    for (exp, nbf) in [(-70, -600), (600, 70)] {
        let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
        let sdp = [("content-type", "application/sdp")];
        let token = minted("one", "subscribe", exp, nbf);
        let answer = request("POST", &format!("{base}/whep/one"), Some(&token), &sdp, offer).await.unwrap();
        assert_eq!((answer.status, &answer.json()["reason"]), (401, &json!("token-invalid")), "{exp} {nbf}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_minutes_off_gets_nobody_and_is_named() {
    let env = |name: &str| if name == "node-1" { off_by("+300") } else { Vec::new() };
    let plan = Plan { nodes: 2, coordinators: 1, max_sessions: 1 };
    let cluster = Cluster::start_in("clocks-far", plan, Box::new(|_| Vec::new()), env).await;
    let base = cluster.url(0);
    let publisher = publish(&base, "one", &token("one", "host", "publish"), |_| {}).await;
    assert_eq!(served_by(publisher.resource().url()), "node-2");
    // The other node is full.
    let offer = include_str!("data/offer-publish.sdp").replace('\n', "\r\n");
    let sdp = [("content-type", "application/sdp")];
    let host = token("two", "host", "publish");
    let answer = request("POST", &format!("{base}/whip/two"), Some(&host), &sdp, offer).await.unwrap();
    assert_eq!(
        (answer.status, &answer.json()["reason"]),
        (503, &json!("over-capacity")),
        "{}",
        answer.json()
    );
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("set the clocks right"), "{detail}");
    let refused = metric(&base, "freshet_coordinator_join_refusals_total{reason=\"call-refused\"}").await;
    assert!(refused.unwrap() >= 1.0);
    publisher.stop().await.unwrap();
}
