//! What goes from one shard of a node to another: packets as shared values, once for each lane, however many viewers
//! it has there. A shard that does not keep up loses the oldest, counted; nobody waits for it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::agent::Lane;
use crate::media::packet::Packet;

/// Packets that wait for one shard: about two seconds of 20 Mbit/s.
const WAITING: usize = 4_096;

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

/// Where the packets for one shard wait.
#[derive(Debug, Default)]
pub(super) struct Inlet {
    waiting: Mutex<VecDeque<Crossing>>,
    wake: Notify,
    dropped: AtomicU64,
}

impl Inlet {
    /// Hands packets over, under one lock and with one wake-up, and leaves `packets` empty.
    pub fn put(&self, packets: &mut Vec<Crossing>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.extend(packets.drain(..));
        let surplus = waiting.len().saturating_sub(WAITING);
        waiting.drain(..surplus);
        drop(waiting);
        if surplus > 0 {
            self.dropped.fetch_add(u64::try_from(surplus).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        self.wake.notify_one();
    }

    /// Takes all that waits; `into` is empty before, and its memory is used again.
    pub fn take(&self, into: &mut VecDeque<Crossing>) {
        std::mem::swap(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner), into);
    }

    /// Returns once something has been put since the last time that this returned.
    pub async fn filled(&self) {
        self.wake.notified().await;
    }

    /// Packets lost because the shard did not keep up.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

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
    pub(super) fn put(&self, leaving: &mut [Vec<Crossing>]) {
        for (inlet, packets) in self.0.iter().zip(leaving).filter(|(_, packets)| !packets.is_empty()) {
            inlet.put(packets);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use bytes::Bytes;

    use super::*;
    use crate::media::packet::{CaptureMicros, Extensions};

    fn crossing(index: u64) -> Crossing {
        let packet = Packet {
            index,
            timestamp: 0,
            marker: false,
            keyframe: false,
            codec: 0,
            capture: CaptureMicros(0),
            arrived: Instant::now(),
            exts: Extensions::default(),
            payload: Bytes::new(),
        };
        Crossing { from: 0, alias: 1, lane: (0, 0), packet: Arc::new(packet) }
    }

    #[tokio::test]
    async fn a_shard_that_does_not_keep_up_loses_the_oldest_and_they_are_counted() {
        let inlet = Inlet::default();
        let all = u64::try_from(WAITING).unwrap() + 10;
        inlet.put(&mut (0..all).map(crossing).collect());
        inlet.filled().await;
        let mut taken = VecDeque::new();
        inlet.take(&mut taken);
        assert_eq!(inlet.dropped(), 10);
        let indices: Vec<u64> = taken.iter().map(|c| c.packet.index).collect();
        assert_eq!(indices, (10..all).collect::<Vec<_>>(), "in order, the newest kept");
    }

    #[tokio::test]
    async fn what_was_put_before_anybody_waits_is_not_missed() {
        let inlet = Inlet::default();
        inlet.put(&mut vec![crossing(1)]);
        inlet.filled().await;
        let mut taken = VecDeque::new();
        inlet.take(&mut taken);
        assert_eq!(taken.len(), 1);
    }
}
