//! What the relay takes and gives.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use freshet_cluster::{Incarnation, NodeId};
use freshet_relay_proto::code::CloseCode;
use freshet_relay_proto::header::MediaHeader;

use crate::link::queue::Dropped;

/// A link, by its number within this process. Numbers are not used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LinkId(pub u32);

/// A node as the registry knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Where its relay listens.
    pub relay: SocketAddr,
    /// SHA-256 of its certificate, 64 lower-case hexadecimal digits.
    pub cert_sha256: String,
}

/// Looks nodes up.
#[async_trait]
pub trait Directory: Send + Sync {
    /// The node's entry, asked of the store itself where it answers.
    async fn find(&self, node: &NodeId) -> Option<Peer>;
}

/// Why a link, or an attempt at one, is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The code that closed it; `None` when the connection failed by itself.
    pub code: Option<CloseCode>,
    /// The other end closed it.
    pub by_peer: bool,
    /// What was wrong, in words.
    pub detail: String,
}

impl Ended {
    pub(super) fn new(code: CloseCode, detail: impl Into<String>) -> Self {
        Self { code: Some(code), by_peer: false, detail: detail.into() }
    }
}

impl From<quinn::ConnectionError> for Ended {
    fn from(error: quinn::ConnectionError) -> Self {
        match error {
            quinn::ConnectionError::ApplicationClosed(close) => {
                let code = u32::try_from(close.error_code.into_inner()).unwrap_or(u32::MAX);
                let detail = String::from_utf8_lossy(&close.reason).into_owned();
                Self { code: Some(CloseCode::from_code(code)), by_peer: true, detail }
            }
            quinn::ConnectionError::TimedOut => {
                Self { code: Some(CloseCode::Silent), by_peer: false, detail: error.to_string() }
            }
            quinn::ConnectionError::ConnectionClosed(ref close) => {
                Self { code: refused_by_tls(close.error_code), by_peer: true, detail: error.to_string() }
            }
            quinn::ConnectionError::TransportError(ref own) => {
                Self { code: refused_by_tls(own.code), by_peer: false, detail: error.to_string() }
            }
            error => Self { code: None, by_peer: false, detail: error.to_string() },
        }
    }
}

/// What a TLS alert means for a link; QUIC carries it as 0x100 and the alert's number (RFC 9001 section 4.8). An
/// authority's signature and the ALPN are checked by TLS, so no code of ours can be on the wire then.
fn refused_by_tls(code: quinn::TransportErrorCode) -> Option<CloseCode> {
    match u64::from(code).checked_sub(0x100)? {
        // bad, unsupported, revoked, expired and unknown certificate, unknown_ca, certificate_required; decrypt_error
        // is what an authority of the same name with another key gives
        42..=46 | 48 | 51 | 116 => Some(CloseCode::Fingerprint),
        // no_application_protocol
        120 => Some(CloseCode::Version),
        _ => None,
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(code) = self.code {
            write!(f, "{code}{}: ", if self.by_peer { " (by the other end)" } else { "" })?;
        }
        f.write_str(&self.detail)
    }
}

/// A packet that came by a link.
#[derive(Debug, Clone)]
pub struct MediaIn {
    /// By which.
    pub link: LinkId,
    /// Its header.
    pub header: MediaHeader,
    /// Its payload.
    pub payload: Bytes,
    /// When it, or the last part of it, came.
    pub arrived: Instant,
}

/// Takes packets of links. It never waits: what it has no place for is its own to drop and to count.
pub trait MediaSink: Send + Sync {
    /// Takes a packet.
    fn take(&self, packet: MediaIn);
}

/// What all links of a node together have carried since it started, those that are over included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LinkTotals {
    /// Media packets sent.
    pub packets: u64,
    /// Datagrams sent: more than packets where packets were split.
    pub datagrams: u64,
    /// Bytes of these datagrams, without what QUIC, UDP and IP add.
    pub bytes: u64,
    /// Media packets dropped because a link was too slow.
    pub dropped: u64,
    /// QUIC packets that were sent and did not arrive.
    pub lost: u64,
    /// Media packets received.
    pub received: u64,
    /// Bytes of their payload.
    pub received_bytes: u64,
}

impl LinkTotals {
    /// With one link more.
    #[must_use]
    pub fn and(self, link: &LinkInfo) -> Self {
        Self {
            packets: self.packets.saturating_add(link.packets),
            datagrams: self.datagrams.saturating_add(link.sent),
            bytes: self.bytes.saturating_add(link.sent_bytes),
            dropped: self.dropped.saturating_add(link.dropped),
            lost: self.lost.saturating_add(link.lost),
            received: self.received.saturating_add(link.received),
            received_bytes: self.received_bytes.saturating_add(link.received_bytes),
        }
    }
}

/// A live link, looked at.
#[derive(Debug, Clone)]
pub struct LinkInfo {
    /// Which.
    pub id: LinkId,
    /// The other end.
    pub peer: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Where it is.
    pub address: SocketAddr,
    /// This node opened the connection.
    pub dialled: bool,
    /// Smoothed round trip.
    pub rtt: Duration,
    /// What the path carries, in bytes a second, as far as is known.
    pub rate: u64,
    /// Packets that shards wanted to send.
    pub offered: u64,
    /// Packets sent.
    pub packets: u64,
    /// Datagrams sent: more than packets where packets were split.
    pub sent: u64,
    /// Bytes of the datagrams sent.
    pub sent_bytes: u64,
    /// QUIC packets that were sent and did not arrive.
    pub lost: u64,
    /// Packets dropped because the link was too slow: `offered` less `packets` and what waits.
    pub dropped: u64,
    /// Those of them that the policy dropped, by what they were.
    pub policy: Dropped,
    /// Packets received.
    pub received: u64,
    /// Bytes of the payload received.
    pub received_bytes: u64,
}
