//! The machine of one shard: what it holds, and its doors.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use freshet_cluster::{RoomId, SessionId};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::counters::Counters;
use super::ended::Ended;
use super::lane::Lane;
use super::places::Places;
use super::room::Room;
use super::session::{Rest, Session, Timers};
use super::table::{Index, Table};
use super::types::{Config, Datagram, Event, Hop, HopPacket, Incoming, Repeat};
use crate::agent::{Lane as LaneId, StreamKey};
use crate::forward::spare::Spares;
use crate::peer::answers::Answers;

/// The machine.
pub struct Sfu {
    pub(super) config: Config,
    pub(super) rng: StdRng,
    pub(super) answers: Answers,
    pub(super) sessions: Table<Session>,
    /// Memory of viewers who have gone.
    pub(super) spares: Spares,
    pub(super) by_id: HashMap<SessionId, usize>,
    pub(super) by_addr: Index<SocketAddr>,
    /// The session of the last datagram that came from a known address.
    pub(super) last_heard: usize,
    pub(super) by_ufrag: Index<String>,
    /// Sessions that are not through with ICE and DTLS.
    pub(super) half_open: Places,
    /// Why the sessions of the last minute ended.
    pub(super) ended: Ended,
    pub(super) lanes: Table<Lane>,
    pub(super) by_hop: HashMap<(Hop, u32, LaneId), usize>,
    pub(super) rooms: HashMap<RoomId, Room>,
    /// Lanes whose packets go out at the next flush.
    pub(super) ripe: Vec<usize>,
    /// When which other lane is ripe; all wait for the same time, so the first is the next.
    pub(super) batches: VecDeque<(Instant, usize)>,
    /// Viewers that have more to get than what comes in, and when they are looked at.
    pub(super) behind: Vec<usize>,
    /// Empty between flushes; it takes the place of `behind` while those are served, so that neither is made anew.
    pub(super) served: Vec<usize>,
    pub(super) behind_due: Option<Instant>,
    /// Lanes of which a viewer missed packets because they fell out of the ring.
    pub(super) overrun: Vec<usize>,
    /// Slots that went over to another layer, and the lanes that they left: session, slot, lane.
    pub(super) changed: Vec<(usize, usize, usize)>,
    /// Viewers of whom a slot has come to a codec that it cannot be sent, or from one.
    pub(super) turned: Vec<usize>,
    pub(super) repeats: Vec<Repeat>,
    /// Room for those that wait for the next tick.
    pub(super) later: Vec<Repeat>,
    /// Counts flushes, so that a viewer is visited once in each.
    pub(super) round: u64,
    /// Sessions whose first sender report is due.
    pub(super) reports: Vec<usize>,
    pub(super) timers: Timers,
    pub(super) rest: Rest,
    /// Where RTCP is opened, reused.
    pub(super) opened: Vec<u8>,
    pub(super) datagrams: VecDeque<Datagram>,
    pub(super) hop_packets: Vec<HopPacket>,
    pub(super) events: VecDeque<Event>,
    pub(super) counters: Counters,
}

impl Sfu {
    /// A shard without sessions. `seed` is drawn from the operating system by the shell.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self {
            spares: Spares::new(config.spares),
            half_open: Places::new(config.half_open),
            config,
            rng: StdRng::from_seed(seed),
            answers: Answers::default(),
            sessions: Table::default(),
            by_id: HashMap::new(),
            by_addr: Index::default(),
            last_heard: 0,
            by_ufrag: Index::default(),
            ended: Ended::default(),
            lanes: Table::default(),
            by_hop: HashMap::new(),
            rooms: HashMap::new(),
            ripe: Vec::new(),
            batches: VecDeque::new(),
            behind: Vec::new(),
            served: Vec::new(),
            behind_due: None,
            overrun: Vec::new(),
            changed: Vec::new(),
            turned: Vec::new(),
            repeats: Vec::new(),
            later: Vec::new(),
            round: 0,
            reports: Vec::new(),
            timers: Timers::default(),
            rest: Rest::default(),
            opened: Vec::new(),
            datagrams: VecDeque::new(),
            hop_packets: Vec::new(),
            events: VecDeque::new(),
            counters: Counters::default(),
        }
    }

    /// What the shard has counted.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The next event for the agent.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Viewing(session) = &event {
            self.viewing_said(*session);
        }
        Some(event)
    }

    /// Puts an event back that the agent had no room for.
    pub fn unpoll_event(&mut self, event: Event) {
        self.events.push_front(event);
    }

    /// The next datagram of str0m.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.pop_front()
    }

    /// Packets for links and other shards, in order.
    pub fn drain_hop_packets(&mut self) -> std::vec::Drain<'_, HopPacket> {
        self.hop_packets.drain(..)
    }

    /// Sessions that there are.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Addresses by which sessions are found.
    #[cfg(test)]
    pub(super) fn addresses(&self) -> usize {
        self.by_addr.len()
    }

    /// What is kept, for leak tests: (sessions, lanes, streams, viewers).
    pub fn kept(&self) -> (usize, usize, usize, usize) {
        let streams = self.rooms.values().map(|r| r.streams.len()).sum();
        let viewers = self.rooms.values().map(|r| r.viewers.len()).sum();
        (self.sessions.len(), self.lanes.len(), streams, viewers)
    }

    /// Lists of viewers who have gone that wait for the next: of packets sent, and of packets sent again.
    pub fn spares(&self) -> (usize, usize) {
        self.spares.kept()
    }

    /// A stream comes by a hop, or comes by another hop now.
    pub fn handle_incoming_up(&mut self, now: Instant, stream: Incoming) {
        self.incoming_up(now, stream);
    }

    /// A stream that came by a hop has ended.
    pub fn handle_incoming_down(&mut self, now: Instant, key: &StreamKey) {
        self.stream_down(now, key);
    }
}
