//! Messages on the bus.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use freshet_cluster::bus::nats::{NatsBus, NatsConfig};
use freshet_cluster::bus::{Bus, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::AgentsError;
use super::chunks::{Assembler, split};

/// A NATS that is not there by then is not used.
const CONNECT: Duration = Duration::from_secs(5);
/// A NATS that takes nothing for so long is away: who says something does not wait for it.
const TAKE: Duration = Duration::from_secs(2);
/// A message has left its process by then.
const SETTLE: Duration = Duration::from_millis(50);
/// Senders whose messages are put together on one subscription.
const SENDERS: usize = 1_000;

/// Sends and hears.
#[derive(Debug)]
pub(super) struct Post {
    bus: NatsBus,
    sent: AtomicU64,
}

impl Post {
    /// Connects; a NATS that cannot be reached is an error.
    pub async fn connect(config: NatsConfig) -> Result<Self, AgentsError> {
        let at = freshet_cluster::secret::addresses(&config.servers);
        let bus = NatsBus::connect(config).await.map_err(|error| AgentsError::Nats(error.to_string()))?;
        let began = Instant::now();
        while !bus.is_up() {
            if began.elapsed() > CONNECT {
                return Err(AgentsError::Nats(format!("{at} does not answer")));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(Self { bus, sent: AtomicU64::new(0) })
    }

    /// Sends a message to whoever hears the subject.
    pub async fn send<T: Serialize>(&self, subject: &str, message: &T) -> Result<(), AgentsError> {
        let bad = |error: String| AgentsError::Nats(error);
        let bytes = serde_json::to_vec(message).map_err(|error| bad(error.to_string()))?;
        for chunk in split(self.sent.fetch_add(1, Ordering::Relaxed), &bytes) {
            let taken = tokio::time::timeout(TAKE, self.bus.publish(subject, chunk.into())).await;
            let taken = taken.map_err(|_| bad(format!("it took nothing for {TAKE:?}")))?;
            taken.map_err(|error| bad(error.to_string()))?;
        }
        Ok(())
    }

    /// The same, for what is said again soon.
    pub async fn try_send<T: Serialize>(&self, subject: &str, message: &T) {
        if let Err(error) = self.send(subject, message).await {
            tracing::info!(%error, subject, "a message was not sent");
        }
    }

    /// What was said last is on its way by then, though the bus is left right after it.
    pub async fn settle(&self) {
        tokio::time::sleep(SETTLE).await;
    }

    /// Hears a subject from now on.
    pub fn hear(&self, subject: &str) -> Hearing {
        Hearing { messages: self.bus.subscribe(subject), assemblers: HashMap::new() }
    }
}

/// What is heard.
pub(super) struct Hearing {
    messages: mpsc::Receiver<Message>,
    /// Of each subject, which one alone speaks on.
    assemblers: HashMap<String, Assembler>,
}

impl Hearing {
    /// The next message that can be read, and its subject. `None` when the bus is closed.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Option<(String, T)> {
        loop {
            let Message { subject, payload } = self.messages.recv().await?;
            if self.assemblers.len() >= SENDERS && !self.assemblers.contains_key(&subject) {
                continue;
            }
            let read = match self.assemblers.entry(subject.clone()).or_default().push(&payload) {
                Ok(None) => continue,
                Ok(Some(bytes)) => serde_json::from_slice(&bytes).map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match read {
                Ok(message) => return Some((subject, message)),
                Err(error) => tracing::warn!(%error, subject, "a message cannot be read"),
            }
        }
    }
}
