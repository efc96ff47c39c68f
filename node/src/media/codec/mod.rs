//! Where keyframes start, by codec, and what stands in H.264's payloads.
//!
//! Payloads come from strangers: every read is checked, a payload that is cut short or lies about its lengths is
//! simply not a keyframe, and nothing is decoded beyond what tells a keyframe's first packet.

mod av1;
pub mod h264;
mod vp8;
mod vp9;

/// Codecs that the node knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CodecName {
    /// H.264 (RFC 6184).
    H264,
    /// VP8 (RFC 7741).
    Vp8,
    /// VP9 (RFC 9628).
    Vp9,
    /// AV1 (RTP payload format for AV1, version 1.0).
    Av1,
    /// Opus (RFC 7587).
    Opus,
    /// Anything else: forwarded without knowing what it says.
    Other,
}

impl CodecName {
    /// By the encoding name of SDP's `rtpmap`, in any case.
    pub fn from_name(name: &str) -> Self {
        const NAMES: [(&str, CodecName); 6] = [
            ("H264", CodecName::H264),
            ("VP8", CodecName::Vp8),
            ("VP9", CodecName::Vp9),
            ("AV1", CodecName::Av1),
            ("AV1X", CodecName::Av1),
            ("OPUS", CodecName::Opus),
        ];
        NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(_, codec)| *codec)
    }
}

/// The payload starts, or belongs to the start of, a frame that a decoder can begin with.
///
/// Audio and unknown codecs have no keyframes: a receiver can begin anywhere, so nothing waits for one. Those of H.264
/// take more than a payload to tell: `media::h264` does.
pub fn is_keyframe(codec: CodecName, payload: &[u8]) -> bool {
    match codec {
        CodecName::Vp8 => vp8::is_keyframe(payload),
        CodecName::Vp9 => vp9::is_keyframe(payload),
        CodecName::Av1 => av1::is_keyframe(payload),
        CodecName::H264 | CodecName::Opus | CodecName::Other => false,
    }
}

#[cfg(test)]
mod tests;
