//! Problem details (RFC 9457): the body of every error.
//!
//! `detail` says what was wrong and what to do; `reason` is the word that programs match. `type` is
//! `/problems/<reason>` where there is a reason, else `about:blank`. A problem never carries a token, a secret or an
//! ICE password: details are made of ids, sizes and grammar.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The media type of a problem detail.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// A problem detail as it stands in a body.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ProblemDetail {
    /// A URI reference that names the kind of problem: `/problems/<reason>` or `about:blank`.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// The kind in a few words; the same for every occurrence.
    #[serde(default)]
    pub title: String,
    /// The status code again, for a body that lost its response.
    #[serde(default)]
    pub status: u16,
    /// What was wrong this time, and what to do.
    #[serde(default)]
    pub detail: String,
    /// The word that programs match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Members of this kind of problem.
    #[serde(flatten)]
    pub members: Map<String, Value>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

/// A refusal on its way to the client. Small, so that it travels in `Result`s.
#[derive(Clone)]
pub struct Problem(Box<Inner>);

#[derive(Clone)]
struct Inner {
    status: StatusCode,
    title: Option<Cow<'static, str>>,
    detail: String,
    reason: Option<Cow<'static, str>>,
    members: Map<String, Value>,
    headers: HeaderMap,
    genuine: bool,
}

/// Among the extensions of a response: what was refused bears a signature that holds, so that nobody is guessing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Genuine;

impl Problem {
    /// A problem of this status; `detail` says what was wrong and what to do.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            status,
            title: None,
            detail: detail.into(),
            reason: None,
            members: Map::new(),
            headers: HeaderMap::new(),
            genuine: false,
        }))
    }

    /// Names the reason: a word in lower case with hyphens. It also makes `type`.
    #[must_use]
    pub fn reason(mut self, reason: impl Into<Cow<'static, str>>) -> Self {
        self.0.reason = Some(reason.into());
        self
    }

    /// Sets the title; without it, it is the status code's phrase.
    #[must_use]
    pub fn title(mut self, title: impl Into<Cow<'static, str>>) -> Self {
        self.0.title = Some(title.into());
        self
    }

    /// Adds a member. The names of RFC 9457 and `reason` are not taken by it.
    #[must_use]
    pub fn member(mut self, name: &str, value: impl Serialize) -> Self {
        if !matches!(name, "type" | "title" | "status" | "detail" | "instance" | "reason")
            && let Ok(value) = serde_json::to_value(value)
        {
            self.0.members.insert(name.to_owned(), value);
        }
        self
    }

    /// Adds a header to the response.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.append(name, value);
        self
    }

    /// The credentials are refused for what they say, and whoever signed them may.
    #[must_use]
    pub(crate) fn genuine(mut self, genuine: bool) -> Self {
        self.0.genuine = genuine;
        self
    }

    /// Says when to ask again: whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after(self, after: Duration) -> Self {
        let part = u64::from(after.subsec_nanos() > 0);
        let seconds = after.as_secs().saturating_add(part).max(1);
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// Says in `Freshet-Refused` that another node may serve the same request.
    #[must_use]
    pub fn refused(self, reason: &'static str) -> Self {
        self.reason(reason).header(REFUSED, HeaderValue::from_static(reason))
    }

    /// The status code.
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// What was wrong and what to do.
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The word that programs match.
    pub fn why(&self) -> Option<&str> {
        self.0.reason.as_deref()
    }

    /// The headers that the response will carry.
    pub fn headers(&self) -> &HeaderMap {
        &self.0.headers
    }

    /// The body.
    pub fn to_detail(&self) -> ProblemDetail {
        let inner = &*self.0;
        let title = inner.title.as_deref().or(inner.status.canonical_reason()).unwrap_or("Error");
        ProblemDetail {
            kind: inner.reason.as_deref().map_or_else(about_blank, |r| format!("/problems/{r}")),
            title: title.to_owned(),
            status: inner.status.as_u16(),
            detail: inner.detail.clone(),
            reason: inner.reason.as_deref().map(str::to_owned),
            members: inner.members.clone(),
        }
    }
}

/// Set on a refusal that another node may not repeat: its value is the reason.
pub const REFUSED: HeaderName = HeaderName::from_static("freshet-refused");

/// The kinds that both surfaces use.
impl Problem {
    /// 400: the request is not of the form wanted.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// 403: known, and not allowed.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, detail)
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// 405, with the `Allow` header that RFC 9110 section 15.5.6 wants.
    pub fn method_not_allowed(allow: &'static str) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, format!("this resource takes {allow}: use one of these"))
            .header(header::ALLOW, HeaderValue::from_static(allow))
    }

    /// 408: the body came too slowly. The connection is closed after it.
    pub fn request_timeout(allowed: Duration) -> Self {
        Self::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body was not complete after {} s: send it faster", allowed.as_secs()),
        )
        .header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    /// 409.
    pub fn conflict(reason: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, detail).reason(reason)
    }

    /// 412 (RFC 9110 section 15.5.13).
    pub fn precondition_failed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_FAILED, detail)
    }

    /// 413: the limit is in bytes.
    pub fn too_large(limit: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {limit} bytes: send a smaller one"),
        )
        .member("limit", limit)
    }

    /// 415: another media type is wanted. `header` tells it again: `Accept-Post` or `Accept-Patch`.
    pub fn unsupported_media_type(wanted: &'static str, accept: HeaderName) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the body must be {wanted}: say so in Content-Type"),
        )
        .header(accept, HeaderValue::from_static(wanted))
    }

    /// 422 (RFC 9110 section 15.5.21).
    pub fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, detail)
    }

    /// 428 (RFC 6585 section 3).
    pub fn precondition_required(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PRECONDITION_REQUIRED, detail)
    }

    /// 429.
    pub fn too_many_requests(detail: impl Into<String>, after: Duration) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, detail).reason("rate-limit").retry_after(after)
    }

    /// 503, with the time after which it is worth asking again.
    pub fn unavailable(reason: &'static str, detail: impl Into<String>, after: Duration) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).reason(reason).retry_after(after)
    }

    /// 500. What broke stands in the log, not here.
    pub fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "something of ours broke and was logged: try again, and tell the operator if it stays",
        )
    }
}

impl fmt::Debug for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Problem")
            .field("status", &self.0.status.as_u16())
            .field("reason", &self.0.reason)
            .field("detail", &self.0.detail)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.status.as_u16(), self.0.detail)
    }
}

impl std::error::Error for Problem {}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A struct of texts, numbers and a JSON map: encoding it cannot fail.
        let body = serde_json::to_vec(&self.to_detail()).unwrap_or_default();
        let mut response = (self.0.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in &self.0.headers {
            headers.append(name, value.clone());
        }
        if self.0.genuine {
            response.extensions_mut().insert(Genuine);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_what_rfc_9457_wants() {
        let problem = Problem::conflict("no-publisher", "nobody publishes: ask again")
            .retry_after(Duration::from_millis(1500))
            .member("room", "r1")
            .member("status", 7);
        let json = serde_json::to_value(problem.to_detail()).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "type": "/problems/no-publisher",
                "title": "Conflict",
                "status": 409,
                "detail": "nobody publishes: ask again",
                "reason": "no-publisher",
                "room": "r1",
            })
        );
        let response = problem.into_response();
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["content-type"], PROBLEM_JSON);
        for (after, header) in [(0, "1"), (1, "1"), (1000, "1"), (1001, "2"), (60_000, "60")] {
            let problem = Problem::too_many_requests("too fast: wait", Duration::from_millis(after));
            assert_eq!(problem.headers()["retry-after"], header, "{after} ms");
        }
    }

    #[test]
    fn without_a_reason_the_type_is_about_blank() {
        let detail = Problem::method_not_allowed("GET, POST").to_detail();
        assert_eq!((detail.kind.as_str(), detail.title.as_str()), ("about:blank", "Method Not Allowed"));
    }

    #[test]
    fn a_detail_reads_what_others_write() {
        let read: ProblemDetail = serde_json::from_str(r#"{"title":"x","more":[1]}"#).unwrap();
        assert_eq!((read.kind.as_str(), read.status), ("about:blank", 0));
        assert!(read.members.contains_key("more"));
    }

    #[test]
    fn a_problem_is_small_enough_for_results() {
        assert!(size_of::<Problem>() <= 8);
    }
}
