//! Streams as the agent sees them: claimed, announced, wanted, gone.

use std::collections::{BTreeMap, BTreeSet};

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, Identity, RoomId, SessionId, StreamId};
use freshet_relay_proto::control::{Announce, Control, LayerRate, RATES_MAX};
use freshet_relay_proto::track::TrackInfo;

use super::{Agent, Lane, Link, Output, Source, Stream, StreamKey};

impl Agent {
    /// A publisher here has claimed a stream. An older generation of it ends, wherever it came from.
    pub fn handle_claimed(
        &mut self,
        key: &StreamKey,
        identity: Identity,
        session: SessionId,
        started_at: UnixMillis,
    ) {
        self.handle_generation(&key.room, &key.stream, key.generation);
        let alias = self.alias();
        let stream = Stream {
            generation: key.generation,
            identity,
            started_at,
            origin: self.me.clone(),
            origin_incarnation: self.incarnation,
            path: Vec::new(),
            tracks: Vec::new(),
            rates: BTreeMap::new(),
            source: Source::Local { session },
            alias,
            live: false,
            told: BTreeSet::new(),
            wants: BTreeMap::new(),
        };
        self.streams.insert((key.room.clone(), key.stream.clone()), stream);
    }

    /// A publisher here is connected, or its tracks have changed.
    pub fn handle_live(&mut self, key: &StreamKey, tracks: Vec<TrackInfo>) {
        let id = (key.room.clone(), key.stream.clone());
        let Some(stream) = self.streams.get_mut(&id).filter(|s| s.generation == key.generation) else {
            return;
        };
        stream.live = true;
        stream.tracks = tracks;
        stream.told.clear();
        self.announce(&id);
    }

    /// A publisher here sends its layers at these rates.
    pub fn handle_layers(&mut self, key: &StreamKey, rates: &[LayerRate]) {
        let id = (key.room.clone(), key.stream.clone());
        if self.streams.get(&id).is_some_and(|s| s.generation == key.generation) {
            self.note_rates(&id, rates);
        }
    }

    /// Keeps what is known of rates, and passes it on to everyone who was told of the stream.
    pub(super) fn note_rates(&mut self, id: &(RoomId, StreamId), rates: &[LayerRate]) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let layers = |track: u8| stream.tracks.iter().find(|t| t.id == track).map_or(0, |t| t.layers.len());
        let known = |rate: &&LayerRate| usize::from(rate.layer) < layers(rate.track);
        let rates: Vec<LayerRate> = rates.iter().filter(known).copied().collect();
        if rates.is_empty() {
            return;
        }
        stream.rates.extend(rates.iter().map(|rate| ((rate.track, rate.layer), rate.kbps)));
        for link in &stream.told {
            let frame = Control::Layers { alias: stream.alias, rates: rates.clone() };
            self.out.push_back(Output::Send(*link, frame));
        }
        if matches!(stream.source, Source::Remote { .. }) {
            let key = stream.key(id);
            self.out.push_back(Output::Layers(key, rates));
        }
    }

    /// A publisher here is gone.
    pub fn handle_unpublished(&mut self, key: &StreamKey, reason: EndReason) {
        let id = (key.room.clone(), key.stream.clone());
        let ours = |s: &Stream| s.generation == key.generation && matches!(s.source, Source::Local { .. });
        if self.streams.get(&id).is_some_and(ours) {
            self.remove_stream(&id, reason);
        }
    }

    /// Somebody, anywhere, claimed this generation: anything older ends here.
    pub fn handle_generation(&mut self, room: &RoomId, stream: &StreamId, generation: Generation) {
        let id = (room.clone(), stream.clone());
        let Some(known) = self.streams.get(&id).filter(|s| s.generation < generation) else { return };
        if let Source::Local { session } = known.source {
            self.out.push_back(Output::End(session, EndReason::TakenOver));
            self.remove_stream(&id, EndReason::TakenOver);
        }
        // A remote one ends when its origin withdraws it or when the newer one is announced.
    }

    /// Viewers here want a lane, or do not want it any more.
    pub fn handle_interest(&mut self, key: &StreamKey, lane: Lane, on: bool) {
        let id = (key.room.clone(), key.stream.clone());
        let Some(stream) = self.streams.get_mut(&id).filter(|s| s.generation == key.generation) else {
            return;
        };
        let want = stream.wants.entry(lane).or_default();
        let before = want.any();
        want.local = on;
        self.want_changed(&id, lane, before, None);
    }

    /// The shard wants a keyframe of a stream that comes by a link.
    pub fn handle_keyframe_wanted(&mut self, key: &StreamKey, lane: Lane) {
        let Some(stream) = self.streams.get(&(key.room.clone(), key.stream.clone())) else { return };
        if let Source::Remote { link, alias } = stream.source
            && stream.generation == key.generation
        {
            let (track, layer) = lane;
            self.out.push_back(Output::Send(link, Control::KeyframeRequest { alias, track, layer }));
        }
    }

    pub(super) fn want_link(&mut self, link: Link, alias: u32, lane: Lane, from: Option<u64>) -> bool {
        let Some(id) = self.by_alias(alias) else { return false };
        let Some(stream) = self.streams.get_mut(&id) else { return false };
        let key = stream.key(&id);
        let want = stream.wants.entry(lane).or_default();
        let before = want.any();
        want.links.insert(link);
        self.out.push_back(Output::Forward { key, lane, link, alias, from });
        self.want_changed(&id, lane, before, from);
        true
    }

    pub(super) fn unwant_link(&mut self, link: Link, alias: u32, lane: Lane) {
        let Some(id) = self.by_alias(alias) else { return };
        let Some(stream) = self.streams.get_mut(&id) else { return };
        let key = stream.key(&id);
        let Some(want) = stream.wants.get_mut(&lane) else { return };
        let before = want.any();
        if want.links.remove(&link) {
            self.out.push_back(Output::Unforward { key, lane, link });
        }
        self.want_changed(&id, lane, before, None);
    }

    pub(super) fn want_changed(
        &mut self,
        id: &(RoomId, StreamId),
        lane: Lane,
        before: bool,
        from: Option<u64>,
    ) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let after = stream.wants.get(&lane).is_some_and(super::Want::any);
        if !after {
            stream.wants.remove(&lane);
        }
        let Source::Remote { link, alias } = stream.source else { return };
        let (track, layer) = lane;
        let frame = match (before, after) {
            (false, true) => Control::Subscribe { alias, track, layer, from },
            (true, false) => Control::Unsubscribe { alias, track, layer },
            _ => return,
        };
        self.out.push_back(Output::Send(link, frame));
    }

    pub(super) fn by_alias(&self, alias: u32) -> Option<(RoomId, StreamId)> {
        self.streams.iter().find(|(_, s)| s.alias == alias).map(|(id, _)| id.clone())
    }

    pub(super) fn alias(&mut self) -> u32 {
        let alias = self.next_alias;
        self.next_alias = self.next_alias.wrapping_add(1).max(1);
        alias
    }

    /// Announces a stream to every link that joined its room and has not been told, except where it comes from.
    pub(super) fn announce(&mut self, id: &(RoomId, StreamId)) {
        let Some(stream) = self.streams.get_mut(id).filter(|s| s.live) else { return };
        let from = match stream.source {
            Source::Remote { link, .. } => Some(link),
            _ => None,
        };
        let mut path = stream.path.clone();
        path.push(self.me.clone());
        for (link, peer) in &self.peers {
            if Some(*link) == from || !peer.joined.contains(&id.0) || !stream.told.insert(*link) {
                continue;
            }
            let announce = Announce {
                room: id.0.clone(),
                stream: id.1.clone(),
                generation: stream.generation,
                alias: stream.alias,
                origin: stream.origin.clone(),
                origin_incarnation: stream.origin_incarnation,
                path: path.clone(),
                identity: stream.identity.clone(),
                started_at_ms: stream.started_at.0,
                tracks: stream.tracks.clone(),
            };
            self.out.push_back(Output::Send(*link, Control::Announce(announce)));
            let rates: Vec<LayerRate> = stream.known_rates().take(RATES_MAX).collect();
            if !rates.is_empty() {
                self.out.push_back(Output::Send(*link, Control::Layers { alias: stream.alias, rates }));
            }
        }
    }

    /// Ends a stream here and tells everyone who was told of it.
    pub(super) fn remove_stream(&mut self, id: &(RoomId, StreamId), reason: EndReason) {
        let Some(stream) = self.streams.remove(id) else { return };
        let key = stream.key(id);
        for (lane, want) in &stream.wants {
            for link in &want.links {
                self.out.push_back(Output::Unforward { key: key.clone(), lane: *lane, link: *link });
            }
        }
        for link in &stream.told {
            if self.peers.contains_key(link) {
                let frame = Control::Withdraw {
                    room: id.0.clone(),
                    stream: id.1.clone(),
                    generation: stream.generation,
                    reason,
                };
                self.out.push_back(Output::Send(*link, frame));
            }
        }
        if !matches!(stream.source, Source::Local { .. }) {
            self.out.push_back(Output::Down(key, reason));
        }
        if self.gone.contains(&id.0) {
            // Its plan goes with its last stream.
            self.handle_plan_gone(&id.0);
        }
    }
}

impl Stream {
    pub(super) fn known_rates(&self) -> impl Iterator<Item = LayerRate> {
        self.rates.iter().map(|((track, layer), kbps)| LayerRate {
            track: *track,
            layer: *layer,
            kbps: *kbps,
        })
    }

    pub(super) fn key(&self, id: &(RoomId, StreamId)) -> StreamKey {
        StreamKey { room: id.0.clone(), stream: id.1.clone(), generation: self.generation }
    }
}
