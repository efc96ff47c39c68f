//! What a relay is told, and why it does not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use freshet_cluster::{Incarnation, NodeId};
use freshet_edge::bind::remedy;
use freshet_relay_proto::{MIN_VERSION, VERSION};

/// Connections that may be in greeting, unless told otherwise.
const GREETINGS: usize = 256;

/// Whom a relay believes.
#[derive(Debug, Clone, Default)]
pub enum Trust {
    /// A certificate made at start; the registry says which certificate belongs to which node.
    #[default]
    Registry,
    /// Certificates of an authority. They must be for the DNS name `freshet-relay`, for client and server use. The
    /// registry still says which nodes there are; any holder of such a certificate may speak for any of them.
    CaFiles {
        /// Certificates of the authority, PEM.
        ca: PathBuf,
        /// This node's certificate and what leads to the authority, PEM.
        cert: PathBuf,
        /// Its key, PEM.
        key: PathBuf,
    },
}

/// What decides how much may be in flight on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CongestionControl {
    /// Our own, by delay: random loss up to 10 % costs only itself.
    #[default]
    Delay,
    /// quinn's BBR, to compare with.
    QuinnBbr,
    /// quinn's default, Cubic, to compare with.
    QuinnCubic,
}

/// What a relay is told.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// What its socket binds to.
    pub bind: SocketAddr,
    /// Who this is.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
    /// Whom it believes.
    pub trust: Trust,
    /// What decides how much may be in flight.
    pub congestion: CongestionControl,
    /// Version of the protocol that is spoken, and the oldest that is understood.
    pub versions: (u32, u32),
    /// Connections whose other end has not been checked yet; more are turned away.
    pub greetings: usize,
}

impl RelayConfig {
    /// With trust by the registry and the versions of this build.
    pub fn new(bind: SocketAddr, node: NodeId, incarnation: Incarnation) -> Self {
        Self {
            bind,
            node,
            incarnation,
            trust: Trust::default(),
            congestion: CongestionControl::default(),
            versions: (VERSION, MIN_VERSION),
            greetings: GREETINGS,
        }
    }
}

/// Why a relay did not start.
#[derive(Debug, thiserror::Error)]
pub enum RelayError {
    /// The socket.
    #[error("{}: {}", .0, remedy(.0, "--relay", "--relay"))]
    Socket(#[from] std::io::Error),
    /// The certificate could not be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file of the authority, the certificate or the key.
    #[error("{}: {reason}: it must hold PEM, and be readable by this process", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
    /// TLS did not take them.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// TLS for QUIC.
    #[error("TLS has no cipher suite for QUIC")]
    Suite,
}
