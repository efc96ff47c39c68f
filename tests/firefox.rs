//! A real Firefox publishes and watches. It gathers no candidates on loopback, so it and the server share a network
//! namespace that goes with the test.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::Path;
use std::process::Command;

#[test]
fn firefox_publishes_and_watches_with_an_aead_cipher() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    assert!(folder.join("node_modules").exists(), "run `npm ci` in tests/browser first (`make test` does)");
    let out = Command::new("bash")
        .args(["namespace.sh", "node", "firefox.mjs"])
        .current_dir(&folder)
        .env("FRESHET_BIN", env!("CARGO_BIN_EXE_freshet"))
        .output()
        .expect("bash runs");
    let text = String::from_utf8_lossy(&out.stdout);
    println!("{text}");
    assert!(out.status.success(), "{text}{}", String::from_utf8_lossy(&out.stderr));
}
