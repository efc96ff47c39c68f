//! From a connection to a link: Hello, and whether the other end is who it says.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use freshet_relay_proto::code::CloseCode;
use freshet_relay_proto::control::Hello;
use freshet_relay_proto::link::{Event, HELLO_MAX, LinkConfig, LinkSession, Role};
use quinn::{Connection, RecvStream, SendStream};
use tokio::sync::OwnedSemaphorePermit;

use super::config::Trust;
use super::core::Core;
use super::handle::Link;
use super::serve;
use super::tls;
use super::types::{Ended, Peer};

/// How long the registry may take to answer.
const LOOK_UP: Duration = Duration::from_secs(3);

/// A connection whose Hello is being exchanged.
struct Greeting {
    session: LinkSession,
    send: SendStream,
    recv: RecvStream,
}

/// Serves a connection that this node dialled, until it ends.
pub(super) async fn dialled(core: &Arc<Core>, connection: Connection, peer: &Peer) -> Ended {
    // Before anything is said: who is at this address?
    if let Err(ended) = check_certificate(core, &connection, &peer.cert_sha256) {
        return refuse(core, &connection, peer.node.as_str(), ended);
    }
    match greet(core, &connection, Role::Dialer).await {
        Ok((greeting, hello)) => {
            let checked = if hello.node != peer.node {
                Err(Ended::new(CloseCode::Stranger, format!("it is {}, not {}", hello.node, peer.node)))
            } else if hello.incarnation != peer.incarnation {
                let detail = format!("it is incarnation {}, not {}", hello.incarnation, peer.incarnation);
                Err(Ended::new(CloseCode::StaleIncarnation, detail))
            } else {
                Ok(())
            };
            match checked {
                Ok(()) => admit(core, connection, greeting, hello, true).await,
                Err(ended) => refuse(core, &connection, peer.node.as_str(), ended),
            }
        }
        Err(ended) => refuse(core, &connection, peer.node.as_str(), ended),
    }
}

/// Serves a connection that another node dialled, until it ends. It keeps its place among those that are not known yet
/// until it has been checked.
pub(super) async fn accepted(core: &Arc<Core>, connection: Connection, place: OwnedSemaphorePermit) -> Ended {
    let checked = async {
        let (greeting, hello) =
            greet(core, &connection, Role::Acceptor).await.map_err(|ended| ("?".to_owned(), ended))?;
        match check(core, &connection, &hello).await {
            Ok(()) => Ok((greeting, hello)),
            Err(ended) => Err((hello.node.as_str().to_owned(), ended)),
        }
    };
    let checked = tokio::select! {
        checked = checked => checked,
        never = discard(core, &connection) => match never {},
    };
    match checked {
        Ok((greeting, hello)) => {
            drop(place);
            admit(core, connection, greeting, hello, false).await
        }
        Err((node, ended)) => refuse(core, &connection, &node, ended),
    }
}

/// Takes datagrams out of QUIC's buffer and drops them: a node sends none before the acceptor's Hello.
async fn discard(core: &Core, connection: &Connection) -> Infallible {
    while connection.read_datagram().await.is_ok() {
        core.counted.early();
    }
    // Whoever waits for Hello hears of the end too.
    std::future::pending().await
}

/// Waits for the other end's Hello.
async fn greet(core: &Core, connection: &Connection, role: Role) -> Result<(Greeting, Hello), Ended> {
    let streams = async {
        match role {
            Role::Dialer => connection.open_bi().await,
            Role::Acceptor => connection.accept_bi().await,
        }
    };
    let no_stream = |_| Ended::new(CloseCode::HelloTimeout, "no control stream came");
    let (mut send, mut recv) = tokio::time::timeout(HELLO_MAX, streams).await.map_err(no_stream)??;
    let config = LinkConfig {
        versions: core.config.versions,
        ..LinkConfig::new(role, core.config.node.clone(), core.config.incarnation)
    };
    let mut session = LinkSession::new(Instant::now(), config);
    loop {
        while let Some(bytes) = session.poll_transmit() {
            send.write_all(&bytes).await.map_err(serve::write_error)?;
        }
        match session.poll_event() {
            Some(Event::Hello(hello)) => return Ok((Greeting { session, send, recv }, hello)),
            Some(Event::Close(close)) => return Err(Ended::new(close.code, close.detail)),
            Some(Event::Control(_)) => continue,
            None => {}
        }
        let due = session.poll_timeout().unwrap_or_else(|| Instant::now() + HELLO_MAX);
        tokio::select! {
            chunk = recv.read_chunk(serve::CHUNK, true) => match chunk.map_err(serve::read_error)? {
                Some(chunk) => session.handle_bytes(Instant::now(), &chunk.bytes),
                None => return Err(Ended::new(CloseCode::Protocol, "the control stream ended before Hello")),
            },
            () = tokio::time::sleep_until(due.into()) => session.handle_timeout(Instant::now()),
        }
    }
}

/// Compares who the other end says it is with the registry.
async fn check(core: &Core, connection: &Connection, hello: &Hello) -> Result<(), Ended> {
    let found = tokio::time::timeout(LOOK_UP, core.directory.find(&hello.node)).await;
    let Ok(Some(peer)) = found else {
        return Err(Ended::new(CloseCode::Stranger, format!("the registry does not know {}", hello.node)));
    };
    if peer.incarnation != hello.incarnation {
        let detail =
            format!("the registry knows incarnation {}, not {}", peer.incarnation, hello.incarnation);
        return Err(Ended::new(CloseCode::StaleIncarnation, detail));
    }
    check_certificate(core, connection, &peer.cert_sha256)
}

fn check_certificate(core: &Core, connection: &Connection, expected: &str) -> Result<(), Ended> {
    if matches!(core.config.trust, Trust::CaFiles { .. }) {
        // The authority's signature was checked by TLS.
        return Ok(());
    }
    let shown = tls::shown(connection).unwrap_or_default();
    if shown == expected {
        return Ok(());
    }
    let detail = format!("the certificate is {shown}, the registry says {expected}");
    Err(Ended::new(CloseCode::Fingerprint, detail))
}

async fn admit(
    core: &Arc<Core>,
    connection: Connection,
    greeting: Greeting,
    hello: Hello,
    dialled: bool,
) -> Ended {
    let Greeting { mut session, send, recv } = greeting;
    let id = core.next_link();
    let (link, inbox) = Link::new(id, hello.node, hello.incarnation, dialled, connection);
    if let Err(ended) = core.admit(&link).await {
        return refuse(core, &link.connection, link.peer.as_str(), ended);
    }
    session.confirm(Instant::now());
    let ended = serve::run(core, &link, inbox, session, send, recv).await;
    close(&link.connection, &ended);
    core.remove(&link, ended.clone()).await;
    ended
}

/// Closes a connection that does not become a link, and says so.
fn refuse(core: &Core, connection: &Connection, node: &str, ended: Ended) -> Ended {
    core.refused(&ended);
    let address = connection.remote_address();
    let code = ended.code.map_or("none", CloseCode::as_str);
    if ended.code == Some(CloseCode::Superseded) {
        tracing::debug!(node, %address, code, by_peer = ended.by_peer, detail = ended.detail, "relay link not needed");
    } else {
        tracing::warn!(node, %address, code, by_peer = ended.by_peer, detail = ended.detail, "relay link refused");
    }
    close(connection, &ended);
    ended
}

fn close(connection: &Connection, ended: &Ended) {
    if let (Some(code), false) = (ended.code, ended.by_peer) {
        connection.close(code.code().into(), ended.detail.as_bytes());
    } else {
        connection.close(CloseCode::Protocol.code().into(), b"");
    }
}
