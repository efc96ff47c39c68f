//! The registry as this node has read it: who is where, with which certificate.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use freshet_cluster::NodeId;
use freshet_cluster::record::NodeRecord;
use freshet_cluster::store::SharedStore;
use freshet_cluster::{keys, version};

use crate::quic;

/// Node records by id, kept up to date by the control task; asks the store for what it has not seen yet.
#[derive(Clone)]
pub struct Registry {
    known: Arc<RwLock<HashMap<NodeId, NodeRecord>>>,
    store: SharedStore,
}

impl Registry {
    /// A registry that knows nobody yet.
    pub fn new(store: SharedStore) -> Self {
        Self { known: Arc::default(), store }
    }

    /// A node that has been read.
    pub fn get(&self, node: &NodeId) -> Option<NodeRecord> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).get(node).cloned()
    }

    /// A record was read. One that is gone is kept: a missing lease is not death, and its links may live.
    pub fn put(&self, record: NodeRecord) {
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(record.id.clone(), record);
    }

    async fn fetch(&self, node: &NodeId) -> Option<NodeRecord> {
        let entry = self.store.get(&keys::node(node)).await.ok()??;
        let record: NodeRecord = version::decode("node record", &entry.value).ok()?;
        self.put(record.clone());
        Some(record)
    }
}

#[async_trait]
impl quic::Directory for Registry {
    async fn find(&self, node: &NodeId) -> Option<quic::Peer> {
        let record = match self.fetch(node).await {
            Some(record) => record,
            None => self.get(node)?,
        };
        let relay = match record.relay.parse() {
            Ok(relay) => relay,
            Err(_) => tokio::net::lookup_host(&record.relay).await.ok()?.next()?,
        };
        Some(quic::Peer {
            node: record.id,
            incarnation: record.incarnation,
            relay,
            cert_sha256: record.relay_cert_sha256,
        })
    }
}
