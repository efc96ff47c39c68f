//! The shell of a reader on JetStream: open a consumer, read it, and open another after each failure.

use std::time::Duration;

use async_nats::StatusCode;
use async_nats::jetstream::consumer::push::Config;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, ReplayPolicy};
use async_nats::jetstream::{Message as StoredMessage, consumer::PushConsumer};
use futures::StreamExt;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::{CALL_LIMIT, NatsBus};
use super::history::CHAT_STREAM;
use crate::backoff::Backoff;
use crate::bus::reader::Reader;
use crate::bus::{Kept, ReadFrom, Tail};

/// JetStream says this often that an idle consumer is alive.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// A consumer that is silent for so long is dead: two heartbeats and a little.
const SILENCE: Duration = Duration::from_millis(4_500);
/// JetStream forgets a consumer that nobody listens to after this time.
const FORGET: Duration = Duration::from_secs(30);

enum Stop {
    /// The consumer of the channel has gone.
    Gone,
    /// Open another; says why.
    Again(String),
}

struct Shell {
    bus: NatsBus,
    subject: String,
    machine: Reader,
    tx: mpsc::Sender<Tail>,
}

/// Reads a kept subject until the receiver is dropped.
pub(super) async fn run(bus: NatsBus, subject: String, from: ReadFrom, tx: mpsc::Sender<Tail>) {
    let closed = tx.clone();
    let mut shell = Shell { bus, subject, machine: Reader::new(from), tx };
    let mut backoff = Backoff::new();
    let mut rng = SmallRng::from_os_rng();
    loop {
        let stop = tokio::select! {
            stop = shell.connection(&mut backoff) => stop,
            () = closed.closed() => return,
        };
        match stop {
            Stop::Gone => return,
            Stop::Again(reason) => tracing::debug!(subject = shell.subject, reason, "reading is interrupted"),
        }
        shell.machine.handle_failure();
        if shell.flush().await.is_err() {
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait(&mut rng)) => {}
            () = closed.closed() => return,
        }
    }
}

impl Shell {
    async fn connection(&mut self, backoff: &mut Backoff) -> Stop {
        match self.converse(backoff).await {
            Ok(never) => match never {},
            Err(stop) => stop,
        }
    }

    async fn converse(&mut self, backoff: &mut Backoff) -> Result<std::convert::Infallible, Stop> {
        let mut link = self.bus.link.clone();
        while !*link.borrow_and_update() {
            // The event of a connection comes a little after the connection itself: no reason to say that it is away.
            if self.bus.connected().is_err() {
                self.machine.handle_failure();
                self.flush().await?;
            }
            link.changed().await.map_err(|_| Stop::Again("the client has stopped".into()))?;
        }
        let history = self.bus.history().await.map_err(|e| Stop::Again(e.to_string()))?;
        let from = self.machine.handle_open(&history.life, history.first, history.last);
        self.flush().await?;
        let deliver = self.bus.client.new_inbox();
        let mut inbox = self.bus.client.subscribe(deliver.clone()).await.map_err(again)?;
        let config = Config {
            deliver_subject: deliver,
            filter_subject: self.subject.clone(),
            deliver_policy: match from {
                ReadFrom::Start => DeliverPolicy::All,
                ReadFrom::After(seq) => {
                    DeliverPolicy::ByStartSequence { start_sequence: seq.saturating_add(1) }
                }
            },
            ack_policy: AckPolicy::None,
            replay_policy: ReplayPolicy::Instant,
            max_deliver: 1,
            flow_control: true,
            idle_heartbeat: HEARTBEAT,
            inactive_threshold: FORGET,
            memory_storage: true,
            num_replicas: 1,
            ..Config::default()
        };
        let create = self.bus.jetstream.create_consumer_on_stream(config, CHAT_STREAM);
        let consumer: PushConsumer = timeout(CALL_LIMIT, create)
            .await
            .map_err(|_| Stop::Again("JetStream did not make a consumer in time".into()))?
            .map_err(again)?;
        // What was there when the consumer was made: delivered already, or still to come.
        let created = consumer.cached_info();
        if created.num_pending == 0 && created.delivered.consumer_sequence == 0 {
            self.machine.handle_drained();
            self.flush().await?;
        }
        backoff.reset();
        let mut expected = 1;
        loop {
            let next = tokio::select! {
                next = timeout(SILENCE, inbox.next()) => next,
                changed = link.wait_for(|up| !up) => {
                    drop(changed);
                    return Err(Stop::Again("the connection is lost".into()));
                }
            };
            let message = next
                .map_err(|_| Stop::Again("no heartbeat from the consumer".into()))?
                .ok_or_else(|| Stop::Again("the subscription has ended".into()))?;
            match message.status {
                None => {}
                Some(StatusCode::IDLE_HEARTBEAT) => {
                    // Flow control wants an answer; a heartbeat may carry the name of a stalled one.
                    let stalled = message.headers.as_ref().and_then(|h| h.get("Nats-Consumer-Stalled"));
                    let reply = message.reply.clone().map(|r| r.to_string());
                    if let Some(reply) = reply.or_else(|| stalled.map(ToString::to_string)) {
                        self.bus.client.publish(reply, bytes::Bytes::new()).await.map_err(again)?;
                    }
                    let last = message.headers.as_ref().and_then(|h| h.get("Nats-Last-Consumer"));
                    let last: Option<u64> = last.and_then(|v| v.as_str().parse().ok());
                    if last.is_some_and(|last| last >= expected) {
                        return Err(Stop::Again("a message was lost on the way".into()));
                    }
                    continue;
                }
                Some(other) => return Err(Stop::Again(format!("the consumer has ended: {other}"))),
            }
            let stored = StoredMessage { message, context: self.bus.jetstream.clone() };
            let (seq, at, pending) = {
                let info =
                    stored.info().map_err(|e| Stop::Again(format!("a delivery without sequence: {e}")))?;
                (info.stream_sequence, info.consumer_sequence, info.pending)
            };
            if at != expected {
                return Err(Stop::Again("a message was lost on the way".into()));
            }
            expected = expected.saturating_add(1);
            let subject = stored.message.subject.to_string();
            self.machine.handle_kept(Kept { seq, subject, payload: stored.message.payload });
            if pending == 0 {
                self.machine.handle_drained();
            }
            self.flush().await?;
        }
    }

    async fn flush(&mut self) -> Result<(), Stop> {
        while let Some(next) = self.machine.poll_output() {
            self.tx.send(next).await.map_err(|_| Stop::Gone)?;
        }
        Ok(())
    }
}

fn again(error: impl std::fmt::Display) -> Stop {
    Stop::Again(error.to_string())
}
