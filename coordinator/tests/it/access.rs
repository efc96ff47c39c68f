//! What those who run a room hear when a node or the store is away, and what is left behind by what they do.

use std::time::Duration;

use freshet_cluster::access::Ban;
use freshet_cluster::secret::Secret;
use freshet_cluster::store::{Expect, Store as _};
use freshet_cluster::token::{ApiKey, ApiKeys};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::encode;
use freshet_cluster::{Identity, RoomId, keys};
use freshet_coordinator::CoordinatorConfig;
use freshet_edge::Guard;
use freshet_edge::rules::BANS_MAX;
use http::Method;

use crate::support::{Answer, Behaviour, FakeNode, KEY, SECRET, World, ask, get, token, until};

const SESSION: &str = "00000000000000000000000000000007";
const JSON: (&str, &str) = ("content-type", "application/json");

fn config() -> CoordinatorConfig {
    let guard = Guard::tokens(ApiKeys::new([KEY.parse::<ApiKey>().unwrap()]).unwrap());
    let listen = "127.0.0.1:0".parse().unwrap();
    let mut config = CoordinatorConfig::new(listen, "late".parse().unwrap(), guard, Secret::new(SECRET));
    config.patience = Duration::ZERO;
    config
}

fn room() -> RoomId {
    "r1".parse().unwrap()
}

/// A request below `/v1/rooms/r1/` by an admin of this name.
async fn by(world: &World, who: &str, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {}", token("r1", who, &["admin"]));
    let url = world.url(0, &format!("/v1/rooms/r1/{path}"));
    ask(method.parse().unwrap(), &url, &[("authorization", &bearer), JSON], body).await
}

async fn boss(world: &World, method: &str, path: &str) -> Answer {
    by(world, "boss", method, path, "").await
}

fn told(answer: &Answer) -> (u16, String) {
    (answer.status, answer.reason())
}

/// A node with one session of the room, that of `viewer-7`.
async fn watched(world: &World) -> FakeNode {
    let node = world.node("a", Behaviour::Accept).await;
    node.publish("r1", "cam", 7).await;
    until("the room's session", async || {
        let listed = boss(world, "GET", "sessions").await;
        listed.status == 200 && listed.json()["sessions"].as_array().unwrap().len() == 1
    })
    .await;
    node
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_does_not_answer_is_told_and_the_ban_holds() {
    let world = World::closed(1).await;
    let mut node = watched(&world).await;
    let path = format!("sessions/{SESSION}");
    // It says that it has the session, and nothing to the end of it.
    node.set_deaf(true);
    let answer = boss(&world, "DELETE", &path).await;
    assert_eq!(told(&answer), (502, "node-unreachable".to_owned()), "{answer:?}");
    assert_eq!((answer.retry_after(), node.dismissed().len()), (1, 1));
    let bans = boss(&world, "GET", "bans").await.json();
    assert_eq!(bans["bans"][0]["identity"], "viewer-7", "who asks again finds it kept away by now");
    node.set_deaf(false);
    assert_eq!(boss(&world, "DELETE", &path).await.status, 200);
    // It does not even say what it has.
    node.vanish();
    let answer = boss(&world, "DELETE", &path).await;
    assert_eq!(told(&answer), (502, "node-unreachable".to_owned()), "{answer:?}");
    assert!(answer.json()["detail"].as_str().unwrap().contains("(a)"), "it says which");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_is_away_sessions_end_and_nothing_else_is_promised() {
    let world = World::closed(1).await;
    let node = watched(&world).await;
    world.store.set_away(true);
    for (method, path, body) in [
        ("PUT", "bans/eve", ""),
        ("DELETE", "bans/eve", ""),
        ("GET", "spec", ""),
        ("PUT", "spec", r#"{"public":true}"#),
        ("DELETE", "spec", ""),
    ] {
        let answer = by(&world, "boss", method, path, body).await;
        assert_eq!(told(&answer), (503, "store-away".to_owned()), "{method} {path}");
        assert!(answer.retry_after() >= 1);
    }
    assert!(node.dismissed().is_empty());
    let answer = boss(&world, "DELETE", &format!("sessions/{SESSION}")).await;
    assert_eq!(told(&answer), (503, "store-away".to_owned()));
    assert_eq!(node.dismissed().len(), 1, "it has ended all the same");
    assert_eq!(boss(&world, "DELETE", &format!("sessions/{SESSION}?ban=0")).await.status, 200);
    // What is known stays true.
    assert_eq!(boss(&world, "GET", "bans").await.json(), serde_json::json!({"bans": []}));
    world.store.set_away(false);
    until("the store is back", async || boss(&world, "PUT", "bans/eve").await.status == 200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_has_so_many_bans_at_most() {
    let mut world = World::closed(0).await;
    let now = UnixMillis::now();
    for n in 0..BANS_MAX {
        let who: Identity = format!("viewer-{}", n + 100).parse().unwrap();
        let ban = Ban::new(room(), who.clone(), now, UnixMillis(now.0 + 3_600_000));
        world.store.put(&keys::ban(&room(), &who), encode(&ban), Expect::Any, None).await.unwrap();
    }
    world.add(config()).await;
    let node = watched(&world).await;
    let bans = boss(&world, "GET", "bans").await.json();
    assert_eq!((bans["bans"].as_array().unwrap().len(), &bans["truncated"]), (1_000, &true.into()));
    assert_eq!(told(&boss(&world, "PUT", "bans/eve").await), (409, "too-many-bans".to_owned()));
    let answer = boss(&world, "DELETE", &format!("sessions/{SESSION}")).await;
    assert_eq!(told(&answer), (409, "too-many-bans".to_owned()));
    assert_eq!(node.dismissed().len(), 1, "it has ended all the same");
    // One who is away already may be sent away for longer; and who lifts one makes room.
    assert_eq!(boss(&world, "PUT", "bans/viewer-100").await.status, 200);
    assert_eq!(boss(&world, "DELETE", "bans/viewer-101").await.status, 204);
    assert_eq!(boss(&world, "PUT", "bans/eve").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ban_leaves_no_lease_behind() {
    let world = World::closed(1).await;
    let before = world.store.leases();
    for _ in 0..3 {
        assert_eq!(boss(&world, "PUT", "bans/eve").await.status, 200);
        assert_eq!(world.store.leases(), before + 1, "the one that is replaced goes");
    }
    let key = keys::ban(&room(), &"eve".parse().unwrap());
    assert!(world.store.get(&key).await.unwrap().is_some_and(|entry| entry.lease.is_some()));
    assert_eq!(boss(&world, "DELETE", "bans/eve").await.status, 204);
    assert_eq!(world.store.leases(), before, "the one that is lifted, too");
    assert_eq!(world.store.get(&key).await.unwrap(), None);
    assert_eq!(boss(&world, "DELETE", "bans/eve").await.status, 204, "nothing to lift");
    assert_eq!(boss(&world, "GET", "bans").await.json(), serde_json::json!({"bans": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spec_keeps_what_a_newer_version_wrote() {
    let world = World::closed(1).await;
    let key = keys::room_spec(&room());
    let newer = serde_json::json!({"v": 2, "min_v": 1, "public": false, "title": {"en": "Lecture"}});
    world.store.put(&key, newer.to_string().into(), Expect::Any, None).await.unwrap();
    let stored = async || -> serde_json::Value {
        serde_json::from_slice(&world.store.get(&key).await.unwrap().unwrap().value).unwrap()
    };
    let put = async |body: &str| by(&world, "boss", "PUT", "spec", body).await;
    let answer = put(r#"{"public":true}"#).await;
    assert_eq!((answer.status, answer.json()), (200, serde_json::json!({"public": true})));
    let found = stored().await;
    assert_eq!((&found["public"], &found["title"]["en"]), (&true.into(), &"Lecture".into()));
    assert!(!answer.header("etag").is_empty());

    // What says that older ones must not touch it stays as it is; what nobody can read is replaced.
    let too_new = serde_json::json!({"v": 9, "min_v": 9, "shape": []});
    world.store.put(&key, too_new.to_string().into(), Expect::Any, None).await.unwrap();
    assert_eq!(told(&put(r#"{"public":true}"#).await), (503, "store-too-new".to_owned()));
    assert_eq!(stored().await, too_new);
    world.store.put(&key, "junk".into(), Expect::Any, None).await.unwrap();
    assert_eq!(boss(&world, "GET", "spec").await.json(), serde_json::json!({"public": false}));
    assert_eq!(put(r#"{"public":true}"#).await.status, 200);
    assert_eq!(stored().await["public"], true);

    for (body, word) in [
        ("[true]", "no JSON object"),
        ("true", "{\"public\": true}"),
        (r#"{"public":true,"titel":1}"#, "{\"public\": true}"),
        (r#"{"public":"yes"}"#, "{\"public\": true}"),
        ("{}", "{\"public\": true}"),
        ("", "empty"),
    ] {
        let answer = put(body).await;
        assert_eq!(told(&answer), (400, "bad-json".to_owned()), "{body}");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word) && !detail.contains("expected"), "{body}: {detail}");
    }
    assert_eq!(stored().await["public"], true);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_not_been_read_is_not_told_as_if_there_were_nothing() {
    let mut world = World::closed(0).await;
    world.store.set_away(true);
    world.begin(config()).await;
    let asked = [
        ("GET", "/v1/rooms".to_owned()),
        ("GET", "/v1/rooms/r1".to_owned()),
        ("GET", "/v1/rooms/r1/streams/cam/health".to_owned()),
        ("GET", "/v1/rooms/r1/sessions".to_owned()),
        ("DELETE", format!("/v1/rooms/r1/sessions/{SESSION}")),
        ("GET", "/v1/rooms/r1/bans".to_owned()),
        ("GET", "/v1/rooms/r1/spec".to_owned()),
    ];
    let bearer = format!("Bearer {}", token("r1", "boss", &["admin"]));
    let ask_as = async |method: &str, path: &str| {
        let method: Method = method.parse().unwrap();
        ask(method, &world.url(0, path), &[("authorization", &bearer)], "").await
    };
    for (method, path) in &asked {
        let answer = ask_as(method, path).await;
        assert_eq!(told(&answer), (503, "store-away".to_owned()), "{method} {path}");
        assert!(answer.retry_after() >= 1);
        assert_eq!(ask(method.parse().unwrap(), &world.url(0, path), &[], "").await.status, 401, "{path}");
    }
    world.store.set_away(false);
    until("ready", async || get(&world.url(0, "/readyz")).await.status == 200).await;
    until("the rules are read", async || ask_as("GET", "/v1/rooms/r1/bans").await.status == 200).await;
    for (method, path) in &asked {
        let status = ask_as(method, path).await.status;
        assert!(matches!(status, 200 | 404), "{method} {path}: {status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_sends_oneself_away() {
    let world = World::closed(1).await;
    let node = watched(&world).await;
    let answer = boss(&world, "PUT", "bans/boss").await;
    assert_eq!(told(&answer), (409, "own-identity".to_owned()));
    assert_eq!(boss(&world, "PUT", "bans/eve").await.status, 200, "and is not away by that");
    let path = format!("sessions/{SESSION}");
    let own = async |path: &str| by(&world, "viewer-7", "DELETE", path, "").await;
    assert_eq!(told(&own(&path).await), (409, "own-identity".to_owned()));
    assert!(node.dismissed().is_empty(), "nothing has been done");
    assert_eq!(own(&format!("{path}?ban=0")).await.status, 200);
}
