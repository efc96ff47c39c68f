//! The store or the bus away, the store wiped, a node dead.

use std::time::Duration;

use freshet_cluster::Epoch;

use crate::support::sse::Listener;
use crate::support::{Behaviour, FakeNode, World, get, offer, until};

const WHEP: &str = "/whep/r1?wait=1";

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_viewers_join_where_the_room_runs() {
    let world = World::open(1).await;
    let a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Accept).await;
    assert_eq!(offer(&world.url(0, WHEP)).await.status, 201);
    world.store.set_away(true);
    let answer = offer(&world.url(0, WHEP)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(a.seen().len(), 2);
    a.behave(Behaviour::Refuse("over-capacity"));
    let answer = offer(&world.url(0, WHEP)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "store-away"));
    assert!((2..=10).contains(&answer.retry_after()));
    let answer = offer(&world.url(0, "/whep/new?wait=1")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "store-away"));
    assert!(b.seen().is_empty());
    world.store.set_away(false);
    until("joins to work again", async || offer(&world.url(0, WHEP)).await.status == 201).await;
    assert_eq!(world.plan("r1").await.unwrap().members.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_store_gets_the_plans_again_above_every_epoch_that_a_node_knows() {
    let world = World::open(2).await;
    let a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Accept).await;
    assert_eq!(offer(&world.url(0, WHEP)).await.status, 201);
    a.behave(Behaviour::Refuse("over-capacity"));
    assert_eq!(offer(&world.url(1, WHEP)).await.status, 201);
    a.behave(Behaviour::Accept);
    a.publish("r1", "cam", 5).await;
    let before = world.plan("r1").await.unwrap();
    assert_eq!(before.members.len(), 2);
    let known = before.epoch.0 + 1_000;
    b.carry("r1", known, 1);
    world.store.wipe();
    for node in [&a, &b] {
        node.register().await;
    }
    until("the plan to be written again", async || world.plan("r1").await.is_some()).await;
    let after = world.plan("r1").await.unwrap();
    assert!(after.epoch > Epoch(known), "{} is not above {known}", after.epoch);
    assert_eq!(after.members, before.members, "running edges stay");
    tokio::time::sleep(Duration::from_secs(6)).await;
    let room = get(&world.url(0, "/v1/rooms/r1")).await.json();
    assert_eq!(room["streams"][0]["live"], true, "a vanished key ends no stream: {room}");
    assert_eq!(world.metric(0, "freshet_coordinator_nodes_died_total").await, 0.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_node_leaves_the_tree_and_its_streams_end() {
    let world = World::open(2).await;
    let mut a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Accept).await;
    assert_eq!(offer(&world.url(0, WHEP)).await.status, 201);
    a.behave(Behaviour::Refuse("over-capacity"));
    assert_eq!(offer(&world.url(0, WHEP)).await.status, 201);
    a.publish("r1", "cam", 5).await;
    let mut listener = Listener::open(&world.url(1, "/v1/rooms/r1/events"), None).await;
    until("the stream to be seen", async || {
        get(&world.url(1, "/v1/rooms/r1")).await.json()["streams"][0]["live"] == true
    })
    .await;
    b.link(&a);
    a.vanish();
    world.store.expire_lease(a.lease);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let cluster = get(&world.url(0, "/v1/cluster")).await.text();
    let plan = world.plan("r1").await.unwrap();
    assert_eq!(plan.members.len(), 2, "{cluster} b still reports a live link with it");
    drop(b);
    let b = world.node("b", Behaviour::Accept).await;
    b.carry("r1", 1, 1);
    let ended = loop {
        let event = listener.next_of("stream").await;
        if event.data["state"] == "ended" {
            break event;
        }
    };
    assert_eq!(
        (ended.data["stream"].as_str(), ended.data["reason"].as_str()),
        (Some("cam"), Some("node-dead"))
    );
    until("the tree to heal", async || {
        let plan = world.plan("r1").await;
        plan.is_some_and(|plan| plan.members.len() == 1 && plan.members[0].incarnation == b.incarnation)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_again_under_its_id_ends_what_it_had_at_once() {
    let world = World::open(1).await;
    let mut a = world.node("a", Behaviour::Accept).await;
    assert_eq!(offer(&world.url(0, "/whip/r1")).await.status, 201);
    a.publish("r1", "cam", 5).await;
    let mut listener = Listener::open(&world.url(0, "/v1/rooms/r1/events"), None).await;
    until("the stream to be seen", async || {
        get(&world.url(0, "/v1/rooms/r1")).await.json()["streams"][0]["live"] == true
    })
    .await;
    a.vanish();
    let began = std::time::Instant::now();
    let again = FakeNode::start("a", Behaviour::Accept, &world.store, &world.bus).await;
    let ended = loop {
        let event = listener.next_of("stream").await;
        if event.data["state"] == "ended" {
            break event;
        }
    };
    assert_eq!(ended.data["reason"], "node-dead");
    assert!(began.elapsed() < Duration::from_secs(2), "no time-out is waited for");
    until("the old start to leave the tree", async || world.plan("r1").await.is_none()).await;
    assert_eq!(offer(&world.url(0, "/whip/r1")).await.status, 201);
    assert_eq!(world.plan("r1").await.unwrap().members[0].incarnation, again.incarnation);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_bus_nobody_dies_and_joins_go_on() {
    let world = World::open(1).await;
    let a = world.node("a", Behaviour::Accept).await;
    assert_eq!(offer(&world.url(0, WHEP)).await.status, 201);
    world.bus.set_away(true);
    world.store.expire_lease(a.lease);
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(world.metric(0, "freshet_coordinator_nodes_died_total").await, 0.0);
    assert_eq!(offer(&world.url(0, WHEP)).await.status, 201, "suspect, and better than nobody");
    world.bus.set_away(false);
    a.register().await;
    world.knows(&a).await;
    assert_eq!(world.metric(0, "freshet_coordinator_nodes_died_total").await, 0.0);
}
