//! Who asks: a client with its token, or a coordinator that has already asked.

use std::net::IpAddr;

use axum::body::Body;
use freshet_cluster::RoomId;
use freshet_cluster::plan::RoomPlan;
use freshet_cluster::token::Grant;
use freshet_cluster::unit::UnixMillis;
use freshet_edge::body;
use freshet_edge::call::{Call, CallError, Verifier};
use freshet_edge::ticket::{self, TicketError};
use freshet_edge::{Access, Client, Problem};
use http::Method;
use http::request::Parts;

use super::state::HttpState;
use crate::session::Whose;

/// A caller whose say has been checked, and what came along.
pub(super) struct Caller {
    pub access: Access,
    call: Option<Box<Call>>,
    peer: Option<Client>,
}

impl Caller {
    /// The room's plan that a coordinator sent along.
    pub fn plan(&self, room: &RoomId) -> Option<RoomPlan> {
        self.call.as_ref().and_then(|call| call.plan_of(room)).cloned()
    }

    /// Whether a coordinator placed the session here: by a call, or by a ticket that the client brings.
    pub fn placed(&self) -> bool {
        self.call.is_some()
    }

    /// Where the client is.
    pub fn client(&self) -> Option<IpAddr> {
        match &self.call {
            Some(call) => call.client_ip,
            None => self.peer.as_ref().map(|client| client.ip),
        }
    }

    /// The same where it is proven that the client is there.
    pub fn there(&self) -> Option<IpAddr> {
        match &self.call {
            Some(call) => call.client_ip.filter(|_| call.client_there),
            None => self.peer.as_ref().filter(|client| client.there).map(|client| client.ip),
        }
    }

    /// For whom a session of the caller counts: its identity if a token proves that, else all behind its address.
    pub fn whose(&self) -> Whose {
        match (self.access.proven(), self.client()) {
            (Some(identity), _) => Whose::Named(identity.clone()),
            (None, Some(client)) => Whose::Behind(client.into()),
            (None, None) => Whose::Unknown,
        }
    }

    /// What `Location` is made absolute with.
    pub fn public_url<'a>(&'a self, state: &'a HttpState) -> Option<&'a str> {
        let called = self.call.as_ref().and_then(|call| call.public_url.as_deref());
        called.or(state.public_url.as_deref())
    }
}

/// A request's body: not read yet, or read because a call's signature covers it.
pub(super) enum Content {
    Unread(Body),
    Read(bytes::Bytes),
}

impl Content {
    /// The text of it: 413, 408, or 400 when it is not UTF-8.
    pub async fn text(self, parts: &Parts) -> Result<String, Problem> {
        let bytes = match self {
            Self::Unread(body) => return body::read_sdp(&parts.headers, body).await,
            Self::Read(bytes) => bytes,
        };
        String::from_utf8(bytes.into())
            .map_err(|_| Problem::bad_request("the body is not UTF-8").reason("bad-sdp"))
    }

    /// What may be JSON: 413 or 408. A call's has been read within the limit that its caller was identified with.
    pub async fn json(self, parts: &Parts) -> Result<bytes::Bytes, Problem> {
        match self {
            Self::Unread(body) => body::read(&parts.headers, body, body::JSON_MAX, body::TIME).await,
            Self::Read(bytes) => Ok(bytes),
        }
    }
}

/// Finds out who asks. A call's body is read here, since its signature covers it; a client's is not, so that a stranger
/// cannot make us read. `limit` is what the body may have, in bytes.
pub(super) async fn identify(
    state: &HttpState,
    parts: &Parts,
    body: Body,
    limit: usize,
) -> Result<(Caller, Content), Problem> {
    ask(state, parts, body, limit, None).await
}

/// As [`identify`]; with a deed in a room, that is judged, too: a public room needs no token to be watched, and who was sent
/// away is refused.
async fn ask(
    state: &HttpState,
    parts: &Parts,
    body: Body,
    limit: usize,
    deed: Option<(&RoomId, Grant)>,
) -> Result<(Caller, Content), Problem> {
    let now = UnixMillis::now();
    if !Verifier::is_call(&parts.headers) {
        let access = match deed {
            Some((room, grant)) => state.guard.check(&parts.headers, room, grant, now)?,
            None => state.guard.holder(&parts.headers, now)?,
        };
        state.door.admit(&access, &parts.method, &parts.extensions)?;
        let peer = Client::of(&parts.extensions).cloned();
        return Ok((Caller { access, call: None, peer }, Content::Unread(body)));
    }
    let calls = state.calls.as_ref().ok_or(CallError::NotTaken)?;
    let signed = calls.signed(&parts.headers)?;
    let bytes = body::read(&parts.headers, body, limit, body::TIME).await?;
    let call = signed.verify(&parts.method, path_of(parts), &bytes, now)?;
    vouched(state, call, bytes, deed, now)
}

/// A caller whom a coordinator vouches for, by a call or a ticket.
fn vouched(
    state: &HttpState,
    call: Call,
    bytes: bytes::Bytes,
    deed: Option<(&RoomId, Grant)>,
    now: UnixMillis,
) -> Result<(Caller, Content), Problem> {
    let access = call.access();
    if let Some((room, grant)) = deed {
        access.require(room, grant)?;
        state.guard.admit(&access, room, now)?;
    }
    Ok((Caller { access, call: Some(Box::new(call)), peer: None }, Content::Read(bytes)))
}

fn path_of(parts: &Parts) -> &str {
    parts.uri.path_and_query().map_or("/", |path| path.as_str())
}

/// As [`identify`], and 403 unless the deed is allowed in the room. What is posted may come with a ticket.
pub(super) async fn admit(
    state: &HttpState,
    parts: &Parts,
    body: Body,
    room: &RoomId,
    grant: Grant,
) -> Result<(Caller, Content), Problem> {
    if !Verifier::is_call(&parts.headers)
        && parts.method == Method::POST
        && let Some(ticket) = ticket::split(path_of(parts))
    {
        return sent_on(state, parts, body, ticket, (room, grant)).await;
    }
    ask(state, parts, body, body::SDP_MAX, Some((room, grant))).await
}

/// Refuses all but those who run the room.
pub(super) async fn operate(
    state: &HttpState,
    parts: &Parts,
    body: Body,
    room: &RoomId,
) -> Result<(), Problem> {
    let (caller, _) = admit(state, parts, body, room, Grant::Admin).await?;
    caller.access.require_operator()
}

/// A client that a coordinator has sent on. It has asked who that is, and how often it comes; the body belongs to the
/// ticket and is read for it, but for no ticket that we did not sign. A token beside it is not looked at.
async fn sent_on(
    state: &HttpState,
    parts: &Parts,
    body: Body,
    (path, ticket): (&str, &str),
    deed: (&RoomId, Grant),
) -> Result<(Caller, Content), Problem> {
    let tickets = state.tickets.as_ref().ok_or(TicketError::Signature)?;
    tickets.signed(ticket)?;
    let bytes = body::read(&parts.headers, body, body::SDP_MAX, body::TIME).await?;
    let now = UnixMillis::now();
    let call = tickets.verify(ticket, &parts.method, path, &bytes, now)?;
    vouched(state, call, bytes, Some(deed), now)
}
