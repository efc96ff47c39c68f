//! The server loop: HTTP/1.1 and HTTP/2, in clear or by TLS, every wait bounded.
//!
//! A connection must bring a request head within a time, may stay idle for a time, and is cut when the kernel could not
//! hand over our bytes for a time. The number of connections is bounded, in all and from one address: one too many gets a
//! short 503 and is closed, so that a client looks elsewhere instead of waiting in a queue that nobody sees. With TLS a connection has its place
//! before its handshake, which has a time of its own; one too many is closed at once, since to tell it why would cost a
//! handshake. Responses may live as long as they like: event streams do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::metrics::HttpMetrics;
use crate::places::{Place, Places, TooMany};
use crate::problem::Problem;
use crate::tls::Tls;

mod activity;
mod door;
mod rest;
mod word;
use activity::Activity;
pub use door::Door;
use word::tell;

/// The bounds of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A TLS handshake must be complete so long after the connection was made.
    pub handshake_time: Duration,
    /// The first request's head must be complete so long after the connection was made. Later ones have as long as the
    /// connection may be idle.
    pub head_time: Duration,
    /// Largest request head, in bytes.
    pub head_bytes: usize,
    /// Most header lines in a head.
    pub headers: usize,
    /// A connection on which nothing is asked is closed after this: later than proxies leave theirs, of which 60 s are usual,
    /// so that none sends a request into a connection that is being closed.
    pub idle: Duration,
    /// A connection whose client takes none of our bytes is closed after this.
    pub stalled: Duration,
    /// Most connections at a time; of one address (of IPv6 its /64), unless a trusted proxy's, three times as many as are
    /// free.
    pub connections: usize,
    /// Most requests at a time on one HTTP/2 connection.
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handshake_time: Duration::from_secs(10),
            head_time: Duration::from_secs(10),
            head_bytes: 16 * 1024,
            headers: 64,
            idle: Duration::from_secs(75),
            stalled: Duration::from_secs(30),
            connections: 10_000,
            streams: 128,
        }
    }
}

/// Serves until `shutdown` ends; then takes no more connections, lets requests end for `grace`, and cuts the rest.
///
/// Returns how many connections were cut.
pub async fn serve(
    door: impl Into<Door>,
    router: Router,
    limits: Limits,
    metrics: Option<HttpMetrics>,
    shutdown: impl Future<Output = ()>,
    grace: Duration,
) -> usize {
    let (stop, stopping) = watch::channel(false);
    let Door { listener, tls, proxies } = door.into();
    let server = Arc::new(Server { router, limits, metrics, stopping, tls });
    let places = Places::new(limits.connections, 0);
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    let mut tasks = JoinSet::new();
    let renewal = door::renewal(server.tls.as_ref(), server.metrics.as_ref());
    tokio::pin!(shutdown, renewal);
    loop {
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(_ended) = tasks.join_next() => {}
            () = &mut renewal => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => match places.take(door::holder(from.ip(), &proxies).as_ref()) {
                    Ok(place) => drop(tasks.spawn(Arc::clone(&server).connection(stream, from, place))),
                    Err(full) => {
                        if let Some(metrics) = &server.metrics {
                            metrics.refused.inc();
                        }
                        if server.tls.is_none()
                            && let Ok(place) = Arc::clone(&refusals).try_acquire_owned()
                        {
                            tasks.spawn(refuse(stream, full, place));
                        }
                    }
                },
                Err(error) => accept_failed(&error).await,
            }
        }
    }
    drop(listener);
    stop.send_replace(true);
    let ended = timeout(grace, async { while tasks.join_next().await.is_some() {} }).await;
    let cut = if ended.is_ok() { 0 } else { tasks.len() };
    tasks.shutdown().await;
    cut
}

struct Server {
    router: Router,
    limits: Limits,
    metrics: Option<HttpMetrics>,
    stopping: watch::Receiver<bool>,
    tls: Option<Tls>,
}

impl Server {
    async fn connection(self: Arc<Self>, stream: TcpStream, from: SocketAddr, place: Place) {
        // Both are given back on drop, also when a handler panics.
        let _counted = self.metrics.as_ref().map(|m| Counted::new(&m.connections));
        let _place = place;
        set_options(&stream, self.limits.stalled);
        let Some(tls) = &self.tls else { return self.talk(stream, from).await };
        let mut stopping = self.stopping.clone();
        let secured = tokio::select! {
            secured = door::secure(stream, tls, self.limits.handshake_time) => secured,
            _ = stopping.wait_for(|stop| *stop) => return,
        };
        match secured {
            Ok(stream) => self.talk(stream, from).await,
            Err(failed) => {
                debug!(%from, %failed, "no TLS with a client");
                if let Some(metrics) = &self.metrics {
                    metrics.tls_failed(failed.word());
                }
            }
        }
    }

    async fn talk(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, from: SocketAddr) {
        let (activity, limits) = (Activity::new(Instant::now()), self.limits);
        let service = service_fn(|mut request: http::Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(from));
            let guard = activity.begin();
            let (parts, body) = request.into_parts();
            let (body, rest) = rest::lend(body, parts.version, &parts.headers);
            // By HTTP/1.1 it is refused before it comes here.
            let bad = if parts.headers.len() > limits.headers {
                Some(too_many_lines(limits.headers))
            } else {
                host_amiss(&parts)
            };
            let request = http::Request::from_parts(parts, axum::body::Body::new(body));
            let answer = self.router.clone().oneshot(request);
            async move {
                let answer = match bad {
                    Some(problem) => Ok(problem.into_response()),
                    None => answer.await,
                };
                rest::clear(rest).await;
                answer.map(|response| guard.keep_with(explain(response)))
            }
        });
        let builder = self.builder();
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        tokio::pin!(connection);
        let mut stopping = self.stopping.clone();
        let mut told = false;
        loop {
            let deadline = || activity.deadline(limits.head_time, limits.idle, limits.stalled);
            // Who stalls meanwhile is seen a little later.
            let look = deadline().min(Instant::now() + limits.stalled / 4);
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        debug!(%from, %error, "connection ended");
                    }
                    return;
                }
                _ = stopping.wait_for(|stop| *stop), if !told => {
                    told = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = sleep_until(look) => {
                    if deadline() <= Instant::now() {
                        if let Some(metrics) = &self.metrics {
                            metrics.timeouts.inc();
                        }
                        return;
                    }
                }
            }
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let limits = &self.limits;
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            // From when the connection waits for a request: the first one's head has a time of its own.
            .header_read_timeout(limits.idle)
            .max_headers(limits.headers)
            .max_buf_size(limits.head_bytes.max(8192));
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(Some(20))
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .keep_alive_timeout(Duration::from_secs(10));
        builder
    }
}

fn too_many_lines(limit: usize) -> Problem {
    let detail = format!("the request has more than {limit} header lines");
    Problem::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, detail)
        .reason("too-many-headers")
        .member("limit", limit)
}

/// HTTP/1.1 names its host once (RFC 9112 section 3.2): two could mean another to a proxy than to us.
fn host_amiss(parts: &http::request::Parts) -> Option<Problem> {
    let hosts = parts.headers.get_all(header::HOST).iter().count();
    let amiss = hosts > 1 || (hosts == 0 && parts.version == http::Version::HTTP_11);
    amiss.then(|| {
        let detail = format!("the request has {hosts} Host headers: HTTP/1.1 needs one (RFC 9112, 3.2)");
        Problem::new(StatusCode::BAD_REQUEST, detail)
    })
}

/// Both make a connection better; neither is needed for a right answer.
fn set_options(stream: &TcpStream, stalled: Duration) {
    let socket = socket2::SockRef::from(stream);
    let set = socket.set_tcp_nodelay(true).and_then(|()| give_up_after(&socket, stalled));
    if let Err(error) = set {
        debug!(%error, "socket options were not taken");
    }
}

/// The kernel ends a connection whose peer acknowledges nothing (RFC 5482), or takes nothing, for this long.
#[cfg(target_os = "linux")]
fn give_up_after(socket: &socket2::Socket, stalled: Duration) -> io::Result<()> {
    socket.set_tcp_user_timeout(Some(stalled))
}

#[cfg(not(target_os = "linux"))]
use never_give_up as give_up_after;

/// Other kernels have a time of their own. Built for Linux's tests as well, so that it stays whole.
#[cfg(any(test, not(target_os = "linux")))]
fn never_give_up(_: &socket2::Socket, _: Duration) -> io::Result<()> {
    Ok(())
}

/// Most clients that are told at a time that there are too many; beyond it they are cut without a word.
const REFUSALS_MAX: usize = 64;

/// Tells one client too many. Reading what it asks comes first: closing on unread bytes would take the answer back.
async fn refuse(stream: TcpStream, full: TooMany, _place: OwnedSemaphorePermit) {
    let detail = match full {
        TooMany::Here => "this server holds as many connections as it may: ask again after Retry-After",
        TooMany::OfOne(_) => {
            "this server holds as many connections from your address as it may: close some; a proxy is let through by --trusted-proxy"
        }
    };
    let problem = format!(
        r#"{{"type":"/problems/too-many-connections","title":"Service Unavailable","status":503,"reason":"too-many-connections","detail":"{detail}"}}"#,
    );
    tell(stream, "503 Service Unavailable\r\nRetry-After: 5", &problem).await;
}

/// One more in a gauge, for as long as it lives.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Out of descriptors or memory: waiting is all that helps.
async fn accept_failed(error: &io::Error) {
    warn!(%error, "a connection could not be accepted: waiting");
    sleep(Duration::from_millis(100)).await;
}

/// Gives the router's own 404 and 405, which have no body, a problem detail. The router adds `Allow` outside of all
/// layers, so this is none.
fn explain(mut response: Response) -> Response {
    if response.status() == StatusCode::NO_CONTENT {
        // Answers to HEAD were given one (RFC 9110 section 8.6 forbids it).
        response.headers_mut().remove(header::CONTENT_LENGTH);
    }
    if response.headers().contains_key(header::CONTENT_TYPE) {
        return response;
    }
    let problem = match response.status() {
        StatusCode::NOT_FOUND => Problem::not_found("there is nothing at this path: see docs/api.md"),
        StatusCode::METHOD_NOT_ALLOWED => {
            let allow = response.headers().get(header::ALLOW).and_then(|a| a.to_str().ok());
            let allow = allow.filter(|a| !a.is_empty()).unwrap_or("another method");
            let detail = format!("this resource takes {}: use one of these", allow.replace(',', ", "));
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        }
        _ => return response,
    };
    let (parts, body) = problem.into_response().into_parts();
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response.headers_mut().extend(parts.headers);
    *response.body_mut() = body;
    response
}

#[cfg(test)]
mod tests;
