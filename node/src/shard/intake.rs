//! Packets of links, each to the shard that is its stream's home.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::mpsc;

use crate::agent::Link;
use crate::quic::{MediaIn, MediaSink};

/// Packets of links that wait for a shard. At 20 Mbit/s these are 2 seconds; a full queue drops the newest and counts.
const WAITING: usize = 4_096;

/// Which shard takes which stream of which link.
pub type Routes = HashMap<(Link, u32), u16>;

/// The doors of all shards for packets of links.
#[derive(Clone)]
pub struct Intake {
    doors: Vec<mpsc::Sender<MediaIn>>,
    routes: Arc<RwLock<Routes>>,
}

impl Intake {
    /// Doors for so many shards, and what comes through each.
    pub fn new(shards: u16) -> (Self, Vec<mpsc::Receiver<MediaIn>>) {
        let (doors, rooms) = (0..shards).map(|_| mpsc::channel(WAITING)).unzip();
        (Self { doors, routes: Arc::default() }, rooms)
    }

    /// From now on packets go by these routes.
    pub fn route(&self, routes: Routes) {
        *self.routes.write().unwrap_or_else(PoisonError::into_inner) = routes;
    }
}

impl MediaSink for Intake {
    /// A packet without a route goes to the first shard, which counts it as unwanted.
    fn take(&self, packet: MediaIn) -> bool {
        let shard = if self.doors.len() == 1 {
            0
        } else {
            let routes = self.routes.read().unwrap_or_else(PoisonError::into_inner);
            routes.get(&(Link(packet.link.0), packet.header.alias)).copied().unwrap_or(0)
        };
        self.doors.get(usize::from(shard)).is_some_and(|door| door.try_send(packet).is_ok())
    }
}
