//! The sessions of a room, for those who run it.

use freshet_cluster::room::EndReason;

use super::wire::{Node, SDP, Setup, check_problem, start, token};

const OFFER: &str = "v=0\r\nfine\r\n";

async fn watch(node: &Node, identity: &str) -> String {
    let token = token("r1", identity, &["subscribe"], &[]);
    let at = node.ask("POST", "/whep/r1", &[SDP, ("Authorization", &token)], OFFER).await.location();
    at.rsplit('/').next().unwrap().to_owned()
}

#[tokio::test]
async fn sessions_are_listed_in_pages() {
    let node = start(Setup::default()).await;
    let mut ids = vec![watch(&node, "ann").await, watch(&node, "ann").await, watch(&node, "bob").await];
    ids.sort();
    let admin = token("r1", "boss", &["admin"], &[]);
    let list = async |query: &str| {
        let reply =
            node.ask("GET", &format!("/v1/rooms/r1/sessions{query}"), &[("Authorization", &admin)], "").await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.json()
    };
    let all = list("").await;
    let seen: Vec<&str> =
        all["sessions"].as_array().unwrap().iter().map(|one| one["session"].as_str().unwrap()).collect();
    assert_eq!(seen, ids);
    assert_eq!(
        (&all["sessions"][0]["direction"], &all["sessions"][0]["node"]),
        (&"view".into(), &"n1".into())
    );
    assert!(all.get("next").is_none());
    let first = list("?limit=2").await;
    assert_eq!(
        (first["sessions"].as_array().unwrap().len(), first["next"].as_str()),
        (2, Some(ids[1].as_str()))
    );
    let rest = list(&format!("?limit=2&after={}", ids[1])).await;
    assert_eq!(rest["sessions"].as_array().unwrap().len(), 1);
    assert_eq!(list("?identity=ann").await["sessions"].as_array().unwrap().len(), 2);
    assert_eq!(list("?direction=publish").await["sessions"].as_array().unwrap().len(), 0);
    let bad = node.ask("GET", "/v1/rooms/r1/sessions?limit=0", &[("Authorization", &admin)], "").await;
    check_problem(&bad, 400, Some("bad-query"));
}

#[tokio::test]
async fn a_session_is_ended_by_those_who_run_its_room_alone() {
    let node = start(Setup::default()).await;
    let (first, second) = (watch(&node, "ann").await, watch(&node, "ann").await);
    let at = |room: &str, id: &str| format!("/v1/rooms/{room}/sessions/{id}");
    let ask = async |method: &str, path: &str, token: Option<&str>| {
        let headers: Vec<(&str, &str)> = token.map(|token| ("Authorization", token)).into_iter().collect();
        node.ask(method, path, &headers, "").await
    };
    let own = token("r1", "ann", &["subscribe", "moderate"], &[]);
    let other = token("r2", "boss", &["admin"], &[]);
    for method in ["GET", "DELETE"] {
        check_problem(&ask(method, &at("r1", &first), None).await, 401, Some("token-missing"));
        for token in [&own, &other] {
            check_problem(&ask(method, &at("r1", &first), Some(token)).await, 403, Some("not-allowed"));
        }
        // Of another room than it is in.
        check_problem(&ask(method, &at("r2", &first), Some(&other)).await, 404, Some("no-session"));
    }
    let admin = token("*", "boss", &["admin"], &[]);
    assert_eq!(ask("GET", &at("r1", &first), Some(&admin)).await.json()["identity"], "ann");
    assert_eq!(ask("DELETE", &at("r1", &first), Some(&admin)).await.status, 200);
    check_problem(&ask("DELETE", &at("r1", &first), Some(&admin)).await, 404, Some("no-session"));
    check_problem(&ask("DELETE", &at("r1", "not-an-id"), Some(&admin)).await, 404, Some("no-session"));
    let path = format!("{}?reason=taken-over", at("r1", &second));
    assert_eq!(ask("DELETE", &path, Some(&admin)).await.status, 200);
    let reasons: Vec<EndReason> =
        node.fake.dismissed.lock().unwrap().iter().map(|(_, reason)| *reason).collect();
    assert_eq!(reasons, [EndReason::Revoked, EndReason::TakenOver]);
}

#[tokio::test]
async fn in_open_mode_nobody_runs_a_room() {
    let node = start(Setup { open: true, ..Setup::default() }).await;
    check_problem(&node.ask("GET", "/v1/rooms/r1/sessions", &[], "").await, 403, Some("not-allowed"));
}
