//! One HTTP call to a node, signed, bounded in time and size.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use freshet_cluster::secret::Secret;
use freshet_cluster::unit::UnixMillis;
use freshet_edge::Access;
use freshet_edge::call::{CALL, CHALLENGE, Call, sign};
use freshet_edge::media_type::{EVENT_STREAM, is_type};
use freshet_edge::problem::REFUSED;
use http::header::{self, HeaderName};
use http::{HeaderMap, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

/// A node that does not take the connection in this time is unreachable.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Idle connections are let go well before a node closes them (10 s): a POST on one that is being closed would fail.
const POOL_IDLE: Duration = Duration::from_secs(5);
/// Largest answer of a node that is passed on, in bytes: an SDP answer or a problem detail.
const ANSWER_MAX: usize = 256 * 1024;
/// Most characters of a node's reason that are handed on.
const DETAIL_MAX: usize = 256;
/// What of the client's headers a node gets. Never `Authorization`: the call itself says who was found to ask.
const TO_NODE: [HeaderName; 5] =
    [header::CONTENT_TYPE, header::ACCEPT, header::IF_MATCH, header::IF_NONE_MATCH, header::USER_AGENT];
/// What of a node's headers a client does not get: they belong to the connection, or are made anew.
const NOT_TO_CLIENT: [HeaderName; 7] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::DATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// A client's request, read whole.
#[derive(Debug, Clone)]
pub struct Whole {
    /// Its method.
    pub method: Method,
    /// Path and query, as the node shall see them.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// Nobody took the connection, or it broke.
    #[error("node does not answer: {0}")]
    Unreachable(String),
    /// The answer did not come in time; whether the node acted is not known.
    #[error("node did not answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// It takes no calls of this coordinator's: their clocks or secrets are not the same.
    #[error("node refuses what this coordinator signs: {0}")]
    Refused(String),
    /// Its address or answer cannot be used.
    #[error("node cannot be called: {0}")]
    Unusable(String),
}

impl CallError {
    /// What a client hears that asked for what is at that node alone.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Late(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Unreachable(_) | Self::Refused(_) | Self::Unusable(_) => StatusCode::BAD_GATEWAY,
        }
    }
}

/// Calls nodes.
#[derive(Clone)]
pub struct NodeClient {
    client: Client<HttpConnector, Full<Bytes>>,
    secret: Secret,
    public_url: Option<String>,
}

impl NodeClient {
    /// Signs with the cluster's secret; `public_url` is what nodes make `Location` absolute with.
    pub fn new(secret: Secret, public_url: Option<String>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(32)
            .build(connector);
        Self { client, secret, public_url }
    }

    /// Hands a request to the node at `base`. `prepare` adds to the call what this kind of request carries.
    pub async fn call(
        &self,
        base: &str,
        whole: &Whole,
        access: &Access,
        time: Duration,
        prepare: impl FnOnce(&mut Call),
    ) -> Result<Response<Bytes>, CallError> {
        let request = self.request(base, whole, access, prepare)?;
        let work = async {
            let response = self.client.request(request).await;
            whole_of(response.map_err(|e| CallError::Unreachable(with_cause(&e)))?).await
        };
        tokio::time::timeout(time, work).await.map_err(|_| CallError::Late(time))?
    }

    /// The same for a request whose answer may be an event stream, which ends when it will.
    pub async fn open(
        &self,
        base: &str,
        whole: &Whole,
        access: &Access,
        time: Duration,
        prepare: impl FnOnce(&mut Call),
    ) -> Result<Opened, CallError> {
        let request = self.request(base, whole, access, prepare)?;
        let work = async {
            let response = self.client.request(request).await;
            let response = response.map_err(|e| CallError::Unreachable(with_cause(&e)))?;
            if response.status().is_success() && is_type(response.headers(), EVENT_STREAM) {
                return Ok(Opened::Stream(response));
            }
            whole_of(response).await.map(Opened::Answer)
        };
        tokio::time::timeout(time, work).await.map_err(|_| CallError::Late(time))?
    }

    fn request(
        &self,
        base: &str,
        whole: &Whole,
        access: &Access,
        prepare: impl FnOnce(&mut Call),
    ) -> Result<Request<Full<Bytes>>, CallError> {
        let uri: Uri = format!("{}{}", base.trim_end_matches('/'), whole.path)
            .parse()
            .map_err(|e| CallError::Unusable(format!("its address {base:?} makes no URL: {e}")))?;
        let now = UnixMillis::now();
        let mut call = Call::new(&whole.method, &whole.path, &whole.body, access, now, rand::random());
        call.public_url = self.public_url.clone();
        prepare(&mut call);
        let mut request = Request::new(Full::new(whole.body.clone()));
        *request.method_mut() = whole.method.clone();
        *request.uri_mut() = uri;
        for name in &TO_NODE {
            for value in whole.headers.get_all(name) {
                request.headers_mut().append(name, value.clone());
            }
        }
        request.headers_mut().insert(CALL, sign(&self.secret, &call));
        Ok(request)
    }
}

/// What a node answers to a request that may open an event stream.
pub enum Opened {
    /// An event stream that goes on.
    Stream(Response<Incoming>),
    /// Anything else, read whole.
    Answer(Response<Bytes>),
}

async fn whole_of(response: Response<Incoming>) -> Result<Response<Bytes>, CallError> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, ANSWER_MAX).collect().await;
    let body = body.map_err(|e| CallError::Unreachable(format!("its answer broke off: {e}")))?;
    let answer = Response::from_parts(parts, body.to_bytes());
    if refuses_calls(&answer) {
        let problem: Option<serde_json::Value> = serde_json::from_slice(answer.body()).ok();
        let detail =
            problem.as_ref().and_then(|problem| problem.get("detail")?.as_str()).unwrap_or("no reason");
        return Err(CallError::Refused(detail.chars().take(DETAIL_MAX).collect()));
    }
    Ok(answer)
}

/// Whether the call itself is refused, and not what its client asks for.
fn refuses_calls(answer: &Response<Bytes>) -> bool {
    let challenge = answer.headers().get(header::WWW_AUTHENTICATE).and_then(|value| value.to_str().ok());
    answer.status() == StatusCode::UNAUTHORIZED
        && challenge.is_some_and(|challenge| challenge.starts_with(CHALLENGE))
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_cause(cause)),
        None => error.to_string(),
    }
}

/// The reason in `Freshet-Refused`: another node may serve the same request.
pub fn refusal(answer: &Response<Bytes>) -> Option<String> {
    let refused = answer.status() == StatusCode::SERVICE_UNAVAILABLE;
    let reason = answer.headers().get(&REFUSED)?.to_str().ok()?;
    refused.then(|| reason.chars().take(64).collect())
}

/// A node's answer as the client gets it.
pub fn pass_on(answer: Response<Bytes>) -> Response {
    clean(answer.map(Body::from))
}

/// Takes away what of a node's headers a client does not get.
pub fn clean(mut answer: Response) -> Response {
    for name in &NOT_TO_CLIENT {
        answer.headers_mut().remove(name);
    }
    answer
}
