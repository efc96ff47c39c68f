//! The shell of a follower on etcd: connect, make contact, list or watch, and again after each failure.

use std::sync::Weak;
use std::time::Duration;

use etcd_client::{EventType, GetOptions, WatchOptions, WatchStream};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::{ANSWER_MAX, CALL_LIMIT, Inner, entry, revision};
use super::error::{Failure, classify};
use crate::backoff::Backoff;
use crate::store::follower::{Follower, Next};
use crate::store::{Follow, Revision};

/// A watch that is quiet for so long is asked for its progress, and is dead when it does not answer for as long.
/// Pings of the connection cannot be so frequent: etcd takes them for an attack.
const PROBE: Duration = Duration::from_secs(2);

/// The consumer has dropped its receiver.
struct Gone;

enum Stop {
    Gone,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl From<Gone> for Stop {
    fn from(_: Gone) -> Self {
        Self::Gone
    }
}

struct Shell {
    prefix: String,
    machine: Follower,
    tx: mpsc::Sender<Follow>,
}

/// Follows a prefix until the receiver or every handle of the store is dropped.
pub(super) async fn run(inner: Weak<Inner>, prefix: String, tx: mpsc::Sender<Follow>) {
    let mut shell = Shell { prefix, machine: Follower::default(), tx };
    let mut backoff = Backoff::new();
    let mut rng = SmallRng::from_os_rng();
    loop {
        let Some(strong) = inner.upgrade() else { return };
        let closed = shell.tx.clone();
        let failure = tokio::select! {
            stop = shell.connection(&strong, &mut backoff) => match stop {
                Stop::Gone => return,
                Stop::Failed(failure) => failure,
            },
            () = closed.closed() => return,
        };
        strong.handle_unheard(failure.text());
        drop(strong);
        tracing::debug!(prefix = shell.prefix, error = failure.text(), "etcd watch is interrupted");
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
    /// One connection, until it ends.
    async fn connection(&mut self, inner: &Inner, backoff: &mut Backoff) -> Stop {
        match self.converse(inner, backoff).await {
            Ok(never) => match never {},
            Err(stop) => stop,
        }
    }

    async fn converse(
        &mut self,
        inner: &Inner,
        backoff: &mut Backoff,
    ) -> Result<std::convert::Infallible, Stop> {
        loop {
            let (mark, at) = inner.contact().await?;
            self.machine.handle_contact(&mark, at);
            let after = match self.machine.next() {
                Next::List => {
                    let listing = inner.range(&self.prefix, GetOptions::new().with_prefix()).await?;
                    let at = listing.revision;
                    self.machine.handle_listing(listing);
                    at
                }
                Next::Watch { after } => after,
            };
            self.flush().await?;
            let stream = self.open(inner, after).await?;
            backoff.reset();
            self.watch(stream).await?;
        }
    }

    async fn open(&self, inner: &Inner, after: Revision) -> Result<WatchStream, Failure> {
        let start = i64::try_from(after.0.saturating_add(1)).unwrap_or(i64::MAX);
        let options = WatchOptions::new().with_prefix().with_start_revision(start).with_progress_notify();
        let client = inner.client().await?;
        let mut watcher = client.watch_client().max_decoding_message_size(ANSWER_MAX);
        match timeout(CALL_LIMIT, watcher.watch(self.prefix.as_str(), Some(options))).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(e)) => Err(classify(&e)),
            Err(_) => Err(Failure::Away("opening a watch took too long".into())),
        }
    }

    /// Reads a watch until its history is compacted (`Ok`) or it breaks.
    async fn watch(&mut self, stream: WatchStream) -> Result<(), Stop> {
        let (mut requests, mut responses) = stream.split();
        let mut asked = false;
        loop {
            let response = match timeout(PROBE, responses.message()).await {
                Ok(Ok(Some(response))) => response,
                Ok(Ok(None)) => return Err(Failure::Away("etcd closed the watch".into()).into()),
                Ok(Err(e)) => return Err(classify(&e).into()),
                Err(_) if asked => return Err(Failure::Away("the watch does not answer".into()).into()),
                Err(_) => {
                    asked = true;
                    requests.request_progress().await.map_err(|e| classify(&e))?;
                    continue;
                }
            };
            asked = false;
            if response.canceled() {
                if response.compact_revision() > 0 {
                    self.machine.handle_compacted();
                    return Ok(());
                }
                return Err(
                    Failure::Away(format!("etcd ended the watch: {}", response.cancel_reason())).into()
                );
            }
            // An answer to our question (watch id -1) may overtake changes in some versions of etcd; its own reports
            // do not.
            let report = response.events().is_empty() && !response.created() && response.watch_id() >= 0;
            if report && let Some(header) = response.header() {
                self.machine.handle_progress(revision(Some(header.revision())));
            }
            for event in response.events() {
                let Some(kv) = event.kv() else { continue };
                let changed = entry(kv);
                match event.event_type() {
                    EventType::Put => self.machine.handle_put(changed),
                    EventType::Delete => self.machine.handle_delete(changed.key, changed.revision),
                }
            }
            self.flush().await?;
        }
    }

    async fn flush(&mut self) -> Result<(), Gone> {
        while let Some(next) = self.machine.poll_output() {
            self.tx.send(next).await.map_err(|_| Gone)?;
        }
        Ok(())
    }
}
