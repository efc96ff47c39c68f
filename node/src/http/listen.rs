//! `/sessions/…/sse` and `/sessions/…/layer`: what WHEP's extensions add to a viewer's session.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use freshet_cluster::Identity;
use freshet_edge::Problem;
use freshet_edge::media_type::{ACCEPT_POST, JSON, require_json};
use freshet_edge::names::{EventStreamPath, SessionPath};
use freshet_edge::sse::accepts;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::caller::{Caller, Content, identify};
use super::refusal::not_done;
use super::session::mine;
use super::state::HttpState;
use crate::service::{Choice, Kind};

/// Names of events in one request at most.
const NAMES_MAX: usize = 32;
/// Longest RID or number of an m-line, in bytes.
const ID_MAX: usize = 255;
/// Highest temporal layer that a VP8 payload can name (RFC 7741 section 4.2).
const TEMPORAL_MAX: u8 = 3;

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
    let names: Vec<String> = serde_json::from_slice(body).map_err(|e| {
        let detail = format!("the body is not a JSON array of names of events: {e}");
        Problem::bad_request(detail).reason("bad-json")
    })?;
    if names.len() > NAMES_MAX {
        let detail = format!("the body names {} events: name {NAMES_MAX} at most", names.len());
        return Err(Problem::bad_request(detail).reason("bad-json"));
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
    if !accepts(&parts.headers) {
        let detail = "an event stream is text/event-stream, which Accept leaves out: add it";
        return Err(Problem::new(StatusCode::NOT_ACCEPTABLE, detail).reason("not-acceptable"));
    }
    let events = state.service.read(path.session.session, caller.access.owner(), path.stream).await;
    Ok(events.map_err(not_done)?.into_response())
}

/// `HEAD` of an event stream would take it from who reads it.
pub(super) async fn no_head() -> Problem {
    let allow = (header::ALLOW, HeaderValue::from_static("OPTIONS, GET, DELETE"));
    let detail = "this resource takes OPTIONS, GET, DELETE: use one of these";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail).header(allow.0, allow.1)
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

/// What a client picks: the draft's members. Those of spatial layers and sizes are read so that they can be refused.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Pick {
    media_id: Option<String>,
    rid: Option<String>,
    /// What drafts before 02 called it.
    encoding_id: Option<String>,
    /// To be sent: it and those that it needs, which are all below it.
    temporal_layer_id: Option<u8>,
    max_temporal_layer_id: Option<u8>,
    spatial_layer_id: Option<IgnoredAny>,
    max_spatial_layer_id: Option<IgnoredAny>,
    max_width: Option<IgnoredAny>,
    max_height: Option<IgnoredAny>,
}

impl Pick {
    fn read(body: &[u8]) -> Result<(Option<String>, Choice), Problem> {
        let bad = |detail: String| Problem::bad_request(detail).reason("bad-json");
        let pick: Self = serde_json::from_slice(body)
            .map_err(|e| bad(format!("the body is not a JSON object as the layer extension has it: {e}")))?;
        let others = [
            ("spatialLayerId", pick.spatial_layer_id),
            ("maxSpatialLayerId", pick.max_spatial_layer_id),
            ("maxWidth", pick.max_width),
            ("maxHeight", pick.max_height),
        ];
        if let Some((name, _)) = others.iter().find(|(_, value)| value.is_some()) {
            let detail = format!("layers are not picked by {name} here: pick one by its rid");
            return Err(Problem::unprocessable(detail).reason("no-such-layer"));
        }
        let temporal = [pick.temporal_layer_id, pick.max_temporal_layer_id].into_iter().flatten();
        if let Some(none) = temporal.clone().find(|layer| *layer > TEMPORAL_MAX) {
            let detail = format!("there is no temporal layer {none}: name one of 0 to {TEMPORAL_MAX}");
            return Err(Problem::unprocessable(detail).reason("no-such-layer"));
        }
        let max_temporal = temporal.min();
        if pick.rid.is_some() && pick.encoding_id.is_some() && pick.rid != pick.encoding_id {
            return Err(bad("rid and encodingId name different layers: send rid alone".to_owned()));
        }
        let rid = pick.rid.or(pick.encoding_id);
        if [&pick.media_id, &rid].into_iter().flatten().any(|id| id.len() > ID_MAX) {
            return Err(bad(format!("mediaId and rid have {ID_MAX} bytes at most")));
        }
        Ok((pick.media_id, Choice { rid, max_temporal }))
    }
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
    let (media_id, choice) = Pick::read(&content.json(&parts).await?)?;
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
    ([(header::ALLOW, HeaderValue::from_static("OPTIONS, GET, DELETE"))], StatusCode::OK).into_response()
}

/// Who asks, when the session is here and theirs.
async fn whose(
    state: &HttpState,
    path: &SessionPath,
    parts: &Parts,
    body: Body,
) -> Result<(Caller, Content), Problem> {
    mine(state, path)?;
    let (caller, content) = identify(state, parts, body).await?;
    let owner: Option<&Identity> = caller.access.owner();
    state.service.look(path.session, owner).await.map_err(not_done)?;
    Ok((caller, content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picked(body: &str) -> Result<(Option<String>, Choice), u16> {
        Pick::read(body.as_bytes()).map_err(|problem| problem.status().as_u16())
    }

    #[test]
    fn a_pick_names_a_layer_or_none() {
        let one = |media: Option<&str>, id: &str| {
            let choice = Choice { rid: Some(id.to_owned()), max_temporal: None };
            Ok((media.map(str::to_owned), choice))
        };
        assert_eq!(picked(r#"{"mediaId": "1", "rid": "hd"}"#), one(Some("1"), "hd"));
        assert_eq!(picked(r#"{"encodingId": "hd"}"#), one(None, "hd"));
        assert_eq!(picked(r#"{"rid": "hd", "encodingId": "hd"}"#), one(None, "hd"));
        assert_eq!(picked("{}"), Ok((None, Choice::default())));
        assert_eq!(picked(r#"{"mediaId": "0"}"#), Ok((Some("0".to_owned()), Choice::default())));
        assert_eq!(picked(r#"{"rid": null}"#), Ok((None, Choice::default())));
        let long = format!(r#"{{"rid": "{}"}}"#, "x".repeat(256));
        let twice = r#"{"rid": "a", "encodingId": "b"}"#;
        for bad in ["", "[]", "7", r#"{"rid": 7}"#, r#"{"mediaId": 1}"#, r#"{"what": 1}"#, twice, &long] {
            assert_eq!(picked(bad), Err(400), "{bad}");
        }
        for other in ["spatialLayerId", "maxSpatialLayerId", "maxWidth", "maxHeight"] {
            assert_eq!(picked(&format!(r#"{{"rid": "hd", "{other}": 1}}"#)), Err(422), "{other}");
        }
    }

    #[test]
    fn a_pick_bounds_temporal_layers_or_lifts_the_bound() {
        let bound = |body: &str| picked(body).map(|(_, choice)| (choice.rid, choice.max_temporal));
        assert_eq!(bound(r#"{"maxTemporalLayerId": 0}"#), Ok((None, Some(0))));
        assert_eq!(bound(r#"{"temporalLayerId": 3}"#), Ok((None, Some(3))));
        assert_eq!(
            bound(r#"{"rid": "h", "temporalLayerId": 1, "maxTemporalLayerId": 2}"#),
            Ok((Some("h".to_owned()), Some(1)))
        );
        assert_eq!(bound(r#"{"temporalLayerId": 3, "maxTemporalLayerId": 2}"#), Ok((None, Some(2))));
        assert_eq!(bound(r#"{"maxTemporalLayerId": null}"#), Ok((None, None)));
        for name in ["temporalLayerId", "maxTemporalLayerId"] {
            for bad in ["-1", "256", "0.5", r#""1""#, "[1]", "true"] {
                assert_eq!(bound(&format!(r#"{{"{name}": {bad}}}"#)), Err(400), "{name} {bad}");
            }
            assert_eq!(bound(&format!(r#"{{"{name}": 4}}"#)), Err(422), "{name}");
        }
    }

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
