//! Which stream a viewer watches: the pinned one, else the room's first.

use std::time::Instant;

use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{RoomId, SessionId, StreamId};
use freshet_relay_proto::track::{MediaKind, TrackInfo};

use super::lane::Lane;
use super::machine::Sfu;
use super::room::{Room, Stream};
use super::session::Role;
use super::types::{Incoming, Source};
use crate::agent::{Lane as LaneId, StreamKey};
use crate::media::clock::ViewClock;
use crate::peer::viewer::Attached;

impl Sfu {
    /// A publisher's session has claimed a stream: its packets have a name now.
    pub fn handle_claimed(
        &mut self,
        now: Instant,
        session: SessionId,
        key: StreamKey,
        started_at: UnixMillis,
    ) {
        let Some(at) = self.by_id.get(&session).copied() else { return };
        let Some(Role::Publisher(publisher)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        publisher.key = Some(key.clone());
        let tracks = publisher.tracks();
        let live = publisher.connected;
        let stream = Stream {
            key,
            started_at,
            live,
            tracks: tracks.clone(),
            lanes: Vec::new(),
            source: Source::Local(at),
            clock: ViewClock::new(),
        };
        self.stream_up(now, stream);
        if live {
            self.publisher_live(now, at);
        }
    }

    pub(super) fn incoming_up(&mut self, now: Instant, remote: Incoming) {
        let source = Source::Remote(remote.hop, remote.alias);
        let known = self.rooms.get_mut(&remote.key.room).and_then(|r| r.streams.get_mut(&remote.key.stream));
        if let Some(known) = known
            && known.key == remote.key
            && known.tracks == remote.tracks
        {
            // The same publish by another way: rings and viewers stay, the indices go on.
            known.source = source;
            let lanes = known.lanes.clone();
            self.by_hop.retain(|_, lane| !lanes.iter().any(|(_, at)| at == lane));
            for (id, at) in lanes {
                self.by_hop.insert((remote.hop, remote.alias, id), at);
                if let Some(lane) = self.lanes.get_mut(at) {
                    lane.source = source;
                }
            }
            return;
        }
        let stream = Stream {
            key: remote.key,
            started_at: remote.started_at,
            live: true,
            tracks: remote.tracks,
            lanes: Vec::new(),
            source,
            clock: ViewClock::new(),
        };
        self.stream_up(now, stream);
    }

    fn stream_up(&mut self, now: Instant, mut stream: Stream) {
        let key = stream.key.clone();
        self.clear_stream(&key.room, &key.stream);
        for track in &stream.tracks {
            // One lane for each layer of a track, or one for the track.
            for layer in (0..=u8::MAX).take(track.layers.len().max(1)) {
                let id: LaneId = (track.id, layer);
                let names = (key.clone(), id);
                let ring = self.config.ring;
                let lane = Lane::new(names, track.kind, track.codecs.clone(), stream.source, ring);
                let at = self.lanes.insert(lane);
                stream.lanes.push((id, at));
                if let Source::Remote(hop, alias) = stream.source {
                    self.by_hop.insert((hop, alias, id), at);
                }
            }
        }
        let live = stream.live;
        self.rooms.entry(key.room.clone()).or_default().streams.insert(key.stream.clone(), stream);
        if live {
            self.choose_programs(now, &key.room);
        }
    }

    /// Takes a stream's lanes away; viewers keep their sessions and their slots.
    fn clear_stream(&mut self, room: &RoomId, stream: &StreamId) {
        let Some(of_room) = self.rooms.get_mut(room) else { return };
        let Some(old) = of_room.streams.remove(stream) else { return };
        let viewers = of_room.viewers.list().to_vec();
        for (id, at) in old.lanes {
            if let Source::Remote(hop, alias) = old.source {
                self.by_hop.remove(&(hop, alias, id));
            }
            self.lanes.remove(at);
            self.ripe.retain(|ripe| *ripe != at);
        }
        // A viewer watches a stream even while none of its tracks fits into a slot.
        for at in viewers {
            let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { continue };
            if viewer.watching.as_ref() != Some(stream) {
                continue;
            }
            viewer.watching = None;
            for slot in &mut viewer.slots {
                let _ = slot.clear().count();
            }
            self.viewing_changed(at);
        }
    }

    pub(super) fn stream_down(&mut self, now: Instant, key: &StreamKey) {
        let same = |r: &Room| r.streams.get(&key.stream).is_some_and(|s| s.key == *key);
        if !self.rooms.get(&key.room).is_some_and(same) {
            return;
        }
        self.clear_stream(&key.room, &key.stream);
        self.choose_programs(now, &key.room);
        self.drop_empty_room(&key.room);
    }

    /// A publisher's session is gone: its stream ends unless a newer publish has taken its place.
    pub(super) fn local_down(&mut self, now: Instant, key: &StreamKey, session: usize) {
        let stream = self.rooms.get(&key.room).and_then(|r| r.streams.get(&key.stream));
        if stream.is_some_and(|s| s.source == Source::Local(session)) {
            self.stream_down(now, key);
        }
    }

    pub(super) fn drop_empty_room(&mut self, room: &RoomId) {
        if self.rooms.get(room).is_some_and(|r| r.viewers.is_empty() && r.streams.is_empty()) {
            self.rooms.remove(room);
        }
    }

    pub(super) fn choose_programs(&mut self, now: Instant, room: &RoomId) {
        let viewers = self.rooms.get(room).map(|r| r.viewers.list().to_vec()).unwrap_or_default();
        for at in viewers {
            self.choose_program(now, at);
        }
    }

    /// Puts the right stream into a viewer's slots.
    pub(super) fn choose_program(&mut self, now: Instant, at: usize) {
        let Some(session) = self.sessions.get(at) else { return };
        let Role::Viewer(viewer) = &session.role else { return };
        let Some(room) = self.rooms.get(&session.room) else { return };
        let wanted = match &viewer.pinned {
            Some(pinned) => room.streams.get(pinned).filter(|s| s.live),
            None => {
                room.streams.values().filter(|s| s.live).min_by_key(|s| (s.started_at, s.key.stream.clone()))
            }
        };
        let Some(stream) = wanted else {
            self.detach_all(now, at);
            return;
        };
        if viewer.watching.as_ref() == Some(&stream.key.stream) {
            return;
        }
        let (name, lanes, tracks) = (stream.key.stream.clone(), stream.lanes.clone(), stream.tracks.clone());
        self.detach_all(now, at);
        if let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) {
            viewer.watching = Some(name);
        }
        for kind in [MediaKind::Video, MediaKind::Audio] {
            self.attach_kind(now, at, kind, &lanes, &tracks);
        }
        self.viewing_changed(at);
    }

    /// Fills the slots of one kind with the tracks of that kind, in order.
    fn attach_kind(
        &mut self,
        now: Instant,
        at: usize,
        kind: MediaKind,
        lanes: &[(LaneId, usize)],
        tracks: &[TrackInfo],
    ) {
        let Some(Role::Viewer(viewer)) = self.sessions.get(at).map(|s| &s.role) else { return };
        let slots: Vec<usize> = (0..viewer.slots.len())
            .filter(|n| viewer.slots.get(*n).is_some_and(|s| s.kind == kind))
            .collect();
        let of_kind = tracks.iter().filter(|t| t.kind == kind);
        for (track, n) in of_kind.zip(slots) {
            let of_track = lanes.iter().filter(|((id, _), _)| *id == track.id).map(|(_, lane)| *lane);
            self.attach_track(now, at, n, &of_track.collect::<Vec<_>>());
        }
    }

    pub(super) fn attach(&mut self, at: usize, n: usize, lane_at: usize) {
        let Some(lane) = self.lanes.get_mut(lane_at) else { return };
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        let Some(slot) = viewer.slots.get_mut(n) else { return };
        let formats = slot.formats(&lane.codecs);
        if formats.is_none() {
            // No codec of this track was negotiated: the slot stays empty rather than carry what cannot be played.
            return;
        }
        let waiting = lane.kind == MediaKind::Video;
        let next = lane.ring.next_arrival();
        slot.attached =
            Some(Attached { lane: lane_at, formats, waiting, next, catching_up: false, between: true });
        slot.outlet.switch_source();
        self.enter_lane(lane_at, at, n);
    }

    pub(super) fn detach_all(&mut self, _now: Instant, at: usize) {
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        let watched = viewer.watching.take().is_some();
        let attached: Vec<(usize, usize)> = viewer
            .slots
            .iter_mut()
            .enumerate()
            .flat_map(|(n, slot)| slot.clear().map(move |lane| (n, lane)))
            .collect();
        for (n, lane) in attached {
            self.leave_lane(lane, at, n);
        }
        if watched {
            self.viewing_changed(at);
        }
    }
}
