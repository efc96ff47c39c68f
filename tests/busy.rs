//! A node's media threads that have no time left get no more sessions, and get them again when they have.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::store::memory::MemoryStore;
use freshet_node::Node;
use freshet_test_support as support;
use support::node::config;
use support::{Answer, eventually, metric, request};

const PUBLISH: &str = include_str!("data/offer-publish.sdp");
const VIEW: &str = include_str!("data/offer-view.sdp");
const PATIENCE: Duration = Duration::from_secs(30);
/// Little, so that two floods that share a small machine with both shards get there, and much for a thread that has
/// nothing to do.
const LIMIT: u32 = 8;

/// Datagrams of nobody's, as fast as they go.
struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    fn start(to: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                let _ = socket.send_to(&[0x80; 100], to);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

async fn offer(url: String, offer: &'static str) -> Answer {
    request("POST", &url, None, &[("content-type", "application/sdp")], offer)
        .await
        .expect("the node answers")
}

async fn full_shards(base: &str, wanted: f64) {
    eventually(PATIENCE, &format!("{wanted} shards are full"), || async {
        (metric(base, "freshet_node_full_shards").await? == wanted).then_some(())
    })
    .await;
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_shard_gets_no_more_sessions_and_a_node_of_busy_shards_refuses_them() {
    let mut config = config("busy", 2);
    config.max_busy = LIMIT;
    let node = Node::start(config, Arc::new(MemoryStore::new()), Arc::new(MemoryBus::new())).await.unwrap();
    let base = format!("http://{}", node.http_addr());
    let doors: Vec<SocketAddr> = node.shards().iter().map(|shard| shard.candidates()[0]).collect();

    let first = Flood::start(doors[0]);
    full_shards(&base, 1.0).await;
    let busy = metric(&base, "freshet_node_shard_busy_ratio{shard=\"0\"}").await.unwrap();
    assert!((0.07..=1.0).contains(&busy), "{busy}");
    let mut sessions = Vec::new();
    for n in 0..4 {
        // By number of sessions every other one would be the first shard's.
        let made = offer(format!("{base}/whip/room/s{n}"), PUBLISH).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        assert!(header(&made, "etag").starts_with("\"001"), "{:?}", made.headers);
        sessions.push(header(&made, "location").to_owned());
    }

    let second = Flood::start(doors[1]);
    full_shards(&base, 2.0).await;
    for (path, sdp) in [("/whip/room/late", PUBLISH), ("/whep/room?wait=1", VIEW)] {
        let refused = offer(format!("{base}{path}"), sdp).await;
        let said = refused.json();
        assert_eq!((refused.status, &said["reason"]), (503, &"over-capacity".into()), "{said:#}");
        assert_eq!(
            (header(&refused, "retry-after"), header(&refused, "freshet-refused")),
            ("5", "over-capacity")
        );
        assert_eq!(said["busy_limit_percent"], LIMIT);
        assert!(said["busy_percent"].as_u64() >= Some(7), "{said:#}");
        let detail = said["detail"].as_str().unwrap();
        assert!(detail.contains("media threads were at work") && detail.contains("another node"), "{detail}");
    }
    assert_eq!(metric(&base, "freshet_node_busy_refusals_total").await, Some(2.0));
    assert_eq!(metric(&base, "freshet_node_busy_limit_ratio").await, Some(0.08));
    // Who is there is served on.
    let ended = request("DELETE", &format!("{base}{}", sessions[0]), None, &[], "").await.unwrap();
    assert!(
        matches!(ended.status, 200 | 404),
        "{} {:?}: it ends, or has ended for silence",
        ended.status,
        ended.body
    );
    assert!(node.sessions() < 4, "what was refused holds no place");

    drop((first, second));
    full_shards(&base, 0.0).await;
    assert_eq!(offer(format!("{base}/whep/room?wait=1"), VIEW).await.status, 201);
    support::names::check(&base, "node").await;
    node.stop().await;
}
