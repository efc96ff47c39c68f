//! Events as listeners get them, and how a room's streams change between two looks. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, Identity, StreamId};
use serde::Serialize;

use crate::view::streams::{Phase, StreamView};

/// Joins of a waiting audience are spread over this for each of them.
const SPREAD_EACH: Duration = Duration::from_millis(2);
/// The longest that anybody is asked to wait.
const SPREAD_MAX: Duration = Duration::from_secs(5);

/// Over how many milliseconds an audience of this size should spread what it does next.
pub fn spread_ms(audience: usize) -> u64 {
    let each = u32::try_from(audience).unwrap_or(u32::MAX);
    u64::try_from(SPREAD_EACH.saturating_mul(each).min(SPREAD_MAX).as_millis()).unwrap_or(0)
}

/// `snapshot`: how things stand, on connect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Snapshot {
    /// Streams that are live.
    pub streams: Vec<LiveStream>,
    /// Viewers in the cluster.
    pub viewers: u32,
    /// Spread what you do next over so many milliseconds.
    pub spread_ms: u64,
}

/// A stream in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveStream {
    /// Which.
    pub stream: StreamId,
    /// Which publish of it.
    pub generation: Generation,
    /// When it was claimed.
    pub started_at_ms: UnixMillis,
    /// Who publishes.
    pub identity: Identity,
    /// Always true.
    pub live: bool,
}

/// `stream`: one began or ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamChange {
    /// Which.
    pub stream: StreamId,
    /// `started` or `ended`.
    pub state: &'static str,
    /// Which publish of it.
    pub generation: Generation,
    /// Who publishes.
    pub identity: Identity,
    /// When it was claimed.
    pub started_at_ms: UnixMillis,
    /// Why it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Spread what you do next over so many milliseconds.
    pub spread_ms: u64,
}

/// `presence`: how many watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PresenceChange {
    /// Viewers in the cluster.
    pub viewers: u32,
}

/// `chat`: one message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatEvent {
    /// The sender's id of it.
    pub id: String,
    /// Who wrote it.
    pub from: Identity,
    /// What.
    pub text: String,
    /// When the coordinator took it.
    pub at_ms: UnixMillis,
    /// Its place in the history.
    pub seq: u64,
}

/// What listeners were told of a room's streams.
#[derive(Debug, Clone, Default)]
pub struct Told(BTreeMap<StreamId, StreamView>);

impl Told {
    /// Looks at the streams as they are now and returns what changed for listeners since the last look.
    pub fn look(&mut self, now: BTreeMap<StreamId, StreamView>, spread_ms: u64) -> Vec<StreamChange> {
        let mut changes = Vec::new();
        for (stream, view) in &now {
            let before = self.0.get(stream);
            let was_live = before.is_some_and(|before| before.phase == Phase::Live);
            let same = before.is_some_and(|before| before.generation == view.generation);
            let ended = match (view.phase, before) {
                (Phase::Ended(reason), Some(before)) if was_live => Some((before, reason)),
                (Phase::Claimed, Some(before)) if was_live && !same => Some((before, EndReason::TakenOver)),
                _ => None,
            };
            if let Some((before, reason)) = ended {
                changes.push(change(stream, before, "ended", Some(reason.as_str()), spread_ms));
            }
            if view.phase == Phase::Live && !(was_live && same) {
                changes.push(change(stream, view, "started", None, spread_ms));
            }
        }
        self.0 = now;
        changes
    }

    /// The live ones.
    pub fn live(&self) -> Vec<LiveStream> {
        let live = |(stream, view): (&StreamId, &StreamView)| LiveStream {
            stream: stream.clone(),
            generation: view.generation,
            started_at_ms: view.started_at,
            identity: view.identity.clone(),
            live: true,
        };
        self.0.iter().filter(|(_, view)| view.phase == Phase::Live).map(live).collect()
    }
}

fn change(
    stream: &StreamId,
    view: &StreamView,
    state: &'static str,
    reason: Option<&'static str>,
    spread_ms: u64,
) -> StreamChange {
    StreamChange {
        stream: stream.clone(),
        state,
        generation: view.generation,
        identity: view.identity.clone(),
        started_at_ms: view.started_at,
        reason,
        spread_ms,
    }
}
