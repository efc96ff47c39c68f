//! Sessions are found by their URL alone, at any coordinator.

use std::time::Duration;

use http::Method;

use crate::support::sse::Listener;
use crate::support::{Behaviour, FakeNode, World, ask, offer, token, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_reached_through_any_coordinator_with_any_method() {
    let world = World::open(2).await;
    let a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Accept).await;
    let location = offer(&world.url(0, "/whep/r1?wait=1")).await.header("location").to_owned();
    assert!(location.starts_with(&format!("/sessions/a/{}/", a.incarnation)));
    for (method, coordinator) in
        [(Method::PATCH, 0), (Method::PATCH, 1), (Method::GET, 1), (Method::DELETE, 1)]
    {
        let headers = [("content-type", "application/trickle-ice-sdpfrag"), ("if-match", "\"0\"")];
        let answer = ask(method.clone(), &world.url(coordinator, &location), &headers, "a=x\r\n").await;
        let there = method == Method::GET;
        let wanted = if there { (204, String::new()) } else { (200, format!("{method} of a")) };
        assert_eq!((answer.status, answer.text()), wanted, "{answer:?}");
        let seen = a.last();
        assert_eq!((seen.path.as_str(), seen.body.as_str()), (location.as_str(), "a=x\r\n"));
        assert_eq!(seen.headers["if-match"], "\"0\"");
        assert!(seen.call.open);
    }
    assert!(b.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_preflight_needs_no_token() {
    let world = World::closed(1).await;
    let headers = [
        ("origin", "https://elsewhere.example"),
        ("access-control-request-method", "PATCH"),
        ("access-control-request-headers", "authorization"),
    ];
    for (path, accept) in [
        ("/whip/r1", ("accept-post", "application/sdp")),
        ("/whep/r1/cam", ("accept-post", "application/sdp")),
        (
            "/sessions/a/0000000000000001/00000000000000000000000000000001",
            ("accept-patch", "application/trickle-ice-sdpfrag"),
        ),
    ] {
        let answer = ask(Method::OPTIONS, &world.url(0, path), &headers, "").await;
        assert_eq!(answer.status, 200, "{path} {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*");
        assert!(answer.header("access-control-allow-methods").contains("PATCH"));
        assert_eq!(answer.header(accept.0), accept.1, "{path}");
    }
    for path in [
        "/sessions/a.b/1/2",
        "/sessions/a/0/x/sse",
        "/sessions/a",
        "/whip/a.b",
        "/v1/rooms/a.b",
        "/nowhere/at/all",
    ] {
        let answer = ask(Method::OPTIONS, &world.url(0, path), &headers, "").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, ""), "{path} {answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), "*", "{path}");
        assert!(answer.header("access-control-allow-headers").contains("Authorization"), "{path}");
    }
    assert_eq!(ask(Method::GET, &world.url(0, "/whip/r1"), &[], "").await.status, 204);
    let answer = ask(Method::PUT, &world.url(0, "/whip/r1"), &[], "").await;
    assert_eq!(answer.status, 405);
    assert!(answer.header("allow").contains("POST"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_told_one_limit_however_large_it_is() {
    let world = World::open(1).await;
    let a = world.node("a", Behaviour::Accept).await;
    let session = format!("/sessions/a/{}/0123456789abcdef0123456789abcdef", a.incarnation);
    for (method, below, limit, sizes) in [
        (Method::POST, "/sse", 16_384, [16_385, 30_000, 100_000]),
        (Method::POST, "/layer", 16_384, [16_385, 30_000, 100_000]),
        (Method::PATCH, "", 65_536, [65_537, 70_000, 200_000]),
    ] {
        let url = world.url(0, &format!("{session}{below}"));
        for size in sizes {
            let answer = ask(method.clone(), &url, &[], &"x".repeat(size)).await;
            assert_eq!((answer.status, &answer.json()["limit"]), (413, &limit.into()), "{below} {size}");
        }
        assert!(ask(method, &url, &[], &"x".repeat(limit)).await.status < 300, "{below}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_method_that_allow_names_is_taken() {
    let world = World::open(1).await;
    let a = world.node("a", Behaviour::Accept).await;
    a.publish("r1", "cam", 7).await;
    let stream = format!("/sessions/a/{}/0123456789abcdef0123456789abcdef/sse/1", a.incarnation);
    for path in [
        "/v1/rooms",
        "/v1/rooms/r1/events",
        "/v1/rooms/r1/chat",
        "/v1/nodes",
        "/v1/cluster",
        "/v1/config",
        "/whip/r1",
        "/whep/r1",
        "/healthz",
        "/metrics",
        "/",
    ] {
        let refused = ask("BREW".parse().unwrap(), &world.url(0, path), &[], "").await;
        assert_eq!(refused.status, 405, "{path}");
        let allow: Vec<&str> = refused.header("allow").split([',', ' ']).filter(|m| !m.is_empty()).collect();
        assert_eq!(allow.contains(&"GET"), allow.contains(&"HEAD"), "{path}: {allow:?}");
        for method in ["HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let answer = ask(method.parse().unwrap(), &world.url(0, path), &[], "").await;
            assert_eq!(answer.status != 405, allow.contains(&method), "{method} {path}: {allow:?}");
        }
    }
    assert_eq!(ask(Method::HEAD, &world.url(0, &stream), &[], "").await.status, 200);
    assert_eq!((a.last().method.as_str(), a.readers().len()), ("HEAD", 0), "asked, and nothing is read");
    let options = ask(Method::OPTIONS, &world.url(0, &stream), &[], "").await;
    assert_eq!(options.header("allow"), "OPTIONS, GET, HEAD, DELETE");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_404_and_what_does_not_answer_is_502_or_504() {
    let world = World::open(1).await;
    let mut a = world.node("a", Behaviour::Accept).await;
    let session = "0123456789abcdef0123456789abcdef";
    let get = async |path: &str| ask(Method::GET, &world.url(0, path), &[], "").await;
    for path in [
        format!("/sessions/nobody/{}/{session}", a.incarnation),
        format!("/sessions/a/{}/short", a.incarnation),
        format!("/sessions/a/notahexnumber/{session}"),
        format!("/sessions/a.b/{}/{session}", a.incarnation),
    ] {
        let answer = get(&path).await;
        assert_eq!((answer.status, answer.reason().as_str()), (404, "no-session"), "{path}");
    }
    let answer = get(&format!("/sessions/a/ffffffffffffffff/{session}")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (404, "wrong-incarnation"));
    assert!(a.seen().is_empty());

    let ours = format!("/sessions/a/{}/{session}", a.incarnation);
    a.behave(Behaviour::Hang);
    let answer = get(&ours).await;
    assert_eq!((answer.status, answer.reason().as_str()), (504, "node-unreachable"));
    a.vanish();
    tokio::task::yield_now().await;
    let answer = get(&ours).await;
    assert_eq!((answer.status, answer.reason().as_str()), (502, "node-unreachable"));
    assert_eq!(answer.retry_after(), 1);

    // It starts again under its id: sessions of the old start are gone, at once.
    let again = FakeNode::start("a", Behaviour::Accept, &world.store, &world.bus).await;
    world.knows(&again).await;
    let answer = get(&ours).await;
    assert_eq!((answer.status, answer.reason().as_str()), (404, "wrong-incarnation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_wants_a_token_and_the_node_hears_whose() {
    let world = World::closed(1).await;
    let a = world.node("a", Behaviour::Accept).await;
    let path = format!("/sessions/a/{}/0123456789abcdef0123456789abcdef", a.incarnation);
    let answer = ask(Method::DELETE, &world.url(0, &path), &[], "").await;
    assert_eq!((answer.status, answer.reason().as_str()), (401, "token-missing"));
    let bearer = format!("Bearer {}", token("r1", "ann", &["subscribe"]));
    let answer = ask(Method::DELETE, &world.url(0, &path), &[("authorization", &bearer)], "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(a.last().call.identity.as_str(), "ann");
    assert!(!a.last().call.open);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_event_stream_is_passed_on_until_node_client_or_coordinator_ends_it() {
    let mut world = World::open(2).await;
    let a = world.node("a", Behaviour::Accept).await;
    let location = offer(&world.url(0, "/whep/r1?wait=1")).await.header("location").to_owned();
    let sse = format!("{location}/sse");
    let json = [("content-type", "application/json")];
    let made = ask(Method::POST, &world.url(1, &sse), &json, "[\"active\"]").await;
    assert_eq!((made.status, made.header("location")), (201, format!("{sse}/1").as_str()));
    assert_eq!(
        (a.last().body.as_str(), a.last().headers["content-type"].as_bytes()),
        ("[\"active\"]", json[0].1.as_bytes())
    );

    let stream = format!("{sse}/1");
    let mut listeners = Vec::new();
    for coordinator in [0, 1] {
        let mut listener = Listener::open(&world.url(coordinator, &stream), None).await;
        assert_eq!(listener.next().await.unwrap().name, "active");
        listeners.push(listener);
    }
    // Longer than a coordinator waits for any other answer of a node.
    tokio::time::sleep(Duration::from_millis(5_500)).await;
    assert_eq!(a.readers().len(), 2);
    for reader in a.readers() {
        reader.try_send(freshet_edge::sse::Event::text("inactive", None, "{}")).unwrap();
    }
    for listener in &mut listeners {
        assert_eq!(listener.next().await.unwrap().name, "inactive", "at once, however late");
    }
    // The client goes: the node sees it.
    drop(listeners.remove(0));
    until("one reader to be gone", async || a.readers().iter().filter(|r| r.is_closed()).count() == 1).await;
    // The node ends it: the client sees it.
    a.end_events();
    assert_eq!(listeners[0].next().await, None);
    // The coordinator stops: both see it.
    let mut listener = Listener::open(&world.url(1, &stream), None).await;
    assert_eq!(listener.next().await.unwrap().name, "active");
    world.coordinators.remove(1).stop().await;
    assert_eq!(listener.next().await, None);
    until("the reader to be gone", async || a.readers().iter().all(|r| r.is_closed())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn event_streams_count_as_listeners_and_are_asked_with_the_session_s_rights() {
    let world = World::with(1, freshet_edge::Guard::open(), |config| config.listeners = 1).await;
    let a = world.node("a", Behaviour::Accept).await;
    let stream = format!("/sessions/a/{}/0123456789abcdef0123456789abcdef/sse/1", a.incarnation);
    let mut listener = Listener::open(&world.url(0, &stream), None).await;
    assert_eq!(listener.next().await.unwrap().name, "active");
    let refused = ask(Method::GET, &world.url(0, &stream), &[], "").await;
    assert_eq!((refused.status, refused.reason().as_str()), (503, "too-many-listeners"));
    assert!(!refused.header("retry-after").is_empty());
    drop(listener);
    until("the place to be free", async || a.readers().iter().all(|r| r.is_closed())).await;
    let mut again = Listener::open(&world.url(0, &stream), None).await;
    assert_eq!(again.next().await.unwrap().name, "active");
    for path in ["sse/x", "sse/1/2", "what"] {
        let path = stream.replace("sse/1", path);
        assert_eq!(ask(Method::GET, &world.url(0, &path), &[], "").await.status, 404, "{path}");
    }
    let closed = World::closed(1).await;
    let b = closed.node("b", Behaviour::Accept).await;
    for (method, path) in
        [(Method::GET, "sse/1"), (Method::DELETE, "sse/1"), (Method::POST, "sse"), (Method::POST, "layer")]
    {
        let path = format!("/sessions/b/{}/0123456789abcdef0123456789abcdef/{path}", b.incarnation);
        assert_eq!(ask(method, &closed.url(0, &path), &[], "").await.status, 401, "{path}");
        let preflight = [("origin", "https://a.example"), ("access-control-request-method", "POST")];
        let answer = ask(Method::OPTIONS, &closed.url(0, &path), &preflight, "").await;
        assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, "*"), "{path}");
    }
    assert!(b.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_streams_health_is_asked_of_the_node_that_has_its_publisher() {
    let world = World::closed(2).await;
    let a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Accept).await;
    // From its claim on: the node says itself whether ICE and DTLS are done.
    b.claim("r1", "cam", 7).await;
    let path = "/v1/rooms/r1/streams/cam/health";
    let bearer = format!("Bearer {}", token("r1", "ann", &["subscribe"]));
    let get = async |coordinator: usize, path: &str, bearer: &str| {
        ask(Method::GET, &world.url(coordinator, path), &[("authorization", bearer)], "").await
    };
    for coordinator in [0, 1] {
        until("the stream is known", async || get(coordinator, path, &bearer).await.status == 200).await;
        let answer = get(coordinator, path, &bearer).await;
        assert_eq!((answer.text().as_str(), answer.header("cache-control")), ("health by b", "no-store"));
    }
    assert_eq!((b.last().path.as_str(), b.last().call.identity.as_str()), (path, "ann"));
    assert!(a.seen().is_empty());
    let other = get(0, "/v1/rooms/r1/streams/other/health", &bearer).await;
    assert_eq!((other.status, other.reason().as_str()), (404, "no-publisher"));
    let stranger = format!("Bearer {}", token("r2", "ann", &["admin"]));
    assert_eq!(get(0, path, &stranger).await.status, 403);
    assert_eq!(get(0, path, "").await.status, 401);
    b.publish("r1", "cam", 8).await;
    b.end("r1", "cam", 8, freshet_cluster::room::EndReason::Closed).await;
    until("the stream has ended", async || get(0, path, &bearer).await.status == 404).await;
}
