//! Who a node is, as it says when it starts.

use freshet_cluster::record::{Capacity, NodeRecord};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::{MIN_VERSION, Unknown, VERSION};
use freshet_cluster::{Incarnation, NodeId};

/// What a node says of itself when it starts.
#[derive(Debug, Clone)]
pub struct Introduction {
    /// Its configured name.
    pub id: NodeId,
    /// Which start of it this is.
    pub incarnation: Incarnation,
    /// Where it is; `""` when not configured.
    pub region: String,
    /// Where in the region; `""` when not configured.
    pub zone: String,
    /// The URL by which coordinators reach it.
    pub http: String,
    /// The address by which other nodes reach it.
    pub relay: String,
    /// The fingerprint of its certificate there.
    pub relay_cert_sha256: String,
    /// What it takes.
    pub capacity: Capacity,
}

impl Introduction {
    /// The record that it is registered by.
    pub fn record(self) -> NodeRecord {
        let Self { id, incarnation, region, zone, http, relay, relay_cert_sha256, capacity } = self;
        NodeRecord {
            v: VERSION,
            min_v: MIN_VERSION,
            id,
            incarnation,
            region,
            zone,
            http,
            relay,
            relay_cert_sha256,
            started_at: UnixMillis::now(),
            draining: false,
            capacity,
            unknown: Unknown::new(),
        }
    }
}
