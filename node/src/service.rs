//! What the HTTP surface asks of the node, as a trait: the WHIP and WHEP handlers know nothing of shards.

use async_trait::async_trait;
use freshet_cluster::room::EndReason;
use freshet_cluster::{Identity, RoomId, SessionId, StreamId};
use freshet_edge::roster::Filter;
use freshet_edge::sse::EventStream;
use freshet_edge::stream_health::StreamHealth;

pub use crate::audience::Kind;
pub use crate::session::{
    Choice, CreateError, CreateSession, Created, Direction, Fragment, Held, IfMatch, LayerView, Line,
    Patched, SessionError, SessionInfo, Viewing,
};

/// A session as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub session: SessionId,
    /// Whose, where, since when.
    pub held: Held,
}

/// What the node does for its HTTP surface. Every call ends within 5 seconds.
#[async_trait]
pub trait SessionService: Send + Sync + 'static {
    /// Makes a session and answers its offer.
    async fn create(&self, ask: CreateSession) -> Result<Created, CreateError>;
    /// Looks at a session that belongs to `who`; without `who` (open mode) its URL is the credential.
    async fn look(&self, session: SessionId, who: Option<&Identity>) -> Result<SessionInfo, SessionError>;
    /// Adds candidates, or restarts ICE when `if_match` is `*`.
    async fn patch(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        if_match: IfMatch,
        fragment: Fragment,
    ) -> Result<Patched, SessionError>;
    /// Makes an event stream of a viewer's session, for these events.
    async fn subscribe(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        wants: &[Kind],
    ) -> Result<u32, SessionError>;
    /// Reads an event stream, instead of who did until now.
    async fn read(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<EventStream, SessionError>;
    /// Whether a session has this event stream.
    async fn has_stream(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<(), SessionError>;
    /// Ends an event stream.
    async fn unsubscribe(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        stream: u32,
    ) -> Result<(), SessionError>;
    /// Picks a layer of the m-line at this place in the SDP; of the first that is video without one.
    async fn choose_layer(
        &self,
        session: SessionId,
        who: Option<&Identity>,
        media_id: Option<&str>,
        choice: Choice,
    ) -> Result<(), SessionError>;
    /// This node's sessions of a room that are asked for, in the order of their ids: one more than the limit at most, which
    /// tells that there are more.
    fn list(&self, room: &RoomId, filter: &Filter) -> Vec<Listed>;
    /// A session of this node; one that is being made, too.
    fn find(&self, session: SessionId) -> Option<Listed>;
    /// Ends a session for this reason, whoever's it is. One that is being made does not come up.
    async fn dismiss(&self, session: SessionId, reason: EndReason);
    /// How the media of a publisher that is connected here arrives.
    async fn health(&self, room: &RoomId, stream: &StreamId) -> Option<StreamHealth>;
    /// Ends a session that belongs to `who`.
    async fn end(&self, session: SessionId, who: Option<&Identity>) -> Result<(), SessionError>;
}
