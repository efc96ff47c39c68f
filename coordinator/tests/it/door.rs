//! Where clients are, and how many of them may come at once.

use std::time::Duration;

use bytes::Bytes;
use freshet_cluster::token::{ApiKey, ApiKeys};
use freshet_edge::hops::Trusted;
use freshet_edge::rate::Rate;
use freshet_edge::{DoorConfig, Guard};
use futures::StreamExt as _;
use futures::stream;
use http::{Method, Request};
use http_body_util::Empty;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::support::sse::Listener;
use crate::support::{Answer, Behaviour, KEY, World, ask, get, token, until};

const SDP: (&str, &str) = ("content-type", "application/sdp");

fn keys() -> Guard {
    Guard::tokens(ApiKeys::new([KEY.parse::<ApiKey>().unwrap()]).unwrap())
}

fn loopback() -> Trusted {
    Trusted::new(vec!["127.0.0.0/8".parse().unwrap()])
}

/// Nobody gets a token back during a test.
fn only(burst: u32) -> Option<Rate> {
    Some(Rate { per_second: 0.001, burst })
}

async fn join(world: &World, path: &str, headers: &[(&str, &str)]) -> Answer {
    let headers: Vec<_> = [SDP].iter().chain(headers).copied().collect();
    ask(Method::POST, &world.url(0, path), &headers, "v=0\r\n").await
}

/// 1,500 people behind one office's address join the same event at once, each with a token.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_behind_one_office_address_works() {
    let world = World::closed(1).await;
    let (a, b) = (world.node("a", Behaviour::Accept).await, world.node("b", Behaviour::Accept).await);
    let answers = stream::iter(0..1_500).map(|n| {
        let bearer = format!("Bearer {}", token("r1", &format!("guest-{n}"), &["subscribe"]));
        let world = &world;
        async move { join(world, "/whep/r1?wait=1", &[("authorization", &bearer)]).await.status }
    });
    let statuses: Vec<u16> = answers.buffer_unordered(64).collect().await;
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1_500, "{statuses:?}");
    assert_eq!(a.seen().len() + b.seen().len(), 1_500);
    let limited = |by: &str| format!("freshet_coordinator_http_limited_total{{by=\"{by}\"}}");
    for by in ["identity", "address", "failures"] {
        assert_eq!(world.metric(0, &limited(by)).await, 0.0);
        assert!(get(&world.url(0, "/metrics")).await.text().contains(&limited(by)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_through_one_forwarded_address_leaves_the_proxys_other_clients_alone() {
    let door =
        DoorConfig { trusted: loopback(), address: only(40), failures: only(30), ..DoorConfig::default() };
    let world = World::with(1, keys(), |config| config.door = door.clone()).await;
    let node = world.node("a", Behaviour::Accept).await;
    let bearer = format!("Bearer {}", token("r1", "ann", &["subscribe"]));
    let storm = async |forwarded: &str, credentials: &str| {
        let statuses = stream::iter(0..200).map(|_| async {
            let headers = [("x-forwarded-for", forwarded), ("authorization", credentials)];
            let answer = join(&world, "/whep/r1?wait=1", &headers).await;
            if answer.status == 429 {
                assert_eq!(
                    (answer.reason().as_str(), answer.header("access-control-allow-origin")),
                    ("rate-limit", "*")
                );
                assert!(answer.retry_after() >= 1);
            }
            answer.status
        });
        let statuses: Vec<u16> = statuses.buffer_unordered(16).collect().await;
        let count = |wanted| statuses.iter().filter(|status| **status == wanted).count();
        [count(201), count(401), count(429)]
    };
    // What the client writes itself stands to the left of what the proxy adds.
    assert_eq!(storm("198.51.100.9, 192.0.2.1", &bearer).await, [40, 0, 160]);
    assert_eq!(
        join(&world, "/whep/r1?wait=1", &[("x-forwarded-for", "192.0.2.2"), ("authorization", &bearer)])
            .await
            .status,
        201
    );
    assert_eq!(node.last().call.client_ip, Some("192.0.2.2".parse().unwrap()));
    // Guesses of tokens. Up to 16 are under way when the last one that counts is judged.
    let [none, wrong, refused] = storm("2001:db8::1", "Bearer a.b.c").await;
    assert!(none == 0 && (30..46).contains(&wrong) && wrong + refused == 200, "{wrong} {refused}");
    let headers = [("forwarded", "for=\"[2001:db8:0:1::1]\""), ("authorization", &bearer)];
    assert_eq!(join(&world, "/whep/r1?wait=1", &headers).await.status, 201, "the next /64");
    assert_eq!(node.last().call.client_ip, Some("2001:db8:0:1::1".parse().unwrap()));
    assert_eq!(world.metric(0, "freshet_coordinator_http_limited_total{by=\"address\"}").await, 160.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_is_bounded_wherever_it_comes_from() {
    let door = DoorConfig { trusted: loopback(), identity: only(5), ..DoorConfig::default() };
    let world = World::with(1, keys(), |config| config.door = door.clone()).await;
    let node = world.node("a", Behaviour::Accept).await;
    let bearer = |who: &str| format!("Bearer {}", token("r1", who, &["subscribe", "chat"]));
    let mut statuses = Vec::new();
    for n in 0..8 {
        let from = format!("192.0.2.{n}");
        let headers = [("x-forwarded-for", from.as_str()), ("authorization", &bearer("ann"))];
        statuses.push(join(&world, "/whep/r1?wait=1", &headers).await.status);
    }
    assert_eq!(statuses, [201, 201, 201, 201, 201, 429, 429, 429]);
    let json = [("content-type", "application/json"), ("authorization", &bearer("ann"))];
    let chat =
        ask(Method::POST, &world.url(0, "/v1/rooms/r1/chat"), &json, r#"{"id":"1","text":"hi"}"#).await;
    assert_eq!((chat.status, chat.reason().as_str()), (429, "rate-limit"), "every POST counts");
    let location = format!("/sessions/a/{}/0123456789abcdef0123456789abcdef", node.incarnation);
    let sse = ask(Method::POST, &world.url(0, &format!("{location}/sse")), &json, "").await;
    assert_eq!(sse.status, 429);
    let end = ask(Method::DELETE, &world.url(0, &location), &json, "").await;
    assert_eq!(end.status, 200, "who has to leave may");
    assert_eq!(join(&world, "/whep/r1?wait=1", &[("authorization", &bearer("bob"))]).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_identity_listens_so_often_and_no_more() {
    let world = World::with(1, keys(), |config| config.door.listeners = 2).await;
    let events = world.url(0, "/v1/rooms/r1/events");
    let (ann, bob) = (token("r1", "ann", &["subscribe"]), token("r1", "bob", &["subscribe"]));
    let listen = async |who: &str| Listener::open_with(&events, None, Some(who)).await;
    let (first, _second) = (listen(&ann).await, listen(&ann).await);
    let bearer = format!("Bearer {ann}");
    // One that is let in does not end.
    let headers = [("authorization", bearer.as_str())];
    let refused = tokio::time::timeout(Duration::from_secs(20), ask(Method::GET, &events, &headers, ""));
    let refused = refused.await.expect("an answer that ends");
    assert_eq!((refused.status, refused.reason().as_str()), (429, "too-many-listeners"));
    assert!(refused.retry_after() >= 1);
    let _other = listen(&bob).await;
    drop(first);
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    until("the place to be free", async || {
        let request = Request::get(&events).header("authorization", &bearer).body(Empty::new()).unwrap();
        client.request(request).await.unwrap().status() == 200
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_is_where_it_says_or_the_proxy_or_the_coordinator_is() {
    let region_header = Some("x-freshet-region".parse().unwrap());
    let door = DoorConfig { trusted: loopback(), region_header, ..DoorConfig::default() };
    let shape = |config: &mut freshet_coordinator::CoordinatorConfig| {
        config.door = door.clone();
        config.region = "eu".to_owned();
    };
    let world = World::with(1, Guard::open(), shape).await;
    for region in ["eu", "us", "ap"] {
        let node = world.node(region, Behaviour::Accept).await;
        node.register_as(|record| record.region = region.to_owned()).await;
        std::mem::forget(node);
    }
    until("regions to be known", async || {
        let nodes = get(&world.url(0, "/v1/nodes")).await.json();
        nodes["nodes"].as_array().unwrap().iter().all(|node| node["region"] == node["id"])
    })
    .await;
    let from = ("x-freshet-region", "ap");
    for (n, (query, headers, node)) in [
        ("", &[][..], "eu"),
        ("&region=us", &[], "us"),
        ("", &[from], "ap"),
        ("&region=us", &[from], "us"),
        ("&region=", &[from], "ap"),
        ("", &[("x-freshet-region", "")], "eu"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = join(&world, &format!("/whep/room-{n}?wait=1{query}"), headers).await;
        assert!(answer.header("location").starts_with(&format!("/sessions/{node}/")), "{n}: {answer:?}");
    }
    assert_eq!(join(&world, "/whep/r1?wait=1&region=%00", &[]).await.status, 400);
}
