//! Another issuer's JWK set, fetched from its URL again and again.
//!
//! Bounded in size and time; redirects are not followed, since whoever serves the set decides who comes in. While the
//! URL does not answer, the keys of the last answer stay in force. A key that an answer leaves out is not taken any more.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use freshet_cluster::token::{JWKS_MAX, KeySetError, PublicKeys, key_id};
use http::{StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::bearer::{Guard, bearer};

/// Layer in front of the handlers: looks for the key that a request's token names.
pub async fn fresh(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    let named = bearer(request.headers()).ok().and_then(key_id);
    if let (Some(keys), Some(kid)) = (guard.keys(), named) {
        keys.look_for(&kid).await;
    }
    next.run(request).await
}

/// Where a set is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwksUrl {
    tls: bool,
    host: String,
    port: u16,
    authority: String,
    path: String,
}

impl FromStr for JwksUrl {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const ADVICE: &str = "write a URL as in https://id.example.org/jwks.json, without a user";
        let uri: Uri = text.parse().map_err(|_| ADVICE)?;
        let tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(ADVICE),
        };
        let authority = uri.authority().filter(|part| !part.as_str().contains('@')).ok_or(ADVICE)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let path = uri.path_and_query().map_or("/", |path| path.as_str()).to_owned();
        Ok(Self { tls, host, port, authority: authority.to_string(), path })
    }
}

/// Without the query, which may hold a key.
impl fmt::Display for JwksUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

/// How often and how long.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// An answer is asked for anew after this time.
    pub refresh: Duration,
    /// After a failure, this time passes.
    pub retry: Duration,
    /// Between two fetches, whatever unknown keys tokens name.
    pub rest: Duration,
    /// A fetch takes at most so long.
    pub time: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(300),
            retry: Duration::from_secs(30),
            rest: Duration::from_secs(10),
            time: Duration::from_secs(5),
        }
    }
}

/// Why a set was not had.
#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("it did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    #[error("it cannot be reached: {0}")]
    Unreachable(#[from] std::io::Error),
    #[error("it does not speak HTTP: {0}")]
    Http(#[from] hyper::Error),
    #[error("it answered {0}: the URL must be that of the set itself")]
    Status(StatusCode),
    #[error("its answer broke off, or has more than {JWKS_MAX} bytes: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("its name or URL cannot be used: {0}")]
    Name(String),
    #[error(transparent)]
    Set(#[from] KeySetError),
}

/// A set at a URL.
pub struct Jwks {
    url: JwksUrl,
    roots: Option<RootCertStore>,
    pace: Pace,
}

impl Jwks {
    /// Certificates of https are judged by the system's authorities (`SSL_CERT_FILE` and `SSL_CERT_DIR` name others).
    pub fn new(url: JwksUrl, pace: Pace) -> Self {
        Self { url, roots: None, pace }
    }

    /// The same with these authorities alone.
    pub fn with_roots(url: JwksUrl, pace: Pace, roots: RootCertStore) -> Self {
        Self { url, roots: Some(roots), pace }
    }

    /// Keeps the guard's keys of other issuers as the URL has them, until the task is aborted. Must be called within
    /// the async runtime.
    pub fn follow(self, guard: &Guard) -> JoinHandle<()> {
        if let Some(keys) = guard.keys() {
            keys.set_fetched();
        }
        tokio::spawn(self.run(guard.clone()))
    }

    async fn run(self, guard: Guard) {
        let Some(keys) = guard.keys() else { return };
        let url = &self.url;
        if !url.tls {
            tracing::warn!(%url, "keys come by plain HTTP: whoever is on the way can add one");
        }
        let tls = self.tls().await;
        // Why they cannot be had.
        let mut away: Option<String> = None;
        loop {
            keys.round_begins();
            let found = timeout(self.pace.time, self.fetch(tls.as_ref())).await;
            let found = found.unwrap_or(Err(FetchError::Late(self.pace.time)));
            let pause = match found {
                Ok(set) => {
                    let (count, passed_over, why) = (set.len(), set.passed_over(), set.reasons().join("; "));
                    if keys.set_public(set) || away.is_some() {
                        tracing::info!(%url, keys = count, passed_over, why, "keys of another issuer");
                    }
                    away = None;
                    self.pace.refresh
                }
                // It says that it has no key any more.
                Err(FetchError::Set(error @ KeySetError::NoKey { .. })) => {
                    let why = error.to_string();
                    if keys.set_public(PublicKeys::default()) || away.as_ref() != Some(&why) {
                        tracing::warn!(%url, %error, "another issuer's keys are gone");
                    }
                    away = Some(why);
                    self.pace.retry
                }
                Err(error) => {
                    let why = error.to_string();
                    if away.as_ref() != Some(&why) {
                        let kept = keys.current().public.len();
                        tracing::warn!(%url, %error, kept, "keys of another issuer cannot be had: trying on");
                    }
                    away = Some(why);
                    self.pace.retry
                }
            };
            keys.round_over(self.pace.rest);
            sleep(self.pace.rest).await;
            let rested = pause.saturating_sub(self.pace.rest);
            tokio::select! {
                () = sleep(rested) => {}
                () = keys.wanted() => {}
            }
        }
    }

    async fn tls(&self) -> Option<TlsConnector> {
        if !self.url.tls {
            return None;
        }
        let roots = match &self.roots {
            Some(roots) => roots.clone(),
            None => {
                tokio::task::spawn_blocking(system_roots).await.unwrap_or_else(|_| RootCertStore::empty())
            }
        };
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        // The provider has the versions: an error would be one of the build, and shows as no TLS.
        let config = config.ok()?.with_root_certificates(roots).with_no_client_auth();
        Some(TlsConnector::from(Arc::new(config)))
    }

    async fn fetch(&self, tls: Option<&TlsConnector>) -> Result<PublicKeys, FetchError> {
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await?;
        let body = match tls {
            None if self.url.tls => return Err(FetchError::Name("TLS is not to be had".into())),
            None => self.get(stream).await?,
            Some(tls) => {
                let name = ServerName::try_from(self.url.host.clone());
                let name = name.map_err(|error| FetchError::Name(error.to_string()))?;
                self.get(tls.connect(name, stream).await?).await?
            }
        };
        Ok(PublicKeys::parse(&body)?)
    }

    async fn get(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    ) -> Result<Bytes, FetchError> {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with this call, however it ends.
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        let request = http::Request::get(&self.url.path)
            .header(header::HOST, &self.url.authority)
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new())
            .map_err(|error| FetchError::Name(error.to_string()))?;
        let response = sender.send_request(request).await?;
        if response.status() != StatusCode::OK {
            return Err(FetchError::Status(response.status()));
        }
        let body = Limited::new(response.into_body(), JWKS_MAX).collect().await;
        Ok(body.map_err(FetchError::Body)?.to_bytes())
    }
}

fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "certificates of authorities cannot be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!(
            "there are no certificates of authorities: https cannot be judged; SSL_CERT_FILE names some"
        );
    }
    roots
}
