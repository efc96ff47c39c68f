//! What can be read, and that the description of the API is true.

use http::Method;

use crate::support::{Answer, Behaviour, World, ask, get, offer, token, until};

#[tokio::test(flavor = "multi_thread")]
async fn every_documented_path_answers_as_documented() {
    let world = World::closed(1).await;
    let node = world.node("a", Behaviour::Accept).await;
    node.publish("r1", "cam", 7).await;
    let document = get(&world.url(0, "/openapi.json")).await.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3."));
    let admin = format!("Bearer {}", token("*", "ann", &["admin"]));
    let mut asked = Vec::new();
    // What a GET of the sessions finds; the node's heartbeat has told of the room by then.
    until("the room's sessions", async || {
        let headers = [("authorization", admin.as_str())];
        let listed = ask(Method::GET, &world.url(0, "/v1/rooms/r1/sessions"), &headers, "").await;
        listed.status == 200 && listed.json()["sessions"].as_array().is_some_and(|all| all.len() == 1)
    })
    .await;
    for (path, methods) in document["paths"].as_object().unwrap() {
        // What a PUT makes, a GET finds and a DELETE ends.
        let order =
            |method: &str| ["put", "post", "patch", "get", "delete"].iter().position(|one| *one == method);
        let mut methods: Vec<_> = methods.as_object().unwrap().iter().collect();
        methods.sort_by_key(|(method, _)| order(method.as_str()));
        for (method, operation) in methods {
            let documented: Vec<&str> =
                operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
            // Who may send too much may send too slowly.
            let (large, slow) = (documented.contains(&"413"), documented.contains(&"408"));
            assert_eq!(large, slow, "{method} {path}: {documented:?}");
            let session = "0123456789abcdef0123456789abcdef";
            let stream = if path.starts_with("/sessions/") { "1" } else { "cam" };
            let url = path
                .replace("{room}", "r1")
                .replace("{stream}", stream)
                .replace("{node}", "a")
                .replace("{incarnation}", &node.incarnation.to_string())
                .replace("{identity}", "eve")
                .replace("{session}", session);
            let (kind, body) = match operation["requestBody"]["content"].as_object() {
                Some(content) => {
                    let kind = content.keys().next().unwrap().as_str();
                    let json = if path.ends_with("/spec") {
                        r#"{"public":false}"#
                    } else {
                        r#"{"id":"m1","text":"hi"}"#
                    };
                    (kind, if kind == "application/json" { json } else { "v=0\r\n" })
                }
                None => ("", ""),
            };
            let verb: Method = method.to_uppercase().parse().unwrap();
            let ok = try_one(&world, verb.clone(), &url, kind, body, Some(&admin)).await;
            assert!(ok.0 < 300, "{method} {path} with all that it wants: {ok:?}");
            let mut seen = vec![ok.0];
            if operation.get("security").is_some() && path != "/v1/config" {
                seen.push(try_one(&world, verb.clone(), &url, kind, body, None).await.0);
                assert_eq!(seen[1], 401, "{method} {path} without a token");
                if path.contains("{room}") {
                    let other = format!("Bearer {}", token("r2", "ann", &["admin"]));
                    seen.push(try_one(&world, verb.clone(), &url, kind, body, Some(&other)).await.0);
                    assert_eq!(seen[2], 403, "{method} {path} with another room's token");
                    let bad = url.replace("/r1", "/a.b");
                    seen.push(try_one(&world, verb.clone(), &bad, kind, body, Some(&admin)).await.0);
                }
            }
            if !kind.is_empty() && !path.contains("{session}") {
                seen.push(try_one(&world, verb.clone(), &url, "text/x-wrong", body, Some(&admin)).await.0);
                let large = "x".repeat(70_000);
                seen.push(try_one(&world, verb, &url, kind, &large, Some(&admin)).await.0);
            }
            for status in &seen {
                let documented = documented.contains(&status.to_string().as_str());
                assert!(documented, "{method} {path} answered {status}, which is not documented");
            }
            asked.push(format!("{method} {path}: {seen:?}"));
        }
    }
    assert!(asked.len() >= 15, "{asked:#?}");
}

/// Status and content type; event streams are not read to their end.
async fn try_one(
    world: &World,
    method: Method,
    path: &str,
    kind: &str,
    body: &str,
    token: Option<&str>,
) -> (u16, String) {
    let mut headers = Vec::new();
    if !kind.is_empty() {
        headers.push(("content-type", kind));
    }
    headers.extend(token.map(|token| ("authorization", token)));
    let url = world.url(0, path);
    let asking = ask(method, &url, &headers, body);
    match tokio::time::timeout(std::time::Duration::from_secs(3), asking).await {
        Ok(Answer { status, headers, .. }) => {
            let kind = headers.get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
            (status, kind.unwrap_or_default())
        }
        // Only a stream of events does not end.
        Err(_) => {
            assert!(path.ends_with("/events") || path.ends_with("/sse/1"), "{path} did not answer");
            (200, "text/event-stream".to_owned())
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rooms_nodes_and_trees_are_shown_as_they_are() {
    let world = World::open(2).await;
    let a = world.node("a", Behaviour::Accept).await;
    let b = world.node("b", Behaviour::Accept).await;
    a.link(&b);
    assert_eq!(offer(&world.url(0, "/whip/r1")).await.status, 201);
    a.publish("r1", "cam", 7).await;
    a.behave(Behaviour::Refuse("over-capacity"));
    assert_eq!(offer(&world.url(0, "/whep/r1")).await.status, 201);
    for coordinator in 0..2 {
        until("the room to be complete", async || {
            let room = get(&world.url(coordinator, "/v1/rooms/r1")).await;
            room.status == 200 && room.json()["viewers"] == 2
        })
        .await;
        let room = get(&world.url(coordinator, "/v1/rooms/r1")).await.json();
        let cam = serde_json::json!({"stream": "cam", "generation": 7, "identity": "host", "started_at_ms": 1, "live": true});
        assert_eq!(
            room,
            serde_json::json!({"room": "r1", "viewers": 2, "streams": [cam], "started_at_ms": 1})
        );
        let rooms = get(&world.url(coordinator, "/v1/rooms")).await.json();
        assert_eq!(rooms, serde_json::json!({"rooms": [room]}));
        until("the heartbeats to tell the plan's epoch", async || {
            let cluster = get(&world.url(coordinator, "/v1/cluster")).await.json();
            cluster["rooms"][0]["members"][1]["epoch"].is_u64()
        })
        .await;
        let cluster = get(&world.url(coordinator, "/v1/cluster")).await.json();
        assert_eq!((&cluster["store_up"], &cluster["bus_up"]), (&true.into(), &true.into()));
        let tree = &cluster["rooms"][0];
        assert_eq!((&tree["members"][0]["node"], tree["members"][0].get("parent")), (&"a".into(), None));
        assert_eq!((&tree["members"][1]["node"], &tree["members"][1]["parent"]), (&"b".into(), &"a".into()));
        let nodes = get(&world.url(coordinator, "/v1/nodes")).await.json();
        assert_eq!(nodes["nodes"][0]["state"], "alive");
        assert_eq!(nodes["nodes"][0]["links"][0]["peer"], "b");
        assert_eq!(nodes["nodes"][1]["capacity"]["sessions"], 1000);
    }
    let answer = get(&world.url(0, "/v1/rooms/nobody")).await;
    assert_eq!(answer.status, 404);
    assert_eq!(get(&world.url(0, "/v1/rooms/a.b")).await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_tokens_rooms_are_for_those_who_may_and_nodes_for_operators() {
    let world = World::closed(1).await;
    let a = world.node("a", Behaviour::Accept).await;
    for room in ["r1", "r2"] {
        a.publish(room, "cam", 1).await;
    }
    let as_who = async |path: &str, token: &str| {
        let bearer = format!("Bearer {token}");
        ask(Method::GET, &world.url(0, path), &[("authorization", &bearer)], "").await
    };
    let viewer = token("r1", "ann", &["subscribe"]);
    until("both rooms to be seen", async || {
        as_who("/v1/rooms", &token("*", "op", &["admin"])).await.json()["rooms"].as_array().unwrap().len()
            == 2
    })
    .await;
    let rooms = as_who("/v1/rooms", &viewer).await.json();
    assert_eq!(rooms["rooms"].as_array().unwrap().len(), 1);
    assert_eq!(rooms["rooms"][0]["room"], "r1");
    assert_eq!(as_who("/v1/rooms/r1", &viewer).await.status, 200);
    assert_eq!(as_who("/v1/rooms/r2", &viewer).await.status, 403);
    for path in ["/v1/nodes", "/v1/cluster"] {
        assert_eq!(as_who(path, &viewer).await.status, 403);
        let of_one = as_who(path, &token("r1", "op", &["admin"])).await;
        assert_eq!((of_one.status, of_one.reason().as_str()), (403, "not-allowed"), "of one room alone");
        assert_eq!(get(&world.url(0, path)).await.status, 401);
        assert_eq!(as_who(path, &token("*", "op", &["admin"])).await.status, 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn turn_credentials_are_for_those_who_may_come_in() {
    use freshet_cluster::secret::Secret;
    use freshet_cluster::token::{ApiKey, ApiKeys};
    use freshet_edge::Guard;
    use freshet_edge::ice::{IceServers, TTL, TurnRest};

    let keys = ApiKeys::new([crate::support::KEY.parse::<ApiKey>().unwrap()]).unwrap();
    let world = World::with(1, Guard::tokens(keys), |config| {
        config.ice = IceServers {
            plain: vec!["stun:127.0.0.1:3478".into()],
            turn: Some(TurnRest {
                urls: vec!["turn:127.0.0.1:3478".into()],
                secret: Secret::new("turn"),
                ttl: TTL,
            }),
        };
    })
    .await;
    let anonymous = get(&world.url(0, "/v1/config")).await.json();
    assert_eq!(
        anonymous,
        serde_json::json!({"open": false, "ice_servers": [{"urls": ["stun:127.0.0.1:3478"]}]})
    );
    let bearer = format!("Bearer {}", token("r1", "ann", &["subscribe"]));
    let known = ask(Method::GET, &world.url(0, "/v1/config"), &[("authorization", &bearer)], "").await.json();
    assert!(known["ice_servers"][1]["username"].as_str().unwrap().ends_with(":ann"));
    assert!(known["ice_servers"][1]["credential"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_are_served_with_a_policy_and_revalidated() {
    let world = World::open(1).await;
    for path in ["/", "/studio", "/watch/r1"] {
        let page = get(&world.url(0, path)).await;
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
        assert!(page.text().contains("<html"), "{path}");
        assert!(page.header("content-security-policy").contains("default-src 'self'"));
        assert_eq!(page.header("x-content-type-options"), "nosniff");
        assert_eq!(page.header("cache-control"), "no-cache");
        let tag = page.header("etag").to_owned();
        let again = ask(Method::GET, &world.url(0, path), &[("if-none-match", &tag)], "").await;
        assert_eq!((again.status, again.body.len()), (304, 0));
        assert_eq!(again.header("etag"), tag);
    }
    for path in
        ["/nothing", "/assets/none.js", "/assets/..%2f..%2f..%2fpackage.json", "/..%2fpackage.json", "/a/b"]
    {
        let answer = get(&world.url(0, path)).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (404, "application/problem+json"),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_follow_the_naming_rule_and_name_no_room() {
    let world = World::open(1).await;
    let _a = world.node("a", Behaviour::Accept).await;
    offer(&world.url(0, "/whep/secretroom?wait=1")).await;
    let text = get(&world.url(0, "/metrics")).await.text();
    assert!(text.contains("freshet_coordinator_joins_total{kind=\"view\",outcome=\"accepted\"} 1"), "{text}");
    assert!(text.contains("freshet_coordinator_nodes{state=\"alive\"} 1"), "{text}");
    assert!(text.contains("freshet_coordinator_store_up 1"));
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        assert!(line.starts_with("freshet_coordinator_"), "{line}");
    }
    assert!(!text.contains("secretroom"));
}
