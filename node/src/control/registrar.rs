//! Brings the store to what this node wants it to say: its own record and the streams that originate here, under one
//! lease. A lease that was lost is opened again; a store that lost its past is written again; a stream that somebody
//! took over is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use freshet_cluster::record::{NodeRecord, StreamRecord};
use freshet_cluster::room::EndReason;
use freshet_cluster::store::{Expect, LeaseId, Revision, SharedStore, StoreError};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::{MIN_VERSION, VERSION, ValueError, decode, encode};
use freshet_cluster::{Generation, Identity, RoomId, SessionId, StreamId, keys};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::desk::Desk;
use super::shared::Shared;
use crate::agent::StreamKey;

/// How long the node's keys outlive it.
pub const LEASE: Duration = Duration::from_secs(10);
/// How often the lease is renewed, and missing keys are written again.
const RENEW: Duration = Duration::from_secs(3);
/// Compare-and-swap attempts for one claim.
const CLAIM_TRIES: usize = 8;
/// Claims waiting; more wait with their senders.
const QUEUE: usize = 256;

/// A claim on a stream.
pub struct Claim {
    /// Room.
    pub room: RoomId,
    /// Stream.
    pub stream: StreamId,
    /// Who.
    pub identity: Identity,
    /// The publisher's session.
    pub session: SessionId,
    /// Refuse if the stream is claimed by anybody.
    pub only_if_absent: bool,
}

/// Why a claim failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClaimError {
    /// It is claimed, and the client asked not to take over.
    Live,
    /// The store does not answer.
    Away,
    /// The key is written by a newer version.
    TooNew,
}

/// A claim that holds.
#[derive(Debug, Clone, Copy)]
pub struct Claimed {
    /// The generation.
    pub generation: Generation,
    /// When.
    pub started_at: UnixMillis,
}

enum Ask {
    Claim(Claim, oneshot::Sender<Result<Claimed, ClaimError>>),
    Close(oneshot::Sender<()>),
}

/// What the registrar says to the control task.
#[derive(Debug)]
pub enum Notice {
    /// A stream of ours is claimed by a higher generation.
    Lost(StreamKey, EndReason),
}

/// Talks to the registrar task. Only those who want an answer wait for it.
#[derive(Clone)]
pub struct Registrar {
    asks: mpsc::Sender<Ask>,
    desk: Desk,
}

impl Registrar {
    /// Starts the task.
    pub fn spawn(
        store: SharedStore,
        record: NodeRecord,
        shared: Arc<Shared>,
        notices: mpsc::Sender<Notice>,
    ) -> Self {
        let (asks, inbox) = mpsc::channel(QUEUE);
        let desk = Desk::default();
        let task = Task { store, record, shared, lease: None, streams: BTreeMap::new(), notices };
        tokio::spawn(task.run(inbox, desk.clone()));
        Self { asks, desk }
    }

    /// Claims a stream.
    pub async fn claim(&self, claim: Claim) -> Result<Claimed, ClaimError> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Claim(claim, reply)).await.map_err(|_| ClaimError::Away)?;
        answer.await.map_err(|_| ClaimError::Away)?
    }

    /// The stream's media may flow.
    pub fn live(&self, key: StreamKey) {
        self.desk.live(key);
    }

    /// The stream has ended here.
    pub fn release(&self, key: StreamKey) {
        self.desk.release(key);
    }

    /// The node takes no new sessions.
    pub fn draining(&self) {
        self.desk.leave(|wishes| wishes.draining = true);
    }

    /// The store is back or has lost its past, or somebody wrote our key: look whether everything stands.
    pub fn renew(&self) {
        self.desk.leave(|wishes| wishes.renew = true);
    }

    /// Revokes the lease. Returns when the store has it or after 2 seconds.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        let closed = async {
            if self.asks.send(Ask::Close(reply)).await.is_ok() {
                let _ = answer.await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), closed).await;
    }
}

struct Owned {
    record: StreamRecord,
    revision: Option<Revision>,
}

struct Task {
    store: SharedStore,
    record: NodeRecord,
    shared: Arc<Shared>,
    lease: Option<LeaseId>,
    streams: BTreeMap<(RoomId, StreamId), Owned>,
    notices: mpsc::Sender<Notice>,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>, desk: Desk) {
        let mut due = Instant::now();
        loop {
            tokio::select! {
                ask = inbox.recv() => match ask {
                    None => return,
                    Some(Ask::Claim(claim, reply)) => {
                        let _ = reply.send(self.claim(claim).await);
                    }
                    Some(Ask::Close(reply)) => {
                        if let Some(lease) = self.lease.take() {
                            let _ = self.store.revoke(lease).await;
                        }
                        let _ = reply.send(());
                        return;
                    }
                },
                wishes = desk.take() => {
                    for key in &wishes.live {
                        self.live(key).await;
                    }
                    for key in &wishes.released {
                        self.release(key).await;
                    }
                    if wishes.draining {
                        // What stands in the store differs now, so the renewal writes it.
                        self.record.draining = true;
                    }
                    if wishes.draining || wishes.renew {
                        due = Instant::now();
                    }
                }
                () = tokio::time::sleep_until(due) => {
                    due = Instant::now() + RENEW;
                    if let Err(error) = self.renew().await {
                        tracing::warn!(%error, "registration is not up to date, trying again");
                        due = Instant::now() + Duration::from_secs(1);
                    }
                }
            }
        }
    }

    /// Keeps the lease alive and writes what is missing.
    async fn renew(&mut self) -> Result<(), StoreError> {
        let lease = match self.register().await {
            Ok(lease) => lease,
            Err(error) => {
                self.shared.standing(|standing| match error {
                    StoreError::Unavailable(_) => standing.handle_away(),
                    _ => standing.handle_lost(std::time::Instant::now()),
                });
                return Err(error);
            }
        };
        self.rewrite_streams(lease).await
    }

    /// The lease, and under it the node's record, unless another start of the node stands there.
    async fn register(&mut self) -> Result<LeaseId, StoreError> {
        let lease = match self.lease {
            Some(lease) => match self.store.keep_alive(lease).await {
                Ok(()) => lease,
                Err(StoreError::LeaseGone(_)) => self.new_lease().await?,
                Err(error) => return Err(error),
            },
            None => self.new_lease().await?,
        };
        let key = keys::node(&self.record.id);
        let standing = self.store.get(&key).await?;
        let found = match standing.as_ref().map(|e| decode::<NodeRecord>("node record", &e.value)) {
            // Older nodes must not touch it: this one has no place in the registry until the value is gone.
            Some(Err(error @ ValueError::TooNew { .. })) => {
                return Err(StoreError::Refused(format!("{key}: {error}")));
            }
            read => read.and_then(Result::ok),
        };
        if let Some(other) = found.as_ref().filter(|r| r.incarnation != self.record.incarnation)
            && !self.shared.standing(|standing| standing.may_replace())
        {
            if self.shared.standing(|standing| standing.handle_replaced(other.incarnation)) {
                let (node, by) = (self.record.id.as_str(), other.incarnation);
                tracing::error!(node, %by, at = other.http, "another start of this node is registered: this one takes no new sessions. Stop it, or give it an id of its own");
            }
            return Ok(lease);
        }
        let same = standing.as_ref().is_some_and(|e| e.lease == Some(lease));
        if !same || found.as_ref() != Some(&self.record) {
            // A new incarnation replaces the old one's key at once; compare-and-swap keeps two starts from
            // overwriting each other unseen.
            let expect = standing.map_or(Expect::Absent, |e| Expect::At(e.revision));
            self.store.put(&key, encode(&self.record), expect, Some(lease)).await?;
        }
        if self.shared.standing(|standing| standing.handle_registered()) {
            tracing::info!(node = self.record.id.as_str(), "registered");
        }
        Ok(lease)
    }

    async fn new_lease(&mut self) -> Result<LeaseId, StoreError> {
        let lease = self.store.grant(LEASE).await?;
        self.lease = Some(lease);
        for owned in self.streams.values_mut() {
            owned.revision = None;
        }
        Ok(lease)
    }

    async fn rewrite_streams(&mut self, lease: LeaseId) -> Result<(), StoreError> {
        let mut lost = Vec::new();
        for ((room, stream), owned) in &mut self.streams {
            let key = keys::stream(room, stream);
            let standing = self.store.get(&key).await?;
            let expect = match &standing {
                None => Expect::Absent,
                Some(entry) => match decode::<StreamRecord>("stream record", &entry.value) {
                    Ok(found) if found.generation > owned.record.generation => {
                        lost.push((room.clone(), stream.clone()));
                        continue;
                    }
                    Ok(found) if found == owned.record && entry.lease == Some(lease) => {
                        owned.revision = Some(entry.revision);
                        continue;
                    }
                    Err(error @ ValueError::TooNew { .. }) => {
                        tracing::warn!(key, %error, "value left alone");
                        continue;
                    }
                    _ => Expect::At(entry.revision),
                },
            };
            match self.store.put(&key, encode(&owned.record), expect, Some(lease)).await {
                Ok(revision) => owned.revision = Some(revision),
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        for id in lost {
            if let Some(owned) = self.streams.remove(&id) {
                let generation = owned.record.generation;
                let key = StreamKey { room: id.0, stream: id.1, generation };
                let _ = self.notices.send(Notice::Lost(key, EndReason::TakenOver)).await;
            }
        }
        Ok(())
    }

    async fn claim(&mut self, claim: Claim) -> Result<Claimed, ClaimError> {
        let key = keys::stream(&claim.room, &claim.stream);
        let away = |_| ClaimError::Away;
        for _ in 0..CLAIM_TRIES {
            let lease = match self.lease {
                Some(lease) => lease,
                None => self.new_lease().await.map_err(away)?,
            };
            let standing = self.store.get(&key).await.map_err(away)?;
            let found = match &standing {
                None => None,
                Some(entry) => match decode::<StreamRecord>("stream record", &entry.value) {
                    Ok(found) => Some(found),
                    Err(error @ ValueError::TooNew { .. }) => {
                        tracing::warn!(key, %error, "value left alone");
                        return Err(ClaimError::TooNew);
                    }
                    Err(_) => None,
                },
            };
            if claim.only_if_absent && found.is_some() {
                return Err(ClaimError::Live);
            }
            let now = UnixMillis::now();
            let record = StreamRecord {
                v: VERSION,
                min_v: MIN_VERSION,
                room: claim.room.clone(),
                stream: claim.stream.clone(),
                generation: Generation::claim(found.as_ref().map(|f| f.generation), now.0),
                identity: claim.identity.clone(),
                node: self.record.id.clone(),
                incarnation: self.record.incarnation,
                session: claim.session,
                started_at: now,
                live: false,
                unknown: found.map(|f| f.unknown).unwrap_or_default(),
            };
            let expect = standing.map_or(Expect::Absent, |e| Expect::At(e.revision));
            match self.store.put(&key, encode(&record), expect, Some(lease)).await {
                Ok(revision) => {
                    let claimed = Claimed { generation: record.generation, started_at: now };
                    let id = (claim.room, claim.stream);
                    self.streams.insert(id, Owned { record, revision: Some(revision) });
                    return Ok(claimed);
                }
                Err(StoreError::Conflict { .. }) => {}
                Err(StoreError::LeaseGone(_)) => self.lease = None,
                Err(_) => return Err(ClaimError::Away),
            }
        }
        Err(ClaimError::Away)
    }

    async fn live(&mut self, key: &StreamKey) {
        let lease = self.lease;
        let Some(owned) = self.streams.get_mut(&(key.room.clone(), key.stream.clone())) else { return };
        if owned.record.generation != key.generation || owned.record.live {
            return;
        }
        owned.record.live = true;
        let Some(revision) = owned.revision else { return };
        let name = keys::stream(&key.room, &key.stream);
        let written = self.store.put(&name, encode(&owned.record), Expect::At(revision), lease).await;
        // What could not be written now is written at the next renewal.
        owned.revision = written.ok();
    }

    async fn release(&mut self, key: &StreamKey) {
        let id = (key.room.clone(), key.stream.clone());
        if self.streams.get(&id).is_none_or(|o| o.record.generation != key.generation) {
            return;
        }
        let Some(owned) = self.streams.remove(&id) else { return };
        let name = keys::stream(&key.room, &key.stream);
        let revision = match owned.revision {
            Some(revision) => Some(revision),
            None => match self.store.get(&name).await {
                Ok(Some(entry)) => decode::<StreamRecord>("stream record", &entry.value)
                    .is_ok_and(|r| r.generation == key.generation)
                    .then_some(entry.revision),
                _ => None,
            },
        };
        if let Some(revision) = revision
            && let Err(error) = self.store.delete(&name, Expect::At(revision)).await
        {
            tracing::debug!(%error, room = key.room.as_str(), stream = key.stream.as_str(), "the stream's key stays until its lease ends");
        }
    }
}
