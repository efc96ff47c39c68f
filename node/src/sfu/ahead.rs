//! What the next visits will read, read a little earlier.
//!
//! A flush goes from viewer to viewer, and what it needs of one has left the near caches since the last frame. A visit
//! follows pointers, and waits for memory at each of them, one wait behind the other. For a group of viewers the same
//! waits pass together. Nothing is changed here, and nothing depends on it but time.

use std::hint::black_box;

use super::machine::Sfu;
use super::session::Role;
use crate::peer::viewer::Viewer;

/// Viewers whose memory is fetched together: what is needed of them fits the nearest cache.
pub(super) const GROUP: usize = 8;

impl Sfu {
    /// Fetches what visiting these viewers, at most [`GROUP`], will read. Each loop reads behind the pointers that the
    /// one before has found, of one viewer as well as of the next.
    pub(super) fn look_ahead(&self, group: impl Iterator<Item = usize>) {
        let mut viewers: [Option<&Viewer>; GROUP] = [None; GROUP];
        for (place, session) in viewers.iter_mut().zip(group) {
            if let Some(Role::Viewer(viewer)) = self.sessions.get(session).map(|session| &session.role) {
                *place = Some(viewer);
            }
        }
        let mut seen = 0;
        for place in &mut viewers {
            seen ^= place.map_or(0, Viewer::glance);
            // It has been visited for another lane.
            *place = place.filter(|viewer| viewer.round != self.round);
        }
        let slots = || viewers.iter().flatten().flat_map(|viewer| &viewer.slots);
        seen ^= slots().fold(0, |seen, slot| seen ^ slot.glance());
        seen ^= slots().fold(0, |seen, slot| seen ^ slot.glance_behind());
        black_box(seen);
    }
}
