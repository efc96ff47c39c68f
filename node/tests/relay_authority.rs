//! Links between relays whose certificates are of an authority instead of their own making.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

#[path = "support/nodes.rs"]
mod nodes;

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freshet_node::quic::{Peer, Relay, RelayConfig, RelayError, Trust};
use freshet_relay_proto::code::CloseCode;
use nodes::{Registry, TestNode, config, until};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

fn write(path: &Path, label: &str, der: &[u8]) {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|l| std::str::from_utf8(l).unwrap()).collect();
    let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"));
    std::fs::write(path, text).unwrap();
}

/// An authority, in files.
struct Authority {
    folder: tempfile::TempDir,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        Self::named("test authority")
    }

    fn named(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let folder = tempfile::tempdir().unwrap();
        let cert = params.self_signed(&key).unwrap();
        write(&folder.path().join("ca.pem"), "CERTIFICATE", cert.der());
        Self { folder, issuer: Issuer::new(params, key) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Signs a certificate for a node; `name`: the DNS name in it.
    fn trust(&self, node: &str, name: &str) -> Trust {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let (cert_path, key_path) = (self.path(&format!("{node}.pem")), self.path(&format!("{node}.key")));
        write(&cert_path, "CERTIFICATE", cert.der());
        write(&key_path, "PRIVATE KEY", key.serialized_der());
        Trust::CaFiles { ca: self.path("ca.pem"), cert: cert_path, key: key_path }
    }
}

fn with(trust: Trust, id: &str, incarnation: u64) -> RelayConfig {
    RelayConfig { trust, ..config(id, incarnation) }
}

#[tokio::test]
async fn nodes_of_one_authority_link_whatever_fingerprint_is_registered() {
    let authority = Authority::new();
    let registry = Registry::default();
    let mut a = TestNode::start(&registry, with(authority.trust("a", "freshet-relay"), "a", 1)).await;
    let mut b = TestNode::start(&registry, with(authority.trust("b", "freshet-relay"), "b", 2)).await;
    for node in [&a, &b] {
        registry.put(Peer { cert_sha256: "0".repeat(64), ..node.peer.clone() });
    }
    a.relay.dial(registry.get(&b.peer.node).unwrap());
    a.up().await;
    b.up().await;
}

#[tokio::test]
async fn certificates_of_no_or_another_authority_or_for_another_name_get_no_link() {
    let authority = Authority::new();
    let others = [Authority::new(), Authority::named("another authority")];
    let registry = Registry::default();
    let mut b = TestNode::start(&registry, with(authority.trust("b", "freshet-relay"), "b", 2)).await;
    // These trust the server's authority, so that it is the server who refuses.
    let of_other = |other: &Authority| match (
        other.trust("c", "freshet-relay"),
        authority.trust("x", "freshet-relay"),
    ) {
        (Trust::CaFiles { cert, key, .. }, Trust::CaFiles { ca, .. }) => Trust::CaFiles { ca, cert, key },
        _ => panic!("not files"),
    };
    for (n, trust) in [(3, of_other(&others[0])), (4, of_other(&others[1])), (5, Trust::Registry)] {
        let mut c = TestNode::start(&registry, with(trust, "c", n)).await;
        let before = b.relay.refused();
        c.relay.dial(b.peer.clone());
        until("the acceptor refuses", || b.relay.refused() > before).await;
        let last = b.relay.last_refusal().unwrap();
        assert_eq!(last.code, Some(CloseCode::Fingerprint), "{last}");
        until("the dialler knows why", || c.relay.last_refusal().is_some()).await;
        let last = c.relay.last_refusal().unwrap();
        assert_eq!(last.code, Some(CloseCode::Fingerprint), "{last}");
        c.quiet(std::time::Duration::from_millis(500)).await;
        assert!(c.relay.links().is_empty() && b.relay.links().is_empty());
        c.relay.close().await;
    }
    // A dialler of the authority does not take a server whose certificate is for another name.
    let d = TestNode::start(&registry, with(authority.trust("d", "elsewhere"), "d", 6)).await;
    let before = d.relay.refused();
    b.relay.dial(d.peer.clone());
    until("the dialler refuses", || d.relay.refused() > before).await;
    let (told, own) = (d.relay.last_refusal().unwrap(), b.relay.last_refusal().unwrap());
    assert_eq!((told.code, told.by_peer), (Some(CloseCode::Fingerprint), true), "{told}");
    assert_eq!((own.code, own.by_peer), (Some(CloseCode::Fingerprint), false), "{own}");
    assert!(b.relay.links().is_empty() && d.relay.links().is_empty());
    b.relay.forget(&d.peer.node, d.peer.incarnation);
    // The right one still comes in.
    let mut e = TestNode::start(&registry, with(authority.trust("e", "freshet-relay"), "e", 7)).await;
    e.relay.dial(b.peer.clone());
    e.up().await;
    b.up().await;
    until("both have it", || b.relay.links().len() == 1).await;
}

#[tokio::test]
async fn a_file_that_cannot_be_used_is_named() {
    let authority = Authority::new();
    let Trust::CaFiles { ca, cert, .. } = authority.trust("a", "freshet-relay") else { panic!("not files") };
    std::fs::write(authority.path("empty.pem"), "").unwrap();
    for (ca, cert, key, named) in [
        (authority.path("none.pem"), cert.clone(), authority.path("a.key"), "none.pem"),
        (ca.clone(), authority.path("empty.pem"), authority.path("a.key"), "empty.pem"),
        (ca.clone(), cert.clone(), cert.clone(), "a.pem"),
    ] {
        let media = freshet_node::shard::Intake::new(1);
        let config = with(Trust::CaFiles { ca, cert, key }, "a", 1);
        let registry = std::sync::Arc::new(Registry::default());
        let Err(error) = Relay::bind(config, registry, media).await else { panic!("{named} was taken") };
        assert!(matches!(error, RelayError::File { .. }), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}
