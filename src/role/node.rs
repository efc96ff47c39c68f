//! `freshet node`: from settings to a running node.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use freshet_cluster::bus::SharedBus;
use freshet_cluster::store::SharedStore;
use freshet_node::quic::Trust;
use freshet_node::{Node, NodeConfig, StartError};
use tokio::sync::RwLock;

use crate::config::{NodeSettings, RelayFiles};
use crate::lifecycle::Service;

use super::common;

/// A drain looks this often whether the last session has left.
const LOOK: Duration = Duration::from_millis(200);
/// The registry learns of a drain within this time, or later.
const TELL_LIMIT: Duration = Duration::from_secs(1);
/// Set by a test, in microseconds: a deliberate error in the sender reports of video, which the test of lip sync must
/// notice.
const SKEW: &str = "FRESHET_TEST_REPORT_SKEW_US";

/// A node that runs.
pub struct Running {
    /// `None` once it has stopped.
    node: RwLock<Option<Node>>,
}

/// What the node is told.
pub fn config(settings: NodeSettings) -> anyhow::Result<NodeConfig> {
    let NodeSettings {
        common: shared,
        media,
        member,
        relay,
        relay_files,
        relay_advertise,
        listen_plain,
        http_advertise,
    } = settings;
    Ok(NodeConfig {
        id: member.id,
        region: media.region,
        zone: media.zone,
        addresses: media.addresses,
        shards: media.shards,
        batch: media.batch,
        viewer_cap: media.viewer_cap,
        ring: (media.ring_time, media.ring_bytes),
        keyframe_age: media.keyframe_age,
        relay,
        relay_trust: match relay_files.map(|files| *files) {
            None => Trust::Registry,
            Some(RelayFiles { ca, cert, key }) => Trust::CaFiles { ca, cert, key },
        },
        relay_advertise,
        tls: common::tls(&shared)?,
        listen: shared.listen,
        listen_plain,
        http_advertise,
        guard: common::guard(&shared.access),
        door: shared.door.clone(),
        cluster_secret: Some(member.cluster_secret),
        ice: common::ice(&shared),
        public_url: shared.public_url,
        max_sessions: media.max_sessions,
        max_busy: media.max_busy,
        max_egress: media.max_egress,
        report_skew_us: report_skew_us(),
    })
}

/// The deliberate error that a test asks for; none otherwise.
pub fn report_skew_us() -> i64 {
    std::env::var(SKEW).ok().and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// Starts it. It serves as soon as this returns.
pub async fn start(config: NodeConfig, store: SharedStore, bus: SharedBus) -> Result<Running, StartError> {
    let node = Node::start(config, store, bus).await?;
    Ok(Running { node: RwLock::new(Some(node)) })
}

impl Running {
    /// A line for people: its name, where it serves HTTP and at which ports it takes media. `None` once it has stopped.
    pub async fn about(&self) -> Option<String> {
        let held = self.node.read().await;
        let node = held.as_ref()?;
        let ports: BTreeSet<u16> =
            node.shards().iter().flat_map(|shard| shard.candidates()).map(SocketAddr::port).collect();
        let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
        let (name, http) = (node.id().as_str(), node.http_addr());
        Some(format!("{name:<11}  http://{http}/metrics, media at UDP {}", ports.join(", ")))
    }
}

#[async_trait]
impl Service for Running {
    async fn drain(&self) {
        if let Some(node) = &*self.node.read().await {
            // A store that is away must not keep the end waiting; new sessions are refused in any case.
            let _told = tokio::time::timeout(TELL_LIMIT, node.drain()).await;
        }
        loop {
            match self.node.read().await.as_ref().map(Node::sessions) {
                Some(0) | None => return,
                Some(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    async fn stop(&self) {
        let taken = self.node.write().await.take();
        if let Some(node) = taken {
            node.stop().await;
        }
    }
}
