//! Room events: chat, presence, streams.

use std::time::Duration;

use freshet_cluster::bus::Bus as _;
use freshet_cluster::keys::{Topic, room_subject};
use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_edge::Guard;
use http::Method;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::sse::Listener;
use crate::support::{Answer, Behaviour, World, ask, get, token, until};

const EVENTS: &str = "/v1/rooms/r1/events";

async fn post(url: &str, from: &str, id: &str, text: &str) -> Answer {
    let body = serde_json::json!({"id": id, "text": text, "from": from, "at_ms": UnixMillis::now().0});
    ask(Method::POST, url, &[("content-type", "application/json")], &body.to_string()).await
}

/// The sequence of the n-th message of this history, from 1 on.
fn nth(world: &World, n: u64) -> u64 {
    world.bus.first_sequence() + n - 1
}

async fn say(world: &World, coordinator: usize, from: &str, id: &str, text: &str) -> Answer {
    post(&world.url(coordinator, "/v1/rooms/r1/chat"), from, id, text).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_reaches_listeners_of_every_coordinator_once_and_in_order() {
    let world = World::open(2).await;
    let mut first = Listener::open(&world.url(0, EVENTS), None).await;
    let mut second = Listener::open(&world.url(1, EVENTS), None).await;
    let mut wanted = Vec::new();
    for n in 0..12 {
        let (from, text) = (format!("ann{}", n % 3), format!("text {n}"));
        let seq = nth(&world, n as u64 + 1);
        let answer = say(&world, n % 2, &from, &format!("m{n}"), &text).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json(), serde_json::json!({"seq": seq, "id": format!("m{n}")}));
        // A retry, through the other coordinator.
        let again = say(&world, (n + 1) % 2, &from, &format!("m{n}"), &text).await;
        assert_eq!(again.status, 200);
        assert_eq!(again.json(), serde_json::json!({"seq": seq, "id": format!("m{n}"), "duplicate": true}));
        wanted.push(text);
    }
    assert_eq!(first.texts(12).await, wanted);
    assert_eq!(second.texts(12).await, wanted);
    // The same id by somebody else is another message.
    assert_eq!(say(&world, 0, "bob", "m1", "mine").await.status, 201);
    for listener in [&mut first, &mut second] {
        let event = listener.next_of("chat").await;
        assert_eq!(event.id, Some(nth(&world, 13)));
        assert_eq!(event.data["from"], "bob");
        assert_eq!(event.data["id"], "m1");
        assert_eq!(event.data["seq"], nth(&world, 13));
        assert!(event.data["at_ms"].as_u64().unwrap() > 1_700_000_000_000);
        listener.silent_of("chat", Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_the_last_hundred_and_one_who_returns_only_what_it_missed() {
    let world = World::open(2).await;
    for n in 0..130 {
        let answer = say(&world, 0, &format!("p{n}"), "m", &format!("{n}")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let mut listener = Listener::open(&world.url(1, EVENTS), None).await;
    let first = listener.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.id), ("snapshot", None), "how things stand comes first");
    let texts = listener.texts(100).await;
    assert_eq!((texts[0].as_str(), texts[99].as_str()), ("30", "129"));
    drop(listener);

    let mut back = Listener::open(&world.url(0, EVENTS), Some(nth(&world, 128))).await;
    assert_eq!(back.texts(2).await, ["128", "129"]);
    assert_eq!(say(&world, 1, "ann", "live", "live").await.status, 201);
    assert_eq!(back.texts(1).await, ["live"]);
    let mut up_to_date = Listener::open(&world.url(0, EVENTS), Some(nth(&world, 131))).await;
    up_to_date.silent_of("chat", Duration::from_millis(200)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_history_sends_reset_to_those_who_listen_and_those_who_return() {
    let world = World::open(1).await;
    for n in 0..5 {
        say(&world, 0, &format!("p{n}"), "m", &format!("old {n}")).await;
    }
    let mut listener = Listener::open(&world.url(0, EVENTS), None).await;
    assert_eq!(listener.texts(5).await.len(), 5);
    let old = nth(&world, 5);
    world.bus.wipe();
    listener.next_of("reset").await;
    assert_eq!(say(&world, 0, "ann", "a", "new 0").await.status, 201);
    assert_eq!(listener.next_of("chat").await.id, Some(nth(&world, 1)), "the count begins anew");

    let back = async |path: &str, texts: &[String]| {
        for last in [old, old - 4, 5] {
            let mut back = Listener::open(&world.url(0, path), Some(last)).await;
            assert_eq!(back.next().await.unwrap().name, "snapshot");
            assert_eq!(back.next().await.unwrap().name, "reset", "{last}");
            assert_eq!(back.texts(texts.len()).await, texts);
        }
    };
    back(EVENTS, &["new 0".to_owned()]).await;
    // The new history is longer than the lost one was: the old places are lost all the same.
    let mut new = vec!["new 0".to_owned()];
    for n in 1..9 {
        new.push(format!("new {n}"));
        assert_eq!(say(&world, 0, &format!("q{n}"), "m", &new[n]).await.status, 201);
    }
    assert_eq!(listener.texts(8).await.len(), 8);
    back(EVENTS, &new).await;
    // And at a hub that has never heard of the room.
    back("/v1/rooms/r2/events", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_this_coordinator_has_not_read_yet_is_not_called_lost() {
    let world = World::open(1).await;
    let mut warm = Listener::open(&world.url(0, EVENTS), None).await;
    assert_eq!(say(&world, 0, "ann", "a", "one").await.status, 201);
    warm.texts(1).await;
    // Room r2's message raises the sequence that the bus knows; the hub of r1 has read up to 1.
    let other = world.url(0, "/v1/rooms/r2/chat");
    assert_eq!(post(&other, "ann", "a", "elsewhere").await.status, 201);
    let mut back = Listener::open(&world.url(0, EVENTS), Some(nth(&world, 2))).await;
    assert_eq!(back.next().await.unwrap().name, "snapshot");
    back.silent_of("reset", Duration::from_millis(200)).await;
    assert_eq!(say(&world, 0, "ann", "b", "two").await.status, 201);
    assert_eq!(back.texts(1).await, ["two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_acknowledged_while_the_bus_is_away_and_listeners_are_told() {
    let world = World::open(1).await;
    let mut listener = Listener::open(&world.url(0, EVENTS), None).await;
    assert_eq!(say(&world, 0, "ann", "a", "one").await.status, 201);
    listener.texts(1).await;
    world.bus.set_away(true);
    listener.next_of("paused").await;
    let answer = say(&world, 0, "ann", "b", "two").await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "paused"));
    assert!(answer.retry_after() >= 1);
    let mut newcomer = Listener::open(&world.url(0, EVENTS), Some(nth(&world, 1))).await;
    assert_eq!(newcomer.next().await.unwrap().name, "snapshot");
    assert_eq!(newcomer.next().await.unwrap().name, "paused");
    world.bus.set_away(false);
    listener.next_of("resumed").await;
    newcomer.next_of("resumed").await;
    assert_eq!(say(&world, 0, "ann", "b", "two").await.status, 201, "the same id again");
    assert_eq!(listener.texts(1).await, ["two"]);
    assert_eq!(newcomer.texts(1).await, ["two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn posts_are_checked_limited_and_too_old_ones_refused() {
    let world = World::open(1).await;
    let url = world.url(0, "/v1/rooms/r1/chat");
    let now = UnixMillis::now().0;
    let json = [("content-type", "application/json")];
    let table = [
        (r#"{"id":"a","text":""}"#.to_owned(), 400, "bad-message"),
        (r#"{"id":"a b","text":"x"}"#.to_owned(), 400, "bad-message"),
        (format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(501)), 400, "bad-message"),
        (r#"{"id":"a"}"#.to_owned(), 400, "bad-json"),
        ("not json".to_owned(), 400, "bad-json"),
        (r#"["a","x"]"#.to_owned(), 400, "bad-json"),
        (format!(r#"{{"id":"a","text":"x","at_ms":{}}}"#, now - 600_001), 409, "too-old"),
        (format!(r#"{{"id":"a","text":"x","at_ms":{}}}"#, now + 120_000), 400, "bad-clock"),
        (r#"{"id":"a","text":"x","from":""}"#.to_owned(), 400, "bad-id"),
        (format!(r#"{{"id":"a","text":"{}"}}"#, "x".repeat(20_000)), 413, ""),
    ];
    for (body, status, reason) in table {
        let answer = ask(Method::POST, &url, &json, &body).await;
        assert_eq!((answer.status, answer.reason().as_str()), (status, reason), "{body:.80}");
    }
    assert_eq!(ask(Method::POST, &url, &[("content-type", "text/plain")], "{}").await.status, 415);
    assert_eq!(ask(Method::POST, &world.url(0, "/v1/rooms/a.b/chat"), &json, "{}").await.status, 400);

    let mut limited = 0;
    for n in 0..14 {
        let answer = post(&url, "flood", &format!("f{n}"), "x").await;
        if answer.status == 429 {
            limited += 1;
            assert_eq!((answer.reason().as_str(), answer.retry_after()), ("rate-limit", 1));
        }
    }
    assert!((1..=4).contains(&limited), "{limited} of 14 at burst 10");
    assert_eq!(post(&url, "other", "a", "x").await.status, 201, "each identity for itself");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_the_token_says_who_posts() {
    let world = World::closed(1).await;
    let url = world.url(0, "/v1/rooms/r1/chat");
    let send = async |token: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("content-type", "application/json"), ("authorization", bearer.as_str())];
        ask(Method::POST, &format!("{url}?identity=eve"), &headers, r#"{"id":"a","text":"x","from":"eve"}"#)
            .await
    };
    let chatter = token("r1", "Zoë", &["chat"]);
    assert_eq!(send(&chatter).await.status, 201);
    assert_eq!(send(&token("r1", "Zoë", &["subscribe"])).await.status, 403);
    assert_eq!(send(&token("r2", "Zoë", &["chat"])).await.status, 403);
    let events = world.url(0, EVENTS);
    assert_eq!(get(&events).await.status, 401);
    let bob = format!("Bearer {}", token("r1", "bob", &["subscribe"]));
    for accept in ["application/json", "text/html, text/plain", "text/event-stream;q=0"] {
        let answer = ask(Method::GET, &events, &[("authorization", &bob), ("accept", accept)], "").await;
        assert_eq!((answer.status, answer.reason().as_str()), (406, "not-acceptable"), "{accept}");
        assert_eq!(
            ask(Method::GET, &events, &[("accept", accept)], "").await.status,
            401,
            "who asks comes first"
        );
    }
    let mut listener = Listener::open_with(&events, None, Some(&token("r1", "bob", &["subscribe"]))).await;
    assert_eq!(listener.next_of("chat").await.data["from"], "Zoë");
    let stranger = format!("Bearer {}", token("r2", "bob", &["subscribe"]));
    assert_eq!(ask(Method::GET, &events, &[("authorization", &stranger)], "").await.status, 403);
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_and_presence_are_a_snapshot_and_then_changes() {
    let world = World::open(2).await;
    let a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Accept).await;
    let mut listener = Listener::open(&world.url(0, EVENTS), None).await;
    let empty = serde_json::json!({"streams": [], "viewers": 0, "spread_ms": 0});
    assert_eq!(listener.next().await.unwrap().data, empty);
    a.publish("r1", "cam", 7).await;
    let started = listener.next_of("stream").await;
    assert_eq!(
        (started.id, &started.data["state"], &started.data["generation"]),
        (None, &"started".into(), &7.into())
    );
    assert!(started.data["spread_ms"].is_u64());
    a.carry("r1", 1, 2);
    b.carry("r1", 1, 3);
    let viewers = loop {
        let viewers = listener.next_of("presence").await.data["viewers"].as_u64().unwrap();
        if viewers == 5 {
            break viewers;
        }
        assert!(viewers < 5);
    };
    assert_eq!(viewers, 5, "nodes are added up");
    let mut late = Listener::open(&world.url(1, EVENTS), None).await;
    let snapshot = late.next().await.unwrap();
    assert_eq!(snapshot.data["streams"][0]["stream"], "cam");
    assert_eq!(snapshot.data["streams"][0]["live"], true);
    assert_eq!(snapshot.data["streams"][0]["identity"], "host");
    // Taken over on another node: a new generation, and the old one's end says nothing about it.
    b.publish("r1", "cam", 8).await;
    let started = listener.next_of("stream").await;
    assert_eq!((&started.data["state"], &started.data["generation"]), (&"started".into(), &8.into()));
    a.end("r1", "cam", 7, EndReason::TakenOver).await;
    listener.silent_of("stream", Duration::from_millis(300)).await;
    b.end("r1", "cam", 8, EndReason::IceTimeout).await;
    for listener in [&mut listener, &mut late] {
        let ended = loop {
            let event = listener.next_of("stream").await;
            if event.data["state"] == "ended" {
                break event;
            }
        };
        assert_eq!((&ended.data["generation"], &ended.data["reason"]), (&8.into(), &"ice-timeout".into()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_listener_is_cut_off_and_never_waited_for() {
    let world = World::open(1).await;
    let addr = world.coordinators[0].http_addr();
    // It asks for events and never reads.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut slow = socket.connect(addr).await.unwrap();
    slow.write_all(format!("GET {EVENTS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes())
        .await
        .unwrap();
    until("the listener to be there", async || {
        world.metric(0, "freshet_coordinator_event_listeners").await >= 1.0
    })
    .await;
    let mut quick = Listener::open(&world.url(0, EVENTS), None).await;
    let subject = room_subject(&"r1".parse().unwrap(), Topic::Chat);
    let text = "é".repeat(500);
    let mut sent = 0u64;
    while world.metric(0, "freshet_coordinator_event_listeners_slow_total").await < 1.0 {
        assert!(sent < 20_000, "the queue never filled");
        for _ in 0..100 {
            sent += 1;
            let message = serde_json::json!({
                "v": 1, "min_v": 1, "id": sent.to_string(), "from": "ann", "text": text, "at": 1
            });
            let payload = serde_json::to_vec(&message).unwrap().into();
            world.bus.append(&subject, &format!("id{sent}"), payload).await.unwrap();
            // The quick one keeps up.
            assert_eq!(quick.next_of("chat").await.id, Some(nth(&world, sent)));
        }
    }
    assert_eq!(world.metric(0, "freshet_coordinator_event_listeners").await, 1.0);
    // What was queued is still there, then the stream ends; the last id that it holds is where to go on.
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(10), slow.read_to_end(&mut rest)).await;
    ended.expect("the stream ends").unwrap();
    let rest = String::from_utf8(rest).unwrap();
    let last: u64 = rest.rsplit("\nid: ").next().unwrap().split('\n').next().unwrap().parse().unwrap();
    let read = last - nth(&world, 1) + 1;
    assert!(read < sent && read >= 256, "{read} of {sent}");
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_are_bounded_and_leave_nothing_behind() {
    let world = World::with(1, Guard::open(), |config| config.listeners = 3).await;
    let mut listeners = Vec::new();
    for n in 0..3 {
        listeners.push(Listener::open(&world.url(0, &format!("/v1/rooms/room{n}/events")), None).await);
    }
    let answer = get(&world.url(0, EVENTS)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "too-many-listeners"));
    assert!((2..=10).contains(&answer.retry_after()));
    listeners.clear();
    until("the listeners to be forgotten", async || {
        world.metric(0, "freshet_coordinator_event_listeners").await == 0.0
    })
    .await;
    for n in 0..3 {
        listeners.push(Listener::open(&world.url(0, &format!("/v1/rooms/room{n}/events")), None).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_every_stream() {
    let mut world = World::open(1).await;
    let mut listener = Listener::open(&world.url(0, EVENTS), None).await;
    assert_eq!(listener.next().await.unwrap().name, "snapshot");
    let began = std::time::Instant::now();
    world.coordinators.remove(0).stop().await;
    assert!(began.elapsed() < Duration::from_secs(1));
    assert_eq!(listener.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_listeners_get_comments() {
    // The timer itself is tested where it is built; here that it stands in the stream at all.
    let world = World::open(1).await;
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http::<String>();
    let request = http::Request::get(world.url(0, EVENTS)).body(String::new()).unwrap();
    let mut body = client.request(request).await.unwrap().into_body();
    let mut text = String::new();
    let all = async {
        while let Some(Ok(frame)) = body.frame().await {
            text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
            if text.contains(": keep-alive\n\n") {
                break;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(17), all).await.expect("a comment within 15 s");
}
