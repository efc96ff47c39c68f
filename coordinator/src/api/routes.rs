//! Which path is served by what.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{any, delete, get, post, put};
use freshet_edge::{cors, door, health, jwks, metrics};

use super::{about, access, media, openapi, read, viewer};
use crate::app::App;
use crate::events::http as events;
use crate::web;

/// The whole surface, with CORS and counters.
pub fn router(app: Arc<App>) -> Router {
    let http = app.state().metrics.http.clone();
    let guard = app.state().config.guard.clone();
    let entrance = app.door().clone();
    let (public_url, redirect) = (app.state().config.public_url.clone(), app.state().config.redirect);
    Router::new()
        .route("/whip/{room}", media::endpoint(post(media::publish)))
        .route("/whip/{room}/{stream}", media::endpoint(post(media::publish)))
        .route("/whep/{room}", media::endpoint(post(media::view)))
        .route("/whep/{room}/{stream}", media::endpoint(post(media::view)))
        .route("/sessions/{node}/{incarnation}/{session}", any(media::session))
        .route("/sessions/{node}/{incarnation}/{session}/sse", any(viewer::entrance))
        .route("/sessions/{node}/{incarnation}/{session}/sse/{stream}", any(viewer::event_stream))
        .route("/sessions/{node}/{incarnation}/{session}/layer", any(viewer::entrance))
        .route("/v1/rooms", get(read::rooms))
        .route("/v1/rooms/{room}", get(read::room))
        .route("/v1/rooms/{room}/chat", post(events::post_chat))
        .route("/v1/rooms/{room}/events", get(events::room_events))
        .route("/v1/rooms/{room}/spec", get(access::spec).put(access::put_spec).delete(access::delete_spec))
        .route("/v1/rooms/{room}/sessions", get(access::sessions))
        .route("/v1/rooms/{room}/sessions/{session}", delete(access::dismiss))
        .route("/v1/rooms/{room}/bans", get(access::bans))
        .route("/v1/rooms/{room}/bans/{identity}", put(access::put_ban).delete(access::delete_ban))
        .route("/v1/rooms/{room}/streams/{stream}/health", get(super::health::stream_health))
        .route("/v1/nodes", get(read::nodes))
        .route("/v1/cluster", get(read::cluster))
        .route("/v1/config", get(about::config))
        .route("/openapi.json", get(openapi::serve))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(about::readyz))
        .route("/metrics", get(about::metrics))
        .with_state(app)
        .merge(web::routes(public_url.as_deref(), redirect))
        .layer(middleware::from_fn_with_state(guard, jwks::fresh))
        .layer(middleware::from_fn_with_state(entrance, door::layer))
        .layer(middleware::from_fn(cors::layer))
        .layer(middleware::from_fn_with_state(http, metrics::count))
}
