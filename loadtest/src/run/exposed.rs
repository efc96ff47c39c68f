//! How a run is going, for Prometheus: a page at an address of this host while the run lasts.

mod page;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use super::Progress;

/// Connections at once: Prometheus needs one.
const CONNECTIONS: usize = 16;
/// A connection on which nobody asks for so long is closed.
const IDLE: Duration = Duration::from_secs(60);
/// Where the page is.
const PATH: &str = "/metrics";

/// The page of a run. Dropping it closes the address.
#[derive(Debug)]
pub struct Exposed {
    address: SocketAddr,
    page: Arc<Mutex<Bytes>>,
    /// A thread of its own, so that viewers do not hold up who asks, nor the other way round.
    runtime: Option<Runtime>,
}

impl Exposed {
    /// Listens at an address; port 0 is one that is free.
    pub fn listen(address: SocketAddr) -> io::Result<Self> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("metrics").enable_all().build()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let page = Arc::new(Mutex::new(Bytes::from(page::page(&Progress::default()))));
        runtime.spawn(serve(listener, Arc::clone(&page)));
        Ok(Self { address, page, runtime: Some(runtime) })
    }

    /// Where the page is.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// The page says this from now on.
    pub fn show(&self, progress: &Progress) {
        let page = Bytes::from(page::page(progress));
        *self.page.lock().unwrap_or_else(PoisonError::into_inner) = page;
    }
}

impl Drop for Exposed {
    fn drop(&mut self) {
        // Whoever is just being answered is left behind.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// An address as people write it: `9464`, on this machine alone, or `0.0.0.0:9464`.
pub fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let port = text.trim().parse().map(|port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    port.or_else(|_| text.trim().parse()).map_err(|_| {
        format!("{text:?} is neither a port, such as 9464, nor an address with one, such as 10.0.0.5:9464 or [::1]:9464")
    })
}

async fn serve(listener: tokio::net::TcpListener, page: Arc<Mutex<Bytes>>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of files, say: they come back when viewers leave.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            let answer = service_fn(move |request| {
                let page = page.lock().unwrap_or_else(PoisonError::into_inner).clone();
                std::future::ready(Ok::<_, Infallible>(answer(&request, page)))
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(IDLE)
                .serve_connection(TokioIo::new(stream), answer);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to the run's metrics broke");
            }
            drop(place);
        });
    }
}

fn answer<T>(request: &Request<T>, page: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(page));
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    response.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static(kind));
    let refusal = match (request.uri().path(), request.method()) {
        (PATH, &Method::GET | &Method::HEAD) => return response,
        (PATH, _) => {
            response.headers_mut().insert(ALLOW, http::HeaderValue::from_static("GET, HEAD"));
            StatusCode::METHOD_NOT_ALLOWED
        }
        _ => StatusCode::NOT_FOUND,
    };
    *response.status_mut() = refusal;
    *response.body_mut() = Full::new(Bytes::from_static(b"the run's metrics are at GET /metrics\n"));
    response
}

#[cfg(test)]
#[path = "exposed_tests.rs"]
mod tests;
