//! `/sessions/{node}/{incarnation}/{session}`: trickle ICE, ICE restart, the end.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use freshet_edge::Problem;
use freshet_edge::body;
use freshet_edge::conditional::{Condition, etag, if_match};
use freshet_edge::media_type::{ACCEPT_PATCH, FRAGMENT, require_fragment};
use freshet_edge::names::SessionPath;
use freshet_edge::sdp;
use http::header::HeaderName;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::caller::identify;
use super::refusal::{not_done, not_here, tag_mismatch};
use super::state::HttpState;
use crate::service::{Fragment, IfMatch, Patched, SessionInfo};

/// Codecs of what comes that the session did not negotiate, by the m-line's place.
const UNPLAYABLE: HeaderName = HeaderName::from_static("freshet-unplayable");

/// GET and HEAD: there, and yours. No representation is defined (RFC 9725 section 4.1); the `ETag` names the ICE
/// session.
pub(super) async fn look(
    State(state): State<HttpState>,
    path: SessionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    mine(&state, &path)?;
    let (caller, _) = identify(&state, &parts, body, body::SDP_MAX).await?;
    let info = state.service.look(path.session, caller.access.owner()).await.map_err(not_done)?;
    let tag = etag(&info.etag).ok_or_else(Problem::internal)?;
    let accept = (ACCEPT_PATCH, HeaderValue::from_static(FRAGMENT));
    let mut response = (StatusCode::NO_CONTENT, [(header::ETAG, tag), accept]).into_response();
    let unplayable: Vec<String> =
        info.unplayable.iter().map(|(line, codec)| format!("{line};codec={codec}")).collect();
    if let (false, Ok(value)) = (unplayable.is_empty(), HeaderValue::from_str(&unplayable.join(", "))) {
        response.headers_mut().insert(UNPLAYABLE, value);
    }
    Ok(response)
}

/// PATCH: candidates under the current entity tag, or an ICE restart under `*`.
pub(super) async fn patch(
    State(state): State<HttpState>,
    path: SessionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    mine(&state, &path)?;
    let (caller, content) = identify(&state, &parts, body, body::SDP_MAX).await?;
    let owner = caller.access.owner();
    let info = state.service.look(path.session, owner).await.map_err(not_done)?;
    require_fragment(&parts.headers)?;
    let condition = condition(&parts.headers, &info)?;
    let fragment = sdp::Fragment::parse(&content.text(&parts).await?)?;
    if condition == IfMatch::Any && (fragment.ufrag.is_none() || fragment.pwd.is_none()) {
        return Err(Problem::bad_request(
            "If-Match: * asks for an ICE restart, which needs a=ice-ufrag and a=ice-pwd: send both, or send \
             candidates with the session's entity tag",
        )
        .reason("bad-fragment"));
    }
    let sdp::Fragment { ufrag, pwd, candidates, end } = fragment;
    let fragment = Fragment { ufrag, pwd, candidates, end };
    let done = state.service.patch(path.session, owner, condition, fragment).await.map_err(not_done)?;
    match done {
        // RFC 9725 section 4.3.2: no body and no ETag.
        Patched::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        Patched::Restarted { fragment, etag: tag } => {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
            let tag = (header::ETAG, etag(&tag).ok_or_else(Problem::internal)?);
            let store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            Ok((StatusCode::OK, [kind, tag, store], fragment).into_response())
        }
    }
}

/// DELETE: ends the session. An entity tag means nothing here (RFC 9725 section 4.3.1).
pub(super) async fn end(
    State(state): State<HttpState>,
    path: SessionPath,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    mine(&state, &path)?;
    let (caller, _) = identify(&state, &parts, body, body::SDP_MAX).await?;
    state.service.end(path.session, caller.access.owner()).await.map_err(not_done)?;
    Ok(StatusCode::OK.into_response())
}

pub(super) fn mine(state: &HttpState, path: &SessionPath) -> Result<(), Problem> {
    if state.is_mine(path) { Ok(()) } else { Err(not_here(path, &state.node)) }
}

/// What `If-Match` asks for: 428 without it, 412 when no tag is the current one. The service compares once more, since
/// the session may restart in between.
fn condition(headers: &HeaderMap, info: &SessionInfo) -> Result<IfMatch, Problem> {
    match if_match(headers)? {
        None => Err(Problem::precondition_required(
            "If-Match is missing: send the session's entity tag with candidates, or * for an ICE restart",
        )
        .reason("if-match-missing")),
        Some(Condition::Any) => Ok(IfMatch::Any),
        Some(tags) => match tags.strong().find(|tag| *tag == info.etag) {
            Some(tag) => Ok(IfMatch::Tag(tag.to_owned())),
            None => Err(tag_mismatch()),
        },
    }
}
