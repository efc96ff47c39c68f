//! What the handlers share.

use std::sync::Arc;

use freshet_cluster::{Incarnation, NodeId};
use freshet_edge::call::Verifier;
use freshet_edge::health::Readiness;
use freshet_edge::ice::IceServers;
use freshet_edge::metrics::{HttpMetrics, Metrics};
use freshet_edge::names::SessionPath;
use freshet_edge::places::Places;
use freshet_edge::ticket::Tickets;
use freshet_edge::{Door, Guard};

use crate::service::SessionService;

/// What the surface is made of.
#[derive(Clone)]
pub struct HttpState {
    /// Makes and keeps sessions.
    pub service: Arc<dyn SessionService>,
    /// Who may pass.
    pub guard: Guard,
    /// Where requests come from, and how often they may.
    pub door: Door,
    /// Places of those who read event streams.
    pub listeners: Places,
    /// Checks calls of coordinators; without it none are taken.
    pub calls: Option<Arc<Verifier>>,
    /// Checks tickets of coordinators; without it none are taken.
    pub tickets: Option<Arc<Tickets>>,
    /// This node, as session URLs name it.
    pub node: NodeId,
    /// This start of it.
    pub incarnation: Incarnation,
    /// What `Location` is made absolute with, unless a call says otherwise.
    pub public_url: Option<Arc<str>>,
    /// What clients are told of STUN and TURN servers.
    pub ice: Arc<IceServers>,
    /// What `/metrics` shows.
    pub metrics: Metrics,
    /// What HTTP counts; registered in `metrics`.
    pub http_metrics: HttpMetrics,
    /// What `/readyz` says.
    pub ready: Readiness,
}

impl HttpState {
    /// Whether a session URL can be one of this start of this node.
    pub(super) fn is_mine(&self, path: &SessionPath) -> bool {
        path.node == self.node && path.incarnation == self.incarnation
    }
}
