//! WHIP (RFC 9725) and WHEP (draft 4, with both of its extensions) over HTTP.
//!
//! The surface checks everything that can be checked without media: names, credentials, media types, sizes, conditions,
//! fragments. What is left is asked of a [`SessionService`](crate::service::SessionService). Nothing here knows of shards, plans or the store, and
//! nothing here logs: an offer, a fragment and an `Authorization` header are secrets as a whole.
//!
//! Order of refusals: name (400, 404), caller (401, 403), session (404, 403), media type (415), condition (428, 412),
//! size and time (413, 408), content (400, 422). RFC 9110 section 13.2.1 wants conditions after what needs no content
//! and before the content.

mod caller;
mod create;
mod health;
mod listen;
mod pick;
mod refusal;
mod roster;
mod session;
mod state;

use axum::Router;
use axum::extract::State;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use freshet_edge::health::healthz;
use freshet_edge::media_type::{ACCEPT_PATCH, ACCEPT_POST, FRAGMENT, SDP};
use freshet_edge::metrics;
use freshet_edge::names::InRoom;
use freshet_edge::{cors, door, jwks};
use http::{HeaderValue, StatusCode, header};

pub use state::HttpState;

/// The node's public surface.
pub fn router(state: HttpState) -> Router {
    let (count, guard) = (state.http_metrics.clone(), state.guard.clone());
    let entrance = state.door.clone();
    let whip = || post(create::publish).options(endpoint_options).get(endpoint_get);
    let whep = || post(create::view).options(endpoint_options).get(endpoint_get);
    let session = get(session::look).patch(session::patch).delete(session::end).options(session_options);
    let sse = post(listen::subscribe).options(listen::post_options);
    let layer = post(listen::choose).options(listen::post_options);
    let stream = get(listen::read).head(listen::peek).delete(listen::unsubscribe);
    let stream = stream.options(listen::stream_options);
    Router::new()
        .route("/whip/{room}", whip())
        .route("/whip/{room}/{stream}", whip())
        .route("/whep/{room}", whep())
        .route("/whep/{room}/{stream}", whep())
        .route("/sessions/{node}/{incarnation}/{session}", session)
        .route("/sessions/{node}/{incarnation}/{session}/sse", sse)
        .route("/sessions/{node}/{incarnation}/{session}/sse/{stream}", stream)
        .route("/sessions/{node}/{incarnation}/{session}/layer", layer)
        .route("/v1/rooms/{room}/sessions", get(roster::list))
        .route("/v1/rooms/{room}/sessions/{session}", get(roster::look).delete(roster::end))
        .route("/v1/rooms/{room}/streams/{stream}/health", get(health::stream_health))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(show_metrics))
        .with_state(state)
        .layer(from_fn_with_state(guard, jwks::fresh))
        .layer(from_fn_with_state(entrance, door::layer))
        .layer(from_fn(cors::layer))
        .layer(from_fn_with_state(count, metrics::count))
}

/// RFC 9725 section 4.2: 200 with `Accept-Post`. Asked without credentials and before names are looked at, since a
/// browser's preflight must pass for its page to see what is wrong.
async fn endpoint_options() -> Response {
    let allow = (header::ALLOW, HeaderValue::from_static("OPTIONS, GET, HEAD, POST"));
    ([allow, (ACCEPT_POST, HeaderValue::from_static(SDP))], StatusCode::OK).into_response()
}

/// RFC 9725 section 4.1: endpoints have no representation, so GET is answered without content.
async fn endpoint_get(_: InRoom) -> Response {
    ([(ACCEPT_POST, HeaderValue::from_static(SDP))], StatusCode::NO_CONTENT).into_response()
}

async fn session_options() -> Response {
    let allow = (header::ALLOW, HeaderValue::from_static("OPTIONS, GET, HEAD, PATCH, DELETE"));
    ([allow, (ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT))], StatusCode::OK).into_response()
}

async fn readyz(State(state): State<HttpState>) -> Response {
    state.ready.response()
}

async fn show_metrics(State(state): State<HttpState>) -> Response {
    state.metrics.response()
}
