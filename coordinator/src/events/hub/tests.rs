use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::secret::Secret;
use freshet_cluster::store::memory::MemoryStore;
use freshet_edge::Guard;

use futures::StreamExt as _;

use super::*;
use crate::config::CoordinatorConfig;

fn hubs() -> (Arc<Hubs>, Metrics) {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = CoordinatorConfig::new(listen, "c0".parse().unwrap(), Guard::open(), Secret::new("secret"));
    let metrics = Metrics::new().unwrap();
    let (store, bus) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBus::new()));
    (Hubs::new(Arc::new(State::new(config, store, bus, metrics.clone()))), metrics)
}

#[tokio::test]
async fn an_audience_is_told_to_spread_by_its_size() {
    for (audience, ms) in [(0, 0), (1, 2), (500, 1_000), (2_500, 5_000), (5_000, 5_000), (usize::MAX, 5_000)]
    {
        assert_eq!(spread_ms(audience), ms, "{audience}");
    }
    let (hubs, _metrics) = hubs();
    let room = "one".parse().unwrap();
    let mut all = Vec::new();
    for before in 0..ENTRIES * 2 {
        let mut stream = hubs.listen(&room, None).expect("a place");
        let first = stream.next().await.expect("a snapshot").unwrap();
        let told = format!("\"spread_ms\":{}", 2 * before);
        assert!(String::from_utf8_lossy(&first).contains(&told), "{first:?}, {told} is wanted");
        all.push(stream);
    }
}

/// On one thread nothing runs between two calls of `listen`: nobody is taken in, all wait.
#[tokio::test]
async fn more_than_may_wait_at_one_room_are_refused_and_counted() {
    let (hubs, metrics) = hubs();
    let room = "one".parse().unwrap();
    let taken: Vec<_> = (0..ENTRIES).map(|_| hubs.listen(&room, None).ok()).collect();
    assert!(taken.iter().all(Option::is_some));
    assert_eq!(metrics.listeners_refused.get(), 0);
    assert!(hubs.listen(&room, None).is_err());
    assert_eq!(metrics.listeners_refused.get(), 1);
    assert!(hubs.listen(&"another".parse().unwrap(), None).is_ok(), "another room has places of its own");
}
