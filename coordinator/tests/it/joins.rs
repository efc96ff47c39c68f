//! Where sessions go.

use std::collections::BTreeSet;
use std::time::Duration;

use freshet_cluster::keys;
use freshet_cluster::store::Store as _;
use http::Method;

use crate::support::{Behaviour, World, ask, get, offer, token, until};

const WHEP: &str = "/whep/r1?wait=1";

#[tokio::test(flavor = "multi_thread")]
async fn two_coordinators_joining_the_same_new_room_at_once_give_one_plan() {
    let world = World::open(2).await;
    let mut nodes = Vec::new();
    for n in 0..6 {
        nodes.push(world.node(&format!("n{n}"), Behaviour::Accept).await);
    }
    for round in 0..5 {
        let path = format!("/whep/new{round}?wait=1");
        let joins = (0..20).map(|n| {
            let url = world.url(n % 2, &path);
            tokio::spawn(async move { offer(&url).await })
        });
        let mut hosts = BTreeSet::new();
        for join in joins.collect::<Vec<_>>() {
            let answer = join.await.unwrap();
            assert_eq!(answer.status, 201, "{answer:?}");
            hosts.insert(answer.header("location").split('/').nth(2).unwrap().to_owned());
        }
        let plan = world.plan(&format!("new{round}")).await.unwrap();
        plan.check().unwrap();
        for host in &hosts {
            assert!(plan.member(&host.parse().unwrap()).is_some(), "{host} serves outside {plan:?}");
        }
        assert_eq!(plan.members.iter().filter(|m| m.parent.is_none()).count(), 1);
    }
    let mut conflicts = 0.0;
    for coordinator in 0..2 {
        conflicts += world.metric(coordinator, "freshet_coordinator_plan_conflicts_total").await;
    }
    assert!(conflicts > 0.0, "nobody ever raced");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_leads_to_the_next_best_and_three_to_503() {
    let world = World::open(1).await;
    let a = world.node("a", Behaviour::Refuse("over-capacity")).await;
    let b = world.node("b", Behaviour::Refuse("draining")).await;
    let c = world.node("c", Behaviour::Accept).await;
    let d = world.node("d", Behaviour::Accept).await;
    let answer = offer(&world.url(0, WHEP)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.text(), "v=0\r\na=answer\r\n");
    assert!(answer.header("location").starts_with("/sessions/c/"), "{answer:?}");
    assert_eq!(answer.header("etag"), "\"0\"");
    assert_eq!([&a, &b, &c, &d].map(|node| node.seen().len()), [1, 1, 1, 0]);

    c.behave(Behaviour::Refuse("over-capacity"));
    d.behave(Behaviour::Refuse("over-capacity"));
    until("c's session to be known", async || {
        get(&world.url(0, "/v1/nodes")).await.json()["nodes"][2]["sessions"] == 1
    })
    .await;
    let answer = offer(&world.url(0, "/whep/r2?wait=1")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "over-capacity"));
    assert!((2..=10).contains(&answer.retry_after()));
    assert_eq!([&a, &b, &c, &d].map(|node| node.seen().len()), [2, 2, 1, 1], "the fullest is not asked");
    assert_eq!(world.metric(0, "freshet_coordinator_join_refusals_total{reason=\"draining\"}").await, 2.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_or_hangs_is_passed_over_and_avoided() {
    let world = World::open(1).await;
    let mut a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Hang).await;
    let c = world.node("c", Behaviour::Accept).await;
    a.vanish();
    let answer = offer(&world.url(0, WHEP)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(answer.header("location").starts_with("/sessions/c/"));
    assert_eq!(b.seen().len(), 1);
    let began = std::time::Instant::now();
    let answer = offer(&world.url(0, "/whep/r9?wait=1")).await;
    assert_eq!(answer.status, 201);
    assert!(began.elapsed() < Duration::from_millis(500), "the silent ones come last now");
    assert_eq!(c.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_call_says_who_asks_and_carries_the_plan_and_the_request_unchanged() {
    let world = World::closed(1).await;
    let node = world.node("a", Behaviour::Accept).await;
    let token = token("r1", "Zoë", &["publish"]);
    let headers = [
        ("content-type", "application/sdp"),
        ("authorization", &format!("Bearer {token}")),
        ("if-none-match", "*"),
        ("accept", "application/sdp"),
        ("x-unknown", "stays outside"),
    ];
    let answer = ask(Method::POST, &world.url(0, "/whip/r1?x=%C3%A9"), &headers, "v=0\r\no=zoe\r\n").await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let seen = node.last();
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/whip/r1?x=%C3%A9"));
    assert_eq!(seen.body, "v=0\r\no=zoe\r\n");
    assert_eq!(seen.headers["if-none-match"], "*");
    assert_eq!(seen.headers["content-type"], "application/sdp");
    assert!(!seen.headers.contains_key("authorization"), "the token stays with the coordinator");
    assert!(!seen.headers.contains_key("x-unknown"));
    assert_eq!(seen.call.identity.as_str(), "Zoë");
    assert_eq!(seen.call.room.as_str(), "r1");
    assert!(!seen.call.open);
    assert!(seen.call.client_ip.unwrap().is_loopback());
    let plan = seen.call.plan.unwrap();
    assert_eq!(Some(&plan), world.plan("r1").await.as_ref());
    assert_eq!(plan.members[0].incarnation, node.incarnation);
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_are_checked_before_anybody_is_asked() {
    let world = World::closed(1).await;
    let node = world.node("a", Behaviour::Accept).await;
    let bearer = |room: &str, grants: &[&str]| format!("Bearer {}", token(room, "ann", grants));
    let sdp = "application/sdp";
    let large = "x".repeat(64 * 1024 + 1);
    let table = [
        ("/whip/r1", None, sdp, "v=0", 401),
        ("/whip/r1", Some("Bearer nonsense".to_owned()), sdp, "v=0", 401),
        ("/whip/r1", Some(bearer("r2", &["publish"])), sdp, "v=0", 403),
        ("/whip/r1", Some(bearer("r1", &["subscribe"])), sdp, "v=0", 403),
        ("/whep/r1?wait=1", Some(bearer("r1", &["publish"])), sdp, "v=0", 403),
        ("/whip/r1/other", Some(bearer("r1", &["publish"])), sdp, "v=0", 403),
        ("/whip/r1", Some(bearer("r1", &["publish"])), "application/json", "v=0", 415),
        ("/whip/r1", Some(bearer("r1", &["publish"])), sdp, &large, 413),
        ("/whip/a.b", Some(bearer("r1", &["publish"])), sdp, "v=0", 400),
        ("/whep/r1?wait=maybe", Some(bearer("r1", &["subscribe"])), sdp, "v=0", 400),
    ];
    for (path, token, kind, body, status) in table {
        let mut headers = vec![("content-type", kind)];
        headers.extend(token.as_deref().map(|token| ("authorization", token)));
        let answer = ask(Method::POST, &world.url(0, path), &headers, body).await;
        assert_eq!(answer.status, status, "{path} {token:?}: {answer:?}");
        let _is_a_problem = answer.reason();
        assert_eq!(answer.headers.contains_key("www-authenticate"), matches!(status, 401 | 403), "{path}");
    }
    assert!(node.seen().is_empty(), "{:?}", node.seen());
    let rooms = world.store.list(keys::ROOMS).await.unwrap();
    assert!(rooms.entries.is_empty(), "no room's key was touched: {rooms:?}");
    let ok = ask(
        Method::POST,
        &world.url(0, "/whip/r1/ann"),
        &[("content-type", sdp), ("authorization", &bearer("r1", &["publish"]))],
        "v=0",
    )
    .await;
    assert_eq!(ok.status, 201, "one's own stream may be named");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nobody_publishes_viewers_are_told_so_unless_they_wait() {
    let world = World::open(2).await;
    let node = world.node("a", Behaviour::Accept).await;
    let answer = offer(&world.url(0, "/whep/r1")).await;
    assert_eq!((answer.status, answer.reason().as_str()), (409, "no-publisher"));
    assert!((2..=10).contains(&answer.retry_after()));
    assert!(node.seen().is_empty() && world.plan("r1").await.is_none());
    assert_eq!(offer(&world.url(0, "/whep/r1?wait=1")).await.status, 201);

    tokio::time::sleep(Duration::from_millis(300)).await;
    // Right behind the publisher's claim, at both coordinators: the view may not have it yet.
    node.claim("r1", "cam", 1).await;
    for coordinator in 0..2 {
        let answer = offer(&world.url(coordinator, "/whep/r1")).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    assert_eq!(offer(&world.url(1, "/whep/r1/cam")).await.status, 201);
    assert_eq!(offer(&world.url(1, "/whep/r1/screen")).await.status, 409, "another stream is pinned");

    node.behave(Behaviour::NoPublisher);
    let answer = offer(&world.url(0, "/whep/r1")).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (409, "no-publisher"),
        "the node's word is passed on"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rooms_tree_shrinks_when_the_last_session_has_left() {
    let world = World::open(2).await;
    let a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Accept).await;
    assert_eq!(offer(&world.url(0, WHEP)).await.status, 201);
    a.behave(Behaviour::Refuse("over-capacity"));
    assert_eq!(offer(&world.url(1, WHEP)).await.status, 201);
    a.behave(Behaviour::Accept);
    let plan = world.plan("r1").await.unwrap();
    assert_eq!(plan.members.len(), 2);
    b.forget("r1");
    until("b to leave the tree", async || world.plan("r1").await.unwrap().members.len() == 1).await;
    let later = world.plan("r1").await.unwrap();
    assert!(later.epoch > plan.epoch);
    assert_eq!(later.members[0].node, a.id);
    a.forget("r1");
    until("the plan to go", async || world.plan("r1").await.is_none()).await;
    for coordinator in 0..2 {
        until("the room to be forgotten", async || {
            get(&world.url(coordinator, "/v1/rooms/r1")).await.status == 404
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_draining_coordinator_takes_no_joins_but_serves_what_is_there() {
    let world = World::open(1).await;
    let _node = world.node("a", Behaviour::Accept).await;
    let session = offer(&world.url(0, WHEP)).await;
    world.coordinators[0].drain().await;
    let answer = offer(&world.url(0, WHEP)).await;
    assert_eq!((answer.status, answer.reason().as_str()), (503, "draining"));
    assert_eq!(get(&world.url(0, "/readyz")).await.status, 503);
    assert_eq!(get(&world.url(0, "/healthz")).await.status, 200);
    let delete = ask(Method::DELETE, &world.url(0, session.header("location")), &[], "").await;
    assert_eq!(delete.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_no_sdp_plans_no_room() {
    let world = World::open(1).await;
    let node = world.node("a", Behaviour::Accept).await;
    for path in ["/whip/junk", "/whep/junk?wait=1"] {
        let sdp = [("content-type", "application/sdp")];
        let answer = ask(Method::POST, &world.url(0, path), &sdp, "garbage").await;
        assert_eq!((answer.status, answer.reason().as_str()), (400, "bad-sdp"), "{path}");
    }
    assert!(node.seen().is_empty() && world.plan("junk").await.is_none());
}
