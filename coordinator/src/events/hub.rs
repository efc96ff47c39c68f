//! One room's events on one coordinator: one reader of the history, fanned out to every listener.
//!
//! A hub lives while it has listeners. Each listener has a bounded queue ([`LISTENER_QUEUE`]); one that is full is cut
//! off and comes back with the last id that it saw. Nothing and nobody is waited for, the bus included: while it is
//! away listeners hear `paused`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use freshet_cluster::bus::{Kept, Message, ReadFrom, Tail};
use freshet_cluster::keys::{Topic, room_subject};
use freshet_cluster::room::{ChatMessage, Listening};
use freshet_cluster::version::{MIN_VERSION, Unknown, VERSION, decode, encode};
use freshet_cluster::{Incarnation, RoomId};
use freshet_edge::places::{Holder, Place, Places, TooMany};
use freshet_edge::sse::{self, Event, EventSender, EventStream, SendError};
use futures::FutureExt as _;
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior};

use super::audience::Audience;
use super::history::{History, Resume, Welcome};
use super::wire::{ChatEvent, PresenceChange, Snapshot, Told, spread_ms};
use crate::metrics::Metrics;
use crate::shell::state::State;

/// Events that wait for one listener: the history and some seconds of a lively room. Overflow cuts it off.
pub const LISTENER_QUEUE: usize = 256;
/// Listeners that are taken in before anything else gets its turn.
const ENTRIES: usize = 256;
/// Presence is told at most this often.
const PRESENCE_EVERY: Duration = Duration::from_secs(1);
/// A hub without listeners stays for this long.
const REST: Duration = Duration::from_secs(5);
/// The bus is asked about a sequence for so long; without an answer it is believed.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// All hubs of a coordinator.
pub struct Hubs {
    state: Arc<State>,
    /// Who tells others how many listen here.
    id: Incarnation,
    rooms: Mutex<HashMap<RoomId, mpsc::UnboundedSender<Listener>>>,
    places: Places,
    stopping: watch::Sender<bool>,
}

struct Listener {
    tx: EventSender,
    resume: Resume,
    /// The bus was asked about the place to resume from.
    asked: bool,
    /// It got the history; chat up to this sequence is not for it.
    after: Option<u64>,
    _place: Place,
}

impl Hubs {
    /// No rooms yet.
    pub fn new(state: Arc<State>) -> Arc<Self> {
        let places = Places::new(state.config.listeners, state.config.door.listeners);
        let id = Incarnation::from_bits(rand::random());
        Arc::new(Self { state, id, rooms: Mutex::default(), places, stopping: watch::Sender::new(false) })
    }

    /// Listens to a room; `who` is the listener's identity, if it has one.
    pub fn listen(
        self: &Arc<Self>,
        room: &RoomId,
        last_id: Option<u64>,
        who: Option<&Holder>,
    ) -> Result<EventStream, TooMany> {
        let (place, _) = self.place(who)?;
        let (tx, stream) = sse::channel(LISTENER_QUEUE, sse::KEEP_ALIVE);
        let resume = last_id.map_or(Resume::Start, Resume::After);
        let mut listener = Listener { tx, resume, asked: false, after: None, _place: place };
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hub) = rooms.get(room) {
            match hub.send(listener) {
                Ok(()) => return Ok(stream),
                Err(mpsc::error::SendError(back)) => listener = back,
            }
        }
        // Who waits here has a place, and of these there are so many: an audience that comes all at once is not refused
        // because the hub has not had its turn yet.
        let (hub, entries) = mpsc::unbounded_channel();
        // A new channel takes its first entry.
        let _sent = hub.send(listener);
        rooms.insert(room.clone(), hub);
        let (hubs, room, stopping) = (Arc::clone(self), room.clone(), self.stopping.subscribe());
        tokio::spawn(async move { Hub::new(&hubs, room).run(entries, stopping).await });
        Ok(stream)
    }

    /// A place for a listener of something else, and when this coordinator stops.
    pub fn place(&self, who: Option<&Holder>) -> Result<(Place, watch::Receiver<bool>), TooMany> {
        let place = self.places.take(who).inspect_err(|_| self.state.metrics.listeners_refused.inc())?;
        Ok((place, self.stopping.subscribe()))
    }

    /// Ends every stream and takes no more.
    pub fn stop(&self) {
        self.places.close();
        self.stopping.send_replace(true);
    }

    /// Takes a hub out, unless somebody came in the meantime.
    fn retire(&self, room: &RoomId, entries: &mut mpsc::UnboundedReceiver<Listener>) -> Option<Listener> {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        match entries.try_recv() {
            Ok(listener) => Some(listener),
            Err(_) => {
                entries.close();
                rooms.remove(room);
                None
            }
        }
    }
}

struct Hub {
    hubs: Arc<Hubs>,
    room: RoomId,
    history: History,
    /// The history has been read.
    ready: bool,
    away: bool,
    told: Told,
    viewers: u32,
    listeners: Vec<Listener>,
    audience: Audience,
    empty_since: Option<Instant>,
}

impl Hub {
    fn new(hubs: &Arc<Hubs>, room: RoomId) -> Self {
        Self {
            hubs: Arc::clone(hubs),
            room,
            history: History::default(),
            ready: false,
            away: false,
            told: Told::default(),
            viewers: 0,
            listeners: Vec::new(),
            audience: Audience::default(),
            empty_since: None,
        }
    }

    async fn run(
        mut self,
        mut entries: mpsc::UnboundedReceiver<Listener>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let state = Arc::clone(&self.hubs.state);
        let subject = room_subject(&self.room, Topic::Chat);
        let mut tail = state.bus.tail(&subject, ReadFrom::Start);
        let mut others = state.bus.subscribe(&room_subject(&self.room, Topic::Listening));
        let changed = state.watch(&self.room);
        let (answers_tx, mut answers) = mpsc::unbounded_channel::<Listener>();
        let (mut many, mut known) = (Vec::new(), Vec::new());
        let mut tick = tokio::time::interval(PRESENCE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.look();
        loop {
            tokio::select! {
                _ = stopping.wait_for(|stop| *stop) => break,
                1.. = entries.recv_many(&mut many, ENTRIES) => self.enter(many.drain(..), &answers_tx),
                1.. = answers.recv_many(&mut known, ENTRIES) => self.enter(known.drain(..), &answers_tx),
                Some(tail) = tail.recv() => self.read(tail, &answers_tx),
                Some(message) = others.recv() => self.hear(&message),
                () = changed.notified() => self.look(),
                _ = tick.tick() => {
                    self.count();
                    self.tell();
                    state.set_audience(&self.room, self.waiting());
                    if self.rests() && answers.is_empty() {
                        match self.hubs.retire(&self.room, &mut entries) {
                            Some(listener) => self.enter([listener], &answers_tx),
                            None => return state.set_audience(&self.room, 0),
                        }
                    }
                }
            }
        }
        state.metrics.listeners.sub(i64::try_from(self.listeners.len()).unwrap_or(0));
        state.set_audience(&self.room, 0);
    }

    /// How many listen, here and elsewhere.
    fn waiting(&self) -> usize {
        self.audience.total(self.listeners.len(), Instant::now().into_std())
    }

    /// Nobody has listened for a while.
    fn rests(&mut self) -> bool {
        if !self.listeners.is_empty() {
            self.empty_since = None;
            return false;
        }
        self.empty_since.get_or_insert_with(Instant::now).elapsed() >= REST
    }

    fn enter(
        &mut self,
        newcomers: impl IntoIterator<Item = Listener>,
        answers: &mpsc::UnboundedSender<Listener>,
    ) {
        self.empty_since = None;
        for listener in newcomers {
            if self.ready
                && let Welcome::AskBus(seq) = self.history.welcome(listener.resume, listener.asked)
            {
                self.ask_bus(listener, seq, answers.clone());
                continue;
            }
            let snapshot =
                Snapshot { streams: self.told.live(), viewers: self.viewers, spread_ms: self.spread() };
            let mut sent = send(&listener, "snapshot", None, &snapshot);
            if self.away {
                sent = sent.and_then(|()| send(&listener, "paused", None, &serde_json::json!({})));
            }
            if sent.is_ok() {
                self.listeners.push(listener);
                self.hubs.state.metrics.listeners.inc();
            }
        }
        self.welcome_all();
    }

    /// Gives the history to those who have not got it.
    fn welcome_all(&mut self) {
        if !self.ready {
            return;
        }
        let history = &self.history;
        retain(&mut self.listeners, &self.hubs.state.metrics, |listener| {
            if listener.after.is_some() {
                return Ok(());
            }
            // A newcomer of the time before the history was read is believed without asking the bus.
            let Welcome::Send { reset, frames, after } = history.welcome(listener.resume, true) else {
                return Ok(());
            };
            if reset {
                send(listener, "reset", None, &serde_json::json!({}))?;
            }
            listener.after = Some(after);
            frames.into_iter().try_for_each(|frame| listener.tx.try_send(frame))
        });
    }

    fn ask_bus(&self, mut listener: Listener, seq: u64, answers: mpsc::UnboundedSender<Listener>) {
        let (bus, subject) = (Arc::clone(&self.hubs.state.bus), room_subject(&self.room, Topic::Chat));
        tokio::spawn(async move {
            let mut tail = bus.tail(&subject, ReadFrom::After(seq));
            let answer = async {
                loop {
                    match tail.recv().await {
                        Some(Tail::History { .. }) => {}
                        other => return other,
                    }
                }
            };
            if matches!(tokio::time::timeout(ASK_TIMEOUT, answer).await, Ok(Some(Tail::Reset))) {
                listener.resume = Resume::Reset;
            }
            listener.asked = true;
            // A hub that is gone ends the stream; the client comes back.
            let _sent = answers.send(listener);
        });
    }

    fn read(&mut self, tail: Tail, answers: &mpsc::UnboundedSender<Listener>) {
        match tail {
            Tail::Kept(kept) => self.chat(&kept),
            Tail::History { first } => self.history.begin(first),
            Tail::CaughtUp => {
                self.ready = true;
                let waiting: Vec<Listener> = {
                    let unsure = |listener: &mut Listener| {
                        let welcome = self.history.welcome(listener.resume, listener.asked);
                        listener.after.is_none() && matches!(welcome, Welcome::AskBus(_))
                    };
                    self.listeners.extract_if(.., unsure).collect()
                };
                self.hubs.state.metrics.listeners.sub(i64::try_from(waiting.len()).unwrap_or(0));
                self.enter(waiting, answers);
            }
            Tail::Reset => {
                self.history.clear();
                self.broadcast("reset", &serde_json::json!({}));
                for listener in &mut self.listeners {
                    listener.after = listener.after.map(|_| 0);
                }
            }
            Tail::Away => {
                self.away = true;
                self.broadcast("paused", &serde_json::json!({}));
            }
            Tail::Back => {
                self.away = false;
                self.broadcast("resumed", &serde_json::json!({}));
            }
        }
    }

    fn chat(&mut self, kept: &Kept) {
        let message: ChatMessage = match decode("chat message", &kept.payload) {
            Ok(message) => message,
            Err(error) => {
                self.hubs.state.metrics.unreadable.inc();
                tracing::debug!(room = self.room.as_str(), seq = kept.seq, %error, "chat message skipped");
                return;
            }
        };
        let ChatMessage { id, from, text, at, .. } = message;
        let event = ChatEvent { id, from, text, at_ms: at, seq: kept.seq };
        let Ok(event) = Event::json("chat", Some(kept.seq), &event) else { return };
        self.history.push(kept.seq, event.clone());
        self.retain(|listener| match listener.after {
            Some(after) if kept.seq > after => {
                listener.after = Some(kept.seq);
                listener.tx.try_send(event.clone())
            }
            _ => Ok(()),
        });
    }

    /// Tells what changed among the streams.
    fn look(&mut self) {
        let streams = {
            let core = self.hubs.state.core();
            core.view().streams(&self.room).map(|(id, view)| (id.clone(), view.clone())).collect()
        };
        let spread = self.spread();
        for change in self.told.look(streams, spread) {
            self.broadcast("stream", &change);
        }
    }

    /// Tells how many watch, if that changed; forgets who has gone.
    fn count(&mut self) {
        self.retain(|listener| match listener.tx.closed().now_or_never() {
            Some(()) => Err(SendError::Closed),
            None => Ok(()),
        });
        let viewers = self.hubs.state.core().view().viewers(&self.room);
        if viewers != self.viewers {
            self.viewers = viewers;
            self.broadcast("presence", &PresenceChange { viewers });
        }
    }

    /// Tells other coordinators how many listen here, without waiting for the bus.
    fn tell(&mut self) {
        let Some(listeners) = self.audience.tell(self.listeners.len(), Instant::now().into_std()) else {
            return;
        };
        let said = Listening {
            v: VERSION,
            min_v: MIN_VERSION,
            room: self.room.clone(),
            coordinator: self.hubs.id,
            listeners: u32::try_from(listeners).unwrap_or(u32::MAX),
            unknown: Unknown::new(),
        };
        let (bus, subject) = (Arc::clone(&self.hubs.state.bus), room_subject(&self.room, Topic::Listening));
        tokio::spawn(async move {
            // Said again in a while: what the bus does not take now is not missed.
            let _said = tokio::time::timeout(PRESENCE_EVERY, bus.publish(&subject, encode(&said))).await;
        });
    }

    /// Hears how many listen elsewhere, and its own word.
    fn hear(&mut self, message: &Message) {
        match decode::<Listening>("listening", &message.payload) {
            Ok(said) if said.coordinator == self.hubs.id => {}
            Ok(said) => {
                let listeners = usize::try_from(said.listeners).unwrap_or(usize::MAX);
                self.audience.hear(said.coordinator, listeners, Instant::now().into_std());
            }
            Err(error) => {
                self.hubs.state.metrics.unreadable.inc();
                tracing::debug!(room = self.room.as_str(), %error, "what a coordinator tells of its listeners is skipped");
            }
        }
    }

    fn spread(&self) -> u64 {
        let viewers = usize::try_from(self.viewers).unwrap_or(usize::MAX);
        spread_ms(viewers.max(self.waiting()))
    }

    fn broadcast(&mut self, name: &str, data: &impl Serialize) {
        match Event::json(name, None, data) {
            Ok(event) => self.retain(|listener| listener.tx.try_send(event.clone())),
            Err(error) => tracing::error!(name, %error, "event cannot be encoded"),
        }
    }

    /// Does something for each listener and lets go those for whom it failed.
    fn retain(&mut self, act: impl FnMut(&mut Listener) -> Result<(), SendError>) {
        retain(&mut self.listeners, &self.hubs.state.metrics, act);
    }
}

fn retain(
    listeners: &mut Vec<Listener>,
    metrics: &Metrics,
    mut act: impl FnMut(&mut Listener) -> Result<(), SendError>,
) {
    listeners.retain_mut(|listener| {
        match act(listener) {
            Ok(()) => return true,
            Err(SendError::Full) => metrics.listeners_slow.inc(),
            Err(SendError::Closed) => {}
        }
        metrics.listeners.dec();
        false
    });
}

fn send(listener: &Listener, name: &str, id: Option<u64>, data: &impl Serialize) -> Result<(), SendError> {
    // Our own types are maps with string keys: encoding them cannot fail.
    let event = Event::json(name, id, data).unwrap_or_else(|_| Event::text(name, id, "{}"));
    listener.tx.try_send(event)
}

#[cfg(test)]
mod tests;
