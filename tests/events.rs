//! A room's chat across coordinators: said through one, heard through the other, once and in order.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use freshet_test_support as support;
use serde_json::{Value, json};
use support::{Answer, Cluster, Listener, Plan, eventually, request, token};

const JSON: (&str, &str) = ("content-type", "application/json");
/// One identity may post 5 a second for longer.
const PACE: Duration = Duration::from_millis(250);
const MESSAGES: usize = 20;

async fn post(base: &str, room: &str, token: Option<&str>, body: &Value) -> Answer {
    let url = format!("{base}/v1/rooms/{room}/chat");
    request("POST", &url, token, &[JSON], body.to_string()).await.expect("the coordinator answers")
}

/// Posts until chat is open: it is paused until the coordinator has found its history.
async fn open_chat(base: &str, room: &str) {
    let first = token(room, "first", "chat");
    eventually(Duration::from_secs(15), "chat is open", || async {
        let answer = post(base, room, Some(&first), &json!({"id": "first", "text": "testing"})).await;
        assert!([200, 201, 429, 503].contains(&answer.status), "{}", answer.json());
        (answer.status < 300).then_some(())
    })
    .await;
}

/// The status of a post, and its problem's reason.
async fn refused(base: &str, room: &str, token: Option<&str>, body: &Value) -> (u16, String) {
    let answer = post(base, room, token, body).await;
    let problem = answer.json();
    assert!(problem["detail"].as_str().is_some_and(|text| text.len() > 10), "{}: {problem}", answer.status);
    (answer.status, problem["reason"].as_str().unwrap_or_default().to_owned())
}

/// The chat in what a listener heard: the `id:` of each event with its data.
fn chat(heard: &str) -> Vec<(String, Value)> {
    let complete = heard.rsplit_once("\n\n").map_or("", |(events, _)| events);
    let field = |event: &str, name: &str| {
        event.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned))
    };
    let events = complete.split("\n\n").filter(|event| field(event, "event").as_deref() == Some("chat"));
    events
        .map(|event| {
            let data = serde_json::from_str(&field(event, "data").expect("chat has data")).unwrap();
            (field(event, "id").expect("chat is stored and has an id"), data)
        })
        .collect()
}

fn texts(heard: &str) -> Vec<String> {
    chat(heard).into_iter().map(|(_, data)| data["text"].as_str().unwrap().to_owned()).collect()
}

/// Waits until as many messages came, then a while longer for those that should not come.
async fn hears(listener: &Listener, count: usize) -> Vec<String> {
    eventually(Duration::from_secs(15), &format!("{count} messages are heard"), || async {
        (texts(&listener.text()).len() >= count).then_some(())
    })
    .await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    texts(&listener.text())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_through_one_coordinator_is_heard_through_the_other_once_and_in_order() {
    let cluster = Cluster::start("events", Plan { nodes: 1, coordinators: 2, max_sessions: 10 }).await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    for base in [&one, &two] {
        open_chat(base, "elsewhere").await;
    }
    let guest = token("talk", "guest", "chat");
    let watch = token("talk", "watcher", "subscribe");

    let listeners = [
        Listener::open(&two, "talk", &watch).await,
        Listener::open(&two, "talk", &guest).await,
        Listener::open(&one, "talk", &watch).await,
    ];
    let said: Vec<String> = (0..MESSAGES).map(|n| format!("message {n} – hé 🎈\nsecond line")).collect();
    let mut stored = Vec::new();
    for (n, text) in said.iter().enumerate() {
        let answer = post(&one, "talk", Some(&guest), &json!({"id": format!("m-{n}"), "text": text})).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        let receipt = answer.json();
        assert_eq!(receipt["id"], format!("m-{n}"));
        stored.push(receipt["seq"].as_u64().unwrap());
        tokio::time::sleep(PACE).await;
    }
    assert!(stored.is_sorted_by(|a, b| a < b), "{stored:?}");
    for listener in &listeners {
        assert_eq!(hears(listener, MESSAGES).await, said);
        for ((id, data), seq) in chat(&listener.text()).iter().zip(&stored) {
            assert_eq!((id.parse(), &data["seq"], &data["from"]), (Ok(*seq), &json!(seq), &json!("guest")));
        }
        assert!(listener.text().contains("event: snapshot"), "the snapshot is first");
    }

    // The same again, through both coordinators: stored once, heard once.
    for base in [&one, &two] {
        let answer = post(base, "talk", Some(&guest), &json!({"id": "m-7", "text": said[7]})).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        assert_eq!((&answer.json()["duplicate"], &answer.json()["seq"]), (&json!(true), &json!(stored[7])));
    }
    // Another's message under the same id is another message.
    let rival = token("talk", "rival", "chat");
    let answer = post(&two, "talk", Some(&rival), &json!({"id": "m-7", "text": "mine"})).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
    for listener in &listeners {
        let heard = hears(listener, MESSAGES + 1).await;
        assert_eq!((heard.len(), heard.last().unwrap().as_str()), (MESSAGES + 1, "mine"));
    }

    // Whoever comes back hears what came since, at either coordinator; whoever is new hears all.
    for base in [&one, &two] {
        let last = stored[14].to_string();
        let back = Listener::open_after(base, "talk", &watch, Some(&last)).await;
        let heard = hears(&back, MESSAGES - 15 + 1).await;
        assert_eq!(heard[..MESSAGES - 15], said[15..]);
        assert_eq!(heard.len(), MESSAGES - 15 + 1);
        assert!(!back.text().contains("event: reset"), "nothing was lost");
        let fresh = Listener::open(base, "talk", &watch).await;
        assert_eq!(hears(&fresh, MESSAGES + 1).await.len(), MESSAGES + 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_history_resets_those_who_return_though_the_new_one_is_longer() {
    let mut cluster =
        Cluster::start("events-wiped", Plan { nodes: 1, coordinators: 2, max_sessions: 10 }).await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    for base in [&one, &two] {
        open_chat(base, "elsewhere").await;
    }
    let guest = token("talk", "guest", "chat");
    let watch = token("talk", "watcher", "subscribe");
    let mut old = Vec::new();
    for n in 0..5 {
        let answer = post(&one, "talk", Some(&guest), &json!({"id": format!("o-{n}"), "text": "old"})).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        old.push(answer.json()["seq"].as_u64().unwrap());
    }
    cluster.nats.wipe();
    cluster.nats.restart();
    for base in [&one, &two] {
        open_chat(base, "elsewhere").await;
    }
    let mut said = Vec::new();
    for n in 0..12 {
        let text = format!("new {n}");
        let answer = post(&one, "talk", Some(&guest), &json!({"id": format!("n-{n}"), "text": text})).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
        said.push(text);
        tokio::time::sleep(PACE).await;
    }
    // One coordinator has read the room's new history already, the other has not.
    let warm = Listener::open(&one, "talk", &watch).await;
    assert_eq!(hears(&warm, said.len()).await, said);
    for base in [&one, &two] {
        for last in [old[0], old[2], old[4]] {
            let back = Listener::open_after(base, "talk", &watch, Some(&last.to_string())).await;
            assert_eq!(hears(&back, said.len()).await, said);
            let heard = back.text();
            let at = |event: &str| heard.find(&format!("event: {event}\n"));
            assert!(at("reset").is_some() && at("reset") < at("chat"), "{last}: {heard}");
        }
    }
    let last = chat(&warm.text())[9].0.clone();
    let back = Listener::open_after(&two, "talk", &watch, Some(&last)).await;
    assert_eq!(hears(&back, 2).await, said[10..], "a place in this history is kept");
    assert!(!back.text().contains("event: reset"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chat_wants_a_right_and_a_text_of_some_length() {
    let cluster = Cluster::start("events-rights", Plan { nodes: 1, coordinators: 2, max_sessions: 10 }).await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    for base in [&one, &two] {
        open_chat(base, "elsewhere").await;
    }
    let chatter = token("talk", "chatter", "chat");
    let watch = token("talk", "watcher", "subscribe");
    let elsewhere = token("other", "chatter", "chat,subscribe,publish");
    let listener = Listener::open(&two, "talk", &watch).await;

    let hello = json!({"id": "a", "text": "hello"});
    for (token, status, reason) in [
        (None, 401, "token-missing"),
        (Some("nonsense"), 401, "token-invalid"),
        (Some(watch.as_str()), 403, "not-allowed"),
        (Some(elsewhere.as_str()), 403, "not-allowed"),
    ] {
        assert_eq!(refused(&one, "talk", token, &hello).await, (status, reason.to_owned()));
    }
    for (token, status) in [(None, 401), (Some("nonsense"), 401), (Some(elsewhere.as_str()), 403)] {
        let answer = request("GET", &format!("{two}/v1/rooms/talk/events"), token, &[], "").await.unwrap();
        assert_eq!(answer.status, status, "{}", answer.json());
        assert_eq!(answer.headers["content-type"], "application/problem+json");
    }

    let long = "é".repeat(500);
    for body in [
        json!({"id": "b", "text": ""}),
        json!({"id": "b", "text": format!("{long}x")}),
        json!({"id": "not an id", "text": "hello"}),
        json!({"id": "", "text": "hello"}),
    ] {
        let why = refused(&one, "talk", Some(&chatter), &body).await;
        assert_eq!(why, (400, "bad-message".to_owned()), "{body}");
    }
    for (id, text) in [("c", "x"), ("d", long.as_str())] {
        let answer = post(&one, "talk", Some(&chatter), &json!({"id": id, "text": text})).await;
        assert_eq!(answer.status, 201, "{}", answer.json());
    }
    assert_eq!(hears(&listener, 2).await, ["x", long.as_str()], "what was refused is heard by nobody");

    // Whoever posts without end is told to wait, and the others are not.
    let flood = token("talk", "flood", "chat");
    let mut limited = None;
    for n in 0..60 {
        let answer = post(&one, "talk", Some(&flood), &json!({"id": format!("f-{n}"), "text": "!"})).await;
        if answer.status == 429 {
            limited = Some(answer);
            break;
        }
        assert_eq!(answer.status, 201, "{}", answer.json());
    }
    let limited = limited.expect("a flood is limited");
    assert!(limited.headers.contains_key("retry-after"));
    assert_eq!(limited.json()["reason"], "rate-limit");
    let answer = post(&one, "talk", Some(&chatter), &json!({"id": "e", "text": "still here"})).await;
    assert_eq!(answer.status, 201, "{}", answer.json());
}
