//! What logs say at their loudest: everything but secrets, and names as the API and the operator write them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use freshet_test_support as support;
use support::{Cluster, Plan, eventually, publish, remember_secret, request, token, view};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const ROOM: &str = "loud";

/// The value of an attribute's first line.
fn attribute(sdp: &str, name: &str) -> String {
    let line = sdp.lines().find_map(|line| line.trim_end().strip_prefix(&format!("a={name}:")));
    line.expect(name).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_at_trace_hold_no_secret_and_name_things_as_the_api_does() {
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 2 };
    let trace = |name: &str| {
        let more: &[&str] = if name == "coordinator-2" { &["--join", "redirect"] } else { &[] };
        ["--log-level", "trace"].iter().chain(more).map(|flag| (*flag).to_owned()).collect::<Vec<String>>()
    };
    let cluster = Cluster::start_as("secrets", plan, Box::new(trace)).await;
    let base = cluster.url(0);
    let mut secrets = Vec::new();

    // Media over two nodes, so that keys are made for publisher, viewers and link.
    let host = token(ROOM, "host", "publish");
    let guest = token(ROOM, "guest", "subscribe,chat");
    let publisher = publish(&base, ROOM, &host, |_| {}).await;
    let (near, far) = (view(&base, ROOM, &guest, |_| {}).await, view(&base, ROOM, &guest, |_| {}).await);
    for viewer in [&near, &far] {
        assert!(viewer.wait_for_media(Duration::from_secs(15)).await, "{}", cluster.tails());
    }
    let chat = format!("{base}/v1/rooms/{ROOM}/chat");
    let said = r#"{"id":"1","text":"hello"}"#;
    let answer = request("POST", &chat, Some(&guest), &[("content-type", "application/json")], said).await;
    assert_eq!(answer.unwrap().status, 201);
    for watching in [near, far] {
        watching.close().await;
    }

    // A session whose passwords both ends of are known here, with a restart that makes new ones.
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let answer =
        request("POST", &format!("{base}/whep/{ROOM}"), Some(&guest), &[SDP], offer.clone()).await.unwrap();
    assert_eq!(answer.status, 201, "{}", cluster.tails());
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    secrets.extend([attribute(&offer, "ice-pwd"), attribute(&text, "ice-pwd")]);
    let session = format!("{base}{}", answer.headers["location"].to_str().unwrap());
    let restart = "a=ice-ufrag:n3wU\r\na=ice-pwd:aQ8vZ3nRc5dX9tYu2wMoF7iB\r\n";
    let kind = ("content-type", "application/trickle-ice-sdpfrag");
    let headers = [kind, ("if-match", "\"*\"")];
    let answer = request("PATCH", &session, Some(&guest), &headers, restart).await.unwrap();
    assert_eq!(answer.status, 200, "{:?}", answer.json());
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    secrets.extend([attribute(restart, "ice-pwd"), attribute(&text, "ice-pwd"), host, guest.clone()]);
    let answer = request("DELETE", &session, Some(&guest), &[], "").await.unwrap();
    assert_eq!(answer.status, 200);
    // One that is sent on by a ticket, and another that comes with it again.
    let url = format!("{}/whep/{ROOM}", cluster.url(1));
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let sent_on = eventually(Duration::from_secs(10), "the places of those who left are free", || async {
        let answer = request("POST", &url, Some(&guest), &[SDP], offer.clone()).await?;
        (answer.status == 307).then_some(answer)
    })
    .await;
    let to = sent_on.headers["location"].to_str().unwrap().to_owned();
    let (_, ticket) = to.rsplit_once("ticket=").expect("a ticket");
    secrets.push(ticket.to_owned());
    for status in [201, 401] {
        let answer = request("POST", &to, None, &[SDP], offer.clone()).await.unwrap();
        assert_eq!(answer.status, status, "{:?}", answer.json());
        assert!(!text_of(&answer.body).contains(ticket), "no answer repeats it");
    }
    publisher.close().await;
    secrets.iter().for_each(|secret| remember_secret(secret));

    let processes: Vec<_> = cluster.nodes.iter().chain(&cluster.coordinators).flatten().collect();
    for process in &processes {
        process.signal("-TERM");
    }
    let known = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(known.path(), secrets.join("\n")).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/check-secrets.sh");
    let logs = processes.iter().map(|process| &process.log);
    let out = Command::new(script).arg("--known").arg(known.path()).args(logs).output().unwrap();
    assert!(out.status.success(), "{}{}", text_of(&out.stdout), text_of(&out.stderr));

    for process in &processes {
        let log = std::fs::read_to_string(&process.log).unwrap();
        // It was loud, so that the search above searched something.
        assert!(log.contains("TRACE") && log.contains("DEBUG"), "{}", process.name);
        assert!(log.contains(ROOM), "{} tells nothing of the room", process.name);
        for prefixed in [format!("room=room_{ROOM}"), "node=node_node-".into(), "peer=node_node-".into()] {
            assert!(
                !log.contains(&prefixed),
                "{}: {prefixed} is not how an operator writes it",
                process.name
            );
        }
    }
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
