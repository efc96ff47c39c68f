//! One connection to etcd and the calls on it, each under a time limit.

use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Certificate, Client, Compare, CompareOp, ConnectOptions, GetOptions, Identity, KeyValue, TlsOptions, Txn,
    TxnOp, TxnOpResponse,
};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::error::{Failure, classify};
use crate::keys;
use crate::record::Mark;
use crate::secret::Secret;
use crate::store::{Entry, LeaseId, Listing, Revision, StoreError};
use crate::version::encode;

/// Time limit of one call, connecting included.
pub(super) const CALL_LIMIT: Duration = Duration::from_secs(3);
/// An open connection is pinged this often. Not sooner: etcd takes pings less than 5 seconds apart for an attack and
/// closes the connection (`--grpc-keepalive-min-time`).
pub(super) const PING: Duration = Duration::from_millis(5_500);
/// A connection whose ping is not answered for so long is dead.
const PING_LIMIT: Duration = Duration::from_secs(2);
/// How often it is said that etcd has not answered since the start.
const TELL_AGAIN: Duration = Duration::from_secs(60);
/// Largest answer that is read, in bytes: a listing of every room of a large cluster.
pub(super) const ANSWER_MAX: usize = 256 * 1024 * 1024;

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
    pub(super) inner: Arc<Inner>,
}

impl std::fmt::Debug for EtcdStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EtcdStore").field("endpoints", &self.inner.endpoints).finish_non_exhaustive()
    }
}

pub(super) struct Inner {
    endpoints: Vec<String>,
    options: ConnectOptions,
    client: Mutex<Option<Client>>,
    /// It has answered once.
    heard: AtomicBool,
    /// When it was last said that it has not.
    told: std::sync::Mutex<Option<Instant>>,
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
            .with_keep_alive(PING, PING_LIMIT)
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
        let inner = Inner {
            endpoints: config.endpoints,
            options,
            client: Mutex::new(None),
            heard: AtomicBool::new(false),
            told: std::sync::Mutex::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }
}

impl Inner {
    /// The shared client, connected when it is not. With a user this asks etcd for a token.
    pub(super) async fn client(&self) -> Result<Client, Failure> {
        let mut slot = self.client.lock().await;
        if let Some(client) = &*slot {
            return Ok(client.clone());
        }
        let client =
            Client::connect(&self.endpoints, Some(self.options.clone())).await.map_err(|e| classify(&e))?;
        Ok(slot.insert(client).clone())
    }

    /// Says that etcd has not answered since the start: at once, then now and then. What comes later is told by those who
    /// follow it.
    pub(super) fn handle_unheard(&self, why: &str) {
        if self.heard.load(Ordering::Relaxed) {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_some_and(|at| at.elapsed() < TELL_AGAIN) {
            return;
        }
        *told = Some(Instant::now());
        let etcd = self.endpoints.join(",");
        tracing::warn!(etcd, error = why, "etcd has not answered since the start: trying on");
    }

    /// One call under the time limit, tried once more when etcd does not know our token any longer.
    pub(super) async fn call<T, F, Fut>(&self, call: F) -> Result<T, Failure>
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
        let result = tokio::time::timeout(CALL_LIMIT, both).await;
        let result = match result {
            Ok(result) => result,
            Err(_) => Err(Failure::Away(format!("no answer within {} s", CALL_LIMIT.as_secs()))),
        };
        result.map_err(|failure| failure.at(&self.endpoints))
    }

    /// A transaction of one comparison (or none), one operation, and an alternative; returns whether the
    /// comparison held, the responses and the revision.
    pub(super) async fn txn(
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
    pub(super) async fn contact(&self) -> Result<(String, Revision), Failure> {
        let fresh = String::from_utf8_lossy(&encode(&Mark::new(rand::random()))).into_owned();
        let absent = Compare::create_revision(keys::MARK, CompareOp::Equal, 0);
        let write = TxnOp::put(keys::MARK, fresh.as_str(), None);
        let read = TxnOp::get(keys::MARK, None);
        let (written, responses, revision) = self.txn(Some(absent), write, Some(read)).await?;
        self.heard.store(true, Ordering::Relaxed);
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

    pub(super) async fn range(&self, key: &str, options: GetOptions) -> Result<Listing, Failure> {
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

pub(super) fn revision(found: Option<i64>) -> Revision {
    Revision(found.and_then(|r| u64::try_from(r).ok()).unwrap_or_default())
}

pub(super) fn entry(kv: &KeyValue) -> Entry {
    Entry {
        key: String::from_utf8_lossy(kv.key()).into_owned(),
        value: Bytes::copy_from_slice(kv.value()),
        revision: revision(Some(kv.mod_revision())),
        lease: Some(kv.lease()).filter(|l| *l != 0).map(LeaseId),
    }
}
