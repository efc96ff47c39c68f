//! Feeds the core from store and bus, and does what it puts out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_cluster::bus::Message;
use freshet_cluster::keys::{self, Key, Topic};
use freshet_cluster::load::NodeLoad;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::record::{NodeRecord, StreamRecord};
use freshet_cluster::room::StreamEvent;
use freshet_cluster::store::{Entry, Follow, Listing, StoreError};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::decode;
use rand::Rng as _;
use serde::de::DeserializeOwned;
use tokio::time::MissedTickBehavior;

use super::act::drain;
use super::plans;
use super::state::State;
use crate::view::Rev;
use crate::view::nodes::NodeView;

/// How often time is told to the core.
const TICK: Duration = Duration::from_millis(250);
/// How often plans are compared with what the nodes run. Replicas are spread over it.
const REPAIR_EVERY: Duration = Duration::from_millis(500);

/// How often a coordinator that starts looks whether it is ready.
const WARM_UP_TICK: Duration = Duration::from_millis(100);

/// Follows registry, rooms, heartbeats, stream events and the clock until the task is aborted.
pub async fn run(state: Arc<State>) {
    let mut nodes = state.store.follow(keys::NODES);
    let mut rooms = state.store.follow(keys::ROOMS);
    let mut loads = state.bus.subscribe(keys::ALL_LOADS);
    let mut events = state.bus.subscribe(keys::ALL_STREAM_EVENTS);
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            Some(follow) = nodes.recv() => handle_nodes(&state, follow),
            Some(follow) = rooms.recv() => handle_rooms(&state, follow),
            Some(message) = loads.recv() => handle_load(&state, &message),
            Some(message) = events.recv() => handle_event(&state, &message),
            _ = tick.tick() => {
                let now = Instant::now();
                let up = state.bus.is_up();
                let mut core = state.core();
                core.handle_bus(up, now);
                core.handle_timeout(now);
            }
        }
        drain(&state).await;
    }
}

/// Looks for the history of chat until it is found, and whether the coordinator is ready until it is.
pub async fn warm_up(state: Arc<State>) {
    let mut tick = tokio::time::interval(WARM_UP_TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut history = false;
    loop {
        tick.tick().await;
        if !history && state.bus.is_up() {
            match state.bus.prepare().await {
                Ok(()) => {
                    history = true;
                    state.set_history();
                }
                Err(error) => tracing::debug!(%error, "the history of chat is not there yet"),
            }
        }
        if state.ready(Instant::now()).is_ok() && history {
            tracing::info!("ready");
            return;
        }
    }
}

/// Repairs plans until the task is aborted.
pub async fn repair(state: Arc<State>) {
    loop {
        let pause = rand::rng().random_range(0.5..1.5);
        tokio::time::sleep(REPAIR_EVERY.mul_f64(pause)).await;
        let writes = state.core().repairs(UnixMillis::now().0, Instant::now());
        for write in writes {
            match plans::apply(&state, &write).await {
                Ok(()) => state.metrics.plan_repairs.inc(),
                // Another replica was faster, or the store lost its past: look, and judge anew.
                Err(StoreError::Conflict { .. }) => {
                    state.metrics.plan_conflicts.inc();
                    if let Err(error) = plans::refresh(&state, &write.room).await {
                        tracing::warn!(room = write.room.as_str(), %error, "plan could not be read");
                    }
                }
                Err(error) => {
                    tracing::warn!(room = write.room.as_str(), %error, "plan could not be repaired");
                    break;
                }
            }
        }
    }
}

fn handle_nodes(state: &State, follow: Follow) {
    let now = Instant::now();
    match follow {
        Follow::Snapshot { listing, wiped } => {
            told_of_snapshot("registry", &listing, wiped);
            let records =
                listing.entries.iter().filter_map(|entry| read(state, "node record", entry)).collect();
            state.core().handle_nodes(records, now);
        }
        Follow::Put(entry) => {
            if let Some(record) = read::<NodeRecord>(state, "node record", &entry) {
                let mut core = state.core();
                let known = core.view().node(&record.id).map(NodeView::incarnation);
                if known != Some(record.incarnation) {
                    let (node, incarnation) = (record.id.as_str(), record.incarnation);
                    tracing::info!(node, %incarnation, http = record.http, "node registered");
                }
                core.handle_node(record, now);
            }
        }
        Follow::Delete { key, .. } => {
            if let Some(Key::Node(node)) = keys::parse(&key) {
                tracing::info!(node = node.as_str(), "node is no longer registered");
                state.core().handle_node_gone(&node);
            }
        }
        Follow::Away => store_is(state, false),
        Follow::Back => store_is(state, true),
    }
}

fn handle_rooms(state: &State, follow: Follow) {
    let now = Instant::now();
    match follow {
        Follow::Snapshot { listing, wiped } => {
            told_of_snapshot("rooms", &listing, wiped);
            let (mut plans, mut streams) = (Vec::new(), Vec::new());
            for entry in &listing.entries {
                match keys::parse(&entry.key) {
                    Some(Key::Plan(_)) => {
                        let plan = read::<RoomPlan>(state, "room plan", entry);
                        plans.extend(plan.map(|plan| (plan, Rev(entry.revision.0))));
                    }
                    Some(Key::Stream(..)) => {
                        streams.extend(read::<StreamRecord>(state, "stream record", entry))
                    }
                    _ => {}
                }
            }
            state.core().handle_rooms(plans, &streams, Rev(listing.revision.0), wiped, now);
        }
        Follow::Put(entry) => match keys::parse(&entry.key) {
            Some(Key::Plan(_)) => {
                if let Some(plan) = read::<RoomPlan>(state, "room plan", &entry) {
                    state.core().handle_plan(plan, Rev(entry.revision.0), now);
                }
            }
            Some(Key::Stream(..)) => {
                if let Some(record) = read::<StreamRecord>(state, "stream record", &entry) {
                    state.core().handle_stream(&record, now);
                }
            }
            _ => {}
        },
        Follow::Delete { key, revision } => {
            if let Some(Key::Plan(room)) = keys::parse(&key) {
                state.core().handle_plan_gone(&room, Rev(revision.0));
            }
        }
        Follow::Away => store_is(state, false),
        Follow::Back => store_is(state, true),
    }
}

fn told_of_snapshot(what: &str, listing: &Listing, wiped: bool) {
    if wiped {
        tracing::warn!(
            what,
            entries = listing.entries.len(),
            "the store lost its past: what the nodes run is written again"
        );
    }
}

fn store_is(state: &State, up: bool) {
    let was = {
        let mut core = state.core();
        let was = core.view().is_store_up();
        core.handle_store(up);
        was
    };
    match up {
        _ if was == up => {}
        true => tracing::info!("the store answers"),
        false => tracing::warn!("the store does not answer: what is known stays true, trying on"),
    }
}

fn handle_load(state: &State, message: &Message) {
    match decode::<NodeLoad>("node load", &message.payload) {
        // A heartbeat speaks for its subject's node alone.
        Ok(load) if keys::load_subject(&load.node) == message.subject => {
            state.core().handle_load(&load, Instant::now());
        }
        Ok(_) => state.metrics.unreadable.inc(),
        Err(error) => {
            state.metrics.unreadable.inc();
            tracing::debug!(subject = message.subject, %error, "heartbeat skipped");
        }
    }
}

fn handle_event(state: &State, message: &Message) {
    match decode::<StreamEvent>("stream event", &message.payload) {
        Ok(event) if keys::room_subject(&event.room, Topic::Stream) == message.subject => {
            state.core().handle_stream_event(&event, Instant::now());
        }
        Ok(_) => state.metrics.unreadable.inc(),
        Err(error) => {
            state.metrics.unreadable.inc();
            tracing::debug!(subject = message.subject, %error, "stream event skipped");
        }
    }
}

fn read<T: DeserializeOwned>(state: &State, what: &'static str, entry: &Entry) -> Option<T> {
    match decode(what, &entry.value) {
        Ok(value) => Some(value),
        Err(error) => {
            state.metrics.unreadable.inc();
            tracing::warn!(key = entry.key, %error, "value left alone");
            None
        }
    }
}
