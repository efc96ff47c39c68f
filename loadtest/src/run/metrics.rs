//! Where a server tells of itself.

use crate::scenario::Selector;

/// Where the server's metrics are, and what they are called there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerMetrics {
    /// Pages in Prometheus's text format.
    pub urls: Vec<String>,
    /// Packets that were sent to viewers.
    pub packets: Selector,
    /// Bytes of them.
    pub bytes: Selector,
    /// Sessions that were taken.
    pub joins: Selector,
}

impl Default for ServerMetrics {
    /// No page, and the names that Freshet's nodes use.
    fn default() -> Self {
        Self {
            urls: Vec::new(),
            packets: Selector::named("freshet_node_egress_packets_total"),
            bytes: Selector::named("freshet_node_egress_bytes_total"),
            joins: Selector::named("freshet_node_joins_total"),
        }
    }
}
