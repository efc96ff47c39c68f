//! The bus: what NATS gives, as one trait with two implementations and one test suite.
//!
//! Plain messages reach whoever listens now. Kept messages are acknowledged only when they are stored, carry a
//! sequence, and can be read again.

pub mod memory;
#[cfg(feature = "nats")]
pub mod nats;
mod reader;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// A plain message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was sent.
    pub subject: String,
    /// What was sent.
    pub payload: Bytes,
}

/// A message that the history keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its place in the history; grows, with holes.
    pub seq: u64,
    /// Where it was sent.
    pub subject: String,
    /// What was sent.
    pub payload: Bytes,
}

/// The receipt of a kept message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its place in the history.
    pub seq: u64,
    /// The same message id was stored before, within the window; nothing was stored now.
    pub duplicate: bool,
}

/// What a reader of a kept subject gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tail {
    /// Which history is read, at the start and whenever it is another one than before: sequences below `first` are
    /// of one that is lost. Zero when that cannot be told.
    History {
        /// The first sequence that this history could give.
        first: u64,
    },
    /// The next message, in order, once.
    Kept(Kept),
    /// All that was there when the reader came has been delivered.
    CaughtUp,
    /// The place that the reader asked to resume from is not of this history: it was wiped. Reading starts over.
    Reset,
    /// The bus is away.
    Away,
    /// The bus is back; reading goes on after the last delivered message.
    Back,
}

/// Where to begin to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the first of the kept messages of the subject.
    Start,
    /// After this sequence.
    After(u64),
}

/// Why the bus did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BusError {
    /// The bus cannot be reached or did not answer in time; whether the message was stored is not known: send it
    /// again under the same id.
    #[error("bus does not answer: {0}")]
    Unavailable(String),
    /// The bus refused for good.
    #[error("bus refuses: {0}")]
    Refused(String),
}

/// How long a message id is remembered: 12 minutes, longer than anybody may retry.
pub const DEDUP_WINDOW: Duration = Duration::from_secs(720);
/// Messages kept per subject.
pub const KEPT_PER_SUBJECT: u64 = 100;
/// A stored message is forgotten after a week. In memory it is not: that history ends with its process.
pub const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 3600);
/// What the history of all subjects may take on disk; then the oldest messages go.
pub const KEPT_BYTES: u64 = 256 << 20;
/// Subjects that a history in memory keeps; then the one goes that was written to least recently.
pub const KEPT_SUBJECTS: usize = 10_000;
/// Capacity of a subscription's channel. Overflow drops the newest plain message and counts it: heartbeats and
/// presence repeat. Kept messages wait instead.
pub const SUBSCRIPTION_QUEUE: usize = 4096;

/// The sequence that a history begins at: the microseconds between 1970 and its birth. A history that takes the place
/// of a lost one is younger, so it begins above all that the lost one has given (unless that took a million messages a
/// second for all its life), and a sequence says by itself which history it is of. Below 2^53 until the year 2255.
pub(crate) fn first_sequence(born: std::time::SystemTime) -> u64 {
    let age = born.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(age.as_micros()).unwrap_or(u64::MAX)
}

/// Whether the history keeps what is appended to this subject.
pub fn is_kept(subject: &str) -> bool {
    matches(crate::keys::ALL_CHAT, subject)
}

/// Whether a subject falls under a pattern in which `*` stands for exactly one token.
pub fn matches(pattern: &str, subject: &str) -> bool {
    let mut wanted = pattern.split('.');
    let mut found = subject.split('.');
    loop {
        match (wanted.next(), found.next()) {
            (None, None) => return true,
            (Some("*"), Some(token)) if !token.is_empty() => {}
            (Some(want), Some(token)) if want == token => {}
            _ => return false,
        }
    }
}

/// Publish, subscribe, history.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Sends to whoever listens now. An error only when the bus is known to be away.
    async fn publish(&self, subject: &str, payload: Bytes) -> Result<(), BusError>;
    /// Listens to a subject, `*` standing for one token. Survives the bus being away.
    fn subscribe(&self, subject: &str) -> mpsc::Receiver<Message>;
    /// Stores a message under an id that makes a retry harmless, and returns when it is stored.
    async fn append(&self, subject: &str, id: &str, payload: Bytes) -> Result<Receipt, BusError>;
    /// Finds the history, and makes it when it is missing. [`Bus::append`] and [`Bus::tail`] do the same when they
    /// must; this is for those who want to know beforehand.
    async fn prepare(&self) -> Result<(), BusError>;
    /// Reads a kept subject (no wildcard): what is there, then what comes, until the receiver is dropped.
    fn tail(&self, subject: &str, from: ReadFrom) -> mpsc::Receiver<Tail>;
    /// Whether the bus answers now.
    fn is_up(&self) -> bool;
    /// Plain messages that full subscription channels have dropped so far.
    fn dropped(&self) -> u64 {
        0
    }
}

/// A bus that tasks share.
pub type SharedBus = Arc<dyn Bus>;
