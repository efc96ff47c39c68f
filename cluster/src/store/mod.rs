//! The store: a small set of what etcd gives, as one trait with two implementations and one test suite.
//!
//! A revision serves compare-and-swap and the resuming of a watch. It never orders plans.

#[cfg(feature = "etcd")]
pub mod etcd;
mod follower;
pub mod memory;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::mpsc;

/// A point in the store's history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Revision(pub u64);

/// A lease: keys under it vanish when nobody keeps it alive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LeaseId(pub i64);

/// One key as it stood at a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The key.
    pub key: String,
    /// Its value.
    pub value: Bytes,
    /// When the value was written.
    pub revision: Revision,
    /// The lease it lives under.
    pub lease: Option<LeaseId>,
}

/// All keys under a prefix at one revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    /// In the order of their keys.
    pub entries: Vec<Entry>,
    /// The store's revision at the time.
    pub revision: Revision,
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Write in any case.
    Any,
    /// The key does not exist.
    Absent,
    /// The key was last written at this revision.
    At(Revision),
}

/// Why the store did not do it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The expectation does not hold; read again and decide again.
    #[error("key {key:?} was changed by somebody else")]
    Conflict {
        /// The key.
        key: String,
    },
    /// The lease is gone; register again.
    #[error("lease {0:?} has expired")]
    LeaseGone(LeaseId),
    /// The store cannot be reached or did not answer in time; whether a write happened is not known.
    #[error("store does not answer: {0}")]
    Unavailable(String),
    /// The store refused for good.
    #[error("store refuses: {0}")]
    Refused(String),
}

/// What happens under a prefix, for as long as the receiver lives.
///
/// The follower reconnects, resumes and lists again by itself. A consumer that keeps a map needs no more than:
/// replace on `Snapshot`, insert on `Put`, remove on `Delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// Everything that there is, at first and whenever the past was lost (compaction, or a wiped store).
    Snapshot {
        /// All keys under the prefix.
        listing: Listing,
        /// The store's revision is lower than one seen before: its past is lost. Vanished keys mean nothing;
        /// write again what you own.
        wiped: bool,
    },
    /// A key was written.
    Put(Entry),
    /// A key was removed or its lease ended.
    Delete {
        /// The key.
        key: String,
        /// When.
        revision: Revision,
    },
    /// The store is away; what is known stays true until told otherwise.
    Away,
    /// The store is back and the watch has resumed.
    Back,
}

/// Capacity of a follower's channel. The consumer is a task that only updates a view; when it lags, the follower
/// waits (back-pressure towards the store, nothing is dropped).
pub const FOLLOW_QUEUE: usize = 1024;

/// Keys, compare-and-swap, leases and watches.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one key.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    /// Reads all keys under a prefix.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;
    /// Writes a key if `expect` holds and returns the revision of the write.
    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError>;
    /// Removes a key if `expect` holds and returns a revision as of which it is gone; removing a key that is not there
    /// under `Expect::Any` is no error.
    async fn delete(&self, key: &str, expect: Expect) -> Result<Revision, StoreError>;
    /// Opens a lease.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;
    /// Renews a lease; `LeaseGone` when it is too late.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Ends a lease and removes its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Follows a prefix: first a snapshot (as soon as the store answers), then changes, until the receiver is
    /// dropped. Never fails: while the store is away it says so and tries again.
    fn follow(&self, prefix: &str) -> mpsc::Receiver<Follow>;
}

/// A store that tasks share.
pub type SharedStore = Arc<dyn Store>;
