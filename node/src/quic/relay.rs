//! The endpoint of a node.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use freshet_cluster::{Incarnation, NodeId};
use freshet_relay_proto::code::CloseCode;
use freshet_relay_proto::link::LinkCounters;
use quinn::{Endpoint, EndpointConfig, TokioRuntime};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::mpsc;

use super::config::{RelayConfig, RelayError};
use super::core::Core;
use super::event::RelayEvent;
use super::types::{Directory, Ended, LinkInfo, LinkTotals, MediaSink, Peer};
use super::{accept, dial, tls};

/// Events that wait for the node; when it is full, links stop reading their control streams.
const EVENTS: usize = 4_096;
/// Socket buffers that are asked for, in bytes: bursts of many streams meet in one socket.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;
/// How long links may take to say that they close.
const FAREWELL: Duration = Duration::from_millis(500);

/// A relay endpoint.
pub struct Relay {
    endpoint: Endpoint,
    core: Arc<Core>,
    sha256: String,
    local: SocketAddr,
}

impl Relay {
    /// Binds, and takes connections from then on. `media_in` is never waited for: a packet for which it has no place
    /// is dropped and counted.
    pub async fn bind(
        config: RelayConfig,
        directory: Arc<dyn Directory>,
        media_in: impl MediaSink + 'static,
    ) -> Result<(Self, mpsc::Receiver<RelayEvent>), RelayError> {
        let identity = tls::identity(&config)?;
        let socket = socket(config.bind)?;
        let (quic, runtime) = (EndpointConfig::default(), Arc::new(TokioRuntime));
        let mut endpoint = Endpoint::new(quic, Some(identity.server), socket, runtime)?;
        endpoint.set_default_client_config(identity.client);
        let local = endpoint.local_addr()?;
        let (events, inbox) = mpsc::channel(EVENTS);
        let core = Arc::new(Core::new(config, directory, events, Box::new(media_in)));
        tokio::spawn(accept::run(endpoint.clone(), core.clone()));
        Ok((Self { endpoint, core, sha256: identity.sha256, local }, inbox))
    }

    /// SHA-256 of our certificate, for the registry: 64 lower-case hexadecimal digits.
    pub fn cert_sha256(&self) -> &str {
        &self.sha256
    }

    /// The address that the socket is bound to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Keeps a link to this start of a node until it is forgotten. A newer start takes the place of an older.
    pub fn dial(&self, peer: Peer) {
        if let Some(ticket) = self.core.want(&peer.node, peer.incarnation) {
            tokio::spawn(dial::keep(self.endpoint.clone(), self.core.clone(), peer, ticket));
        }
    }

    /// Dials this node no more. A link that this node dialled is closed when the other end has left all rooms on it;
    /// one that the other end dialled is the other end's to close.
    pub fn forget(&self, node: &NodeId, incarnation: Incarnation) {
        self.core.forget(node, incarnation);
    }

    /// Live links.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.core.links().iter().map(|link| link.info()).collect()
    }

    /// What all links have carried since the start.
    pub fn totals(&self) -> LinkTotals {
        self.core.totals()
    }

    /// Connections that did not become links, refused by either end.
    pub fn refused(&self) -> u64 {
        self.core.refused.load(Ordering::Acquire)
    }

    /// Why the last of them did not.
    pub fn last_refusal(&self) -> Option<Ended> {
        self.core.last_refusal.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Connections turned away before TLS, because too many others had not been checked yet.
    pub fn turned_away(&self) -> u64 {
        self.core.turned_away.load(Ordering::Acquire)
    }

    /// What all links counted together since the start, about a second ago.
    pub fn counted(&self) -> LinkCounters {
        self.core.counted.get()
    }

    /// Closes all links, frames that wait first, and takes none any more.
    pub async fn close(&self) {
        let links = self.core.close();
        for link in &links {
            link.kill(Ended::new(CloseCode::GoingAway, "the node stops"));
        }
        let all = futures::future::join_all(links.iter().map(|link| link.gone()));
        let _ = tokio::time::timeout(FAREWELL, all).await;
        let code = CloseCode::GoingAway;
        self.endpoint.close(code.code().into(), b"the node stops");
        let _ = tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await;
    }
}

fn socket(bind: SocketAddr) -> std::io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(bind), Type::DGRAM, Some(Protocol::UDP))?;
    if bind.is_ipv6() {
        // One socket for both families where the system lets it.
        let _ = socket.set_only_v6(false);
    }
    // The system gives what it allows.
    let _ = socket.set_recv_buffer_size(SOCKET_BUFFER);
    let _ = socket.set_send_buffer_size(SOCKET_BUFFER);
    socket.bind(&bind.into())?;
    Ok(socket.into())
}
