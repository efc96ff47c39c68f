//! What a stream consists of, as announced.

use crate::error::{DecodeError, EncodeError};
use crate::wire::{Reader, Writer};

/// Most tracks of a stream.
pub const TRACKS_MAX: usize = 32;
/// Most codecs of a track.
pub const CODECS_MAX: usize = 16;
/// Most layers of a track.
pub const LAYERS_MAX: usize = 16;
/// Longest format parameters of a codec, in bytes.
pub const FMTP_MAX: usize = 512;
/// Longest codec name, in bytes.
pub const CODEC_NAME_MAX: usize = 32;
/// Longest layer name (RTP stream id, RFC 8852), in bytes.
pub const LAYER_NAME_MAX: usize = 32;
/// Longest encoded track, in bytes: what the limits above add up to, with room for fields of newer versions.
const TRACK_MAX: usize = 16 * 1024;
const CODEC_MAX: usize = 1024;

/// Audio or video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// Audio.
    Audio,
    /// Video.
    Video,
}

/// One codec of a track, as SDP names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CodecInfo {
    /// Encoding name, e.g. `H264`; at most 32 bytes.
    pub name: String,
    /// Clock rate in hertz.
    pub clock_rate: u32,
    /// Channels, 1 for video.
    pub channels: u8,
    /// Format parameters as in `a=fmtp`, without the payload type; at most 512 bytes.
    pub fmtp: String,
}

/// One audio or video source of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TrackInfo {
    /// The track's number within its stream.
    pub id: u8,
    /// Audio or video.
    pub kind: MediaKind,
    /// Codecs that its packets may have; a packet names one by its place here. At most 16.
    pub codecs: Vec<CodecInfo>,
    /// Names of its simulcast layers; empty when there is one. At most 16.
    pub layers: Vec<String>,
}

pub(crate) fn write_tracks(out: &mut Writer, tracks: &[TrackInfo]) -> Result<(), EncodeError> {
    out.len("tracks", tracks.len(), TRACKS_MAX)?;
    for track in tracks {
        let mut body = Writer::default();
        body.u8(track.id);
        body.u8(match track.kind {
            MediaKind::Audio => 0,
            MediaKind::Video => 1,
        });
        body.len("codecs", track.codecs.len(), CODECS_MAX)?;
        for codec in &track.codecs {
            let mut item = Writer::default();
            item.text("codec name", &codec.name, CODEC_NAME_MAX)?;
            item.varint32(codec.clock_rate);
            item.u8(codec.channels);
            item.text("fmtp", &codec.fmtp, FMTP_MAX)?;
            body.bytes("codec", &item.into_bytes(), CODEC_MAX)?;
        }
        body.len("layers", track.layers.len(), LAYERS_MAX)?;
        for layer in &track.layers {
            body.text("layer", layer, LAYER_NAME_MAX)?;
        }
        out.bytes("track", &body.into_bytes(), TRACK_MAX)?;
    }
    Ok(())
}

pub(crate) fn read_tracks(input: &mut Reader<'_>) -> Result<Vec<TrackInfo>, DecodeError> {
    let count = input.len("tracks", TRACKS_MAX)?;
    let mut tracks = Vec::with_capacity(count);
    for _ in 0..count {
        let mut body = Reader::new(input.bytes("track", TRACK_MAX)?);
        if let Some(track) = read_track(&mut body)? {
            tracks.push(track);
        }
    }
    Ok(tracks)
}

/// A track of a kind that this version does not know is left out: its stream is still of use.
fn read_track(body: &mut Reader<'_>) -> Result<Option<TrackInfo>, DecodeError> {
    let id = body.u8("track id")?;
    let kind = match body.u8("track kind")? {
        0 => MediaKind::Audio,
        1 => MediaKind::Video,
        _ => return Ok(None),
    };
    let count = body.len("codecs", CODECS_MAX)?;
    let mut codecs = Vec::with_capacity(count);
    for _ in 0..count {
        let mut item = Reader::new(body.bytes("codec", CODEC_MAX)?);
        codecs.push(CodecInfo {
            name: item.text("codec name", CODEC_NAME_MAX)?.to_owned(),
            clock_rate: item.varint32("clock rate")?,
            channels: item.u8("channels")?,
            fmtp: item.text("fmtp", FMTP_MAX)?.to_owned(),
        });
    }
    let count = body.len("layers", LAYERS_MAX)?;
    let mut layers = Vec::with_capacity(count);
    for _ in 0..count {
        layers.push(body.text("layer", LAYER_NAME_MAX)?.to_owned());
    }
    Ok(Some(TrackInfo { id, kind, codecs, layers }))
}
