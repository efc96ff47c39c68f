//! The real pages in a real Chromium, over a cluster in one process: publishers and viewers on different nodes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::{Process, eventually, request};

/// `freshet dev` with as many nodes, each with room for as many sessions.
struct Dev {
    process: Process,
    url: String,
    dir: tempfile::TempDir,
}

impl Dev {
    async fn start(test: &str, nodes: usize, max_sessions: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [port] = freshet_cluster::testing::free_ports::<1>();
        let args = [
            "dev".to_owned(),
            "--nodes".to_owned(),
            nodes.to_string(),
            "--max-sessions".to_owned(),
            max_sessions.to_string(),
            "--listen".to_owned(),
            format!("127.0.0.1:{port}"),
        ];
        let process = Process::start(dir.path(), test, "dev", &args, &[]);
        let url = format!("http://127.0.0.1:{port}");
        eventually(Duration::from_secs(20), "dev is ready", || async {
            let answer = request("GET", &format!("{url}/v1/nodes"), None, &[], "").await?;
            let alive = answer.json()["nodes"].as_array()?.iter().filter(|n| n["state"] == "alive").count();
            (alive == nodes).then_some(())
        })
        .await;
        Self { process, url, dir }
    }

    /// Runs a script of `tests/browser` against it.
    fn script(&self, name: &str) -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        assert!(
            folder.join("node_modules").exists(),
            "run `npm ci` in tests/browser first (`make test` does)"
        );
        let shots = self.dir.path().join("shots");
        let out = Command::new("node")
            .arg(name)
            .current_dir(&folder)
            .env("FRESHET_PUBLISH_URL", &self.url)
            .env("FRESHET_WATCH_URL", &self.url)
            .env("FRESHET_SHOTS", &shots)
            .output()
            .expect("node runs");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        println!("{text}");
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{name}: {text}{said}\n{}", self.process.tail());
        text
    }

    /// Ends in order: exit code 0 within 5 seconds.
    fn stop(mut self) {
        self.process.signal("-TERM");
        assert_eq!(self.process.wait(Duration::from_secs(8)), Some(0), "{}", self.process.tail());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_publishes_on_one_node_and_another_watches_on_another_and_they_chat() {
    // One session a node: the viewer cannot be where the publisher is.
    let dev = Dev::start("pages-watch", 3, 1).await;
    let result: serde_json::Value = serde_json::from_str(&dev.script("watch.mjs")).unwrap();
    assert!(result["frames"].as_u64().unwrap() > 60, "{result}");
    assert!(result["srtpCipher"].as_str().unwrap().contains("AEAD"), "{result}");
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_node_is_enough_and_every_page_looks_right() {
    let dev = Dev::start("pages-one", 1, 100).await;
    dev.script("watch.mjs");
    dev.script("pages.mjs");
    dev.stop();
}
