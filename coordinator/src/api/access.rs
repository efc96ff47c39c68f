//! Who comes into a room: its spec, its sessions and its bans, for those who run it.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use freshet_cluster::access::{Ban, RoomSpec};
use freshet_cluster::store::{Entry, Expect, LeaseId, Revision, StoreError};
use freshet_cluster::token::{Grant, LEEWAY_S, LIFE_MAX_S, LIFE_MOST_S};
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::version::{VERSION, ValueError, decode, encode};
use freshet_cluster::{Identity, RoomId, keys};
use freshet_edge::bearer::GUEST;
use freshet_edge::conditional::{Condition, etag, if_match, if_none_match};
use freshet_edge::names::{InRoom, RoomIdentity, RoomSession, no_session};
use freshet_edge::problem::ProblemDetail;
use freshet_edge::roster::{Filter, SessionEntry, SessionsPage};
use freshet_edge::rules::BANS_MAX;
use freshet_edge::{Access, Problem, body};
use http::{HeaderMap, Request, StatusCode, Uri, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::App;
use crate::gateway::join::spread;
use crate::gateway::roster::{Found, unreachable};
use crate::gateway::session::known;

/// The longest ban, in seconds: longer than any token can be taken.
const BAN_MAX_S: u64 = LIFE_MOST_S + 24 * 3600;

/// Times that a spec is written anew because it has been written by somebody else meanwhile.
const TRIES: u32 = 5;
/// What a spec looks like.
const FORM: &str = r#"{"public": true}"#;

/// What is wanted of a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Viewers need no token.
    pub public: bool,
}

/// A session that was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Dismissed {
    /// As it was.
    pub session: SessionEntry,
    /// Until when its identity may not come back, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub banned_until_ms: Option<u64>,
}

/// An identity that may not come in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BanInfo {
    /// Who.
    #[schema(value_type = String)]
    pub identity: Identity,
    /// When it was said, in milliseconds since 1970.
    pub at_ms: u64,
    /// Until when.
    pub until_ms: u64,
}

/// Identities that may not come into a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BansPage {
    /// By name, at most 1,000.
    pub bans: Vec<BanInfo>,
    /// There are more than are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
}

/// Bans in one answer.
const BANS_PAGE: usize = 1_000;

/// Who runs the room. 503 as long as nothing is known of it.
fn operator(app: &App, headers: &HeaderMap, room: &RoomId) -> Result<Access, Problem> {
    let (guard, now) = (&app.state().config.guard, UnixMillis::now());
    let access = guard.authenticate(headers, now)?;
    access.require(room, Grant::Admin)?;
    access.require_operator()?;
    known(app.state())?;
    guard.admit(&access, room, now)?;
    Ok(access)
}

fn refused(error: &StoreError) -> Problem {
    match error {
        StoreError::Conflict { .. } => changed(),
        StoreError::Unavailable(_) | StoreError::LeaseGone(_) => {
            Problem::unavailable("store-away", "the cluster's store does not answer: ask again", spread())
        }
        StoreError::Refused(why) => {
            tracing::error!(why, "the store refuses");
            Problem::internal()
        }
    }
}

fn changed() -> Problem {
    let detail = "the spec is not as the condition says: read it again, and decide again";
    Problem::precondition_failed(detail).reason("tag-mismatch")
}

/// The spec as it stands in the store. One that no version can read wants nothing.
async fn read_spec(app: &App, room: &RoomId) -> Result<Option<(Revision, RoomSpec)>, Problem> {
    let entry = app.state().store.get(&keys::room_spec(room)).await.map_err(|error| refused(&error))?;
    let Some(entry) = entry else { return Ok(None) };
    let spec = match decode("room spec", &entry.value) {
        Ok(spec) => spec,
        Err(error @ ValueError::TooNew { .. }) => {
            tracing::warn!(key = entry.key, %error, "value left alone");
            let detail =
                "the room's spec is written by a newer version of Freshet than this coordinator runs";
            return Err(Problem::unavailable("store-too-new", detail, spread()));
        }
        Err(error) => {
            tracing::warn!(key = entry.key, %error, "the spec is taken as one that wants nothing");
            RoomSpec::new(false)
        }
    };
    Ok(Some((entry.revision, spec)))
}

fn tagged(status: StatusCode, revision: Revision, spec: &RoomSpec) -> Result<Response, Problem> {
    let spec = Spec { public: spec.public };
    let tag = etag(&revision.0.to_string()).ok_or_else(Problem::internal)?;
    Ok((status, [(header::ETAG, tag)], Json(spec)).into_response())
}

fn no_spec() -> Problem {
    Problem::not_found("the room has no spec: nothing is wanted of it").reason("no-spec")
}

/// What is wanted of a room.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/spec", tag = "access", operation_id = "roomSpec",
    params(("room" = String, Path, description = "Room id")),
    responses(
        (status = 200, description = "The spec, with its ETag", body = Spec,
            headers(
                ("ETag" = String, description = "Names the spec as it is"),
            )),
        (status = 400, description = "Not a room id", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "There is none", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store is away", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub async fn spec(
    State(app): State<Arc<App>>,
    InRoom { room, .. }: InRoom,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    operator(&app, &headers, &room)?;
    let (revision, spec) = read_spec(&app, &room).await?.ok_or_else(no_spec)?;
    tagged(StatusCode::OK, revision, &spec)
}

/// Say what is wanted of a room.
///
/// `public`: viewers need no token, here and at nodes. Conditional by `If-Match` and `If-None-Match: *`.
#[utoipa::path(
    put, path = "/v1/rooms/{room}/spec", tag = "access", operation_id = "putRoomSpec",
    params(("room" = String, Path, description = "Room id")),
    request_body = Spec,
    responses(
        (status = 200, description = "Written, with its new ETag", body = Spec,
            headers(
                ("ETag" = String, description = "Names the spec as it is"),
            )),
        (status = 400, description = "Not of the form", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 412, description = "It is not as the condition says", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 408, description = "The body did not come in time", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 413, description = "Body too large", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 415, description = "Not application/json", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store is away", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub async fn put_spec(
    State(app): State<Arc<App>>,
    InRoom { room, .. }: InRoom,
    request: Request<Body>,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    operator(&app, &parts.headers, &room)?;
    let spec: Spec = body::read_json(&parts.headers, body, FORM).await?;
    let conditions = (if_match(&parts.headers)?, if_none_match(&parts.headers)?);
    let key = keys::room_spec(&room);
    let mut tries = TRIES;
    loop {
        let known = read_spec(&app, &room).await?;
        let at = known.as_ref().map(|(revision, _)| *revision);
        let expect = match &conditions {
            (None, None) => at.map_or(Expect::Absent, Expect::At),
            (None, Some(Condition::Any)) => Expect::Absent,
            (Some(tags), None) => {
                let at = at.ok_or_else(changed)?;
                let named = at.0.to_string();
                if *tags != Condition::Any && !tags.strong().any(|tag| tag == named) {
                    return Err(changed());
                }
                Expect::At(at)
            }
            _ => {
                let detail = "of conditions, If-Match or If-None-Match: * can be met here";
                return Err(Problem::bad_request(detail));
            }
        };
        // What a newer version has written besides stays.
        let stored = known.map_or_else(|| RoomSpec::new(spec.public), |(_, stored)| stored);
        let stored = RoomSpec { v: VERSION, public: spec.public, ..stored };
        let value = encode(&stored);
        let revision = match app.state().store.put(&key, value.clone(), expect, None).await {
            Ok(revision) => revision,
            Err(StoreError::Conflict { .. }) if conditions == (None, None) && tries > 0 => {
                tries = tries.saturating_sub(1);
                continue;
            }
            Err(error) => return Err(refused(&error)),
        };
        app.state().config.guard.rules().set(&Entry { key, value, revision, lease: None });
        tracing::info!(room = room.as_str(), public = spec.public, "room spec written");
        return tagged(StatusCode::OK, revision, &stored);
    }
}

/// Want nothing of a room any more.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}/spec", tag = "access", operation_id = "deleteRoomSpec",
    params(("room" = String, Path, description = "Room id")),
    responses(
        (status = 204, description = "There is none now"),
        (status = 400, description = "Not a room id", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store is away", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub async fn delete_spec(
    State(app): State<Arc<App>>,
    InRoom { room, .. }: InRoom,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    operator(&app, &headers, &room)?;
    let key = keys::room_spec(&room);
    let gone = app.state().store.delete(&key, Expect::Any).await.map_err(|error| refused(&error))?;
    app.state().config.guard.rules().unset(&key, gone);
    tracing::info!(room = room.as_str(), "room spec removed");
    Ok(StatusCode::NO_CONTENT)
}

/// The sessions of a room, on all its nodes.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/sessions", tag = "access", operation_id = "roomSessions",
    params(
        ("room" = String, Path, description = "Room id"),
        ("identity" = Option<String>, Query, description = "Of this identity alone"),
        ("direction" = Option<String>, Query, description = "`publish` or `view` alone"),
        ("after" = Option<String>, Query, description = "`next` of the page before"),
        ("limit" = Option<u32>, Query, description = "1 to 1,000; 100 without it"),
    ),
    responses(
        (status = 200, description = "A page of them, by id", body = SessionsPage),
        (status = 400, description = "Not a query of this kind", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub async fn sessions(
    State(app): State<Arc<App>>,
    InRoom { room, .. }: InRoom,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<SessionsPage>, Problem> {
    operator(&app, &headers, &room)?;
    let filter = Filter::read(&uri)?;
    Ok(Json(app.roster().list(&room, uri.query().unwrap_or_default(), filter.limit).await))
}

/// End a session, and keep its identity away.
///
/// At once, on whichever node it is. Its identity may not come back into the room for 24 hours, or `ban` seconds; all its
/// sessions there end.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}/sessions/{session}", tag = "access", operation_id = "dismissSession",
    params(
        ("room" = String, Path, description = "Room id"),
        ("session" = String, Path, description = "Session id"),
        ("ban" = Option<u64>, Query, description = "Seconds for which the identity may not come back: 0 to 2,678,400; without it as long as any token of today is taken"),
    ),
    responses(
        (status = 200, description = "Ended", body = Dismissed),
        (status = 400, description = "Not so many seconds", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 404, description = "No such session in this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 409, description = "The room has too many bans, or it is your own identity", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 502, description = "A node does not answer", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The session has ended; the store is away, so its identity may come back", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub async fn dismiss(
    State(app): State<Arc<App>>,
    name: RoomSession,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<Dismissed>, Problem> {
    let access = operator(&app, &headers, &name.room)?;
    let ban_s = seconds(&app, &uri, "ban", 0)?;
    let session = match app.roster().find(&name.room, name.session).await {
        Found::Here(entry) => *entry,
        Found::Nowhere(silent) if silent.is_empty() => return Err(no_session()),
        Found::Nowhere(silent) => return Err(unreachable(&silent)),
    };
    if ban_s > 0 && session.identity == access.identity {
        let detail = "the session is of your own identity, and a ban would send you away: end it with ?ban=0";
        return Err(Problem::conflict("own-identity", detail));
    }
    // Before its end, so that it does not come back in between.
    let banned = match ban_s {
        0 => Ok(None),
        _ if session.identity.as_str() == GUEST => Ok(None),
        s => ban(&app, &name.room, &session.identity, s).await.map(Some),
    };
    app.roster().end(&name.room, &session, None).await?;
    tracing::info!(room = name.room.as_str(), session = name.session.short(), ban_s, "session dismissed");
    Ok(Json(Dismissed { session, banned_until_ms: banned?.map(|ban| ban.until.0) }))
}

/// How long an identity stays away unless said otherwise, in seconds: as long as any token of today can be taken. One that
/// does not say when it was made may have been made a leeway ahead, and each is taken for a leeway after its end.
fn lifetime(app: &App) -> u64 {
    let life = app.state().config.guard.keys().map_or(LIFE_MAX_S, |keys| keys.current().life_max_s);
    life.saturating_add(2 * LEEWAY_S).min(BAN_MAX_S)
}

/// Seconds that a query names; without one, as long as tokens last. Nothing else may be said in the query: a misspelt name
/// would send somebody away for a day.
fn seconds(app: &App, uri: &Uri, name: &str, least: u64) -> Result<u64, Problem> {
    let bad = |detail| Problem::bad_request(detail).reason("bad-query");
    let mut found = lifetime(app);
    for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let Some(value) = pair.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) else {
            return Err(bad(format!("the query may have {name}=… and nothing else")));
        };
        let read = value.parse().ok().filter(|s| (least..=BAN_MAX_S).contains(s));
        found = read.ok_or_else(|| bad(format!("{name} must be {least} to {BAN_MAX_S} seconds")))?;
    }
    Ok(found)
}

/// Ends a lease that nothing needs any more. One that cannot be ended now ends by itself.
async fn end_lease(app: &App, lease: Option<LeaseId>) {
    let Some(lease) = lease else { return };
    if let Err(error) = app.state().store.revoke(lease).await {
        tracing::debug!(%error, "a ban's lease ends by itself");
    }
}

async fn ban(app: &App, room: &RoomId, identity: &Identity, seconds: u64) -> Result<Ban, Problem> {
    let (now, rules) = (UnixMillis::now(), app.state().config.guard.rules());
    if rules.bans(room, now).len() >= BANS_MAX && rules.ban_of(room, identity, now).is_none() {
        let detail = format!("the room has {BANS_MAX} bans: lift some, or give out tokens for another room");
        return Err(Problem::conflict("too-many-bans", detail));
    }
    let until = UnixMillis(now.0.saturating_add(seconds.saturating_mul(1000)));
    let ban = Ban::new(room.clone(), identity.clone(), now, until);
    let (key, value): (String, Bytes) = (keys::ban(room, identity), encode(&ban));
    let store = &app.state().store;
    let written = async {
        let before = store.get(&key).await?.and_then(|entry| entry.lease);
        // A little longer than it holds: the value says when it ends.
        let lease = store.grant(Duration::from_secs(seconds.saturating_add(60))).await?;
        let written = store.put(&key, value.clone(), Expect::Any, Some(lease)).await;
        // Nothing lives under the lease of the ban that this one replaces, nor under that of one that was refused.
        match &written {
            Ok(_) => end_lease(app, before).await,
            Err(StoreError::Unavailable(_)) => {}
            Err(_) => end_lease(app, Some(lease)).await,
        }
        written.map(|revision| (revision, lease))
    };
    let (revision, lease) = written.await.map_err(|error: StoreError| refused(&error))?;
    rules.set(&Entry { key, value, revision, lease: Some(lease) });
    Ok(ban)
}

/// Who may not come into a room.
#[utoipa::path(
    get, path = "/v1/rooms/{room}/bans", tag = "access", operation_id = "roomBans",
    params(("room" = String, Path, description = "Room id")),
    responses(
        (status = 200, description = "By name", body = BansPage),
        (status = 400, description = "Not a room id", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store has not been read yet", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub async fn bans(
    State(app): State<Arc<App>>,
    InRoom { room, .. }: InRoom,
    headers: HeaderMap,
) -> Result<Json<BansPage>, Problem> {
    operator(&app, &headers, &room)?;
    let found = app.state().config.guard.rules().bans(&room, UnixMillis::now());
    let truncated = found.len() > BANS_PAGE;
    let bans = found.into_iter().take(BANS_PAGE).map(|ban| info(&ban)).collect();
    Ok(Json(BansPage { bans, truncated }))
}

fn info(ban: &Ban) -> BanInfo {
    BanInfo { identity: ban.identity.clone(), at_ms: ban.at.0, until_ms: ban.until.0 }
}

/// Keep an identity away from a room, and end its sessions there.
#[utoipa::path(
    put, path = "/v1/rooms/{room}/bans/{identity}", tag = "access", operation_id = "putBan",
    params(
        ("room" = String, Path, description = "Room id"),
        ("identity" = String, Path, description = "Who"),
        ("seconds" = Option<u64>, Query, description = "For how long: 1 to 2,678,400; without it as long as any token of today is taken"),
    ),
    responses(
        (status = 200, description = "Banned", body = BanInfo),
        (status = 400, description = "Not an identity, or not so many seconds", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 409, description = "The room has too many bans, or it is your own identity", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store is away", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub async fn put_ban(
    State(app): State<Arc<App>>,
    RoomIdentity { room, identity }: RoomIdentity,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Json<BanInfo>, Problem> {
    let access = operator(&app, &headers, &room)?;
    if identity == access.identity {
        let detail = "that is your own identity: somebody else who runs the room can send it away";
        return Err(Problem::conflict("own-identity", detail));
    }
    if identity.is_reserved() {
        let detail = "names that begin with ~ are Freshet's own, for guests: end their sessions one by one";
        return Err(Problem::bad_request(detail).reason("bad-id"));
    }
    let seconds = seconds(&app, &uri, "seconds", 1)?;
    let ban = ban(&app, &room, &identity, seconds).await?;
    tracing::info!(room = room.as_str(), seconds, "identity banned");
    Ok(Json(info(&ban)))
}

/// Let an identity come in again.
#[utoipa::path(
    delete, path = "/v1/rooms/{room}/bans/{identity}", tag = "access", operation_id = "deleteBan",
    params(
        ("room" = String, Path, description = "Room id"),
        ("identity" = String, Path, description = "Who"),
    ),
    responses(
        (status = 204, description = "It may come in"),
        (status = 400, description = "Not a room id, or not an identity", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 401, description = "No valid token", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 403, description = "No admin of this room", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests without a valid token came from this address; see Retry-After", body = ProblemDetail, content_type = "application/problem+json"),
        (status = 503, description = "The store is away", body = ProblemDetail, content_type = "application/problem+json"),
    ),
    security(("bearer" = []))
)]
pub async fn delete_ban(
    State(app): State<Arc<App>>,
    RoomIdentity { room, identity }: RoomIdentity,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    operator(&app, &headers, &room)?;
    let (key, store) = (keys::ban(&room, &identity), &app.state().store);
    let lifted = async {
        let lease = store.get(&key).await?.and_then(|entry| entry.lease);
        store.delete(&key, Expect::Any).await.map(|gone| (gone, lease))
    };
    let (gone, lease) = lifted.await.map_err(|error: StoreError| refused(&error))?;
    app.state().config.guard.rules().unset(&key, gone);
    end_lease(&app, lease).await;
    tracing::info!(room = room.as_str(), "ban lifted");
    Ok(StatusCode::NO_CONTENT)
}
