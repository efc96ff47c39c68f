//! A publisher's health: what coordinator and node say of it from its POST on, and what the studio shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use freshet_loadtest::client::{Publisher, PublisherConfig};
use serde_json::Value;
use support::dev::Dev;
use support::{eventually, request};

const SOON: Duration = Duration::from_secs(20);
const SDP: (&str, &str) = ("content-type", "application/sdp");

async fn health(base: &str, path: &str) -> (u16, Value) {
    let answer = request("GET", &format!("{base}{path}"), None, &[], "").await.expect("an answer");
    (answer.status, answer.json())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinator_and_node_say_the_same_from_the_post_on_and_not_before() {
    let dev = Dev::start("health", 1, 10).await;
    let (base, node) = (dev.url().to_owned(), dev.node_url());
    let path = "/v1/rooms/stage/streams/main/health";
    for at in [&base, &node] {
        let (status, said) = health(at, path).await;
        assert_eq!((status, &said["reason"]), (404, &"no-publisher".into()), "{at}: {said}");
    }
    // A session whose ICE never begins.
    let offer = include_str!("data/offer-publish.sdp").replace('\n', "\r\n");
    let made = request("POST", &format!("{base}/whip/stage"), None, &[SDP], offer).await.unwrap();
    assert_eq!(made.status, 201);
    let links: Vec<&str> = made.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    assert_eq!(links, [format!("<{path}>; rel=\"urn:freshet:whip:ext:health\"")]);
    let of_both = |wanted: bool| {
        let (base, node) = (base.clone(), node.clone());
        async move {
            // The coordinator hears of a claim by the store, a moment later.
            eventually(SOON, &format!("both say that it is live: {wanted}"), || async {
                let (by_coordinator, by_node) = (health(&base, path).await, health(&node, path).await);
                let right = |(status, said): &(u16, Value)| *status == 200 && said["live"] == wanted;
                (right(&by_coordinator) && right(&by_node)).then_some((by_coordinator.1, by_node.1))
            })
            .await
        }
    };
    let (said, same) = of_both(false).await;
    assert_eq!(said, same, "before media the answers are one");
    assert_eq!((&said["warnings"], said["tracks"].as_array().unwrap().len()), (&Value::Array(vec![]), 2));
    for track in said["tracks"].as_array().unwrap() {
        assert_eq!((&track["layers"][0]["packets"], track.get("codec")), (&0.into(), None), "{track}");
    }

    let publisher = Publisher::connect(PublisherConfig::new(format!("{base}/whip/stage"))).await.unwrap();
    let (live, _) = of_both(true).await;
    assert!(live["generation"].as_u64() > said["generation"].as_u64(), "of the newer publish: {live}");
    publisher.stop().await.unwrap();
    eventually(SOON, "both say that nobody publishes", || async {
        let gone = (health(&base, path).await.0, health(&node, path).await.0);
        (gone == (404, 404)).then_some(())
    })
    .await;
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_studio_shows_the_host_how_its_media_arrives() {
    let dev = Dev::start("health-studio", 1, 10).await;
    dev.script("health.mjs");
    dev.stop();
}
