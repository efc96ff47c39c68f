//! Sessions as they are asked for and refused: the words that the HTTP surface, the shards and their machines share.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use freshet_cluster::plan::RoomPlan;
use freshet_cluster::room::EndReason;
use freshet_cluster::unit::UnixMillis;
use freshet_cluster::{Identity, RoomId, SessionId, StreamId};
use freshet_edge::hops::Household;
use freshet_relay_proto::track::MediaKind;

/// Which way media flows in a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// WHIP: the client sends.
    Publish,
    /// WHEP: the client receives.
    View,
}

impl Direction {
    /// The word in lists of sessions.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "publish",
            Self::View => "view",
        }
    }
}

/// For whom a session counts where each client may have its share.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Whose {
    /// Nobody knows whose: all of those together.
    #[default]
    Unknown,
    /// Those behind one address, none of whom has shown a name.
    Behind(Household),
    /// An identity that a token proves.
    Named(Identity),
}

/// A new session, as asked for by an authenticated client.
#[derive(Debug, Clone)]
pub struct CreateSession {
    /// WHIP or WHEP.
    pub direction: Direction,
    /// Room.
    pub room: RoomId,
    /// Publish: the stream to send. View: the stream to pin, none for the room's program.
    pub stream: Option<StreamId>,
    /// Who.
    pub identity: Identity,
    /// The SDP offer, at most 64 kB.
    pub offer: String,
    /// Publish: refuse when the stream is live (`If-None-Match: *`) instead of taking it over.
    pub only_if_absent: bool,
    /// View: accept although nobody publishes; media follows.
    pub wait: bool,
    /// A coordinator placed it here. It knows better than a node that may have entered the room's tree just now whether
    /// somebody publishes.
    pub placed: bool,
    /// The plan that the coordinator's call carries.
    pub plan: Option<RoomPlan>,
    /// Where the client is, for logs.
    pub client: Option<IpAddr>,
    /// The same where that is proven: a session may begin there without its client being asked whether it is there.
    pub there: Option<IpAddr>,
    /// For whom it counts while it is half open.
    pub whose: Whose,
    /// How many sessions of this direction the identity may hold in the room; its oldest make way.
    pub most: Option<NonZeroU32>,
}

/// A session that holds a place, or one that is about to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// Where.
    pub room: RoomId,
    /// Who.
    pub identity: Identity,
    /// Which way media flows.
    pub direction: Direction,
    /// What it publishes, or pins.
    pub stream: Option<StreamId>,
    /// Since when.
    pub since: UnixMillis,
}

/// A session that exists now.
#[derive(Debug, Clone)]
pub struct Created {
    /// Its id: 128 random bits.
    pub session: SessionId,
    /// The SDP answer.
    pub answer: String,
    /// The ICE session's entity tag, without quotes (RFC 9725 section 4.3).
    pub etag: String,
}

/// Why a session was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// The node is at its own limit. Another node may serve. → 503, `reason: over-capacity`
    #[error("this node is at its limit of {limit} sessions")]
    OverCapacity {
        /// The limit.
        limit: u32,
    },
    /// As many of a shard's sessions are half open as may be. → 503, `reason: over-capacity`
    #[error("{limit} sessions are on their way through ICE and DTLS, as many as may be at once")]
    HalfOpen {
        /// How many may be.
        limit: usize,
    },
    /// Its cores are full. Another node may serve. → 503, `reason: over-capacity`
    #[error(
        "this node is busy: its media threads were at work {busy} % of the last two seconds; from {limit} % on it takes no \
         sessions until that is a twentieth less"
    )]
    Busy {
        /// Per cent, of the thread with the least.
        busy: u32,
        /// The limit, in per cent.
        limit: u32,
    },
    /// The node drains. Another node may serve. → 503, `reason: draining`
    #[error("this node is draining")]
    Draining,
    /// The store answers and has no record of this node, and the room is new here. Another node may serve.
    /// → 503, `reason: lease-lost`
    #[error("this node's record in the store is gone: it takes no new rooms until it stands there again")]
    LeaseLost,
    /// Another start of this node is registered under its id. Another node may serve. → 503, `reason: replaced`
    #[error("another start of this node has taken its place")]
    Replaced,
    /// It was ended while it was being made. → 403, `reason: revoked`
    #[error(
        "those who run the room ended this session while it was being made: do not come back by yourself"
    )]
    Dismissed,
    /// Nobody publishes what was asked for. → 409 with `Retry-After`, `reason: no-publisher`
    #[error("nobody publishes in this room now")]
    NoPublisher {
        /// When to ask again.
        retry_after: Duration,
    },
    /// `If-None-Match: *` and the stream is live. → 409, `reason: stream-live`
    #[error("the stream is live already")]
    StreamLive,
    /// The offer cannot be read. → 400
    #[error("the offer is not valid SDP: {0}")]
    BadOffer(String),
    /// The offer is SDP but cannot be served. → 422
    #[error("the offer cannot be served: {0}")]
    Unprocessable(String),
    /// No codec in common. → 422, naming both lists
    #[error("no codec in common: offered {offered:?}, served {served:?}")]
    NoCommonCodec {
        /// What the offer has.
        offered: Vec<String>,
        /// What Freshet forwards.
        served: Vec<String>,
    },
    /// The store does not answer, so the publish cannot be claimed. → 503 with `Retry-After`
    #[error("the cluster's store does not answer: try again")]
    StoreAway,
    /// The stream's record is written by a newer version that older nodes must not replace. → 503 with `Retry-After`
    #[error(
        "this stream was last published by a newer version of Freshet than this node runs: upgrade the node"
    )]
    StoreTooNew,
    /// Something of ours broke; logged. → 500
    #[error("internal error")]
    Internal,
}

/// What a PATCH carries (RFC 8840), parsed by the HTTP surface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fragment {
    /// `a=ice-ufrag`.
    pub ufrag: Option<String>,
    /// `a=ice-pwd`. Never logged.
    pub pwd: Option<String>,
    /// `a=candidate` lines without `a=`.
    pub candidates: Vec<String>,
    /// `a=end-of-candidates` was there.
    pub end: bool,
}

/// What `If-Match` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IfMatch {
    /// `*`: an ICE restart.
    Any,
    /// An entity tag, without quotes.
    Tag(String),
}

/// What came of a PATCH.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Patched {
    /// Candidates were taken. → 204
    Trickled,
    /// ICE restarted. → 200 with `application/trickle-ice-sdpfrag` and a new `ETag`
    Restarted {
        /// The server's fragment: `a=ice-ufrag`, `a=ice-pwd`, candidates.
        fragment: String,
        /// The new entity tag, without quotes.
        etag: String,
    },
}

/// Why a request on a session was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Unknown, or ended; the reason is known for 60 seconds. → 404
    #[error("there is no such session")]
    NotFound {
        /// Why it ended.
        reason: Option<EndReason>,
    },
    /// The session is another identity's. → 403
    #[error("the session belongs to another identity")]
    NotYours,
    /// The entity tag is of an earlier ICE session. → 412
    #[error("the ICE session has changed: its entity tag is {current:?}")]
    TagMismatch {
        /// The tag now.
        current: String,
    },
    /// The fragment does not fit the session. → 422
    #[error("the fragment cannot be applied: {0}")]
    Unprocessable(String),
    /// ICE was restarted too often lately. → 429
    #[error("ICE of this session is restarted more often than once a second")]
    TooManyRestarts,
    /// The session publishes: it has no events and no layers. → 404
    #[error("the session publishes: only one that watches has events and layers")]
    NotAViewer,
    /// The session has no event stream of this name. → 404
    #[error("the session has no such event stream")]
    NoSuchStream,
    /// The session has as many event streams as it may. → 409
    #[error("the session has {} event streams already", crate::audience::STREAMS_MAX)]
    TooManyStreams,
    /// What was picked is not there. → 422
    #[error("the layer cannot be picked: {0}")]
    NoSuchLayer(String),
    /// Something of ours broke; logged. → 500
    #[error("internal error")]
    Internal,
}

/// What is known of a living session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// WHIP or WHEP.
    pub direction: Direction,
    /// The codecs of what comes for its m-lines, by their places, where it did not negotiate them.
    pub unplayable: Vec<(usize, String)>,
    /// Its room.
    pub room: RoomId,
    /// The ICE session's entity tag, without quotes.
    pub etag: String,
}

/// What a viewer wants of a track. Each choice takes the place of the one before; the default leaves all to the node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Choice {
    /// The RID of the encoding; none for whichever the node finds best.
    pub rid: Option<String>,
    /// The highest temporal layer; none for all.
    pub max_temporal: Option<u8>,
}

/// What a viewer's session shows, and could show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Viewing {
    /// There is a stream that it watches.
    pub active: bool,
    /// Its m-lines, in the order of the SDP; refused ones are left out.
    pub lines: Vec<Line>,
}

impl Viewing {
    /// The m-line that a client names by its place in the SDP.
    pub fn numbered(&self, media_id: &str) -> Option<&Line> {
        self.lines.iter().find(|line| line.index.to_string() == media_id)
    }
}

/// One m-line of a viewer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Its place in the SDP, from 0.
    pub index: usize,
    /// Its `a=mid`.
    pub mid: String,
    /// Audio or video.
    pub kind: MediaKind,
    /// The encodings of the track in it, best first; none where the track has one encoding without a RID.
    pub layers: Vec<LayerView>,
    /// The codec of what comes, where the session did not negotiate it: nothing of it can be sent.
    pub unplayable: Option<String>,
}

/// One encoding of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerView {
    /// Its RID.
    pub id: String,
    /// Bits a second that come in now; 0 while it is not sent.
    pub bitrate: u64,
    /// The viewer is sent this one.
    pub current: bool,
}
