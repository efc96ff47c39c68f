//! `freshet coordinator`: from settings to a running coordinator.

use std::net::SocketAddr;

use async_trait::async_trait;
use freshet_cluster::bus::SharedBus;
use freshet_cluster::store::SharedStore;
use freshet_coordinator::{Coordinator, CoordinatorConfig, StartError};
use tokio::sync::RwLock;

use crate::config::CoordinatorSettings;
use crate::lifecycle::Service;

use super::common;

/// A coordinator that runs.
pub struct Running {
    /// `None` once it has stopped.
    coordinator: RwLock<Option<Coordinator>>,
}

/// What the coordinator is told.
pub fn config(settings: CoordinatorSettings) -> anyhow::Result<CoordinatorConfig> {
    let CoordinatorSettings { common: shared, member, region, redirect } = settings;
    let guard = common::guard(&shared.access);
    let ice = common::ice(&shared);
    let tls = common::tls(&shared)?;
    let mut config = CoordinatorConfig::new(shared.listen, member.id, guard, member.cluster_secret);
    config.region = region;
    config.redirect = redirect;
    config.door = shared.door;
    config.public_url = shared.public_url;
    config.ice = ice;
    config.linger = shared.room_linger;
    config.tls = tls;
    Ok(config)
}

/// Starts it.
pub async fn start(
    config: CoordinatorConfig,
    store: SharedStore,
    bus: SharedBus,
) -> Result<Running, StartError> {
    let coordinator = Coordinator::start(config, store, bus).await?;
    Ok(Running { coordinator: RwLock::new(Some(coordinator)) })
}

impl Running {
    /// Where it serves HTTP; `None` once it has stopped.
    pub async fn http_addr(&self) -> Option<SocketAddr> {
        self.coordinator.read().await.as_ref().map(Coordinator::http_addr)
    }

    /// What it waits for; nothing when it is ready and has heard so many nodes.
    pub async fn waits_for(&self, nodes: usize) -> Option<String> {
        let held = self.coordinator.read().await;
        let Some(coordinator) = &*held else { return Some("the coordinator has stopped".to_owned()) };
        if let Err(missing) = coordinator.ready() {
            return Some(missing.to_string());
        }
        let heard = coordinator.nodes_heard();
        (heard < nodes).then(|| format!("{heard} of {nodes} nodes have been heard"))
    }
}

#[async_trait]
impl Service for Running {
    /// It has no sessions of its own: balancers see that it is not ready, and it serves until the time is over.
    async fn drain(&self) {
        if let Some(coordinator) = &*self.coordinator.read().await {
            coordinator.drain().await;
        }
        std::future::pending::<()>().await;
    }

    async fn stop(&self) {
        let taken = self.coordinator.write().await.take();
        if let Some(coordinator) = taken {
            coordinator.stop().await;
        }
    }
}
