//! What publishers send: synthetic media, or samples of real media.
//!
//! Synthetic packets are accepted by depacketisers and carry a stamp; their content is no picture and no sound. Frames have realistic sizes, cadence and packet structure, because that is
//! what a forwarding server sees; a decoder would refuse the slices.

pub mod assemble;
mod feed;
pub mod keyframe;
mod looped;
mod packetize;
mod payload;
pub mod sample;
mod source;
pub mod stamp;

pub use feed::Feed;
pub use looped::LoopedSource;
pub use packetize::MAX_PAYLOAD;
pub use source::{AudioSource, MAX_LAYERS, MediaPacket, Oversized, VideoConfig, VideoSource};

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
