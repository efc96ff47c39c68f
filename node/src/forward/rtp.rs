//! RTP headers as egress writes them (RFC 3550 section 5.1, extensions by RFC 8285).
//!
//! Extensions go into the one-byte form unless an id above 14 or a value above 16 bytes asks for the two-byte form.
//! Intake of strangers' RTP is str0m's; [`parse`] is a checked reader for what we wrote, in tests, benches and tools.

use crate::media::clock::NtpTime;
use crate::media::packet::Extensions;

mod parse;
mod write;

pub use parse::{Parsed, parse};

/// Longest header that egress makes: fixed part, extension word and 64 bytes of extensions.
pub const HEADER_MAX: usize = 12 + 4 + 64;

/// The fixed part of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    /// Payload type, 7 bits.
    pub pt: u8,
    /// Marker.
    pub marker: bool,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// SSRC.
    pub ssrc: u32,
}

/// A header as egress writes it: an extension stands in it when it has both a value here and an id at the viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header<'a> {
    /// Payload type, 7 bits.
    pub pt: u8,
    /// Marker.
    pub marker: bool,
    /// Sequence number.
    pub seq: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// SSRC.
    pub ssrc: u32,
    /// The m-line's `mid`.
    pub mid: Option<&'a str>,
    /// What came from the publisher.
    pub exts: &'a Extensions,
    /// What is new with every sending.
    pub stamps: &'a Stamps,
}

/// Extensions that say when and how a packet was sent.
///
/// Never in a packet that is sealed a second time under the same sequence number: AES-GCM then wants the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamps {
    /// 6.18 fixed point seconds, from [`abs_send_time`].
    pub abs_send_time: Option<u32>,
    /// Transport-wide sequence number.
    pub transport_cc: Option<u16>,
}

/// Ids of header extensions as a viewer negotiated them, 1 to 255; none where it did not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionIds {
    /// `urn:ietf:params:rtp-hdrext:sdes:mid`.
    pub mid: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time`.
    pub abs_send_time: Option<u8>,
    /// `http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01`.
    pub transport_cc: Option<u8>,
    /// `urn:ietf:params:rtp-hdrext:ssrc-audio-level`.
    pub audio_level: Option<u8>,
    /// `urn:3gpp:video-orientation`.
    pub orientation: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/playout-delay`.
    pub playout_delay: Option<u8>,
    /// `http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time`.
    pub abs_capture_time: Option<u8>,
}

impl ExtensionIds {
    /// From the `extmap` lines of an m-line: id and URI. Unknown URIs and the id 0 are passed over.
    pub fn from_uris<'a>(lines: impl IntoIterator<Item = (u8, &'a str)>) -> Self {
        let mut ids = Self::default();
        for (id, uri) in lines.into_iter().filter(|(id, _)| *id != 0) {
            let place = match uri {
                "urn:ietf:params:rtp-hdrext:sdes:mid" => &mut ids.mid,
                "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time" => &mut ids.abs_send_time,
                "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01" => {
                    &mut ids.transport_cc
                }
                "urn:ietf:params:rtp-hdrext:ssrc-audio-level" => &mut ids.audio_level,
                "urn:3gpp:video-orientation" => &mut ids.orientation,
                "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay" => &mut ids.playout_delay,
                "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time" => &mut ids.abs_capture_time,
                _ => continue,
            };
            *place = Some(id);
        }
        ids
    }
}

/// The abs-send-time of a moment: 24 bits, 6 of them seconds.
pub fn abs_send_time(ntp: NtpTime) -> u32 {
    let [.., a, b, c, d] = ((ntp.0 >> 14) & 0x00ff_ffff).to_be_bytes();
    u32::from_be_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
