//! Publishers that go while their claim of a stream is on its way: nothing of the stream stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;
use std::time::Duration;

use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::keys;
use freshet_cluster::store::Store as _;
use freshet_cluster::store::memory::MemoryStore;
use freshet_node::Node;
use freshet_node::session::{CreateSession, Direction};
use freshet_test_support as support;
use support::eventually;
use support::node::config;

const OFFER: &str = include_str!("data/offer-publish.sdp");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_goes_at_once_leaves_no_stream() {
    let store = Arc::new(MemoryStore::new());
    let node = Node::start(config("claims", 2), store.clone(), Arc::new(MemoryBus::new())).await.unwrap();
    let service = node.service();
    for n in 0..50_u32 {
        let ask = CreateSession {
            direction: Direction::Publish,
            room: "room".parse().unwrap(),
            stream: Some(format!("s{n}").parse().unwrap()),
            identity: "host".parse().unwrap(),
            offer: OFFER.to_owned(),
            only_if_absent: false,
            wait: false,
            placed: false,
            plan: None,
            client: None,
            there: None,
            whose: Default::default(),
            most: None,
        };
        let created = service.create(ask).await.expect("a session");
        // The client hung up: the session ends before, while or after its claim reaches it.
        service.end(created.session, None).await.expect("it ends");
    }
    eventually(Duration::from_secs(5), "nothing is left", || async {
        let listing = store.list(keys::ROOMS).await.ok()?;
        let snapshot = node.snapshot().await?;
        (listing.entries.is_empty() && snapshot.rooms.is_empty() && node.sessions() == 0).then_some(())
    })
    .await;
    // What is left would be written again within seconds.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(store.list(keys::ROOMS).await.unwrap().entries.is_empty());
    node.stop().await;
}
