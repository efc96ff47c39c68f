//! Requests that a coordinator hands over with a signed call.

use freshet_cluster::Epoch;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::secret::Secret;
use freshet_cluster::token::{Grant, Rooms, sign as sign_token};
use freshet_cluster::unit::UnixMillis;
use freshet_edge::Access;
use freshet_edge::call::{Call, sign};
use http::Method;

use super::wire::{CLUSTER, FRAGMENT, KEY, SDP, Setup, check_problem, start, token};

const OFFER: &str = "v=0\r\nfine\r\n";

fn alice() -> Access {
    Access {
        rooms: Rooms::One("r1".parse().unwrap()),
        grants: [Grant::Publish].into_iter().collect(),
        ..Access::holder("alice".parse().unwrap())
    }
}

fn call(method: Method, path: &str, body: &str, access: &Access) -> Call {
    Call::new(&method, path, body.as_bytes(), access, UnixMillis::now(), rand::random())
}

fn signed(call: &Call) -> String {
    sign(&Secret::new(CLUSTER), call).to_str().unwrap().to_owned()
}

/// The header of a call that alice's coordinator would make.
pub fn by_alice(method: &str, path: &str, body: &str) -> String {
    signed(&call(method.parse().unwrap(), path, body, &alice()))
}

#[tokio::test]
async fn a_call_stands_for_the_client_and_brings_the_plan() {
    let node = start(Setup { public_url: Some("https://node.example"), ..Setup::default() }).await;
    let mut made = call(Method::POST, "/whip/r1?x=y", OFFER, &alice());
    made.plan = Some(RoomPlan { epoch: Epoch(9), ..RoomPlan::empty("r1".parse().unwrap()) });
    made.client_ip = Some("2001:db8::7".parse().unwrap());
    made.public_url = Some("https://live.example/x".into());
    let header = signed(&made);
    // What the client itself sent along means nothing any more.
    let headers = [SDP, ("Freshet-Call", header.as_str()), ("Authorization", "Bearer nonsense")];
    let reply = node.ask("POST", "/whip/r1?x=y", &headers, OFFER).await;
    assert!(reply.location().starts_with("https://live.example/x/sessions/n1/"));
    let ask = node.fake.last();
    assert_eq!((ask.identity.as_str(), ask.stream.unwrap().as_str()), ("alice", "alice"));
    assert_eq!(ask.plan.unwrap().epoch, Epoch(9));
    assert_eq!(ask.client, Some("2001:db8::7".parse().unwrap()));
    check_problem(&node.ask("POST", "/whip/r1?x=y", &headers, OFFER).await, 401, Some("call-refused"));
}

/// The coordinator's clock is 50 s behind the node's, or ahead of it, and the token's end lies between the two.
#[tokio::test]
async fn the_coordinators_clock_decides_and_the_node_takes_its_word() {
    let node = start(Setup::default()).await;
    let expired = {
        let now = UnixMillis::now().0 / 1000;
        let claims = serde_json::json!({
            "room": "r1", "identity": "alice", "grants": ["publish"], "iat": now - 600, "exp": now - 61,
        });
        format!("Bearer {}", sign_token(&KEY.parse().unwrap(), &serde_json::from_value(claims).unwrap()))
    };
    let late = node.ask("POST", "/whip/r1", &[SDP, ("Authorization", &expired)], OFFER).await;
    check_problem(&late, 401, Some("token-invalid"));
    for (off, behind) in [(50_000, true), (50_000, false), (90_000, true), (90_000, false)] {
        let mut made = call(Method::POST, "/whip/r1", OFFER, &alice());
        made.ts = UnixMillis(if behind { made.ts.0 - off } else { made.ts.0 + off });
        let header = signed(&made);
        let headers = [SDP, ("Freshet-Call", header.as_str()), ("Authorization", expired.as_str())];
        let reply = node.ask("POST", "/whip/r1", &headers, OFFER).await;
        match off {
            50_000 => assert_eq!(reply.status, 201, "{}", reply.body),
            _ => check_problem(&reply, 401, Some("call-refused")),
        }
    }
}

#[tokio::test]
async fn a_plan_of_another_room_is_not_taken() {
    let node = start(Setup::default()).await;
    let mut made = call(Method::POST, "/whip/r1", OFFER, &alice());
    made.plan = Some(RoomPlan::empty("r2".parse().unwrap()));
    let header = signed(&made);
    node.ask("POST", "/whip/r1", &[SDP, ("Freshet-Call", &header)], OFFER).await.location();
    assert_eq!(node.fake.last().plan, None);
}

#[tokio::test]
async fn a_call_is_checked_before_anything_is_done() {
    let node = start(Setup::default()).await;
    let post = Method::POST;
    let other_secret = sign(&Secret::new("wrong"), &call(post.clone(), "/whip/r1", OFFER, &alice()));
    let mut stale = call(post.clone(), "/whip/r1", OFFER, &alice());
    stale.ts = UnixMillis(stale.ts.0 - 61_000);
    let viewer = Access { grants: [Grant::Subscribe].into_iter().collect(), ..alice() };
    let elsewhere = Access { rooms: Rooms::One("r2".parse().unwrap()), ..alice() };
    let good_token = token("r1", "alice", &["publish"], &[]);
    for (header, status, reason) in [
        (other_secret.to_str().unwrap().to_owned(), 401, "call-refused"),
        ("nonsense".into(), 401, "call-refused"),
        (signed(&stale), 401, "call-refused"),
        (signed(&call(Method::PUT, "/whip/r1", OFFER, &alice())), 401, "call-refused"),
        (signed(&call(post.clone(), "/whip/r1/x", OFFER, &alice())), 401, "call-refused"),
        (signed(&call(post.clone(), "/whip/r1", "v=0\r\nother\r\n", &alice())), 401, "call-refused"),
        (signed(&call(post.clone(), "/whip/r1", OFFER, &viewer)), 403, "not-allowed"),
        (signed(&call(post.clone(), "/whip/r1", OFFER, &elsewhere)), 403, "not-allowed"),
    ] {
        // A good token does not save a bad call.
        let headers = [SDP, ("Freshet-Call", header.as_str()), ("Authorization", good_token.as_str())];
        let reply = node.ask("POST", "/whip/r1", &headers, OFFER).await;
        check_problem(&reply, status, Some(reason));
        assert!(node.fake.untouched());
    }
}

#[tokio::test]
async fn without_a_cluster_secret_no_call_is_taken() {
    for open in [true, false] {
        let node = start(Setup { calls: false, open, ..Setup::default() }).await;
        let header = signed(&call(Method::POST, "/whip/r1", OFFER, &alice()));
        let reply = node.ask("POST", "/whip/r1", &[SDP, ("Freshet-Call", &header)], OFFER).await;
        check_problem(&reply, 401, Some("call-refused"));
    }
}

#[tokio::test]
async fn sessions_are_asked_for_by_calls_too() {
    let node = start(Setup::default()).await;
    let header = signed(&call(Method::POST, "/whip/r1", OFFER, &alice()));
    let at = node.ask("POST", "/whip/r1", &[SDP, ("Freshet-Call", &header)], OFFER).await.location();
    let bob = Access { identity: "bob".parse().unwrap(), ..alice() };
    let header = signed(&call(Method::DELETE, &at, "", &bob));
    check_problem(&node.ask("DELETE", &at, &[("Freshet-Call", &header)], "").await, 403, Some("not-yours"));
    let body = "a=end-of-candidates\r\n";
    let header = signed(&call(Method::PATCH, &at, body, &alice()));
    let headers = [FRAGMENT, ("Freshet-Call", header.as_str()), ("If-Match", "\"e1\"")];
    assert_eq!(node.ask("PATCH", &at, &headers, body).await.status, 204);
    // Made through a coordinator, ended at the node itself with the client's own token.
    let auth = token("r1", "alice", &[], &[]);
    assert_eq!(node.ask("DELETE", &at, &[("Authorization", &auth)], "").await.status, 200);
}

#[tokio::test]
async fn an_open_coordinator_makes_open_sessions() {
    let node = start(Setup::default()).await;
    let guest = Access::open("guest-1".parse().unwrap());
    let header = signed(&call(Method::POST, "/whip/r1?identity=Zoe&stream=cam", OFFER, &guest));
    let path = "/whip/r1?identity=Zoe&stream=cam";
    let at = node.ask("POST", path, &[SDP, ("Freshet-Call", &header)], OFFER).await.location();
    let ask = node.fake.last();
    assert_eq!((ask.identity.as_str(), ask.stream.unwrap().as_str()), ("Zoe", "cam"));
    let another = Access::open("guest-2".parse().unwrap());
    let header = signed(&call(Method::DELETE, &at, "", &another));
    assert_eq!(node.ask("DELETE", &at, &[("Freshet-Call", &header)], "").await.status, 200);
}

#[tokio::test]
async fn no_body_is_read_for_a_call_that_is_not_signed() {
    let node = start(Setup::default()).await;
    let forged = sign(&Secret::new("wrong"), &call(Method::POST, "/whip/r1", OFFER, &alice()));
    for header in [forged.to_str().unwrap(), "nonsense"] {
        let head = format!(
            "POST /whip/r1 HTTP/1.1\r\nHost: node\r\nContent-Type: application/sdp\r\nContent-Length: 60000\r\n\
             Connection: close\r\nFreshet-Call: {header}\r\n\r\n"
        );
        let began = std::time::Instant::now();
        check_problem(&node.raw(head.as_bytes()).await, 401, Some("call-refused"));
        assert!(began.elapsed().as_secs() < 5, "it is not waited for");
    }
}

#[tokio::test]
async fn a_call_that_changes_nothing_may_come_twice() {
    let node = start(Setup::default()).await;
    let made = by_alice("POST", "/whip/r1", OFFER);
    let path = node.ask("POST", "/whip/r1", &[SDP, ("Freshet-Call", &made)], OFFER).await.location();
    let header = by_alice("GET", &path, "");
    for _ in 0..3 {
        assert_eq!(node.ask("GET", &path, &[("Freshet-Call", &header)], "").await.status, 204);
    }
    let header = by_alice("DELETE", &path, "");
    assert_eq!(node.ask("DELETE", &path, &[("Freshet-Call", &header)], "").await.status, 200);
    let again = node.ask("DELETE", &path, &[("Freshet-Call", &header)], "").await;
    assert!([401, 404].contains(&again.status), "{}", again.body);
    let again = node.ask("POST", "/whip/r1", &[SDP, ("Freshet-Call", &made)], OFFER).await;
    check_problem(&again, 401, Some("call-refused"));
}
