//! On the wire: real sockets, raw bytes.

use std::convert::Infallible;

use axum::body::Body;
use axum::middleware;
use axum::routing::{get, post};
use bytes::Bytes;
use futures::StreamExt as _;
use http::HeaderMap;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::hops::Trusted;
use crate::problem::PROBLEM_JSON;

struct Running {
    addr: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<usize>,
}

async fn start(limits: Limits, grace: Duration) -> Running {
    counted(limits, grace, None).await
}

async fn counted(limits: Limits, grace: Duration, counts: Option<HttpMetrics>) -> Running {
    proxied(limits, grace, counts, Trusted::NONE).await
}

async fn proxied(limits: Limits, grace: Duration, counts: Option<HttpMetrics>, proxies: Trusted) -> Running {
    let router = Router::new()
        .route("/", get(|| async { "hello" }))
        .route("/panic", get(|| async { panic!("as asked") as &'static str }))
        .route("/huge", get(|| async { vec![b'x'; 64 << 20] }))
        .route(
            "/post",
            post(|headers: HeaderMap, body: Body| async move {
                crate::body::read(&headers, body, 1000, Duration::from_millis(200))
                    .await
                    .map(|b| b.len().to_string())
            }),
        )
        .route(
            "/stream",
            get(|| async {
                let beats = futures::stream::unfold((), |()| async {
                    sleep(Duration::from_millis(20)).await;
                    Some((Ok::<_, Infallible>(Bytes::from_static(b"x")), ()))
                });
                Body::from_stream(beats)
            }),
        )
        .layer(middleware::from_fn(crate::cors::layer));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let door = Door::from(listener).behind(proxies);
    let task = tokio::spawn(serve(door, router, limits, counts, shutdown, grace));
    Running { addr, stop, task }
}

fn short() -> Limits {
    Limits { head_time: Duration::from_millis(150), idle: Duration::from_millis(300), ..Limits::default() }
}

impl Running {
    async fn open(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Sends bytes, reads until the server closes in peace: a reset may cost a client the answer.
    async fn clean(&self, bytes: &[u8]) -> String {
        let mut stream = self.open(bytes).await;
        let mut text = String::new();
        timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await.unwrap().expect("no reset");
        text
    }

    /// Sends bytes, reads until the server closes (at most 5 s).
    async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.open(bytes).await;
        let mut text = Vec::new();
        timeout(Duration::from_secs(5), stream.read_to_end(&mut text)).await.expect("closed in time").ok();
        String::from_utf8_lossy(&text).into_owned()
    }
}

const CLOSE: &str = "Host: x\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn every_answer_that_is_ours_is_a_problem() {
    let server = start(Limits::default(), Duration::ZERO).await;
    let missing = server.raw(format!("GET /nowhere HTTP/1.1\r\n{CLOSE}").as_bytes()).await;
    assert!(missing.starts_with("HTTP/1.1 404") && missing.contains(PROBLEM_JSON), "{missing}");
    let wrong = server.raw(format!("PUT /post HTTP/1.1\r\n{CLOSE}").as_bytes()).await;
    assert!(wrong.starts_with("HTTP/1.1 405") && wrong.contains("allow: POST\r\n"), "{wrong}");
    assert!(wrong.contains("this resource takes POST") && wrong.contains(PROBLEM_JSON), "{wrong}");
    assert!(wrong.contains("access-control-allow-origin: *"), "{wrong}");
}

#[tokio::test]
async fn a_preflight_needs_no_handler() {
    let server = start(Limits::default(), Duration::ZERO).await;
    let ask =
        "OPTIONS /post HTTP/1.1\r\nOrigin: https://a.example\r\nAccess-Control-Request-Method: POST\r\n";
    let answer = server.raw(format!("{ask}{CLOSE}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("access-control-allow-headers: Authorization"), "{answer}");
    let nowhere = server.raw(format!("{ask}{CLOSE}").replace("/post", "/nowhere").as_bytes()).await;
    assert!(nowhere.starts_with("HTTP/1.1 200"), "{nowhere}");
    assert!(nowhere.contains("access-control-allow-origin: *"), "{nowhere}");
    let plain = server.raw(format!("OPTIONS /post HTTP/1.1\r\n{CLOSE}").as_bytes()).await;
    assert!(plain.starts_with("HTTP/1.1 405"), "{plain}");
    let plain = server.raw(format!("OPTIONS /nowhere HTTP/1.1\r\n{CLOSE}").as_bytes()).await;
    assert!(plain.starts_with("HTTP/1.1 404"), "{plain}");
}

#[tokio::test]
async fn both_versions_of_http_are_spoken() {
    let server = start(Limits::default(), Duration::ZERO).await;
    for http2 in [false, true] {
        let client = Client::builder(TokioExecutor::new()).http2_only(http2).build_http::<Full<Bytes>>();
        let answer = client.get(format!("http://{}/", server.addr).parse().unwrap()).await.unwrap();
        assert_eq!(answer.version() == http::Version::HTTP_2, http2);
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
}

#[tokio::test]
async fn who_does_not_ask_is_not_waited_for() {
    let server = start(short(), Duration::ZERO).await;
    for begun in [
        "",
        "P",
        "PRI * HTTP/2.0",
        "GET / HTTP/1.1\r\nHost: x\r\nX-Slow:",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let began = Instant::now();
        server.raw(begun.as_bytes()).await;
        assert!(began.elapsed() < Duration::from_secs(2), "{begun:?} was waited for {:?}", began.elapsed());
    }
    let kept = server.raw(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(kept.starts_with("HTTP/1.1 200"), "answered, then closed when idle: {kept}");
}

#[tokio::test]
async fn a_connection_is_kept_between_requests_as_long_as_it_may_be_idle() {
    let limits = Limits {
        head_time: Duration::from_millis(200),
        idle: Duration::from_millis(1_500),
        ..Limits::default()
    };
    let server = start(limits, Duration::ZERO).await;
    let mut stream = server.open(b"").await;
    for pause in [0, 700] {
        sleep(Duration::from_millis(pause)).await;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("hello") {
            let mut part = [0; 512];
            let len = timeout(Duration::from_secs(5), stream.read(&mut part)).await.unwrap().unwrap();
            assert_ne!(len, 0, "closed before it was idle for long: {answer}");
            answer.push_str(&String::from_utf8_lossy(&part[..len]));
        }
    }
    // A later head that does not come whole is not waited for longer than that.
    stream.write_all(b"GET / HTTP/1.1\r\nX-Slow:").await.unwrap();
    let began = Instant::now();
    let mut rest = Vec::new();
    timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await.expect("closed in time").ok();
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let server = start(Limits::default(), Duration::ZERO).await;
    let head = format!("GET / HTTP/1.1\r\nX: {}\r\n{CLOSE}", "x".repeat(17 * 1024));
    assert!(server.raw(head.as_bytes()).await.starts_with("HTTP/1.1 431"));
    let lines = "X: y\r\n".repeat(65);
    assert!(
        server.raw(format!("GET / HTTP/1.1\r\n{lines}{CLOSE}").as_bytes()).await.starts_with("HTTP/1.1 431")
    );
    let post = |length: usize, body: &str| {
        format!("POST /post HTTP/1.1\r\nContent-Length: {length}\r\n{CLOSE}{body}")
    };
    let fits = server.raw(post(1000, &"x".repeat(1000)).as_bytes()).await;
    assert!(fits.starts_with("HTTP/1.1 200") && fits.ends_with("1000"), "{fits}");
    let large = server.clean(post(400_000, &"x".repeat(400_000)).as_bytes()).await;
    assert!(large.starts_with("HTTP/1.1 413") && large.contains("\"limit\":1000"), "{large}");
    let slow = server.raw(post(10, "x").as_bytes()).await;
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
}

/// A connection of HTTP/2, and what drives it.
async fn second_version(
    addr: SocketAddr,
) -> hyper::client::conn::http2::SendRequest<UnsyncBoxBody<Bytes, Infallible>> {
    let stream = TcpStream::connect(addr).await.unwrap();
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (client, connection) = builder.handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    client
}

#[tokio::test]
async fn heads_and_bodies_are_bounded_by_http2_too() {
    let server = start(Limits::default(), Duration::ZERO).await;
    let mut client = second_version(server.addr).await;
    let ask = |method: &str, path: &str| {
        http::Request::builder().method(method).uri(format!("http://{}{path}", server.addr))
    };
    let nothing = || Full::default().boxed_unsync();
    let lines = |n: usize| (0..n).fold(ask("GET", "/"), |ask, n| ask.header(format!("x-{n}"), "y"));
    for (n, status) in [(64, 200), (65, 431)] {
        let answer = client.send_request(lines(n).body(nothing()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "{n} header lines");
    }
    // Lists of the same name count line by line.
    let same = (0..65).fold(ask("GET", "/"), |ask, _| ask.header("x", "y"));
    assert_eq!(client.send_request(same.body(nothing()).unwrap()).await.unwrap().status(), 431);
    let long = ask("GET", "/").header("x", "y".repeat(17 * 1024)).body(nothing()).unwrap();
    match client.send_request(long).await {
        Ok(answer) => assert_eq!(answer.status(), 431),
        Err(error) => panic!("the connection must outlive it: {error}"),
    }
    for (length, status) in [(1_000, 200), (400_000, 413)] {
        let body = Full::new(Bytes::from(vec![b'x'; length])).boxed_unsync();
        let answer = client.send_request(ask("POST", "/post").body(body).unwrap()).await.unwrap();
        assert_eq!(answer.status(), status, "a body of {length} bytes");
    }
    // A body that does not end.
    let slow = futures::stream::once(async { Ok(hyper::body::Frame::data(Bytes::from_static(b"x"))) });
    let slow = http_body_util::StreamBody::new(slow.chain(futures::stream::pending())).boxed_unsync();
    let began = Instant::now();
    let answer = client.send_request(ask("POST", "/post").body(slow).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 408);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    let answer = client.send_request(ask("GET", "/").body(nothing()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200, "the connection is whole");
}

/// A head whose last part does not come: HEADERS without END_HEADERS (RFC 9113 section 6.2).
#[tokio::test]
async fn a_head_of_http2_that_does_not_end_is_not_waited_for() {
    let server = start(short(), Duration::ZERO).await;
    let begun = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(),
        &[0, 0, 0, 4, 0, 0, 0, 0, 0],
        &[0, 0, 1, 1, 0, 0, 0, 0, 1, 0x82],
    ];
    let began = Instant::now();
    server.raw(&begun.concat()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "it was waited for {:?}", began.elapsed());
}

#[tokio::test]
async fn one_connection_too_many_is_told_and_closed() {
    let server = start(Limits { connections: 2, ..Limits::default() }, Duration::ZERO).await;
    let mut held = vec![server.open(b"").await, server.open(b"").await];
    sleep(Duration::from_millis(50)).await;
    let third = server.clean(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes()).await;
    assert!(third.starts_with("HTTP/1.1 503") && third.contains("Retry-After: 5"), "{third}");
    let (head, body) = third.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/problem+json") && head.contains("Cache-Control: no-store"), "{third}");
    assert!(head.contains("Access-Control-Expose-Headers: Location"), "a page may read Retry-After: {third}");
    assert!(head.contains(&format!("Content-Length: {}", body.len())), "{third}");
    let problem: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&problem["status"], &problem["reason"]), (&503.into(), &"too-many-connections".into()));
    held.pop();
    sleep(Duration::from_millis(50)).await;
    assert!(server.raw(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_request_names_one_host() {
    let server = start(short(), Duration::ZERO).await;
    for (head, status) in [
        ("GET / HTTP/1.1\r\nConnection: close", "400"),
        ("GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\nConnection: close", "400"),
        ("GET / HTTP/1.0", "200"),
        ("GET / HTTP/1.1\r\nHost:\r\nConnection: close", "200"),
    ] {
        let answer = server.raw(format!("{head}\r\n\r\n").as_bytes()).await;
        assert_eq!(answer.get(9..12), Some(status), "{head}: {answer}");
        assert!(status == "200" || answer.contains("application/problem+json"), "{answer}");
    }
}

#[tokio::test]
async fn one_address_does_not_hold_all_connections_unless_it_is_a_proxys() {
    let limits = Limits { connections: 8, ..Limits::default() };
    for (proxies, most) in [(Trusted::NONE, 6), (Trusted::new(vec!["127.0.0.1".parse().unwrap()]), 8)] {
        let server = proxied(limits, Duration::ZERO, None, proxies).await;
        let mut held = Vec::new();
        for _ in 0..most {
            let mut stream = server.open(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
            let mut word = [0; 12];
            stream.read_exact(&mut word).await.unwrap();
            assert_eq!(&word, b"HTTP/1.1 200", "the {}th", held.len() + 1);
            held.push(stream);
        }
        let more = server.clean(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes()).await;
        assert!(more.starts_with("HTTP/1.1 503"), "{more}");
        assert_eq!(more.contains("from your address"), most < limits.connections, "{more}");
        let (head, body) = more.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}", body.len())), "{more}");
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(body).unwrap()["reason"],
            "too-many-connections"
        );
        let other = TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut other = other.connect(server.addr).await.unwrap();
        other.write_all(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(5), other.read_to_string(&mut answer)).await.unwrap().unwrap();
        let expected = if most < limits.connections { "HTTP/1.1 200" } else { "HTTP/1.1 503" };
        assert!(answer.starts_with(expected), "another address finds a place while there are any: {answer}");
    }
}

#[tokio::test]
async fn a_stream_lives_beyond_every_time_out_and_is_cut_at_the_end() {
    let server = start(short(), Duration::from_millis(200)).await;
    let mut stream = server.open(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await;
    let began = Instant::now();
    let mut buffer = [0u8; 512];
    while began.elapsed() < Duration::from_millis(900) {
        assert_ne!(stream.read(&mut buffer).await.unwrap(), 0, "closed after {:?}", began.elapsed());
    }
    server.stop.send(()).unwrap();
    assert_eq!(server.task.await.unwrap(), 1, "one connection was cut");
}

#[tokio::test]
async fn a_request_in_flight_ends_before_the_server_does() {
    let server = start(Limits::default(), Duration::from_secs(5)).await;
    let mut stream = server.open(b"POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nx").await;
    let idle = server.open(b"").await;
    sleep(Duration::from_millis(50)).await;
    server.stop.send(()).unwrap();
    sleep(Duration::from_millis(20)).await;
    stream.write_all(b"y").await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    drop(idle);
    assert_eq!(timeout(Duration::from_secs(1), server.task).await.unwrap().unwrap(), 0);
}

#[tokio::test]
async fn strange_requests_are_answered_or_cut_and_nothing_breaks() {
    let server = start(short(), Duration::ZERO).await;
    let long = format!("GET /{} HTTP/1.1\r\n{CLOSE}", "x".repeat(12_000));
    for strange in [
        "\r\n\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\nBad Header: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "CONNECT other:80 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET http://other/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "GET //////..//%2e%2e/%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\nConnection: close\r\n\r\n",
        "POST /post HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\nConnection: close\r\n\r\nx",
        "POST /post HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nfffffffffffffffff\r\n",
        "POST /post HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\u{0}\u{1}\u{fc}\u{3}\u{3}",
        &long,
    ] {
        let answer = server.raw(strange.as_bytes()).await;
        let status = answer.get(9..12).unwrap_or_default();
        assert!(
            answer.is_empty() || ('2'..='4').contains(&status.chars().next().unwrap()),
            "{strange:?}: {answer}"
        );
    }
    assert!(server.raw(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes()).await.starts_with("HTTP/1.1 200"));
}

fn counts() -> HttpMetrics {
    HttpMetrics::new(&crate::metrics::Metrics::new(), "node").unwrap()
}

#[tokio::test]
async fn a_panic_costs_one_connection() {
    let counts = counts();
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = counted(limits, Duration::ZERO, Some(counts.clone())).await;
    assert_eq!(server.raw(format!("GET /panic HTTP/1.1\r\n{CLOSE}").as_bytes()).await, "");
    sleep(Duration::from_millis(50)).await;
    assert_eq!(counts.connections.get(), 0);
    assert!(server.raw(format!("GET / HTTP/1.1\r\n{CLOSE}").as_bytes()).await.starts_with("HTTP/1.1 200"));
}

#[cfg(target_os = "linux")]
#[test]
fn other_kernels_keep_the_time_that_they_have() {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let stalled = Duration::from_millis(500);
    never_give_up(&socket, stalled).unwrap();
    assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    give_up_after(&socket, stalled).unwrap();
    assert_eq!(socket.tcp_user_timeout().unwrap(), Some(stalled));
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn who_takes_no_bytes_is_cut() {
    let counts = counts();
    let limits = Limits { stalled: Duration::from_millis(500), ..Limits::default() };
    let server = counted(limits, Duration::ZERO, Some(counts.clone())).await;
    let held = server.open(b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n").await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(counts.connections.get(), 1);
    let began = Instant::now();
    while counts.connections.get() > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "still held");
        sleep(Duration::from_millis(50)).await;
    }
    drop(held);
}

/// Its kernel acknowledges everything, and it answers pings.
#[tokio::test]
async fn who_closes_its_http2_window_is_cut_and_who_reads_is_not() {
    let limits = Limits { stalled: Duration::from_millis(500), ..Limits::default() };
    let server = start(limits, Duration::ZERO).await;
    let mut open = Vec::new();
    for window in [10, 65_535] {
        let stream = TcpStream::connect(server.addr).await.unwrap();
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(window);
        let (mut client, connection) =
            builder.handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(connection);
        let ask = http::Request::get(format!("http://{}/stream", server.addr)).body(Full::default()).unwrap();
        let body = client.send_request(ask).await.unwrap().into_body();
        open.push((client, body, connection));
    }
    let (_client, mut read, others) = open.pop().unwrap();
    let reading = async {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(3) {
            read.frame().await.unwrap().unwrap();
        }
    };
    let (_other, _held, connection) = open.pop().unwrap();
    let (cut, ()) = tokio::join!(timeout(Duration::from_secs(3), connection), reading);
    assert!(cut.is_ok(), "it is still held");
    assert!(!others.is_finished(), "who reads is not cut");
}

#[tokio::test]
async fn an_answer_that_comes_before_a_small_body_was_read_leaves_the_connection_whole() {
    let server = start(Limits::default(), Duration::ZERO).await;
    let head = |expect: &str, length: usize| {
        format!("POST / HTTP/1.1\r\nHost: x\r\n{expect}Content-Length: {length}\r\n\r\n")
    };
    let next = format!("GET / HTTP/1.1\r\n{CLOSE}");
    // The body comes in two parts, and the next request behind it.
    let mut stream = server.open(head("", 60_000).as_bytes()).await;
    stream.write_all(&[b'x'; 30_000]).await.unwrap();
    sleep(Duration::from_millis(100)).await;
    stream.write_all(&[b'x'; 30_000]).await.unwrap();
    stream.write_all(next.as_bytes()).await.unwrap();
    let mut text = String::new();
    timeout(Duration::from_secs(5), stream.read_to_string(&mut text)).await.unwrap().expect("no reset");
    assert!(
        text.starts_with("HTTP/1.1 405") && text.contains("HTTP/1.1 200") && text.ends_with("hello"),
        "{text}"
    );
    // Who waits to be asked for its body is not asked.
    let waiting = server.raw(head("Expect: 100-continue\r\n", 60_000).as_bytes()).await;
    assert!(waiting.starts_with("HTTP/1.1 405"), "{waiting}");
    // Who brings no end of it, or says that it will bring much, is answered all the same.
    for length in [60_000, 10_000_000] {
        let late = server.raw(head("", length).as_bytes()).await;
        assert!(late.starts_with("HTTP/1.1 405"), "{late}");
    }
}
