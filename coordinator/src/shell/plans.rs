//! Plans into the store, by compare-and-swap.

use std::time::{Duration, Instant};

use freshet_cluster::keys;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::store::{Expect, Revision, StoreError};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::{decode, encode};
use freshet_cluster::{Incarnation, NodeId, RoomId};
use rand::Rng as _;

use super::act::drain;
use super::state::State;
use crate::cascade::CascadeError;
use crate::core::{Step, Write};
use crate::diff;
use crate::view::Rev;

/// Attempts of one join to get its node into the plan. Each conflict means that somebody else's write went through,
/// so progress is made; a storm on a new room costs a few.
const ATTEMPTS: u32 = 12;
/// A write that takes longer counts as a store that is away.
const STORE_TIMEOUT: Duration = Duration::from_secs(3);

/// Why a node could not be taken into a plan.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The store is away and the node is no member.
    #[error("the store is away and the node does not carry the room yet")]
    StoreAway,
    /// Others kept changing the plan.
    #[error("the plan was changed by others {ATTEMPTS} times in a row")]
    Contended,
    /// The tree has no place.
    #[error(transparent)]
    Cascade(#[from] CascadeError),
    /// A newer Freshet wrote the plan and says that we must not touch it.
    #[error("the plan in the store cannot be changed by this version: {0}")]
    Unreadable(String),
}

/// Takes a node into a room's plan unless it is in it, and returns the plan that says so.
pub async fn ensure(
    state: &State,
    room: &RoomId,
    node: &NodeId,
    incarnation: Incarnation,
) -> Result<RoomPlan, PlanError> {
    for attempt in 0..ATTEMPTS {
        let step = state.core().plan_for(room, node, incarnation, UnixMillis::now().0, Instant::now())?;
        let write = match step {
            Step::Ready(plan) => return Ok(plan),
            Step::StoreAway => return Err(PlanError::StoreAway),
            Step::Write(write) => write,
        };
        match apply(state, &write).await {
            Ok(()) => return write.plan.ok_or(PlanError::Contended),
            Err(StoreError::Conflict { .. }) => {
                state.metrics.plan_conflicts.inc();
                refresh(state, room).await?;
                let most = 5u64.saturating_mul(u64::from(attempt));
                let pause = rand::rng().random_range(0..=most);
                tokio::time::sleep(Duration::from_millis(pause)).await;
            }
            Err(_) => return Err(PlanError::StoreAway),
        }
    }
    Err(PlanError::Contended)
}

/// Writes a plan (or removes its key) and tells the core at once, without waiting for the watch.
pub async fn apply(state: &State, write: &Write) -> Result<(), StoreError> {
    let key = keys::room_plan(&write.room);
    let expect = write.expect.map_or(Expect::Absent, |revision| Expect::At(Revision(revision.0)));
    let before = state.core().view().plan(&write.room).cloned();
    match &write.plan {
        Some(plan) => {
            let revision = in_time(state.store.put(&key, encode(plan), expect, None)).await?;
            state.core().handle_plan(plan.clone(), Rev(revision.0), Instant::now());
        }
        None => {
            in_time(state.store.delete(&key, expect)).await?;
            let revision = write.expect.unwrap_or(Rev(0));
            state.core().handle_plan_gone(&write.room, revision);
        }
    }
    state.metrics.plan_writes.inc();
    let steps: Vec<String> =
        diff::steps(before.as_ref(), write.plan.as_ref()).iter().map(ToString::to_string).collect();
    let epoch = write.plan.as_ref().map(|plan| plan.epoch.0);
    tracing::info!(room = write.room.as_str(), epoch, changes = steps.join("; "), "plan written");
    drain(state).await;
    Ok(())
}

/// Reads the plan after a conflict, without waiting for the watch.
pub async fn refresh(state: &State, room: &RoomId) -> Result<(), PlanError> {
    let entry = in_time(state.store.get(&keys::room_plan(room))).await.map_err(|_| PlanError::StoreAway)?;
    match entry {
        Some(entry) => {
            let plan = decode("room plan", &entry.value).map_err(|e| PlanError::Unreadable(e.to_string()))?;
            state.core().handle_plan_read(plan, Rev(entry.revision.0), Instant::now());
        }
        None => state.core().handle_plan_missing(room),
    }
    Ok(())
}

async fn in_time<T>(work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = |_| StoreError::Unavailable(format!("no answer within {STORE_TIMEOUT:?}"));
    tokio::time::timeout(STORE_TIMEOUT, work).await.map_err(late)?
}
