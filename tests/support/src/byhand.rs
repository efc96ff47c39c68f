//! A cluster as docs/operate.md starts it by hand: the manual's own lines, on machines of a test.

use std::path::Path;
use std::process::Command;

use crate::nets::{Net, all_documented, blocks};
use crate::{Process, program, remember_secret, token_of};

const MANUAL: &str = include_str!("../../../docs/operate.md");
const KEYS: &str = "## A cluster by hand";

/// Keys and the cluster's secret, etcd, NATS, and what was started beside them. All of it ends when this is dropped.
pub struct ByHand {
    test: &'static str,
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    pub processes: Vec<Process>,
    /// What the manual's lines say when they have made the keys: a token.
    pub token: String,
}

impl ByHand {
    /// Starts etcd and NATS on a machine by the lines of a section, which says in a line for all others where they are.
    pub fn start(test: &'static str, machine: &Net, heading: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let token = make_keys(dir.path());
        let named = all_documented(MANUAL, heading, "export").concat();
        let pair = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let env: Vec<_> = named.iter().map(|word| pair(word.split_once('=').expect("a variable"))).collect();
        assert!(!env.is_empty(), "{heading}: the manual says where etcd and NATS are");
        let mut hand = Self { test, dir, env, processes: Vec::new(), token };
        for program in ["etcd", "nats-server"] {
            let line = line(heading, program);
            // The manual's folders lie in the test's own, where all of it runs.
            let here = |word: &str| word.strip_prefix("/tmp/").or(word.strip_prefix("/var/lib/")).is_some();
            let words = line.iter().map(String::as_str);
            let args: Vec<&str> =
                words.map(|word| if here(word) { word.rsplit('/').next().unwrap() } else { word }).collect();
            let process = machine.start(hand.dir.path(), test, program, &args, &[]);
            hand.processes.push(process);
        }
        hand
    }

    /// Starts `freshet` by a line of the manual. On a machine of its own it would have a name of its own: this one.
    pub fn run(&mut self, machine: &Net, name: &str, line: &[String]) {
        let args: Vec<&str> = line.iter().map(String::as_str).collect();
        let mut env: Vec<(&str, &str)> = self.env.iter().map(|(key, value)| (&**key, &**value)).collect();
        // A debug build on a machine that runs other tests is busy at times.
        env.extend([("FRESHET_ID", name), ("FRESHET_MAX_BUSY", "100%")]);
        self.processes.push(machine.start(
            self.dir.path(),
            self.test,
            program().to_str().unwrap(),
            &args,
            &env,
        ));
    }

    /// Runs the block of a section's lines in which these words stand, where all of it runs; what it prints.
    pub fn shell(&self, heading: &str, words: &str) -> String {
        shell(self.dir.path(), heading, words)
    }

    /// A token by the manual's key.
    pub fn token(&self, room: &str, identity: &str, grants: &str) -> String {
        let keys = self.dir.path().join("keys");
        token_of(("FRESHET_API_KEY_FILE", keys.as_ref()), room, identity, grants)
    }

    /// Where all of it runs.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for ByHand {
    #[allow(clippy::print_stderr, reason = "what the processes said is shown where a test fails")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            for process in &self.processes {
                eprintln!("--- {}\n{}", process.name, process.tail());
            }
        }
    }
}

/// The one line of a section for a program, without its name.
pub fn line(heading: &str, program: &str) -> Vec<String> {
    let mut lines = all_documented(MANUAL, heading, program);
    assert_eq!(lines.len(), 1, "{heading}: {program}");
    lines.remove(0)
}

/// The lines of a section for `freshet`, of one role.
pub fn lines(heading: &str, role: &str) -> Vec<Vec<String>> {
    let all = all_documented(MANUAL, heading, "freshet");
    all.into_iter().filter(|line| line.first().is_some_and(|word| word == role)).collect()
}

/// Runs a block of the manual's lines in a folder; what they print.
fn shell(dir: &Path, heading: &str, words: &str) -> String {
    let blocks = blocks(MANUAL, heading);
    let script = blocks.iter().find(|block| block.contains(words)).expect("a block with these words");
    let program = program();
    let bin = program.parent().unwrap().display();
    let path = format!("{bin}:{}", std::env::var("PATH").unwrap_or_default());
    let out = Command::new("sh").args(["-ec", script]).current_dir(dir).env("PATH", path).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

/// Runs the manual's lines that make keys and secret; what the last one prints.
fn make_keys(dir: &Path) -> String {
    let token = shell(dir, KEYS, "> keys");
    let read = |name: &str| std::fs::read_to_string(dir.join(name)).unwrap().trim().to_owned();
    remember_secret(read("keys").split_once(':').expect("ID:SECRET").1);
    remember_secret(&read("secret"));
    remember_secret(&token);
    token
}
