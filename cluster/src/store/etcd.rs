//! The store on etcd (3.4 and later).
//!
//! Every call has a time limit and a follower notices a dead connection by HTTP/2 pings, so that nobody waits for an
//! etcd that is gone. The connection is made on first use and made again after authentication is lost; an etcd
//! that is away at start is no error.

mod error;
mod follow;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, DeleteOptions, GetOptions, Identity, KeyValue,
    PutOptions, TlsOptions, Txn, TxnOp, TxnOpResponse,
};
use tokio::sync::{Mutex, mpsc};

use super::{Entry, Expect, FOLLOW_QUEUE, Follow, LeaseId, Listing, Revision, Store, StoreError};
use crate::keys;
use crate::secret::Secret;
use error::{Failure, classify};

/// Time limit of one call, connecting included.
const CALL_LIMIT: Duration = Duration::from_secs(3);
/// An open connection is pinged this often, and is dead when a ping is not answered for as long.
const PING: Duration = Duration::from_secs(2);
/// Largest answer that is read, in bytes: a listing of every room of a large cluster.
const ANSWER_MAX: usize = 256 * 1024 * 1024;

/// How to reach etcd.
#[derive(Debug, Clone, Default)]
pub struct EtcdConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT`, one or more members of one cluster.
    pub endpoints: Vec<String>,
    /// User name and password, when etcd wants them.
    pub user: Option<(String, Secret)>,
    /// PEM file of the authority that signed etcd's certificate.
    pub ca: Option<PathBuf>,
    /// PEM file of our own certificate, when etcd wants one.
    pub cert: Option<PathBuf>,
    /// PEM file of its key.
    pub key: Option<PathBuf>,
}

/// A handle on etcd; clones share one connection.
#[derive(Clone)]
pub struct EtcdStore {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("endpoints", &self.inner.endpoints).finish_non_exhaustive()
    }
}

struct Inner {
    endpoints: Vec<String>,
    options: ConnectOptions,
    client: Mutex<Option<Client>>,
}

impl EtcdStore {
    /// Checks the configuration and reads its files. Does not connect.
    pub fn new(config: EtcdConfig) -> Result<Self, StoreError> {
        let refuse = |text: &str| Err(StoreError::Refused(text.into()));
        if config.endpoints.is_empty() {
            return refuse("no etcd endpoint is configured: name at least one, as in http://127.0.0.1:2379");
        }
        let mut options = ConnectOptions::new()
            .with_connect_timeout(CALL_LIMIT)
            .with_keep_alive(PING, PING)
            .with_keep_alive_while_idle(true)
            .with_require_leader(true);
        if let Some((name, password)) = &config.user {
            options = options.with_user(name.as_str(), password.expose());
        }
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|e| {
                StoreError::Refused(format!("cannot read etcd TLS file {}: {e}", path.display()))
            })
        };
        let secure = config.endpoints.iter().any(|e| e.starts_with("https://"));
        let named = config.ca.is_some() || config.cert.is_some();
        if named && !secure {
            return refuse("etcd TLS files are configured but no endpoint begins with https://");
        }
        if secure {
            let mut tls = TlsOptions::new();
            if let Some(ca) = &config.ca {
                tls = tls.ca_certificate(Certificate::from_pem(read(ca)?));
            }
            match (&config.cert, &config.key) {
                (Some(cert), Some(key)) => tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
                (None, None) => {}
                _ => return refuse("an etcd client certificate needs its key, and a key its certificate"),
            }
            options = options.with_tls(tls);
        }
        let inner = Inner { endpoints: config.endpoints, options, client: Mutex::new(None) };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// The shared client, connected when it is not. With a user this asks etcd for a token.
    async fn client(&self) -> Result<Client, Failure> {
        let mut slot = self.client.lock().await;
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client =
            Client::connect(&self.endpoints, Some(self.options.clone())).await.map_err(|e| classify(&e))?;
        Ok(slot.insert(client).clone())
    }

    /// One call under the time limit, tried once more when etcd does not know our token any longer.
    async fn call<T, F, Fut>(&self, call: F) -> Result<T, Failure>
    where
        F: Fn(Client) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, etcd_client::Error>> + Send,
        T: Send,
    {
        let once = || async {
            let client = self.client().await?;
            call(client).await.map_err(|e| classify(&e))
        };
        let both = async {
            match once().await {
                Err(Failure::Token(_)) => {
                    *self.client.lock().await = None;
                    once().await
                }
                other => other,
            }
        };
        match tokio::time::timeout(CALL_LIMIT, both).await {
            Ok(result) => result,
            Err(_) => Err(Failure::Away(format!("no answer within {} s", CALL_LIMIT.as_secs()))),
        }
    }

    /// A transaction of one comparison (or none), one operation, and an alternative; returns whether the
    /// comparison held, the responses and the revision.
    async fn txn(
        &self,
        when: Option<Compare>,
        then: TxnOp,
        or_else: Option<TxnOp>,
    ) -> Result<(bool, Vec<TxnOpResponse>, Revision), Failure> {
        let txn = Txn::new()
            .when(when.into_iter().collect::<Vec<_>>())
            .and_then(vec![then])
            .or_else(or_else.into_iter().collect::<Vec<_>>());
        let response = self
            .call(|client| {
                let txn = txn.clone();
                async move { client.kv_client().txn(txn).await }
            })
            .await?;
        let revision = revision(response.header().map(|h| h.revision()));
        Ok((response.succeeded(), response.op_responses(), revision))
    }

    /// The store's birthmark and revision, read from a quorum; writes the mark when there is none.
    async fn contact(&self) -> Result<(String, Revision), Failure> {
        let fresh = format!("{:016x}", rand::random::<u64>());
        let absent = Compare::create_revision(keys::MARK, CompareOp::Equal, 0);
        let write = TxnOp::put(keys::MARK, fresh.as_str(), None);
        let read = TxnOp::get(keys::MARK, None);
        let (written, responses, revision) = self.txn(Some(absent), write, Some(read)).await?;
        if written {
            return Ok((fresh, revision));
        }
        let found = responses.iter().find_map(|r| match r {
            TxnOpResponse::Get(get) => {
                get.kvs().first().map(|kv| String::from_utf8_lossy(kv.value()).into_owned())
            }
            _ => None,
        });
        Ok((found.unwrap_or_default(), revision))
    }

    async fn range(&self, key: &str, options: GetOptions) -> Result<Listing, Failure> {
        let response = self
            .call(|client| {
                let options = options.clone();
                async move {
                    let mut kv = client.kv_client().max_decoding_message_size(ANSWER_MAX);
                    kv.get(key, Some(options)).await
                }
            })
            .await?;
        let entries = response.kvs().iter().map(entry).collect();
        Ok(Listing { entries, revision: revision(response.header().map(|h| h.revision())) })
    }
}

fn revision(found: Option<i64>) -> Revision {
    Revision(found.and_then(|r| u64::try_from(r).ok()).unwrap_or_default())
}

fn entry(kv: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: Bytes::copy_from_slice(kv.value()),
        revision: revision(Some(kv.mod_revision())),
        lease: Some(kv.lease()).filter(|l| *l != 0).map(LeaseId),
    }
}

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

    async fn delete(&self, key: &str, expect: Expect) -> Result<(), StoreError> {
        let delete = TxnOp::delete(key, None::<DeleteOptions>);
        match self.inner.txn(comparison(key, expect), delete, None).await {
            Ok((true, ..)) => Ok(()),
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
