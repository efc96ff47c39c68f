//! `freshet dev`: a whole cluster in one process, over a store and a bus in memory.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use freshet_cluster::NodeId;
use freshet_cluster::bus::SharedBus;
use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::secret::Secret;
use freshet_cluster::store::SharedStore;
use freshet_cluster::store::memory::MemoryStore;
use freshet_coordinator::CoordinatorConfig;
use freshet_node::NodeConfig;
use freshet_node::book::{Addresses, reach};
use freshet_node::quic::Trust;
use futures::future::join_all;

use crate::config::{Access, DevSettings};
use crate::host;
use crate::lifecycle::Service;
use crate::output;

use super::local::{self, Local};
use super::{common as shared, coordinator, node};

/// Nodes are registered and heard within this time, or something is wrong.
const READY_LIMIT: Duration = Duration::from_secs(10);

const TOO_FEW: &str = "--udp-port or --candidate leaves too few ports for so many nodes";

/// A coordinator and its nodes.
pub struct Running {
    coordinator: coordinator::Running,
    nodes: Vec<node::Running>,
}

/// Starts everything and prints where the page is, when it can be used.
pub async fn start(settings: DevSettings) -> anyhow::Result<Running> {
    let DevSettings { common, media, nodes: count, redirect, tls } = settings;
    let local = match tls {
        true => {
            let found = media.ips.iter().copied().chain(host::addresses());
            Some(local::certificate(&host::name(), found.chain([common.listen.ip()]))?)
        }
        false => None,
    };
    let tls = match &local {
        Some(local) => Some(local.tls.clone()),
        None => shared::tls(&common)?,
    };
    let scheme = if tls.is_some() { "https" } else { "http" };
    let store: SharedStore = Arc::new(MemoryStore::new());
    let bus: SharedBus = Arc::new(MemoryBus::new());
    let cluster_secret = Secret::new(&format!("{:032x}", rand::random::<u128>()));
    let guard = shared::guard(&common.access);
    let ice = shared::ice(&common);

    let mut config =
        CoordinatorConfig::new(common.listen, name("dev")?, guard.clone(), cluster_secret.clone());
    config.region = media.region.clone();
    config.redirect = redirect;
    config.door = common.door.clone();
    config.public_url = common.public_url.clone();
    config.ice = ice.clone();
    config.linger = common.room_linger;
    config.tls = tls;
    let coordinator = coordinator::start(config, store.clone(), bus.clone()).await?;

    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let mut nodes = Vec::new();
    for i in 0..count {
        let mut media = media.clone();
        behind(&mut media.addresses, i, media.shards)?;
        let config = NodeConfig {
            id: name(&format!("node-{}", i.saturating_add(1)))?,
            region: media.region,
            zone: media.zone,
            addresses: media.addresses,
            shards: media.shards,
            batch: media.batch,
            viewer_cap: media.viewer_cap,
            ring: (media.ring_time, media.ring_bytes),
            keyframe_age: media.keyframe_age,
            relay: any,
            relay_trust: Trust::Registry,
            relay_advertise: None,
            listen: any,
            // Clients speak to the coordinator alone.
            tls: None,
            listen_plain: None,
            http_advertise: None,
            guard: guard.clone(),
            door: common.door.clone(),
            cluster_secret: Some(cluster_secret.clone()),
            public_url: common.public_url.clone(),
            ice: ice.clone(),
            max_sessions: media.max_sessions,
            max_busy: media.max_busy,
            max_egress: media.max_egress,
            report_skew_us: node::report_skew_us(),
        };
        nodes.push(node::start(config, store.clone(), bus.clone()).await?);
    }
    ready(&coordinator, nodes.len()).await?;

    // Nodes judge by their own HTTP, which is on loopback here; what clients call is the coordinator's.
    let near =
        media.addresses.advertised.iter().map(|one| reach::of(one.ip)).max() == Some(reach::Reach::Machine);
    if let (true, false, Some(warning)) =
        (near, common.listen.ip().is_loopback(), reach::Reach::Machine.warning())
    {
        tracing::warn!("{warning}");
    }

    let bound = coordinator.http_addr().await.unwrap_or(common.listen);
    let mut shown = match bound.ip().is_unspecified() {
        true => media.ips.iter().map(|ip| SocketAddr::new(*ip, bound.port())).collect(),
        false => vec![bound],
    };
    shown.truncate(if local.is_some() { shown.len() } else { 1 });
    let mut said: Vec<String> = shown.iter().map(|at| format!("Freshet is at {scheme}://{at}/")).collect();
    said.extend(shown.first().map(|at| format!("  {:<11}  {scheme}://{at}/metrics", "coordinator")));
    for node in &nodes {
        said.extend(node.about().await.map(|about| format!("  {about}")));
    }
    if let Some(local) = &local {
        said.extend(about(local, matches!(common.access, Access::Open)));
    }
    output::say(&said.join("\n"))?;
    match &common.access {
        Access::Open => {}
        Access::Keys(tokens) if tokens.keys.is_empty() => {
            tracing::info!("clients need a token that the issuer behind --jwks-url has signed");
        }
        Access::Keys(_) => {
            tracing::info!("API keys are configured: clients need a token, see `freshet token --help`");
        }
    }
    Ok(Running { coordinator, nodes })
}

/// What people need to know before they believe a certificate that nobody signed.
fn about(local: &Local, open: bool) -> Vec<String> {
    let lasts = match &local.kept {
        Some(folder) => format!("It is kept in {}, and shown after a restart as well.", folder.display()),
        None => "It lasts as long as this process: the next start makes another.".to_owned(),
    };
    let warned =
        "Browsers warn, since this machine made the certificate itself. Believe it if its SHA-256 is";
    let all = "Whoever reaches this machine may publish and watch; with --api-key only who has a token.";
    let mut said = vec![warned.to_owned(), local.tls.fingerprint(), lasts];
    said.extend(open.then(|| all.to_owned()));
    said
}

/// The ports behind those of the nodes before it.
fn behind(addresses: &mut Addresses, node: u16, shards: u16) -> anyhow::Result<()> {
    let told = addresses.advertised.iter_mut().filter_map(|one| one.port.as_mut());
    for port in std::iter::once(&mut addresses.port).chain(told).filter(|port| **port != 0) {
        let moved = node.checked_mul(shards).and_then(|before| port.checked_add(before));
        // The last shard of the last node has one, too.
        moved.and_then(|first| first.checked_add(shards.saturating_sub(1))).context(TOO_FEW)?;
        *port = moved.context(TOO_FEW)?;
    }
    Ok(())
}

fn name(text: &str) -> anyhow::Result<NodeId> {
    Ok(text.parse()?)
}

/// Waits until a join and chat would work: the coordinator is ready and has heard every node.
async fn ready(coordinator: &coordinator::Running, nodes: usize) -> anyhow::Result<()> {
    let begun = tokio::time::Instant::now();
    while let Some(what) = coordinator.waits_for(nodes).await {
        let in_time = begun.elapsed() < READY_LIMIT;
        anyhow::ensure!(
            in_time,
            "not ready after {READY_LIMIT:?} ({what}): this is a bug, please report it with the log"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

#[async_trait]
impl Service for Running {
    async fn drain(&self) {
        // The coordinator's own drain never ends by itself; that of the nodes is what counts here.
        tokio::select! {
            () = self.coordinator.drain() => {}
            _ = join_all(self.nodes.iter().map(|n| n.drain())) => {}
        }
    }

    async fn stop(&self) {
        join_all(self.nodes.iter().map(|n| n.stop())).await;
        self.coordinator.stop().await;
    }
}
