//! A cluster in one process, and a client.

pub mod client;
pub mod node;
#[path = "../../../../tests/support/src/problems.rs"]
pub mod problems;
pub mod sse;

use std::sync::Arc;
use std::time::Duration;

use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::keys;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::secret::Secret;
use freshet_cluster::store::Store as _;
use freshet_cluster::store::memory::MemoryStore;
use freshet_cluster::token::{ApiKey, ApiKeys, Claims, sign};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::decode;
use freshet_coordinator::{Coordinator, CoordinatorConfig};
use freshet_edge::Guard;
use tokio::time::Instant;

pub use client::{Answer, ask, get, offer};
pub use node::{Behaviour, FakeNode};

pub const SECRET: &str = "a secret of the whole cluster";
pub const KEY: &str = "k1:0123456789abcdef0123456789abcdef";

/// Store, bus, coordinators.
pub struct World {
    pub store: MemoryStore,
    pub bus: MemoryBus,
    pub coordinators: Vec<Coordinator>,
}

impl World {
    /// `n` open coordinators.
    pub async fn open(n: usize) -> Self {
        Self::with(n, Guard::open(), |_| {}).await
    }

    /// `n` coordinators that want tokens of [`KEY`].
    pub async fn closed(n: usize) -> Self {
        let keys = ApiKeys::new([KEY.parse::<ApiKey>().unwrap()]).unwrap();
        Self::with(n, Guard::tokens(keys), |_| {}).await
    }

    pub async fn with(n: usize, guard: Guard, shape: impl Fn(&mut CoordinatorConfig)) -> Self {
        let mut world = Self { store: MemoryStore::new(), bus: MemoryBus::new(), coordinators: Vec::new() };
        for index in 0..n {
            let id = format!("c{index}").parse().unwrap();
            let listen = "127.0.0.1:0".parse().unwrap();
            let mut config = CoordinatorConfig::new(listen, id, guard.clone(), Secret::new(SECRET));
            config.join_timeout = Duration::from_millis(600);
            config.linger = Duration::from_secs(1);
            config.grace = Duration::from_millis(200);
            // Nodes come later in these tests; `ready.rs` is about those that are there.
            config.patience = Duration::ZERO;
            shape(&mut config);
            world.add(config).await;
        }
        world
    }

    /// Starts a coordinator and returns at once.
    pub async fn begin(&mut self, config: CoordinatorConfig) {
        let (store, bus) = (Arc::new(self.store.clone()), Arc::new(self.bus.clone()));
        self.coordinators.push(Coordinator::start(config, store, bus).await.unwrap());
    }

    pub async fn add(&mut self, config: CoordinatorConfig) {
        self.begin(config).await;
        let ready = self.url(self.coordinators.len() - 1, "/readyz");
        until("the coordinator to be ready", async || get(&ready).await.status == 200).await;
    }

    /// URL of a path at a coordinator.
    pub fn url(&self, coordinator: usize, path: &str) -> String {
        format!("http://{}{path}", self.coordinators[coordinator].http_addr())
    }

    /// A node that is registered, beats, and is known to all coordinators.
    pub async fn node(&self, name: &str, behaviour: Behaviour) -> FakeNode {
        let node = FakeNode::start(name, behaviour, &self.store, &self.bus).await;
        self.knows(&node).await;
        node
    }

    pub async fn knows(&self, node: &FakeNode) {
        for index in 0..self.coordinators.len() {
            until("a node to be heard", async || {
                let nodes = get(&self.url(index, "/v1/nodes")).await;
                // Without an operator's token it cannot be asked: the watch of a memory store is quick.
                if nodes.status == 401 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    return true;
                }
                let nodes = nodes.json();
                let ours = |n: &serde_json::Value| n["incarnation"] == node.incarnation.to_string();
                let known = nodes["nodes"].as_array().unwrap().iter().find(|n| ours(n)).cloned();
                known.is_some_and(|n| n["state"] == "alive" && n["cpu_millicores"] == 10)
            })
            .await;
        }
    }

    /// The stored plan of a room.
    pub async fn plan(&self, room: &str) -> Option<RoomPlan> {
        let entry = self.store.get(&keys::room_plan(&room.parse().unwrap())).await.unwrap()?;
        Some(decode("room plan", &entry.value).unwrap())
    }

    /// A counter of a coordinator, by its name and labels as they stand in `/metrics`.
    pub async fn metric(&self, coordinator: usize, name: &str) -> f64 {
        let text = get(&self.url(coordinator, "/metrics")).await.text();
        let line =
            text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
    }
}

/// A token.
pub fn token(room: &str, identity: &str, grants: &[&str]) -> String {
    let now = UnixMillis::now().0 / 1000;
    let claims = serde_json::json!({"room": room, "identity": identity, "grants": grants, "iat": now, "exp": now + 600});
    let claims: Claims = serde_json::from_value(claims).unwrap();
    sign(&KEY.parse::<ApiKey>().unwrap(), &claims)
}

/// Waits until something holds, 10 seconds at most.
pub async fn until(what: &str, check: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !check().await {
        assert!(Instant::now() < deadline, "waited 10 s for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
