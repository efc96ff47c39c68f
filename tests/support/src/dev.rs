//! `freshet dev`, and the scripts of `tests/browser`.

#![allow(clippy::print_stdout)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::{Process, hears};

/// `freshet dev` with as many nodes, each with room for as many sessions.
pub struct Dev {
    process: Process,
    url: String,
    dir: tempfile::TempDir,
}

/// How a script went.
pub struct Outcome {
    pub ok: bool,
    /// The JSON object that it printed; null if it printed none.
    pub result: serde_json::Value,
    /// All that was said, for a failure's message.
    pub said: String,
}

/// Runs a script of `tests/browser` with this environment, whatever becomes of it.
pub fn browse(name: &str, env: &[(&str, &str)]) -> Outcome {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../browser");
    assert!(folder.join("node_modules").exists(), "run `npm ci` in tests/browser first (`make test` does)");
    let mut command = Command::new("node");
    let out = command.arg(name).current_dir(&folder).envs(env.iter().copied()).output().expect("node runs");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    println!("{text}");
    let errors = String::from_utf8_lossy(&out.stderr);
    let result: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
    // The reason first: whoever reads only a failure's first line should have it.
    let reason = result["error"].as_str().unwrap_or("no reason given");
    let said = format!("{name}: {reason}\n{text}{errors}");
    Outcome { ok: out.status.success(), result, said }
}

impl Dev {
    /// Starts it and waits until its nodes are alive.
    pub async fn start(test: &str, nodes: usize, max_sessions: usize) -> Self {
        Self::start_with(test, nodes, max_sessions, &[]).await
    }

    /// The same with more environment.
    pub async fn start_with(test: &str, nodes: usize, max_sessions: usize, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [port] = freshet_cluster::testing::free_ports::<1>();
        let args = [
            "dev".to_owned(),
            "--nodes".to_owned(),
            nodes.to_string(),
            "--max-sessions".to_owned(),
            max_sessions.to_string(),
            // A debug build on a machine that runs other tests is busy at times.
            "--max-busy".to_owned(),
            "100%".to_owned(),
            "--listen".to_owned(),
            format!("127.0.0.1:{port}"),
        ];
        let process = Process::start(dir.path(), test, "dev", &args, env);
        let url = format!("http://127.0.0.1:{port}");
        hears(&url, nodes, None).await;
        Self { process, url, dir }
    }

    /// Runs a script of `tests/browser` against it with more environment, whatever becomes of it.
    pub fn run(&self, name: &str, env: &[(&str, &str)]) -> Outcome {
        let shots = self.dir.path().join("shots").display().to_string();
        let own: [(&str, &str); 3] =
            [("FRESHET_PUBLISH_URL", &self.url), ("FRESHET_WATCH_URL", &self.url), ("FRESHET_SHOTS", &shots)];
        let outcome = browse(name, &[own.as_slice(), env].concat());
        Outcome { said: format!("{}\n{}", outcome.said, self.process.tail()), ..outcome }
    }

    /// Runs a script that must succeed, and returns what it printed.
    pub fn script(&self, name: &str) -> serde_json::Value {
        let outcome = self.run(name, &[]);
        assert!(outcome.ok, "{}", outcome.said);
        outcome.result
    }

    /// Where it serves.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its first node serves, as it says itself.
    pub fn node_url(&self) -> String {
        self.url_of(1)
    }

    /// Where one of its nodes serves, counted from 1.
    pub fn url_of(&self, node: usize) -> String {
        let begins = format!("  node-{node} ");
        // It says so a moment after it is ready.
        for _ in 0..200 {
            let said = std::fs::read_to_string(&self.process.log).unwrap();
            let line = said.lines().rev().find_map(|line| line.strip_prefix(&begins));
            if let Some((url, _)) = line.and_then(|line| line.trim().split_once("/metrics")) {
                return url.to_owned();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no line for each node: {}", self.process.tail());
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        self.process.pid()
    }

    /// Memory that it holds, in bytes.
    pub fn resident_bytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its resident memory");
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
    }

    /// Ends at once, as a machine does that loses its power.
    pub fn kill(mut self) {
        self.process.kill();
    }

    /// Ends in order: exit code 0 within 5 seconds.
    pub fn stop(mut self) {
        self.process.signal("-TERM");
        assert_eq!(self.process.wait(Duration::from_secs(8)), Some(0), "{}", self.process.tail());
    }
}
