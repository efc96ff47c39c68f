//! A node as the coordinator's logic sees it: sessions against a limit, plans by epoch, links, heartbeats.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use freshet_cluster::load::{LinkLoad, NodeLoad, RoomLoad, StreamLoad};
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::record::{Capacity, NodeRecord};
use freshet_cluster::unit::{Bitrate, UnixMillis};
use freshet_cluster::version::{MIN_VERSION, Unknown, VERSION};
use freshet_cluster::{Epoch, Generation, Incarnation, NodeId, RoomId};

/// One running node.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it registers.
    pub record: NodeRecord,
    /// Sessions by id: room, and whether it publishes.
    pub sessions: BTreeMap<u64, (RoomId, bool)>,
    /// The newest plan of each room that names it, or that it was handed with a join.
    pub plans: BTreeMap<RoomId, RoomPlan>,
    /// Peers, and until when the link counts as live.
    pub links: BTreeMap<(NodeId, Incarnation), Duration>,
    /// Its store is out of reach until then: no keep-alive, no registration.
    pub cut_off_until: Duration,
    /// Until when its key lives without a keep-alive.
    pub lease_until: Duration,
    /// What its watch was told last arrives then.
    pub told_until: Duration,
    seq: u64,
    joins_total: u64,
}

impl Node {
    /// A start of a node.
    pub fn new(id: NodeId, incarnation: Incarnation, region: &str, sessions: u32) -> Self {
        let record = NodeRecord {
            v: VERSION,
            min_v: MIN_VERSION,
            http: format!("http://{}", id.as_str()),
            id,
            incarnation,
            region: region.to_owned(),
            zone: String::new(),
            public_url: None,
            relay: String::new(),
            relay_cert_sha256: String::new(),
            started_at: UnixMillis(0),
            draining: false,
            capacity: Capacity {
                sessions,
                egress: Bitrate::default(),
                egress_pps: 0,
                unknown: Default::default(),
            },
            unknown: Unknown::new(),
        };
        Self {
            record,
            sessions: BTreeMap::new(),
            plans: BTreeMap::new(),
            links: BTreeMap::new(),
            cut_off_until: Duration::ZERO,
            lease_until: Duration::ZERO,
            told_until: Duration::ZERO,
            seq: 0,
            joins_total: 0,
        }
    }

    /// A plan was watched or handed over; the newer epoch wins.
    pub fn adopt(&mut self, plan: &RoomPlan) {
        let newer = self.plans.get(&plan.room).is_none_or(|known| known.epoch < plan.epoch);
        if newer {
            self.plans.insert(plan.room.clone(), plan.clone());
        }
    }

    /// The room's plan is gone from the store: a node without sessions there lets go of it.
    pub fn dismiss(&mut self, room: &RoomId) {
        if !self.sessions.values().any(|(busy, _)| busy == room) {
            self.plans.remove(room);
        }
    }

    /// A join. Says whether it was taken: the node is the law about its own limit.
    pub fn join(&mut self, session: u64, plan: &RoomPlan, publish: bool) -> bool {
        let limit = usize::try_from(self.record.capacity.sessions).unwrap_or(usize::MAX);
        if self.sessions.len() >= limit {
            return false;
        }
        self.adopt(plan);
        self.sessions.insert(session, (plan.room.clone(), publish));
        self.joins_total = self.joins_total.saturating_add(1);
        true
    }

    /// Nodes next to it in any tree that it knows.
    pub fn neighbours(&self) -> BTreeSet<(NodeId, Incarnation)> {
        let next = |plan: &RoomPlan| -> Vec<_> {
            plan.neighbours(&self.record.id).map(|member| (member.node.clone(), member.incarnation)).collect()
        };
        self.plans.values().flat_map(next).collect()
    }

    /// Forgets rooms that it neither serves nor stands in.
    pub fn tidy(&mut self) {
        let busy: BTreeSet<RoomId> = self.sessions.values().map(|(room, _)| room.clone()).collect();
        let record = &self.record;
        self.plans.retain(|room, plan| {
            let member = plan.member(&record.id).is_some_and(|m| m.incarnation == record.incarnation);
            member || busy.contains(room)
        });
    }

    /// The heartbeat of this second.
    pub fn heartbeat(&mut self, now: Duration) -> NodeLoad {
        self.seq = self.seq.saturating_add(1);
        self.links.retain(|_, until| *until > now);
        let mut rooms: BTreeMap<RoomId, RoomLoad> = BTreeMap::new();
        let empty = |room: &RoomId, epoch| RoomLoad {
            room: room.clone(),
            epoch,
            viewers: 0,
            streams: Vec::new(),
            unknown: Unknown::new(),
        };
        for (room, plan) in &self.plans {
            rooms.insert(room.clone(), empty(room, plan.epoch));
        }
        for (session, (room, publish)) in &self.sessions {
            let load = rooms.entry(room.clone()).or_insert_with(|| empty(room, Epoch(0)));
            if !publish {
                load.viewers = load.viewers.saturating_add(1);
                continue;
            }
            if let (Ok(stream), Ok(identity)) = (format!("s{session}").parse(), format!("p{session}").parse())
            {
                load.streams.push(StreamLoad {
                    stream,
                    generation: Generation(1),
                    identity,
                    started_at: UnixMillis(0),
                    live: true,
                    unknown: Unknown::new(),
                });
            }
        }
        let link = |(peer, incarnation): &(NodeId, Incarnation)| LinkLoad {
            peer: peer.clone(),
            incarnation: *incarnation,
            rtt_us: 1000,
            unknown: Unknown::new(),
        };
        NodeLoad {
            v: VERSION,
            min_v: MIN_VERSION,
            node: self.record.id.clone(),
            incarnation: self.record.incarnation,
            seq: self.seq,
            draining: false,
            sessions: u32::try_from(self.sessions.len()).unwrap_or(u32::MAX),
            joins_total: self.joins_total,
            egress: Bitrate::default(),
            egress_pps: 0,
            cpu_millicores: 0,
            rooms: rooms.into_values().collect(),
            links: self.links.keys().map(link).collect(),
            unknown: Unknown::new(),
        }
    }
}
