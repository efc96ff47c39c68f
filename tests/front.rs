//! The front door as an operator sets it up: behind a reverse proxy that takes a path prefix away, with STUN and TURN
//! servers, and tokens that are not good enough.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use freshet_test_support as support;
use http::{StatusCode, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use support::{
    Answer, Cluster, KEY, Plan, eventually, publish, remember_secret, request, served_by, token, view,
};

const PREFIX: &str = "/cast";
/// What the second coordinator says that clients see; nothing of this name is there.
const ELSEWHERE: &str = "https://live.example.org/cast";
const TURN_SECRET: &str = "shared with the TURN server";
const STUN: &str = "stun:stun.example.org:3478";
const TURN: [&str; 2] = ["turn:turn.example.org:3478?transport=udp", "turns:turn.example.org:443"];
const CANDIDATE: &str = "a=mid:0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host\r\n";
const SDP: (&str, &str) = ("content-type", "application/sdp");
const FRAGMENT: (&str, &str) = ("content-type", "application/trickle-ice-sdpfrag");

/// A reverse proxy: what lies below [`PREFIX`] goes on without it, all else is not found.
struct Proxy {
    address: SocketAddr,
    to: Arc<OnceLock<String>>,
    task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = Arc::new(OnceLock::new());
        let app = axum::Router::new().fallback(pass).with_state(to.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { address, to, task }
    }

    fn url(&self) -> String {
        format!("http://{}{PREFIX}", self.address)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(State(to): State<Arc<OnceLock<String>>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().as_str();
    let Some(rest) = path.strip_prefix(PREFIX).filter(|rest| rest.starts_with('/')) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    parts.uri = format!("{}{rest}", to.get().unwrap()).parse::<Uri>().unwrap();
    // A name of the inside: what the outside is called says `--public-url` alone.
    parts.headers.remove("host");
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let client = Client::builder(TokioExecutor::new()).build_http::<Body>();
    match client.request(Request::from_parts(parts, Body::from(body))).await {
        Ok(response) => response.map(Body::new),
        Err(_) => StatusCode::BAD_GATEWAY.into_response(),
    }
}

fn offers() -> [(&'static str, String); 2] {
    let lines = |text: &str| text.replace('\n', "\r\n");
    [
        ("whip", lines(include_str!("data/offer-publish.sdp"))),
        ("whep", lines(include_str!("data/offer-view.sdp"))),
    ]
}

fn header<'a>(answer: &'a Answer, name: &str) -> &'a str {
    answer.headers.get(name).map_or("", |value| value.to_str().unwrap())
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Asks and checks the status.
async fn ask(
    (method, url, token): (&str, &str, &str),
    headers: &[(&str, &str)],
    body: &str,
    status: u16,
) -> Answer {
    let answer = request(method, url, Some(token), headers, body.to_owned()).await.expect("an answer");
    let said = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(answer.status, status, "{method} {url}: {said}");
    answer
}

async fn cluster(proxy: &Proxy) -> Cluster {
    let seen = proxy.url();
    remember_secret(TURN_SECRET);
    let flags = move |name: &str| {
        let public = if name == "coordinator-2" { ELSEWHERE } else { &seen };
        let ice = [STUN, TURN[0], TURN[1]].into_iter().flat_map(|url| ["--ice-server", url]);
        let flags = ["--public-url", public, "--turn-secret", TURN_SECRET];
        flags.into_iter().chain(ice).map(str::to_owned).collect()
    };
    let plan = Plan { nodes: 1, coordinators: 2, max_sessions: 100 };
    let cluster = Cluster::start_as("front", plan, Box::new(flags)).await;
    proxy.to.set(cluster.url(0)).unwrap();
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_front_door_works_behind_a_proxy_and_names_its_ice_servers() {
    let proxy = Proxy::start().await;
    let cluster = cluster(&proxy).await;
    sessions_are_below_the_prefix(&proxy).await;
    another_name_is_what_was_configured(&cluster, &proxy).await;
    clients_follow_the_location(&proxy).await;
    bad_tokens(&proxy.url()).await;
}

/// Every call of a session's life by the `Location` alone.
async fn sessions_are_below_the_prefix(proxy: &Proxy) {
    let base = proxy.url();
    for (kind, offer) in offers() {
        let who = format!("{kind}-ann");
        let (ann, bob) =
            (token("front", &who, "publish,subscribe"), token("front", "bob", "publish,subscribe"));
        let made = ask(("POST", &format!("{base}/{kind}/front?wait=1"), &ann), &[SDP], &offer, 201).await;
        let location = header(&made, "location").to_owned();
        assert!(location.starts_with(&format!("{base}/sessions/node-1/")), "{location}");
        ice_servers(&made, &who);
        let tag = header(&made, "etag").to_owned();
        let (url, tagged) = (location.as_str(), ("if-match", tag.as_str()));

        // Not below the prefix there is nothing: the calls below went through the proxy.
        let bare = url.replace(PREFIX, "");
        ask(("DELETE", &bare, &ann), &[], "", 404).await;
        ask(("PATCH", url, &ann), &[FRAGMENT, tagged], CANDIDATE, 204).await;
        for method in ["PATCH", "DELETE"] {
            let refused = ask((method, url, &bob), &[FRAGMENT, tagged], CANDIDATE, 403).await;
            assert_eq!(refused.json()["reason"], "not-yours");
        }
        let restart = format!(
            "a=ice-ufrag:n3wU\r\na=ice-pwd:Zk2xW9vB4nM7qL1pR8sT5yHd\r\nm=audio 9 RTP/AVP 0\r\n{CANDIDATE}"
        );
        let answer = ask(("PATCH", url, &ann), &[FRAGMENT, ("if-match", "*")], &restart, 200).await;
        assert_ne!(header(&answer, "etag"), tag, "an ICE restart has a new tag");
        assert!(String::from_utf8_lossy(&answer.body).contains("a=ice-ufrag:"));
        ask(("DELETE", url, &ann), &[], "", 200).await;
        ask(("DELETE", url, &ann), &[], "", 404).await;
    }
}

/// `Link` for each configured server, and credentials that the TURN server computes as well.
fn ice_servers(made: &Answer, who: &str) {
    let links = made.headers.get_all("link").iter().map(|link| link.to_str().unwrap());
    let links: Vec<&str> = links
        .filter(|link| link.ends_with("rel=\"ice-server\"") || link.contains("rel=\"ice-server\";"))
        .collect();
    assert_eq!(links.len(), 3, "{links:?}");
    assert_eq!(links[0], format!("<{STUN}>; rel=\"ice-server\""));
    for (link, url) in links[1..].iter().zip(TURN) {
        let field = |name: &str| {
            let (_, rest) =
                link.split_once(&format!("; {name}=\"")).unwrap_or_else(|| panic!("{name}: {link}"));
            rest.split('"').next().unwrap().to_owned()
        };
        assert!(link.starts_with(&format!("<{url}>; rel=\"ice-server\"; ")), "{link}");
        let username = field("username");
        let (expiry, name) = username.split_once(':').unwrap();
        assert_eq!(name, who);
        let left = expiry.parse::<u64>().unwrap().checked_sub(now()).expect("not yet expired");
        assert!((11 * 3600..=12 * 3600).contains(&left), "{left} s");
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, TURN_SECRET.as_bytes());
        assert_eq!(field("credential"), STANDARD.encode(hmac::sign(&key, username.as_bytes())));
        assert_eq!(field("credential-type"), "password");
    }
    assert!(!links.concat().contains(TURN_SECRET), "the secret itself is never sent");
}

/// The configured name stands in `Location` whatever the request was sent to, and any coordinator serves it.
async fn another_name_is_what_was_configured(cluster: &Cluster, proxy: &Proxy) {
    for (kind, offer) in offers() {
        let ann = token("front", "ann", "publish,subscribe");
        let url = format!("{}/{kind}/front?wait=1", cluster.url(1));
        let made = ask(("POST", &url, &ann), &[SDP], &offer, 201).await;
        let location = header(&made, "location");
        assert!(location.starts_with(&format!("{ELSEWHERE}/sessions/node-1/")), "{location}");
        // As a resolver of that name would: the origin becomes the proxy's, the path stays.
        let path = location.strip_prefix("https://live.example.org").unwrap();
        ask(("DELETE", &format!("http://{}{path}", proxy.address), &ann), &[], "", 200).await;
    }
}

/// Clients that know nothing but the endpoint below the prefix: media, candidates, ICE restarts and the end.
async fn clients_follow_the_location(proxy: &Proxy) {
    let (host, guest) = (token("show", "host", "publish"), token("show", "guest", "subscribe"));
    let publisher = publish(&proxy.url(), "show", &host, |_| {}).await;
    let viewer = view(&proxy.url(), "show", &guest, |_| {}).await;
    assert!(viewer.wait_for_media(Duration::from_secs(15)).await, "media comes");
    for url in [publisher.resource().url(), viewer.resource().url()] {
        assert!(url.starts_with(&proxy.url()), "{url}");
        assert_eq!(served_by(url), "node-1");
    }
    let before = [publisher.resource().etag(), viewer.resource().etag()];
    let restarted = [publisher.restart_ice().await.unwrap(), viewer.restart_ice().await.unwrap()];
    for (outcome, before) in restarted.iter().zip(before) {
        assert_eq!(outcome.status, 200);
        assert!(outcome.etag.is_some() && outcome.etag != before, "{outcome:?}");
    }
    let packets = |viewer: &freshet_loadtest::client::Viewer| -> u64 {
        viewer.report().tracks.iter().map(|track| track.received).sum()
    };
    let seen = packets(&viewer);
    eventually(Duration::from_secs(15), "media goes on after both restarts", || async {
        (packets(&viewer) > seen + 200).then_some(())
    })
    .await;
    let (from, to) = (publisher.resource().url().to_owned(), viewer.resource().url().to_owned());
    viewer.stop().await.unwrap();
    publisher.stop().await.unwrap();
    for (url, token) in [(from, host), (to, guest)] {
        ask(("GET", &url, &token), &[], "", 404).await;
    }
}

/// A token of this header and these claims with a good HMAC by the cluster's key: what is wrong is what it says.
fn signed(header: &str, claims: &str) -> String {
    let text = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let key = hmac::Key::new(hmac::HMAC_SHA256, KEY.split_once(':').unwrap().1.as_bytes());
    let token = format!("{text}.{}", URL_SAFE_NO_PAD.encode(hmac::sign(&key, text.as_bytes())));
    remember_secret(&token);
    token
}

async fn bad_tokens(base: &str) {
    let claims = |exp: u64| {
        let grants = "[\"publish\",\"subscribe\"]";
        format!("{{\"room\":\"front\",\"identity\":\"eve\",\"grants\":{grants},\"exp\":{exp}}}")
    };
    const HS256: &str = "{\"alg\":\"HS256\",\"typ\":\"JWT\"}";
    let good = claims(now() + 600);
    let unsigned = signed("{\"alg\":\"none\"}", &good);
    let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
    for (kind, offer) in offers() {
        let url = format!("{base}/{kind}/front?wait=1");
        // The same way of making one, in order: nothing but the case itself is what is refused below.
        let made = ask(("POST", &url, &signed(HS256, &good)), &[SDP], &offer, 201).await;
        let location = header(&made, "location").to_owned();
        let tag = header(&made, "etag").to_owned();
        let with = |more: &str| good.replacen('}', &format!(",{more}}}"), 1);
        let cases = [
            ("without exp", signed(HS256, &good.replacen("\"exp\"", "\"then\"", 1))),
            ("good for more than a day", signed(HS256, &claims(now() + 25 * 3_600))),
            ("not good yet", signed(HS256, &with(&format!("\"nbf\":{}", now() + 120)))),
            ("huge", signed(HS256, &with(&format!("\"pad\":\"{}\"", "x".repeat(5_000))))),
            ("expired", signed(HS256, &claims(now() - 120))),
            ("alg none, no signature", unsigned.clone()),
            ("alg none, signed", signed("{\"alg\":\"none\"}", &good)),
            ("alg RS256", signed("{\"alg\":\"RS256\",\"typ\":\"JWT\"}", &good)),
            ("alg HS512", signed("{\"alg\":\"HS512\",\"typ\":\"JWT\"}", &good)),
            ("no alg", signed("{\"typ\":\"JWT\"}", &good)),
        ];
        for (what, bad) in &cases {
            let tagged = ("if-match", tag.as_str());
            for (method, url, headers, body) in [
                ("POST", &url, vec![SDP], offer.as_str()),
                ("PATCH", &location, vec![FRAGMENT, tagged], CANDIDATE),
                ("DELETE", &location, vec![], ""),
            ] {
                let answer = ask((method, url, bad), &headers, body, 401).await;
                let challenge = header(&answer, "www-authenticate");
                assert!(challenge.starts_with("Bearer"), "{what}, {method}: {challenge:?}");
                let problem = answer.json();
                assert_eq!(problem["reason"], "token-invalid", "{what}, {method}: {problem}");
            }
        }
        ask(("DELETE", &location, &signed(HS256, &good)), &[], "", 200).await;
    }
}
