//! HTTP requests, one connection each: viewers of the real world do not share connections either.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use ::http::header::{AUTHORIZATION, HeaderName, HeaderValue, LOCATION};
use ::http::{HeaderMap, Method, Request};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;

use super::headers::retry_after;
use super::names::{Names, names};
use super::target::{check_url, less_secret, resolve_reference, same_host, same_origin};
use super::{ClientError, Gate, Problem, Trust, ViewerConfig};

/// Largest response body that is read: an SDP answer has a few kilobytes.
const MAX_BODY: usize = 256 * 1024;
/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 5;
/// Characters of a foreign error body that are kept.
const SNIPPET: usize = 200;

/// A response whose body is whole.
#[derive(Debug, Clone)]
pub struct HttpResponse {
    /// Status code.
    pub status: u16,
    /// All headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// The URL that answered, after redirects.
    pub url: String,
}

impl HttpResponse {
    /// A header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as a problem detail, if it is one.
    pub fn problem(&self) -> Option<Problem> {
        let json = self.header("content-type").is_some_and(|kind| kind.contains("json"));
        json.then(|| serde_json::from_slice(&self.body).ok()).flatten()
    }

    /// The response as the error that it is.
    pub fn refusal(&self, method: &Method) -> ClientError {
        let text = self.text();
        ClientError::Refused {
            method: method.to_string(),
            url: self.url.clone(),
            status: self.status,
            problem: self.problem().map(Box::new),
            retry_after: retry_after(&self.headers),
            body: text.chars().take(SNIPPET).collect(),
        }
    }
}

/// Makes connections.
pub(super) type Connector = HttpsConnector<HttpConnector<Names>>;

/// How connections are made.
pub(super) fn connector(
    timeout: Duration,
    trust: &Trust,
    local: Option<IpAddr>,
    allow_public: bool,
) -> Result<Connector, ClientError> {
    let mut connector = HttpConnector::new_with_resolver(names(allow_public));
    connector.set_nodelay(true);
    connector.set_local_address(local);
    connector.set_connect_timeout(Some(timeout));
    connector.enforce_http(false);
    Ok(HttpsConnectorBuilder::new()
        .with_tls_config(trust.config()?)
        .https_or_http()
        .enable_all_versions()
        .wrap_connector(connector))
}

/// A bearer token.
#[derive(Clone)]
pub(super) struct Token {
    value: String,
    /// The URL that the user gave it for.
    of: String,
}

impl Token {
    /// A token for a URL's server, and nobody else.
    pub fn of(url: &str, value: Option<&str>) -> Option<Self> {
        value.map(|value| Self { value: value.to_owned(), of: url.to_owned() })
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token(of {})", self.of)
    }
}

/// What all requests of a session share.
#[derive(Debug, Clone)]
pub(super) struct HttpCaller {
    client: Client<Connector, Full<Bytes>>,
    token: Option<Token>,
    allow_public: bool,
    /// Keeps out whom the user did not name; without it addresses alone decide.
    gate: Option<Arc<Gate>>,
    timeout: Duration,
    /// Largest body that is read.
    most: usize,
}

impl HttpCaller {
    pub fn new(
        token: Option<Token>,
        allow_public: bool,
        timeout: Duration,
        trust: &Trust,
        local: Option<IpAddr>,
    ) -> Result<Self, ClientError> {
        let connector = connector(timeout, trust, local, allow_public)?;
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
        Ok(Self { client, token, allow_public, gate: None, timeout, most: MAX_BODY })
    }

    /// Reads bodies of up to so many bytes.
    pub fn reading(mut self, most: usize) -> Self {
        self.most = most;
        self
    }

    /// Asks nobody whom this keeps out.
    pub fn kept_by(mut self, gate: Option<Arc<Gate>>) -> Self {
        self.gate = gate;
        self
    }

    /// Whether this URL may be asked.
    pub async fn check(&self, url: &str) -> Result<(), ClientError> {
        match &self.gate {
            Some(gate) => gate.check(url).await,
            None => check_url(url, self.allow_public).await.map(|_| ()),
        }
    }

    /// The token, if it may go to this URL: the origin that it was given for, another port of the same host, where a server
    /// has put its session, and hosts that the user allowed by name. Never without the encryption that it was given for.
    fn token_for(&self, url: &str) -> Option<&str> {
        let Token { value, of } = self.token.as_ref()?;
        let allowed = || self.gate.as_ref().is_some_and(|gate| gate.allows(url)) && !less_secret(url, of);
        (same_origin(url, of) || same_host(url, of) || allowed()).then_some(value.as_str())
    }

    /// Sends a request and reads the whole response, following 307 and 308.
    pub async fn send(
        &self,
        method: &Method,
        url: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, ClientError> {
        let all = self.follow(method, url, headers, body);
        match tokio::time::timeout(self.timeout, all).await {
            Ok(result) => result,
            Err(_) => Err(ClientError::Timeout { what: format!("{method} {url}"), after: self.timeout }),
        }
    }

    async fn follow(
        &self,
        method: &Method,
        url: &str,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, ClientError> {
        let mut url = url.to_owned();
        // Where a redirect leaves the origin, browsers take the token away as well.
        let mut token = self.token_for(&url);
        for _ in 0..=MAX_REDIRECTS {
            self.check(&url).await?;
            let response = self.once(method, &url, token, headers, body.clone()).await?;
            if !matches!(response.status, 307 | 308) {
                return Ok(response);
            }
            let Some(location) = response.headers.get(LOCATION).and_then(|value| value.to_str().ok()) else {
                return Err(ClientError::BadResponse { url, why: "a redirect without Location".into() });
            };
            let next = resolve_reference(&url, location)?;
            token = token.filter(|_| same_origin(&next, &url));
            url = next;
        }
        Err(ClientError::BadResponse { url, why: format!("more than {MAX_REDIRECTS} redirects") })
    }

    async fn begin(
        &self,
        method: &Method,
        url: &str,
        token: Option<&str>,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<(::http::response::Parts, Incoming), ClientError> {
        let bad = |why: String| ClientError::BadConfig(format!("the request to {url} cannot be made: {why}"));
        let mut request = Request::builder().method(method.clone()).uri(url);
        if let Some(token) = token {
            let mut value =
                HeaderValue::try_from(format!("Bearer {token}")).map_err(|error| bad(error.to_string()))?;
            value.set_sensitive(true);
            request = request.header(AUTHORIZATION, value);
        }
        for (name, value) in headers {
            let name = HeaderName::try_from(name.as_str()).map_err(|error| bad(error.to_string()))?;
            request = request.header(name, value.as_str());
        }
        let request = request.body(Full::new(body)).map_err(|error| bad(error.to_string()))?;
        let response = self.client.request(request).await.map_err(|error| no_answer(url, &error))?;
        Ok(response.into_parts())
    }

    /// The body of a GET as it comes, which may be never. Only its beginning has to come in time.
    pub async fn stream(&self, url: &str) -> Result<Incoming, ClientError> {
        self.check(url).await?;
        let accept = [("accept".to_owned(), "text/event-stream".to_owned())];
        let begun = self.begin(&Method::GET, url, self.token_for(url), &accept, Bytes::new());
        let begun = tokio::time::timeout(self.timeout, begun).await;
        let (parts, body) =
            begun.map_err(|_| ClientError::Timeout { what: format!("GET {url}"), after: self.timeout })??;
        match parts.status.as_u16() {
            200 => Ok(body),
            status => {
                let why = format!("an event stream with status {status}");
                Err(ClientError::BadResponse { url: url.to_owned(), why })
            }
        }
    }

    async fn once(
        &self,
        method: &Method,
        url: &str,
        token: Option<&str>,
        headers: &[(String, String)],
        body: Bytes,
    ) -> Result<HttpResponse, ClientError> {
        let unreachable = |why: String| ClientError::Unreachable { url: url.to_owned(), why };
        let (parts, body) = self.begin(method, url, token, headers, body).await?;
        let body = Limited::new(body, self.most).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                let why = format!("the body is longer than {} bytes", self.most);
                return ClientError::BadResponse { url: url.to_owned(), why };
            }
            unreachable(error.to_string())
        })?;
        Ok(HttpResponse {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: body.to_bytes(),
            url: url.to_owned(),
        })
    }
}

/// One request to the server under test, such as one that drains a node, as careful of its target as `like`.
pub async fn call(
    method: &str,
    url: &str,
    token: Option<String>,
    body: Option<&str>,
    like: &ViewerConfig,
) -> Result<HttpResponse, ClientError> {
    let bad = |_| ClientError::BadConfig(format!("{method:?} is no HTTP method"));
    let method = Method::from_bytes(method.as_bytes()).map_err(bad)?;
    let token = Token::of(url, token.as_deref());
    let caller = HttpCaller::new(token, like.allow_public, like.http_timeout, &like.trust, None)?;
    let caller = caller.kept_by(like.gate.clone());
    let json = [("content-type".to_owned(), "application/json".to_owned())];
    let headers = if body.is_some() { &json[..] } else { &[] };
    caller.send(&method, url, headers, Bytes::from(body.unwrap_or_default().to_owned())).await
}

/// Why there is no answer of this URL.
pub(super) fn no_answer(url: &str, error: &(dyn std::error::Error + 'static)) -> ClientError {
    let url = url.to_owned();
    let mut cause = Some(error);
    while let Some(of) = cause {
        // It was reached, and is no web server.
        if of.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
            return ClientError::BadResponse { url, why: format!("it does not speak HTTP: {of}") };
        }
        cause = of.source();
    }
    ClientError::Unreachable { url, why: chain(error) }
}

/// An error with its causes: hyper's own text says only "client error (Connect)".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
