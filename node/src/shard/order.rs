//! What a shard is asked and told by the rest of the node.

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, RoomId, SessionId, StreamId};
use freshet_edge::sse::EventSender;
use freshet_edge::stream_health::StreamHealth;
use freshet_relay_proto::control::LayerRate;
use tokio::sync::oneshot;

use super::busy::Load;
use crate::agent::{Lane, Link, StreamKey};
use crate::audience::Kind;
use crate::quic::MediaOut;
use crate::service::{Choice, CreateError, Fragment, IfMatch, Patched, SessionError, SessionInfo};
use crate::sfu::{Ask, Counters, Hop, Incoming};

/// What a shard is told by the rest of the node.
pub enum Order {
    /// Make a session.
    Create(Ask, oneshot::Sender<Result<(String, String), CreateError>>),
    /// Look at a session.
    Look(SessionId, Option<Identity>, oneshot::Sender<Result<SessionInfo, SessionError>>),
    /// Add candidates or restart ICE.
    Patch {
        /// Which.
        session: SessionId,
        /// By whom.
        who: Option<Identity>,
        /// `If-Match`.
        if_match: IfMatch,
        /// What.
        fragment: Fragment,
        /// The answer.
        reply: oneshot::Sender<Result<Patched, SessionError>>,
    },
    /// Make an event stream of a viewer's session.
    Subscribe {
        /// Which session.
        session: SessionId,
        /// By whom.
        who: Option<Identity>,
        /// For which events.
        wants: Vec<Kind>,
        /// The event stream's name in the session.
        reply: oneshot::Sender<Result<u32, SessionError>>,
    },
    /// Send what an event stream has to tell.
    Read {
        /// Which session.
        session: SessionId,
        /// By whom.
        who: Option<Identity>,
        /// Which event stream.
        stream: u32,
        /// Where to.
        reader: EventSender,
        /// The answer.
        reply: oneshot::Sender<Result<(), SessionError>>,
    },
    /// Say whether there is an event stream.
    HasStream(SessionId, Option<Identity>, u32, oneshot::Sender<Result<(), SessionError>>),
    /// End an event stream.
    Unsubscribe(SessionId, Option<Identity>, u32, oneshot::Sender<Result<(), SessionError>>),
    /// Pick a layer for a viewer.
    Choose {
        /// Which session.
        session: SessionId,
        /// By whom.
        who: Option<Identity>,
        /// For which m-line, by its place in the SDP; the first of video without it.
        media_id: Option<String>,
        /// What.
        choice: Choice,
        /// The answer.
        reply: oneshot::Sender<Result<(), SessionError>>,
    },
    /// End a session for its client.
    EndBy(SessionId, Option<Identity>, oneshot::Sender<Result<(), SessionError>>),
    /// End all sessions and say when their clients have been told.
    EndAll(EndReason, oneshot::Sender<()>),
    /// Something that is so.
    Tell(Tell),
    /// How the media of a publisher here arrives.
    Health(RoomId, StreamId, oneshot::Sender<Option<StreamHealth>>),
    /// What the shard has counted and what it keeps.
    Count(oneshot::Sender<Counted>),
}

/// What is told to the shard that it concerns, or to every shard.
#[derive(Clone)]
pub enum Tell {
    /// End a session.
    End(SessionId, EndReason),
    /// A publisher's session holds a claim.
    Claimed {
        /// The session.
        session: SessionId,
        /// The claim.
        key: StreamKey,
        /// When.
        started_at: UnixMillis,
    },
    /// A stream comes by a hop.
    Up(Incoming),
    /// The rates of a stream's layers.
    Layers(StreamKey, Vec<LayerRate>),
    /// A stream by a hop has ended.
    Down(StreamKey),
    /// Send a lane to a hop.
    Forward {
        /// The stream.
        key: StreamKey,
        /// Track and layer.
        lane: Lane,
        /// The link or shard.
        hop: Hop,
        /// The stream's alias there.
        alias: u32,
        /// First index wanted.
        from: Option<u64>,
    },
    /// Stop sending a lane to a hop.
    Unforward {
        /// The stream.
        key: StreamKey,
        /// Track and layer.
        lane: Lane,
        /// The link or shard.
        hop: Hop,
    },
    /// Somebody behind a hop wants a keyframe.
    Keyframe(StreamKey, Lane),
    /// A link is up: this is how packets go to it.
    LinkUp(Link, MediaOut),
    /// A link is down.
    LinkDown(Link),
}

/// Counters of a shard and what it keeps.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Totals.
    pub counters: Counters,
    /// Packets sent to viewers lately, in a second.
    pub packets_per_second: u64,
    /// How much of its time it is at work.
    pub load: Load,
    /// Sessions, lanes, streams, viewers.
    pub kept: (usize, usize, usize, usize),
    /// Sessions that are not through with ICE and DTLS.
    pub half_open: usize,
    /// Event streams of sessions, and connections that read them.
    pub listeners: (usize, usize),
    /// Datagrams dropped because the socket stayed full.
    pub socket_dropped: u64,
    /// Packets that the system refused to send.
    pub socket_refused: u64,
    /// Packets that the system dropped before this shard read them.
    pub socket_overflow: u64,
    /// RTCP packets dropped unread because more of them came in a turn than is taken in.
    pub reports_dropped: u64,
    /// Datagrams of handshakes dropped because too many waited.
    pub handshakes_dropped: u64,
    /// Packets of other shards lost because this one did not keep up.
    pub crossings_dropped: u64,
    /// Packets of links lost because this shard did not keep up.
    pub arrivals_dropped: u64,
}
