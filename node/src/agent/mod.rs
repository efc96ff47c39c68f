//! The node's part in the rooms' trees: plans, links and interest in; dials, frames and forwarding out.
//!
//! Streams are announced along the tree from their origin, interest flows back, media crosses only edges with
//! interest. A stream is taken from one link; the highest generation wins; an announcement whose path has this node
//! in it is refused, so that a loop starves instead of amplifying. An origin's silence ends nothing: only a
//! withdrawal, a newer generation or [`ORPHAN_MAX`] without any link does.

mod frames;
mod streams;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use freshet_cluster::plan::RoomPlan;
use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, Identity, Incarnation, NodeId, RoomId, SessionId, StreamId};
use freshet_relay_proto::control::{Control, LayerRate};
use freshet_relay_proto::track::TrackInfo;

/// How long a stream without any link is kept before it counts as ended.
pub const ORPHAN_MAX: Duration = Duration::from_secs(30);

/// A link as the agent names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Link(pub u32);

/// One publish of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamKey {
    /// Room.
    pub room: RoomId,
    /// Stream.
    pub stream: StreamId,
    /// Which publish of it.
    pub generation: Generation,
}

/// One encoding of a track within a stream.
pub type Lane = (u8, u8);

/// What the shell does for the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Keep a link to this node open.
    Dial(NodeId, Incarnation),
    /// The link to this node is not needed any more.
    Forget(NodeId, Incarnation),
    /// Send a frame.
    Send(Link, Control),
    /// Viewers here may watch a stream that comes by a link, or comes by another link now.
    Up(RemoteStream),
    /// How fast the layers of a stream that comes by a link are sent.
    Layers(StreamKey, Vec<LayerRate>),
    /// A stream that came by a link has ended.
    Down(StreamKey, EndReason),
    /// Send packets of a lane to a link, from this index on if the ring still has it.
    Forward {
        /// The stream.
        key: StreamKey,
        /// Track and layer.
        lane: Lane,
        /// The link.
        link: Link,
        /// The stream's alias on our links.
        alias: u32,
        /// First index wanted; the newest keyframe when absent.
        from: Option<u64>,
    },
    /// Stop sending packets of a lane to a link.
    Unforward {
        /// The stream.
        key: StreamKey,
        /// Track and layer.
        lane: Lane,
        /// The link.
        link: Link,
    },
    /// Ask the shard for a keyframe on behalf of a link.
    Keyframe(StreamKey, Lane),
    /// End a local publisher.
    End(SessionId, EndReason),
}

/// A stream that comes by a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteStream {
    /// Which publish of which stream.
    pub key: StreamKey,
    /// Who publishes.
    pub identity: Identity,
    /// When it was claimed.
    pub started_at: UnixMillis,
    /// Its tracks.
    pub tracks: Vec<TrackInfo>,
    /// Where its packets come from.
    pub link: Link,
    /// Its alias there.
    pub alias: u32,
}

/// Where a stream comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    Local { session: SessionId },
    Remote { link: Link, alias: u32 },
    Orphan { since: Instant },
}

#[derive(Debug)]
struct Stream {
    generation: Generation,
    identity: Identity,
    started_at: UnixMillis,
    origin: NodeId,
    origin_incarnation: Incarnation,
    /// Nodes from the origin to the one before us.
    path: Vec<NodeId>,
    tracks: Vec<TrackInfo>,
    /// What is known of the rates of layers, kilobits a second.
    rates: BTreeMap<Lane, u32>,
    source: Source,
    /// Our own name of it on all our links; a new one for each generation.
    alias: u32,
    /// Announced, that is live.
    live: bool,
    told: BTreeSet<Link>,
    wants: BTreeMap<Lane, Want>,
}

#[derive(Debug, Default)]
struct Want {
    local: bool,
    links: BTreeSet<Link>,
}

impl Want {
    fn any(&self) -> bool {
        self.local || !self.links.is_empty()
    }
}

#[derive(Debug)]
struct Peer {
    node: NodeId,
    incarnation: Incarnation,
    /// Rooms that the other end has joined on this link.
    joined: BTreeSet<RoomId>,
    /// Rooms that we have joined on this link.
    sent: BTreeSet<RoomId>,
    /// Streams that the other end announced, by its alias.
    aliases: HashMap<u32, (RoomId, StreamId, Generation)>,
}

/// The machine.
#[derive(Debug)]
pub struct Agent {
    me: NodeId,
    incarnation: Incarnation,
    plans: BTreeMap<RoomId, RoomPlan>,
    /// Rooms whose plan is gone from the store while something of them is still here.
    gone: BTreeSet<RoomId>,
    peers: BTreeMap<Link, Peer>,
    dialled: BTreeMap<NodeId, Incarnation>,
    streams: BTreeMap<(RoomId, StreamId), Stream>,
    next_alias: u32,
    out: VecDeque<Output>,
    /// Announcements refused because of a loop.
    loops: u64,
    /// Announcements refused because of an older generation.
    stale: u64,
}

impl Agent {
    /// An agent that knows no plan and no link.
    pub fn new(me: NodeId, incarnation: Incarnation) -> Self {
        Self {
            me,
            incarnation,
            plans: BTreeMap::new(),
            gone: BTreeSet::new(),
            peers: BTreeMap::new(),
            dialled: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_alias: 1,
            out: VecDeque::new(),
            loops: 0,
            stale: 0,
        }
    }

    /// The next thing to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// The newest plan known of a room.
    pub fn plan(&self, room: &RoomId) -> Option<&RoomPlan> {
        self.plans.get(room)
    }

    /// Rooms that this node has a plan or a stream of.
    pub fn rooms(&self) -> BTreeSet<RoomId> {
        self.plans.keys().cloned().chain(self.streams.keys().map(|(room, _)| room.clone())).collect()
    }

    /// Streams of a room that are live here, local or by a link.
    pub fn live(&self, room: &RoomId) -> impl Iterator<Item = &StreamId> {
        let room = room.clone();
        self.streams.iter().filter(move |((r, _), s)| *r == room && s.live).map(|((_, id), _)| id)
    }

    /// Live links.
    pub fn links(&self) -> impl Iterator<Item = (Link, &NodeId, Incarnation)> {
        self.peers.iter().map(|(link, peer)| (*link, &peer.node, peer.incarnation))
    }

    /// Announcements that were refused: (because of a loop, because of an older generation).
    pub fn refused(&self) -> (u64, u64) {
        (self.loops, self.stale)
    }

    /// What is kept, for leak tests: (plans, streams, wants, links).
    pub fn kept(&self) -> (usize, usize, usize, usize) {
        let wants = self.streams.values().map(|s| s.wants.len()).sum();
        (self.plans.len(), self.streams.len(), wants, self.peers.len())
    }

    /// Takes a plan if it is newer than the one known; says whether it was.
    ///
    /// A plan without this node means to leave the room: its links close when no other room needs them.
    pub fn handle_plan(&mut self, plan: RoomPlan) -> bool {
        if self.plans.get(&plan.room).is_some_and(|known| known.epoch >= plan.epoch) || plan.check().is_err()
        {
            return false;
        }
        let room = plan.room.clone();
        self.gone.remove(&room);
        self.plans.insert(room.clone(), plan);
        self.sync_room(&room);
        self.sync_dials();
        true
    }

    /// Forgets a plan whose key is gone, unless the room still has something here.
    pub fn handle_plan_gone(&mut self, room: &RoomId) {
        if self.streams.keys().any(|(r, _)| r == room) {
            self.gone.insert(room.clone());
            return;
        }
        self.gone.remove(room);
        if self.plans.remove(room).is_some() {
            self.sync_room(room);
            self.sync_dials();
        }
    }

    /// A link is up and both ends have said Hello.
    pub fn handle_link_up(&mut self, link: Link, node: NodeId, incarnation: Incarnation) {
        let peer = Peer {
            node: node.clone(),
            incarnation,
            joined: BTreeSet::new(),
            sent: BTreeSet::new(),
            aliases: HashMap::new(),
        };
        self.peers.insert(link, peer);
        let rooms: Vec<RoomId> = self.plans.keys().cloned().collect();
        for room in rooms {
            self.sync_room(&room);
        }
    }

    /// A link is down. Streams that came by it wait for another one.
    pub fn handle_link_down(&mut self, now: Instant, link: Link) {
        self.peers.remove(&link);
        let mut unwanted = Vec::new();
        for (id, stream) in &mut self.streams {
            stream.told.remove(&link);
            if matches!(stream.source, Source::Remote { link: from, .. } if from == link) {
                stream.source = Source::Orphan { since: now };
            }
            for (lane, want) in &mut stream.wants {
                if want.links.remove(&link) {
                    unwanted.push((id.clone(), *lane));
                }
            }
        }
        // Who asked for the link's sake alone asks no more.
        for (id, lane) in unwanted {
            self.want_changed(&id, lane, true, None);
        }
    }

    /// When [`Agent::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.streams
            .values()
            .filter_map(|s| match s.source {
                Source::Orphan { since } => since.checked_add(ORPHAN_MAX),
                _ => None,
            })
            .min()
    }

    /// Ends streams that have been without a link for [`ORPHAN_MAX`].
    pub fn handle_timeout(&mut self, now: Instant) {
        let late = |s: &Stream| match s.source {
            Source::Orphan { since } => now.saturating_duration_since(since) >= ORPHAN_MAX,
            _ => false,
        };
        let gone: Vec<_> = self.streams.iter().filter(|(_, s)| late(s)).map(|(k, _)| k.clone()).collect();
        for key in gone {
            self.remove_stream(&key, EndReason::NodeDead);
        }
    }

    /// Joins and leaves a room on every link as the plan says.
    fn sync_room(&mut self, room: &RoomId) {
        let plan = self.plans.get(room);
        let mine =
            plan.is_some_and(|p| p.member(&self.me).is_some_and(|m| m.incarnation == self.incarnation));
        let neighbour = |node: &NodeId, incarnation: Incarnation| {
            mine && plan.is_some_and(|p| {
                p.neighbours(&self.me).any(|m| &m.node == node && m.incarnation == incarnation)
            })
        };
        let epoch = plan.map(|p| p.epoch).unwrap_or_default();
        for (link, peer) in &mut self.peers {
            let wanted = neighbour(&peer.node, peer.incarnation);
            if wanted && peer.sent.insert(room.clone()) {
                self.out.push_back(Output::Send(*link, Control::RoomJoin { room: room.clone(), epoch }));
            } else if !wanted && peer.sent.remove(room) {
                peer.aliases.retain(|_, (of, ..)| of != room);
                self.out.push_back(Output::Send(*link, Control::RoomLeave { room: room.clone() }));
            }
        }
        self.drop_unplanned_sources(room);
    }

    /// A stream whose link left the room's tree waits for the new neighbour's announcement.
    fn drop_unplanned_sources(&mut self, room: &RoomId) {
        let gone: Vec<_> = self
            .streams
            .iter()
            .filter(|((r, _), s)| {
                r == room
                    && matches!(s.source, Source::Remote { link, .. }
                        if !self.peers.get(&link).is_some_and(|p| p.sent.contains(room)))
            })
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.remove_stream(&key, EndReason::Closed);
        }
    }

    /// Dials every parent, forgets those that no plan names.
    fn sync_dials(&mut self) {
        let mut wanted: BTreeMap<NodeId, Incarnation> = BTreeMap::new();
        for plan in self.plans.values() {
            let Some(me) = plan.member(&self.me).filter(|m| m.incarnation == self.incarnation) else {
                continue;
            };
            let parent = me.parent.as_ref().and_then(|p| plan.member(p));
            wanted.extend(parent.map(|p| (p.node.clone(), p.incarnation)));
        }
        for (node, incarnation) in &wanted {
            if self.dialled.get(node) != Some(incarnation) {
                self.out.push_back(Output::Dial(node.clone(), *incarnation));
            }
        }
        for (node, incarnation) in &self.dialled {
            if wanted.get(node) != Some(incarnation) {
                self.out.push_back(Output::Forget(node.clone(), *incarnation));
            }
        }
        self.dialled = wanted;
    }
}
