//! What the process says about itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use freshet_cluster::unit::UnixMillis;
use freshet_edge::Problem;
use freshet_edge::health;
use freshet_edge::ice::IceServers;
use freshet_edge::problem::ProblemDetail;
use http::HeaderMap;

use super::model::ClientConfig;
use crate::app::App;
use crate::liveness::Liveness;

/// What a page needs to know before it does anything.
#[utoipa::path(
    get, path = "/v1/config", tag = "about", operation_id = "config",
    responses(
        (status = 200, description = "Client configuration", body = ClientConfig),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn config(State(app): State<Arc<App>>, headers: HeaderMap) -> Result<Json<ClientConfig>, Problem> {
    let config = &app.state().config;
    let now = UnixMillis::now();
    let ice_servers = match config.guard.authenticate(&headers, now) {
        Ok(access) => config.ice.for_client(&access.identity, now),
        // TURN credentials are for those who may come in.
        Err(_) => {
            let plain = IceServers { plain: config.ice.plain.clone(), turn: None };
            "anonymous".parse().map(|nobody| plain.for_client(&nobody, now)).unwrap_or_default()
        }
    };
    Ok(Json(ClientConfig { open: config.guard.is_open(), ice_servers }))
}

/// The process answers.
#[utoipa::path(
    get, path = "/healthz", tag = "about", operation_id = "healthz",
    responses((status = 200, description = "It does", body = String, content_type = "text/plain"))
)]
pub fn healthz_docs() {}

/// It should be sent work: it knows the cluster and is not being stopped.
///
/// After a start it is not ready until it has read the store, is connected to the bus and, for 5 seconds at most, until
/// chat can be stored and every registered node was heard; `detail` says what is missing.
#[utoipa::path(
    get, path = "/readyz", tag = "about", operation_id = "readyz",
    responses(
        (status = 200, description = "It should", body = String, content_type = "text/plain"),
        (status = 503, description = "Not yet, or no more", body = ProblemDetail, content_type = "application/problem+json"),
    )
)]
pub async fn readyz(State(app): State<Arc<App>>) -> Response {
    let not_ready =
        |why: &str| Problem::unavailable("not-ready", why, Duration::from_secs(2)).into_response();
    if app.state().is_draining() {
        return not_ready("this coordinator is being stopped");
    }
    match app.state().ready(Instant::now()) {
        Ok(()) => health::ready(),
        Err(missing) => not_ready(&missing.to_string()),
    }
}

/// Prometheus metrics.
#[utoipa::path(
    get, path = "/metrics", tag = "about", operation_id = "metrics",
    responses((status = 200, description = "Text format 0.0.4", body = String, content_type = "text/plain"))
)]
pub async fn metrics(State(app): State<Arc<App>>) -> Response {
    gauge(&app);
    app.state().metrics.registered.response()
}

/// Gauges are set when somebody looks.
fn gauge(app: &App) {
    let now = Instant::now();
    let metrics = &app.state().metrics;
    metrics.bus_up.set(i64::from(app.state().bus.is_up()));
    let core = app.state().core();
    let view = core.view();
    metrics.store_up.set(i64::from(view.is_store_up()));
    for state in [Liveness::Alive, Liveness::Suspect, Liveness::Draining, Liveness::Dead] {
        let count =
            view.nodes().filter(|(id, node)| view.liveness(id, node.incarnation(), now) == state).count();
        metrics.nodes.with_label_values(&[state.as_str()]).set(i64::try_from(count).unwrap_or(i64::MAX));
    }
    let rooms = view.rooms();
    metrics.rooms.set(i64::try_from(rooms.len()).unwrap_or(i64::MAX));
    metrics.viewers.set(rooms.iter().map(|room| i64::from(view.viewers(room))).sum());
}
