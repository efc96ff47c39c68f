//! Names in paths, checked before anything else is touched.
//!
//! A name that is no id is 400. A session's URL is opaque to clients (RFC 9725 section 4.2), so one that was never
//! handed out, malformed or not, is 404.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use freshet_cluster::{Identity, Incarnation, NodeId, RoomId, SessionId, StreamId};
use http::request::Parts;

use crate::problem::Problem;

fn id<T: FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(|e| Problem::bad_request(format!("{e}")).reason("bad-id"))
}

/// Parses a room id; 400 otherwise.
pub fn room(text: &str) -> Result<RoomId, Problem> {
    id(text)
}

/// Parses a stream id; 400 otherwise.
pub fn stream(text: &str) -> Result<StreamId, Problem> {
    id(text)
}

/// Parses a node id; 400 otherwise.
pub fn node(text: &str) -> Result<NodeId, Problem> {
    id(text)
}

async fn params<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<RawPathParams, Problem> {
    let read = RawPathParams::from_request_parts(parts, state).await;
    read.map_err(|e| {
        Problem::bad_request(format!("the path cannot be read: {}", e.body_text())).reason("bad-id")
    })
}

fn get<'a>(params: &'a RawPathParams, name: &str) -> Option<&'a str> {
    params.iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

/// `{room}` and, where the route has it, `{stream}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InRoom {
    /// The room.
    pub room: RoomId,
    /// The stream named.
    pub stream: Option<StreamId>,
}

impl<S: Send + Sync> FromRequestParts<S> for InRoom {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = params(parts, state).await?;
        let room = room(get(&params, "room").unwrap_or_default())?;
        let stream = get(&params, "stream").map(stream).transpose()?;
        Ok(Self { room, stream })
    }
}

/// `{room}` and `{session}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomSession {
    /// The room.
    pub room: RoomId,
    /// The session.
    pub session: SessionId,
}

impl<S: Send + Sync> FromRequestParts<S> for RoomSession {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = params(parts, state).await?;
        let room = room(get(&params, "room").unwrap_or_default())?;
        let session = get(&params, "session").and_then(|text| text.parse().ok()).ok_or_else(no_session)?;
        Ok(Self { room, session })
    }
}

/// `{room}` and `{identity}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomIdentity {
    /// The room.
    pub room: RoomId,
    /// Who.
    pub identity: Identity,
}

impl<S: Send + Sync> FromRequestParts<S> for RoomIdentity {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = params(parts, state).await?;
        let room = room(get(&params, "room").unwrap_or_default())?;
        Ok(Self { room, identity: id(get(&params, "identity").unwrap_or_default())? })
    }
}

/// `/sessions/{node}/{incarnation}/{session}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionPath {
    /// The node that holds it.
    pub node: NodeId,
    /// Which start of the node.
    pub incarnation: Incarnation,
    /// The session.
    pub session: SessionId,
}

impl SessionPath {
    /// The path, absolute on its origin.
    pub fn path(&self) -> String {
        format!("/sessions/{}/{}/{}", self.node.as_str(), self.incarnation, self.session)
    }

    /// The `Location`: the path, under the public URL where there is one (which may have a path of its own).
    pub fn location(&self, public_url: Option<&str>) -> String {
        let base = public_url.unwrap_or_default().trim_end_matches('/');
        format!("{base}{}", self.path())
    }
}

/// `/sessions/{node}/{incarnation}/{session}/sse/{stream}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventStreamPath {
    /// The session.
    pub session: SessionPath,
    /// The event stream's number in it.
    pub stream: u32,
}

impl EventStreamPath {
    /// The `Location`, as the session's.
    pub fn location(&self, public_url: Option<&str>) -> String {
        format!("{}/sse/{}", self.session.location(public_url), self.stream)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for EventStreamPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let session = SessionPath::from_request_parts(parts, state).await?;
        let params = params(parts, state).await.map_err(|_| no_event_stream())?;
        let stream = get(&params, "stream").and_then(|text| text.parse().ok()).ok_or_else(no_event_stream)?;
        Ok(Self { session, stream })
    }
}

fn no_event_stream() -> Problem {
    Problem::not_found("the session has no such event stream: make one with POST").reason("no-event-stream")
}

/// What a client hears of a session that is not there.
pub fn no_session() -> Problem {
    Problem::not_found("there is no such session: make a new one with POST").reason("no-session")
}

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let params = params(parts, state).await.map_err(|_| no_session())?;
        let text = |name| get(&params, name).ok_or_else(no_session);
        Ok(Self {
            node: text("node")?.parse().map_err(|_| no_session())?,
            incarnation: text("incarnation")?.parse().map_err(|_| no_session())?,
            session: text("session")?.parse().map_err(|_| no_session())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_keeps_the_prefix_of_the_public_url() {
        let path = SessionPath {
            node: "n1".parse().unwrap(),
            incarnation: Incarnation::from_bits(0xab),
            session: SessionId::from_bits(0xcd),
        };
        let bare = "/sessions/n1/00000000000000ab/000000000000000000000000000000cd";
        assert_eq!(path.location(None), bare);
        assert_eq!(
            path.location(Some("https://live.example/a/b/")),
            format!("https://live.example/a/b{bare}")
        );
        assert_eq!(path.location(Some("https://live.example")), format!("https://live.example{bare}"));
    }

    #[test]
    fn a_bad_name_says_what_is_allowed() {
        let problem = room("a/b").unwrap_err();
        assert_eq!((problem.status().as_u16(), problem.why()), (400, Some("bad-id")));
        assert!(problem.detail().contains("A-Z"), "{problem}");
    }
}
