//! The task that owns the agent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use freshet_cluster::bus::SharedBus;
use freshet_cluster::keys::Topic;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::record::{NodeRecord, StreamRecord};
use freshet_cluster::room::{EndReason, StreamEvent, StreamState};
use freshet_cluster::store::{Entry, Follow, SharedStore};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::{MIN_VERSION, Unknown, VERSION, ValueError, decode, encode};
use freshet_cluster::{Identity, Incarnation, NodeId, RoomId, SessionId, StreamId, keys};
use tokio::sync::{mpsc, oneshot};

use super::directory::Registry;
use super::registrar::{Notice, Registrar};
use super::shared::Shared;
use crate::agent::{Agent, Link, Output, StreamKey};
use crate::quic::{LinkHandle, Relay, RelayEvent};
use crate::sfu::{self, Ended, Hop};
use crate::shard::{Intake, ShardHandle, Tell};
use crate::switchboard::{self, Forward, Switchboard};

/// Requests to the task that wait; more wait with their senders.
const QUEUE: usize = 1_024;
/// What other tasks ask of this one.
pub enum Command {
    /// A coordinator's call carried a plan.
    Plan(RoomPlan),
    /// A publisher's session holds a claim.
    Claimed {
        /// The claim.
        key: StreamKey,
        /// Who.
        identity: Identity,
        /// The session.
        session: SessionId,
        /// When.
        started_at: UnixMillis,
    },
    /// What is in the agent and what the shards carry, for the heartbeat, metrics and tests.
    Snapshot(oneshot::Sender<Snapshot>),
}

/// The agent, looked at.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Rooms: epoch known, streams that originate here.
    pub rooms: BTreeMap<RoomId, RoomSnapshot>,
    /// Announcements refused: loops, older generations.
    pub refused: (u64, u64),
    /// Plans, streams, wants, links that are kept.
    pub kept: (usize, usize, usize, usize),
}

/// One room of a [`Snapshot`].
#[derive(Debug, Clone, Default)]
pub struct RoomSnapshot {
    /// The newest plan known.
    pub epoch: freshet_cluster::Epoch,
    /// Streams that originate here.
    pub streams: Vec<freshet_cluster::load::StreamLoad>,
}

/// What the task works with.
pub struct Parts {
    /// Shared with the HTTP surface.
    pub shared: Arc<Shared>,
    /// The store.
    pub store: SharedStore,
    /// The bus.
    pub bus: SharedBus,
    /// The registry as read.
    pub registry: Registry,
    /// Writes to the store.
    pub registrar: Registrar,
    /// What the registrar says.
    pub notices: mpsc::Receiver<Notice>,
    /// The relay.
    pub relay: Arc<Relay>,
    /// What links say.
    pub links: mpsc::Receiver<RelayEvent>,
    /// The shards.
    pub shards: Vec<ShardHandle>,
    /// What shards say, each with its number.
    pub events: mpsc::Receiver<(u16, sfu::Event)>,
    /// Takes packets of links to the shards.
    pub intake: Intake,
}

/// Starts the task.
pub fn spawn(parts: Parts) -> (mpsc::Sender<Command>, tokio::task::JoinHandle<()>) {
    let (commands, inbox) = mpsc::channel(QUEUE);
    let agent = Agent::new(parts.shared.node.clone(), parts.shared.incarnation);
    let board = Switchboard::new(u16::try_from(parts.shards.len()).unwrap_or(u16::MAX));
    let task = Task {
        agent,
        board,
        parts,
        handles: HashMap::new(),
        origins: BTreeMap::new(),
        ended: Ended::default(),
    };
    let join = tokio::spawn(task.run(inbox));
    (commands, join)
}

struct Origin {
    session: SessionId,
    identity: Identity,
    started_at: UnixMillis,
    live: bool,
}

struct Task {
    agent: Agent,
    board: Switchboard,
    parts: Parts,
    handles: HashMap<Link, LinkHandle>,
    origins: BTreeMap<StreamKey, Origin>,
    /// A claim may be told of after its session has ended.
    ended: Ended,
}

impl Task {
    async fn run(mut self, mut inbox: mpsc::Receiver<Command>) {
        let mut nodes = self.parts.store.follow(keys::NODES);
        let mut rooms = self.parts.store.follow(keys::ROOMS);
        loop {
            let due = self.agent.poll_timeout();
            let sleep = async {
                match due {
                    Some(due) => tokio::time::sleep_until(due.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                command = inbox.recv() => match command {
                    Some(command) => self.command(command).await,
                    None => return,
                },
                Some((shard, event)) = self.parts.events.recv() => self.shard_event(shard, event).await,
                Some(event) = self.parts.links.recv() => self.relay_event(event).await,
                Some(notice) = self.parts.notices.recv() => self.notice(notice),
                Some(follow) = nodes.recv() => self.nodes(follow).await,
                Some(follow) = rooms.recv() => self.rooms(follow).await,
                () = sleep => self.agent.handle_timeout(Instant::now()),
            }
            self.carry_out().await;
            self.publish_live();
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Plan(plan) => {
                self.agent.handle_plan(plan);
            }
            Command::Claimed { key, session, .. } if self.ended.reason(session).is_some() => {
                // Its publisher went while the store was asked.
                self.parts.registrar.release(key);
            }
            Command::Claimed { key, identity, session, started_at } => {
                self.agent.handle_claimed(&key, identity.clone(), session, started_at);
                // An older publish of the same stream here has been told to end by now.
                self.carry_out().await;
                self.origins.insert(key.clone(), Origin { session, identity, started_at, live: false });
                self.tell_shards(Tell::Claimed { session, key, started_at }).await;
            }
            Command::Snapshot(reply) => {
                let _ = reply.send(self.snapshot());
            }
        }
    }

    fn snapshot(&self) -> Snapshot {
        let mut snapshot =
            Snapshot { refused: self.agent.refused(), kept: self.agent.kept(), ..Default::default() };
        for room in self.agent.rooms() {
            let epoch = self.agent.plan(&room).map(|p| p.epoch).unwrap_or_default();
            let member = self.agent.plan(&room).is_some_and(|p| p.member(&self.parts.shared.node).is_some());
            let of_room = self.origins.iter().filter(|(key, _)| key.room == room);
            let streams: Vec<_> = of_room
                .map(|(key, origin)| freshet_cluster::load::StreamLoad {
                    stream: key.stream.clone(),
                    generation: key.generation,
                    identity: origin.identity.clone(),
                    started_at: origin.started_at,
                    live: origin.live,
                    unknown: Unknown::new(),
                })
                .collect();
            if member || !streams.is_empty() {
                snapshot.rooms.insert(room, RoomSnapshot { epoch, streams });
            }
        }
        snapshot
    }

    async fn shard_event(&mut self, shard: u16, event: sfu::Event) {
        match event {
            sfu::Event::Live(key, tracks) => {
                let Some(origin) = self.origins.get_mut(&key) else { return };
                self.board.handle_live(shard, &key, origin.started_at, tracks.clone());
                self.agent.handle_live(&key, tracks);
                if !origin.live {
                    origin.live = true;
                    let identity = origin.identity.clone();
                    self.parts.registrar.live(key.clone());
                    self.tell(&key, identity, StreamState::Started, None);
                }
            }
            sfu::Event::Layers(key, rates) => {
                self.board.handle_layers(Some(shard), &key, &rates);
                self.agent.handle_layers(&key, &rates);
            }
            sfu::Event::Interest(key, lane, on) => self.board.handle_interest(shard, &key, lane, on),
            sfu::Event::KeyframeWanted(key, lane) => self.board.handle_keyframe_wanted(shard, &key, lane),
            // The shard itself tells those who listen.
            sfu::Event::Viewing(_) => {}
            sfu::Event::Ended { session, room, published, reason } => {
                tracing::info!(
                    session = session.short(),
                    room = room.as_str(),
                    reason = reason.as_str(),
                    "session ended"
                );
                self.ended.note(Instant::now(), session, reason);
                self.parts.shared.release(session);
                // A session that ended before it heard of its claim does not name it.
                let of_session =
                    |(key, origin): (&StreamKey, &Origin)| (origin.session == session).then(|| key.clone());
                if let Some(key) = published.or_else(|| self.origins.iter().find_map(of_session)) {
                    self.board.handle_unpublished(shard, &key);
                    self.unpublished(key, reason).await;
                }
            }
        }
    }

    async fn unpublished(&mut self, key: StreamKey, reason: EndReason) {
        self.agent.handle_unpublished(&key, reason);
        if let Some(origin) = self.origins.remove(&key) {
            self.parts.registrar.release(key.clone());
            if origin.live {
                self.tell(&key, origin.identity, StreamState::Ended, Some(reason));
            }
        }
    }

    /// Says on the bus that a stream began or ended. Nobody waits for it: heartbeats say the same again.
    fn tell(&self, key: &StreamKey, identity: Identity, state: StreamState, reason: Option<EndReason>) {
        let event = StreamEvent {
            v: VERSION,
            min_v: MIN_VERSION,
            room: key.room.clone(),
            stream: key.stream.clone(),
            generation: key.generation,
            identity,
            node: self.parts.shared.node.clone(),
            state,
            reason,
            at: UnixMillis::now(),
            unknown: Unknown::new(),
        };
        let (bus, subject) = (self.parts.bus.clone(), keys::room_subject(&key.room, Topic::Stream));
        tokio::spawn(async move {
            if let Err(error) = bus.publish(&subject, encode(&event)).await {
                tracing::debug!(%error, "stream event not published");
            }
        });
    }

    async fn relay_event(&mut self, event: RelayEvent) {
        match event {
            RelayEvent::Up(handle) => {
                let link = Link(handle.id().0);
                let (peer, incarnation) = (handle.peer().clone(), handle.incarnation());
                tracing::info!(peer = peer.as_str(), "relay link up");
                for shard in &self.parts.shards {
                    shard.tell(Tell::LinkUp(link, handle.media())).await;
                }
                self.handles.insert(link, handle);
                self.agent.handle_link_up(link, peer, incarnation);
            }
            RelayEvent::Control { link, frame } => self.agent.handle_frame(Link(link.0), frame),
            RelayEvent::Down { link, peer, reason, .. } => {
                tracing::info!(peer = peer.as_str(), %reason, "relay link down");
                let link = Link(link.0);
                self.handles.remove(&link);
                self.agent.handle_link_down(Instant::now(), link);
                self.tell_shards(Tell::LinkDown(link)).await;
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Lost(key, _) => {
                self.agent.handle_generation(&key.room, &key.stream, key.generation.next());
            }
        }
    }

    async fn nodes(&mut self, follow: Follow) {
        match follow {
            Follow::Snapshot { listing, wiped } => {
                for entry in &listing.entries {
                    self.node_entry(entry);
                }
                if wiped {
                    tracing::warn!("the store lost its past: registering again");
                }
                self.parts.registrar.renew();
            }
            Follow::Put(entry) => {
                self.node_entry(&entry);
                // Ours, written by ourselves or by another start of this node.
                if entry.key == keys::node(&self.parts.shared.node) {
                    self.parts.registrar.renew();
                }
            }
            Follow::Back => self.parts.registrar.renew(),
            Follow::Delete { key, .. } if key == keys::node(&self.parts.shared.node) => {
                self.parts.registrar.renew();
            }
            Follow::Delete { .. } | Follow::Away => {}
        }
    }

    fn node_entry(&self, entry: &Entry) {
        match decode::<NodeRecord>("node record", &entry.value) {
            Ok(record) => self.parts.registry.put(record),
            Err(error) => left_alone(&entry.key, &error),
        }
    }

    async fn rooms(&mut self, follow: Follow) {
        match follow {
            Follow::Snapshot { listing, wiped } => {
                for entry in &listing.entries {
                    self.room_entry(entry);
                }
                if wiped {
                    self.parts.registrar.renew();
                }
            }
            Follow::Put(entry) => self.room_entry(&entry),
            Follow::Delete { key, .. } => {
                // A stream whose key is gone has not ended by that: its origin says when it has.
                if let Some(keys::Key::Plan(room)) = keys::parse(&key) {
                    self.agent.handle_plan_gone(&room);
                }
            }
            Follow::Away | Follow::Back => {}
        }
    }

    fn room_entry(&mut self, entry: &Entry) {
        match keys::parse(&entry.key) {
            Some(keys::Key::Plan(room)) => match decode::<RoomPlan>("room plan", &entry.value) {
                Ok(plan) if plan.room == room => {
                    let member = plan.member(&self.parts.shared.node).is_some();
                    if member || self.agent.plan(&room).is_some() {
                        self.agent.handle_plan(plan);
                    }
                }
                Ok(_) => tracing::warn!(key = %entry.key, "the plan names another room: left alone"),
                Err(error) => left_alone(&entry.key, &error),
            },
            Some(keys::Key::Stream(room, stream)) => {
                match decode::<StreamRecord>("stream record", &entry.value) {
                    Ok(record) => self.agent.handle_generation(&room, &stream, record.generation),
                    Err(error) => left_alone(&entry.key, &error),
                }
            }
            _ => {}
        }
    }

    /// Does what the agent and the switchboard want, until neither wants anything more.
    async fn carry_out(&mut self) {
        loop {
            if let Some(output) = self.agent.poll_output() {
                self.for_agent(output).await;
            } else if let Some(output) = self.board.poll_output() {
                self.for_board(output).await;
            } else {
                return;
            }
        }
    }

    async fn for_agent(&mut self, output: Output) {
        match output {
            Output::Dial(node, incarnation) => self.dial(node, incarnation),
            Output::Forget(node, incarnation) => self.parts.relay.forget(&node, incarnation),
            Output::Send(link, frame) => {
                if let Some(handle) = self.handles.get(&link) {
                    handle.send(frame);
                }
            }
            Output::Up(stream) => {
                self.board.handle_up(stream);
                self.parts.intake.route(self.board.routes().collect());
            }
            Output::Layers(key, rates) => self.board.handle_layers(None, &key, &rates),
            Output::Down(key, _) => {
                self.board.handle_down(&key);
                self.parts.intake.route(self.board.routes().collect());
            }
            Output::Forward { key, lane, link, alias, from } => {
                self.board.handle_forward(Forward { key, lane, hop: Hop::Link(link), alias, from });
            }
            Output::Unforward { key, lane, link } => self.board.handle_unforward(key, lane, link),
            Output::Keyframe(key, lane) => self.board.handle_keyframe(key, lane),
            Output::End(session, reason) => self.tell_shards(Tell::End(session, reason)).await,
        }
    }

    async fn for_board(&mut self, output: switchboard::Output) {
        use switchboard::Output;
        let (shard, tell) = match output {
            Output::Up(shard, incoming) => (shard, Tell::Up(incoming)),
            Output::Layers(shard, key, rates) => (shard, Tell::Layers(key, rates)),
            Output::Down(shard, key) => (shard, Tell::Down(key)),
            Output::Forward(shard, Forward { key, lane, hop, alias, from }) => {
                (shard, Tell::Forward { key, lane, hop, alias, from })
            }
            Output::Unforward(shard, key, lane, hop) => (shard, Tell::Unforward { key, lane, hop }),
            Output::Keyframe(shard, key, lane) => (shard, Tell::Keyframe(key, lane)),
            Output::Interest(key, lane, on) => return self.agent.handle_interest(&key, lane, on),
            Output::KeyframeWanted(key, lane) => return self.agent.handle_keyframe_wanted(&key, lane),
        };
        if let Some(shard) = self.parts.shards.get(usize::from(shard)) {
            shard.tell(tell).await;
        }
    }

    /// Looks the node up in a task of its own: the store may be away, and the agent waits for nobody.
    fn dial(&self, node: NodeId, incarnation: Incarnation) {
        let (registry, relay) = (self.parts.registry.clone(), self.parts.relay.clone());
        tokio::spawn(async move {
            for _ in 0..20_u8 {
                match crate::quic::Directory::find(&registry, &node).await {
                    Some(peer) if peer.incarnation == incarnation => {
                        relay.dial(peer);
                        return;
                    }
                    _ => tokio::time::sleep(Duration::from_millis(500)).await,
                }
            }
            tracing::warn!(node = node.as_str(), "not dialled: the registry does not know this start of it");
        });
    }

    async fn tell_shards(&self, tell: Tell) {
        for shard in &self.parts.shards {
            shard.tell(tell.clone()).await;
        }
    }

    fn publish_live(&self) {
        let mut live: HashMap<RoomId, Vec<StreamId>> = HashMap::new();
        for room in self.agent.rooms() {
            let streams: Vec<StreamId> = self.agent.live(&room).cloned().collect();
            if !streams.is_empty() {
                live.insert(room, streams);
            }
        }
        let shared = &self.parts.shared;
        shared.set_live(live);
        let (loops, stale) = self.agent.refused();
        shared.refused_announcements.0.store(loops, Ordering::Release);
        shared.refused_announcements.1.store(stale, Ordering::Release);
        let (rooms, streams, subscriptions, _) = self.agent.kept();
        let kept = &shared.kept;
        for (kept, count) in [
            (&kept.rooms, rooms),
            (&kept.streams, streams),
            (&kept.subscriptions, subscriptions),
            (&kept.of_shards, self.board.wants()),
        ] {
            kept.store(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Release);
        }
    }
}

fn left_alone(key: &str, error: &ValueError) {
    tracing::warn!(key, %error, "a value in the store is left alone");
}
