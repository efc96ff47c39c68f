//! Whether anybody publishes, asked before a viewer is placed.
//!
//! The view may lag behind the store by a watch's delay, and a viewer who follows right behind the publisher must not
//! hear "nobody" for it. So a "no" of the view is checked with the store: everybody's by a look that began after they
//! came, and one look answers all who wait for it, however large the audience is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use freshet_cluster::keys;
use freshet_cluster::record::StreamRecord;
use freshet_cluster::version::decode;
use freshet_cluster::{RoomId, StreamId};
use freshet_edge::waiting::{Waiting, retry_s};
use rand::Rng as _;

use crate::shell::state::State;
use crate::view::streams::Phase;

/// From one look at a room's streams in the store to the next.
const APART: Duration = Duration::from_millis(5);
/// The store is not waited for longer than this; the view's "no" stands then.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);
/// Rooms whose looks are remembered; beyond it the memory starts over.
const REMEMBERED: usize = 10_000;

/// When the last look at a room began. Who holds it looks.
type Looks = tokio::sync::Mutex<Option<tokio::time::Instant>>;

/// Rooms that were looked for in the store, and who was told that nobody publishes.
#[derive(Debug, Default)]
pub struct Nobody {
    looks: Mutex<HashMap<RoomId, Arc<Looks>>>,
    waiting: Mutex<Waiting>,
}

impl Nobody {
    /// When another one who found nobody is to come back: at random within a time that grows with those who wait.
    pub fn come_back(&self, state: &State, room: &RoomId) -> Duration {
        let waiting =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).another(room, Instant::now());
        // Those who watched a moment ago are about to ask.
        let watching = usize::try_from(state.core().view().viewers(room)).unwrap_or(usize::MAX);
        // Those who listen to the room's events wait for the same.
        let listening = state.audience(room);
        Duration::from_secs(rand::rng().random_range(retry_s(waiting.max(watching).max(listening))))
    }

    fn looks(&self, room: &RoomId) -> Arc<Looks> {
        let mut map = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        if map.len() >= REMEMBERED && !map.contains_key(room) {
            map.clear();
        }
        map.entry(room.clone()).or_default().clone()
    }

    /// Whether what is asked for is here after a `look` that began no sooner than this.
    async fn is_here_after(
        &self,
        room: &RoomId,
        is_here: impl Fn() -> bool,
        look: impl Future<Output = ()>,
    ) -> bool {
        let came = tokio::time::Instant::now();
        let looks = self.looks(room);
        let mut last = looks.lock().await;
        if is_here() {
            return true;
        }
        if last.is_some_and(|began| began >= came) {
            return false;
        }
        if let Some(last) = *last {
            tokio::time::sleep_until(last + APART).await;
        }
        let began = tokio::time::Instant::now();
        look.await;
        *last = Some(began);
        is_here()
    }
}

/// Whether the room, or the stream named, has a publisher.
pub async fn is_published(state: &State, nobody: &Nobody, room: &RoomId, stream: Option<&StreamId>) -> bool {
    let is_here = || in_view(state, room, stream);
    if is_here() {
        return true;
    }
    if !state.core().view().is_store_up() {
        return false;
    }
    let look = async {
        let Ok(listing) = state.store.list(&keys::room_streams(room)).await else { return };
        for entry in &listing.entries {
            if let Ok(record) = decode::<StreamRecord>("stream record", &entry.value) {
                state.core().handle_stream(&record, Instant::now());
            }
        }
    };
    let answer = nobody.is_here_after(room, is_here, look);
    tokio::time::timeout(STORE_TIMEOUT, answer).await.unwrap_or(false)
}

fn in_view(state: &State, room: &RoomId, stream: Option<&StreamId>) -> bool {
    let core = state.core();
    let mut streams = core.view().streams(room);
    streams
        .any(|(id, view)| !matches!(view.phase, Phase::Ended(_)) && stream.is_none_or(|wanted| wanted == id))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// A store that a publisher comes to, and a view that only looks bring up to date.
    #[derive(Default)]
    struct Scene {
        nobody: Nobody,
        in_store: AtomicBool,
        in_view: AtomicBool,
        looks: AtomicUsize,
    }

    impl Scene {
        async fn ask(&self) -> bool {
            let room = "show".parse().unwrap();
            let look = async {
                self.looks.fetch_add(1, Ordering::Relaxed);
                let found = self.in_store.load(Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(20)).await;
                self.in_view.fetch_or(found, Ordering::Relaxed);
            };
            self.nobody.is_here_after(&room, || self.in_view.load(Ordering::Relaxed), look).await
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_costs_a_look_or_two() {
        let scene = Scene::default();
        let crowd = futures::future::join_all((0..1_000).map(|_| scene.ask())).await;
        assert!(crowd.iter().all(|found| !found));
        assert!(scene.looks.load(Ordering::Relaxed) <= 2, "{:?}", scene.looks);
    }

    #[tokio::test(start_paused = true)]
    async fn who_comes_after_the_publisher_never_hears_nobody() {
        let scene = Scene::default();
        let before = scene.ask();
        let after = async {
            // A look is on its way that has missed the publisher, who comes now.
            tokio::time::sleep(Duration::from_millis(10)).await;
            scene.in_store.store(true, Ordering::Relaxed);
            futures::future::join_all((0..1_000).map(|_| scene.ask())).await
        };
        let (before, after) = tokio::join!(before, after);
        assert!(!before, "it came before");
        assert!(after.iter().all(|found| *found));
        assert_eq!(scene.looks.load(Ordering::Relaxed), 2);
    }
}
