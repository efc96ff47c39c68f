//! How a coordinator runs.

use std::net::SocketAddr;
use std::time::Duration;

use freshet_cluster::NodeId;
use freshet_cluster::secret::Secret;
use freshet_edge::ice::IceServers;
use freshet_edge::places;
use freshet_edge::rate::Rate;
use freshet_edge::serve::Limits;
use freshet_edge::tls::Tls;
use freshet_edge::{DoorConfig, Guard};

/// Everything that a coordinator is told at start. The defaults of [`CoordinatorConfig::new`] are safe.
#[derive(Debug, Clone)]
pub struct CoordinatorConfig {
    /// Where HTTP is served.
    pub listen: SocketAddr,
    /// The certificate that clients are shown; `None`: no TLS.
    pub tls: Option<Tls>,
    /// The name in logs.
    pub id: NodeId,
    /// Where its clients are taken to be; `""` when not configured.
    pub region: String,
    /// Who may come in.
    pub guard: Guard,
    /// Whose word about clients counts, and how often they may come.
    pub door: DoorConfig,
    /// Signs calls to nodes: the same on every coordinator and node.
    pub cluster_secret: Secret,
    /// What clients reach it by, when that is not what they dialled; may have a path.
    pub public_url: Option<String>,
    /// Joins are sent on to the node by a redirect, instead of being handed over.
    pub redirect: bool,
    /// What clients are told for ICE.
    pub ice: IceServers,
    /// How often one identity may post chat.
    pub chat: Rate,
    /// Most listeners of room events and of event streams of sessions, together.
    pub listeners: usize,
    /// How long a node without sessions of a room stays in its tree.
    pub linger: Duration,
    /// How long it waits at its start for chat and for the nodes before it says that it is ready.
    pub patience: Duration,
    /// How long one node may take to answer a join.
    pub join_timeout: Duration,
    /// How long requests may end at a stop.
    pub grace: Duration,
    /// Bounds of the HTTP server.
    pub limits: Limits,
}

impl CoordinatorConfig {
    /// The defaults.
    pub fn new(listen: SocketAddr, id: NodeId, guard: Guard, cluster_secret: Secret) -> Self {
        Self {
            listen,
            tls: None,
            id,
            region: String::new(),
            guard,
            door: DoorConfig::default(),
            cluster_secret,
            public_url: None,
            redirect: false,
            ice: IceServers::default(),
            chat: Rate { per_second: 5.0, burst: 10 },
            listeners: places::ALL,
            linger: Duration::from_secs(10),
            patience: Duration::from_secs(5),
            join_timeout: Duration::from_secs(3),
            grace: Duration::from_secs(2),
            limits: Limits::default(),
        }
    }
}
