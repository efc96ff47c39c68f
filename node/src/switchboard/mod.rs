//! Which shard of this node is a stream's home, and which others take it from there.
//!
//! A stream's home is the shard of its publisher or, for one that comes by a link, the shard that takes the link's
//! packets; it feeds links. Every other shard knows the stream as one that comes from its home, and takes a lane of it
//! once, while it has viewers of its own. To the agent all this is one place: wanted when any shard wants it.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, RoomId, StreamId};
use freshet_relay_proto::control::LayerRate;
use freshet_relay_proto::track::TrackInfo;

use crate::agent::{Lane, Link, RemoteStream, StreamKey};
use crate::sfu::{Hop, Incoming};

/// What the shell does for the switchboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A shard may show a stream.
    Up(u16, Incoming),
    /// How fast the layers of a stream are sent.
    Layers(u16, StreamKey, Vec<LayerRate>),
    /// A stream has ended for a shard.
    Down(u16, StreamKey),
    /// A shard sends a lane to a hop.
    Forward(u16, Forward),
    /// It does not any more.
    Unforward(u16, StreamKey, Lane, Hop),
    /// A shard is asked for a keyframe.
    Keyframe(u16, StreamKey, Lane),
    /// For the agent: viewers here want a lane, or none does.
    Interest(StreamKey, Lane, bool),
    /// For the agent: a stream that comes by a link is asked for a keyframe.
    KeyframeWanted(StreamKey, Lane),
}

/// Which packets go to a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forward {
    /// The stream.
    pub key: StreamKey,
    /// Track and layer.
    pub lane: Lane,
    /// The link or shard.
    pub hop: Hop,
    /// The stream's alias there.
    pub alias: u32,
    /// First index wanted; the newest keyframe when absent.
    pub from: Option<u64>,
}

#[derive(Debug)]
struct Known {
    generation: Generation,
    home: u16,
    /// Its name between shards.
    alias: u32,
    tracks: Vec<TrackInfo>,
    /// By which link it comes, and under which alias.
    by: Option<(Link, u32)>,
    /// Shards with viewers of a lane.
    wants: BTreeMap<Lane, BTreeSet<u16>>,
}

/// The switchboard of one node.
#[derive(Debug)]
pub struct Switchboard {
    shards: u16,
    streams: BTreeMap<(RoomId, StreamId), Known>,
    next_alias: u32,
    out: VecDeque<Output>,
}

impl Switchboard {
    /// For a node with so many shards.
    pub fn new(shards: u16) -> Self {
        Self { shards: shards.max(1), streams: BTreeMap::new(), next_alias: 1, out: VecDeque::new() }
    }

    /// What is to be done next.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// Streams that are known.
    pub fn len(&self) -> usize {
        self.streams.len()
    }

    /// No stream is known.
    pub fn is_empty(&self) -> bool {
        self.streams.is_empty()
    }

    /// Lanes that shards want, counted once for each shard.
    pub fn wants(&self) -> usize {
        self.streams.values().flat_map(|known| known.wants.values()).map(BTreeSet::len).sum()
    }

    /// Which shard takes which stream of which link.
    pub fn routes(&self) -> impl Iterator<Item = ((Link, u32), u16)> {
        self.streams.values().filter_map(|known| known.by.map(|by| (by, known.home)))
    }

    /// A publisher of this shard is live.
    pub fn handle_live(
        &mut self,
        home: u16,
        key: &StreamKey,
        started_at: UnixMillis,
        tracks: Vec<TrackInfo>,
    ) {
        self.settle(key, Some(home), started_at, tracks, None);
    }

    /// A publisher of this shard has gone.
    pub fn handle_unpublished(&mut self, home: u16, key: &StreamKey) {
        if self.known(key).is_some_and(|known| known.home == home && known.by.is_none()) {
            self.drop_stream(key);
        }
    }

    /// A stream comes by a link, or comes by another link now.
    pub fn handle_up(&mut self, remote: RemoteStream) {
        let RemoteStream { key, started_at, tracks, link, alias, .. } = remote;
        let home = self.known(&key).map(|known| known.home);
        let by = Some((link, alias));
        self.settle(&key, home, started_at, tracks.clone(), by);
        if let Some(home) = self.known(&key).filter(|known| known.by == by).map(|known| known.home) {
            let incoming = Incoming { key, started_at, tracks, hop: Hop::Link(link), alias };
            self.out.push_back(Output::Up(home, incoming));
        }
    }

    /// The rates of a stream's layers are known, from its publisher's shard or, with none, from a link.
    pub fn handle_layers(&mut self, from: Option<u16>, key: &StreamKey, rates: &[LayerRate]) {
        if self.known(key).is_none() {
            return;
        }
        for shard in (0..self.shards).filter(|shard| Some(*shard) != from) {
            self.out.push_back(Output::Layers(shard, key.clone(), rates.to_vec()));
        }
    }

    /// A stream that came by a link has ended.
    pub fn handle_down(&mut self, key: &StreamKey) {
        if let Some(home) = self.known(key).filter(|known| known.by.is_some()).map(|known| known.home) {
            self.out.push_back(Output::Down(home, key.clone()));
            self.drop_stream(key);
        }
    }

    /// Viewers of a shard want a lane, or none of them does any more.
    pub fn handle_interest(&mut self, shard: u16, key: &StreamKey, lane: Lane, on: bool) {
        let Some(known) = self.known_mut(key) else { return };
        let (home, alias) = (known.home, known.alias);
        let wants = known.wants.entry(lane).or_default();
        let before = !wants.is_empty();
        let changed = if on { wants.insert(shard) } else { wants.remove(&shard) };
        let after = !wants.is_empty();
        if !after {
            known.wants.remove(&lane);
        }
        if changed && shard != home {
            let (key, hop) = (key.clone(), Hop::Shard(shard));
            self.out.push_back(if on {
                Output::Forward(home, Forward { key, lane, hop, alias, from: None })
            } else {
                Output::Unforward(home, key, lane, hop)
            });
        }
        if before != after {
            self.out.push_back(Output::Interest(key.clone(), lane, after));
        }
    }

    /// A shard wants a keyframe of a stream that does not begin there.
    pub fn handle_keyframe_wanted(&mut self, shard: u16, key: &StreamKey, lane: Lane) {
        let Some(home) = self.known(key).map(|known| known.home) else { return };
        self.out.push_back(if shard == home {
            Output::KeyframeWanted(key.clone(), lane)
        } else {
            Output::Keyframe(home, key.clone(), lane)
        });
    }

    /// A link wants packets.
    pub fn handle_forward(&mut self, forward: Forward) {
        if let Some(home) = self.known(&forward.key).map(|known| known.home) {
            self.out.push_back(Output::Forward(home, forward));
        }
    }

    /// A link does not want them any more.
    pub fn handle_unforward(&mut self, key: StreamKey, lane: Lane, link: Link) {
        if let Some(home) = self.known(&key).map(|known| known.home) {
            self.out.push_back(Output::Unforward(home, key, lane, Hop::Link(link)));
        }
    }

    /// A link wants a keyframe.
    pub fn handle_keyframe(&mut self, key: StreamKey, lane: Lane) {
        if let Some(home) = self.known(&key).map(|known| known.home) {
            self.out.push_back(Output::Keyframe(home, key, lane));
        }
    }

    fn known(&self, key: &StreamKey) -> Option<&Known> {
        let known = self.streams.get(&(key.room.clone(), key.stream.clone()))?;
        (known.generation == key.generation).then_some(known)
    }

    fn known_mut(&mut self, key: &StreamKey) -> Option<&mut Known> {
        let known = self.streams.get_mut(&(key.room.clone(), key.stream.clone()))?;
        (known.generation == key.generation).then_some(known)
    }

    /// Makes a publish known to every shard but its home. An older one of the same stream makes way; the shards replace
    /// it as they hear of the newer.
    fn settle(
        &mut self,
        key: &StreamKey,
        home: Option<u16>,
        started_at: UnixMillis,
        tracks: Vec<TrackInfo>,
        by: Option<(Link, u32)>,
    ) {
        let id = (key.room.clone(), key.stream.clone());
        if self.streams.get(&id).is_some_and(|known| known.generation > key.generation) {
            return;
        }
        let home = home.unwrap_or_else(|| self.emptiest());
        if let Some(known) = self.known_mut(key)
            && known.home == home
            && known.tracks == tracks
        {
            // The same by another way: the other shards need not hear of it.
            known.by = by;
            return;
        }
        let alias = self.next_alias;
        self.next_alias = self.next_alias.wrapping_add(1).max(1);
        let (generation, wants) = (key.generation, BTreeMap::new());
        self.streams.insert(id, Known { generation, home, alias, tracks: tracks.clone(), by, wants });
        for shard in (0..self.shards).filter(|shard| *shard != home) {
            let (key, tracks, hop) = (key.clone(), tracks.clone(), Hop::Shard(home));
            self.out.push_back(Output::Up(shard, Incoming { key, started_at, tracks, hop, alias }));
        }
    }

    /// The shard that is home to the fewest streams.
    fn emptiest(&self) -> u16 {
        let homes = |shard: &u16| self.streams.values().filter(|known| known.home == *shard).count();
        (0..self.shards).min_by_key(homes).unwrap_or(0)
    }

    fn drop_stream(&mut self, key: &StreamKey) {
        let Some(known) = self.streams.remove(&(key.room.clone(), key.stream.clone())) else { return };
        for shard in (0..self.shards).filter(|shard| *shard != known.home) {
            self.out.push_back(Output::Down(shard, key.clone()));
        }
    }
}
