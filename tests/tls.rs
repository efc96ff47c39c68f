//! TLS by the server itself: `freshet dev --tls` for a desk, `--tls-cert` for nodes and coordinators.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use freshet_cluster::testing::free_ports;
use freshet_loadtest::client::{Publisher, PublisherConfig, Trust, Viewer, ViewerConfig};
use freshet_test_support as support;
use support::client::{Pair, believe, trust};
use support::{Cluster, Flags, Listener, Plan, Process, eventually, publish, request, token, view};

const SOON: Duration = Duration::from_secs(20);

/// `freshet dev --tls` with a state folder, once it has said where it is; and what it said.
async fn dev(dir: &Path, name: &str, port: u16) -> (Process, Vec<String>) {
    let args = ["dev", "--tls", "--max-busy", "100%", "--listen", &format!("127.0.0.1:{port}")];
    let args = args.map(str::to_owned);
    let state = dir.join("state");
    let process = Process::start(dir, "tls", name, &args, &[("XDG_STATE_HOME", state.to_str().unwrap())]);
    let said = eventually(SOON, "dev says where it is", || async {
        let text = std::fs::read_to_string(&process.log).unwrap_or_default();
        text.contains("may publish and watch").then(|| text.lines().map(str::to_owned).collect::<Vec<_>>())
    })
    .await;
    (process, said)
}

/// The line that is a fingerprint.
fn fingerprint(said: &[String]) -> &str {
    said.iter().find(|line| line.len() == 95 && line.matches(':').count() == 31).expect("a fingerprint")
}

async fn plays(base: &str, room: &str, trust: &Trust) {
    let config =
        PublisherConfig { trust: trust.clone(), ..PublisherConfig::new(format!("{base}/whip/{room}")) };
    let publisher = Publisher::connect(config).await.expect("a publisher joins");
    let url = format!("{base}/whep/{room}");
    let config = ViewerConfig { trust: trust.clone(), retry_for: SOON, ..ViewerConfig::new(url) };
    let viewer = Viewer::connect(config).await.expect("a viewer joins");
    assert!(viewer.wait_for_media(SOON).await, "media comes");
    viewer.stop().await.unwrap();
    publisher.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dev_makes_a_certificate_that_lasts_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>();
    let base = format!("https://127.0.0.1:{port}");
    let (mut process, said) = dev(dir.path(), "dev-1", port).await;
    assert!(said.contains(&format!("Freshet is at {base}/")), "{said:?}");
    let cert = dir.path().join("state/freshet/dev-tls/cert.pem");
    assert!(said.iter().any(|line| line.contains(&*cert.parent().unwrap().to_string_lossy())), "{said:?}");
    let openssl = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-ext", "subjectAltName", "-in"])
        .arg(&cert)
        .output()
        .expect("openssl is installed");
    let shown = String::from_utf8_lossy(&openssl.stdout).into_owned();
    let print = fingerprint(&said).to_owned();
    assert!(shown.contains(&print), "{shown}");
    for name in ["DNS:localhost", "IP Address:127.0.0.1", "IP Address:0:0:0:0:0:0:0:1"] {
        assert!(shown.contains(name), "{shown}");
    }

    // Nobody who was not told to believe it does.
    let stranger = PublisherConfig::new(format!("{base}/whip/desk"));
    assert!(Publisher::connect(stranger).await.is_err(), "it signed itself");
    believe(&cert);
    plays(&base, "desk", &trust(&cert)).await;
    let plain = request("GET", &format!("http://127.0.0.1:{port}/v1/config"), None, &[], "").await.unwrap();
    assert_eq!((plain.status, &plain.json()["reason"]), (400, &"tls-needed".into()));
    let metrics = request("GET", &format!("{base}/metrics"), None, &[], "").await.unwrap();
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("freshet_coordinator_http_tls_expires_timestamp_seconds "), "{metrics}");

    process.signal("-TERM");
    assert_eq!(process.wait(Duration::from_secs(8)), Some(0), "{}", process.tail());
    let [port] = free_ports::<1>();
    let (process, said) = dev(dir.path(), "dev-2", port).await;
    assert_eq!(fingerprint(&said), print, "the same after a restart");
    plays(&format!("https://127.0.0.1:{port}"), "desk", &trust(&cert)).await;
    drop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_and_coordinators_with_certificates_serve_clients_and_reach_each_other() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), &["127.0.0.1"]);
    let files = [&pair.cert, &pair.key].map(|path| path.display().to_string());
    let flags: Flags = Box::new(move |name| {
        let tls = ["--tls-cert", &files[0], "--tls-key", &files[1]].map(str::to_owned).to_vec();
        match name {
            "coordinator-1" => Vec::new(),
            _ if name.starts_with("node") => {
                [tls, vec!["--listen-plain".into(), "127.0.0.1:0".into()]].concat()
            }
            _ => tls,
        }
    });
    let plan = Plan { nodes: 1, coordinators: 2, max_sessions: 10 };
    let cluster = Cluster::start_as("tls-cluster", plan, flags).await;
    let (host, watch) = (token("show", "host", "publish"), token("show", "guest", "subscribe"));
    let outside = cluster.url(1);
    assert!(outside.starts_with("https://"), "{outside}");
    // Through coordinators of both kinds, whose calls reach a node that speaks TLS to clients.
    let publisher = publish(&outside, "show", &host, |config| config.trust = pair.trust()).await;
    let viewer = view(&cluster.url(0), "show", &watch, |_| {}).await;
    assert!(viewer.wait_for_media(SOON).await, "media comes");
    let room = Listener::open(&outside, "show", &watch).await;
    eventually(SOON, "the room's events come by TLS", || async {
        room.text().contains("event: snapshot").then_some(())
    })
    .await;
    // And at the node itself.
    let node = format!("https://127.0.0.1:{}", cluster.node_ports[0]);
    let near = view(&node, "show", &watch, |config| config.trust = pair.trust()).await;
    assert!(near.wait_for_media(SOON).await, "media comes to who joined at the node");
    near.stop().await.unwrap();
    viewer.stop().await.unwrap();
    publisher.stop().await.unwrap();

    // A renewed certificate is shown without a restart: who believes the old one alone is refused then.
    let old = pair.trust();
    let renewed = Pair::make(dir.path(), &["127.0.0.1"]);
    eventually(SOON, "the new certificate is shown", || async {
        let mut config = ViewerConfig::new(format!("{node}/whep/show?wait=1"));
        (config.token, config.trust) = (Some(watch.clone()), renewed.trust());
        let viewer = Viewer::connect(ViewerConfig { connect_timeout: SOON, ..config }).await.ok()?;
        viewer.stop().await.ok()
    })
    .await;
    let mut config = ViewerConfig::new(format!("{node}/whep/show?wait=1"));
    (config.token, config.trust) = (Some(watch), old);
    assert!(Viewer::connect(config).await.is_err(), "the old one is not");
}

/// Runs curl over HTTP/2 so often with this offer, and counts what it got: its exit code, and the status of the answer.
fn curls(base: &str, path: &str, headers: &[&str], body: &Path, times: usize) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for _ in 0..times {
        let mut curl = std::process::Command::new("curl");
        curl.args(["--silent", "--insecure", "--http2", "--max-time", "20", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_version} %{http_code} %{exitcode}", "--data-binary"]);
        curl.arg(format!("@{}", body.display()));
        for header in headers {
            curl.args(["--header", header]);
        }
        let out = curl.arg(format!("{base}{path}")).output().expect("curl is installed");
        *seen.entry(String::from_utf8_lossy(&out.stdout).into_owned()).or_default() += 1;
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_early_answer_is_lost_by_http_2() {
    const TIMES: usize = 25;
    let dir = tempfile::tempdir().unwrap();
    let [port] = free_ports::<1>();
    let base = format!("https://127.0.0.1:{port}");
    let args = ["dev", "--tls", "--max-busy", "100%", "--listen", &format!("127.0.0.1:{port}")];
    let state = dir.path().join("state");
    let env = [("XDG_STATE_HOME", state.to_str().unwrap()), ("FRESHET_API_KEY", support::KEY)];
    let process = Process::start(dir.path(), "tls", "dev-early", &args.map(str::to_owned), &env);
    eventually(SOON, "dev says where it is", || async {
        std::fs::read_to_string(&process.log).unwrap_or_default().contains(&base).then_some(())
    })
    .await;

    let (offer, large) = (dir.path().join("offer"), dir.path().join("large"));
    std::fs::write(&offer, include_str!("data/offer-view.sdp").replace('\n', "\r\n")).unwrap();
    std::fs::write(&large, vec![b'x'; 200_000]).unwrap();
    let good = format!("Authorization: Bearer {}", token("show", "guest", "subscribe"));
    let sdp = "Content-Type: application/sdp";
    for (status, path, headers, body) in [
        (400, "/whep/no%20room", &[sdp, &good] as &[&str], &offer),
        (401, "/whep/show", &[sdp], &offer),
        (401, "/whep/show", &[sdp, "Authorization: Bearer x"], &offer),
        (405, "/nowhere", &[sdp], &offer),
        (413, "/whep/show", &[sdp, &good], &large),
        (415, "/whep/show", &["Content-Type: text/plain", &good], &offer),
    ] {
        let seen = curls(&base, path, headers, body, TIMES);
        assert_eq!(seen, BTreeMap::from([(format!("2 {status} 0"), TIMES)]), "{path} {headers:?}");
    }
    drop(process);
}
