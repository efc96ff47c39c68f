//! How a publisher's media arrives.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use freshet_edge::Problem;
use freshet_edge::names::InRoom;
use freshet_edge::problem::ProblemDetail;
use freshet_edge::stream_health::StreamHealth;
use http::Request;

use super::media::client;
use crate::app::App;

/// How a publisher's media arrives at its node: rates, loss, jitter, keyframes, and what should be looked at, in words.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/streams/{stream}/health", tag = "rooms", operation_id = "streamHealth",
    params(
        ("room" = String, Path, description = "Room id"),
        ("stream" = String, Path, description = "Stream id"),
    ),
    responses(
        (status = 200, description = "The last two seconds, and what happened within the last minute", body = StreamHealth),
        (status = 400, description = "Not an id", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "The token is for another room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "Nobody publishes it", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The publisher's node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The publisher's node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn stream_health(
    State(app): State<Arc<App>>,
    InRoom { room, stream }: InRoom,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let client = client(&request);
    let stream = stream.ok_or_else(Problem::internal)?;
    app.gateway().stream_health(room, stream, client, request).await
}
