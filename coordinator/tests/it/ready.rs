//! When a coordinator says that it should be sent work.

use std::time::Duration;

use freshet_cluster::secret::Secret;
use freshet_coordinator::CoordinatorConfig;
use freshet_edge::Guard;
use http::Method;

use crate::support::{Answer, Behaviour, FakeNode, SECRET, World, ask, get, offer, until};

fn config(patience: Duration) -> CoordinatorConfig {
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config =
        CoordinatorConfig::new(listen, "late".parse().unwrap(), Guard::open(), Secret::new(SECRET));
    config.patience = patience;
    config
}

/// What `/readyz` says is missing, in time.
async fn waits_for(world: &World, what: &str) {
    until(what, async || {
        let answer = get(&world.url(0, "/readyz")).await;
        assert_eq!((answer.status, answer.reason().as_str()), (503, "not-ready"), "{answer:?}");
        assert!(answer.retry_after() >= 1);
        answer.json()["detail"].as_str().unwrap().contains(what)
    })
    .await;
}

async fn say(world: &World) -> Answer {
    let body = r#"{"id":"a","text":"hello","from":"ann"}"#;
    let url = world.url(0, "/v1/rooms/r1/chat");
    ask(Method::POST, &url, &[("content-type", "application/json")], body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_waits_for_store_bus_and_nodes_and_then_joins_and_chat_work_at_once() {
    let mut world = World::open(0).await;
    let node = FakeNode::start("quiet", Behaviour::Accept, &world.store, &world.bus).await;
    node.set_quiet(true);
    world.store.set_away(true);
    world.bus.set_away(true);
    world.begin(config(Duration::from_secs(3600))).await;
    waits_for(&world, "the store (etcd) has not been read").await;
    assert_eq!(offer(&world.url(0, "/whep/r1?wait=1")).await.reason(), "starting");
    world.store.set_away(false);
    waits_for(&world, "the bus (NATS) is not connected").await;
    world.bus.set_away(false);
    waits_for(&world, "no heartbeat of node quiet").await;
    node.set_quiet(false);
    until("ready", async || get(&world.url(0, "/readyz")).await.status == 200).await;
    let answer = offer(&world.url(0, "/whep/r1?wait=1")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(say(&world).await.status, 201);
    // From now on an outage is no reason to take it out: all replicas have it alike.
    world.store.set_away(true);
    world.bus.set_away(true);
    assert_eq!(say(&world).await.status, 503, "the bus is away indeed");
    assert_eq!(get(&world.url(0, "/readyz")).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_node_is_waited_for_and_joins_say_why_they_fail() {
    let mut world = World::open(0).await;
    world.begin(config(Duration::from_secs(3600))).await;
    waits_for(&world, "no node has registered").await;
    let answer = offer(&world.url(0, "/whep/r1?wait=1")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "starting"), "{answer:?}");
    let _node = FakeNode::start("first", Behaviour::Accept, &world.store, &world.bus).await;
    until("ready", async || get(&world.url(0, "/readyz")).await.status == 200).await;
    assert_eq!(offer(&world.url(0, "/whep/r1?wait=1")).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_nodes_does_not_keep_it_for_ever() {
    let mut world = World::open(0).await;
    world.begin(config(Duration::from_millis(300))).await;
    until("ready", async || get(&world.url(0, "/readyz")).await.status == 200).await;
    let answer = offer(&world.url(0, "/whep/r1?wait=1")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "over-capacity"), "{answer:?}");
    assert_eq!(say(&world).await.status, 201);
}
