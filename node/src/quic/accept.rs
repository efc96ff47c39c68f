//! Connections that come.

use std::sync::Arc;
use std::time::Duration;

use freshet_relay_proto::code::CloseCode;
use quinn::Endpoint;
use tokio::sync::Semaphore;

use super::core::Core;
use super::greet;
use super::types::Ended;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Takes connections until the endpoint closes. Each holds a place until the node knows who it is or has refused it, so
/// that strangers together hold so much memory, and ask the registry so often, and no more.
pub(super) async fn run(endpoint: Endpoint, core: Arc<Core>) {
    let greetings = core.config.greetings;
    let places = Arc::new(Semaphore::new(greetings));
    while let Some(incoming) = endpoint.accept().await {
        // A client must show that it is at its address (RFC 9000 section 8.1.2) before anything is kept for it, or more than
        // the one packet sent to it. Links are few and stay, so the round trip costs nothing.
        if incoming.may_retry() && !incoming.remote_address_validated() {
            let _ = incoming.retry();
            continue;
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            core.turned_away();
            incoming.refuse();
            continue;
        };
        let core = core.clone();
        tokio::spawn(async move {
            let address = incoming.remote_address();
            let made = tokio::time::timeout(HANDSHAKE, incoming).await;
            match made {
                Ok(Ok(connection)) => drop(greet::accepted(&core, connection, place).await),
                Ok(Err(error)) => {
                    let ended = Ended::from(error);
                    let code = ended.code.map_or("none", CloseCode::as_str);
                    tracing::warn!(%address, code, by_peer = ended.by_peer, detail = ended.detail, "relay handshake failed");
                    core.refused_by_tls(&ended);
                }
                Err(_) => tracing::debug!(%address, "relay handshake took too long"),
            }
        });
    }
}
