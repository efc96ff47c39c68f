//! Synthetic media: packets that depacketisers accept and that carry a stamp.
//!
//! The content is no picture and no sound. Frames have realistic sizes, cadence and packet structure, because that is
//! what a forwarding server sees; a decoder would refuse the slices.

pub mod keyframe;
mod packetize;
mod source;
pub mod stamp;

pub use packetize::MAX_PAYLOAD;
pub use source::{AudioSource, MediaPacket, Oversized, VideoConfig, VideoSource};

/// What a track carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Video codecs that publishers can pretend to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum VideoCodec {
    /// H.264, constrained baseline, packetization-mode 1 (RFC 6184).
    H264,
    /// VP8 (RFC 7741).
    Vp8,
}
