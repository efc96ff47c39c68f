//! What goes into a shard's machine and what comes out of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use freshet_cluster::room::EndReason;
use freshet_cluster::unit::{Bitrate, UnixMillis};
use freshet_cluster::{Identity, RoomId, SessionId, StreamId};
use freshet_relay_proto::control::LayerRate;
use freshet_relay_proto::track::{MediaKind, TrackInfo};

use crate::agent::{Lane as LaneId, Link, RemoteStream, StreamKey};
#[cfg(test)]
use crate::book::Book;
use crate::media::clock::{Skew, Wall};
use crate::media::packet::Packet;
use crate::media::ring::RingConfig;
use crate::peer::negotiate::Common;
use crate::session::{Direction, Whose};

/// What a shard is told once.
pub struct Config {
    /// Which shard this is; the ICE user name of its sessions names it.
    pub shard: u16,
    /// Certificate and candidates.
    pub common: Common,
    /// A session of whom nothing is heard for so long is over.
    pub silence: Duration,
    /// A session whose ICE and DTLS are not through after so long is over.
    pub opening: Duration,
    /// Sessions that may be half open at once.
    pub half_open: usize,
    /// Sessions that there are to be in all: of those that are not taken, half open ones are to leave half.
    pub places: usize,
    /// Packets wait so long for others of their frame before they go to viewers; sound waits no longer.
    pub batch: Duration,
    /// Bits a second that one viewer is sent at most; none without a cap.
    pub viewer_cap: Option<Bitrate>,
    /// What is kept of each lane.
    pub ring: RingConfig,
    /// A joiner is served from the ring when its last keyframe is at most so old.
    pub fresh_keyframe: Duration,
    /// The memory of so many viewers who have gone is kept for those who come.
    pub spares: usize,
    /// An error added to the clock of sender reports of video, for the test that proves the lip-sync test.
    pub report_skew: Skew,
    /// This node's wall clock.
    pub wall: Wall,
}

#[cfg(test)]
impl Config {
    /// What a node has by default, with packets that go at once and a wall clock that begins at `now`.
    pub fn of_tests(now: std::time::Instant, book: Book) -> Self {
        use crate::peer::{crypto, opened};
        Self {
            shard: 0,
            common: Common {
                cert: crypto::certificate().unwrap(),
                book,
                provider: crypto::provider(),
                take_keys: crypto::take_keys,
                opened: opened::opened,
            },
            silence: Duration::from_secs(15),
            opening: Duration::from_secs(30),
            half_open: 2_000,
            places: usize::MAX,
            batch: Duration::ZERO,
            viewer_cap: None,
            ring: RingConfig::default(),
            fresh_keyframe: Duration::from_secs(1),
            spares: 4,
            report_skew: Skew::default(),
            wall: Wall::new(now, Duration::from_secs(1_800_000_000)),
        }
    }
}

/// Where packets come from, or go to, beside this shard's own clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Hop {
    /// A link to another node.
    Link(Link),
    /// Another shard of this node.
    Shard(u16),
}

/// A stream whose packets come by a hop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// Which publish of which stream.
    pub key: StreamKey,
    /// When it was claimed.
    pub started_at: UnixMillis,
    /// Its tracks.
    pub tracks: Vec<TrackInfo>,
    /// Where its packets come from.
    pub hop: Hop,
    /// Its alias there.
    pub alias: u32,
}

impl From<RemoteStream> for Incoming {
    fn from(remote: RemoteStream) -> Self {
        let RemoteStream { key, started_at, tracks, link, alias, .. } = remote;
        Self { key, started_at, tracks, hop: Hop::Link(link), alias }
    }
}

/// What the shell gives to links and to other shards.
#[derive(Debug)]
pub struct HopPacket {
    /// To whom.
    pub hop: Hop,
    /// The stream's alias there.
    pub alias: u32,
    /// Track and layer.
    pub lane: LaneId,
    /// Sound or picture: a link that is too slow drops picture first.
    pub kind: MediaKind,
    /// The packet, shared with the ring.
    pub packet: Arc<Packet>,
}

/// What the shard says to the agent.
#[derive(Debug)]
pub enum Event {
    /// A publisher's media may flow, or its tracks have changed.
    Live(StreamKey, Vec<TrackInfo>),
    /// How fast a publisher here sends the layers of its tracks, where that has changed.
    Layers(StreamKey, Vec<LayerRate>),
    /// Viewers here want a lane of a stream, or do not want it any more.
    Interest(StreamKey, LaneId, bool),
    /// A keyframe of a stream that comes by a link is wanted.
    KeyframeWanted(StreamKey, LaneId),
    /// What [`Sfu::viewing`](super::Sfu::viewing) says of a session that is listened to may have changed.
    Viewing(SessionId),
    /// A session is over.
    Ended {
        /// Which.
        session: SessionId,
        /// Its room.
        room: RoomId,
        /// What it published.
        published: Option<StreamKey>,
        /// Why.
        reason: EndReason,
    },
}

/// A datagram that str0m wants sent.
#[derive(Debug)]
pub struct Datagram {
    /// Where to.
    pub to: SocketAddr,
    /// From which of our addresses; none leaves it to the kernel.
    pub from: Option<IpAddr>,
    /// What.
    pub contents: Vec<u8>,
}

/// What the shell asks a shard to make.
pub struct Ask {
    /// The id that the session gets.
    pub session: SessionId,
    /// Which way media flows.
    pub direction: Direction,
    /// Room.
    pub room: RoomId,
    /// View: the stream that is pinned.
    pub pinned: Option<StreamId>,
    /// Who.
    pub identity: Identity,
    /// For whom it counts while it is half open.
    pub whose: Whose,
    /// The host that it is asked from, where that is proven as by TCP and is no proxy's.
    pub client: Option<IpAddr>,
    /// The SDP offer.
    pub offer: String,
}

/// Where a stream's packets come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Local(usize),
    Remote(Hop, u32),
}

/// A packet that a viewer asks for again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repeat {
    pub session: usize,
    /// Names the session that asked in this place.
    pub serial: u64,
    pub slot: usize,
    /// The sequence number that the viewer knows.
    pub seq: u16,
}
