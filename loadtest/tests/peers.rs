//! Foreign servers, on stacks that share no code with the harness: it works against them as it is.
//!
//! Both are built here once, from what registries have by the lock files beside them: `loadtest/peers`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod program;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
use program::loadtest;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(20);

fn sources(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers").join(name)
}

/// Where what was built stays between runs.
fn built() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("peers");
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Runs a command that must succeed.
fn must(command: &mut Command, needs: &str) {
    let out = command.stdin(Stdio::null()).output();
    let out = out.unwrap_or_else(|error| panic!("{command:?}: {error}: this test needs {needs}"));
    let said = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{command:?}: {said}");
}

/// The server on Pion. Go itself knows what of it is built already.
fn pion() -> Command {
    let program = built().join("pion");
    let mut go = Command::new("go");
    go.args(["build", "-mod=readonly", "-trimpath", "-o"]).arg(&program).arg(".");
    must(go.current_dir(sources("pion")).env("CGO_ENABLED", "0"), "Go 1.24 or newer (go.dev)");
    Command::new(program)
}

/// The server on aiortc, in an environment of its own that is made anew when its list of packages changes.
fn aiortc() -> Command {
    let (venv, list) = (built().join("venv"), sources("aiortc").join("requirements.txt"));
    let (stamp, wanted) = (venv.join("made-from.txt"), std::fs::read(&list).unwrap());
    if std::fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        let needs = "Python 3.11 or newer with venv (Debian: python3-venv)";
        must(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv), needs);
        let pip = ["install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:", "-r"];
        must(Command::new(venv.join("bin/pip")).args(pip).arg(&list), needs);
        std::fs::write(&stamp, wanted).unwrap();
    }
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(sources("aiortc").join("server.py"));
    command
}

/// A server that runs; it ends with its standard input, however this test ends.
struct Peer {
    child: Child,
    base: String,
}

impl Peer {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut address = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut address).unwrap();
        assert!(!address.trim().is_empty(), "it says where it listens");
        Self { child, base: format!("http://{}", address.trim()) }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Publishing, watching, keyframes on request, what is optional, and goodbye.
async fn sessions(base: &str) {
    let mut config = PublisherConfig::new(format!("{base}/whip/one"));
    config.video.as_mut().unwrap().gop = 0;
    let publisher = Publisher::connect(config).await.unwrap();
    let watch = ViewerConfig { retry_for: SOON, ..ViewerConfig::new(format!("{base}/whep/one")) };
    for _ in 0..2 {
        let asked = publisher.stats().keyframe_requests;
        let viewer = Viewer::connect(watch.clone()).await.unwrap();
        assert!(viewer.wait_for_media(SOON).await, "{:?}", viewer.report());
        assert!(publisher.stats().keyframe_requests > asked, "there is no other keyframe");
        assert_eq!(viewer.resource().etag(), None, "this server has none");
        let refused = viewer.resource().trickle(&[], true).await.unwrap_err();
        assert_eq!(refused.status(), Some(405), "{refused}");
        let before = viewer.report().video().unwrap().received;
        assert!(viewer.wait_until(SOON, |report| report.video().unwrap().received > before + 100).await);
        viewer.stop().await.unwrap();
    }
    publisher.stop().await.unwrap();
    let gone = ViewerConfig::new(format!("{base}/whep/nobody"));
    assert_eq!(Viewer::connect(gone).await.unwrap_err().status(), Some(409));
}

/// A run as people make it: every packet comes, whole, in order and once.
async fn run(base: &str, codec: &str) {
    let (whip, whep) = (format!("{base}/whip/{codec}"), format!("{base}/whep/{codec}"));
    let target = ["run", "--whip", &whip, "--whep", &whep, "--codec", codec, "--bitrate", "600k"];
    let load =
        ["--viewers", "4", "--ramp", "storm", "--duration", "5s", "--threads", "1", "--json", "--quiet"];
    let bounds =
        ["loss>0%", "failed>0", "silent>0", "mismatched>0", "out-of-order>0", "ended>0", "duplicates>0"];
    let bounds: Vec<&str> = bounds.iter().flat_map(|bound| ["--fail-if", bound]).collect();
    let output = loadtest(&[&target[..], &load, &bounds].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{codec}: {said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["viewers"]["seated"], 4, "{report}");
    assert_eq!((&report["packets"]["unstamped"], &report["packets"]["rejected"]), (&0.into(), &0.into()));
    assert!(report["packets"]["received"].as_u64().unwrap() > 4 * 150, "{report}");
    assert_eq!(report["join"]["first_keyframe_ms"]["count"], 4, "{report}");
    assert!(report["latency_ms"]["p50"].as_f64().unwrap() < 250.0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pion_is_published_to_and_watched() {
    let peer = Peer::start(tokio::task::spawn_blocking(pion).await.unwrap());
    sessions(&peer.base).await;
    run(&peer.base, "h264").await;
    run(&peer.base, "vp8").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn aiortc_is_published_to_and_watched() {
    let peer = Peer::start(tokio::task::spawn_blocking(aiortc).await.unwrap());
    sessions(&peer.base).await;
    run(&peer.base, "h264").await;
    run(&peer.base, "vp8").await;
}
