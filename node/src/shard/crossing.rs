//! What goes from one shard of a node to another: packets as shared values, once for each lane, however many viewers
//! it has there.

use std::sync::Arc;
use std::time::Instant;

use super::queue::Queue;
use crate::agent::Lane;
use crate::media::packet::Packet;

/// A packet on its way to another shard.
#[derive(Debug)]
pub(super) struct Crossing {
    /// The shard that it comes from.
    pub from: u16,
    /// The stream's alias between shards.
    pub alias: u32,
    /// Track and layer.
    pub lane: Lane,
    /// Shared with the ring that it comes from.
    pub packet: Arc<Packet>,
}

/// Where the packets of other shards wait for one.
pub(super) type Inlet = Queue<Crossing>;

/// The inlets of all shards of a node.
#[derive(Debug, Clone)]
pub struct Crossings(Arc<[Arc<Inlet>]>);

impl Crossings {
    /// For a node with so many shards.
    pub fn new(shards: u16) -> Self {
        Self((0..shards).map(|_| Arc::default()).collect())
    }

    /// How many shards there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// A shard's own; one that nobody fills for a shard that is not there.
    pub(super) fn inlet(&self, shard: u16) -> Arc<Inlet> {
        self.0.get(usize::from(shard)).cloned().unwrap_or_default()
    }

    /// Hands over what goes to each shard.
    pub(super) fn put(&self, now: Instant, leaving: &mut [Vec<Crossing>]) {
        for (inlet, packets) in self.0.iter().zip(leaving).filter(|(_, packets)| !packets.is_empty()) {
            inlet.put_all(now, packets.drain(..));
        }
    }
}
