//! `/sessions/…/sse` and `/sessions/…/layer`.

use freshet_node::service::{Choice, Kind};

use super::calls::by_alice;
use super::wire::{Node, SDP, Setup, check_problem, start, token};

const JSON: (&str, &str) = ("Content-Type", "application/json");
const SSE: &str = "urn:ietf:params:whep:ext:core:server-sent-events";
const HEALTH: &str = "urn:freshet:whip:ext:health";
const LAYER: &str = "urn:ietf:params:whep:ext:core:layer";

async fn made(setup: Setup, kind: &str) -> (Node, String, String) {
    let node = start(setup).await;
    let auth = token("r1", "alice", &["publish", "subscribe"], &[]);
    let headers = [SDP, ("Authorization", auth.as_str())];
    let location = node.ask("POST", &format!("/{kind}/r1"), &headers, "v=0\r\nfine\r\n").await.location();
    (node, location, auth)
}

#[tokio::test]
async fn a_viewer_is_told_of_both_extensions_and_a_publisher_of_where_its_health_is() {
    for public_url in [None, Some("https://live.example/x")] {
        let node =
            start(Setup { open: true, public_url, ice: super::wire::turn(), ..Setup::default() }).await;
        let reply = node.ask("POST", "/whep/r1", &[SDP], "v=0\r\nfine\r\n").await;
        let at = reply.location();
        let links = reply.all("link");
        assert_eq!(links.len(), 5, "one header for each of three ICE servers and two extensions: {links:?}");
        let wanted = [
            format!("<{at}/sse>; rel=\"{SSE}\"; events=\"active,inactive,layers,unplayable\""),
            format!("<{at}/layer>; rel=\"{LAYER}\""),
        ];
        assert_eq!(links[3..], wanted, "beside the session, wherever that is");
        let exposed = reply.header("access-control-expose-headers").unwrap();
        assert!(exposed.contains("Link") && exposed.contains("Location"), "{exposed}");
        let reply = node.ask("POST", "/whip/r1", &[SDP], "v=0\r\nfine\r\n").await;
        let links = reply.all("link");
        assert!(!links.iter().any(|link| link.contains("whep")), "{links:?}");
        let path = format!("{}/v1/rooms/r1/streams/main/health", public_url.unwrap_or_default());
        assert_eq!(
            links[3..],
            [format!("<{path}>; rel=\"{HEALTH}\"")],
            "of the stream that it turned out to be"
        );
    }
}

#[tokio::test]
async fn an_event_stream_is_made_read_and_ended() {
    let (node, at, auth) = made(Setup::default(), "whep").await;
    let mine = ("Authorization", auth.as_str());
    let sse = format!("{at}/sse");
    let reply = node.ask("POST", &sse, &[mine, JSON], r#"["layers","scte35","active"]"#).await;
    assert_eq!((reply.location(), reply.body.as_str()), (format!("{sse}/1"), ""));
    let reply = node.ask("POST", &sse, &[mine], "").await;
    assert_eq!(reply.location(), format!("{sse}/2"));
    let asked = node.fake.listening.lock().unwrap().clone();
    assert_eq!(asked, [vec![Kind::Active, Kind::Layers], Kind::ALL.to_vec()], "all without a body");
    let reply = node.ask("POST", &sse, &[mine], "").await;
    check_problem(&reply, 409, Some("too-many-event-streams"));
    for accept in [None, Some("text/event-stream"), Some("*/*")] {
        let mut headers = vec![mine];
        headers.extend(accept.map(|accept| ("Accept", accept)));
        let reply = node.ask("GET", &format!("{sse}/1"), &headers, "").await;
        assert_eq!(reply.status, 200);
        assert!(reply.body.contains("event: active\ndata: {}\n\n"), "{:?}", reply.body);
        assert_eq!(reply.header("content-type"), Some("text/event-stream"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("x-accel-buffering"), Some("no"));
    }
    let reply = node.ask("GET", &format!("{sse}/1"), &[mine, ("Accept", "application/json")], "").await;
    check_problem(&reply, 406, Some("not-acceptable"));
    let looked = async |path: &str, headers: &[(&str, &str)]| node.ask("HEAD", path, headers, "").await;
    let reply = looked(&format!("{sse}/1"), &[mine]).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ""), "what GET is answered with, and no event");
    assert_eq!(reply.header("content-type"), Some("text/event-stream"));
    assert_eq!(reply.header("cache-control"), Some("no-store"));
    assert_eq!(looked(&format!("{sse}/1"), &[mine, ("Accept", "text/html")]).await.status, 406);
    assert_eq!(looked(&format!("{sse}/9"), &[mine]).await.status, 404);
    assert_eq!(looked(&format!("{sse}/1"), &[]).await.status, 401);
    assert_eq!(node.ask("DELETE", &format!("{sse}/2"), &[mine], "").await.status, 200);
    check_problem(&node.ask("GET", &format!("{sse}/2"), &[mine], "").await, 404, Some("no-event-stream"));
}

#[tokio::test]
async fn an_identity_reads_so_many_event_streams_at_a_time() {
    let (node, at, auth) = made(Setup::default(), "whep").await;
    *node.fake.going_on.lock().unwrap() = Some(Vec::new());
    let (mine, stream) = (("Authorization", auth.as_str()), format!("{at}/sse/1"));
    assert_eq!(node.ask("POST", &format!("{at}/sse"), &[mine], "").await.status, 201);
    let first = node.open(&stream, &[mine]).await;
    let second = node.open(&stream, &[mine]).await;
    assert_eq!((first.0, second.0), (200, 200));
    let reply = node.ask("GET", &stream, &[mine], "").await;
    check_problem(&reply, 429, Some("too-many-listeners"));
    assert!(reply.header("retry-after").is_some());
    // Whom a coordinator sends has a place there.
    let called = by_alice("GET", &stream, "");
    let sent = node.open(&stream, &[("Freshet-Call", called.as_str())]).await;
    assert_eq!(sent.0, 200);
    drop(first);
    // The place is given back when it is seen that the client has gone.
    let began = std::time::Instant::now();
    loop {
        let (status, _kept) = node.open(&stream, &[mine]).await;
        if status == 200 {
            return;
        }
        assert!(began.elapsed().as_secs() < 20);
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_refused_subscription_or_pick_has_its_own_status() {
    let (node, at, auth) = made(Setup::default(), "whep").await;
    let other = token("r1", "bob", &["subscribe", "admin"], &[]);
    let good = Some(auth.as_str());
    let text = ("Content-Type", "text/plain");
    let (sse, layer, stream) = (format!("{at}/sse"), format!("{at}/layer"), format!("{at}/sse/1"));
    let gone = format!("{}/sse", at.replace(at.rsplit('/').next().unwrap(), &format!("{:032x}", 9)));
    let many = format!("[{}\"active\"]", "\"active\",".repeat(40));
    type Row<'a> = (&'a str, &'a str, Option<&'a str>, (&'a str, &'a str), &'a str, u16, Option<&'a str>);
    let table: [Row<'_>; 34] = [
        ("POST", &sse, None, JSON, "[]", 401, Some("token-missing")),
        ("POST", &layer, None, JSON, "{}", 401, Some("token-missing")),
        ("GET", &stream, None, JSON, "", 401, Some("token-missing")),
        ("DELETE", &stream, None, JSON, "", 401, Some("token-missing")),
        ("POST", &sse, Some("Bearer x"), JSON, "[]", 401, Some("token-invalid")),
        ("POST", &sse, Some(&other), text, "nonsense", 403, Some("not-yours")),
        ("POST", &layer, Some(&other), text, "nonsense", 403, Some("not-yours")),
        ("GET", &stream, Some(&other), JSON, "", 403, Some("not-yours")),
        ("DELETE", &stream, Some(&other), JSON, "", 403, Some("not-yours")),
        ("POST", &gone, good, JSON, "[]", 404, Some("no-session")),
        ("GET", &stream, good, JSON, "", 404, Some("no-event-stream")),
        ("DELETE", &stream, good, JSON, "", 404, Some("no-event-stream")),
        ("POST", &sse, good, text, "[\"active\"]", 415, None),
        ("POST", &sse, good, SDP, "", 415, None),
        ("POST", &sse, good, JSON, "{}", 400, Some("bad-json")),
        ("POST", &sse, good, JSON, "[", 400, Some("bad-json")),
        ("POST", &sse, good, JSON, "[1]", 400, Some("bad-json")),
        ("POST", &sse, good, JSON, "\"active\"", 400, Some("bad-json")),
        ("POST", &sse, good, JSON, &many, 400, Some("bad-json")),
        ("POST", &sse, good, JSON, "[]", 422, Some("no-such-event")),
        ("POST", &sse, good, JSON, "[\"viewercount\"]", 422, Some("no-such-event")),
        ("POST", &layer, good, text, "{}", 415, None),
        ("POST", &layer, good, JSON, "", 400, Some("bad-json")),
        ("POST", &layer, good, JSON, "[]", 400, Some("bad-json")),
        ("POST", &layer, good, JSON, "[\"h\"]", 400, Some("bad-json")),
        (
            "POST",
            &layer,
            good,
            JSON,
            "[null, \"h\", null, null, null, null, null, null, null]",
            400,
            Some("bad-json"),
        ),
        ("POST", &layer, good, JSON, "{\"rid\": 1}", 400, Some("bad-json")),
        ("POST", &layer, good, JSON, "{\"what\": 1}", 400, Some("bad-json")),
        ("POST", &layer, good, JSON, "{\"rid\": \"a\", \"encodingId\": \"b\"}", 400, Some("bad-json")),
        ("POST", &layer, good, JSON, "{\"rid\": \"none\"}", 422, Some("no-such-layer")),
        ("POST", &layer, good, JSON, "{\"maxWidth\": 640}", 422, Some("no-such-layer")),
        ("POST", &layer, good, JSON, "{\"maxTemporalLayerId\": 4}", 422, Some("no-such-layer")),
        ("POST", &layer, good, JSON, "{\"maxTemporalLayerId\": \"1\"}", 400, Some("bad-json")),
        ("GET", &format!("{sse}/x"), good, JSON, "", 404, Some("no-event-stream")),
    ];
    for (method, path, auth, kind, body, status, reason) in table {
        let mut headers = vec![kind];
        headers.extend(auth.map(|a| ("Authorization", a)));
        let reply = node.ask(method, path, &headers, body).await;
        assert_eq!(reply.status, status, "{method} {path} {body}: {}", reply.body);
        check_problem(&reply, status, reason);
        assert_eq!(reply.header("accept-post").is_some(), status == 415);
    }
    // One limit, however large it is and whoever hands it in.
    for size in [16 * 1024 + 1, 20_000, 100_000] {
        let large = "x".repeat(size);
        for path in [&sse, &layer] {
            let call = super::calls::by_alice("POST", path, &large);
            for credentials in [("Authorization", auth.as_str()), ("Freshet-Call", call.as_str())] {
                let reply = node.ask("POST", path, &[JSON, credentials], &large).await;
                check_problem(&reply, 413, None);
                assert_eq!(reply.json()["limit"], 16 * 1024, "{size} bytes by {}", credentials.0);
            }
        }
    }
    assert!(node.fake.listening.lock().unwrap().is_empty() && node.fake.chosen.lock().unwrap().is_empty());
    let (node, at, auth) = made(Setup::default(), "whip").await;
    let reply = node.ask("POST", &format!("{at}/sse"), &[("Authorization", &auth)], "").await;
    check_problem(&reply, 404, Some("not-a-viewer"));
}

#[tokio::test]
async fn a_layer_is_picked_and_let_go() {
    let (node, at, auth) = made(Setup::default(), "whep").await;
    let headers = [JSON, ("Authorization", auth.as_str())];
    for body in [
        "{\"mediaId\": \"1\", \"rid\": \"h\"}",
        "{\"encodingId\": \"l\"}",
        "{\"maxTemporalLayerId\": 1}",
        "{\"mediaId\": \"1\"}",
        "{}",
    ] {
        let reply = node.ask("POST", &format!("{at}/layer"), &headers, body).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, ""), "{body}");
    }
    let one = || Some("1".to_owned());
    let picked = |id: &str| Choice { rid: Some(id.to_owned()), max_temporal: None };
    let bounded = Choice { rid: None, max_temporal: Some(1) };
    let none = Choice::default;
    let wanted =
        [(one(), picked("h")), (None, picked("l")), (None, bounded), (one(), none()), (None, none())];
    assert_eq!(node.fake.chosen.lock().unwrap()[..], wanted);
}

#[tokio::test]
async fn preflights_pass_without_a_token_and_other_methods_are_405() {
    let (node, at, _) = made(Setup::default(), "whep").await;
    for (path, allowed, accept) in [
        ("sse", vec!["OPTIONS", "POST"], Some("application/json")),
        ("layer", vec!["OPTIONS", "POST"], Some("application/json")),
        ("sse/1", vec!["DELETE", "GET", "HEAD", "OPTIONS"], None),
    ] {
        let path = format!("{at}/{path}");
        let asks = [("Origin", "https://page.example"), ("Access-Control-Request-Method", "POST")];
        let reply = node.ask("OPTIONS", &path, &asks, "").await;
        assert_eq!((reply.status, reply.header("accept-post")), (200, accept), "{path}");
        assert!(reply.header("access-control-allow-headers").unwrap().contains("Authorization"));
        for method in ["OPTIONS", "PUT"] {
            let reply = node.ask(method, &path, &[], "").await;
            assert_eq!(reply.status, if method == "OPTIONS" { 200 } else { 405 }, "{method} {path}");
            let mut allow: Vec<_> = reply.header("allow").unwrap().split([',', ' ']).collect();
            allow.retain(|a| !a.is_empty());
            allow.sort_unstable();
            assert_eq!(allow, allowed, "{method} {path}");
        }
    }
}
