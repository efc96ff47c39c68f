//! Chat clients against a scripted server: what it loses, repeats and swaps is what they count, to the message.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod chat_server;
mod program;

use std::process::Output;

use chat_server::{ChatServer, Script};
use program::loadtest;
use serde_json::Value;

const CLIENTS: f64 = 4.0;

async fn run(server: &ChatServer, arguments: &[&str]) -> Output {
    let room = server.room();
    let usual = ["run", "--chat-url", &room, "--chat-clients", "4", "--chat-rate", "20/s", "--threads", "1"];
    let long = if arguments.contains(&"--duration") { &[][..] } else { &["--duration", "4s"] };
    loadtest(&[&usual[..], long, arguments].concat()).await
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("{path} in {report:#}"))
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_fault_has_none() {
    let server = ChatServer::start(Script::default()).await;
    let bounds: Vec<&str> = [
        "chat-lost>0",
        "chat-repeated>0",
        "chat-out-of-order>0",
        "chat-unacknowledged>0",
        "chat-delay-p99>3s",
    ]
    .into_iter()
    .flat_map(|bound| ["--fail-if", bound])
    .collect();
    let output = run(&server, &[&["--json"][..], &bounds].concat()).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let report = json(&output);
    let is = |path: &str, value: f64| assert_eq!(number(&report, path), value, "{path} in {report:#}");
    let sent = server.stored() as f64;
    assert!((60.0..=85.0).contains(&sent), "20 a second for 4 s: {report:#}");
    is("/chat/sent", sent);
    is("/chat/acknowledged", sent);
    is("/chat/connected", CLIENTS);
    is("/chat/foreign", 0.0);
    is("/chat/reconnects", 0.0);
    // What was posted before the last of them listened is its history.
    let received = number(&report, "/chat/received");
    is("/chat/expected", received);
    assert_eq!(received + number(&report, "/chat/history"), sent * CLIENTS, "{report:#}");
    is("/chat/delay_ms/count", received);
    is("/chat/acknowledged_ms/count", sent);
    let seconds: Vec<&Value> =
        report["timeline"].as_array().unwrap().iter().map(|second| &second["chat"]).collect();
    assert!(seconds.len() >= 4 && seconds.iter().any(|second| second["connected"] == 4), "{report:#}");
    let all = |count: fn(&Value) -> &Value| seconds.iter().filter_map(|one| count(one).as_f64()).sum::<f64>();
    // What was on its way when publishing ended comes within the last look.
    assert_eq!(all(|second| &second["received"]), received, "{report:#}");
    assert_eq!(all(|second| &second["delay_ms"]["count"]), received, "each is in one second: {report:#}");
    assert!(seconds.iter().filter(|second| second["delay_ms"].is_object()).count() >= 4, "{report:#}");
    let line = said(&output);
    assert!(line.lines().any(|line| line.contains("chat 4 there, 0 joining")), "{line}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_fault_is_counted_once_for_each_who_hears_it() {
    let script = Script {
        lose: Some(30),
        repeat: Some(34),
        swap: Some(38),
        refuse: Some(42),
        break_off: Some(46),
        ..Script::default()
    };
    let server = ChatServer::start(script).await;
    let output = run(&server, &["--json", "--quiet", "--fail-if", "chat-lost>0"]).await;
    assert_eq!(output.status.code(), Some(1), "a message was lost: {output:?}");
    assert!(said(&output).contains("bound broken: chat-lost>0 (it is 4.000)"), "{output:?}");
    let report = json(&output);
    let is = |path: &str, value: f64| assert_eq!(number(&report, path), value, "{path} in {report:#}");
    is("/chat/lost", CLIENTS);
    is("/chat/repeated", CLIENTS);
    is("/chat/out_of_order", CLIENTS);
    is("/chat/reconnects", CLIENTS);
    is("/chat/retries_obeyed", 1.0);
    is("/chat/reasons/message: HTTP 429", 1.0);
    is("/chat/reasons/events: bad response: the stream ended", CLIENTS);
    is("/chat/acknowledged", server.stored() as f64);
    is("/chat/unacknowledged", 0.0);
    assert_eq!(server.streams(), 8, "each came again once");
    // Who posted what was refused waited for a second, and so did the message.
    assert!(number(&report, "/chat/delay_ms/max") >= 1_000.0, "{report:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_needed_and_given() {
    let server = ChatServer::start(Script { token: Some("two"), ..Script::default() }).await;
    let output = run(&server, &["--quiet", "--duration", "1s"]).await;
    let line = said(&output);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0), "{line}");
    assert!(line.contains("none of 4 chat clients connected") && line.contains("HTTP 401"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    // Every second of them has the token that is wrong.
    let output = run(&server, &["--quiet", "--duration", "1s", "--json", "--token-chat", "one two"]).await;
    let report = json(&output);
    assert_eq!(
        (number(&report, "/chat/connected"), number(&report, "/chat/failed")),
        (2.0, 2.0),
        "{report:#}"
    );
}
