//! WHIP, WHEP and sessions at the coordinator's door.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::MethodRouter;
use freshet_edge::body::SDP_MAX;
use freshet_edge::media_type::{ACCEPT_PATCH, ACCEPT_POST, FRAGMENT, SDP};
use freshet_edge::names::{InRoom, SessionPath};
use freshet_edge::problem::ProblemDetail;
use freshet_edge::{Client, Problem};
use http::{HeaderValue, Method, Request, StatusCode, header};

use crate::app::App;
use crate::gateway::join::Kind;

/// What an endpoint takes.
const ENDPOINT_ALLOW: &str = "GET, HEAD, OPTIONS, POST";
/// What a session takes.
const SESSION_ALLOW: &str = "DELETE, GET, HEAD, OPTIONS, PATCH";

pub(super) fn client(request: &Request<Body>) -> Option<IpAddr> {
    Client::ip_of(request.extensions())
}

/// POST by the handler given; OPTIONS and GET as RFC 9725 section 4.2 wants them, without a token.
pub fn endpoint(post: MethodRouter<Arc<App>>) -> MethodRouter<Arc<App>> {
    post.options(endpoint_options).get(endpoint_get)
}

async fn endpoint_options() -> Response {
    let headers = [
        (header::ALLOW, HeaderValue::from_static(ENDPOINT_ALLOW)),
        (ACCEPT_POST, HeaderValue::from_static(SDP)),
    ];
    (StatusCode::OK, headers).into_response()
}

/// Nothing is there to be read.
async fn endpoint_get(_name: InRoom) -> Response {
    (StatusCode::NO_CONTENT, [(ACCEPT_POST, HeaderValue::from_static(SDP))]).into_response()
}

/// Publish (WHIP, RFC 9725).
///
/// `/whip/{room}/{stream}` names the stream where the token allows it.
#[utoipa::path(
    post, path = "/whip/{room}", tag = "media", operation_id = "publish",
    params(
        ("room" = String, Path, description = "Room id"),
        ("stream" = Option<String>, Query, description = "Open mode: the stream to publish, `main` without it"),
        ("identity" = Option<String>, Query, description = "Open mode: the name to go by"),
        ("region" = Option<String>, Query, description = "Where the client is: nodes of that region are preferred"),
        ("If-None-Match" = Option<String>, Header, description = "`*`: do not take over a stream that is live"),
    ),
    request_body(content = String, content_type = "application/sdp", description = "The offer"),
    responses(
        (status = 201, description = "The answer; Location is the session", body = String, content_type = "application/sdp",
            headers(
                ("Location" = String, description = "The session's URL"),
                ("ETag" = String, description = "Names the ICE session"),
                ("Link" = String, description = "STUN and TURN servers (`ice-server`), and where the stream's health is shown"),
                ("Accept-Patch" = String, description = "`application/trickle-ice-sdpfrag`"),
            )),
        (status = 307, description = "With `--join redirect`: send the same to the node in Location, which carries a ticket",
            headers(
                ("Location" = String, description = "The same path at the node, with a ticket"),
            )),
        (status = 400, description = "Not an offer, or not an id", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "The token does not cover it", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come in time", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 409, description = "The stream is live and If-None-Match was given", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 413, description = "Body too large", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 415, description = "Not application/sdp", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 422, description = "No codec in common, or an offer that cannot be served", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many from this identity or address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "No node took it; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn publish(
    State(app): State<Arc<App>>,
    name: InRoom,
    request: Request<Body>,
) -> Result<Response, Problem> {
    app.gateway().join(Kind::Publish, name, request).await
}

/// Watch (WHEP, draft-ietf-wish-whep-04).
///
/// `/whep/{room}/{stream}` pins a stream.
#[utoipa::path(
    post, path = "/whep/{room}", tag = "media", operation_id = "watch",
    params(
        ("room" = String, Path, description = "Room id"),
        ("wait" = Option<String>, Query, description = "`1`: a session even while nobody publishes; media follows"),
        ("identity" = Option<String>, Query, description = "Open mode: the name to go by"),
        ("region" = Option<String>, Query, description = "Where the client is: nodes of that region are preferred"),
    ),
    request_body(content = String, content_type = "application/sdp", description = "The offer"),
    responses(
        (status = 201, description = "The answer; Location is the session", body = String, content_type = "application/sdp",
            headers(
                ("Location" = String, description = "The session's URL"),
                ("ETag" = String, description = "Names the ICE session"),
                ("Link" = String, description = "STUN and TURN servers (`ice-server`), and the extensions of WHEP: event streams, and layers"),
                ("Accept-Patch" = String, description = "`application/trickle-ice-sdpfrag`"),
            )),
        (status = 307, description = "With `--join redirect`: send the same to the node in Location, which carries a ticket",
            headers(
                ("Location" = String, description = "The same path at the node, with a ticket"),
            )),
        (status = 400, description = "Not an offer, or not an id", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "The token does not cover it", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come in time", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 409, description = "Nobody publishes; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 413, description = "Body too large", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 415, description = "Not application/sdp", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 422, description = "No codec in common, or an offer that cannot be served", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many from this identity or address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "No node took it; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn view(
    State(app): State<Arc<App>>,
    name: InRoom,
    request: Request<Body>,
) -> Result<Response, Problem> {
    app.gateway().join(Kind::View, name, request).await
}

/// A session: PATCH (trickle ICE, ICE restart), DELETE, GET.
pub async fn session(
    State(app): State<Arc<App>>,
    name: SessionPath,
    request: Request<Body>,
) -> Result<Response, Problem> {
    // A preflight carries no token, and what a session takes is the same for all.
    if request.method() == Method::OPTIONS {
        let headers = [
            (header::ALLOW, HeaderValue::from_static(SESSION_ALLOW)),
            (ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT)),
        ];
        return Ok((StatusCode::OK, headers).into_response());
    }
    let client = client(&request);
    app.gateway().session(name, client, request, SDP_MAX).await
}

/// Trickle candidates or restart ICE (RFC 8840, RFC 9725 section 4.3).
#[utoipa::path(
    patch, path = "/sessions/{node}/{incarnation}/{session}", tag = "media", operation_id = "patchSession",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
        ("If-Match" = Option<String>, Header, description = "The session's ETag for a trickle, `*` for a restart"),
    ),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag", description = "The fragment"),
    responses(
        (status = 200, description = "ICE was restarted; the new fragment and ETag", body = String, content_type = "application/trickle-ice-sdpfrag",
            headers(
                ("ETag" = String, description = "Names the new ICE session"),
            )),
        (status = 204, description = "Candidates taken"),
        (status = 400, description = "Not a fragment", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session, or it has ended", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 412, description = "If-Match names another ICE session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come in time", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 413, description = "Body too large", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 415, description = "Not application/trickle-ice-sdpfrag", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 422, description = "It cannot be done", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 428, description = "If-Match is missing", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn patch_docs() {}

/// End a session.
#[utoipa::path(
    delete, path = "/sessions/{node}/{incarnation}/{session}", tag = "media", operation_id = "endSession",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
    ),
    responses(
        (status = 200, description = "Ended"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session, or it has ended", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn delete_docs() {}

/// Ask whether a session is there. There is nothing to be read of it.
#[utoipa::path(
    get, path = "/sessions/{node}/{incarnation}/{session}", tag = "media", operation_id = "lookAtSession",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
    ),
    responses(
        (status = 204, description = "There, and yours",
            headers(
                ("ETag" = String, description = "Names the ICE session"),
                ("Accept-Patch" = String, description = "`application/trickle-ice-sdpfrag`"),
                ("Freshet-Unplayable" = String, description = "While what comes is of a codec that the session did not negotiate: `1;codec=VP9`, by the m-line's place"),
            )),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session, or it has ended; `reason` says why", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn look_docs() {}

/// The same by HEAD.
#[utoipa::path(
    head, path = "/sessions/{node}/{incarnation}/{session}", tag = "media", operation_id = "peekAtSession",
    params(
        ("node" = String, Path, description = "Node id"),
        ("incarnation" = String, Path, description = "Which start of the node"),
        ("session" = String, Path, description = "Session id"),
    ),
    responses(
        (status = 204, description = "There, and yours",
            headers(
                ("ETag" = String, description = "Names the ICE session"),
                ("Accept-Patch" = String, description = "`application/trickle-ice-sdpfrag`"),
                ("Freshet-Unplayable" = String, description = "While what comes is of a codec that the session did not negotiate: `1;codec=VP9`, by the m-line's place"),
            )),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "Another identity's session", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session, or it has ended; `reason` says why", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests of this identity or from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "The node cannot be reached", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 504, description = "The node did not answer in time", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub fn peek_docs() {}
