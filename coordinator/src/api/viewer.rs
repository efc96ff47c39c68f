//! WHEP's extensions at the coordinator's door: event streams and layers of a viewer's session.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use freshet_edge::Problem;
use freshet_edge::body::JSON_MAX;
use freshet_edge::media_type::{ACCEPT_POST, JSON};
use freshet_edge::names::{EventStreamPath, SessionPath};
use freshet_edge::places::Holder;
use freshet_edge::problem::ProblemDetail;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::media::client;
use crate::app::App;
use crate::gateway::events::Place;
use crate::gateway::join::spread;

/// What an event stream takes.
const STREAM_ALLOW: &str = "OPTIONS, GET, HEAD, DELETE";

/// Which layer a viewer picks; an empty object leaves the choice to the server again.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct LayerPick {
    /// The m-line by its place in the SDP; the first of video without it.
    #[schema(example = "1")]
    pub media_id: Option<String>,
    /// The layer's `rid` as the `layers` event names it.
    #[schema(example = "h")]
    pub rid: Option<String>,
    /// What drafts before 02 called `rid`.
    pub encoding_id: Option<String>,
    /// The highest temporal layer of VP8 to be sent, 0 to 3; all without it.
    #[schema(example = 1)]
    pub max_temporal_layer_id: Option<u8>,
    /// The temporal layer of VP8 to be sent with those that it needs; of both the lower counts.
    pub temporal_layer_id: Option<u8>,
}

/// POST to a session's event streams or layers: handed to its node.
pub async fn entrance(
    State(app): State<Arc<App>>,
    name: SessionPath,
    request: Request<Body>,
) -> Result<Response, Problem> {
    if request.method() == Method::OPTIONS {
        let allow = (header::ALLOW, HeaderValue::from_static("OPTIONS, POST"));
        let accept = (ACCEPT_POST, HeaderValue::from_static(JSON));
        return Ok((StatusCode::OK, [allow, accept]).into_response());
    }
    let client = client(&request);
    app.gateway().session(name, client, request, JSON_MAX).await
}

/// GET, HEAD and DELETE of an event stream: passed on by its node.
pub async fn event_stream(
    State(app): State<Arc<App>>,
    name: EventStreamPath,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let client = client(&request);
    match *request.method() {
        Method::OPTIONS => {
            let allow = (header::ALLOW, HeaderValue::from_static(STREAM_ALLOW));
            Ok((StatusCode::OK, [allow]).into_response())
        }
        Method::GET => {
            let place = |who: Option<&Holder>| {
                let (place, stopping) = app.hubs().place(who).map_err(|full| full.problem(spread()))?;
                Ok(Place { permit: Box::new(place), stopping })
            };
            app.gateway().session_events(name.session, client, request, place).await
        }
        _ => app.gateway().session(name.session, client, request, JSON_MAX).await,
    }
}

/// Make an event stream of a viewer's session (WHEP's server-sent events extension).
///
/// The `Link` with `rel="urn:ietf:params:whep:ext:core:server-sent-events"` of the session's 201 is this path.
#[utoipa::path(
    post, path = "/sessions/{node}/{incarnation}/{session}/sse", tag = "media", operation_id = "subscribeSession",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
    ),
    request_body(content = Vec<String>, content_type = "application/json", description = "Of `active`, `inactive`, `layers`, `unplayable`; without a body all"),
    responses(
        (status = 201, description = "Made; Location is the event stream",
            headers(
                ("Location" = String, description = "The event stream's URL"),
            )),
        (status = 400, description = "Not a JSON array of names", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session, or it publishes", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come in time", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 409, description = "The session has two event streams", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 413, description = "Body too large", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 422, description = "None of the events named is sent here", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn subscribe_docs() {}

/// Read an event stream of a viewer's session (server-sent events).
///
/// `active` and `inactive` (`{}`) when what it watches begins and ends, `layers` when what can be chosen changes: by the
/// m-line's number in the SDP, `[{"rid", "bitrate", "current"}]`, best first; `unplayable` (by the m-line's number the codec) when
/// what comes is of a codec that the session did not negotiate, and `{}` when all can be sent again. It ends with the session.
#[utoipa::path(
    get, path = "/sessions/{node}/{incarnation}/{session}/sse/{stream}", tag = "media", operation_id = "sessionEvents",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
        ("stream" = u32, Path, description = "The event stream's number"),
    ),
    responses(
        (status = 200, description = "The events", body = String, content_type = "text/event-stream"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session or event stream", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 406, description = "Accept leaves text/event-stream out", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests, or listeners of this identity; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "Too many listeners, or the store has not been read yet; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn read_docs() {}

/// Ask whether an event stream is there, and leave it to who reads it.
#[utoipa::path(
    head, path = "/sessions/{node}/{incarnation}/{session}/sse/{stream}", tag = "media", operation_id = "peekSessionEvents",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
        ("stream" = u32, Path, description = "The event stream's number"),
    ),
    responses(
        (status = 200, description = "There; what GET would be answered with"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session or event stream", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 406, description = "Accept leaves text/event-stream out", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn peek_docs() {}

/// End an event stream.
#[utoipa::path(
    delete, path = "/sessions/{node}/{incarnation}/{session}/sse/{stream}", tag = "media", operation_id = "unsubscribeSession",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
        ("stream" = u32, Path, description = "The event stream's number"),
    ),
    responses(
        (status = 200, description = "Ended"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session or event stream", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn unsubscribe_docs() {}

/// Pick a layer (WHEP's video layer selection extension).
///
/// The `Link` with `rel="urn:ietf:params:whep:ext:core:layer"` of the session's 201 is this path.
#[utoipa::path(
    post, path = "/sessions/{node}/{incarnation}/{session}/layer", tag = "media", operation_id = "chooseLayer",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
    ),
    request_body(content = LayerPick, content_type = "application/json"),
    responses(
        (status = 200, description = "Picked; the picture changes at the layer's next keyframe"),
        (status = 400, description = "Not the extension's JSON object", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session, or it publishes", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come in time", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 413, description = "Body too large", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 422, description = "There is no such layer, or layers are not picked that way", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn choose_docs() {}
