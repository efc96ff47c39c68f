//! One client: it reads the room's events, however often their stream breaks, and posts its share of the messages.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::ledger::{Listener, ListenerCounts, Room, Stamp};
use super::sse::{EventReader, ServerEvent};
use crate::client::{ClientError, Gate, Opened, Trust, WebClient, within};
use crate::clock::unix_micros;
use crate::measure::Histogram;
use crate::num;
use crate::scenario::Chance;

/// The server sends a comment every 15 s: thrice that in silence is a connection that is dead.
const SILENCE: Duration = Duration::from_secs(45);
/// First pause before a stream is opened or a message posted again, where the server names none.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// Largest answer that is read.
const ANSWER_MAX: usize = 64 * 1024;
/// Kinds of errors that are told apart.
const KINDS: usize = 50;

/// How a client chats.
#[derive(Debug, Clone)]
pub struct ChatConfig {
    /// The room: `…/v1/rooms/{room}`.
    pub url: String,
    /// The room's number in the run.
    pub room: u32,
    /// Its own number in the room.
    pub number: u32,
    /// Clients of the room.
    pub of: u32,
    /// Messages a second in the room, of all clients together.
    pub rate: f64,
    /// Which run it is.
    pub run: u64,
    /// Bearer token.
    pub token: Option<String>,
    /// Who may be asked.
    pub gate: Arc<Gate>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Time for each request.
    pub http_timeout: Duration,
    /// A message that is refused is posted again for so long.
    pub retry_for: Duration,
    /// Local address.
    pub local: Option<IpAddr>,
    /// When the room's first message is due.
    pub start: Instant,
    /// When this client comes.
    pub due: Instant,
    /// What is left to chance: how long it waits before it comes again.
    pub seed: u64,
}

/// What a client saw.
#[derive(Debug, Clone, Default)]
pub struct ChatSeen {
    /// It has come, and its stream has not opened yet.
    pub joining: bool,
    /// From when it was due until its stream was open.
    pub open: Option<Duration>,
    /// What went wrong last.
    pub trouble: Option<String>,
    /// What it had.
    pub counts: ListenerCounts,
    /// Messages that it never had.
    pub lost: u64,
    /// Streams that broke and were opened again.
    pub reconnects: u64,
    /// Why streams broke and messages were refused.
    pub reasons: BTreeMap<String, u64>,
    /// Times that `Retry-After` was obeyed.
    pub obeyed: u64,
    /// From when its messages were due until they were acknowledged.
    pub acknowledged: Histogram,
}

#[derive(Default)]
struct Seen {
    listener: Listener,
    trouble: Option<String>,
    reconnects: u64,
    reasons: BTreeMap<String, u64>,
    obeyed: u64,
    acknowledged: Histogram,
}

struct Shared {
    config: ChatConfig,
    web: WebClient,
    room: Arc<Mutex<Room>>,
    seen: Mutex<Seen>,
    /// Its stream is open, or was.
    open: watch::Sender<bool>,
}

/// A client. It goes away when this is dropped.
pub struct ChatClient {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl std::fmt::Debug for ChatClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChatClient").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn now() -> u64 {
    unix_micros(Instant::now())
}

#[derive(Serialize)]
struct Post<'a> {
    id: &'a str,
    text: &'a str,
    at_ms: u64,
    from: &'a str,
}

#[derive(Deserialize)]
struct Said {
    text: String,
}

impl ChatClient {
    /// Comes when it is due, and posts until `over`. Must be called inside a runtime.
    pub fn start(
        config: ChatConfig,
        room: Arc<Mutex<Room>>,
        over: watch::Receiver<bool>,
    ) -> Result<Self, ClientError> {
        let ChatConfig { gate, token, http_timeout, trust, local, .. } = &config;
        let web = WebClient::new(Arc::clone(gate), token.clone(), *http_timeout, trust, *local)?;
        let (seen, open) = (Mutex::default(), watch::Sender::default());
        let shared = Arc::new(Shared { config, web, room, seen, open });
        let mut tasks = JoinSet::new();
        let (listening, posting) = (Arc::clone(&shared), Arc::clone(&shared));
        tasks.spawn(async move { listening.listen().await });
        tasks.spawn(async move { posting.post(over).await });
        Ok(Self { shared, _tasks: tasks })
    }

    /// What it saw until now.
    pub fn seen(&self) -> ChatSeen {
        let lost = {
            // Always in this order.
            let room = lock(&self.shared.room);
            lock(&self.shared.seen).listener.lost(&room)
        };
        ChatSeen { lost, ..self.brief() }
    }

    /// The same, without what it takes all of the room's messages to tell.
    pub fn brief(&self) -> ChatSeen {
        let seen = lock(&self.shared.seen);
        let (opened, due) = (seen.listener.opened(), self.shared.config.due);
        ChatSeen {
            joining: opened.is_none() && due <= Instant::now(),
            open: opened.map(|at| Duration::from_micros(at.saturating_sub(unix_micros(due)))),
            trouble: seen.trouble.clone(),
            counts: seen.listener.counts.clone(),
            lost: 0,
            reconnects: seen.reconnects,
            reasons: seen.reasons.clone(),
            obeyed: seen.obeyed,
            acknowledged: seen.acknowledged.clone(),
        }
    }

    /// Whether it has all that it should have.
    pub fn complete(&self) -> bool {
        let room = lock(&self.shared.room);
        room.asked == 0 && lock(&self.shared.seen).listener.lost(&room) == 0
    }
}

impl Shared {
    fn trouble(&self, what: &str, error: &ClientError) {
        tracing::info!(%error, "a chat client: {what}");
        let kind = match error {
            ClientError::Timeout { what, .. } => format!("timeout: {what}"),
            other => other.class(),
        };
        let mut seen = lock(&self.seen);
        seen.trouble = Some(kind.clone());
        let kind = format!("{what}: {kind}");
        if seen.reasons.len() < KINDS || seen.reasons.contains_key(&kind) {
            *seen.reasons.entry(kind).or_default() += 1;
        }
    }

    /// How long the server wants to be left alone, else twice as long as before, spread by chance.
    fn pause(&self, error: Option<&ClientError>, failures: u32, chance: &mut Chance) -> Duration {
        if let Some(ClientError::Refused { retry_after: Some(named), .. }) = error {
            lock(&self.seen).obeyed += 1;
            return named.mul_f64(1.0 + chance.unit() / 4.0);
        }
        PAUSE.saturating_mul(1 << failures.min(10)).min(PAUSE_MAX).mul_f64(0.5 + chance.unit() / 2.0)
    }

    async fn listen(&self) {
        tokio::time::sleep_until(self.config.due.into()).await;
        let mut chance = Chance::of(self.config.seed, 0);
        let (mut last_id, mut failures) = (None, 0_u32);
        loop {
            let opened_before = *self.open.borrow();
            let error = match self.read(&mut last_id, &mut failures).await {
                Ok(never) => match never {},
                Err(error) => error,
            };
            self.trouble("events", &error);
            // Another try would be answered the same way.
            let hopeless = matches!(
                error,
                ClientError::StrangeHost { .. }
                    | ClientError::ForbiddenTarget { .. }
                    | ClientError::BadUrl { .. }
                    | ClientError::Refused { status: 400..=407 | 410..=424 | 426..=428, .. }
            );
            if hopeless && !opened_before {
                return;
            }
            let pause = self.pause(Some(&error), failures, &mut chance);
            failures = failures.saturating_add(1);
            tokio::time::sleep(pause).await;
        }
    }

    /// Reads one stream until it breaks, which it does in the end.
    async fn read(
        &self,
        last_id: &mut Option<String>,
        failures: &mut u32,
    ) -> Result<std::convert::Infallible, ClientError> {
        let url = format!("{}/events", self.config.url);
        let mut headers = vec![("accept", "text/event-stream".to_owned())];
        headers.extend(last_id.clone().map(|id| ("last-event-id", id)));
        let asking = self.web.open(&Method::GET, &url, &headers, Bytes::new());
        let mut opened = within(self.config.http_timeout, "a room's events", asking).await?;
        if opened.status != 200 {
            let answer =
                within(self.config.http_timeout, "a room's events", opened.whole(ANSWER_MAX)).await?;
            return Err(answer.refusal(&Method::GET));
        }
        let bad = |opened: &Opened, why: String| ClientError::BadResponse { url: opened.url.clone(), why };
        let kind = opened.headers.get("content-type").and_then(|kind| kind.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return Err(bad(&opened, "it is no stream of events".to_owned()));
        }
        let mut reader = EventReader::default();
        let mut first = true;
        loop {
            let piece = within(SILENCE, "a room's events", opened.chunk()).await?;
            let Some(piece) = piece else { return Err(bad(&opened, "the stream ended".to_owned())) };
            let events = reader.feed(&piece).map_err(|error| bad(&opened, error.to_string()))?;
            for event in &events {
                if std::mem::take(&mut first) {
                    *failures = 0;
                    let again = self.open.send_replace(true);
                    lock(&self.seen).reconnects += u64::from(again);
                }
                self.take(event, last_id);
            }
        }
    }

    fn take(&self, event: &ServerEvent, last_id: &mut Option<String>) {
        let at = now();
        let room = lock(&self.room);
        let mut seen = lock(&self.seen);
        let listener = &mut seen.listener;
        // Whatever comes first, the server knows this listener from then on.
        listener.opens(at);
        match event.kind.as_str() {
            "chat" => {
                let said: Option<Said> = serde_json::from_str(&event.data).ok();
                let stamp = said.and_then(|said| Stamp::read(&said.text));
                let ours =
                    stamp.filter(|stamp| (stamp.run, stamp.room) == (self.config.run, self.config.room));
                let id = event.id.as_deref().and_then(|id| id.parse().ok());
                listener.hears(at, &room, ours, id, self.config.of);
            }
            "reset" => {
                listener.resets();
                *last_id = None;
            }
            _ => {}
        }
        if event.id.is_some() {
            last_id.clone_from(&event.id);
        }
    }

    /// Posts this client's share of the room's messages: every n-th of them, one after the other.
    async fn post(&self, mut over: watch::Receiver<bool>) {
        let mut open = self.open.subscribe();
        if open.wait_for(|open| *open).await.is_err() {
            return;
        }
        let (mut chance, here) = (Chance::of(self.config.seed, 1), Instant::now());
        let mut number = u64::from(self.config.number);
        loop {
            let after = num::float(number) / self.config.rate.max(1e-6);
            let Ok(after) = Duration::try_from_secs_f64(after) else { return };
            let Some(due) = self.config.start.checked_add(after) else { return };
            // What was due before it was there nobody waits for.
            if due >= here {
                tokio::select! {
                    biased;
                    _ = over.wait_for(|over| *over) => return,
                    () = tokio::time::sleep_until(due.into()) => {}
                }
                self.say(number, due, &mut chance, &mut over).await;
            }
            number = number.saturating_add(u64::from(self.config.of.max(1)));
        }
    }

    async fn say(&self, number: u64, due: Instant, chance: &mut Chance, over: &mut watch::Receiver<bool>) {
        let ChatConfig { run, room, number: own, .. } = self.config;
        let stamp = Stamp { run, room, number, due: unix_micros(due) };
        let (id, from) = (format!("l-{run:x}-{room}-{number}"), format!("load-{room}-{own}"));
        let at_ms = now() / 1_000;
        let body = serde_json::to_vec(&Post { id: &id, text: &stamp.text(), at_ms, from: &from });
        let Ok(body) = body.map(Bytes::from) else { return };
        lock(&self.room).posts(number, now());
        let until = Instant::now() + self.config.retry_for;
        let mut stored = false;
        for failures in 0.. {
            let error = match self.send(&body).await {
                Ok(()) => {
                    lock(&self.seen).acknowledged.record(due.elapsed());
                    stored = true;
                    break;
                }
                Err(error) => error,
            };
            self.trouble("message", &error);
            let again = match &error {
                ClientError::Refused { status, .. } => matches!(status, 408 | 429 | 500..=599),
                ClientError::Unreachable { .. } | ClientError::Timeout { .. } => true,
                _ => false,
            };
            let pause = if again { self.pause(Some(&error), failures, chance) } else { Duration::ZERO };
            if !again || Instant::now() + pause > until {
                break;
            }
            tokio::select! {
                biased;
                _ = over.wait_for(|over| *over) => break,
                () = tokio::time::sleep(pause) => {}
            }
        }
        lock(&self.room).answered(number, stored);
    }

    async fn send(&self, body: &Bytes) -> Result<(), ClientError> {
        let url = format!("{}/chat", self.config.url);
        let headers = [("content-type", "application/json".to_owned())];
        let asking = async {
            let opened = self.web.open(&Method::POST, &url, &headers, body.clone()).await?;
            opened.whole(ANSWER_MAX).await
        };
        let answer = within(self.config.http_timeout, "a message's receipt", asking).await?;
        if matches!(answer.status, 200 | 201) { Ok(()) } else { Err(answer.refusal(&Method::POST)) }
    }
}
