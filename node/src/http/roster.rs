//! `/v1/rooms/{room}/sessions`: this node's sessions of a room, for those who run it. Coordinators add them up.

use axum::Json;
use axum::extract::{Request, State};
use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_edge::Problem;
use freshet_edge::names::{InRoom, RoomSession, no_session};
use freshet_edge::roster::{Filter, SessionEntry, SessionsPage};

use super::caller::operate;
use super::state::HttpState;
use crate::service::Listed;

fn entry(state: &HttpState, listed: Listed) -> SessionEntry {
    let Listed { session, held } = listed;
    SessionEntry {
        session,
        identity: held.identity,
        direction: held.direction.as_str().to_owned(),
        stream: held.stream,
        since_ms: held.since.0,
        age_ms: UnixMillis::now().0.saturating_sub(held.since.0),
        node: state.node.clone(),
        incarnation: state.incarnation,
    }
}

/// GET: a page of them.
pub(super) async fn list(
    State(state): State<HttpState>,
    InRoom { room, .. }: InRoom,
    request: Request,
) -> Result<Json<SessionsPage>, Problem> {
    let (parts, body) = request.into_parts();
    operate(&state, &parts, body, &room).await?;
    let filter = Filter::read(&parts.uri)?;
    let found = state.service.list(&room, &filter);
    let entries = found.into_iter().map(|one| entry(&state, one)).collect();
    Ok(Json(SessionsPage::of(entries, filter.limit)))
}

fn find(state: &HttpState, name: &RoomSession) -> Result<SessionEntry, Problem> {
    let found = state.service.find(name.session).filter(|one| one.held.room == name.room);
    found.map(|one| entry(state, one)).ok_or_else(no_session)
}

/// GET of one.
pub(super) async fn look(
    State(state): State<HttpState>,
    name: RoomSession,
    request: Request,
) -> Result<Json<SessionEntry>, Problem> {
    let (parts, body) = request.into_parts();
    operate(&state, &parts, body, &name.room).await?;
    find(&state, &name).map(Json)
}

/// DELETE: ends it, whoever's it is. `?reason=taken-over` is what a coordinator says of a session beyond what its
/// identity may hold.
pub(super) async fn end(
    State(state): State<HttpState>,
    name: RoomSession,
    request: Request,
) -> Result<Json<SessionEntry>, Problem> {
    let (parts, body) = request.into_parts();
    operate(&state, &parts, body, &name.room).await?;
    let reason = match parts.uri.query() {
        Some("reason=taken-over") => EndReason::TakenOver,
        _ => EndReason::Revoked,
    };
    let found = find(&state, &name)?;
    state.service.dismiss(name.session, reason).await;
    Ok(Json(found))
}
