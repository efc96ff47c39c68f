//! Which streams there are, from three sources that disagree for moments: store records, heartbeats of the origins
//! and stream events.
//!
//! The highest generation wins, whoever tells it. A stream ends by its origin's word (an event, or a heartbeat that
//! no longer lists it) or by the verdict that its origin is dead; a key that vanished from the store ends nothing.
//! An ended generation stays ended and is remembered for [`REMEMBER`], so that a late record cannot revive it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use freshet_cluster::load::RoomLoad;
use freshet_cluster::record::StreamRecord;
use freshet_cluster::room::{EndReason, StreamEvent, StreamState};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Generation, Identity, Incarnation, NodeId, RoomId, StreamId};

/// How long an ended stream is remembered.
pub const REMEMBER: Duration = Duration::from_secs(60);
/// Heartbeats that may miss a stream which no heartbeat has listed yet: they may be older than the claim.
const MISSES_BEFORE_FIRST_HEARD: u8 = 3;

/// Where a generation of a stream stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Claimed; media does not flow yet.
    Claimed,
    /// Media may flow.
    Live,
    /// Over.
    Ended(EndReason),
}

/// The newest known generation of one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamView {
    /// Which publish.
    pub generation: Generation,
    /// Who publishes.
    pub identity: Identity,
    /// Its origin.
    pub node: NodeId,
    /// Which start of the origin; unknown when only an event told of the stream and the origin was not known.
    pub incarnation: Option<Incarnation>,
    /// When it was claimed.
    pub started_at: UnixMillis,
    /// Where it stands.
    pub phase: Phase,
    ended_at: Option<Instant>,
    heard: bool,
    misses: u8,
}

type Origin = (NodeId, Incarnation);

/// All streams of all rooms.
#[derive(Debug, Clone, Default)]
pub struct Streams {
    rooms: BTreeMap<RoomId, BTreeMap<StreamId, StreamView>>,
    by_origin: BTreeMap<Origin, BTreeSet<(RoomId, StreamId)>>,
}

struct Told<'a> {
    room: &'a RoomId,
    stream: &'a StreamId,
    generation: Generation,
    identity: &'a Identity,
    node: &'a NodeId,
    incarnation: Option<Incarnation>,
    started_at: UnixMillis,
    phase: Phase,
    /// `started_at` is the time of the claim.
    exact: bool,
    /// The origin itself says so in a heartbeat: it takes back a death that was declared in error.
    own_word: bool,
}

impl Streams {
    /// A store record was seen. Says whether anything changed.
    pub fn handle_record(&mut self, record: &StreamRecord, now: Instant) -> bool {
        self.told(
            &Told {
                room: &record.room,
                stream: &record.stream,
                generation: record.generation,
                identity: &record.identity,
                node: &record.node,
                incarnation: Some(record.incarnation),
                started_at: record.started_at,
                phase: if record.live { Phase::Live } else { Phase::Claimed },
                exact: true,
                own_word: false,
            },
            now,
        )
    }

    /// A stream event was heard; `incarnation` is the origin's current one as far as known. Says whether anything
    /// changed.
    pub fn handle_event(
        &mut self,
        event: &StreamEvent,
        incarnation: Option<Incarnation>,
        now: Instant,
    ) -> bool {
        let phase = match event.state {
            StreamState::Started => Phase::Live,
            StreamState::Ended => Phase::Ended(event.reason.unwrap_or(EndReason::Unknown)),
            StreamState::Unknown => return false,
        };
        self.told(
            &Told {
                room: &event.room,
                stream: &event.stream,
                generation: event.generation,
                identity: &event.identity,
                node: &event.node,
                incarnation,
                started_at: event.at,
                phase,
                exact: false,
                own_word: false,
            },
            now,
        )
    }

    /// A heartbeat of an origin lists its streams; those that it no longer lists have ended. Returns the rooms
    /// that changed.
    pub fn handle_load(
        &mut self,
        node: &NodeId,
        incarnation: Incarnation,
        loads: &[RoomLoad],
        now: Instant,
    ) -> BTreeSet<RoomId> {
        let mut changed = BTreeSet::new();
        let mut listed = BTreeSet::new();
        for load in loads {
            for stream in &load.streams {
                let told = Told {
                    room: &load.room,
                    stream: &stream.stream,
                    generation: stream.generation,
                    identity: &stream.identity,
                    node,
                    incarnation: Some(incarnation),
                    started_at: stream.started_at,
                    phase: if stream.live { Phase::Live } else { Phase::Claimed },
                    exact: true,
                    own_word: true,
                };
                if self.told(&told, now) {
                    changed.insert(load.room.clone());
                }
                if let Some(view) = self.get_mut(&load.room, &stream.stream)
                    && view.generation == stream.generation
                {
                    view.heard = true;
                    view.misses = 0;
                    listed.insert((load.room.clone(), stream.stream.clone()));
                }
            }
        }
        let origin = (node.clone(), incarnation);
        let unlisted: Vec<_> = self
            .by_origin
            .get(&origin)
            .into_iter()
            .flatten()
            .filter(|name| !listed.contains(*name))
            .cloned()
            .collect();
        for (room, stream) in unlisted {
            let Some(view) = self.get_mut(&room, &stream) else { continue };
            if matches!(view.phase, Phase::Ended(_)) {
                continue;
            }
            view.misses = view.misses.saturating_add(1);
            if view.heard || view.misses >= MISSES_BEFORE_FIRST_HEARD {
                view.phase = Phase::Ended(EndReason::Unknown);
                view.ended_at = Some(now);
                changed.insert(room);
            }
        }
        changed
    }

    /// The origin is dead: its streams have ended. Returns them.
    pub fn handle_dead(
        &mut self,
        node: &NodeId,
        incarnation: Incarnation,
        now: Instant,
    ) -> Vec<(RoomId, StreamId, StreamView)> {
        let names = self.by_origin.get(&(node.clone(), incarnation)).cloned().unwrap_or_default();
        let mut ended = Vec::new();
        for (room, stream) in names {
            let Some(view) = self.get_mut(&room, &stream) else { continue };
            if !matches!(view.phase, Phase::Ended(_)) {
                view.phase = Phase::Ended(EndReason::NodeDead);
                view.ended_at = Some(now);
                ended.push((room.clone(), stream.clone(), view.clone()));
            }
        }
        ended
    }

    /// Forgets streams that ended long ago.
    pub fn handle_timeout(&mut self, now: Instant) {
        let by_origin = &mut self.by_origin;
        self.rooms.retain(|room, streams| {
            streams.retain(|stream, view| {
                let old = view.ended_at.is_some_and(|at| now.saturating_duration_since(at) >= REMEMBER);
                if old && let Some(incarnation) = view.incarnation {
                    unindex(by_origin, &view.node, incarnation, room, stream);
                }
                !old
            });
            !streams.is_empty()
        });
    }

    /// The streams of a room, the recently ended included, in the order of their ids.
    pub fn room(&self, room: &RoomId) -> impl Iterator<Item = (&StreamId, &StreamView)> {
        self.rooms.get(room).into_iter().flatten()
    }

    /// Rooms with any stream, the recently ended included.
    pub fn rooms(&self) -> impl Iterator<Item = &RoomId> {
        self.rooms.keys()
    }

    fn get_mut(&mut self, room: &RoomId, stream: &StreamId) -> Option<&mut StreamView> {
        self.rooms.get_mut(room)?.get_mut(stream)
    }

    fn told(&mut self, told: &Told<'_>, now: Instant) -> bool {
        let name = || (told.room.clone(), told.stream.clone());
        let known = self.rooms.get_mut(told.room).and_then(|streams| streams.get_mut(told.stream));
        if let Some(view) = known {
            if told.generation < view.generation {
                return false;
            }
            if told.generation == view.generation {
                // An event tells when it was sent; record and heartbeat tell when the stream was claimed.
                if told.exact {
                    view.started_at = told.started_at;
                }
                if let (None, Some(incarnation)) = (view.incarnation, told.incarnation) {
                    view.incarnation = Some(incarnation);
                    self.by_origin.entry((view.node.clone(), incarnation)).or_default().insert(name());
                }
                return advance(view, told, now);
            }
            if let Some(incarnation) = view.incarnation {
                let node = view.node.clone();
                unindex(&mut self.by_origin, &node, incarnation, told.room, told.stream);
            }
        }
        let view = StreamView {
            generation: told.generation,
            identity: told.identity.clone(),
            node: told.node.clone(),
            incarnation: told.incarnation,
            started_at: told.started_at,
            phase: told.phase,
            ended_at: matches!(told.phase, Phase::Ended(_)).then_some(now),
            heard: false,
            misses: 0,
        };
        if let Some(incarnation) = told.incarnation {
            self.by_origin.entry((told.node.clone(), incarnation)).or_default().insert(name());
        }
        self.rooms.entry(told.room.clone()).or_default().insert(told.stream.clone(), view);
        true
    }
}

/// The same generation was told of again: it only moves forward.
fn advance(view: &mut StreamView, told: &Told<'_>, now: Instant) -> bool {
    match (view.phase, told.phase) {
        (Phase::Ended(EndReason::NodeDead | EndReason::Unknown), Phase::Claimed | Phase::Live)
            if told.own_word =>
        {
            view.phase = told.phase;
            view.ended_at = None;
            true
        }
        (Phase::Ended(EndReason::Unknown), Phase::Ended(reason)) if reason != EndReason::Unknown => {
            view.phase = told.phase;
            false
        }
        (Phase::Ended(_), _) | (_, Phase::Claimed) | (Phase::Live, Phase::Live) => false,
        (_, Phase::Ended(_)) => {
            view.phase = told.phase;
            view.ended_at = Some(now);
            true
        }
        (Phase::Claimed, Phase::Live) => {
            view.phase = Phase::Live;
            true
        }
    }
}

fn unindex(
    by_origin: &mut BTreeMap<Origin, BTreeSet<(RoomId, StreamId)>>,
    node: &NodeId,
    incarnation: Incarnation,
    room: &RoomId,
    stream: &StreamId,
) {
    let origin = (node.clone(), incarnation);
    if let Some(names) = by_origin.get_mut(&origin) {
        names.remove(&(room.clone(), stream.clone()));
        if names.is_empty() {
            by_origin.remove(&origin);
        }
    }
}
