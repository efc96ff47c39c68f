//! The pages, embedded in the binary (read from `web/dist` in debug builds).
//!
//! Files with a hash in their name (`/assets/…`) never change and are cached for a year; pages are revalidated by
//! `ETag`. The policy lets pages load from their own origin alone.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use freshet_edge::Problem;
use freshet_edge::conditional::{self, Condition};
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};
use rust_embed::{EmbeddedFile, RustEmbed};

/// What `web/` builds.
#[derive(RustEmbed)]
#[folder = "../web/dist/"]
struct Dist;

const FOREVER: &str = "public, max-age=31536000, immutable";
const REVALIDATE: &str = "no-cache";

/// The content security policy; `origin` is where the API is reached when it is not the page's own origin.
fn policy(origin: &str) -> String {
    format!(
        "default-src 'self'; connect-src 'self'{origin}; media-src 'self' blob: mediastream:; img-src 'self' data: \
         blob:; style-src 'self'; script-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; \
         frame-ancestors 'self'"
    )
}

/// The pages' routes. With a public URL, pages may also talk to its origin; where joins are sent on, to any node,
/// whose names nobody knows beforehand.
pub fn routes(public_url: Option<&str>, redirect: bool) -> Router {
    let mut origin = public_url.and_then(origin_of).map(|origin| format!(" {origin}")).unwrap_or_default();
    if redirect {
        let secure = public_url.is_some_and(|url| url.starts_with("https:"));
        origin.push_str(if secure { " https:" } else { " http: https:" });
    }
    let policy = HeaderValue::from_str(&policy(&origin)).or_else(|_| HeaderValue::from_str(&policy("")));
    let policy = Arc::new(policy.unwrap_or(HeaderValue::from_static("default-src 'self'")));
    Router::new()
        .route("/", get(page))
        .route("/studio", get(page))
        .route("/watch/{room}", get(watch))
        .route("/assets/{*file}", get(asset))
        .route("/{file}", get(top_level))
        .with_state(policy)
}

/// Scheme and authority of a URL.
fn origin_of(url: &str) -> Option<String> {
    let uri: Uri = url.parse().ok()?;
    Some(format!("{}://{}", uri.scheme_str()?, uri.authority()?))
}

type Policy = State<Arc<HeaderValue>>;

async fn page(State(policy): Policy, headers: HeaderMap) -> Response {
    serve("index.html", REVALIDATE, &policy, &headers)
}

/// The same page with links that are right one level down, so that any path prefix works.
async fn watch(State(policy): Policy, headers: HeaderMap) -> Response {
    serve("watch/index.html", REVALIDATE, &policy, &headers)
}

async fn asset(State(policy): Policy, Path(file): Path<String>, headers: HeaderMap) -> Response {
    serve(&format!("assets/{file}"), FOREVER, &policy, &headers)
}

/// Files beside the pages, such as an icon.
async fn top_level(State(policy): Policy, Path(file): Path<String>, headers: HeaderMap) -> Response {
    serve(&file, REVALIDATE, &policy, &headers)
}

fn serve(name: &str, cache: &'static str, policy: &HeaderValue, asked: &HeaderMap) -> Response {
    // In debug builds names become paths of files.
    let plain = !name.split('/').any(|part| part.is_empty() || part.starts_with('.'));
    let Some(file) = Dist::get(name).filter(|_| plain) else {
        return Problem::not_found("there is nothing at this path: see docs/api.md for what there is")
            .into_response();
    };
    let tag = tag(&file);
    let matches = |condition: &Condition| match condition {
        Condition::Any => true,
        // Weak comparison (RFC 9110 section 13.1.2).
        Condition::Tags(tags) => tags.iter().any(|known| known.value == tag),
    };
    let known = matches!(conditional::if_none_match(asked), Ok(Some(condition)) if matches(&condition));
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        let kind = file.metadata.mimetype();
        let kind = if kind.starts_with("text/") { format!("{kind}; charset=utf-8") } else { kind.to_owned() };
        let kind =
            HeaderValue::from_str(&kind).unwrap_or(HeaderValue::from_static("application/octet-stream"));
        ([(header::CONTENT_TYPE, kind)], file.data.into_owned()).into_response()
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let permissions = HeaderValue::from_static("camera=(self), microphone=(self), display-capture=(self)");
    headers.insert(HeaderName::from_static("permissions-policy"), permissions);
    if let Some(tag) = conditional::etag(&tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

/// The first half of the content's hash.
fn tag(file: &EmbeddedFile) -> String {
    file.metadata.sha256_hash().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
