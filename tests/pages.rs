//! The real pages in a real Chromium, over a cluster in one process: publishers and viewers on different nodes. Where a
//! node is to die alone, over processes of their own.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use freshet_test_support as support;
use serde_json::json;
use support::dev::{Dev, browse};
use support::{Cluster, Plan, token};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_publishes_on_one_node_and_another_watches_on_another_and_they_chat() {
    // One session a node: the viewer cannot be where the publisher is.
    let dev = Dev::start("pages-watch", 3, 1).await;
    let result = dev.script("watch.mjs");
    assert!(result["frames"].as_u64().unwrap() > 60, "{result}");
    assert!(result["srtpCipher"].as_str().unwrap().contains("AEAD"), "{result}");
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_follow_a_redirect_to_the_node() {
    let dev = Dev::start_with("pages-redirect", 3, 1, &[("FRESHET_JOIN", "redirect")]).await;
    let result = dev.script("watch.mjs");
    assert!(result["frames"].as_u64().unwrap() > 60, "{result}");
    let sent_on = "freshet_coordinator_joins_total{kind=\"view\",outcome=\"redirected\"}";
    let count = support::metric(dev.url(), sent_on).await;
    assert!(count.is_some_and(|count| count >= 1.0), "{count:?}");
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_enough_and_every_page_looks_right() {
    let dev = Dev::start("pages-one", 1, 100).await;
    dev.script("watch.mjs");
    dev.script("pages.mjs");
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_finds_its_way_through_what_people_live_through() {
    // Three places: host, viewer and a second page that takes over, or host and two viewers.
    let dev = Dev::start("pages-recovery", 1, 3).await;
    dev.script("recovery.mjs");
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_who_pauses_or_mutes_for_a_minute_costs_no_viewer_its_session() {
    // Two sessions a node: a host's second viewer is at another one.
    let dev = Dev::start("pages-paused", 4, 2).await;
    let result = dev.script("paused.mjs");
    for name in ["paused", "muted"] {
        let (host, viewers) = (&result[name]["host"], result[name]["viewers"].as_array().unwrap());
        for at_hosts in [true, false] {
            let viewer = viewers.iter().find(|viewer| (viewer["node"] == *host) == at_hosts);
            assert_eq!(viewer.unwrap()["reconnects"], 0, "{result}");
        }
    }
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_tells_a_node_that_died_from_a_host_who_is_quiet() {
    // Each coordinator takes its clients to its own region's node, so that the viewer's can die without the host's.
    let region = |name: &str| {
        let region = if name.ends_with("-1") { "east" } else { "west" };
        vec!["--region".to_owned(), region.to_owned()]
    };
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 10 };
    let cluster = Cluster::start_as("pages-dead-node", plan, Box::new(region)).await;
    let (east, west) = (cluster.url(0), cluster.url(1));
    let (host, guest) = (token("quiet", "host", "publish"), token("quiet", "guest", "subscribe"));
    let pid = cluster.nodes[1].as_ref().unwrap().pid().to_string();
    let outcome = browse(
        "deadnode.mjs",
        &[
            ("FRESHET_PUBLISH_URL", &east),
            ("FRESHET_WATCH_URL", &west),
            ("FRESHET_ROOM", "quiet"),
            ("FRESHET_HOST_TOKEN", &host),
            ("FRESHET_GUEST_TOKEN", &guest),
            ("FRESHET_NODE_PID", &pid),
        ],
    );
    assert!(outcome.ok, "{}\n{}", outcome.said, cluster.tails());
    assert_eq!(outcome.result["viewer"], json!(["node-2", "node-1"]), "{}", outcome.said);
}
