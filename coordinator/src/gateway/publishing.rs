//! Whether anybody publishes, asked before a viewer is placed.
//!
//! The view may lag behind the store by a watch's delay, and a viewer who follows right behind the publisher must not
//! hear "nobody" for it. So a "no" of the view is checked with the store, once per room and moment however large the
//! waiting audience is.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use freshet_cluster::keys;
use freshet_cluster::record::StreamRecord;
use freshet_cluster::version::decode;
use freshet_cluster::{RoomId, StreamId};
use freshet_edge::waiting::{Waiting, retry_s};
use rand::Rng as _;

use crate::shell::state::State;
use crate::view::streams::Phase;

/// How long a "no" of the store stands for everybody who asks.
const STANDS: Duration = Duration::from_millis(250);
/// The store is not waited for longer than this; the view's "no" stands then.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Rooms whose "no" is remembered; beyond it the memory starts over.
const REMEMBERED: usize = 10_000;

/// Rooms of which the store said "nobody" a moment ago, and who was told so.
#[derive(Debug, Default)]
pub struct Nobody {
    known: Mutex<HashMap<RoomId, Instant>>,
    waiting: Mutex<Waiting>,
}

impl Nobody {
    /// When another one who found nobody is to come back: at random within a time that grows with those who wait.
    pub fn come_back(&self, state: &State, room: &RoomId) -> Duration {
        let waiting =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).another(room, Instant::now());
        // Those who watched a moment ago are about to ask.
        let watching = usize::try_from(state.core().view().viewers(room)).unwrap_or(usize::MAX);
        Duration::from_secs(rand::rng().random_range(retry_s(waiting.max(watching))))
    }

    fn is_known(&self, room: &RoomId, now: Instant) -> bool {
        let mut map = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if map.get(room).is_some_and(|at| now.saturating_duration_since(*at) < STANDS) {
            return true;
        }
        if map.len() >= REMEMBERED {
            map.clear();
        }
        // Noted before the store is asked, so that one of a crowd asks.
        map.insert(room.clone(), now);
        false
    }
}

/// Whether the room, or the stream named, has a publisher.
pub async fn is_published(state: &State, nobody: &Nobody, room: &RoomId, stream: Option<&StreamId>) -> bool {
    if in_view(state, room, stream) {
        return true;
    }
    if nobody.is_known(room, Instant::now()) || !state.core().view().is_store_up() {
        return false;
    }
    let listing = tokio::time::timeout(STORE_TIMEOUT, state.store.list(&keys::room_streams(room))).await;
    let Ok(Ok(listing)) = listing else { return false };
    for entry in &listing.entries {
        if let Ok(record) = decode::<StreamRecord>("stream record", &entry.value) {
            state.core().handle_stream(&record, Instant::now());
        }
    }
    in_view(state, room, stream)
}

fn in_view(state: &State, room: &RoomId, stream: Option<&StreamId>) -> bool {
    let core = state.core();
    let mut streams = core.view().streams(room);
    streams
        .any(|(id, view)| !matches!(view.phase, Phase::Ended(_)) && stream.is_none_or(|wanted| wanted == id))
}
