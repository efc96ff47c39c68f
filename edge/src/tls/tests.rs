//! On the wire: real sockets, real handshakes, real files.

use std::net::SocketAddr;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::metrics::Metrics;
use crate::serve::{Door, Limits, serve};

const NAME: &str = "live.example.org";
/// What a busy machine may take for what takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(20);

/// A pair in PEM, and its certificate in DER.
struct Made {
    cert: String,
    key: String,
    der: CertificateDer<'static>,
}

fn make() -> Made {
    make_ending(None)
}

/// The same, ending so many seconds from now.
fn make_ending(seconds: Option<i64>) -> Made {
    let mut params = rcgen::CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    if let Some(seconds) = seconds {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let end = now.as_secs().checked_add_signed(seconds).unwrap();
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end);
    }
    let signing_key = rcgen::KeyPair::generate().unwrap();
    let cert = params.self_signed(&signing_key).unwrap();
    let made = rcgen::CertifiedKey { cert, signing_key };
    let pem = |label: &str, der: &[u8]| {
        use base64::Engine as _;
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    Made {
        cert: pem("CERTIFICATE", made.cert.der()),
        key: pem("PRIVATE KEY", &made.signing_key.serialize_der()),
        der: made.cert.der().clone(),
    }
}

/// A folder with both files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn with(made: &Made) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        folder.write(&made.cert, &made.key);
        folder
    }

    fn files(&self) -> Files {
        Files { cert: self.0.path().join("tls.crt"), key: self.0.path().join("tls.key") }
    }

    fn write(&self, cert: &str, key: &str) {
        let files = self.files();
        let both = [(files.cert, cert, "new-crt"), (files.key, key, "new-key")];
        for (path, text, new) in &both {
            std::fs::write(path.with_extension(new), text).unwrap();
        }
        for (path, _, new) in &both {
            std::fs::rename(path.with_extension(new), path).unwrap();
        }
    }
}

struct Running {
    addr: SocketAddr,
    metrics: Metrics,
    _stop: oneshot::Sender<()>,
    _task: JoinHandle<usize>,
}

async fn start(files: Files, limits: Limits) -> Running {
    let beats = || async {
        let beats = futures::stream::unfold((), |()| async {
            sleep(Duration::from_millis(20)).await;
            Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b"x")), ()))
        });
        Body::from_stream(beats)
    };
    let router = Router::new().route("/", get(|| async { "hello" })).route("/stream", get(beats));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let metrics = Metrics::new();
    let counts = HttpMetrics::new(&metrics, "node").unwrap();
    let door = Door::new(
        listener,
        Some(Tls::looked_at(files, Duration::from_millis(20), Duration::from_millis(20)).unwrap()),
    );
    let (stop, stopped) = oneshot::channel();
    let shutdown = async move { drop(stopped.await) };
    let task = tokio::spawn(serve(door, router, limits, Some(counts), shutdown, Duration::ZERO));
    Running { addr, metrics, _stop: stop, _task: task }
}

impl Running {
    /// The first sample whose line begins so.
    fn count(&self, name: &str) -> Option<i64> {
        let families = self.metrics.registry().gather();
        let text = prometheus::TextEncoder::new().encode_to_string(&families).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.parse().ok()
    }

    async fn counts(&self, name: &str, wanted: i64) {
        let began = Instant::now();
        while self.count(name) != Some(wanted) {
            assert!(began.elapsed() < PATIENCE, "{name} is {:?}, not {wanted}", self.count(name));
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn connect(&self, trusted: &Made, alpn: &[&[u8]]) -> io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.der.clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        let stream = TcpStream::connect(self.addr).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from(NAME).unwrap(), stream).await
    }

    /// Whether a new client is shown this certificate: no other is trusted.
    async fn shows(&self, made: &Made) -> bool {
        self.connect(made, &[]).await.is_ok()
    }
}

fn ask(path: &str) -> http::Request<Empty<Bytes>> {
    http::Request::get(path).header("host", NAME).body(Empty::new()).unwrap()
}

async fn body(response: http::Response<hyper::body::Incoming>) -> Bytes {
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap().to_bytes()
}

fn refused(files: Files) -> String {
    Tls::load(files).unwrap_err().to_string()
}

#[test]
fn a_pair_that_does_not_fit_is_refused_with_its_files_and_a_way_out() {
    let (one, other) = (make(), make());
    let folder = Folder::with(&one);
    let tls = Tls::load(folder.files()).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(tls.expires().unwrap() > now);
    let print = tls.fingerprint();
    assert_eq!((print.len(), print.matches(':').count()), (95, 31), "{print}");

    folder.write(&one.cert, &other.key);
    let said = refused(folder.files());
    assert!(said.contains("tls.crt") && said.contains("tls.key") && said.contains("made for"), "{said}");
    folder.write("", &one.key);
    let said = refused(folder.files());
    assert!(said.contains("no certificate in") && said.contains("tls.crt"), "{said}");
    folder.write(&one.key, &one.key);
    assert!(refused(folder.files()).contains("no certificate in"), "a key is none");
    folder.write(&one.cert, &one.cert);
    let said = refused(folder.files());
    assert!(said.contains("no private key in") && said.contains("tls.key"), "{said}");
    folder.write("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &one.key);
    assert!(refused(folder.files()).contains("no certificate in"));
    let files = Files { key: folder.0.path().join("absent"), ..folder.files() };
    let said = refused(files);
    assert!(said.contains("cannot read") && said.contains("absent"), "{said}");
}

#[tokio::test]
async fn http_2_and_1_are_spoken_as_the_client_asks() {
    let made = make();
    let folder = Folder::with(&made);
    let server = start(folder.files(), Limits::default()).await;

    let stream = server.connect(&made, &[b"h2", b"http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut send, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let request = http::Request::get(format!("https://{NAME}/")).body(Empty::<Bytes>::new()).unwrap();
    let response = send.send_request(request).await.unwrap();
    assert_eq!((response.version(), body(response).await), (http::Version::HTTP_2, Bytes::from("hello")));
    driver.abort();

    for alpn in [&[&b"http/1.1"[..]][..], &[]] {
        let stream = server.connect(&made, alpn).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), alpn.first().copied());
        let (mut send, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let driver = tokio::spawn(connection);
        assert_eq!(body(send.send_request(ask("/")).await.unwrap()).await, "hello");
        driver.abort();
    }
    assert!(server.connect(&made, &[b"spdy/3"]).await.is_err(), "nothing in common");
}

#[tokio::test]
async fn a_new_pair_is_shown_to_new_clients_and_cuts_nobody_and_a_bad_one_is_not() {
    let (first, second, third) = (make(), make(), make());
    let folder = Folder::with(&first);
    let server = start(folder.files(), Limits::default()).await;
    assert!(server.shows(&first).await && !server.shows(&second).await);
    let expires = server.count("freshet_node_http_tls_expires_timestamp_seconds").unwrap();
    assert_eq!(not_after(&first.der), u64::try_from(expires).ok());

    // One that is between requests, one in the middle of an answer.
    let stream = server.connect(&first, &[]).await.unwrap();
    let (mut idle, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let idle_driver = tokio::spawn(connection);
    assert_eq!(body(idle.send_request(ask("/")).await.unwrap()).await, "hello");
    let stream = server.connect(&first, &[]).await.unwrap();
    let (mut busy, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let busy_driver = tokio::spawn(connection);
    let mut beats = busy.send_request(ask("/stream")).await.unwrap();
    assert!(beats.frame().await.unwrap().is_ok());

    folder.write(&second.cert, &second.key);
    server.counts("freshet_node_http_tls_reloads_total{outcome=\"taken\"}", 1).await;
    assert!(server.shows(&second).await && !server.shows(&first).await);
    for _ in 0..5 {
        assert!(beats.frame().await.unwrap().is_ok(), "the answer goes on");
    }
    assert_eq!(body(idle.send_request(ask("/")).await.unwrap()).await, "hello", "the connection stands");

    // A certificate without its key: said once, and nothing changes.
    folder.write(&third.cert, &second.key);
    server.counts("freshet_node_http_tls_reloads_total{outcome=\"refused\"}", 1).await;
    assert!(server.shows(&second).await);
    std::fs::remove_file(folder.files().cert).unwrap();
    server.counts("freshet_node_http_tls_reloads_total{outcome=\"refused\"}", 2).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(
        server.count("freshet_node_http_tls_reloads_total{outcome=\"refused\"}"),
        Some(2),
        "once for each"
    );
    assert!(server.shows(&second).await);

    folder.write(&third.cert, &third.key);
    server.counts("freshet_node_http_tls_reloads_total{outcome=\"taken\"}", 2).await;
    assert!(server.shows(&third).await);
    assert!(beats.frame().await.unwrap().is_ok(), "still");
    idle_driver.abort();
    busy_driver.abort();
}

#[tokio::test]
async fn a_handshake_that_stalls_is_closed() {
    let made = make();
    let folder = Folder::with(&made);
    let limits = Limits { handshake_time: Duration::from_millis(200), ..Limits::default() };
    let server = start(folder.files(), limits).await;
    // Silence, and a ClientHello that never gets further than its first bytes.
    for beginning in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        let mut rest = Vec::new();
        // An end, or a reset since what came was not read.
        let _ended = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("it is closed");
        assert!(rest.is_empty(), "{rest:?}");
    }
    server.counts("freshet_node_http_tls_handshakes_failed_total{reason=\"slow\"}", 2).await;
    server.counts("freshet_node_http_connections", 0).await;
    assert!(server.shows(&made).await);
}

#[tokio::test]
async fn connections_are_bounded_before_their_handshake() {
    let made = make();
    let folder = Folder::with(&made);
    let limits = Limits { connections: 1, handshake_time: PATIENCE, ..Limits::default() };
    let server = start(folder.files(), limits).await;
    let silent = TcpStream::connect(server.addr).await.unwrap();
    server.counts("freshet_node_http_connections", 1).await;
    let mut second = TcpStream::connect(server.addr).await.unwrap();
    let mut answer = Vec::new();
    let _closed = timeout(PATIENCE, second.read_to_end(&mut answer)).await.expect("closed at once");
    assert!(answer.is_empty(), "{answer:?}");
    server.counts("freshet_node_http_connections_refused_total", 1).await;
    drop(silent);
    server.counts("freshet_node_http_connections", 0).await;
    assert!(server.shows(&made).await);
}

#[tokio::test]
async fn http_without_tls_is_told_what_to_do_and_noise_is_closed() {
    let made = make();
    let folder = Folder::with(&made);
    let server = start(folder.files(), Limits::default()).await;
    let say = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        let _ended = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed");
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = say(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("https://"), "{answer}");
    let (head, problem) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("application/problem+json"), "{head}");
    let problem: serde_json::Value = serde_json::from_str(problem).unwrap();
    assert_eq!(problem["reason"], "tls-needed");
    server.counts("freshet_node_http_tls_handshakes_failed_total{reason=\"plain\"}", 1).await;
    assert_eq!(say(b"\x00\x01\x02\x03").await, "");
    say(b"\x16\x03\x01\x00\x05nonsense").await;
    server.counts("freshet_node_http_tls_handshakes_failed_total{reason=\"broken\"}", 2).await;
    assert!(server.shows(&made).await);
}

/// Lines of a log, kept.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_certificate_that_ends_within_a_week_is_told_again_and_again_until_it_is_renewed() {
    // While there is one subscriber alone, a line that another test's thread meets first is taken for nobody's.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let lines = Lines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _here = tracing::subscriber::set_default(log);
    let said = |what: &str| {
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(what)).count()
    };
    let until = async |what: &str, times: usize| {
        let began = Instant::now();
        while said(what) < times {
            assert!(began.elapsed() < PATIENCE, "{what:?} was said {} times", said(what));
            sleep(Duration::from_millis(10)).await;
        }
    };
    let day = 24 * 3_600;
    let folder = Folder::with(&make_ending(Some(3 * day + 60)));
    let server = start(folder.files(), Limits::default()).await;
    until("days=3", 3).await;
    let over = make_ending(Some(-day));
    folder.write(&over.cert, &over.key);
    until("has expired", 3).await;
    let renewed = make_ending(Some(60 * day));
    folder.write(&renewed.cert, &renewed.key);
    server.counts("freshet_node_http_tls_reloads_total{outcome=\"taken\"}", 2).await;
    let before = (said("has expired"), said("within a week"));
    sleep(Duration::from_millis(200)).await;
    assert_eq!((said("has expired"), said("within a week")), before, "nothing more is to be said");
}
