//! Who is in a room and who may come in, over real nodes: sessions listed and ended, identities sent away, public
//! rooms, and how many sessions one may hold.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::time::Duration;

use freshet_cluster::token::{ApiKey, Claims, sign};
use freshet_cluster::unit::UnixMillis;
use freshet_test_support as support;
use serde_json::{Value, json};

use support::{Answer, Cluster, KEY, Plan, eventually, get_json, request, token, view};

const SOON: Duration = Duration::from_secs(20);
const SDP: (&str, &str) = ("content-type", "application/sdp");
const JSON: (&str, &str) = ("content-type", "application/json");

fn offer(name: &str) -> String {
    let text = match name {
        "whip" => include_str!("data/offer-publish.sdp"),
        _ => include_str!("data/offer-view.sdp"),
    };
    text.replace("\r\n", "\n").replace('\n', "\r\n")
}

/// POSTs an offer: `whip/room` or `whep/room`.
async fn join(base: &str, path: &str, token: Option<&str>) -> Answer {
    let kind = path.split('/').next().unwrap();
    let url = format!("{base}/{path}{}", if kind == "whep" { "?wait=1" } else { "" });
    request("POST", &url, token, &[SDP], offer(kind)).await.expect("an answer")
}

/// The session's path, of an answer that made one.
fn made(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{:?}", answer.json());
    answer.headers["location"].to_str().unwrap().to_owned()
}

fn id(session: &str) -> &str {
    session.rsplit('/').next().unwrap()
}

/// The status of a session, and why.
async fn state(base: &str, session: &str, token: Option<&str>) -> (u16, String) {
    let answer = request("GET", &format!("{base}{session}"), token, &[], "").await.expect("an answer");
    let reason = answer.json()["reason"].as_str().unwrap_or_default().to_owned();
    (answer.status, reason)
}

async fn ends(base: &str, session: &str, token: &str, reason: &str) {
    eventually(SOON, reason, || async {
        (state(base, session, Some(token)).await == (404, reason.to_owned())).then_some(())
    })
    .await;
}

fn minted(room: &str, identity: &str, grants: &[&str], more: Value) -> String {
    let mut claims = json!({"room": room, "identity": identity, "grants": grants, "streams": ["*"],
        "exp": UnixMillis::now().0 / 1000 + 600});
    claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let claims: Claims = serde_json::from_value(claims).unwrap();
    sign(&KEY.parse::<ApiKey>().unwrap(), &claims)
}

async fn listed(base: &str, room: &str, query: &str, admin: &str) -> Vec<Value> {
    let url = format!("{base}/v1/rooms/{room}/sessions?{query}");
    let page = get_json(&url, Some(admin)).await.expect("a page");
    assert_eq!(page["unreachable"], Value::Null, "{page}");
    page["sessions"].as_array().unwrap().clone()
}

async fn cluster(test: &str) -> Cluster {
    Cluster::start(test, Plan { nodes: 2, coordinators: 2, max_sessions: 20 }).await
}

fn node(cluster: &Cluster, n: usize) -> String {
    format!("http://127.0.0.1:{}", cluster.node_ports[n])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_are_listed_and_ended_and_identities_sent_away() {
    let cluster = cluster("access-sessions").await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    let nodes = [node(&cluster, 0), node(&cluster, 1)];
    let admin = token("stage", "boss", "admin");
    let (ann, bob) = (token("stage", "Ann Λ", "subscribe"), token("stage", "bob", "subscribe,chat"));

    // One of each at each node, by a client that stays, so that none is gone for silence meanwhile.
    let wait = |config: &mut freshet_loadtest::client::ViewerConfig| config.url.push_str("?wait=1");
    let mut watching = Vec::new();
    for who in [&ann, &bob] {
        for at in &nodes {
            watching.push(view(at, "stage", who, wait).await);
        }
    }
    let all = eventually(SOON, "both coordinators list all four", || async {
        let lists = [listed(&one, "stage", "", &admin).await, listed(&two, "stage", "", &admin).await];
        let ids = |list: &[Value]| list.iter().map(|one| one["session"].clone()).collect::<Vec<_>>();
        (lists[0].len() == 4 && ids(&lists[0]) == ids(&lists[1])).then(|| lists[0].clone())
    })
    .await;
    let of = |key: &str| all.iter().map(|one| one[key].as_str().unwrap()).collect::<BTreeSet<_>>();
    assert_eq!(of("identity"), BTreeSet::from(["Ann Λ", "bob"]));
    assert_eq!(of("node"), BTreeSet::from(["node-1", "node-2"]));
    assert_eq!(of("direction"), BTreeSet::from(["view"]));
    assert_eq!(listed(&one, "stage", "identity=Ann%20%CE%9B", &admin).await.len(), 2);
    assert_eq!(listed(&one, "stage", "direction=publish", &admin).await.len(), 0);
    // Pages of one walk over all of them, over both nodes.
    let (mut seen, mut query) = (Vec::new(), "limit=1".to_owned());
    loop {
        let url = format!("{two}/v1/rooms/stage/sessions?{query}");
        let page = get_json(&url, Some(&admin)).await.unwrap();
        seen.extend(page["sessions"].as_array().unwrap().iter().map(|one| one["session"].clone()));
        assert!(seen.len() <= 4, "{seen:?}");
        match page["next"].as_str() {
            Some(next) => query = format!("limit=1&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, all.iter().map(|one| one["session"].clone()).collect::<Vec<_>>());

    // Nobody but those who run the room.
    let url = |base: &str, session: &str| format!("{base}/v1/rooms/stage/sessions/{session}");
    let bobs: Vec<&str> = all
        .iter()
        .filter(|one| one["identity"] == "bob")
        .map(|one| one["session"].as_str().unwrap())
        .collect();
    let elsewhere = token("hall", "boss", "admin");
    for (who, status) in [(Some(&ann), 403), (Some(&elsewhere), 403), (None, 401)] {
        let who = who.map(String::as_str);
        for at in [&one, &nodes[0]] {
            let answer = request("DELETE", &url(at, bobs[0]), who, &[], "").await.unwrap();
            assert_eq!(answer.status, status, "{:?}", answer.json());
            let answer =
                request("GET", &format!("{at}/v1/rooms/stage/sessions"), who, &[], "").await.unwrap();
            assert_eq!(answer.status, status);
        }
    }

    // One that a node was asked for directly, in a room that no heartbeat has told of yet.
    let newcomer = token("side-stage", "cid", "subscribe");
    let fresh = made(&join(&nodes[1], "whep/side-stage", Some(&newcomer)).await);
    let path = format!("{one}/v1/rooms/side-stage/sessions/{}", id(&fresh));
    let owner = token("side-stage", "boss", "admin");
    let answer = request("DELETE", &path, Some(&owner), &[], "").await.unwrap();
    assert_eq!((answer.status, &answer.json()["session"]["identity"]), (200, &json!("cid")));
    ends(&two, &fresh, &newcomer, "revoked").await;
    let again = request("DELETE", &path, Some(&owner), &[], "").await.unwrap();
    assert_eq!(again.status, 404, "no node has it any more");

    // One session of bob's, from the other coordinator, without sending him away.
    let answer =
        request("DELETE", &format!("{}?ban=0", url(&two, bobs[0])), Some(&admin), &[], "").await.unwrap();
    assert_eq!((answer.status, &answer.json()["session"]["identity"]), (200, &json!("bob")));
    let gone = all.iter().find(|one| one["session"] == bobs[0]).unwrap();
    let path = format!(
        "/sessions/{}/{}/{}",
        gone["node"].as_str().unwrap(),
        gone["incarnation"].as_str().unwrap(),
        bobs[0]
    );
    ends(&one, &path, &bob, "revoked").await;
    let again = request("DELETE", &url(&one, bobs[0]), Some(&admin), &[], "").await.unwrap();
    assert_eq!((again.status, again.json()["reason"].as_str()), (404, Some("no-session")));
    made(&join(&one, "whep/stage", Some(&bob)).await);

    // One of Ann's: both end, and she cannot come back, wherever she asks.
    let anns: Vec<&Value> = all.iter().filter(|one| one["identity"] == "Ann Λ").collect();
    let answer =
        request("DELETE", &url(&one, anns[0]["session"].as_str().unwrap()), Some(&admin), &[], "").await;
    let until = answer.unwrap().json()["banned_until_ms"].as_u64().unwrap();
    assert!(until.abs_diff(UnixMillis::now().0 + 86_520_000) < 30_000, "{until}");
    for session in &anns {
        let part = |key: &str| session[key].as_str().unwrap().to_owned();
        let path = format!("/sessions/{}/{}/{}", part("node"), part("incarnation"), part("session"));
        ends(&two, &path, &ann, "revoked").await;
    }
    for at in [&one, &two, &nodes[0], &nodes[1]] {
        eventually(SOON, "Ann is refused", || async {
            let answer = join(at, "whep/stage", Some(&ann)).await;
            let refused = answer.status == 403 && answer.json()["reason"] == "revoked";
            assert!(refused || answer.status == 201, "{:?}", answer.json());
            refused.then_some(())
        })
        .await;
        let events =
            request("GET", &format!("{one}/v1/rooms/stage/events"), Some(&ann), &[], "").await.unwrap();
        assert_eq!(events.status, 403);
    }
    eventually(SOON, "bob alone is left", || async {
        let left = listed(&one, "stage", "", &admin).await;
        left.iter().all(|one| one["identity"] == "bob").then_some(())
    })
    .await;
    assert_eq!(
        join(&one, "whep/hall", Some(&token("hall", "Ann Λ", "subscribe"))).await.status,
        201,
        "another room"
    );

    // Lifted, she may.
    let bans = get_json(&format!("{two}/v1/rooms/stage/bans"), Some(&admin)).await.unwrap();
    assert_eq!((&bans["bans"][0]["identity"], bans["bans"].as_array().unwrap().len()), (&json!("Ann Λ"), 1));
    let lift = format!("{two}/v1/rooms/stage/bans/Ann%20%CE%9B");
    assert_eq!(request("DELETE", &lift, Some(&admin), &[], "").await.unwrap().status, 204);
    for at in [&one, &two, &nodes[0]] {
        eventually(SOON, "Ann is back", || async {
            (join(at, "whep/stage", Some(&ann)).await.status == 201).then_some(())
        })
        .await;
    }
    // What is misspelt sends nobody away, and guests are not told apart by their name.
    for (method, path, reason) in [
        ("PUT", "bans/eve?ban=2", "bad-query"),
        ("PUT", "bans/eve?seconds=0", "bad-query"),
        ("PUT", "bans/~guest", "bad-id"),
        ("DELETE", "sessions/00000000000000000000000000000007?seconds=0", "bad-query"),
    ] {
        let at = format!("{one}/v1/rooms/stage/{path}");
        let answer = request(method, &at, Some(&admin), &[], "").await.unwrap();
        assert_eq!((answer.status, answer.json()["reason"].as_str()), (400, Some(reason)), "{path}");
    }
    // Before she even came: a short ban ends by itself.
    let eve = token("stage", "eve", "subscribe");
    let ban = format!("{one}/v1/rooms/stage/bans/eve?seconds=2");
    assert_eq!(request("PUT", &ban, Some(&admin), &[], "").await.unwrap().status, 200);
    assert_eq!(join(&one, "whep/stage", Some(&eve)).await.status, 403);
    eventually(SOON, "the ban has ended", || async {
        (join(&one, "whep/stage", Some(&eve)).await.status == 201).then_some(())
    })
    .await;
    for viewer in watching {
        viewer.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_public_room_needs_no_token_to_be_watched() {
    let cluster = cluster("access-public").await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    let places = [one.clone(), two.clone(), node(&cluster, 0), node(&cluster, 1)];
    let (admin, guest) = (token("open-day", "boss", "admin"), token("open-day", "ann", "subscribe"));
    let spec = format!("{one}/v1/rooms/open-day/spec");
    let put = async |url: &str, body: &str, who: &str, more: &[(&str, &str)]| {
        let headers: Vec<(&str, &str)> = more.iter().copied().chain([JSON]).collect();
        request("PUT", url, Some(who), &headers, body.to_owned()).await.unwrap()
    };
    for at in &places {
        assert_eq!(join(at, "whep/open-day", None).await.status, 401);
    }
    assert_eq!(request("GET", &spec, Some(&admin), &[], "").await.unwrap().status, 404);
    assert_eq!(put(&spec, r#"{"public":true}"#, &guest, &[]).await.status, 403);
    assert_eq!(put(&spec, r#"{"public":true,"titel":1}"#, &admin, &[]).await.status, 400);

    let written = put(&spec, r#"{"public":true}"#, &admin, &[("if-none-match", "*")]).await;
    assert_eq!(written.status, 200, "{:?}", written.json());
    let tag = written.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(put(&spec, r#"{"public":false}"#, &admin, &[("if-none-match", "*")]).await.status, 412);
    assert_eq!(put(&spec, r#"{"public":false}"#, &admin, &[("if-match", "\"1\"")]).await.status, 412);
    let read = request("GET", &format!("{two}/v1/rooms/open-day/spec"), Some(&admin), &[], "").await.unwrap();
    assert_eq!(
        (read.json(), read.headers["etag"].to_str().unwrap()),
        (json!({"public": true}), tag.as_str())
    );

    for at in &places {
        eventually(SOON, "no token is asked for", || async {
            let answer = join(at, "whep/open-day", None).await;
            assert!(matches!(answer.status, 201 | 401), "{:?}", answer.json());
            (answer.status == 201).then_some(())
        })
        .await;
        // To watch, and no more; nor another room; nor with a token that is none.
        assert_eq!(join(at, "whip/open-day", None).await.status, 401);
        assert_eq!(join(at, "whep/other", None).await.status, 401);
        assert_eq!(join(at, "whep/open-day", Some("x.y.z")).await.status, 401);
    }
    let chat = format!("{one}/v1/rooms/open-day/chat");
    let said = request("POST", &chat, None, &[JSON], r#"{"id":"1","text":"hi"}"#).await.unwrap();
    assert_eq!(said.status, 401);
    for closed in ["rooms", "nodes", "rooms/open-day/sessions", "rooms/open-day/spec"] {
        let answer = request("GET", &format!("{one}/v1/{closed}"), None, &[], "").await.unwrap();
        assert!(answer.status == 401, "{closed}: {}", answer.status);
    }
    // A guest's session is whoever's who knows its URL; a token's is its identity's.
    let session = made(&join(&one, "whep/open-day", None).await);
    let owned = made(&join(&one, "whep/open-day", Some(&guest)).await);
    assert_eq!(state(&two, &session, None).await.0, 204);
    assert_eq!(state(&two, &owned, None).await, (403, "not-yours".into()));
    assert_eq!(request("DELETE", &format!("{two}{session}"), None, &[], "").await.unwrap().status, 200);
    // A guest that is sent away takes no other guest along.
    let (first, second) =
        (made(&join(&one, "whep/open-day", None).await), made(&join(&one, "whep/open-day", None).await));
    let url = format!("{two}/v1/rooms/open-day/sessions/{}", id(&first));
    let dismissed = request("DELETE", &url, Some(&admin), &[], "").await.unwrap();
    assert_eq!((dismissed.status, &dismissed.json()["banned_until_ms"]), (200, &Value::Null));
    eventually(SOON, "the first ends", || async { (state(&one, &first, None).await.0 == 404).then_some(()) })
        .await;
    assert_eq!(state(&one, &second, None).await.0, 204);

    // Closed again: no newcomers, and those who are there stay.
    assert_eq!(request("DELETE", &spec, Some(&admin), &[], "").await.unwrap().status, 204);
    for at in &places {
        eventually(SOON, "a token is asked for", || async {
            (join(at, "whep/open-day", None).await.status == 401).then_some(())
        })
        .await;
    }
    let late = state(&one, &second, None).await;
    assert!(late.0 == 204 || late.1 == "ice-timeout", "{late:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_oldest_session_makes_way() {
    let cluster = cluster("access-bound").await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    let nodes = [node(&cluster, 0), node(&cluster, 1)];

    // To publish: one, whatever streams the token names.
    let host = minted("stage", "host", &["publish"], json!({}));
    let first = made(&join(&one, "whip/stage/cam-1", Some(&host)).await);
    let second = made(&join(&two, "whip/stage/cam-2", Some(&host)).await);
    ends(&one, &first, &host, "taken-over").await;
    assert_eq!(state(&one, &second, Some(&host)).await.0, 204);
    let several = minted("stage", "studio", &["publish"], json!({"max_sessions": {"publish": 2}}));
    let cams = [
        made(&join(&one, "whip/stage/a", Some(&several)).await),
        made(&join(&one, "whip/stage/b", Some(&several)).await),
    ];
    for cam in &cams {
        assert_eq!(state(&one, cam, Some(&several)).await.0, 204);
    }

    // Each room counts by itself, for a token of every room, too.
    let crew = minted("*", "crew", &["publish"], json!({}));
    let first = made(&join(&one, "whip/stage/crew-1", Some(&crew)).await);
    let elsewhere = made(&join(&two, "whip/annex/crew-1", Some(&crew)).await);
    let second = made(&join(&one, "whip/stage/crew-2", Some(&crew)).await);
    ends(&one, &first, &crew, "taken-over").await;
    for session in [&elsewhere, &second] {
        assert_eq!(state(&one, session, Some(&crew)).await.0, 204);
    }

    // To watch: as the claim says. At one node at once; over nodes when a coordinator has seen both.
    let viewer = minted("stage", "ann", &["subscribe"], json!({"max_sessions": 1}));
    let free = minted("stage", "bob", &["subscribe"], json!({}));
    let first = made(&join(&nodes[0], "whep/stage", Some(&viewer)).await);
    // From here on by clients that stay, so that none is gone for silence instead.
    let wait = |config: &mut freshet_loadtest::client::ViewerConfig| config.url.push_str("?wait=1");
    let near = view(&nodes[0], "stage", &viewer, wait).await;
    ends(&one, &first, &viewer, "taken-over").await;
    let many = [
        made(&join(&nodes[0], "whep/stage", Some(&free)).await),
        made(&join(&nodes[0], "whep/stage", Some(&free)).await),
    ];
    for session in &many {
        assert_eq!(state(&one, session, Some(&free)).await.0, 204, "without the claim there is no bound");
    }
    // Several at once, at one node: one is left.
    let eager = minted("stage", "eve", &["subscribe"], json!({"max_sessions": 1}));
    let ask = || join(&nodes[0], "whep/stage", Some(&eager));
    let all = tokio::join!(ask(), ask(), ask(), ask());
    let all = [made(&all.0), made(&all.1), made(&all.2), made(&all.3)];
    eventually(SOON, "one of four is left", || async {
        let mut left = 0;
        for session in &all {
            match state(&one, session, Some(&eager)).await {
                (204, _) => left += 1,
                (404, reason) => assert_eq!(reason, "taken-over"),
                other => panic!("{other:?}"),
            }
        }
        (left == 1).then_some(())
    })
    .await;
    // Two nodes that were asked directly know nothing of each other; a coordinator that makes a session knows both.
    let far = view(&nodes[1], "stage", &viewer, wait).await;
    let admin = token("stage", "boss", "admin");
    let older = eventually(SOON, "both nodes are known to carry the room", || async {
        let all = listed(&one, "stage", "identity=ann", &admin).await;
        (all.len() == 2).then_some(all)
    })
    .await;
    let newest = made(&join(&one, "whep/stage", Some(&viewer)).await);
    for old in &older {
        let part = |key: &str| old[key].as_str().unwrap().to_owned();
        let path = format!("/sessions/{}/{}/{}", part("node"), part("incarnation"), part("session"));
        ends(&two, &path, &viewer, "taken-over").await;
    }
    assert_eq!(state(&two, &newest, Some(&viewer)).await.0, 204);
    for gone in [near, far] {
        gone.close().await;
    }
}
