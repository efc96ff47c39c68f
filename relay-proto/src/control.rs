//! Frames of the control stream.
//!
//! Fields stand in a fixed order; a newer version appends fields, and bytes behind the last known field are passed
//! over. Frames of unknown type are passed over too. So two versions speak with each other as long as Hello says
//! that they can.

use bytes::Bytes;
use freshet_cluster::room::EndReason;
use freshet_cluster::{Epoch, Generation, Identity, Incarnation, NodeId, RoomId, StreamId};

use crate::code::{self, GoawayReason, RefuseCode};
use crate::error::{DecodeError, EncodeError};
use crate::frame::{self, RawFrame};
use crate::track::{self, TrackInfo};
use crate::wire::{Reader, Writer};

/// Most nodes in a path. A tree is far less deep: a longer path is a mistake, and its announcement is refused.
pub const PATH_MAX: usize = 16;
/// Most ranges in one Nack.
pub const RANGES_MAX: usize = 64;
/// Most layers in one Layers.
pub const RATES_MAX: usize = 128;
/// Most packets in one range of a Nack.
pub const RANGE_LEN_MAX: u32 = 1_024;

/// Who speaks, and in which versions. The first frame in each direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    /// Version of the control protocol that the sender speaks.
    pub v: u32,
    /// Oldest version that the sender can speak with.
    pub min_v: u32,
    /// Who.
    pub node: NodeId,
    /// Which start of it.
    pub incarnation: Incarnation,
}

/// A stream of a room can be had here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announce {
    /// Room.
    pub room: RoomId,
    /// Stream.
    pub stream: StreamId,
    /// Which publish of it.
    pub generation: Generation,
    /// The sender's name, on this link, of this stream and generation.
    pub alias: u32,
    /// The node where the publisher is connected.
    pub origin: NodeId,
    /// Which start of the origin.
    pub origin_incarnation: Incarnation,
    /// Nodes from the origin to the sender, both included. At most 16.
    pub path: Vec<NodeId>,
    /// Who publishes.
    pub identity: Identity,
    /// When it was claimed, in milliseconds since 1970.
    pub started_at_ms: u64,
    /// What it consists of. At most 32.
    pub tracks: Vec<TrackInfo>,
}

/// Packets that did not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IndexRange {
    /// Index of the first.
    pub first: u64,
    /// How many: 1 to 1,024.
    pub count: u32,
}

/// What one end has counted since the link came up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Stats {
    /// Media datagrams handed to QUIC.
    pub sent: u64,
    /// Media datagrams received.
    pub received: u64,
    /// Packets dropped before they were sent, by policy.
    pub dropped: u64,
}

/// How fast a layer is sent by its publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LayerRate {
    /// Track.
    pub track: u8,
    /// Layer.
    pub layer: u8,
    /// Kilobits a second; 0 while the publisher does not send it.
    pub kbps: u32,
}

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Control {
    /// Who speaks.
    Hello(Hello),
    /// The sender is a neighbour of the receiver in a room's tree: announce its streams.
    RoomJoin {
        /// Room.
        room: RoomId,
        /// Epoch of the plan that says so.
        epoch: Epoch,
    },
    /// The sender is not a neighbour in this room any more.
    RoomLeave {
        /// Room.
        room: RoomId,
    },
    /// A stream can be had here. The same alias again replaces what was said of it.
    Announce(Announce),
    /// A stream has ended.
    Withdraw {
        /// Room.
        room: RoomId,
        /// Stream.
        stream: StreamId,
        /// Which publish of it.
        generation: Generation,
        /// Why.
        reason: EndReason,
    },
    /// Send the packets of a layer.
    Subscribe {
        /// The receiver's alias of the stream.
        alias: u32,
        /// Track.
        track: u8,
        /// Layer.
        layer: u8,
        /// First index wanted; the newest keyframe when absent.
        from: Option<u64>,
    },
    /// Send them no more.
    Unsubscribe {
        /// The receiver's alias of the stream.
        alias: u32,
        /// Track.
        track: u8,
        /// Layer.
        layer: u8,
    },
    /// Make a keyframe.
    KeyframeRequest {
        /// The receiver's alias of the stream.
        alias: u32,
        /// Track.
        track: u8,
        /// Layer.
        layer: u8,
    },
    /// Send these packets again.
    Nack {
        /// The receiver's alias of the stream.
        alias: u32,
        /// Track.
        track: u8,
        /// Layer.
        layer: u8,
        /// Which. At most 64 ranges.
        ranges: Vec<IndexRange>,
    },
    /// An announcement is not taken, or a subscription is not served.
    Refuse {
        /// The alias that it was about: the receiver's for an announcement, the sender's for a subscription.
        alias: u32,
        /// Why.
        code: RefuseCode,
    },
    /// The sender will go: find another way.
    Goaway {
        /// Why.
        reason: GoawayReason,
    },
    /// Answer with Pong.
    Ping {
        /// Given back.
        nonce: u64,
    },
    /// The answer to Ping.
    Pong {
        /// Of the Ping.
        nonce: u64,
    },
    /// What the sender has counted.
    Stats(Stats),
    /// Which layers of a stream's tracks the publisher sends, and how fast. All of them, or all that has changed.
    Layers {
        /// The sender's alias of the stream.
        alias: u32,
        /// At most 128.
        rates: Vec<LayerRate>,
    },
}

mod kind {
    pub const HELLO: u64 = 0x01;
    pub const ROOM_JOIN: u64 = 0x02;
    pub const ROOM_LEAVE: u64 = 0x03;
    pub const ANNOUNCE: u64 = 0x04;
    pub const WITHDRAW: u64 = 0x05;
    pub const SUBSCRIBE: u64 = 0x06;
    pub const UNSUBSCRIBE: u64 = 0x07;
    pub const KEYFRAME_REQUEST: u64 = 0x08;
    pub const NACK: u64 = 0x09;
    pub const REFUSE: u64 = 0x0a;
    pub const GOAWAY: u64 = 0x0b;
    pub const PING: u64 = 0x0c;
    pub const PONG: u64 = 0x0d;
    pub const STATS: u64 = 0x0e;
    pub const LAYERS: u64 = 0x0f;
}

impl Announce {
    /// Whether the announcement has already passed through a node, so that it must not pass again.
    pub fn passed(&self, node: &NodeId) -> bool {
        self.origin == *node || self.path.contains(node)
    }

    fn write(&self, out: &mut Writer) -> Result<(), EncodeError> {
        out.room(&self.room)?;
        out.stream(&self.stream)?;
        out.u64(self.generation.0);
        out.varint32(self.alias);
        out.node(&self.origin)?;
        out.u64(self.origin_incarnation.bits());
        out.len("path", self.path.len(), PATH_MAX)?;
        for node in &self.path {
            out.node(node)?;
        }
        out.identity(&self.identity)?;
        out.u64(self.started_at_ms);
        track::write_tracks(out, &self.tracks)
    }

    fn read(input: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            room: input.room()?,
            stream: input.stream()?,
            generation: Generation(input.u64("generation")?),
            alias: input.varint32("alias")?,
            origin: input.node()?,
            origin_incarnation: Incarnation::from_bits(input.u64("origin incarnation")?),
            path: {
                let count = input.len("path", PATH_MAX)?;
                (0..count).map(|_| input.node()).collect::<Result<_, _>>()?
            },
            identity: input.identity()?,
            started_at_ms: input.u64("started at")?,
            tracks: track::read_tracks(input)?,
        })
    }
}

impl Control {
    /// Writes the frame as it stands on the stream.
    pub fn encode(&self) -> Result<Bytes, EncodeError> {
        let mut out = Writer::default();
        let kind = self.write(&mut out)?;
        frame::encode(kind, &out.into_bytes())
    }

    fn write(&self, out: &mut Writer) -> Result<u64, EncodeError> {
        Ok(match self {
            Self::Hello(hello) => {
                out.varint32(hello.v);
                out.varint32(hello.min_v);
                out.node(&hello.node)?;
                out.u64(hello.incarnation.bits());
                kind::HELLO
            }
            Self::RoomJoin { room, epoch } => {
                out.room(room)?;
                out.u64(epoch.0);
                kind::ROOM_JOIN
            }
            Self::RoomLeave { room } => {
                out.room(room)?;
                kind::ROOM_LEAVE
            }
            Self::Announce(announce) => {
                announce.write(out)?;
                kind::ANNOUNCE
            }
            Self::Withdraw { room, stream, generation, reason } => {
                out.room(room)?;
                out.stream(stream)?;
                out.u64(generation.0);
                out.u8(code::end_reason_code(*reason));
                kind::WITHDRAW
            }
            Self::Subscribe { alias, track, layer, from } => {
                write_lane(out, *alias, *track, *layer);
                match from {
                    Some(from) => {
                        out.u8(1);
                        out.u64(*from);
                    }
                    None => out.u8(0),
                }
                kind::SUBSCRIBE
            }
            Self::Unsubscribe { alias, track, layer } => {
                write_lane(out, *alias, *track, *layer);
                kind::UNSUBSCRIBE
            }
            Self::KeyframeRequest { alias, track, layer } => {
                write_lane(out, *alias, *track, *layer);
                kind::KEYFRAME_REQUEST
            }
            Self::Nack { alias, track, layer, ranges } => {
                write_lane(out, *alias, *track, *layer);
                out.len("ranges", ranges.len(), RANGES_MAX)?;
                for range in ranges {
                    out.u64(range.first);
                    out.varint32(range.count);
                }
                kind::NACK
            }
            Self::Refuse { alias, code } => {
                out.varint32(*alias);
                out.u8(code.code());
                kind::REFUSE
            }
            Self::Goaway { reason } => {
                out.u8(reason.code());
                kind::GOAWAY
            }
            Self::Ping { nonce } => {
                out.u64(*nonce);
                kind::PING
            }
            Self::Pong { nonce } => {
                out.u64(*nonce);
                kind::PONG
            }
            Self::Stats(stats) => {
                out.u64(stats.sent);
                out.u64(stats.received);
                out.u64(stats.dropped);
                kind::STATS
            }
            Self::Layers { alias, rates } => {
                out.varint32(*alias);
                out.len("layers", rates.len(), RATES_MAX)?;
                for rate in rates {
                    out.u8(rate.track);
                    out.u8(rate.layer);
                    out.varint32(rate.kbps);
                }
                kind::LAYERS
            }
        })
    }

    /// Reads a frame. `None` for a type that this version does not know.
    pub fn decode(frame: &RawFrame) -> Result<Option<Self>, DecodeError> {
        let input = &mut Reader::new(&frame.body);
        Ok(Some(match frame.kind {
            kind::HELLO => Self::Hello(Hello {
                v: input.varint32("version")?,
                min_v: input.varint32("oldest version")?,
                node: input.node()?,
                incarnation: Incarnation::from_bits(input.u64("incarnation")?),
            }),
            kind::ROOM_JOIN => Self::RoomJoin { room: input.room()?, epoch: Epoch(input.u64("epoch")?) },
            kind::ROOM_LEAVE => Self::RoomLeave { room: input.room()? },
            kind::ANNOUNCE => Self::Announce(Announce::read(input)?),
            kind::WITHDRAW => Self::Withdraw {
                room: input.room()?,
                stream: input.stream()?,
                generation: Generation(input.u64("generation")?),
                reason: code::end_reason(input.u8("reason")?),
            },
            kind::SUBSCRIBE => {
                let (alias, track, layer) = read_lane(input)?;
                let from = match input.u8("from")? {
                    0 => None,
                    _ => Some(input.u64("from")?),
                };
                Self::Subscribe { alias, track, layer, from }
            }
            kind::UNSUBSCRIBE => {
                let (alias, track, layer) = read_lane(input)?;
                Self::Unsubscribe { alias, track, layer }
            }
            kind::KEYFRAME_REQUEST => {
                let (alias, track, layer) = read_lane(input)?;
                Self::KeyframeRequest { alias, track, layer }
            }
            kind::NACK => {
                let (alias, track, layer) = read_lane(input)?;
                let count = input.len("ranges", RANGES_MAX)?;
                let ranges = (0..count).map(|_| read_range(input)).collect::<Result<_, _>>()?;
                Self::Nack { alias, track, layer, ranges }
            }
            kind::REFUSE => {
                let alias = input.varint32("alias")?;
                Self::Refuse { alias, code: RefuseCode::from_code(input.u8("code")?) }
            }
            kind::GOAWAY => Self::Goaway { reason: GoawayReason::from_code(input.u8("reason")?) },
            kind::PING => Self::Ping { nonce: input.u64("nonce")? },
            kind::PONG => Self::Pong { nonce: input.u64("nonce")? },
            kind::STATS => Self::Stats(Stats {
                sent: input.u64("sent")?,
                received: input.u64("received")?,
                dropped: input.u64("dropped")?,
            }),
            kind::LAYERS => {
                let alias = input.varint32("alias")?;
                let count = input.len("layers", RATES_MAX)?;
                let rates = (0..count).map(|_| read_rate(input)).collect::<Result<_, _>>()?;
                Self::Layers { alias, rates }
            }
            _ => return Ok(None),
        }))
    }
}

fn write_lane(out: &mut Writer, alias: u32, track: u8, layer: u8) {
    out.varint32(alias);
    out.u8(track);
    out.u8(layer);
}

fn read_lane(input: &mut Reader<'_>) -> Result<(u32, u8, u8), DecodeError> {
    let alias = input.varint32("alias")?;
    let [track, layer] = input.array("track and layer")?;
    Ok((alias, track, layer))
}

fn read_rate(input: &mut Reader<'_>) -> Result<LayerRate, DecodeError> {
    let [track, layer] = input.array("track and layer")?;
    Ok(LayerRate { track, layer, kbps: input.varint32("rate")? })
}

fn read_range(input: &mut Reader<'_>) -> Result<IndexRange, DecodeError> {
    let (first, count) = (input.u64("first index")?, input.varint32("count")?);
    if !(1..=RANGE_LEN_MAX).contains(&count) {
        return Err(DecodeError::Invalid { what: "range" });
    }
    Ok(IndexRange { first, count })
}

#[cfg(test)]
mod tests;
