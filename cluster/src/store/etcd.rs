//! The store on etcd (3.4 and later).
//!
//! Every call has a time limit and a follower notices a dead connection by HTTP/2 pings, so that nobody waits for an
//! etcd that is gone. The connection is made on first use and made again after authentication is lost; an etcd
//! that is away at start is no error.

mod connection;
mod error;
mod follow;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{Compare, CompareOp, DeleteOptions, GetOptions, PutOptions, TxnOp};
use tokio::sync::mpsc;

use super::{Entry, Expect, FOLLOW_QUEUE, Follow, LeaseId, Listing, Revision, Store, StoreError};
pub use connection::{EtcdConfig, EtcdStore};
use error::Failure;

fn comparison(key: &str, expect: Expect) -> Option<Compare> {
    match expect {
        Expect::Any => None,
        Expect::Absent => Some(Compare::create_revision(key, CompareOp::Equal, 0)),
        Expect::At(Revision(at)) => {
            // A revision above what etcd can count never holds.
            let at = i64::try_from(at).unwrap_or(i64::MAX);
            Some(Compare::mod_revision(key, CompareOp::Equal, at))
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let listing = self.inner.range(key, GetOptions::new()).await.map_err(Failure::into_error)?;
        Ok(listing.entries.into_iter().next())
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.inner.range(prefix, GetOptions::new().with_prefix()).await.map_err(Failure::into_error)
    }

    async fn put(
        &self,
        key: &str,
        value: Bytes,
        expect: Expect,
        lease: Option<LeaseId>,
    ) -> Result<Revision, StoreError> {
        let options = lease.map(|l| PutOptions::new().with_lease(l.0));
        let put = TxnOp::put(key, value.to_vec(), options);
        match self.inner.txn(comparison(key, expect), put, None).await {
            Ok((true, _, revision)) => Ok(revision),
            Ok((false, ..)) => Err(StoreError::Conflict { key: key.to_owned() }),
            Err(failure) => Err(failure.into_lease_error(lease)),
        }
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<Revision, StoreError> {
        let delete = TxnOp::delete(key, None::<DeleteOptions>);
        match self.inner.txn(comparison(key, expect), delete, None).await {
            Ok((true, _, revision)) => Ok(revision),
            Ok((false, ..)) => Err(StoreError::Conflict { key: key.to_owned() }),
            Err(failure) => Err(failure.into_error()),
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        // etcd counts whole seconds; rounded up, since a longer lease is the safe one.
        let seconds = i64::try_from(ttl.as_millis().div_ceil(1000)).unwrap_or(i64::MAX).max(1);
        let response = self
            .inner
            .call(|client| async move { client.lease_client().grant(seconds, None).await })
            .await
            .map_err(Failure::into_error)?;
        Ok(LeaseId(response.id()))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner
            .call(|client| async move { client.lease_client().keep_alive(lease.0).await.map(|_| ()) })
            .await
            .map_err(|failure| failure.into_lease_error(Some(lease)))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.inner
            .call(|client| async move { client.lease_client().revoke(lease.0).await.map(|_| ()) })
            .await
            .map_err(|failure| failure.into_lease_error(Some(lease)))
    }

    fn follow(&self, prefix: &str) -> mpsc::Receiver<Follow> {
        let (tx, rx) = mpsc::channel(FOLLOW_QUEUE);
        tokio::spawn(follow::run(Arc::downgrade(&self.inner), prefix.to_owned(), tx));
        rx
    }
}
