//! TLS with certificates on both sides, users and tokens, against real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::path::PathBuf;

use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_cluster::bus::nats::{NatsBus, NatsConfig};
use freshet_cluster::bus::{Bus, BusError};
use freshet_cluster::secret::Secret;
use freshet_cluster::store::etcd::{EtcdConfig, EtcdStore};
use freshet_cluster::store::{Expect, Follow, Store, StoreError};
use freshet_cluster::testing::{EtcdServer, NatsServer, TlsFiles};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

const SOON: Duration = Duration::from_secs(10);

/// An authority, a certificate for 127.0.0.1 and one for a client, as files.
struct Papers {
    dir: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Papers {
    fn new() -> Self {
        // Two libraries bring a provider each; the process names one, as the program does.
        let _set = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let papers = Self { dir: tempfile::tempdir().unwrap(), ca };
        std::fs::write(papers.path("ca.pem"), papers.ca.pem()).unwrap();
        for name in ["server", "client"] {
            let params = CertificateParams::new(vec!["127.0.0.1".into()]).unwrap();
            let key = KeyPair::generate().unwrap();
            let cert = params.signed_by(&key, &papers.ca).unwrap();
            std::fs::write(papers.path(&format!("{name}.pem")), cert.pem()).unwrap();
            std::fs::write(papers.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        papers
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn etcd_with_tls_on_both_sides() {
    let papers = Papers::new();
    let files = TlsFiles {
        ca: papers.path("ca.pem"),
        cert: papers.path("server.pem"),
        key: papers.path("server.key"),
    };
    let server = EtcdServer::start_with(Some(files));
    let config = EtcdConfig {
        endpoints: vec![server.url()],
        ca: Some(papers.path("ca.pem")),
        cert: Some(papers.path("client.pem")),
        key: Some(papers.path("client.key")),
        ..EtcdConfig::default()
    };
    let store = EtcdStore::new(config.clone()).unwrap();
    let mut rx = store.follow("/p/");
    assert!(matches!(rx.recv().await.unwrap(), Follow::Snapshot { wiped: false, .. }));
    store.put("/p/a", Bytes::from_static(b"1"), Expect::Absent, None).await.unwrap();
    assert!(matches!(rx.recv().await.unwrap(), Follow::Put(e) if e.key == "/p/a"));

    let nobody = EtcdStore::new(EtcdConfig { cert: None, key: None, ..config.clone() }).unwrap();
    assert!(
        matches!(nobody.get("/p/a").await, Err(StoreError::Unavailable(_))),
        "no certificate, no connection"
    );
    let others = Papers::new();
    let stranger = EtcdStore::new(EtcdConfig { ca: Some(others.path("ca.pem")), ..config.clone() }).unwrap();
    assert!(
        matches!(stranger.get("/p/a").await, Err(StoreError::Unavailable(_))),
        "an authority that we do not trust"
    );

    let half = EtcdStore::new(EtcdConfig { key: None, ..config.clone() });
    assert!(matches!(half, Err(StoreError::Refused(_))));
    let missing =
        EtcdStore::new(EtcdConfig { ca: Some("/nowhere/ca.pem".into()), ..config.clone() }).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/ca.pem"), "{missing}");
    let plain = EtcdStore::new(EtcdConfig { endpoints: vec!["http://127.0.0.1:1".into()], ..config });
    assert!(matches!(plain, Err(StoreError::Refused(_))), "TLS files without https are a mistake");
}

async fn up(bus: &NatsBus) -> bool {
    let begun = Instant::now();
    while begun.elapsed() < SOON {
        if bus.is_up() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    false
}

/// It must not come up: a refusal shows within a few tries.
async fn stays_down(bus: &NatsBus) -> bool {
    tokio::time::sleep(Duration::from_millis(700)).await;
    !bus.is_up()
}

async fn works(config: NatsConfig) {
    let bus = NatsBus::connect(config).await.unwrap();
    assert!(up(&bus).await, "it connects");
    bus.append("freshet.v1.room.a.chat", "id", Bytes::from_static(b"x")).await.unwrap();
}

#[tokio::test]
async fn nats_with_tls_on_both_sides() {
    let papers = Papers::new();
    let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"].map(|name| papers.text(name));
    let server =
        NatsServer::start_with(&["--tlsverify", "--tlscert", &cert, "--tlskey", &key, "--tlscacert", &ca]);
    let config = NatsConfig {
        servers: vec![server.url().replace("nats://", "tls://")],
        ca: Some(papers.path("ca.pem")),
        cert: Some(papers.path("client.pem")),
        key: Some(papers.path("client.key")),
        ..NatsConfig::default()
    };
    works(config.clone()).await;
    let nobody = NatsBus::connect(NatsConfig { cert: None, key: None, ..config.clone() }).await.unwrap();
    assert!(stays_down(&nobody).await, "no certificate, no connection");
    let others = Papers::new();
    let stranger = NatsConfig { ca: Some(others.path("ca.pem")), ..config.clone() };
    assert!(
        stays_down(&NatsBus::connect(stranger).await.unwrap()).await,
        "an authority that we do not trust"
    );
    let half = NatsBus::connect(NatsConfig { key: None, ..config }).await;
    assert!(matches!(half, Err(BusError::Refused(_))));
}

#[tokio::test]
async fn nats_with_a_user_and_with_a_token() {
    let server = NatsServer::start_with(&["--user", "freshet", "--pass", "s3cr3t"]);
    let config = |user: Option<(&str, &str)>| NatsConfig {
        servers: vec![server.url()],
        user: user.map(|(name, password)| (name.into(), Secret::new(password))),
        ..NatsConfig::default()
    };
    works(config(Some(("freshet", "s3cr3t")))).await;
    assert!(stays_down(&NatsBus::connect(config(Some(("freshet", "wrong")))).await.unwrap()).await);
    assert!(stays_down(&NatsBus::connect(config(None)).await.unwrap()).await);

    let server = NatsServer::start_with(&["--auth", "t0k3n"]);
    let config = |token: &str| NatsConfig {
        servers: vec![server.url()],
        token: Some(Secret::new(token)),
        ..NatsConfig::default()
    };
    works(config("t0k3n")).await;
    assert!(stays_down(&NatsBus::connect(config("wrong")).await.unwrap()).await);
}

#[tokio::test]
async fn nats_credentials_must_be_a_file_that_is_there() {
    let config = NatsConfig {
        servers: vec!["nats://127.0.0.1:1".into()],
        creds: Some("/nowhere/nats.creds".into()),
        ..NatsConfig::default()
    };
    let missing = NatsBus::connect(config).await.unwrap_err().to_string();
    assert!(missing.contains("/nowhere/nats.creds"), "{missing}");
    assert!(matches!(NatsBus::connect(NatsConfig::default()).await, Err(BusError::Refused(_))), "no server");
    assert!(matches!(EtcdStore::new(EtcdConfig::default()), Err(StoreError::Refused(_))), "no endpoint");
    // A secret never shows in a debug print of what holds it.
    let shown = format!("{:?}", NatsConfig { token: Some(Secret::new("t0k3n")), ..NatsConfig::default() });
    assert!(!shown.contains("t0k3n"), "{shown}");
}

/// A server that tells of another one and then goes; how often either was connected to.
async fn announcing(named_only: bool) -> (usize, usize) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let bind = || tokio::net::TcpListener::bind("127.0.0.1:0");
    let (first, other) = (bind().await.unwrap(), bind().await.unwrap());
    let (named, told) = (first.local_addr().unwrap(), other.local_addr().unwrap());
    let config = NatsConfig { servers: vec![format!("nats://{named}")], named_only, ..NatsConfig::default() };
    let bus = NatsBus::connect(config).await.unwrap();
    let info = format!(
        "INFO {{\"server_id\":\"a\",\"server_name\":\"a\",\"version\":\"2.9.10\",\"host\":\"127.0.0.1\",\"port\":4222,\
         \"headers\":true,\"max_payload\":1048576,\"proto\":1,\"client_id\":1,\"go\":\"go1.19\",\
         \"connect_urls\":[\"{told}\"]}}\r\n"
    );
    let (mut ours, mut others) = (0, 0);
    let end = tokio::time::Instant::now() + Duration::from_secs(4);
    while others == 0 && ours < 4 {
        tokio::select! {
            came = first.accept() => {
                ours += 1;
                let mut stream = came.unwrap().0;
                stream.write_all(info.as_bytes()).await.unwrap();
                let mut said = [0; 4_096];
                let _connect = stream.read(&mut said).await;
                let _pong = stream.write_all(b"PONG\r\n").await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            came = other.accept() => {
                drop(came);
                others += 1;
            }
            () = tokio::time::sleep_until(end) => break,
        }
    }
    drop(bus);
    (ours, others)
}

#[tokio::test]
async fn who_goes_to_named_servers_alone_does_not_follow_announcements() {
    assert_eq!(announcing(true).await, (4, 0));
    let (ours, others) = announcing(false).await;
    assert!(ours > 0 && others == 1, "members of a cluster do: {ours} {others}");
}
