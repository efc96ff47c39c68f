//! The stream that keeps the chat of all rooms: found, or made so that its sequences begin at its birth.

use std::time::Duration;

use async_nats::jetstream::context::GetStreamErrorKind;
use async_nats::jetstream::stream::{
    Config, DiscardPolicy, Info, RetentionPolicy, StorageType, Stream as JetStream,
};
use tokio::time::{Instant, timeout};

use super::connection::{CALL_LIMIT, NatsBus};
use crate::bus::{BusError, DEDUP_WINDOW, KEPT_BYTES, KEPT_FOR, KEPT_PER_SUBJECT, first_sequence};
use crate::keys;

/// The JetStream stream that keeps the chat of all rooms. Other kept subjects get streams of their own, since their
/// limits differ.
pub const CHAT_STREAM: &str = "FRESHET_CHAT";
/// What a stream listens to that is being made: nobody writes there. Chat reaches it when its sequences are set, so
/// that setting them (which removes what came before) can lose nothing.
const UNBORN: &str = "freshet.v1.unborn.chat";
/// Who began the stream and has not finished it after this time will not.
const PATIENCE: Duration = Duration::from_secs(1);
/// How often to look whether it is finished.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// The history as it was found.
pub(super) struct History {
    /// Tells this life of it from others.
    pub life: String,
    /// The first sequence that it could give; zero for a stream that was not made by us.
    pub first: u64,
    /// The newest over all rooms.
    pub last: u64,
}

impl NatsBus {
    fn wanted(&self, subject: &str) -> Config {
        Config {
            name: CHAT_STREAM.into(),
            description: Some("Freshet: the last chat messages of each room".into()),
            subjects: vec![subject.into()],
            max_messages_per_subject: i64::try_from(KEPT_PER_SUBJECT).unwrap_or(i64::MAX),
            duplicate_window: DEDUP_WINDOW,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            retention: RetentionPolicy::Limits,
            num_replicas: self.replicas,
            max_messages: -1,
            // JetStream sets this aside, and refuses the stream when its own limit leaves less.
            max_bytes: i64::try_from(KEPT_BYTES).unwrap_or(i64::MAX),
            max_age: KEPT_FOR,
            max_consumers: -1,
            ..Config::default()
        }
    }

    /// The history as it is, made when it is missing. One with other limits is an operator's choice and stays.
    pub(super) async fn history(&self) -> Result<History, BusError> {
        let found = timeout(CALL_LIMIT, self.find()).await;
        let info = found
            .map_err(|_| BusError::Unavailable("JetStream did not answer in time".into()))?
            .map_err(|e| BusError::Unavailable(format!("JetStream stream {CHAT_STREAM}: {e}")))?;
        let config = &info.config;
        let ours = self.wanted(keys::ALL_CHAT);
        let limits =
            |c: &Config| (c.max_messages_per_subject, c.duplicate_window, c.max_age, c.max_bytes, c.discard);
        if limits(config) != limits(&ours) {
            tracing::warn!(
                stream = CHAT_STREAM,
                max_msgs_per_subject = config.max_messages_per_subject,
                duplicate_window_s = config.duplicate_window.as_secs(),
                max_age_s = config.max_age.as_secs(),
                max_bytes = config.max_bytes,
                "JetStream stream exists with limits other than ours; it is left as it is"
            );
        }
        let born = birth(&info);
        // One that counts from one was made by somebody else (or is of an older version): its sequences tell nothing.
        let first = if info.state.first_sequence >= born { born } else { 0 };
        Ok(History { life: format!("{:?}", info.created), first, last: info.state.last_sequence })
    }

    async fn find(&self) -> Result<Info, async_nats::Error> {
        let mut unfinished_since = None;
        loop {
            let stream = match self.jetstream.get_stream(CHAT_STREAM).await {
                Ok(stream) => stream,
                Err(error) if is_missing(&error.kind()) => match self.begin().await? {
                    Some(stream) => return self.finish(&stream).await,
                    None => continue,
                },
                Err(error) => return Err(error.into()),
            };
            if stream.cached_info().config.subjects.iter().any(|subject| subject != UNBORN) {
                return Ok(stream.cached_info().clone());
            }
            // Whoever began it finishes it, unless they are gone.
            if unfinished_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                return self.finish(&stream).await;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Begins the stream; none if another was faster.
    async fn begin(&self) -> Result<Option<JetStream>, async_nats::Error> {
        // The server takes the same wish twice, but not two that differ: of all who ask one is the first.
        let description = Some(format!("Freshet: being made, {:016x}", rand::random::<u64>()));
        match self.jetstream.create_stream(Config { description, ..self.wanted(UNBORN) }).await {
            Ok(stream) => Ok(Some(stream)),
            Err(error) => match self.jetstream.get_stream(CHAT_STREAM).await {
                Ok(_) => Ok(None),
                Err(_) => Err(error.into()),
            },
        }
    }

    /// Sets the sequences, and lets chat in. That is for one alone: a server that removes what is older than a sequence may
    /// remove the message that takes this very sequence meanwhile, though it has acknowledged it.
    async fn finish(&self, stream: &JetStream) -> Result<Info, async_nats::Error> {
        stream.purge().sequence(birth(stream.cached_info())).await?;
        self.jetstream.update_stream(&self.wanted(keys::ALL_CHAT)).await?;
        Ok(self.jetstream.get_stream(CHAT_STREAM).await?.cached_info().clone())
    }
}

fn birth(info: &Info) -> u64 {
    first_sequence(info.created.into())
}

fn is_missing(kind: &GetStreamErrorKind) -> bool {
    matches!(kind, GetStreamErrorKind::JetStream(error) if error.code() == 404)
}
