//! Packets of links, each to the shard that is its stream's home.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use super::queue::Queue;
use crate::agent::Link;
use crate::quic::{MediaIn, MediaSink};

/// Where packets of links wait for one shard.
pub type Arrivals = Arc<Queue<MediaIn>>;

/// Which shard takes which stream of which link.
pub type Routes = HashMap<(Link, u32), u16>;

/// The doors of all shards for packets of links.
#[derive(Clone)]
pub struct Intake {
    doors: Arc<[Arrivals]>,
    routes: Arc<ArcSwap<Routes>>,
}

impl Intake {
    /// Doors for so many shards.
    pub fn new(shards: u16) -> Self {
        Self { doors: (0..shards).map(|_| Arrivals::default()).collect(), routes: Arc::default() }
    }

    /// Each shard's door.
    pub fn arrivals(&self) -> &[Arrivals] {
        &self.doors
    }

    /// From now on packets go by these routes.
    pub fn route(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }
}

impl MediaSink for Intake {
    /// A packet without a route goes to the first shard, which counts it as unwanted.
    fn take(&self, packet: MediaIn) {
        let shard = if self.doors.len() == 1 {
            0
        } else {
            // Read for each packet, replaced when a stream comes or goes.
            self.routes.load().get(&(Link(packet.link.0), packet.header.alias)).copied().unwrap_or(0)
        };
        if let Some(door) = self.doors.get(usize::from(shard)) {
            door.put(packet.arrived, packet);
        }
    }
}
