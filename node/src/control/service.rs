//! The session service: reserves, places a session on a shard, claims what it publishes.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, RoomId, SessionId, StreamId};
use freshet_edge::roster::Filter;
use freshet_edge::sse::{self, EventStream};
use freshet_edge::stream_health::StreamHealth;
use freshet_edge::waiting::{Waiting, retry_s};
use rand::Rng;
use tokio::sync::{mpsc, oneshot};

use super::registrar::{Claim, ClaimError, Registrar};
use super::roll::{Doom, Roll};
use super::shared::Shared;
use super::standing::Unfit;
use super::task::Command;
use crate::agent::StreamKey;
use crate::service::{
    Choice, CreateError, CreateSession, Created, Direction, Fragment, Held, IfMatch, Kind, Listed, Patched,
    SessionError, SessionInfo, SessionService,
};
use crate::sfu::Ask;
use crate::shard::{self, Order, ShardHandle, Tell};

/// Longest that a shard may take to answer.
const SHARD_TIME: Duration = Duration::from_secs(4);

/// Events that wait for one reader of an event stream: what there is to say at a time. A fuller one is told the newest
/// when it has room again.
const READER_QUEUE: usize = 4;

/// The node's [`SessionService`].
pub struct Service {
    shared: Arc<Shared>,
    shards: Vec<ShardHandle>,
    registrar: Registrar,
    commands: mpsc::Sender<Command>,
    waiting: Mutex<Waiting>,
}

/// A place that was taken for a session which may still fail.
struct Reservation<'a> {
    shared: &'a Shared,
    session: SessionId,
    doom: Doom,
    kept: bool,
}

impl Reservation<'_> {
    /// A shard has it. From here on the session gives its place back itself, when it ends.
    fn keep(&mut self) {
        self.kept = true;
        self.shared.opened(true);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.shared.release(self.session);
            self.shared.opened(false);
        }
    }
}

impl Service {
    /// Over a running node.
    pub fn new(
        shared: Arc<Shared>,
        shards: Vec<ShardHandle>,
        registrar: Registrar,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        Self { shared, shards, registrar, commands, waiting: Mutex::default() }
    }

    /// When another one who found nobody is to come back, as coordinators say it.
    fn come_back(&self, room: &RoomId) -> Duration {
        let waiting =
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).another(room, Instant::now());
        Duration::from_secs(rand::rng().random_range(retry_s(waiting)))
    }

    fn reserve(&self, session: SessionId, held: Held) -> Result<Reservation<'_>, CreateError> {
        match self.shared.unfit(Instant::now(), &held.room) {
            Some(Unfit::Replaced) => return Err(CreateError::Replaced),
            Some(Unfit::LeaseLost) => return Err(CreateError::LeaseLost),
            None => {}
        }
        if self.shared.draining.load(Ordering::Acquire) {
            return Err(CreateError::Draining);
        }
        let doom = self.shared.reserve(session, held);
        let doom = doom.ok_or(CreateError::OverCapacity { limit: self.shared.limit })?;
        Ok(Reservation { shared: &self.shared, session, doom, kept: false })
    }

    /// Lets a session go again that was ended before it was made.
    async fn undoomed(&self, shard: &ShardHandle, made: &Reservation<'_>) -> Result<(), CreateError> {
        let Some(reason) = made.doom.get() else { return Ok(()) };
        shard.tell(Tell::End(made.session, *reason)).await;
        Err(CreateError::Dismissed)
    }

    /// The shard with the least to do, of those that are not full.
    fn shard(&self) -> Result<&ShardHandle, CreateError> {
        if let Some(shard) = shard::least_loaded(self.shards.iter().map(|shard| (shard, shard.work()))) {
            return Ok(shard);
        }
        let least = self.shards.iter().min_by_key(|shard| shard.busy().permille);
        let least = least.ok_or(CreateError::Internal)?;
        self.shared.refused_busy.fetch_add(1, Ordering::AcqRel);
        Err(CreateError::Busy { busy: least.busy().permille / 10, limit: least.max_busy().as_percent() })
    }

    /// The shard is not in the session's id: every shard is asked, and the one that has it answers.
    async fn ask<T, F>(&self, order: F) -> Result<T, SessionError>
    where
        F: Fn(oneshot::Sender<Result<T, SessionError>>) -> Order,
    {
        let mut last = SessionError::NotFound { reason: None };
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            shard.order(order(reply)).await;
            match tokio::time::timeout(SHARD_TIME, answer).await {
                Ok(Ok(Err(SessionError::NotFound { reason: None }))) => {}
                Ok(Ok(result)) => return result,
                _ => last = SessionError::Internal,
            }
        }
        Err(last)
    }

    async fn claim(&self, shard: &ShardHandle, session: SessionId, ask: Claim) -> Result<(), CreateError> {
        let (room, stream, identity): (RoomId, StreamId, Identity) =
            (ask.room.clone(), ask.stream.clone(), ask.identity.clone());
        match self.registrar.claim(ask).await {
            Ok(claimed) => {
                let key = StreamKey { room, stream, generation: claimed.generation };
                let command = Command::Claimed { key, identity, session, started_at: claimed.started_at };
                self.commands.send(command).await.map_err(|_| CreateError::Internal)
            }
            Err(error) => {
                shard.tell(Tell::End(session, EndReason::Closed)).await;
                Err(match error {
                    ClaimError::Live => CreateError::StreamLive,
                    ClaimError::Away => CreateError::StoreAway,
                    ClaimError::TooNew => CreateError::StoreTooNew,
                })
            }
        }
    }
}

#[async_trait]
impl SessionService for Service {
    async fn create(&self, ask: CreateSession) -> Result<Created, CreateError> {
        let view = ask.direction == Direction::View;
        let session = SessionId::from_bits(rand::rng().random());
        let held = Held {
            room: ask.room.clone(),
            identity: ask.identity.clone(),
            direction: ask.direction,
            stream: ask.stream.clone(),
            since: UnixMillis::now(),
        };
        let mut reservation = self.reserve(session, held)?;
        let shard = self.shard()?;
        if let Some(plan) = ask.plan {
            self.commands.send(Command::Plan(plan)).await.map_err(|_| CreateError::Internal)?;
        }
        if view && !ask.wait && !ask.placed && !self.shared.is_live(&ask.room, ask.stream.as_ref()) {
            return Err(CreateError::NoPublisher { retry_after: self.come_back(&ask.room) });
        }
        let (reply, answer) = oneshot::channel();
        let order = Ask {
            session,
            direction: ask.direction,
            room: ask.room.clone(),
            pinned: if view { ask.stream.clone() } else { None },
            identity: ask.identity.clone(),
            whose: ask.whose,
            client: ask.there,
            offer: ask.offer,
        };
        let _coming = shard.coming();
        shard.order(Order::Create(order, reply)).await;
        let answered = tokio::time::timeout(SHARD_TIME, answer).await;
        let (answer, etag) =
            answered.map_err(|_| CreateError::Internal)?.map_err(|_| CreateError::Internal)??;
        reservation.keep();
        self.undoomed(shard, &reservation).await?;
        if !view {
            let stream = ask.stream.ok_or(CreateError::Internal)?;
            let claim = Claim {
                room: ask.room.clone(),
                stream,
                identity: ask.identity.clone(),
                session,
                only_if_absent: ask.only_if_absent,
            };
            self.claim(shard, session, claim).await?;
        }
        // Only now: what fails before this ends nobody.
        let made = self.shared.made(session);
        self.undoomed(shard, &reservation).await?;
        if let Some((most, made)) = ask.most.zip(made) {
            let keep = usize::try_from(most.get()).unwrap_or(usize::MAX);
            let beyond = |roll: &Roll| roll.beyond(&ask.room, &ask.identity, ask.direction, keep, made);
            for oldest in self.shared.roll(beyond) {
                self.dismiss(oldest, EndReason::TakenOver).await;
            }
        }
        tracing::info!(session = session.short(), room = ask.room.as_str(), direction = ?ask.direction, client = ?ask.client, "session created");
        Ok(Created { session, answer, etag })
    }

    async fn look(&self, session: SessionId, who: Option<&Identity>) -> Result<SessionInfo, SessionError> {
        self.ask(|reply| Order::Look(session, who.cloned(), reply)).await
    }

    async fn patch(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        if_match: IfMatch,
        fragment: Fragment,
    ) -> Result<Patched, SessionError> {
        let order = |reply| Order::Patch {
            session,
            who: who.cloned(),
            if_match: if_match.clone(),
            fragment: fragment.clone(),
            reply,
        };
        self.ask(order).await
    }

    async fn subscribe(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        wants: &[Kind],
    ) -> Result<u32, SessionError> {
        let order = |reply| Order::Subscribe { session, who: who.cloned(), wants: wants.to_vec(), reply };
        self.ask(order).await
    }

    async fn read(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<EventStream, SessionError> {
        let (reader, events) = sse::channel(READER_QUEUE, sse::KEEP_ALIVE);
        let order = |reply| Order::Read { session, who: who.cloned(), stream, reader: reader.clone(), reply };
        self.ask(order).await?;
        Ok(events)
    }

    async fn has_stream(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<(), SessionError> {
        self.ask(|reply| Order::HasStream(session, who.cloned(), stream, reply)).await
    }

    async fn unsubscribe(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<(), SessionError> {
        self.ask(|reply| Order::Unsubscribe(session, who.cloned(), stream, reply)).await
    }

    async fn choose_layer(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        media_id: Option<&str>,
        choice: Choice,
    ) -> Result<(), SessionError> {
        let order = |reply| Order::Choose {
            session,
            who: who.cloned(),
            media_id: media_id.map(str::to_owned),
            choice: choice.clone(),
            reply,
        };
        self.ask(order).await
    }

    fn list(&self, room: &RoomId, filter: &Filter) -> Vec<Listed> {
        let asked = |(session, held): &(SessionId, &Held)| {
            filter.takes(*session, &held.identity, held.direction.as_str())
        };
        self.shared.roll(|roll| {
            let mut found: Vec<_> = roll.sessions(room, filter.identity.as_ref()).filter(asked).collect();
            found.sort_unstable_by_key(|(session, _)| *session);
            found.truncate(filter.limit.saturating_add(1));
            found.into_iter().map(|(session, held)| Listed { session, held: held.clone() }).collect()
        })
    }

    fn find(&self, session: SessionId) -> Option<Listed> {
        self.shared.roll(|roll| roll.get(session).map(|held| Listed { session, held: held.clone() }))
    }

    async fn dismiss(&self, session: SessionId, reason: EndReason) {
        self.shared.roll(|roll| roll.doom(session, reason));
        // The shard is not in the id: the one that has it ends it. Its word of the end gives the place back.
        for shard in &self.shards {
            shard.tell(Tell::End(session, reason)).await;
        }
    }

    async fn health(&self, room: &RoomId, stream: &StreamId) -> Option<StreamHealth> {
        for shard in &self.shards {
            let (reply, answer) = oneshot::channel();
            shard.order(Order::Health(room.clone(), stream.clone(), reply)).await;
            if let Ok(Ok(Some(health))) = tokio::time::timeout(SHARD_TIME, answer).await {
                return Some(health);
            }
        }
        None
    }

    async fn end(&self, session: SessionId, who: Option<&Identity>) -> Result<(), SessionError> {
        self.ask(|reply| Order::EndBy(session, who.cloned(), reply)).await?;
        // Whoever asks for a place after this answer finds it free; the shard's word of the end comes later.
        self.shared.release(session);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
