//! Clients that are no relays, on a relay's port: how many may stay unknown, and what is counted of what they send.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![allow(clippy::cast_possible_truncation)]

#[path = "support/nodes.rs"]
mod nodes;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use freshet_cluster::Incarnation;
use freshet_edge::metrics::Metrics;
use freshet_node::control::Shared;
use freshet_node::quic::{Peer, Relay, RelayConfig, RelayEvent};
use freshet_relay_proto::code::CloseCode;
use freshet_relay_proto::control::{Control, Hello};
use freshet_relay_proto::header::{Extensions, MediaHeader};
use freshet_relay_proto::{ALPN, MIN_VERSION, VERSION, frame, split};
use nodes::{Registry, Taken, TestNode, config, node, until};
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, TransportErrorCode};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, SignatureScheme};
use tokio::sync::mpsc;

/// Takes any server; the signature is not what is tested here.
#[derive(Debug)]
struct Anyone(Vec<SignatureScheme>);

type Valid = Result<HandshakeSignatureValid, rustls::Error>;

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Valid {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(&self, _: &[u8], _: &CertificateDer<'_>, _: &DigitallySignedStruct) -> Valid {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.clone()
    }
}

/// A QUIC client with a certificate of its own making, and that certificate's SHA-256.
fn client() -> (Endpoint, String) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let made = rcgen::generate_simple_self_signed(vec!["anyone".to_owned()]).unwrap();
    let der = made.cert.der().clone();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
    let sha256 = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    let schemes = provider.signature_verification_algorithms.supported_schemes();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anyone(schemes)))
        .with_client_auth_cert(vec![der], key)
        .unwrap();
    tls.alpn_protocols = vec![ALPN.to_vec()];
    let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let quic = QuicClientConfig::try_from(tls).unwrap();
    endpoint.set_default_client_config(quinn::ClientConfig::new(Arc::new(quic)));
    (endpoint, sha256)
}

async fn connect(endpoint: &Endpoint, to: SocketAddr) -> Result<Connection, ConnectionError> {
    endpoint.connect(to, "freshet-relay").unwrap().await
}

#[tokio::test]
async fn strangers_that_say_nothing_hold_no_more_than_their_places_and_not_for_long() {
    const PLACES: usize = 4;
    let registry = Registry::default();
    let mut b = TestNode::start(&registry, RelayConfig { greetings: PLACES, ..config("b", 2) }).await;
    let (endpoint, _) = client();
    let mut silent = Vec::new();
    for _ in 0..PLACES {
        silent.push(connect(&endpoint, b.peer.relay).await.expect("there is a place"));
    }
    let last = connect(&endpoint, b.peer.relay).await.map(|_| "it got in");
    let Err(ConnectionError::ConnectionClosed(close)) = &last else { panic!("{last:?}") };
    assert_eq!(close.error_code, TransportErrorCode::CONNECTION_REFUSED);
    assert_eq!(b.relay.turned_away(), 1);

    // A node that is known has to wait as well, and comes in once the silent ones have been shown out.
    let mut c = TestNode::start(&registry, config("c", 3)).await;
    c.relay.dial(b.peer.clone());
    until("the node is turned away too", || b.relay.turned_away() >= 2).await;
    for connection in silent {
        let ended = tokio::time::timeout(Duration::from_secs(30), connection.closed()).await;
        let Ok(ConnectionError::ApplicationClosed(close)) = &ended else { panic!("{ended:?}") };
        assert_eq!(close.error_code.into_inner(), u64::from(CloseCode::HelloTimeout.code()));
    }
    c.up().await;
    b.up().await;
    assert_eq!(b.relay.refused(), PLACES as u64);
}

#[tokio::test]
async fn a_link_that_is_up_holds_no_place() {
    let registry = Registry::default();
    let mut b = TestNode::start(&registry, RelayConfig { greetings: 1, ..config("b", 2) }).await;
    let mut others = Vec::new();
    for (id, n) in [("c", 3), ("d", 4), ("e", 5)] {
        let mut other = TestNode::start(&registry, config(id, n)).await;
        other.relay.dial(b.peer.clone());
        other.up().await;
        b.up().await;
        others.push(other);
    }
    assert_eq!(b.relay.links().len(), 3);
}

/// A counter as it stands in what a scrape reads.
fn shown(metrics: &Metrics, name: &str) -> Option<f64> {
    let text = prometheus::TextEncoder::new().encode_to_string(&metrics.registry().gather()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("freshet_node_{name} ")));
    line.map(|value| value.parse().unwrap())
}

#[tokio::test]
async fn what_cannot_be_used_of_a_link_is_counted_and_shown() {
    let registry = Registry::default();
    let (media, mut packets) = mpsc::channel(64);
    let bound = Relay::bind(config("b", 2), Arc::new(registry.clone()), Taken(media)).await;
    let (relay, mut events) = bound.unwrap();
    let relay = Arc::new(relay);
    let metrics = Metrics::new();
    let shared = Arc::new(Shared::new(node("b"), Incarnation::from_bits(2), 10));
    freshet_node::metrics::register(&metrics, Vec::new(), shared, relay.clone());
    let of = |name: &str| shown(&metrics, &format!("relay_{name}_total")).expect(name);

    let (endpoint, cert_sha256) = client();
    let (id, incarnation) = (node("c"), Incarnation::from_bits(3));
    let address = endpoint.local_addr().unwrap();
    registry.put(Peer { node: id.clone(), incarnation, relay: address, cert_sha256 });
    let connection = connect(&endpoint, relay.local_addr()).await.unwrap();
    for _ in 0..3 {
        connection.send_datagram(Bytes::from_static(b"too soon")).unwrap();
    }
    until("early datagrams are counted", || of("early_datagrams") == 3.0).await;

    let (mut send, mut recv) = connection.open_bi().await.unwrap();
    let hello = Control::Hello(Hello { v: VERSION, min_v: MIN_VERSION, node: id, incarnation });
    send.write_all(&hello.encode().unwrap()).await.unwrap();
    let up = tokio::time::timeout(nodes::PATIENCE, events.recv()).await.unwrap();
    assert!(matches!(up, Some(RelayEvent::Up(_))), "{up:?}");
    assert!(recv.read_chunk(1_024, true).await.unwrap().is_some(), "it says Hello");
    for _ in 0..2 {
        send.write_all(&frame::encode(0x3f, b"of another version").unwrap()).await.unwrap();
    }
    connection.send_datagram(Bytes::from_static(b"\xff and no header")).unwrap();
    let header = MediaHeader {
        alias: 1,
        track: 0,
        layer: 0,
        index: 7,
        timestamp: 0,
        marker: false,
        keyframe: false,
        codec: 1,
        capture: 0,
        exts: Extensions::default(),
    };
    let parts = split::split(&header, &[5; 1_500], 1_000).unwrap();
    assert_eq!(parts.len(), 2);
    // The second part never comes.
    connection.send_datagram(parts[0].clone()).unwrap();
    connection.send_datagram(parts[0].clone()).unwrap();
    for (name, count) in [
        ("unknown_frames", 2.0),
        ("malformed_datagrams", 1.0),
        ("refused_parts", 1.0),
        ("expired_packets", 1.0),
    ] {
        until(name, || of(name) == count).await;
    }
    connection.close(0_u32.into(), b"");
    let down = tokio::time::timeout(nodes::PATIENCE, events.recv()).await.unwrap();
    assert!(matches!(down, Some(RelayEvent::Down { .. })), "{down:?}");
    assert!(packets.try_recv().is_err(), "none of it was a packet");
    let after = [of("early_datagrams"), of("unknown_frames"), of("malformed_datagrams")];
    assert_eq!(after, [3.0, 2.0, 1.0], "counts outlive the link, and nothing counts twice");
    let rest = ["evicted_packets", "refusals", "turned_away", "looped_announcements", "stale_announcements"];
    assert_eq!(rest.map(of), [0.0; 5]);
}
