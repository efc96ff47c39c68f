//! What the service refuses, in HTTP.

use std::time::Duration;

use freshet_cluster::NodeId;
use freshet_cluster::room::EndReason;
use freshet_edge::Problem;
use freshet_edge::names::{SessionPath, no_session};
use http::StatusCode;

use crate::service::{CreateError, SessionError};

/// When a client refused for want of room asks again.
const BUSY: Duration = Duration::from_secs(5);
/// When ICE of a session may be restarted again.
const RESTART_AGAIN: Duration = Duration::from_secs(1);
/// When a client asks again after the store was away.
const STORE: Duration = Duration::from_secs(2);

/// Why there is no new session.
pub(super) fn not_created(error: CreateError) -> Problem {
    let said = error.to_string();
    match error {
        CreateError::OverCapacity { limit } => {
            elsewhere("over-capacity", format!("{said}: ask again, or ask another node"))
                .member("limit", limit)
        }
        CreateError::HalfOpen { limit } => {
            elsewhere("over-capacity", format!("{said}: ask again, or ask another node"))
                .member("half_open_limit", limit)
        }
        CreateError::Busy { busy, limit } => {
            elsewhere("over-capacity", format!("{said}: ask again, or ask another node"))
                .member("busy_percent", busy)
                .member("busy_limit_percent", limit)
        }
        CreateError::Draining => elsewhere("draining", format!("{said}: ask another node")),
        CreateError::LeaseLost => elsewhere("lease-lost", format!("{said}: ask another node")),
        CreateError::Replaced => elsewhere("replaced", format!("{said}: ask another node")),
        CreateError::Dismissed => Problem::forbidden(said).reason("revoked"),
        CreateError::NoPublisher { retry_after } => Problem::conflict(
            "no-publisher",
            format!("{said}: ask again after Retry-After, or with ?wait=1 for a session whose media follows"),
        )
        .retry_after(retry_after),
        CreateError::StreamLive => Problem::conflict(
            "stream-live",
            format!("{said}: end it first, or publish without If-None-Match to take it over"),
        ),
        CreateError::BadOffer(_) => Problem::bad_request(said).reason("bad-sdp"),
        CreateError::Unprocessable(_) => Problem::unprocessable(said).reason("unprocessable-offer"),
        CreateError::NoCommonCodec { offered, served } => Problem::unprocessable(format!(
            "no codec in common: offered {}, served {}: offer one of those served",
            list(&offered),
            list(&served)
        ))
        .reason("no-common-codec")
        .member("offered", offered)
        .member("served", served),
        CreateError::StoreAway => Problem::unavailable("store-away", said, STORE),
        CreateError::StoreTooNew => Problem::unavailable("store-too-new", said, STORE),
        CreateError::Internal => Problem::internal(),
    }
}

/// 503 that another node may not repeat.
fn elsewhere(reason: &'static str, detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).refused(reason).retry_after(BUSY)
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// Why a request on a session was not carried out.
pub(super) fn not_done(error: SessionError) -> Problem {
    let said = error.to_string();
    match error {
        SessionError::NotFound { reason: None } => no_session(),
        SessionError::NotFound { reason: Some(reason) } => ended(reason),
        SessionError::NotYours => {
            Problem::forbidden(format!("{said}: use the token that made it")).reason("not-yours")
        }
        SessionError::TagMismatch { .. } => tag_mismatch(),
        SessionError::Unprocessable(_) => Problem::unprocessable(said).reason("unprocessable-fragment"),
        SessionError::TooManyRestarts => Problem::too_many_requests(said, RESTART_AGAIN),
        SessionError::NotAViewer => Problem::not_found(said).reason("not-a-viewer"),
        SessionError::NoSuchStream => {
            Problem::not_found(format!("{said}: make one with POST")).reason("no-event-stream")
        }
        SessionError::TooManyStreams => {
            Problem::conflict("too-many-event-streams", format!("{said}: end one with DELETE first"))
        }
        SessionError::NoSuchLayer(_) => Problem::unprocessable(said).reason("no-such-layer"),
        SessionError::Internal => Problem::internal(),
    }
}

/// 412. The current tag is not told: who does not have it does not have the ICE session either.
pub(super) fn tag_mismatch() -> Problem {
    Problem::precondition_failed(
        "the entity tag is not of the current ICE session: use the ETag of the last answer, or restart ICE with \
         If-Match: *",
    )
    .reason("tag-mismatch")
}

fn ended(reason: EndReason) -> Problem {
    let detail = match reason {
        EndReason::Closed => "the session was closed: make a new one with POST",
        EndReason::IceTimeout => "nothing came from the client for too long: make a new session with POST",
        EndReason::DtlsTimeout => "DTLS was not done in time: make a new session with POST",
        EndReason::DtlsClosed => "the client closed DTLS: make a new session with POST",
        EndReason::TakenOver => {
            "a newer publish of the same stream took over, or a newer session than its identity may hold beside it: do \
             not make another by yourself"
        }
        EndReason::Revoked => "those who run the room ended the session: do not make another by yourself",
        EndReason::Drained => "the node was drained: make a new session with POST, another node takes it",
        EndReason::NodeDead | EndReason::Unknown => "the session has ended: make a new one with POST",
    };
    Problem::not_found(detail).reason(reason.as_str())
}

/// A session URL of another node, or of another start of this one.
pub(super) fn not_here(path: &SessionPath, node: &NodeId) -> Problem {
    if path.node == *node {
        Problem::not_found(
            "the node has started anew since, and its sessions ended: make a new one with POST",
        )
        .reason("wrong-incarnation")
    } else {
        Problem::not_found("the session is of another node: ask that node, or a coordinator")
            .reason("wrong-node")
    }
}
