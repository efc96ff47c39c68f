//! A node in the test's own process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use freshet_edge::ice::IceServers;
use freshet_edge::{DoorConfig, Guard};
use freshet_node::NodeConfig;
use freshet_node::book::Addresses;

/// An open node on free ports of loopback.
pub fn config(id: &str, shards: u16) -> NodeConfig {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let any = SocketAddr::new(local, 0);
    NodeConfig {
        id: id.parse().unwrap(),
        region: String::new(),
        zone: String::new(),
        addresses: Addresses::one(local, 0),
        shards,
        batch: Duration::from_millis(5),
        viewer_cap: None,
        ring: (Duration::from_secs(2), 4 << 20),
        keyframe_age: Duration::from_secs(1),
        relay: any,
        relay_advertise: None,
        relay_trust: Default::default(),
        tls: None,
        listen: any,
        listen_plain: None,
        http_advertise: None,
        guard: Guard::open(),
        door: DoorConfig::default(),
        cluster_secret: None,
        public_url: None,
        ice: IceServers { plain: Vec::new(), turn: None },
        max_sessions: 100,
        // A debug build on a machine that runs other tests is busy at times.
        max_busy: 100,
        max_egress: Bitrate::from_kbps(1_000_000),
        report_skew_us: 0,
    }
}
