//! `/v1/rooms/{room}/streams/{stream}/health`: how a publisher's media arrives here.

use axum::Json;
use axum::extract::{Request, State};
use freshet_cluster::{RoomId, StreamId};
use freshet_edge::Problem;
use freshet_edge::bearer::insufficient;
use freshet_edge::body;
use freshet_edge::names::InRoom;
use freshet_edge::stream_health::StreamHealth;
use http::{HeaderValue, header};

use super::caller::identify;
use super::state::HttpState;

/// The `Link` header of a new publisher's session: where its health is shown.
pub(super) fn link(public_url: Option<&str>, room: &RoomId, stream: &StreamId) -> String {
    let base = public_url.unwrap_or_default().trim_end_matches('/');
    let (room, stream) = (room.as_str(), stream.as_str());
    format!("<{base}/v1/rooms/{room}/streams/{stream}/health>; rel=\"urn:freshet:whip:ext:health\"")
}

/// GET. Shown to whoever may take part in the room.
pub(super) async fn stream_health(
    State(state): State<HttpState>,
    InRoom { room, stream }: InRoom,
    request: Request,
) -> Result<([(header::HeaderName, HeaderValue); 1], Json<StreamHealth>), Problem> {
    let (parts, body) = request.into_parts();
    let (caller, _) = identify(&state, &parts, body, body::JSON_MAX).await?;
    // Whoever has no token is a guest of public rooms: nobody's health is shown to a guest.
    let access = &caller.access;
    if !access.rooms.covers(&room) || access.grants.iter().next().is_none() {
        return Err(insufficient(format!("this needs a token for room {:?}", room.as_str())));
    }
    let stream = stream.ok_or_else(Problem::internal)?;
    let health = state.service.health(&room, &stream).await.ok_or_else(|| {
        Problem::not_found("the stream's publisher is not connected to this node").reason("no-publisher")
    })?;
    Ok(([(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(health)))
}
