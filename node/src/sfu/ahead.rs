//! What the next visits will read, read a little earlier.
//!
//! A flush goes from viewer to viewer, and what it needs of one has left the near caches since the last frame. A visit
//! follows pointers, and waits for memory at each of them, one wait behind the other. For a group of viewers the same
//! waits pass together. Nothing is changed here, and nothing depends on it but time.

use std::hint::black_box;

use super::machine::Sfu;
use super::session::Role;
use crate::peer::viewer::{Slot, Viewer};

/// Viewers whose memory is fetched together: what is needed of them fits the nearest cache.
pub(super) const GROUP: usize = 8;

impl Sfu {
    /// Fetches what visiting these viewers, at most [`GROUP`], will read. Each loop reads behind the pointers that the
    /// one before has found, of one viewer as well as of the next.
    pub(super) fn look_ahead(&self, group: impl Iterator<Item = usize>) {
        let mut viewers = self.viewers(group);
        let mut seen = glance(&viewers);
        for place in &mut viewers {
            // It has been visited for another lane.
            *place = place.filter(|viewer| viewer.round != self.round);
        }
        seen ^= glance_at_slots(&viewers);
        // A frame brings nothing to the slots of sound.
        let ready = slots(&viewers).filter(|slot| self.waits(slot));
        black_box(ready.fold(seen, |seen, slot| seen ^ slot.glance_at_outlet()));
    }

    /// The same for reports to them.
    pub(super) fn look_ahead_to_reports(&self, group: impl Iterator<Item = usize>) {
        let viewers = self.viewers(group);
        let labels = viewers.iter().flatten().filter_map(|viewer| viewer.label.bytes().next());
        let seen = glance(&viewers) ^ labels.fold(0, |seen, byte| seen ^ u64::from(byte));
        black_box(slots(&viewers).fold(seen, |seen, slot| seen ^ slot.glance() ^ slot.glance_at_outlet()));
    }

    /// Whether there are packets that a slot has not been sent.
    fn waits(&self, slot: &Slot) -> bool {
        let lane =
            slot.attached.as_ref().and_then(|attached| Some((attached, self.lanes.get(attached.lane)?)));
        lane.is_some_and(|(attached, lane)| attached.next < lane.ring.next_arrival())
    }

    fn viewers(&self, group: impl Iterator<Item = usize>) -> [Option<&Viewer>; GROUP] {
        let mut viewers = [None; GROUP];
        for (place, session) in viewers.iter_mut().zip(group) {
            if let Some(Role::Viewer(viewer)) = self.sessions.get(session).map(|session| &session.role) {
                *place = Some(&**viewer);
            }
        }
        viewers
    }
}

fn glance(viewers: &[Option<&Viewer>]) -> u64 {
    viewers.iter().flatten().fold(0, |seen, viewer| seen ^ viewer.glance())
}

fn glance_at_slots(viewers: &[Option<&Viewer>]) -> u64 {
    slots(viewers).fold(0, |seen, slot| seen ^ slot.glance())
}

fn slots<'a>(viewers: &'a [Option<&'a Viewer>]) -> impl Iterator<Item = &'a Slot> {
    viewers.iter().flatten().flat_map(|viewer| &viewer.slots)
}
