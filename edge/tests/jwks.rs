//! Keys of another issuer, fetched from real servers.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, missing_docs)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Router, middleware};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use freshet_cluster::token::{JWKS_MAX, Keyring};
use freshet_cluster::unit::UnixMillis;
use freshet_edge::Guard;
use freshet_edge::jwks::{self, Jwks, JwksUrl, Pace};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

const SOON: Duration = Duration::from_secs(20);

/// What the issuer answers; counts how often it was asked.
#[derive(Clone)]
struct Issuer {
    answer: Arc<Mutex<(StatusCode, String)>>,
    asked: Arc<AtomicUsize>,
}

impl Issuer {
    fn new(answer: String) -> Self {
        Self { answer: Arc::new(Mutex::new((StatusCode::OK, answer))), asked: Arc::default() }
    }

    fn says(&self, status: StatusCode, answer: String) {
        *self.answer.lock().unwrap() = (status, answer);
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    fn router(&self) -> Router {
        let issuer = self.clone();
        let answer = move || {
            let issuer = issuer.clone();
            async move {
                issuer.asked.fetch_add(1, Ordering::SeqCst);
                let (status, text) = issuer.answer.lock().unwrap().clone();
                let place = HeaderValue::from_static("/elsewhere");
                let mut response = (status, text).into_response();
                response.headers_mut().insert(header::LOCATION, place);
                response
            }
        };
        Router::new().route("/keys", get(answer))
    }

    async fn serve(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let router = self.router();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(router.clone());
                let http = hyper::server::conn::http1::Builder::new();
                tokio::spawn(async move { http.serve_connection(TokioIo::new(stream), service).await });
            }
        });
        addr
    }
}

struct Signer {
    kid: &'static str,
    pair: Ed25519KeyPair,
}

fn signer(kid: &'static str, seed: u8) -> Signer {
    Signer { kid, pair: Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap() }
}

impl Signer {
    fn jwk(&self) -> serde_json::Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": self.kid, "x": x})
    }

    fn headers(&self) -> HeaderMap {
        let exp = UnixMillis::now().0 / 1000 + 600;
        let header = json!({"alg": "EdDSA", "kid": self.kid}).to_string();
        let claims =
            json!({"room": "r", "identity": self.kid, "grants": ["subscribe"], "exp": exp}).to_string();
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = URL_SAFE_NO_PAD.encode(self.pair.sign(signed.as_bytes()));
        let mut headers = HeaderMap::new();
        let value = format!("Bearer {signed}.{signature}").parse().unwrap();
        headers.insert(header::AUTHORIZATION, value);
        headers
    }
}

fn set(signers: &[&Signer]) -> String {
    json!({"keys": signers.iter().map(|signer| signer.jwk()).collect::<Vec<_>>()}).to_string()
}

/// Quick refreshes and failures, and as much time as a busy machine may want.
fn pace() -> Pace {
    let quick = Duration::from_millis(20);
    Pace { refresh: quick, retry: quick, rest: quick, time: SOON }
}

fn url(addr: SocketAddr) -> JwksUrl {
    format!("http://{addr}/keys").parse().unwrap()
}

fn passes(guard: &Guard, signer: &Signer) -> bool {
    guard.authenticate(&signer.headers(), UnixMillis::now()).is_ok()
}

async fn comes(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks through the layer, as a request does.
async fn ask(guard: &Guard, signer: &Signer) -> StatusCode {
    let judge = guard.clone();
    let answer = move |headers: HeaderMap| async move {
        judge
            .authenticate(&headers, UnixMillis::now())
            .map(|_| StatusCode::OK)
            .map_err(|problem| problem.status())
    };
    let router = Router::new().route("/", get(answer));
    let router = router.layer(middleware::from_fn_with_state(guard.clone(), jwks::fresh));
    let mut request = http::Request::get("/").body(Body::empty()).unwrap();
    *request.headers_mut() = signer.headers();
    let response: Response = router.oneshot(request).await.unwrap();
    response.status()
}

#[tokio::test]
async fn keys_follow_the_url_and_stay_while_it_is_away() {
    let (old, new) = (signer("old", 1), signer("new", 2));
    let issuer = Issuer::new(set(&[&old]));
    let guard = Guard::tokens(Keyring::default());
    let task = Jwks::new(url(issuer.serve().await), pace()).follow(&guard);
    comes("the first set", || passes(&guard, &old)).await;
    assert!(!passes(&guard, &new));
    issuer.says(StatusCode::OK, set(&[&old, &new]));
    comes("the second key", || passes(&guard, &new) && passes(&guard, &old)).await;

    // Whatever comes instead of a set changes nothing: each is asked for three times at least.
    for (status, text) in [
        (StatusCode::INTERNAL_SERVER_ERROR, set(&[&old])),
        (StatusCode::FOUND, set(&[&old])),
        (StatusCode::OK, "<html>".into()),
        (StatusCode::OK, format!("{}{}", set(&[&old]), " ".repeat(JWKS_MAX))),
    ] {
        issuer.says(status, text);
        let before = issuer.asked();
        comes("more questions", || issuer.asked() > before + 2).await;
        assert!(passes(&guard, &new), "{status}");
    }
    // A key that is left out is not taken any more; with none left nobody passes.
    issuer.says(StatusCode::OK, set(&[&new]));
    comes("the end of the old key", || !passes(&guard, &old)).await;
    assert!(passes(&guard, &new));
    issuer.says(StatusCode::OK, r#"{"keys": []}"#.into());
    comes("the end of all keys", || !passes(&guard, &new)).await;
    task.abort();
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_and_then_not_for_a_while() {
    let (old, new, stranger) = (signer("old", 1), signer("new", 2), signer("stranger", 3));
    let issuer = Issuer::new(set(&[&old]));
    let guard = Guard::tokens(Keyring::default());
    let hour = Duration::from_secs(3600);
    // Refreshed by unknown keys alone.
    let pace = Pace { refresh: hour, retry: hour, rest: Duration::from_millis(200), time: SOON };
    let _task = Jwks::new(url(issuer.serve().await), pace).follow(&guard);
    // The first request comes before the first set.
    assert_eq!(ask(&guard, &old).await, StatusCode::OK);
    assert_eq!(issuer.asked(), 1);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(issuer.asked(), 1, "known keys ask for nothing");
    issuer.says(StatusCode::OK, set(&[&old, &new]));
    assert_eq!(ask(&guard, &new).await, StatusCode::OK, "an issuer's new key is known at its first use");
    assert_eq!(issuer.asked(), 2);

    // A flood of unknown keys: one fetch in each rest.
    let begun = Instant::now();
    for _ in 0..200 {
        assert_eq!(ask(&guard, &stranger).await, StatusCode::UNAUTHORIZED);
    }
    let rests = begun.elapsed().as_millis() / 200;
    assert!(issuer.asked() as u128 <= 2 + rests + 2, "{} fetches in {rests} rests", issuer.asked());
}

#[tokio::test]
async fn an_url_that_never_ends_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&taken);
    tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let _head = stream.read(&mut [0; 1024]).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{").await.unwrap();
            held.push(stream);
        }
    });
    let guard = Guard::tokens(Keyring::default());
    let pace = Pace { time: Duration::from_millis(50), ..pace() };
    let _task = Jwks::new(url(addr), pace).follow(&guard);
    comes("a second try", || taken.load(Ordering::SeqCst) > 1).await;
}

#[tokio::test]
async fn https_is_judged_by_its_certificate() {
    let ann = signer("ann", 1);
    let issuer = Issuer::new(set(&[&ann]));
    let cert = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::Pkcs8(cert.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.cert.der().clone()], key)
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (router, dialled) = (issuer.router(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&dialled);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            let (acceptor, service) = (acceptor.clone(), TowerToHyperService::new(router.clone()));
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else { return };
                let http = hyper::server::conn::http1::Builder::new();
                let _served = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    let mut roots = RootCertStore::empty();
    roots.add(cert.cert.der().clone()).unwrap();
    let url: JwksUrl = format!("https://localhost:{port}/keys").parse().unwrap();
    let trusting = Guard::tokens(Keyring::default());
    let _task = Jwks::with_roots(url.clone(), pace(), roots.clone()).follow(&trusting);
    comes("the set by TLS", || passes(&trusting, &ann)).await;

    // Another authority, and another name: asked three times more, never believed.
    let asked = issuer.asked();
    let stranger = Guard::tokens(Keyring::default());
    let _task = Jwks::with_roots(url, pace(), RootCertStore::empty()).follow(&stranger);
    let misnamed = Guard::tokens(Keyring::default());
    let by_address = format!("https://127.0.0.1:{port}/keys").parse().unwrap();
    let _task = Jwks::with_roots(by_address, pace(), roots).follow(&misnamed);
    let before = dialled.load(Ordering::SeqCst);
    comes("more tries", || dialled.load(Ordering::SeqCst) > before + 12).await;
    assert!(issuer.asked() > asked, "the trusting one goes on");
    assert!(!passes(&stranger, &ann) && !passes(&misnamed, &ann));
}

#[test]
fn only_plain_urls_are_taken() {
    for text in ["https://id.example/jwks.json", "http://[::1]:8080/", "https://id.example:8443/a"] {
        assert_eq!(text.parse::<JwksUrl>().unwrap().to_string(), text);
        assert_eq!(
            format!("{text}?key=secret").parse::<JwksUrl>().unwrap().to_string(),
            text,
            "as it is shown"
        );
    }
    for text in ["", "id.example", "ftp://id.example/", "https://", "https://user:pass@id.example/", "/keys"]
    {
        assert!(text.parse::<JwksUrl>().is_err(), "{text}");
    }
}
