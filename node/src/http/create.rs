//! `POST /whip/…` and `POST /whep/…`: an offer becomes a session.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use freshet_cluster::room::EndReason;
use freshet_cluster::token::Grant;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{RoomId, StreamId};
use freshet_edge::Problem;
use freshet_edge::conditional::{Condition, etag, if_none_match};
use freshet_edge::media_type::{ACCEPT_PATCH, FRAGMENT, SDP, require_sdp};
use freshet_edge::names::{InRoom, SessionPath};
use freshet_edge::scope::Params;
use http::{HeaderValue, StatusCode, header};
use tokio::sync::oneshot;

use super::caller::{Caller, admit};
use super::health;
use super::listen::links;
use super::refusal::not_created;
use super::state::HttpState;
use crate::service::{CreateSession, Created, Direction};

/// `POST /whip/{room}[/{stream}]`.
pub(super) async fn publish(
    State(state): State<HttpState>,
    InRoom { room, stream }: InRoom,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::read(&parts.uri)?;
    let (mut caller, content) = admit(&state, &parts, body, &room, Grant::Publish).await?;
    caller.access = caller.access.named(&params)?;
    let stream = caller.access.publishes(stream, &params)?;
    require_sdp(&parts.headers)?;
    let only_if_absent = if_none_match(&parts.headers)? == Some(Condition::Any);
    let ask = CreateSession {
        direction: Direction::Publish,
        stream: Some(stream),
        identity: caller.access.identity.clone(),
        offer: offer(content.text(&parts).await?)?,
        only_if_absent,
        wait: false,
        placed: caller.placed(),
        plan: caller.plan(&room),
        client: caller.client(),
        there: caller.there(),
        whose: caller.whose(),
        most: caller.access.bound.publish,
        room,
    };
    create(&state, &caller, ask).await
}

/// `POST /whep/{room}[/{stream}]`.
pub(super) async fn view(
    State(state): State<HttpState>,
    InRoom { room, stream }: InRoom,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let params = Params::read(&parts.uri)?;
    let wait = params.waits()?;
    let (mut caller, content) = admit(&state, &parts, body, &room, Grant::Subscribe).await?;
    caller.access = caller.access.named(&params)?;
    require_sdp(&parts.headers)?;
    let ask = CreateSession {
        direction: Direction::View,
        stream,
        identity: caller.access.identity.clone(),
        offer: offer(content.text(&parts).await?)?,
        only_if_absent: false,
        wait,
        placed: caller.placed(),
        plan: caller.plan(&room),
        client: caller.client(),
        there: caller.there(),
        whose: caller.whose(),
        most: caller.access.bound.subscribe,
        room,
    };
    create(&state, &caller, ask).await
}

fn offer(text: String) -> Result<String, Problem> {
    if text.trim().is_empty() {
        return Err(Problem::bad_request("the body is empty: send an SDP offer").reason("bad-sdp"));
    }
    Ok(text)
}

/// Creates on a task of its own: a client that hangs up in between must not leave a half-made session, nor a whole one
/// that nobody knows.
async fn create(state: &HttpState, caller: &Caller, ask: CreateSession) -> Result<Response, Problem> {
    let (tell, told) = oneshot::channel();
    let service = std::sync::Arc::clone(&state.service);
    let owner = caller.access.owner().cloned();
    let (direction, room, stream) = (ask.direction, ask.room.clone(), ask.stream.clone());
    tokio::spawn(async move {
        let made = service.create(ask).await;
        if let Err(Ok(unheard)) = tell.send(made) {
            // It may have ended by itself; either way it is gone.
            let _gone = service.end(unheard.session, owner.as_ref()).await;
        }
    });
    let created = told.await.map_err(|_| Problem::internal())?.map_err(not_created)?;
    // Who was sent away while the session was being made is not let in by that.
    if let Err(refused) = state.guard.admit(&caller.access, &room, UnixMillis::now()) {
        state.service.dismiss(created.session, EndReason::Revoked).await;
        return Err(refused);
    }
    let published = stream.filter(|_| direction == Direction::Publish);
    answer(state, caller, published.map(|stream| (room, stream)), created)
}

/// The 201: to a publisher of this stream, or to a viewer.
fn answer(
    state: &HttpState,
    caller: &Caller,
    published: Option<(RoomId, StreamId)>,
    created: Created,
) -> Result<Response, Problem> {
    let Created { session, answer, etag: tag } = created;
    let path = SessionPath { node: state.node.clone(), incarnation: state.incarnation, session };
    let mut public_url = caller.public_url(state);
    let mut location = path.location(public_url);
    if HeaderValue::from_str(&location).is_err() {
        (public_url, location) = (None, path.path());
    }
    let mut response = (StatusCode::CREATED, answer).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(header::LOCATION, HeaderValue::from_str(&location).map_err(|_| Problem::internal())?);
    headers.insert(header::ETAG, etag(&tag).ok_or_else(Problem::internal)?);
    headers.insert(ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    for link in state.ice.links(&caller.access.identity, UnixMillis::now()) {
        headers.append(header::LINK, link);
    }
    let more = match published {
        Some((room, stream)) => vec![health::link(public_url, &room, &stream)],
        None => links(&location).to_vec(),
    };
    for link in more {
        headers.append(header::LINK, HeaderValue::from_str(&link).map_err(|_| Problem::internal())?);
    }
    Ok(response)
}
