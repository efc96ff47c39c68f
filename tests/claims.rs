//! Publishers that go while their claim of a stream is on its way: nothing of the stream stays.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::keys;
use freshet_cluster::store::Store as _;
use freshet_cluster::store::memory::MemoryStore;
use freshet_cluster::unit::Bitrate;
use freshet_edge::Guard;
use freshet_edge::ice::IceServers;
use freshet_node::session::{CreateSession, Direction};
use freshet_node::{Node, NodeConfig};
use support::eventually;

const OFFER: &str = include_str!("data/offer-publish.sdp");

fn config() -> NodeConfig {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let any = SocketAddr::new(local, 0);
    NodeConfig {
        id: "claims".parse().unwrap(),
        region: String::new(),
        zone: String::new(),
        udp: any,
        shards: 2,
        batch: Duration::from_millis(5),
        viewer_cap: None,
        advertise: vec![local],
        relay: any,
        relay_advertise: None,
        relay_trust: Default::default(),
        listen: any,
        http_advertise: None,
        guard: Guard::open(),
        cluster_secret: None,
        public_url: None,
        ice: IceServers { plain: Vec::new(), turn: None },
        max_sessions: 100,
        max_egress: Bitrate::from_kbps(1_000_000),
        report_skew_us: 0,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_goes_at_once_leaves_no_stream() {
    let store = Arc::new(MemoryStore::new());
    let node = Node::start(config(), store.clone(), Arc::new(MemoryBus::new())).await.unwrap();
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
            plan: None,
            client: None,
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
