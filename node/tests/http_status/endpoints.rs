//! `/whip/…`, `/whep/…` and the operator's pages.

use std::time::Duration;

use freshet_node::service::Direction;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::fake::ANSWER;
use super::wire::{SDP, Setup, check_problem, start, token, turn};

const OFFER: &str = "v=0\r\nfine\r\n";

/// One refused POST.
struct Row {
    path: &'static str,
    auth: Option<&'static str>,
    kind: &'static str,
    more: &'static [(&'static str, &'static str)],
    offer: &'static str,
    status: u16,
    reason: Option<&'static str>,
}

const fn row(path: &'static str, offer: &'static str, status: u16, reason: Option<&'static str>) -> Row {
    Row { path, auth: Some("both"), kind: "application/sdp", more: &[], offer, status, reason }
}

fn credentials(name: &str) -> String {
    match name {
        "both" => token("r1", "alice", &["publish", "subscribe"], &["cam"]),
        "viewer" => token("r1", "bob", &["subscribe"], &[]),
        "host" => token("r1", "alice", &["publish"], &[]),
        "guest" => token("r1", "alice", &[], &["*"]),
        "elsewhere" => token("r2", "alice", &["publish", "subscribe"], &["*"]),
        other => other.to_owned(),
    }
}

#[tokio::test]
async fn a_refused_offer_has_its_own_status() {
    let if_absent = &[("If-None-Match", "*")];
    let table = [
        // Names come first: without credentials, without a body.
        Row { auth: None, ..row("/whip/no%2Fslash", OFFER, 400, Some("bad-id")) },
        Row { auth: None, ..row("/whep/%00", OFFER, 400, Some("bad-id")) },
        Row { auth: None, ..row("/whip/%ff", OFFER, 400, Some("bad-id")) },
        row("/whip/r1/a.b", OFFER, 400, Some("bad-id")),
        row("/whep/r1?wait=perhaps", OFFER, 400, None),
        // Then the caller.
        Row { auth: None, ..row("/whip/r1", OFFER, 401, Some("token-missing")) },
        Row { auth: None, ..row("/whep/r1", OFFER, 401, Some("token-missing")) },
        Row { auth: Some("Basic YTpi"), ..row("/whip/r1", OFFER, 401, Some("token-missing")) },
        Row { auth: Some("Bearer nonsense"), ..row("/whip/r1", OFFER, 401, Some("token-invalid")) },
        Row { auth: Some("viewer"), ..row("/whip/r1", OFFER, 403, Some("not-allowed")) },
        Row { auth: Some("elsewhere"), ..row("/whip/r1", OFFER, 403, Some("not-allowed")) },
        Row { auth: Some("elsewhere"), ..row("/whep/r1", OFFER, 403, Some("not-allowed")) },
        Row { auth: Some("host"), ..row("/whep/r1", OFFER, 403, Some("not-allowed")) },
        Row { auth: Some("guest"), ..row("/whip/r1", OFFER, 403, Some("not-allowed")) },
        Row { auth: Some("guest"), ..row("/whep/r1", OFFER, 403, Some("not-allowed")) },
        row("/whip/r1/bob", OFFER, 403, Some("not-allowed")),
        // Then the body's type and the body.
        Row { kind: "application/json", ..row("/whip/r1", OFFER, 415, None) },
        Row { kind: "application/trickle-ice-sdpfrag", ..row("/whep/r1", OFFER, 415, None) },
        row("/whip/r1", "", 400, Some("bad-sdp")),
        row("/whep/r1", " \r\n", 400, Some("bad-sdp")),
        // Then what the service says.
        row("/whip/r1", "v=0\ngarbage", 400, Some("bad-sdp")),
        Row { more: if_absent, ..row("/whip/r1", "v=0\nlive", 409, Some("stream-live")) },
        Row { more: &[("If-None-Match", "nonsense")], ..row("/whip/r1", OFFER, 400, None) },
        row("/whep/r1", "v=0\nnobody", 409, Some("no-publisher")),
        row("/whep/r1", "v=0\nrefused", 422, Some("unprocessable-offer")),
        row("/whep/r1", "v=0\ncodecs", 422, Some("no-common-codec")),
        row("/whip/r1", "v=0\nstore", 503, Some("store-away")),
        row("/whip/r1", "v=0\nfull", 503, Some("over-capacity")),
        row("/whep/r1", "v=0\nbusy", 503, Some("over-capacity")),
        row("/whip/r1", "v=0\ndraining", 503, Some("draining")),
        row("/whep/r1", "v=0\nlost", 503, Some("lease-lost")),
        row("/whip/r1", "v=0\nreplaced", 503, Some("replaced")),
        row("/whip/r1", "v=0\ndismissed", 403, Some("revoked")),
        row("/whip/r1", "v=0\nbroken", 500, None),
        row("/whip/r1", "v=0\npanic", 500, None),
    ];
    for Row { path, auth, kind, more, offer, status, reason } in table {
        let node = start(Setup::default()).await;
        let auth = auth.map(credentials);
        let mut headers = vec![("Content-Type", kind)];
        headers.extend(auth.as_deref().map(|a| ("Authorization", a)));
        headers.extend_from_slice(more);
        let reply = node.ask("POST", path, &headers, offer).await;
        check_problem(&reply, status, reason);
        if let Some(auth) = &auth {
            assert!(!reply.body.contains(auth.trim_start_matches("Bearer ")), "a token is never told");
        }
        assert_eq!(
            node.fake.untouched(),
            !offer.contains("v=0\n"),
            "{path}: checked before the service is asked"
        );
        assert!(node.fake.sessions.lock().unwrap().is_empty());
        let expect = |name: &str, wanted: bool| {
            assert_eq!(reply.header(name).is_some(), wanted, "{status} {reason:?}: {name}");
        };
        expect("www-authenticate", matches!(status, 401 | 403) && reason != Some("revoked"));
        expect("retry-after", status == 503 || reason == Some("no-publisher"));
        expect(
            "freshet-refused",
            matches!(reason, Some("over-capacity" | "draining" | "lease-lost" | "replaced")),
        );
        expect("accept-post", status == 415);
    }
}

#[tokio::test]
async fn a_refusal_names_what_a_program_needs() {
    let node = start(Setup::default()).await;
    let auth = credentials("both");
    let headers = [SDP, ("Authorization", auth.as_str())];
    let reply = node.ask("POST", "/whep/r1", &headers, "v=0\ncodecs").await;
    assert_eq!(reply.json()["offered"], serde_json::json!(["H265"]));
    assert_eq!(reply.json()["served"], serde_json::json!(["H264", "VP8"]));
    let reply = node.ask("POST", "/whep/r1", &headers, "v=0\nnobody").await;
    assert_eq!(reply.header("retry-after"), Some("3"), "2.5 s, rounded up");
    let reply = node.ask("POST", "/whep/r1", &headers, "v=0\nfull").await;
    assert_eq!(reply.header("freshet-refused"), Some("over-capacity"));
    assert_eq!(reply.json()["limit"], 7);
    let reply = node.ask("POST", "/whep/r1", &headers, "v=0\nbusy").await;
    assert_eq!(reply.header("freshet-refused"), Some("over-capacity"));
    assert_eq!(
        (&reply.json()["busy_percent"], &reply.json()["busy_limit_percent"]),
        (&97.into(), &90.into())
    );
    let reply = node.ask("POST", "/whep/r1", &headers, "v=0\nopening").await;
    check_problem(&reply, 503, Some("over-capacity"));
    assert_eq!(reply.header("freshet-refused"), Some("over-capacity"));
    assert!(reply.header("retry-after").is_some());
    assert_eq!(reply.json()["half_open_limit"], 9);
    let reply = node.ask("POST", "/whep/r1", &[], "v=0\n").await;
    assert_eq!(reply.header("www-authenticate"), Some("Bearer realm=\"freshet\""));
}

#[tokio::test]
async fn an_offer_that_fits_makes_a_session() {
    let node = start(Setup { ice: turn(), ..Setup::default() }).await;
    let auth = credentials("both");
    let headers = [("Content-Type", "Application/SDP; charset=utf-8"), ("Authorization", auth.as_str())];
    let reply = node.ask("POST", "/whip/r1", &headers, OFFER).await;
    assert_eq!(reply.status, 201);
    assert_eq!(reply.body, ANSWER);
    assert_eq!(reply.header("content-type"), Some("application/sdp"));
    assert_eq!(reply.header("etag"), Some("\"e1\""));
    assert_eq!(reply.header("accept-patch"), Some("application/trickle-ice-sdpfrag"));
    let location = reply.location();
    let id = location.strip_prefix("/sessions/n1/0000000000000abc/").expect("a path on this origin");
    assert_eq!(id.len(), 32);
    let links = reply.all("link");
    assert_eq!(links.len(), 4, "three ICE servers, and where the health of the stream is: {links:?}");
    assert_eq!(links[0], "<stun:s.example>; rel=\"ice-server\"");
    assert!(
        links[1].starts_with("<turn:t.example?transport=udp>; rel=\"ice-server\"; username=\""),
        "{links:?}"
    );
    assert!(
        links[1].contains(":alice\"; credential=\"") && links[1].ends_with("credential-type=\"password\"")
    );
    let exposed = reply.header("access-control-expose-headers").unwrap();
    for name in ["Location", "Link", "ETag", "Retry-After", "WWW-Authenticate"] {
        assert!(exposed.split(", ").any(|e| e == name), "{name} is not in {exposed}");
    }
    let ask = node.fake.last();
    assert_eq!((ask.direction, ask.only_if_absent, ask.wait), (Direction::Publish, false, false));
    assert_eq!((ask.room.as_str(), ask.identity.as_str()), ("r1", "alice"));
    assert_eq!(ask.stream.unwrap().as_str(), "alice");
    assert_eq!(ask.offer, OFFER);
    assert_eq!(ask.client, Some("127.0.0.1".parse().unwrap()));
}

#[tokio::test]
async fn paths_and_queries_name_streams() {
    let node = start(Setup::default()).await;
    let auth = credentials("both");
    let headers = [SDP, ("Authorization", auth.as_str()), ("If-None-Match", "*")];
    let post = async |path: &str| {
        assert_eq!(node.ask("POST", path, &headers, OFFER).await.status, 201, "{path}");
        node.fake.last()
    };
    let ask = post("/whip/r1/cam").await;
    assert_eq!((ask.stream.unwrap().as_str(), ask.only_if_absent), ("cam", true));
    let ask = post("/whip/r1?stream=ignored&identity=mallory").await;
    assert_eq!((ask.stream.unwrap().as_str(), ask.identity.as_str()), ("alice", "alice"));
    let ask = post("/whep/r1").await;
    assert_eq!((ask.direction, ask.stream, ask.wait), (Direction::View, None, false));
    let ask = post("/whep/r1/cam?wait=1").await;
    assert_eq!((ask.stream.unwrap().as_str(), ask.wait), ("cam", true));
    for (name, path) in [("viewer", "/whep/r1"), ("host", "/whip/r1")] {
        let auth = credentials(name);
        node.ask("POST", path, &[SDP, ("Authorization", &auth)], OFFER).await.location();
    }
    let bytes = token("r1", "Zoë", &["publish"], &[]);
    node.ask("POST", "/whip/r1", &[SDP, ("Authorization", &bytes)], OFFER).await.location();
    assert!(node.fake.last().stream.unwrap().as_str().starts_with("s-"));
}

#[tokio::test]
async fn open_mode_asks_for_no_token() {
    let node = start(Setup { open: true, ..Setup::default() }).await;
    let reply = node.ask("POST", "/whip/r1", &[SDP], OFFER).await;
    assert_eq!(reply.status, 201);
    let ask = node.fake.last();
    assert_eq!(ask.stream.unwrap().as_str(), "main");
    assert!(ask.identity.as_str().starts_with("guest-"));
    node.ask("POST", "/whip/r1?stream=cam2&identity=Zo%C3%AB", &[SDP], OFFER).await.location();
    let ask = node.fake.last();
    assert_eq!((ask.stream.unwrap().as_str(), ask.identity.as_str()), ("cam2", "Zoë"));
    check_problem(&node.ask("POST", "/whip/r1?stream=a.b", &[SDP], OFFER).await, 400, Some("bad-id"));
    check_problem(&node.ask("POST", "/whip/r1?identity=", &[SDP], OFFER).await, 400, Some("bad-id"));
}

#[tokio::test]
async fn bodies_are_bounded_in_size() {
    let node = start(Setup { open: true, ..Setup::default() }).await;
    let exact = format!("v=0\r\n{}", "x".repeat(64 * 1024 - 5));
    assert_eq!(node.ask("POST", "/whip/r1", &[SDP], &exact).await.status, 201);
    let larger = format!("{exact}x");
    check_problem(&node.ask("POST", "/whip/r1", &[SDP], &larger).await, 413, None);
    let chunked = format!(
        "POST /whip/r1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/sdp\r\n\
         Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{larger}\r\n0\r\n\r\n",
        larger.len()
    );
    check_problem(&node.raw(chunked.as_bytes()).await, 413, None);
    let not_utf8 =
        b"POST /whip/r1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/sdp\r\n\
Content-Length: 2\r\n\r\n\xff\xfe";
    check_problem(&node.raw(not_utf8).await, 400, Some("bad-sdp"));
}

#[tokio::test]
async fn bodies_are_bounded_in_time() {
    let node = start(Setup { open: true, ..Setup::default() }).await;
    let begun =
        b"POST /whip/r1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\nContent-Length: 9\r\n\r\nv=0";
    check_problem(&node.raw(begun).await, 408, None);
}

#[tokio::test]
async fn get_and_options_are_answered_as_rfc_9725_says() {
    let node = start(Setup::default()).await;
    for path in ["/whip/r1", "/whip/r1/cam", "/whep/r1", "/whep/r1/cam"] {
        for method in ["GET", "HEAD"] {
            let reply = node.ask(method, path, &[], "").await;
            assert_eq!((reply.status, reply.body.as_str()), (204, ""), "{method} {path}");
        }
        let reply = node.ask("OPTIONS", path, &[], "").await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.header("accept-post"), Some("application/sdp"));
        assert_eq!(reply.header("access-control-allow-methods"), None, "no preflight");
        let asks = [("Origin", "https://page.example"), ("Access-Control-Request-Method", "POST")];
        let reply = node.ask("OPTIONS", path, &asks, "").await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (200, Some("*")));
        assert!(reply.header("access-control-allow-methods").unwrap().contains("POST"));
        let allowed = reply.header("access-control-allow-headers").unwrap();
        for name in ["Authorization", "Content-Type", "If-Match", "If-None-Match"] {
            assert!(allowed.split(", ").any(|a| a == name), "{name} is not in {allowed}");
        }
        for method in ["PUT", "PATCH", "DELETE", "TRACE", "BREW"] {
            let reply = node.ask(method, path, &[SDP], OFFER).await;
            check_problem(&reply, 405, None);
            let mut allow: Vec<_> = reply.header("allow").unwrap().split([',', ' ']).collect();
            allow.retain(|a| !a.is_empty());
            allow.sort_unstable();
            assert_eq!(allow, ["GET", "HEAD", "OPTIONS", "POST"], "{method} {path}");
        }
    }
    check_problem(&node.ask("GET", "/whip/no.id", &[], "").await, 400, Some("bad-id"));
    check_problem(&node.ask("GET", "/whip", &[], "").await, 404, None);
    check_problem(&node.ask("GET", "/", &[], "").await, 404, None);
}

#[tokio::test]
async fn a_location_stands_under_the_public_url() {
    let node =
        start(Setup { open: true, public_url: Some("https://live.example/a/b/"), ..Setup::default() }).await;
    let location = node.ask("POST", "/whep/r1?wait=1", &[SDP], OFFER).await.location();
    let path = location.strip_prefix("https://live.example/a/b").expect("the prefix is kept");
    assert!(path.starts_with("/sessions/n1/"), "{location}");
    assert_eq!(node.ask("DELETE", path, &[], "").await.status, 200, "the proxy takes the prefix away again");
}

#[tokio::test]
async fn a_client_that_hangs_up_leaves_no_session() {
    let node = start(Setup { open: true, ..Setup::default() }).await;
    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    let body = "v=0\nslow";
    let head = "POST /whip/r1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/sdp\r\n";
    stream.write_all(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await.unwrap();
    while node.fake.untouched() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(stream);
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(node.fake.sessions.lock().unwrap().is_empty(), "made for nobody, ended at once");
    let reply = node.ask("POST", "/whip/r1", &[SDP], body).await;
    assert_eq!(reply.status, 201);
    assert_eq!(node.fake.sessions.lock().unwrap().len(), 1, "with a client that waits it stays");
}

#[tokio::test]
async fn a_large_upload_can_ask_first() {
    let node = start(Setup::default()).await;
    let mut stream = TcpStream::connect(node.addr).await.unwrap();
    let head =
        "POST /whip/r1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Type: application/sdp\r\n";
    stream.write_all(format!("{head}Content-Length: 60000\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401", "a stranger is refused unread");
}

#[tokio::test]
async fn operators_ask_for_health_and_metrics() {
    let node = start(Setup::default()).await;
    assert_eq!(node.ask("GET", "/healthz", &[], "").await.body, "ok\n");
    assert_eq!(node.ask("GET", "/readyz", &[], "").await.status, 200);
    let waiting = start(Setup { ready: false, ..Setup::default() }).await;
    check_problem(&waiting.ask("GET", "/readyz", &[], "").await, 503, Some("not-ready"));
    node.ask("POST", "/whip/r1", &[SDP], OFFER).await;
    let text = node.ask("GET", "/metrics", &[], "").await.body;
    let counted = "freshet_node_http_requests_total{method=\"POST\",route=\"/whip/{room}\",status=\"401\"} 1";
    assert!(text.contains(counted), "{text}");
    assert!(text.contains("freshet_node_http_connections 1"), "this one: {text}");
    assert!(!text.contains("r1"), "no room is a label");
}
