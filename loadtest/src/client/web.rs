//! HTTP as pages and players use it: connections stay open, redirects are followed, bodies are read as they come.

use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, HeaderValue, LOCATION};
use ::http::{HeaderMap, Method, Request};
use bytes::{Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use super::http::{Connector, chain, connector, no_answer};
use super::target::{resolve_reference, same_origin};
use super::{ClientError, Gate, HttpResponse, Trust};

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 5;

/// A client with connections of its own, which stay open between requests.
#[derive(Debug, Clone)]
pub struct WebClient {
    client: Client<Connector, Full<Bytes>>,
    gate: Arc<Gate>,
    token: Option<String>,
}

/// An answer whose body is still to come.
pub struct Opened {
    /// Status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The URL that answered, after redirects.
    pub url: String,
    body: UnsyncBoxBody<Bytes, String>,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opened").field("status", &self.status).field("url", &self.url).finish_non_exhaustive()
    }
}

impl Opened {
    /// The next piece of the body; nothing at its end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, ClientError> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                // Trailers are of no use here.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
                Some(Err(why)) => return Err(ClientError::Unreachable { url: self.url.clone(), why }),
            }
        }
    }

    /// The whole body, of bounded length.
    pub async fn whole(mut self, most: usize) -> Result<HttpResponse, ClientError> {
        let mut body = BytesMut::new();
        while let Some(piece) = self.chunk().await? {
            if body.len().saturating_add(piece.len()) > most {
                let why = format!("the body is longer than {most} bytes");
                return Err(ClientError::BadResponse { url: self.url, why });
            }
            body.extend_from_slice(&piece);
        }
        Ok(HttpResponse { status: self.status, headers: self.headers, body: body.freeze(), url: self.url })
    }

    /// Reads the body to its end and throws it away; says how long it was.
    pub async fn drain(mut self, most: u64) -> Result<u64, ClientError> {
        let mut length = 0_u64;
        while let Some(piece) = self.chunk().await? {
            length = length.saturating_add(crate::num::len(piece.len()));
            if length > most {
                let why = format!("the body is longer than {most} bytes");
                return Err(ClientError::BadResponse { url: self.url, why });
            }
        }
        Ok(length)
    }
}

impl WebClient {
    /// A client that asks nobody whom the gate keeps out. The token goes to the origin of each request's URL alone.
    pub fn new(
        gate: Arc<Gate>,
        token: Option<String>,
        timeout: Duration,
        trust: &Trust,
        local: Option<IpAddr>,
    ) -> Result<Self, ClientError> {
        let connector = connector(timeout, trust, local, gate.allows_public())?;
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { client, gate, token })
    }

    /// Sends a request; gives the answer once its head is there.
    pub async fn open(
        &self,
        method: &Method,
        url: &str,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Opened, ClientError> {
        let mut url = url.to_owned();
        let mut token = self.token.as_deref();
        for _ in 0..=MAX_REDIRECTS {
            self.gate.check(&url).await?;
            let opened = self.once(method, &url, token, headers, body.clone()).await?;
            // 301 to 303 turn a POST into something else: only what merely reads follows them.
            let follows = match opened.status {
                301..=303 => method == Method::GET,
                307 | 308 => true,
                _ => false,
            };
            if !follows {
                return Ok(opened);
            }
            let Some(location) = opened.headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
                return Err(ClientError::BadResponse { url, why: "a redirect without Location".into() });
            };
            let next = resolve_reference(&url, location)?;
            token = token.filter(|_| same_origin(&next, &url));
            url = next;
        }
        Err(ClientError::BadResponse { url, why: format!("more than {MAX_REDIRECTS} redirects") })
    }

    async fn once(
        &self,
        method: &Method,
        url: &str,
        token: Option<&str>,
        headers: &[(&str, String)],
        body: Bytes,
    ) -> Result<Opened, ClientError> {
        let bad = |why: String| ClientError::BadConfig(format!("the request to {url} cannot be made: {why}"));
        let mut request = Request::builder().method(method.clone()).uri(url);
        if let Some(token) = token {
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|error| bad(error.to_string()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(body)).map_err(|error| bad(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| no_answer(url, &error))?;
        let (parts, body) = response.into_parts();
        Ok(Opened {
            status: parts.status.as_u16(),
            headers: parts.headers,
            url: url.to_owned(),
            body: body.map_err(|error| chain(&error)).boxed_unsync(),
        })
    }
}

/// What comes of it within a time; `what` says in words what was waited for.
pub async fn within<T>(
    time: Duration,
    what: &str,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, ClientError> {
    match tokio::time::timeout(time, work).await {
        Ok(done) => done,
        Err(_) => Err(ClientError::Timeout { what: what.to_owned(), after: time }),
    }
}
