//! How a publisher's media arrives: what its node says, and what coordinators pass on.

use freshet_cluster::{Generation, RoomId, StreamId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A stream as it arrives at its publisher's node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StreamHealth {
    /// Room id.
    #[schema(value_type = String)]
    pub room: RoomId,
    /// Stream id.
    #[schema(value_type = String)]
    pub stream: StreamId,
    /// Which publish of it.
    #[schema(value_type = u64)]
    pub generation: Generation,
    /// False between the publisher's POST and the end of ICE and DTLS: figures are zero so long.
    pub live: bool,
    /// Its tracks.
    pub tracks: Vec<TrackHealth>,
    /// What should be looked at; none while all is well.
    pub warnings: Vec<HealthWarning>,
}

/// One track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TrackHealth {
    /// `audio` or `video`.
    pub kind: String,
    /// Codec of the newest packet; absent before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codec: Option<String>,
    /// Its profile: for H.264 profile, constraints and level in six hexadecimal digits, as the stream itself says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Round trip between node and publisher in microseconds, where the publisher answers reference time reports
    /// (RFC 3611).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub round_trip_us: Option<u64>,
    /// Its encodings: one, or one for each simulcast layer.
    pub layers: Vec<LayerHealth>,
}

/// One encoding of a track.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LayerHealth {
    /// Its RID; absent where the track has one encoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// Bits a second over the last two seconds, headers included.
    pub bitrate_bps: u64,
    /// Pictures a second over the last two seconds; absent for sound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Packets that came.
    pub packets: u64,
    /// Packets that never came, retransmission or not.
    pub lost_packets: u64,
    /// Of a thousand packets of the last two seconds, so many had not come.
    pub loss_permille: u64,
    /// Interarrival jitter (RFC 3550 section 6.4.1), in microseconds.
    pub jitter_us: u64,
    /// Time between the last two keyframes, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyframe_interval_ms: Option<u64>,
    /// Time since the last keyframe, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyframe_age_ms: Option<u64>,
    /// Pictures came in another order than they are shown in, within the last minute.
    pub bframes: bool,
    /// Packets of more than 1,200 bytes: with what Freshet adds they may not fit every path.
    pub oversized_packets: u64,
}

/// Something that should be looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthWarning {
    /// `keyframe-interval`, `bframes`, `bitrate-collapse`, `clock-jump`, `loss` or `oversized-packets`.
    pub reason: String,
    /// What is wrong, with what, and what to do.
    pub text: String,
}
