//! Each shard of a node has a core of its own where there is one for each. Alone in its file: the names of threads are
//! those of the process, and tests of one file share it.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::sync::Arc;

use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::store::memory::MemoryStore;
use freshet_node::Node;
use freshet_test_support as support;
use support::node::config;

/// The cores that a thread of this process may run on, from its status: "0-3,8".
fn cores(status: &str) -> Vec<u16> {
    let list = field(status, "Cpus_allowed_list:");
    let range = |range: &str| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse::<u16>().unwrap()..=last.parse().unwrap()
    };
    list.split(',').flat_map(range).collect()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim()
}

/// The threads of shards by their names, and the cores of each; no name stands twice.
fn shards() -> BTreeMap<String, Vec<u16>> {
    let mut shards = BTreeMap::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        // One that has just ended has none.
        let Ok(status) = std::fs::read_to_string(task.unwrap().path().join("status")) else { continue };
        let name = field(&status, "Name:");
        if name.starts_with("shard-") {
            assert!(shards.insert(name.to_owned(), cores(&status)).is_none(), "{name} is there twice");
        }
    }
    shards
}

async fn start(of: usize) -> (Node, Vec<Vec<u16>>) {
    let config = config("pinned", u16::try_from(of).unwrap());
    let node = Node::start(config, Arc::new(MemoryStore::new()), Arc::new(MemoryBus::new())).await.unwrap();
    let mut all = shards();
    let found = (0..of).map(|n| all.remove(&format!("shard-{n}")).unwrap()).collect();
    assert!(all.is_empty(), "{all:?}");
    (node, found)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_shard_has_a_core_of_its_own_where_there_are_enough() {
    let all = cores(&std::fs::read_to_string("/proc/self/status").unwrap());
    let many = all.len().min(64);
    if many > 1 {
        let (node, found) = start(many).await;
        let own: Vec<Vec<u16>> = all.iter().take(many).map(|core| vec![*core]).collect();
        assert_eq!(found, own);
        node.stop().await;
        support::eventually(std::time::Duration::from_secs(10), "the threads end", || async {
            shards().is_empty().then_some(())
        })
        .await;
    }
    // Too many for that are left to the scheduler. A node has no more than 64.
    if many < 64 {
        let (node, found) = start(many + 1).await;
        assert_eq!(found, vec![all; many + 1]);
        node.stop().await;
    }
}
