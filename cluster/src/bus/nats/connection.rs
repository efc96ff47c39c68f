//! One connection to NATS, and the calls to JetStream on it, each under a time limit.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::PublishErrorKind;
use async_nats::jetstream::{Context, ContextBuilder};
use async_nats::{Client, ConnectOptions, Event, HeaderMap, ServerAddr};
use bytes::Bytes;
use tokio::sync::watch;

use crate::bus::{BusError, Receipt, SUBSCRIPTION_QUEUE};
use crate::secret::{Secret, addresses};

/// Time limit of one call to JetStream.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(3);
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
    /// Goes to these servers alone, whichever others they tell of.
    pub named_only: bool,
    /// Copies that JetStream keeps of the history when this process creates it; 0 and 1 mean one.
    pub replicas: usize,
}

/// A handle on NATS; clones share one connection.
#[derive(Clone)]
pub struct NatsBus {
    pub(super) client: Client,
    pub(super) jetstream: Context,
    /// Whether the connection is there.
    pub(super) link: watch::Receiver<bool>,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) replicas: usize,
}

impl std::fmt::Debug for NatsBus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NatsBus").field("state", &self.client.connection_state()).finish_non_exhaustive()
    }
}

/// Checks a server's URL as the client reads it. The message leaves the text out: a password may stand in it.
pub fn check_server(text: &str) -> Result<(), String> {
    let scheme = |url: &str| url.starts_with("nats://") || url.starts_with("tls://");
    let known = |address: &ServerAddr| scheme(address.as_url_str()) && !address.host().is_empty();
    match text.parse::<ServerAddr>() {
        Ok(address) if known(&address) => Ok(()),
        _ => Err("not a NATS server: write nats://HOST:PORT or tls://HOST:PORT".to_owned()),
    }
}

/// Checks the text of a credentials file as the client reads it.
pub fn check_creds(text: &str) -> Result<(), String> {
    let read = ConnectOptions::with_credentials(text).map(drop);
    read.map_err(|e| format!("not a NATS credentials file with a JWT and a seed: {e}"))
}

impl NatsBus {
    /// Checks the configuration and begins to connect; a NATS that is away at start is no error.
    pub async fn connect(config: NatsConfig) -> Result<Self, BusError> {
        if config.servers.is_empty() {
            let text = "no NATS server is configured: name at least one, as in nats://127.0.0.1:4222";
            return Err(BusError::Refused(text.into()));
        }
        let away = AtomicBool::new(false);
        let named = addresses(&config.servers);
        let (up, link) = watch::channel(false);
        let mut options = ConnectOptions::new()
            .name("freshet")
            .retry_on_initial_connect()
            .connection_timeout(CALL_LIMIT)
            .request_timeout(Some(CALL_LIMIT))
            .ping_interval(PING)
            .subscription_capacity(SUBSCRIPTION_QUEUE)
            .reconnect_delay_callback(|attempts| {
                // The first try is made at once: chat that is posted right after a start would wait for it.
                if attempts <= 1 {
                    return Duration::ZERO;
                }
                let step = 100u64.saturating_mul(1 << attempts.min(6));
                let step = Duration::from_millis(step).min(RECONNECT_MAX);
                step.mul_f64(rand::random_range(0.5..=1.0))
            })
            .event_callback(move |event| {
                // An outage is told once, with the first reason, not at every try.
                let told = match &event {
                    Event::Connected => away.swap(false, Ordering::Relaxed),
                    Event::Disconnected | Event::ClientError(_) => away.swap(true, Ordering::Relaxed),
                    _ => false,
                };
                match &event {
                    Event::Connected => up.send_replace(true),
                    Event::Disconnected | Event::Closed => up.send_replace(false),
                    _ => false,
                };
                match event {
                    Event::Connected => tracing::info!(servers = named, "NATS is connected"),
                    Event::Disconnected | Event::ClientError(_) if told => {
                        tracing::debug!(servers = named, event = %event, "NATS is still away");
                    }
                    Event::Disconnected | Event::ClientError(_) => {
                        tracing::warn!(servers = named, event = %event, "NATS is away, trying on");
                    }
                    Event::Closed => tracing::debug!("the connection to NATS is closed"),
                    other => tracing::warn!(servers = named, event = %other, "NATS"),
                }
                std::future::ready(())
            });
        if config.named_only {
            options = options.ignore_discovered_servers();
        }
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

    pub(super) fn connected(&self) -> Result<(), BusError> {
        if self.client.connection_state() == State::Connected {
            Ok(())
        } else {
            Err(BusError::Unavailable("NATS is not connected".into()))
        }
    }

    pub(super) async fn append_once(
        &self,
        subject: &str,
        id: &str,
        payload: Bytes,
    ) -> Result<Receipt, PublishFailure> {
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

pub(super) enum PublishFailure {
    NoStream,
    Bus(BusError),
}
