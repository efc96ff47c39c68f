use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::secret::Secret;
use freshet_cluster::store::memory::MemoryStore;
use freshet_edge::Guard;

use super::*;
use crate::config::CoordinatorConfig;

/// On one thread nothing runs between two calls of `listen`: nobody is taken in, all wait.
#[tokio::test]
async fn more_than_may_wait_at_one_room_are_refused_and_counted() {
    let listen = "127.0.0.1:0".parse().unwrap();
    let config = CoordinatorConfig::new(listen, "c0".parse().unwrap(), Guard::open(), Secret::new("secret"));
    let metrics = Metrics::new().unwrap();
    let (store, bus) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBus::new()));
    let hubs = Hubs::new(Arc::new(State::new(config, store, bus, metrics.clone())));
    let room = "one".parse().unwrap();
    let taken: Vec<_> = (0..ENTRIES).map(|_| hubs.listen(&room, None).ok()).collect();
    assert!(taken.iter().all(Option::is_some));
    assert_eq!(metrics.listeners_refused.get(), 0);
    assert!(hubs.listen(&room, None).is_err());
    assert_eq!(metrics.listeners_refused.get(), 1);
    assert!(hubs.listen(&"another".parse().unwrap(), None).is_ok(), "another room has places of its own");
}
