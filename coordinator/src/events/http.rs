//! The HTTP of room events: post chat, listen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use freshet_cluster::bus::{BusError, Receipt};
use freshet_cluster::keys::{Topic, room_subject};
use freshet_cluster::room::ChatMessage;
use freshet_cluster::token::Grant;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::{MIN_VERSION, Unknown, VERSION, encode};
use freshet_cluster::{Identity, RoomId};
use freshet_edge::names::InRoom;
use freshet_edge::places::Holder;
use freshet_edge::scope::Params;
use freshet_edge::sse::require_accepted;
use freshet_edge::{Access, Client, Problem, body};
use http::{Extensions, HeaderMap, HeaderName, Method, Request, StatusCode};

use super::chat::{self, ChatPost, ChatReceipt, PostError, STORE_TIMEOUT};
use crate::app::App;
use crate::gateway::join::spread;

/// Where a listener wants to go on (HTML standard, section 9.2).
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Post a chat message.
///
/// It is acknowledged only when it is stored. Posting the same `id` again is harmless: a retry that finds the message
/// stored gets 200 and `duplicate`. After 10 minutes (`at_ms` says when the first try was) a retry is refused.
#[utoipa::path(
    post, path = "/v1/rooms/{room}/chat", tag = "events", operation_id = "postChat",
    params(("room" = String, Path, description = "Room id")),
    request_body = ChatPost,
    responses(
        (status = 201, description = "Stored", body = ChatReceipt),
        (status = 200, description = "Had been stored before", body = ChatReceipt),
        (status = 400, description = "Not of the form", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "The token does not cover it", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come in time", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 409, description = "The first try was more than 10 minutes ago", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 413, description = "Body too large", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many posts; see Retry-After", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The bus is away; retry under the same id", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn post_chat(
    State(app): State<Arc<App>>,
    name: InRoom,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let outcome = |result: &Result<Receipt, Problem>| match result {
        Ok(receipt) if receipt.duplicate => "duplicate",
        Ok(_) => "stored",
        Err(problem) if problem.status() == StatusCode::TOO_MANY_REQUESTS => "limited",
        Err(problem) if problem.status().is_server_error() => "paused",
        Err(_) => "refused",
    };
    let (parts, body) = request.into_parts();
    let access =
        app.state().config.guard.check(&parts.headers, &name.room, Grant::Chat, UnixMillis::now())?;
    let access = access.named(&Params::read(&parts.uri)?)?;
    app.door().admit(&access, &parts.method, &parts.extensions)?;
    let post: ChatPost = body::read_json(&parts.headers, body, chat::FORM).await?;
    let id = post.id.clone();
    let result = store(&app, &name.room, access, post).await;
    app.state().metrics.chat.with_label_values(&[outcome(&result)]).inc();
    let Receipt { seq, duplicate } = result?;
    let status = if duplicate { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(ChatReceipt { seq, id, duplicate })).into_response())
}

async fn store(app: &App, room: &RoomId, access: Access, post: ChatPost) -> Result<Receipt, Problem> {
    let from = sender(access, post.from.as_deref())?;
    let now = UnixMillis::now();
    chat::check(&post, now).map_err(|error| refuse(&error, now))?;
    app.take_chat_token(room, &from, Instant::now()).map_err(|wait| {
        Problem::too_many_requests("you post faster than this room allows: wait a moment", wait)
    })?;
    let message_id = chat::message_id(room, &from, &post.id);
    let message = ChatMessage {
        v: VERSION,
        min_v: MIN_VERSION,
        id: post.id,
        from,
        text: post.text,
        at: now,
        unknown: Unknown::new(),
    };
    let subject = room_subject(room, Topic::Chat);
    let stored = app.state().bus.append(&subject, &message_id, encode(&message));
    match tokio::time::timeout(STORE_TIMEOUT, stored).await {
        Ok(Ok(receipt)) => Ok(receipt),
        Ok(Err(BusError::Refused(why))) => {
            tracing::error!(room = room.as_str(), why, "the bus refuses chat");
            Err(Problem::internal())
        }
        Ok(Err(BusError::Unavailable(_))) | Err(_) => {
            let detail = "chat is paused and the message may not be stored: send it again under the same id";
            Err(Problem::unavailable("paused", detail, Duration::from_secs(2)))
        }
    }
}

/// With tokens the token says who posts; in open mode the post may.
fn sender(access: Access, from: Option<&str>) -> Result<Identity, Problem> {
    match from {
        Some(name) if access.open => {
            name.parse().map_err(|e| Problem::bad_request(format!("from: {e}")).reason("bad-id"))
        }
        _ => Ok(access.identity),
    }
}

fn refuse(error: &PostError, now: UnixMillis) -> Problem {
    let detail = error.to_string();
    match error {
        // `now_ms` lets a client with a wrong clock set it right.
        PostError::TooOld(_) => Problem::conflict("too-old", detail).member("now_ms", now.0),
        PostError::Future(_) => Problem::bad_request(detail).reason("bad-clock").member("now_ms", now.0),
        _ => Problem::bad_request(detail).reason("bad-message"),
    }
}

/// Listen to a room's events (server-sent events).
///
/// First a `snapshot`, then the last 100 `chat` messages (or those after `Last-Event-ID`), then what happens: `chat`,
/// `stream`, `presence`, `reset` when the history was lost, `paused` and `resumed` around an outage of the bus.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/events", tag = "events", operation_id = "roomEvents",
    params(
        ("room" = String, Path, description = "Room id"),
        ("Last-Event-ID" = Option<u64>, Header, description = "The last chat id seen: only later messages are sent"),
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 400, description = "Not a room id", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "The token does not cover it", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 406, description = "Accept leaves text/event-stream out", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many listeners of this identity, or too many requests; see Retry-After", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "Too many listeners, or the store has not been read yet; see Retry-After", body = freshet_edge::problem::ProblemDetail, content_type = "application/problem+json"),
    ),
    security((), ("bearer" = []))
)]
pub async fn room_events(
    State(app): State<Arc<App>>,
    name: InRoom,
    extensions: Extensions,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let access = app.state().config.guard.enter(&headers, &name.room, Grant::Subscribe, UnixMillis::now())?;
    // Whoever takes part in the room in any way may hear it.
    access
        .require(&name.room, Grant::Subscribe)
        .or_else(|refused| access.require(&name.room, Grant::Publish).map_err(|_| refused))
        .or_else(|refused| access.require(&name.room, Grant::Chat).map_err(|_| refused))?;
    require_accepted(&headers)?;
    app.door().admit(&access, &Method::GET, &extensions)?;
    let last_id = headers.get(&LAST_EVENT_ID).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    let who = Holder::of(&access, Client::ip_of(&extensions));
    let listening = app.hubs().listen(&name.room, last_id, who.as_ref());
    listening.map(IntoResponse::into_response).map_err(|full| full.problem(spread()))
}
