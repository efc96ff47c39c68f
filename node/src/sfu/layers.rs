//! Which simulcast layer each slot of a viewer carries.
//!
//! A slot begins with the best layer at hand and goes over to the one that it should have at that layer's next keyframe:
//! until then both are wanted, and the old one is sent. Layers that no slot carries or waits for are wanted by nobody, so
//! that they cross neither shards nor links.

use std::time::Instant;

use freshet_relay_proto::control::LayerRate;

use super::lane::Lane;
use super::machine::Sfu;
use super::room::Stream;
use super::session::Role;
use super::types::Source;
use crate::agent::StreamKey;
use crate::media::keyframe::Fresh;
use crate::media::layer::{self, Ranks, Wish};
use crate::peer::viewer::{Attached, Coming, Slot};
use crate::session::LayerView;

impl Sfu {
    /// The publisher of a stream, here or elsewhere, sends its layers at these rates now. Viewers are gone through only
    /// when one of them may have to go over to another layer by that; else who listens is told, and nobody else looked at.
    pub fn handle_layers(&mut self, now: Instant, key: &StreamKey, rates: &[LayerRate]) {
        let before = self.ranks(key);
        for rate in rates {
            if let Some(at) = self.lane_of(key, (rate.track, rate.layer))
                && let Some(lane) = self.lanes.get_mut(at)
            {
                lane.told = Some(rate.kbps);
            }
        }
        let changes = self.ranks(key) != before;
        let Some(room) = self.rooms.get(&key.room) else { return };
        if room.streams.get(&key.stream).is_none_or(|stream| stream.key != *key) {
            return;
        }
        let choosing = if changes { room.viewers.list().to_vec() } else { Vec::new() };
        let listening: Vec<usize> = room.listeners.iter().copied().collect();
        for at in choosing {
            if self.watches(at, key) {
                self.choose_layers(now, at);
            }
        }
        for at in listening {
            if self.watches(at, key) {
                self.viewing_changed(at);
            }
        }
    }

    fn watches(&self, at: usize, key: &StreamKey) -> bool {
        let role = self.sessions.get(at).map(|session| &session.role);
        matches!(role, Some(Role::Viewer(viewer)) if viewer.watching.as_ref() == Some(&key.stream))
    }

    /// What choices of layers go by, for each track of a stream.
    fn ranks(&self, key: &StreamKey) -> Vec<Ranks> {
        let stream = self.rooms.get(&key.room).and_then(|room| room.streams.get(&key.stream));
        let Some(stream) = stream.filter(|stream| stream.key == *key) else { return Vec::new() };
        let told = |track: u8| -> Vec<Option<u32>> {
            let lanes = stream.lanes.iter().filter(|((of, _), _)| *of == track);
            lanes.map(|(_, at)| self.lanes.get(*at).and_then(|lane| lane.told)).collect()
        };
        stream.tracks.iter().map(|track| Ranks::of(&told(track.id))).collect()
    }

    /// Puts a track into a slot: the layer that it should have, or to begin with one whose keyframe is at hand.
    pub(super) fn attach_track(&mut self, now: Instant, at: usize, n: usize, lanes: &[usize]) {
        let Some(first) = lanes.first().copied() else { return };
        let wished = self.wished_layer(at, n, lanes, None).unwrap_or(first);
        self.attach(at, n, wished);
        self.begin(now, at, n);
    }

    /// Begins to feed the slots of a viewer that has connected.
    pub(super) fn begin_all(&mut self, now: Instant, at: usize) {
        let Some(Role::Viewer(viewer)) = self.sessions.get(at).map(|s| &s.role) else { return };
        for n in 0..viewer.slots.len() {
            self.begin(now, at, n);
        }
    }

    /// Begins to feed a slot of a connected viewer: by a layer that can be shown at once, if there is one.
    fn begin(&mut self, now: Instant, at: usize, n: usize) {
        let Some(Role::Viewer(viewer)) = self.sessions.get(at).map(|s| &s.role) else { return };
        let attached = viewer.slots.get(n).and_then(|slot| slot.attached.as_ref()).map(|a| a.lane);
        let (Some(wished), true) = (attached, viewer.connected) else { return };
        let fresh = Fresh { max_age: self.config.fresh_keyframe, ..Fresh::default() };
        let at_hand = |lane: usize| {
            let lane = self.lanes.get(lane)?;
            let taken = lane.is_wanted() || matches!(lane.source, Source::Local(_));
            (taken && fresh.start(&lane.ring, now).is_some()).then_some(lane.told)
        };
        let siblings = self.siblings(wished);
        let others = || siblings.iter().filter_map(|lane| Some((at_hand(*lane)?, *lane)));
        let instead = if siblings.len() > 1 && at_hand(wished).is_none() { others().max() } else { None };
        if let Some((_, lane)) = instead {
            self.replace(now, at, n, lane);
            self.change_layer(now, at, n, wished);
        } else {
            self.join_lane(now, wished, at, n);
        }
    }

    /// Puts another lane into a slot that has been sent nothing of its present one.
    fn replace(&mut self, now: Instant, at: usize, n: usize, lane: usize) {
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        let Some(slot) = viewer.slots.get_mut(n) else { return };
        let connected = viewer.connected;
        let left: Vec<usize> = slot.clear().collect();
        // In this order, so that a stream does not seem unwanted in between.
        self.attach(at, n, lane);
        for old in left {
            self.leave_lane(old, at, n);
        }
        if connected {
            self.join_lane(now, lane, at, n);
        }
    }

    fn stream_of(&self, lane: &Lane) -> Option<&Stream> {
        self.rooms.get(&lane.key.room)?.streams.get(&lane.key.stream)
    }

    /// The lanes of the layers of the track that a lane belongs to, in the order of the layers.
    fn siblings(&self, lane: usize) -> Vec<usize> {
        let Some(lane) = self.lanes.get(lane) else { return Vec::new() };
        let stream = self.stream_of(lane);
        let lanes = stream.map(|stream| stream.lanes.as_slice()).unwrap_or_default();
        lanes.iter().filter(|((track, _), _)| *track == lane.id.0).map(|(_, at)| *at).collect()
    }

    /// The lane that a slot should carry, of those of its track; none when nothing is known of them.
    fn wished_layer(&self, at: usize, n: usize, lanes: &[usize], present: Option<usize>) -> Option<usize> {
        let Some(Role::Viewer(viewer)) = self.sessions.get(at).map(|s| &s.role) else { return None };
        let wish = self.wish(viewer.slots.get(n)?, lanes);
        let rates: Vec<Option<u32>> =
            lanes.iter().map(|lane| self.lanes.get(*lane).and_then(|lane| lane.told)).collect();
        let place = lanes.iter().position(|lane| Some(*lane) == present).and_then(|at| u8::try_from(at).ok());
        lanes.get(usize::from(layer::choose(&rates, wish, place)?)).copied()
    }

    /// What a slot's client wants of a track with these lanes. Another publish of the stream need not have the layer that
    /// was picked, or has it in another place.
    fn wish(&self, slot: &Slot, lanes: &[usize]) -> Wish {
        let Some(picked) = &slot.picked else { return Wish::Best };
        let names = lanes.first().and_then(|lane| self.lanes.get(*lane)).map(|lane| self.names(lane));
        let place = names.and_then(|names| names.iter().position(|name| **name == **picked));
        place.and_then(|place| u8::try_from(place).ok()).map_or(Wish::Best, Wish::Layer)
    }

    /// The names of the layers of the track that a lane belongs to.
    fn names(&self, lane: &Lane) -> &[String] {
        let tracks = self.stream_of(lane).map(|stream| stream.tracks.as_slice()).unwrap_or_default();
        let track = tracks.iter().find(|track| track.id == lane.id.0);
        track.map(|track| track.layers.as_slice()).unwrap_or_default()
    }

    /// Brings every slot of a viewer to the layer that it should carry.
    pub(super) fn choose_layers(&mut self, now: Instant, at: usize) {
        let Some(Role::Viewer(viewer)) = self.sessions.get(at).map(|s| &s.role) else { return };
        let slots = viewer.slots.iter().enumerate();
        let bound = |(n, slot): (usize, &Slot)| {
            let coming = slot.coming.as_ref().map(|coming| coming.to.lane);
            Some((n, coming.or(slot.attached.as_ref().map(|attached| attached.lane))?))
        };
        let slots: Vec<(usize, usize)> = slots.filter_map(bound).collect();
        for (n, present) in slots {
            let lanes = self.siblings(present);
            if lanes.len() > 1
                && let Some(lane) = self.wished_layer(at, n, &lanes, Some(present))
            {
                self.change_layer(now, at, n, lane);
            }
        }
    }

    /// Lets a slot go over to another layer at its next keyframe, or at once where nothing has been sent yet.
    fn change_layer(&mut self, now: Instant, at: usize, n: usize, to: usize) {
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else { return };
        let connected = viewer.connected;
        let Some(slot) = viewer.slots.get_mut(n) else { return };
        let Some((present, waiting)) = slot.attached.as_ref().map(|a| (a.lane, a.waiting)) else { return };
        let coming = slot.coming.as_ref().map(|coming| coming.to.lane);
        if coming == Some(to) || (coming.is_none() && present == to) {
            return;
        }
        if present == to {
            slot.coming = None;
        } else if waiting || !connected {
            return self.replace(now, at, n, to);
        } else {
            let Some(lane) = self.lanes.get(to) else { return };
            let formats = slot.formats(&lane.codecs);
            let next = lane.ring.next_arrival();
            let to_be =
                Attached { lane: to, formats, waiting: false, next, catching_up: false, between: true };
            slot.coming = Some(Box::new(Coming { to: to_be, ready: None, passed: None }));
            self.enter_lane(to, at, n);
            self.want_keyframe(now, to);
        }
        if let Some(old) = coming {
            self.leave_lane(old, at, n);
        }
    }

    /// A slot went over to another layer: it leaves the lane that it was fed from.
    pub(super) fn layer_changed(&mut self, at: usize, n: usize, left: usize) {
        self.counters.layer_switches = self.counters.layer_switches.saturating_add(1);
        self.leave_lane(left, at, n);
        self.viewing_changed(at);
    }

    /// The encodings of the track in a slot, best first; none where it has one without a name.
    pub(super) fn encodings(&self, slot: &Slot) -> Vec<LayerView> {
        let Some(present) = slot.attached.as_ref().map(|attached| attached.lane) else { return Vec::new() };
        let Some(lane) = self.lanes.get(present) else { return Vec::new() };
        let view = |(name, lane): (&String, usize)| {
            let kbps = self.lanes.get(lane).and_then(|lane| lane.told).unwrap_or_default();
            let bitrate = u64::from(kbps).saturating_mul(1_000);
            LayerView { id: name.clone(), bitrate, current: present == lane }
        };
        let mut encodings: Vec<LayerView> =
            self.names(lane).iter().zip(self.siblings(present)).map(view).collect();
        encodings.sort_by_key(|view| std::cmp::Reverse(view.bitrate));
        encodings
    }
}
