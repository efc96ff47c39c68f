//! Connections that this node opens, and opens again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_relay_proto::code::CloseCode;
use quinn::Endpoint;
use rand::Rng;

use super::core::Core;
use super::greet;
use super::tls::SERVER_NAME;
use super::types::{Ended, Peer};

/// First pause after a failure.
const FIRST: Duration = Duration::from_millis(50);
/// Longest pause: a node that is back is linked within this time.
const LONGEST: Duration = Duration::from_secs(2);
/// A link that lived so long was a success.
const LIVED: Duration = Duration::from_secs(5);
/// A node that is away is told of once in this time.
const TELL_EVERY: Duration = Duration::from_secs(30);
/// How long a handshake may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long the registry may take to answer.
const LOOK_UP: Duration = Duration::from_secs(2);

/// Keeps a link to a node while the ticket is good.
pub(super) async fn keep(endpoint: Endpoint, core: Arc<Core>, mut peer: Peer, ticket: u64) {
    let mut pause = FIRST;
    let mut told: Option<Instant> = None;
    let mut changed = core.subscribe();
    loop {
        changed.borrow_and_update();
        if !core.is_wanted(&peer.node, ticket) {
            return;
        }
        if core.is_linked(&peer.node, peer.incarnation) {
            // By us or by the other end. A change may be its end.
            if changed.changed().await.is_err() {
                return;
            }
            continue;
        }
        let before = Instant::now();
        let ended = match connect(&endpoint, &peer).await {
            Ok(connection) => greet::dialled(&core, connection, &peer).await,
            Err(error) => {
                core.refused_by_tls(&error);
                let (node, address) = (&peer.node, peer.relay);
                if told.is_none_or(|at| before.saturating_duration_since(at) >= TELL_EVERY) {
                    told = Some(before);
                    tracing::warn!(node = node.as_str(), %address, %error, "relay not reached, trying on");
                } else {
                    tracing::debug!(node = node.as_str(), %address, %error, "relay not reached");
                }
                error
            }
        };
        // Another connection of the pair stays, or comes: no failure.
        if before.elapsed() >= LIVED || ended.code == Some(CloseCode::Superseded) {
            pause = FIRST;
        }
        let wait = pause.mul_f64(rand::rng().random_range(0.5..1.5));
        let until = tokio::time::Instant::now() + wait;
        while core.is_wanted(&peer.node, ticket) {
            if tokio::time::timeout_at(until, changed.changed()).await.is_err() {
                break;
            }
        }
        pause = pause.saturating_mul(2).min(LONGEST);
        // It may have moved, or shown a new certificate.
        let found = tokio::time::timeout(LOOK_UP, core.directory.find(&peer.node)).await;
        if let Ok(Some(found)) = found
            && found.incarnation == peer.incarnation
        {
            peer = found;
        }
    }
}

async fn connect(endpoint: &Endpoint, peer: &Peer) -> Result<quinn::Connection, Ended> {
    let failed = |detail| Ended { code: None, by_peer: false, detail };
    let connecting = endpoint.connect(peer.relay, SERVER_NAME).map_err(|e| failed(e.to_string()))?;
    let made = tokio::time::timeout(CONNECT, connecting).await;
    Ok(made.map_err(|_| failed(format!("no answer within {CONNECT:?}")))??)
}
