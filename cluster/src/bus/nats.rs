//! The bus on NATS with JetStream (nats-server 2.9 and later).
//!
//! Plain messages use core NATS. Chat is kept by one stream; a reader is an ephemeral push consumer that this module
//! watches itself: a gap, a missed heartbeat or a lost connection opens a new one after the last message delivered.

mod connection;
mod history;
mod tail;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_nats::Subscriber;
use async_nats::connection::State;
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;

use super::{Bus, BusError, Message, ReadFrom, Receipt, SUBSCRIPTION_QUEUE, Tail, is_kept};
use connection::PublishFailure;
pub use connection::{NatsBus, NatsConfig, check_creds, check_server};
pub use history::CHAT_STREAM;

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

    async fn prepare(&self) -> Result<(), BusError> {
        self.connected()?;
        self.history().await.map(drop)
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
