//! `/sessions/…/sse` and `/sessions/…/layer`: what WHEP's extensions add to a viewer's session.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use freshet_cluster::Identity;
use freshet_edge::Problem;
use freshet_edge::body::JSON_MAX;
use freshet_edge::media_type::{ACCEPT_POST, JSON, require_json};
use freshet_edge::names::{EventStreamPath, SessionPath};
use freshet_edge::places::Holder;
use freshet_edge::sse::{headers, require_accepted};
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde_json::Value;

use super::caller::{Caller, Content, identify};
use super::pick::{self, json, not};
use super::refusal::not_done;
use super::session::mine;
use super::state::HttpState;
use crate::service::Kind;

/// Who finds no place comes back after this time.
const COME_BACK: Duration = Duration::from_secs(5);
/// Names of events in one request at most.
const NAMES_MAX: usize = 32;
/// What an event stream takes.
const STREAM_ALLOW: &str = "OPTIONS, GET, HEAD, DELETE";

/// The `Link` headers of a new viewer's session at this URL.
pub(super) fn links(location: &str) -> [String; 2] {
    let events = Kind::ALL.map(Kind::name).join(",");
    [
        format!(
            "<{location}/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"{events}\""
        ),
        format!("<{location}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\""),
    ]
}

/// `POST …/sse`: an event stream of the session, for the events named; for all without a body.
pub(super) async fn subscribe(
    State(state): State<HttpState>,
    path: SessionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (caller, content) = whose(&state, &path, &parts, body).await?;
    if parts.headers.contains_key(header::CONTENT_TYPE) {
        require_json(&parts.headers)?;
    }
    let body = content.json(&parts).await?;
    let wants = if body.is_empty() {
        Kind::ALL.to_vec()
    } else {
        require_json(&parts.headers)?;
        wanted(&body)?
    };
    let stream = state.service.subscribe(path.session, caller.access.owner(), &wants).await;
    let stream = stream.map_err(not_done)?;
    let path = EventStreamPath { session: path, stream };
    let location = HeaderValue::from_str(&path.location(caller.public_url(&state)));
    let location = location.or_else(|_| HeaderValue::from_str(&path.location(None)));
    let location = (header::LOCATION, location.map_err(|_| Problem::internal())?);
    let store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((StatusCode::CREATED, [location, store]).into_response())
}

/// The events named. Names that we do not send are passed over, as they may be those of other servers.
fn wanted(body: &[u8]) -> Result<Vec<Kind>, Problem> {
    let names = match json(body)? {
        Value::Array(names) => names,
        other => return Err(not("a JSON array of names of events, such as [\"layers\"]", &other)),
    };
    if names.len() > NAMES_MAX {
        let detail = format!("the body names {} events: name {NAMES_MAX} at most", names.len());
        return Err(Problem::bad_request(detail).reason("bad-json"));
    }
    if let Some(other) = names.iter().find(|name| !name.is_string()) {
        return Err(not("an array of strings, each the name of an event", other));
    }
    let wants: Vec<Kind> =
        Kind::ALL.into_iter().filter(|kind| names.iter().any(|name| name == kind.name())).collect();
    if wants.is_empty() {
        let known = Kind::ALL.map(Kind::name).join(", ");
        let detail = format!("none of the events named is sent here: name one of {known}");
        return Err(Problem::unprocessable(detail).reason("no-such-event"));
    }
    Ok(wants)
}

/// `GET …/sse/{stream}`: the events, as long as the session lives and the client listens.
pub(super) async fn read(
    State(state): State<HttpState>,
    path: EventStreamPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (caller, _) = whose(&state, &path.session, &parts, body).await?;
    require_accepted(&parts.headers)?;
    // Whom a coordinator sends has a place of its identity's there.
    let who = Holder::of(&caller.access, caller.client()).filter(|_| !caller.placed());
    let place = state.listeners.take(who.as_ref()).map_err(|full| full.problem(COME_BACK))?;
    let events = state.service.read(path.session.session, caller.access.owner(), path.stream).await;
    Ok(events.map_err(not_done)?.within(place).into_response())
}

/// `HEAD …/sse/{stream}`: what GET would be answered with. Whoever reads the event stream goes on.
pub(super) async fn peek(
    State(state): State<HttpState>,
    path: EventStreamPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (caller, _) = whose(&state, &path.session, &parts, body).await?;
    require_accepted(&parts.headers)?;
    let there = state.service.has_stream(path.session.session, caller.access.owner(), path.stream).await;
    there.map_err(not_done)?;
    Ok(headers().into_response())
}

/// `DELETE …/sse/{stream}`.
pub(super) async fn unsubscribe(
    State(state): State<HttpState>,
    path: EventStreamPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (caller, _) = whose(&state, &path.session, &parts, body).await?;
    let ended = state.service.unsubscribe(path.session.session, caller.access.owner(), path.stream).await;
    ended.map_err(not_done)?;
    Ok(StatusCode::OK.into_response())
}

/// `POST …/layer`: picks a layer, or leaves the choice to the node again.
pub(super) async fn choose(
    State(state): State<HttpState>,
    path: SessionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (caller, content) = whose(&state, &path, &parts, body).await?;
    require_json(&parts.headers)?;
    let (media_id, choice) = pick::read(&content.json(&parts).await?)?;
    let owner = caller.access.owner();
    let chosen = state.service.choose_layer(path.session, owner, media_id.as_deref(), choice).await;
    chosen.map_err(not_done)?;
    Ok(StatusCode::OK.into_response())
}

pub(super) async fn post_options() -> Response {
    let allow = (header::ALLOW, HeaderValue::from_static("OPTIONS, POST"));
    ([allow, (ACCEPT_POST, HeaderValue::from_static(JSON))], StatusCode::OK).into_response()
}

pub(super) async fn stream_options() -> Response {
    ([(header::ALLOW, HeaderValue::from_static(STREAM_ALLOW))], StatusCode::OK).into_response()
}

/// Who asks, when the session is here and theirs.
async fn whose(
    state: &HttpState,
    path: &SessionPath,
    parts: &Parts,
    body: Body,
) -> Result<(Caller, Content), Problem> {
    mine(state, path)?;
    let (caller, content) = identify(state, parts, body, JSON_MAX).await?;
    let owner: Option<&Identity> = caller.access.owner();
    state.service.look(path.session, owner).await.map_err(not_done)?;
    Ok((caller, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_named_in_an_array() {
        let named = |body: &str| wanted(body.as_bytes()).map_err(|problem| problem.status().as_u16());
        assert_eq!(named(r#"["layers","active","viewercount"]"#), Ok(vec![Kind::Active, Kind::Layers]));
        for bad in ["{}", "7", r#""active""#, "[1]", "[", r#"[["active"]]"#] {
            assert_eq!(named(bad), Err(400), "{bad}");
        }
        let many = serde_json::to_string(&vec!["active"; NAMES_MAX + 1]).unwrap_or_default();
        assert_eq!(named(&many), Err(400));
        for none in ["[]", r#"["viewercount"]"#] {
            assert_eq!(named(none), Err(422), "{none}");
        }
    }
}
