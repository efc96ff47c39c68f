//! The program as people start it.

use std::process::{Output, Stdio};
use std::time::Duration;

/// Runs it to its end, which comes within a minute.
pub async fn loadtest(arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_freshet-loadtest"));
    let running = command.args(arguments).stdin(Stdio::null()).kill_on_drop(true).output();
    tokio::time::timeout(Duration::from_secs(60), running).await.expect("the program ends").unwrap()
}
