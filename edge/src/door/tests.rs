//! The door in front of a router, without sockets: requests say from where they come.

use axum::Router;
use axum::body::Body;
use axum::middleware::from_fn_with_state;
use axum::routing::post;
use freshet_cluster::token::{Grant, Rooms};
use http::Method;
use tower::ServiceExt as _;

use super::*;

const NONE: DoorConfig = DoorConfig {
    trusted: Trusted::NONE,
    region_header: None,
    identity: None,
    address: None,
    failures: None,
    listeners: 0,
};

fn few(burst: u32) -> Option<Rate> {
    Some(Rate { per_second: 0.001, burst })
}

fn trusted(networks: &[&str]) -> Trusted {
    Trusted::new(networks.iter().map(|text| text.parse().unwrap()).collect())
}

/// `Authorization: Bearer NAME` is NAME's; without it is 401. It answers the client as the handler sees it.
fn router(config: DoorConfig) -> (Router, Metrics) {
    router_of(config, true)
}

/// The same, with calls of coordinators or without.
fn router_of(config: DoorConfig, takes_calls: bool) -> (Router, Metrics) {
    let metrics = Metrics::new();
    let door = Door::new(config, &metrics, "node", takes_calls).unwrap();
    let handler = |State(door): State<Door>, request: Request| async move {
        let name =
            request.headers().get("authorization").and_then(|v| v.to_str().ok()?.strip_prefix("Bearer "));
        let Some(name) = name else {
            return Problem::new(StatusCode::UNAUTHORIZED, "who are you?").into_response();
        };
        let access = Access {
            identity: name.parse().unwrap(),
            rooms: Rooms::Every,
            grants: [Grant::Publish].into_iter().collect(),
            streams: Vec::new(),
            bound: Default::default(),
            open: name == "open",
        };
        match door.admit(&access, request.method(), request.extensions()) {
            Ok(()) => {
                let client = Client::of(request.extensions()).unwrap();
                format!("{} {}", client.ip, client.region.as_deref().unwrap_or("-")).into_response()
            }
            Err(problem) => problem.into_response(),
        }
    };
    let router = Router::new()
        .route("/", post(handler).patch(handler).get(|| async { "page" }))
        .with_state(door.clone());
    (router.layer(from_fn_with_state(door, layer)), metrics)
}

async fn ask(router: &Router, method: Method, peer: &str, headers: &[(&str, &str)]) -> (u16, Response) {
    let mut request = Request::builder().method(method).uri("/");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 4711)));
    let response = router.clone().oneshot(request).await.unwrap();
    (response.status().as_u16(), response)
}

async fn post_as(router: &Router, peer: &str, name: &str) -> u16 {
    let bearer = format!("Bearer {name}");
    ask(router, Method::POST, peer, &[("authorization", &bearer)]).await.0
}

fn limited(metrics: &Metrics, by: &str) -> u64 {
    let text = prometheus::TextEncoder::new().encode_to_string(&metrics.registry().gather()).unwrap();
    let name = format!("freshet_node_http_limited_total{{by=\"{by}\"}} ");
    text.lines().find_map(|line| line.strip_prefix(&name)?.parse().ok()).unwrap()
}

#[tokio::test]
async fn credentials_whose_time_is_over_are_no_guesses() {
    for (genuine, refused) in [(false, 429), (true, 401)] {
        let metrics = Metrics::new();
        let door = Door::new(DoorConfig { failures: few(3), ..NONE }, &metrics, "node", true).unwrap();
        let handler = move || async move { Problem::new(StatusCode::UNAUTHORIZED, "no").genuine(genuine) };
        let router = Router::new().route("/", post(handler)).layer(from_fn_with_state(door, layer));
        for _ in 0..3 {
            assert_eq!(post_as(&router, "192.0.2.1", "ann").await, 401);
        }
        assert_eq!(post_as(&router, "192.0.2.1", "ann").await, refused, "{genuine}");
        assert_eq!(limited(&metrics, "failures"), u64::from(!genuine));
    }
}

#[tokio::test]
async fn an_identity_is_bounded_before_its_address() {
    let (router, metrics) = router(DoorConfig { identity: few(3), address: few(5), ..NONE });
    for _ in 0..3 {
        assert_eq!(post_as(&router, "192.0.2.1", "ann").await, 200);
    }
    for _ in 0..9 {
        assert_eq!(post_as(&router, "192.0.2.1", "ann").await, 429);
    }
    // Her refusals cost the others behind the address nothing.
    assert_eq!(post_as(&router, "192.0.2.1", "bob").await, 200);
    assert_eq!(post_as(&router, "192.0.2.1", "eve").await, 200);
    assert_eq!(post_as(&router, "192.0.2.1", "joe").await, 429, "the address has had its five");
    assert_eq!(post_as(&router, "192.0.2.2", "joe").await, 200, "another has not");
    assert_eq!((limited(&metrics, "identity"), limited(&metrics, "address")), (9, 1));
}

#[tokio::test]
async fn what_is_no_post_is_bounded_for_itself_and_more_generously() {
    let (router, metrics) = router(DoorConfig { identity: few(1), address: few(2), ..NONE });
    let patch = async |name: &str| {
        let bearer = format!("Bearer {name}");
        ask(&router, Method::PATCH, "192.0.2.1", &[("authorization", &bearer)]).await.0
    };
    for _ in 0..5 {
        assert_eq!(patch("ann").await, 200);
    }
    assert_eq!(patch("ann").await, 429);
    for _ in 0..5 {
        assert_eq!(patch("bob").await, 200);
    }
    assert_eq!((patch("eve").await, limited(&metrics, "address")), (429, 1), "the address has had its ten");
    assert_eq!(post_as(&router, "192.0.2.1", "ann").await, 200, "she may still POST");
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back() {
    let rate = Some(Rate { per_second: 0.5, burst: 1 });
    let (router, _) = router(DoorConfig { identity: rate, ..NONE });
    assert_eq!(post_as(&router, "192.0.2.1", "ann").await, 200);
    let (status, response) =
        ask(&router, Method::POST, "192.0.2.1", &[("authorization", "Bearer ann")]).await;
    assert_eq!((status, response.headers()["retry-after"].as_bytes()), (429, &b"2"[..]));
    let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
    let problem: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(problem["reason"], "rate-limit");
}

#[tokio::test]
async fn guests_without_names_are_bounded_by_address_and_ipv6_by_its_64() {
    let (router, _) = router(DoorConfig { identity: few(1), address: few(2), ..NONE });
    for host in ["2001:db8::1", "2001:db8::2"] {
        assert_eq!(post_as(&router, host, "open").await, 200);
    }
    assert_eq!(post_as(&router, "2001:db8::3", "open").await, 429);
    assert_eq!(post_as(&router, "2001:db8:0:1::3", "open").await, 200);
}

#[tokio::test]
async fn guests_of_public_rooms_who_share_a_name_are_bounded_by_address_alone() {
    let (router, metrics) = router(DoorConfig { identity: few(1), address: few(2), ..NONE });
    for host in ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert_eq!(post_as(&router, host, crate::bearer::GUEST).await, 200);
    }
    assert_eq!(post_as(&router, "192.0.2.1", crate::bearer::GUEST).await, 429);
    assert_eq!((limited(&metrics, "identity"), limited(&metrics, "address")), (0, 1));
}

#[tokio::test]
async fn who_fails_too_often_is_not_looked_at_and_others_are() {
    let (router, metrics) = router(DoorConfig { failures: few(3), ..NONE });
    let wrong = [("authorization", "Basic x")];
    for _ in 0..50 {
        assert_eq!(ask(&router, Method::POST, "192.0.2.1", &[]).await.0, 401, "nothing was tried");
    }
    for _ in 0..3 {
        assert_eq!(ask(&router, Method::POST, "192.0.2.1", &wrong).await.0, 401);
    }
    assert_eq!(ask(&router, Method::POST, "192.0.2.1", &wrong).await.0, 429);
    assert_eq!(
        post_as(&router, "192.0.2.1", "ann").await,
        429,
        "it is not known yet that she is not one of them"
    );
    assert_eq!(ask(&router, Method::GET, "192.0.2.1", &[]).await.0, 200, "pages go on");
    assert_eq!(post_as(&router, "192.0.2.2", "ann").await, 200);
    assert_eq!(limited(&metrics, "failures"), 2);
    // A coordinator's call on the same way is judged by its signature, always.
    let call = [("freshet-call", "x.y"), ("authorization", "Basic x")];
    assert_eq!(ask(&router, Method::POST, "192.0.2.1", &call).await.0, 401);
}

#[tokio::test]
async fn who_claims_to_make_a_call_where_none_are_taken_is_a_client_like_any_other() {
    let (router, metrics) = router_of(DoorConfig { failures: few(3), ..NONE }, false);
    let call = [("freshet-call", "x.y"), ("authorization", "Basic x")];
    for _ in 0..3 {
        assert_eq!(ask(&router, Method::POST, "192.0.2.1", &call).await.0, 401);
    }
    assert_eq!(ask(&router, Method::POST, "192.0.2.1", &call).await.0, 429);
    assert_eq!(limited(&metrics, "failures"), 1);
}

#[tokio::test]
async fn posts_that_are_refused_count_for_their_address_and_gets_do_not() {
    let (router, metrics) = router(DoorConfig { address: few(5), ..NONE });
    for _ in 0..3 {
        assert_eq!(ask(&router, Method::POST, "192.0.2.1", &[]).await.0, 401, "without credentials");
    }
    assert_eq!(post_as(&router, "192.0.2.1", "ann").await, 200);
    assert_eq!(ask(&router, Method::POST, "192.0.2.1", &[("authorization", "Basic x")]).await.0, 401);
    for headers in [&[][..], &[("authorization", "Bearer ann")]] {
        assert_eq!(ask(&router, Method::POST, "192.0.2.1", headers).await.0, 429);
    }
    assert_eq!(ask(&router, Method::GET, "192.0.2.1", &[]).await.0, 200);
    assert_eq!(post_as(&router, "192.0.2.2", "ann").await, 200);
    assert_eq!(limited(&metrics, "address"), 2);
}

#[tokio::test]
async fn who_succeeds_never_counts_as_failing() {
    let (router, _) = router(DoorConfig { failures: few(3), ..NONE });
    for _ in 0..50 {
        assert_eq!(post_as(&router, "192.0.2.1", "ann").await, 200);
    }
}

#[tokio::test]
async fn a_storm_through_one_forwarded_address_leaves_the_other_alone() {
    let config = DoorConfig { address: few(5), failures: few(5), trusted: trusted(&["10.0.0.0/8"]), ..NONE };
    let (router, _) = router(config);
    let through = |client: &'static str, peer: &'static str, name: &'static str| {
        let router = &router;
        async move {
            let headers = [("x-forwarded-for", client), ("authorization", name)];
            ask(router, Method::POST, peer, &headers).await.0
        }
    };
    for n in 0..20 {
        let status = through("192.0.2.1", "10.0.0.1", "Bearer open").await;
        assert_eq!(status, if n < 5 { 200 } else { 429 }, "{n}");
        assert_eq!(through("192.0.2.3", "10.0.0.1", "Basic x").await, if n < 5 { 401 } else { 429 }, "{n}");
    }
    assert_eq!(through("192.0.2.2", "10.0.0.1", "Bearer open").await, 200);
    // A stranger who claims the other's address is counted under its own.
    for _ in 0..20 {
        through("192.0.2.2", "203.0.113.9", "Bearer open").await;
    }
    assert_eq!(through("192.0.2.2", "10.0.0.1", "Bearer open").await, 200);
}

#[tokio::test]
async fn a_region_is_a_trusted_proxys_word() {
    let region_header = Some(HeaderName::from_static("x-region"));
    let (router, _) = router(DoorConfig { trusted: trusted(&["10.0.0.1"]), region_header, ..NONE });
    let long = "x".repeat(65);
    for (peer, region, seen) in [
        ("10.0.0.1", "eu", "10.0.0.1 eu"),
        ("::ffff:10.0.0.1", "eu", "10.0.0.1 eu"),
        ("10.0.0.2", "eu", "10.0.0.2 -"),
        ("10.0.0.1", "", "10.0.0.1 -"),
        ("10.0.0.1", &long, "10.0.0.1 -"),
    ] {
        let headers = [("authorization", "Bearer ann"), ("x-region", region)];
        let (_, response) = ask(&router, Method::POST, peer, &headers).await;
        let body = axum::body::to_bytes(response.into_body(), 4096).await.unwrap();
        assert_eq!(body, seen);
    }
}
