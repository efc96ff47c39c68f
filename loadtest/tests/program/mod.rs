//! The program as people start it.

#![allow(dead_code, reason = "each test takes what it needs")]

use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::{Child, Command};

/// Runs it to its end, which comes within a minute.
pub async fn loadtest(arguments: &[&str]) -> Output {
    loadtest_in(&[], arguments).await
}

/// The same with variables in its environment.
pub async fn loadtest_in(environment: &[(&str, &str)], arguments: &[&str]) -> Output {
    ended(start(environment, arguments)).await
}

/// Starts it; it ends at the latest when nobody holds it any more.
pub fn start(environment: &[(&str, &str)], arguments: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_freshet-loadtest"));
    command.args(arguments).envs(environment.iter().copied()).stdin(Stdio::null()).kill_on_drop(true);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for its end, which comes within a minute.
pub async fn ended(program: Child) -> Output {
    let ending = program.wait_with_output();
    tokio::time::timeout(Duration::from_secs(60), ending).await.expect("the program ends").unwrap()
}
