//! One shard's machine: its sessions, its rings and what crosses between them.
//!
//! Datagrams, packets of links, commands and time come in; packets for sockets and links, and events for the agent
//! come out. The machine owns its sessions outright: another shard sees a packet only as a value in a queue.

mod lane;
mod ports;
mod program;
mod publishers;
mod sessions;
mod table;
mod viewers;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, RoomId, SessionId, StreamId};
use freshet_relay_proto::track::TrackInfo;
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::agent::{Lane as LaneId, Link, RemoteStream, StreamKey};
use crate::forward::train::Trains;
use crate::media::clock::{Skew, Wall};
use crate::media::packet::Packet;
use crate::peer::negotiate::Common;

pub use ports::Counters;
pub use sessions::Ask;

/// What a shard is told once.
pub struct Config {
    /// Which shard this is; the ICE user name of its sessions names it.
    pub shard: u16,
    /// Certificate and candidates.
    pub common: Common,
    /// A session of whom nothing is heard for so long is over.
    pub silence: Duration,
    /// A joiner is served from the ring when its last keyframe is at most so old.
    pub fresh_keyframe: Duration,
    /// An error added to the clock of sender reports of video, for the test that proves the lip-sync test.
    pub report_skew: Skew,
    /// This node's wall clock.
    pub wall: Wall,
}

/// What the shell gives to links.
#[derive(Debug)]
pub struct LinkPacket {
    /// To whom.
    pub link: Link,
    /// The stream's alias there.
    pub alias: u32,
    /// Track and layer.
    pub lane: LaneId,
    /// The packet, shared with the ring.
    pub packet: Arc<Packet>,
}

/// What the shard says to the agent.
#[derive(Debug)]
pub enum Event {
    /// A publisher's media may flow, or its tracks have changed.
    Live(StreamKey, Vec<TrackInfo>),
    /// Viewers here want a lane of a stream, or do not want it any more.
    Interest(StreamKey, LaneId, bool),
    /// A keyframe of a stream that comes by a link is wanted.
    KeyframeWanted(StreamKey, LaneId),
    /// A session is over.
    Ended {
        /// Which.
        session: SessionId,
        /// Its room.
        room: RoomId,
        /// What it published.
        published: Option<StreamKey>,
        /// Why.
        reason: EndReason,
    },
}

/// A datagram that str0m wants sent.
#[derive(Debug)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// What.
    pub contents: Vec<u8>,
}

/// A room as this shard knows it.
#[derive(Default)]
struct Room {
    viewers: Vec<usize>,
    streams: HashMap<StreamId, Stream>,
}

/// One publish of a stream as this shard knows it.
struct Stream {
    key: StreamKey,
    identity: Identity,
    started_at: UnixMillis,
    live: bool,
    tracks: Vec<TrackInfo>,
    lanes: Vec<(LaneId, usize)>,
    source: Source,
    clock: crate::media::clock::ViewClock,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Local(usize),
    Remote(Link, u32),
}

/// The machine.
pub struct Sfu {
    config: Config,
    rng: StdRng,
    sessions: table::Table<sessions::Session>,
    by_id: HashMap<SessionId, usize>,
    by_addr: HashMap<SocketAddr, usize>,
    by_ufrag: HashMap<String, usize>,
    lanes: table::Table<lane::Lane>,
    by_link: HashMap<(Link, u32, LaneId), usize>,
    rooms: HashMap<RoomId, Room>,
    dirty: Vec<usize>,
    /// Sessions whose first sender report is due.
    reports: Vec<usize>,
    timers: sessions::Timers,
    datagrams: VecDeque<Datagram>,
    link_packets: Vec<LinkPacket>,
    events: VecDeque<Event>,
    counters: Counters,
}

impl Sfu {
    /// A shard without sessions. `seed` is drawn from the operating system by the shell.
    pub fn new(config: Config, seed: [u8; 32]) -> Self {
        Self {
            config,
            rng: StdRng::from_seed(seed),
            sessions: table::Table::default(),
            by_id: HashMap::new(),
            by_addr: HashMap::new(),
            by_ufrag: HashMap::new(),
            lanes: table::Table::default(),
            by_link: HashMap::new(),
            rooms: HashMap::new(),
            dirty: Vec::new(),
            reports: Vec::new(),
            timers: sessions::Timers::default(),
            datagrams: VecDeque::new(),
            link_packets: Vec::new(),
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
        self.events.pop_front()
    }

    /// Puts an event back that the agent had no room for.
    pub fn unpoll_event(&mut self, event: Event) {
        self.events.push_front(event);
    }

    /// The next datagram of str0m.
    pub fn poll_datagram(&mut self) -> Option<Datagram> {
        self.datagrams.pop_front()
    }

    /// Packets for links, in order.
    pub fn drain_link_packets(&mut self) -> std::vec::Drain<'_, LinkPacket> {
        self.link_packets.drain(..)
    }

    /// What is kept, for leak tests: (sessions, lanes, streams, viewers).
    pub fn kept(&self) -> (usize, usize, usize, usize) {
        let streams = self.rooms.values().map(|r| r.streams.len()).sum();
        let viewers = self.rooms.values().map(|r| r.viewers.len()).sum();
        (self.sessions.len(), self.lanes.len(), streams, viewers)
    }

    /// Sends what became dirty since the last flush to viewers and links. `depart` is called when the arena is full;
    /// what is pending at the end is the caller's.
    pub fn flush(&mut self, now: Instant, trains: &mut Trains, depart: &mut dyn FnMut(&mut Trains)) {
        let mut dirty = std::mem::take(&mut self.dirty);
        for lane in dirty.drain(..) {
            self.flush_lane(now, lane, trains, depart);
        }
        self.dirty = dirty;
    }

    /// A stream comes by a link, or comes by another link now.
    pub fn handle_remote_up(&mut self, now: Instant, remote: RemoteStream) {
        self.remote_up(now, remote);
    }

    /// A stream that came by a link has ended.
    pub fn handle_remote_down(&mut self, now: Instant, key: &StreamKey) {
        self.stream_down(now, key);
    }
}
