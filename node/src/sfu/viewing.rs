//! What a viewer is shown, for those who listen, and which layer it picks.

use std::time::Instant;

use freshet_cluster::{Identity, RoomId, SessionId};
use freshet_relay_proto::track::MediaKind;

use super::machine::Sfu;
use super::session::Role;
use super::types::Event;
use crate::peer::viewer::{Slot, Viewer};
use crate::session::{Choice, LayerView, Line, SessionError, Viewing};

impl Sfu {
    /// Whether changes of what a session shows are said as [`Event::Viewing`] from now on.
    pub fn listen(&mut self, id: SessionId, on: bool) {
        let Some(at) = self.by_id.get(&id).copied() else { return };
        let Some(session) = self.sessions.get_mut(at) else { return };
        let Role::Viewer(viewer) = &mut session.role else { return };
        viewer.listened = on;
        if let Some(room) = self.rooms.get_mut(&session.room) {
            if on {
                room.listeners.insert(at);
            } else {
                room.listeners.remove(&at);
            }
        }
    }

    /// What a session shows and could show; none for one that is not there or publishes.
    pub fn viewing(&self, id: SessionId) -> Option<Viewing> {
        let session = self.by_id.get(&id).and_then(|at| self.sessions.get(*at))?;
        match &session.role {
            Role::Viewer(viewer) if session.closing.is_none() => Some(self.shown(&session.room, viewer)),
            _ => None,
        }
    }

    fn shown(&self, room: &RoomId, viewer: &Viewer) -> Viewing {
        let line = |slot: &Slot| Line {
            index: slot.line,
            mid: slot.mid.to_string(),
            kind: slot.kind,
            layers: self.encodings(slot),
            unplayable: self.unplayable(room, viewer, slot),
        };
        Viewing { active: viewer.watching.is_some(), lines: in_order(viewer).map(line).collect() }
    }

    /// The places of a viewer's m-lines to which nothing can be sent, with the codec of what comes.
    pub(super) fn unplayable_lines(&self, room: &RoomId, viewer: &Viewer) -> Vec<(usize, String)> {
        let of = |slot: &Slot| Some((slot.line, self.unplayable(room, viewer, slot)?));
        in_order(viewer).filter_map(of).collect()
    }

    /// The codec of what comes for a slot, where its viewer did not negotiate it.
    fn unplayable(&self, room: &RoomId, viewer: &Viewer, slot: &Slot) -> Option<String> {
        if let Some(attached) = &slot.attached {
            let lane = self.lanes.get(attached.lane)?;
            return lane.codecs.get(usize::from(slot.foreign?)).map(|codec| codec.name.clone());
        }
        // Nothing is attached of a track of whose codecs the viewer has none, as of a publisher that offers one alone.
        let stream = self.rooms.get(room)?.streams.get(viewer.watching.as_ref()?)?;
        let of_kind = viewer.slots.iter().filter(|other| other.kind == slot.kind);
        let place = of_kind.take_while(|other| other.line != slot.line).count();
        let track = stream.tracks.iter().filter(|track| track.kind == slot.kind).nth(place)?;
        let has_none = slot.formats(&track.codecs).is_none();
        track.codecs.first().filter(|_| has_none).map(|codec| codec.name.clone())
    }

    /// What a viewer shows may have changed. Until it has been taken that it has, it is said once.
    pub(super) fn viewing_changed(&mut self, at: usize) {
        let Some(session) = self.sessions.get_mut(at) else { return };
        if let Role::Viewer(viewer) = &mut session.role
            && viewer.listened
            && !std::mem::replace(&mut viewer.said, true)
        {
            self.events.push_back(Event::Viewing(session.id));
        }
    }

    /// It has been taken that what a session shows has changed.
    pub(super) fn viewing_said(&mut self, id: SessionId) {
        let session = self.by_id.get(&id).and_then(|at| self.sessions.get_mut(*at));
        if let Some(Role::Viewer(viewer)) = session.map(|session| &mut session.role) {
            viewer.said = false;
        }
    }

    /// Picks an encoding for a viewer's m-line, or leaves the choice to the node again, and bounds its temporal layers;
    /// without `mid` the first video line is meant.
    pub fn choose_layer(
        &mut self,
        now: Instant,
        id: SessionId,
        who: Option<&Identity>,
        mid: Option<&str>,
        choice: Choice,
    ) -> Result<(), SessionError> {
        self.look(id, who)?;
        let at = self.find_at(id)?;
        let Some(Role::Viewer(viewer)) = self.sessions.get(at).map(|s| &s.role) else {
            return Err(SessionError::NotAViewer);
        };
        let mut video = viewer.slots.iter().enumerate().filter(|(_, slot)| slot.kind == MediaKind::Video);
        let (n, slot) =
            video.find(|(_, slot)| mid.is_none_or(|mid| *slot.mid == *mid)).ok_or_else(|| match mid {
                Some(mid) => SessionError::NoSuchLayer(format!("no m-line of video has the mid {mid:?}")),
                None => SessionError::NoSuchLayer("the session has no video".to_owned()),
            })?;
        let picked = choice.rid;
        if let Some(id) = &picked {
            let known = self.encodings(slot);
            if known.iter().all(|layer| layer.id != *id) {
                return Err(no_such_layer(&known, id));
            }
        }
        let Some(Role::Viewer(viewer)) = self.sessions.get_mut(at).map(|s| &mut s.role) else {
            return Err(SessionError::NotAViewer);
        };
        if let Some(slot) = viewer.slots.get_mut(n) {
            slot.picked = picked.map(Into::into);
            slot.outlet.set_max_temporal(choice.max_temporal);
        }
        self.choose_layers(now, at);
        Ok(())
    }
}

/// A viewer's m-lines as its SDP has them.
fn in_order(viewer: &Viewer) -> impl Iterator<Item = &Slot> {
    let mut slots: Vec<&Slot> = viewer.slots.iter().collect();
    slots.sort_by_key(|slot| slot.line);
    slots.into_iter()
}

fn no_such_layer(known: &[LayerView], id: &str) -> SessionError {
    let known: Vec<&str> = known.iter().map(|layer| layer.id.as_str()).collect();
    let known = if known.is_empty() { "no layers".to_owned() } else { known.join(", ") };
    SessionError::NoSuchLayer(format!("the track has {known}, not {id:?}"))
}
