//! A packet as every hop sees it.
//!
//! A publisher's SSRC, payload type, extension ids and SRTP keys end where the packet enters: what is kept is what a
//! viewer on any node needs, under names that mean the same on every node.

use std::time::{Duration, Instant};

use bytes::Bytes;
use freshet_cluster::{Generation, RoomId, StreamId};

/// The origin's wall clock in microseconds since the Unix epoch.
///
/// Other nodes never compare it with their own clock directly: [`super::clock::ViewClock`] maps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct CaptureMicros(pub u64);

impl CaptureMicros {
    /// Later by `by`; stays at the largest value.
    pub fn later(self, by: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(by.as_micros()).unwrap_or(u64::MAX)))
    }

    /// Shifted by a signed number of microseconds; stays inside the range.
    pub fn shifted(self, micros: i64) -> Self {
        Self(self.0.saturating_add_signed(micros))
    }

    /// Signed microseconds from `earlier` to `self`; stays inside the range.
    pub fn micros_since(self, earlier: Self) -> i64 {
        if self.0 >= earlier.0 {
            i64::try_from(self.0.abs_diff(earlier.0)).unwrap_or(i64::MAX)
        } else {
            i64::try_from(self.0.abs_diff(earlier.0)).map_or(i64::MIN, |micros| -micros)
        }
    }
}

/// RTP header extensions that survive the way from publisher to viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Extensions {
    /// Client-to-mixer audio level (RFC 6464): level in −dBov (0 loudest, 127 silence), and voice activity.
    pub audio_level: Option<(u8, bool)>,
    /// Coordination of video orientation (3GPP TS 26.114): the byte `0000CFRR`.
    pub orientation: Option<u8>,
    /// Playout delay bounds, minimum and maximum in units of 10 ms, 12 bits each.
    pub playout_delay: Option<(u16, u16)>,
    /// When the media was captured, by the clock of whoever captured it: NTP's 32.32 fixed point seconds
    /// (abs-capture-time of WebRTC, without its clock offset).
    pub abs_capture_time: Option<u64>,
}

/// One RTP packet of a track's layer, kept once for each node as `Arc<Packet>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The origin's number, its publisher's extended sequence number and what was put in front: the same at every hop.
    pub index: u64,
    /// RTP timestamp as the publisher wrote it under its first SSRC; those of another go on from there.
    pub timestamp: u32,
    /// RTP marker: for video the end of a frame.
    pub marker: bool,
    /// A decoder can begin with this packet: nothing that it needs comes before. Of a frame one packet is marked, or
    /// more of its first.
    pub keyframe: bool,
    /// Place of the codec in the track's list of codecs.
    pub codec: u8,
    /// When the media was captured, by the origin's wall clock.
    pub capture: CaptureMicros,
    /// When the packet came to this node.
    pub arrived: Instant,
    /// Header extensions that go on to viewers.
    pub exts: Extensions,
    /// RTP payload, without padding.
    pub payload: Bytes,
}

/// Names one ring: a layer of a track of one generation of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrackKey {
    /// Room.
    pub room: RoomId,
    /// Stream in the room.
    pub stream: StreamId,
    /// Which publish of the stream.
    pub generation: Generation,
    /// Track of the stream.
    pub track: u8,
    /// Simulcast encoding of the track, 0 where there is one.
    pub layer: u8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_signed_and_never_wrap() {
        let (a, b) = (CaptureMicros(1_000), CaptureMicros(400));
        assert_eq!(a.micros_since(b), 600);
        assert_eq!(b.micros_since(a), -600);
        assert_eq!(CaptureMicros(u64::MAX).micros_since(CaptureMicros(0)), i64::MAX);
        assert_eq!(CaptureMicros(0).micros_since(CaptureMicros(u64::MAX)), i64::MIN);
        assert_eq!(CaptureMicros(5).shifted(-9), CaptureMicros(0));
        assert_eq!(CaptureMicros(5).later(Duration::MAX), CaptureMicros(u64::MAX));
    }
}
