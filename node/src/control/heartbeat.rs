//! What the node says of itself once a second.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use freshet_cluster::bus::SharedBus;
use freshet_cluster::keys;
use freshet_cluster::load::{LinkLoad, NodeLoad, RoomLoad};
use freshet_cluster::unit::Bitrate;
use freshet_cluster::version::{MIN_VERSION, Unknown, VERSION, encode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::shared::Shared;
use super::task::{Command, Snapshot};
use crate::quic::Relay;
use crate::shard::ShardHandle;

/// One heartbeat in this time.
const EVERY: Duration = Duration::from_secs(1);

/// What a heartbeat is made of.
pub struct Heartbeat {
    /// Counts of the node.
    pub shared: Arc<Shared>,
    /// Where it is said.
    pub bus: SharedBus,
    /// The agent's task.
    pub commands: mpsc::Sender<Command>,
    /// The relay.
    pub relay: Arc<Relay>,
    /// The shards.
    pub shards: Vec<ShardHandle>,
}

impl Heartbeat {
    /// Beats until the agent's task is gone.
    pub async fn run(self) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seq = 0_u64;
        let mut before = (Instant::now(), 0_u64, 0_u64, cpu_time());
        loop {
            ticks.tick().await;
            let (reply, answer) = oneshot::channel();
            if self.commands.send(Command::Snapshot(reply)).await.is_err() {
                return;
            }
            let Ok(snapshot) = answer.await else { return };
            let (mut packets, mut bytes) = (0_u64, 0_u64);
            for shard in &self.shards {
                let Some(counted) = shard.count().await else { continue };
                packets = packets.saturating_add(counted.counters.egress_packets);
                bytes = bytes.saturating_add(counted.counters.egress_bytes);
            }
            let now = (Instant::now(), packets, bytes, cpu_time());
            let load = self.load(seq, snapshot, before, now);
            before = now;
            seq = seq.saturating_add(1);
            let subject = keys::load_subject(&self.shared.node);
            if let Err(error) = self.bus.publish(&subject, encode(&load)).await {
                tracing::debug!(%error, "heartbeat not published");
            }
        }
    }

    fn load(
        &self,
        seq: u64,
        snapshot: Snapshot,
        before: (Instant, u64, u64, Duration),
        now: (Instant, u64, u64, Duration),
    ) -> NodeLoad {
        let millis = now.0.saturating_duration_since(before.0).as_millis().max(1);
        let millis = u64::try_from(millis).unwrap_or(u64::MAX);
        let per_second = |count: u64| count.saturating_mul(1_000) / millis;
        let cpu = u64::try_from(now.3.saturating_sub(before.3).as_millis()).unwrap_or(u64::MAX);
        let viewers = self.shared.viewers();
        let mut rooms: Vec<RoomLoad> = Vec::new();
        for (room, of_room) in snapshot.rooms {
            let count = viewers.get(&room).copied().unwrap_or_default();
            let (epoch, streams) = (of_room.epoch, of_room.streams);
            rooms.push(RoomLoad { room, epoch, viewers: count, streams, unknown: Unknown::new() });
        }
        for (room, count) in viewers {
            if !rooms.iter().any(|r| r.room == room) {
                let (epoch, streams) = Default::default();
                rooms.push(RoomLoad { room, epoch, viewers: count, streams, unknown: Unknown::new() });
            }
        }
        let links = self.relay.links().into_iter().map(|link| LinkLoad {
            peer: link.peer,
            incarnation: link.incarnation,
            rtt_us: u64::try_from(link.rtt.as_micros()).unwrap_or(u64::MAX),
            unknown: Unknown::new(),
        });
        // Before the sessions: a join that is told is among them.
        let joins_total = self.shared.joins.load(Ordering::Acquire);
        NodeLoad {
            v: VERSION,
            min_v: MIN_VERSION,
            node: self.shared.node.clone(),
            incarnation: self.shared.incarnation,
            seq,
            draining: self.shared.draining.load(Ordering::Acquire),
            sessions: self.shared.accepted(),
            joins_total,
            egress: Bitrate::from_bps(per_second(now.2.saturating_sub(before.2)).saturating_mul(8)),
            egress_pps: per_second(now.1.saturating_sub(before.1)),
            cpu_millicores: u32::try_from(per_second(cpu)).unwrap_or(u32::MAX),
            rooms,
            links: links.collect(),
            unknown: Unknown::new(),
        }
    }
}

/// Processor time of this process, from `/proc`: user and system ticks of 10 ms. Zero where there is none.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in parentheses may hold spaces; fields are counted behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis(ticks(11).saturating_add(ticks(12)).saturating_mul(10))
}
