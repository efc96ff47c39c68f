//! A publisher's health: what coordinator and node say of it from its POST on, what they measure of its path, and what the
//! studio shows.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use freshet_loadtest::client::{Publisher, PublisherConfig};
use freshet_test_support as support;
use serde_json::Value;
use str0m::format::Codec;
use support::dev::Dev;
use support::peer::{Host, Path, Peer, talk};
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

/// What is said of a picture's path, once it is: round trip and jitter in microseconds.
async fn path_of(base: &str, room: &str) -> Option<(u64, u64)> {
    let (_, said) = health(base, &format!("/v1/rooms/{room}/streams/main/health")).await;
    let video = said["tracks"].as_array()?.iter().find(|track| track["kind"] == "video")?;
    Some((video["round_trip_us"].as_u64()?, video["layers"][0]["jitter_us"].as_u64()?))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_trip_and_jitter_are_those_of_the_publishers_path() {
    const FRAME: Duration = Duration::from_millis(33);
    let dev = Dev::start("health-path", 1, 10).await;
    let (base, node) = (dev.url().to_owned(), dev.node_url());
    let offer = include_str!("data/offer-obs.sdp");
    let mut near = Host::publishes(&base, "near", offer, Codec::H264).await;
    let mut far = Host::publishes(&base, "far", offer, Codec::H264).await;
    far.peer.path = Path { each_way: Duration::from_millis(40), every_other: Duration::from_millis(20) };
    let connected = |peers: &[&mut Peer]| peers.iter().all(|peer| peer.connected);
    assert!(talk(&mut [&mut near.peer, &mut far.peer], SOON, connected).await, "ICE and DTLS");
    let began = Instant::now();
    loop {
        // Half a second of pictures, each dated as it leaves: what is late is so by its path alone.
        let sends = async {
            for _ in 0..15 {
                for host in [&mut near, &mut far] {
                    let ticks = u32::try_from(began.elapsed().as_micros() * 9 / 100).unwrap();
                    host.shows(ticks, vec![vec![0x41; 500]]);
                }
                talk(&mut [&mut near.peer, &mut far.peer], FRAME, |_| false).await;
            }
        };
        let asks = async {
            let of_near = [path_of(&base, "near").await, path_of(&node, "near").await];
            (of_near, [path_of(&base, "far").await, path_of(&node, "far").await])
        };
        let ((), (of_near, of_far)) = tokio::join!(sends, asks);
        let is_near = |(trip, jitter): (u64, u64)| trip < 40_000 && jitter < 8_000;
        // Twice 40 ms, and up to 20 more; pictures are 20 ms later and earlier than the one before in turns.
        let is_far = |(trip, jitter): (u64, u64)| {
            (75_000..200_000).contains(&trip) && (8_000..40_000).contains(&jitter)
        };
        let told = of_near.iter().all(|path| path.is_some_and(is_near));
        if told && of_far.iter().all(|path| path.is_some_and(is_far)) {
            break;
        }
        assert!(began.elapsed() < SOON, "round trip and jitter: {of_near:?} near, {of_far:?} far");
    }
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_studio_shows_the_host_how_its_media_arrives() {
    let dev = Dev::start("health-studio", 1, 10).await;
    dev.script("health.mjs");
    dev.stop();
}
