//! The bus on NATS with JetStream (nats-server 2.9 and later).
//!
//! Plain messages use core NATS. Chat is kept by one stream; a reader is an ephemeral push consumer that this module
//! watches itself: a gap, a missed heartbeat or a lost connection opens a new one after the last message delivered.

mod tail;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::stream::{
    Config as StreamConfig, DiscardPolicy, Info, RetentionPolicy, StorageType,
};
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, Subscriber};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::sync::{mpsc, watch};

use super::{
    Bus, BusError, DEDUP_WINDOW, KEPT_PER_SUBJECT, Message, ReadFrom, Receipt, SUBSCRIPTION_QUEUE, Tail,
    is_kept,
};
use crate::keys;
use crate::secret::Secret;

/// The JetStream stream that keeps the chat of all rooms. Other kept subjects get streams of their own, since their
/// limits differ.
pub const CHAT_STREAM: &str = "FRESHET_CHAT";
/// Time limit of one call to JetStream.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// An idle connection is pinged this often; two pings without answer end it.
const PING: Duration = Duration::from_secs(2);
/// The longest pause between tries to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(2);

/// How to reach NATS.
#[derive(Debug, Clone, Default)]
pub struct NatsConfig {
    /// `nats://HOST:PORT` or `tls://HOST:PORT`, one or more servers of one cluster.
    pub servers: Vec<String>,
    /// Credentials file (JWT and seed).
    pub creds: Option<PathBuf>,
    /// User name and password.
    pub user: Option<(String, Secret)>,
    /// Token.
    pub token: Option<Secret>,
    /// PEM file of the authority that signed the servers' certificates.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate, when NATS wants one.
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
    /// Copies that JetStream keeps of the history when this process creates it; 0 and 1 mean one.
    pub replicas: usize,
}

/// A handle on NATS; clones share one connection.
#[derive(Clone)]
pub struct NatsBus {
    client: Client,
    jetstream: Context,
    link: watch::Receiver<bool>,
    replicas: usize,
    dropped: Arc<AtomicU64>,
}

impl std::fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBus").field("up", &self.is_up()).finish_non_exhaustive()
    }
}

impl NatsBus {
    /// Checks the configuration and begins to connect; a NATS that is away at start is no error.
    pub async fn connect(config: NatsConfig) -> Result<Self, BusError> {
        if config.servers.is_empty() {
            let text = "no NATS server is configured: name at least one, as in nats://127.0.0.1:4222";
            return Err(BusError::Refused(text.into()));
        }
        let (up, link) = watch::channel(false);
        let mut options = ConnectOptions::new()
            .name("freshet")
            .retry_on_initial_connect()
            .connection_timeout(CALL_LIMIT)
            .request_timeout(Some(CALL_LIMIT))
            .ping_interval(PING)
            .subscription_capacity(SUBSCRIPTION_QUEUE)
            .reconnect_delay_callback(|attempts| {
                let step = 100u64.saturating_mul(1 << attempts.min(6));
                let step = Duration::from_millis(step).min(RECONNECT_MAX);
                step.mul_f64(rand::random_range(0.5..=1.0))
            })
            .event_callback(move |event| {
                match &event {
                    Event::Connected => up.send_replace(true),
                    Event::Disconnected | Event::Closed => up.send_replace(false),
                    _ => false,
                };
                match event {
                    Event::Connected => tracing::info!("NATS is connected"),
                    Event::Disconnected => tracing::warn!("NATS is away"),
                    other => tracing::warn!(event = %other, "NATS"),
                }
                std::future::ready(())
            });
        if let Some(path) = &config.creds {
            options = options.credentials_file(path).await.map_err(|e| {
                BusError::Refused(format!("cannot use NATS credentials file {}: {e}", path.display()))
            })?;
        }
        if let Some((name, password)) = config.user {
            options = options.user_and_password(name, password.expose().to_owned());
        }
        if let Some(token) = config.token {
            options = options.token(token.expose().to_owned());
        }
        if let Some(ca) = config.ca {
            options = options.add_root_certificates(ca).require_tls(true);
        }
        match (config.cert, config.key) {
            (Some(cert), Some(key)) => options = options.add_client_certificate(cert, key),
            (None, None) => {}
            _ => {
                let text = "a NATS client certificate needs its key, and a key its certificate";
                return Err(BusError::Refused(text.into()));
            }
        }
        let client = options
            .connect(config.servers)
            .await
            .map_err(|e| BusError::Refused(format!("cannot begin to connect to NATS: {e}")))?;
        let jetstream =
            ContextBuilder::new().timeout(CALL_LIMIT).ack_timeout(CALL_LIMIT).build(client.clone());
        Ok(Self { client, jetstream, link, replicas: config.replicas.max(1), dropped: Arc::default() })
    }

    fn connected(&self) -> Result<(), BusError> {
        if self.is_up() { Ok(()) } else { Err(BusError::Unavailable("NATS is not connected".into())) }
    }

    /// The stream as it is, made when it is missing. One with other limits is an operator's choice and stays.
    async fn history(&self) -> Result<Info, BusError> {
        let wanted = StreamConfig {
            name: CHAT_STREAM.into(),
            description: Some("Freshet: the last chat messages of each room".into()),
            subjects: vec![keys::ALL_CHAT.into()],
            max_messages_per_subject: i64::try_from(KEPT_PER_SUBJECT).unwrap_or(i64::MAX),
            duplicate_window: DEDUP_WINDOW,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            retention: RetentionPolicy::Limits,
            num_replicas: self.replicas,
            max_messages: -1,
            max_bytes: -1,
            max_consumers: -1,
            ..StreamConfig::default()
        };
        let per_subject = wanted.max_messages_per_subject;
        let stream = tokio::time::timeout(CALL_LIMIT, self.jetstream.get_or_create_stream(wanted))
            .await
            .map_err(|_| BusError::Unavailable("JetStream did not answer in time".into()))?
            .map_err(|e| BusError::Unavailable(format!("JetStream stream {CHAT_STREAM}: {e}")))?;
        let info = stream.cached_info().clone();
        let found = &info.config;
        if found.max_messages_per_subject != per_subject || found.duplicate_window != DEDUP_WINDOW {
            tracing::warn!(
                stream = CHAT_STREAM,
                max_msgs_per_subject = found.max_messages_per_subject,
                duplicate_window_s = found.duplicate_window.as_secs(),
                "JetStream stream exists with limits other than ours; it is left as it is"
            );
        }
        Ok(info)
    }

    async fn append_once(&self, subject: &str, id: &str, payload: Bytes) -> Result<Receipt, PublishFailure> {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", id);
        let publish =
            async { self.jetstream.publish_with_headers(subject.to_owned(), headers, payload).await?.await };
        match tokio::time::timeout(CALL_LIMIT, publish).await {
            Err(_) => Err(PublishFailure::Bus(BusError::Unavailable("no acknowledgement in time".into()))),
            Ok(Ok(ack)) => Ok(Receipt { seq: ack.sequence, duplicate: ack.duplicate }),
            Ok(Err(e)) => Err(match e.kind() {
                PublishErrorKind::StreamNotFound => PublishFailure::NoStream,
                PublishErrorKind::MaxPayloadExceeded => PublishFailure::Bus(BusError::Refused(e.to_string())),
                _ => PublishFailure::Bus(BusError::Unavailable(e.to_string())),
            }),
        }
    }
}

enum PublishFailure {
    NoStream,
    Bus(BusError),
}

#[async_trait]
impl Bus for NatsBus {
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError> {
        self.connected()?;
        let sent = self.client.publish(subject.to_owned(), payload).await;
        sent.map_err(|e| BusError::Unavailable(format!("NATS: {e}")))
    }

    fn subscribe(&self, subject: &str) -> mpsc::Receiver<Message> {
        let (tx, rx) = mpsc::channel(SUBSCRIPTION_QUEUE);
        let client = self.client.clone();
        let dropped = self.dropped.clone();
        let subject = subject.to_owned();
        let mut opening = Box::pin(async move { client.subscribe(subject).await });
        // Asking is one message to the client's own task: done at once, so that what this handle publishes next
        // comes after it; only a client that is overrun makes it wait.
        let opened = opening.as_mut().now_or_never();
        tokio::spawn(async move {
            let opened = match opened {
                Some(opened) => opened,
                None => opening.await,
            };
            match opened {
                Ok(subscriber) => forward(subscriber, tx, dropped).await,
                Err(e) => tracing::error!(error = %e, "NATS refuses a subscription"),
            }
        });
        rx
    }

    async fn append(&self, subject: &str, id: &str, payload: Bytes) -> Result<Receipt, BusError> {
        if !is_kept(subject) {
            return Err(BusError::Refused(format!("no history keeps {subject:?}: publish it instead")));
        }
        self.connected()?;
        match self.append_once(subject, id, payload.clone()).await {
            Err(PublishFailure::NoStream) => {}
            Err(PublishFailure::Bus(e)) => return Err(e),
            Ok(receipt) => return Ok(receipt),
        }
        self.history().await?;
        match self.append_once(subject, id, payload).await {
            Ok(receipt) => Ok(receipt),
            Err(PublishFailure::Bus(e)) => Err(e),
            Err(PublishFailure::NoStream) => {
                Err(BusError::Unavailable(format!("JetStream has no stream for {subject:?}")))
            }
        }
    }

    fn tail(&self, subject: &str, from: ReadFrom) -> mpsc::Receiver<Tail> {
        let (tx, rx) = mpsc::channel(SUBSCRIPTION_QUEUE);
        tokio::spawn(tail::run(self.clone(), subject.to_owned(), from, tx));
        rx
    }

    fn is_up(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

async fn forward(mut subscriber: Subscriber, tx: mpsc::Sender<Message>, dropped: Arc<AtomicU64>) {
    loop {
        let message = tokio::select! {
            message = subscriber.next() => message,
            () = tx.closed() => return,
        };
        let Some(message) = message else { return };
        let message = Message { subject: message.subject.to_string(), payload: message.payload };
        match tx.try_send(message) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                dropped.fetch_add(1, Ordering::Relaxed);
            }
            Err(mpsc::error::TrySendError::Closed(_)) => return,
        }
    }
}
