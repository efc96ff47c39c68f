//! Cross-origin requests (the Fetch standard): any origin, never credentials.
//!
//! Access is by bearer token, which a page must hold itself, so no origin gains anything by being allowed: there are no
//! cookies to ride on. Preflights are answered without a token, as RFC 9725 section 4.7.1 wants.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// What a page may read of a response.
pub const EXPOSED: &str = "Location, Link, ETag, Retry-After, WWW-Authenticate, Allow, Accept-Post, Accept-Patch, Freshet-Refused, \
     Freshet-Unplayable";
/// What a page may send.
pub const ALLOWED_HEADERS: &str =
    "Authorization, Content-Type, If-Match, If-None-Match, Last-Event-ID, Accept, Cache-Control";
/// The methods of the whole surface; each resource says with 405 what it does not take.
pub const ALLOWED_METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/// How long a browser may keep a preflight's answer, in seconds. Chromium keeps none longer than 2 hours.
pub const MAX_AGE: &str = "7200";

/// Middleware: `router.layer(axum::middleware::from_fn(cors::layer))`.
///
/// A preflight is answered 200 whatever is asked: of a resource without an OPTIONS handler with its `Allow`, and of a path
/// that names nothing, too. A browser that is refused a preflight hides why from its page, which is to see the 404.
pub async fn layer(request: Request, next: Next) -> Response {
    let preflight = is_preflight(request.method(), request.headers());
    let mut response = next.run(request).await;
    if preflight && response.status().is_client_error() {
        let allow = response.headers().get(header::ALLOW).cloned();
        response = StatusCode::OK.into_response();
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    set(headers, header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    set(headers, header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    if preflight {
        set(headers, header::ACCESS_CONTROL_ALLOW_METHODS, ALLOWED_METHODS);
        set(headers, header::ACCESS_CONTROL_ALLOW_HEADERS, ALLOWED_HEADERS);
        set(headers, header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    }
    response
}

/// Whether the request is a CORS preflight.
pub fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    method == Method::OPTIONS
        && headers.contains_key(header::ORIGIN)
        && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &'static str) {
    headers.insert(name, HeaderValue::from_static(value));
}
