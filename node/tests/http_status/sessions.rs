//! `/sessions/{node}/{incarnation}/{session}`.

use freshet_node::service::IfMatch;

use super::fake::FRESH;
use super::wire::{FRAGMENT, Node, SDP, Setup, check_problem, start, token};

const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
a=mid:0\r\na=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host\r\na=end-of-candidates\r\n";
const CANDIDATES: &str = "a=candidate:1 1 udp 1 192.0.2.1 9 typ host\r\n";

async fn made(setup: Setup) -> (Node, String, String) {
    let node = start(setup).await;
    let auth = token("r1", "alice", &["publish"], &[]);
    let headers = [SDP, ("Authorization", auth.as_str())];
    let location = node.ask("POST", "/whip/r1", &headers, "v=0\r\nfine\r\n").await.location();
    (node, location, auth)
}

#[tokio::test]
async fn a_refused_patch_has_its_own_status() {
    let (node, at, auth) = made(Setup::default()).await;
    let other = token("r1", "bob", &["publish"], &[]);
    let e1 = Some("\"e1\"");
    let json = ("Content-Type", "application/json");
    let good = Some(auth.as_str());
    let long = format!("a={}\r\n", "x".repeat(2000));
    let unfit = TRICKLE.replace("EsAw", "unfit");
    type Row<'a> = (Option<&'a str>, (&'a str, &'a str), Option<&'a str>, &'a str, u16, Option<&'a str>);
    let table: [Row<'_>; 20] = [
        (None, FRAGMENT, e1, TRICKLE, 401, Some("token-missing")),
        (Some("Bearer x"), FRAGMENT, e1, TRICKLE, 401, Some("token-invalid")),
        (Some(&other), FRAGMENT, e1, TRICKLE, 403, Some("not-yours")),
        (Some(&other), json, None, "nonsense", 403, Some("not-yours")),
        (good, json, e1, TRICKLE, 415, None),
        (good, SDP, e1, TRICKLE, 415, None),
        (good, FRAGMENT, None, TRICKLE, 428, Some("if-match-missing")),
        (good, FRAGMENT, Some("\"old\""), TRICKLE, 412, Some("tag-mismatch")),
        (good, FRAGMENT, Some("W/\"e1\""), TRICKLE, 412, Some("tag-mismatch")),
        (good, FRAGMENT, Some("\"old\", \"older\""), "not even a fragment", 412, Some("tag-mismatch")),
        (good, FRAGMENT, Some("e1"), TRICKLE, 400, None),
        (good, FRAGMENT, e1, "", 400, Some("bad-fragment")),
        (good, FRAGMENT, e1, "nonsense", 400, Some("bad-fragment")),
        (good, FRAGMENT, e1, "a=mid:0\r\n", 400, Some("bad-fragment")),
        (good, FRAGMENT, e1, "a=candidate:1 1 udp\r\n", 400, Some("bad-fragment")),
        (good, FRAGMENT, e1, "a=ice-ufrag:E\r\n", 400, Some("bad-fragment")),
        (good, FRAGMENT, e1, &long, 400, Some("bad-fragment")),
        (good, FRAGMENT, Some("*"), CANDIDATES, 400, Some("bad-fragment")),
        (good, FRAGMENT, e1, &unfit, 422, Some("unprocessable-fragment")),
        (good, FRAGMENT, Some("*"), &unfit, 422, Some("unprocessable-fragment")),
    ];
    for (auth, kind, tag, body, status, reason) in table {
        let mut headers = vec![kind];
        headers.extend(auth.map(|a| ("Authorization", a)));
        headers.extend(tag.map(|t| ("If-Match", t)));
        let reply = node.ask("PATCH", &at, &headers, body).await;
        check_problem(&reply, status, reason);
        assert_eq!(reply.header("etag"), None);
        assert_eq!(reply.header("accept-patch").is_some(), status == 415);
        assert!(!reply.body.contains("P2uYro0UCOQ4zxjKXaWCBui1"), "an ICE password is never told");
    }
    assert!(node.fake.patched.lock().unwrap().is_empty());
    let large = "x".repeat(64 * 1024 + 1);
    let headers = [FRAGMENT, ("Authorization", auth.as_str()), ("If-Match", "\"e1\"")];
    check_problem(&node.ask("PATCH", &at, &headers, &large).await, 413, None);
}

#[tokio::test]
async fn candidates_are_taken_with_204() {
    let (node, at, auth) = made(Setup::default()).await;
    for tag in ["\"e1\"", "\"old\", \"e1\""] {
        let headers = [FRAGMENT, ("Authorization", auth.as_str()), ("If-Match", tag)];
        let reply = node.ask("PATCH", &at, &headers, TRICKLE).await;
        assert_eq!((reply.status, reply.body.as_str()), (204, ""));
        assert_eq!(reply.header("etag"), None, "RFC 9725 section 4.3.2");
    }
    let (condition, fragment) = node.fake.patched.lock().unwrap().last().unwrap().clone();
    assert_eq!(condition, IfMatch::Tag("e1".into()));
    assert_eq!(fragment.ufrag.as_deref(), Some("EsAw"));
    assert_eq!(fragment.pwd.as_deref(), Some("P2uYro0UCOQ4zxjKXaWCBui1"));
    assert_eq!(fragment.candidates, ["candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host"]);
    assert!(fragment.end);
}

#[tokio::test]
async fn an_ice_restart_gives_a_new_tag() {
    for any in ["*", "\"*\""] {
        let (node, at, auth) = made(Setup::default()).await;
        let auth = ("Authorization", auth.as_str());
        let reply = node.ask("PATCH", &at, &[FRAGMENT, auth, ("If-Match", any)], TRICKLE).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, FRESH));
        assert_eq!(reply.header("content-type"), Some("application/trickle-ice-sdpfrag"));
        assert_eq!(reply.header("etag"), Some("\"e2\""));
        let late = node.ask("PATCH", &at, &[FRAGMENT, auth, ("If-Match", "\"e1\"")], TRICKLE).await;
        check_problem(&late, 412, Some("tag-mismatch"));
        let now = node.ask("PATCH", &at, &[FRAGMENT, auth, ("If-Match", "\"e2\"")], TRICKLE).await;
        assert_eq!(now.status, 204);
    }
}

#[tokio::test]
async fn a_session_can_be_looked_at_and_ended_by_its_owner() {
    let (node, at, auth) = made(Setup::default()).await;
    let other = token("r1", "bob", &["publish", "admin"], &[]);
    let mine = ("Authorization", auth.as_str());
    for method in ["GET", "HEAD", "DELETE"] {
        let refused = node.ask(method, &at, &[], "").await;
        assert_eq!((refused.status, method != "HEAD"), (401, !refused.body.is_empty()), "{method}");
        assert_eq!(node.ask(method, &at, &[("Authorization", &other)], "").await.status, 403, "{method}");
    }
    for method in ["GET", "HEAD"] {
        let reply = node.ask(method, &at, &[mine], "").await;
        assert_eq!((reply.status, reply.body.as_str()), (204, ""), "2xx without content");
        assert_eq!(reply.header("etag"), Some("\"e1\""));
    }
    let reply = node.ask("DELETE", &at, &[mine, ("If-Match", "\"wrong\"")], "").await;
    assert_eq!(reply.status, 200, "an entity tag means nothing to DELETE");
    for method in ["GET", "PATCH", "DELETE"] {
        let headers = [mine, FRAGMENT, ("If-Match", "\"e1\"")];
        check_problem(&node.ask(method, &at, &headers, TRICKLE).await, 404, Some("no-session"));
    }
}

#[tokio::test]
async fn a_session_that_is_not_here_is_404() {
    let (node, at, auth) = made(Setup::default()).await;
    let id = at.rsplit('/').next().unwrap();
    let one = format!("{:032x}", 1);
    let two = format!("{:032x}", 2);
    let none = format!("{:032x}", 3);
    let table = [
        (format!("/sessions/n1/0000000000000abc/{none}"), "no-session"),
        (format!("/sessions/n1/0000000000000abc/{one}"), "taken-over"),
        (format!("/sessions/n1/0000000000000abc/{two}"), "ice-timeout"),
        (format!("/sessions/n1/0000000000000abd/{id}"), "wrong-incarnation"),
        (format!("/sessions/n2/0000000000000abc/{id}"), "wrong-node"),
        (format!("/sessions/n1/0000000000000ABC/{id}"), "no-session"),
        ("/sessions/n1/0000000000000abc/xyz".into(), "no-session"),
        (format!("/sessions/n.1/0000000000000abc/{id}"), "no-session"),
        (format!("/sessions/%ff/0000000000000abc/{id}"), "no-session"),
    ];
    for (path, reason) in table {
        for method in ["GET", "PATCH", "DELETE"] {
            let headers = [FRAGMENT, ("Authorization", auth.as_str()), ("If-Match", "\"e1\"")];
            check_problem(&node.ask(method, &path, &headers, TRICKLE).await, 404, Some(reason));
        }
    }
    let missing = format!("/sessions/n1/0000000000000abc/{none}");
    let json = ("Content-Type", "application/json");
    let reply = node.ask("PATCH", &missing, &[json, ("Authorization", &auth)], "nonsense").await;
    check_problem(&reply, 404, Some("no-session"));
    assert_eq!(node.fake.sessions.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn other_methods_are_405_with_allow() {
    let (node, at, _) = made(Setup::default()).await;
    for method in ["POST", "PUT", "TRACE", "BREW"] {
        let reply = node.ask(method, &at, &[SDP], TRICKLE).await;
        check_problem(&reply, 405, None);
        let mut allow: Vec<_> = reply.header("allow").unwrap().split([',', ' ']).collect();
        allow.retain(|a| !a.is_empty());
        allow.sort_unstable();
        assert_eq!(allow, ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH"], "{method}");
    }
    let asks = [("Origin", "https://page.example"), ("Access-Control-Request-Method", "PATCH")];
    let reply = node.ask("OPTIONS", &at, &asks, "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("accept-patch"), Some("application/trickle-ice-sdpfrag"));
    assert!(reply.header("access-control-allow-methods").unwrap().contains("PATCH"));
}

#[tokio::test]
async fn in_open_mode_the_url_is_the_credential() {
    let node = start(Setup { open: true, ..Setup::default() }).await;
    let at = node.ask("POST", "/whip/r1?identity=alice", &[SDP], "v=0\r\n").await.location();
    assert_eq!(node.ask("GET", &at, &[], "").await.status, 204);
    let reply = node.ask("PATCH", &at, &[FRAGMENT, ("If-Match", "\"e1\"")], TRICKLE).await;
    assert_eq!(reply.status, 204);
    assert_eq!(node.ask("DELETE", &at, &[], "").await.status, 200);
}

#[tokio::test]
async fn the_health_of_a_stream_is_shown_to_who_may_take_part_in_its_room() {
    let node = start(Setup::default()).await;
    let path = "/v1/rooms/r1/streams/live/health";
    let of = |room: &str| token(room, "alice", &["subscribe"], &[]);
    let (mine, other) = (of("r1"), of("r2"));
    let reply = node.ask("GET", path, &[("Authorization", &mine)], "").await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, Some("no-store")), "{}", reply.body);
    let health: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!((&health["stream"], &health["generation"]), (&"live".into(), &7.into()), "{health}");
    assert_eq!(health["live"], true, "{health}");
    let missing = node.ask("GET", "/v1/rooms/r1/streams/other/health", &[("Authorization", &mine)], "").await;
    check_problem(&missing, 404, Some("no-publisher"));
    check_problem(&node.ask("GET", path, &[("Authorization", &other)], "").await, 403, Some("not-allowed"));
    // As a guest is, where a room is public.
    let nothing = token("r1", "alice", &[], &[]);
    check_problem(&node.ask("GET", path, &[("Authorization", &nothing)], "").await, 403, Some("not-allowed"));
    check_problem(&node.ask("GET", path, &[], "").await, 401, Some("token-missing"));
}

#[tokio::test]
async fn a_session_to_which_a_codec_cannot_be_sent_says_so() {
    let node = start(Setup::default()).await;
    for (who, wanted) in [("alice", None), ("bob", Some("1;codec=VP9"))] {
        let auth = token("r1", who, &["subscribe"], &[]);
        let headers = [SDP, ("Authorization", auth.as_str())];
        let at = node.ask("POST", "/whep/r1", &headers, "v=0\r\nfine\r\n").await.location();
        let reply = node.ask("GET", &at, &[("Authorization", &auth)], "").await;
        assert_eq!((reply.status, reply.header("freshet-unplayable")), (204, wanted), "{who}");
    }
}
