//! Real encoded media, read from a file's bytes. Whatever the bytes are: a sample, or one line that says why not.

mod annexb;
mod bits;
mod frame;
mod ivf;
mod ogg;

use std::path::Path;
use std::time::Duration;

pub use frame::{Frame, SampleError};

use super::{Kind, VideoCodec};

/// Largest file that is read, in bytes.
pub const FILE_MAX: u64 = 256 << 20;
/// A frame lasts between these; shorter ones are no media, longer ones a broken clock.
const LASTS: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);

/// How a file holds its media.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// H.264 as a byte stream (ITU-T H.264 annex B): `.h264`, `.264`.
    AnnexB,
    /// VP8 in IVF: `.ivf`.
    Ivf,
    /// Opus in Ogg (RFC 7845): `.ogg`, `.opus`.
    Ogg,
}

impl Format {
    /// By the name of the file.
    pub fn of(path: &Path) -> Option<Self> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "h264" | "264" => Some(Self::AnnexB),
            "ivf" => Some(Self::Ivf),
            "ogg" | "opus" => Some(Self::Ogg),
            _ => None,
        }
    }

    /// The codec of its pictures; none where it is sound.
    pub fn video(self) -> Option<VideoCodec> {
        match self {
            Self::AnnexB => Some(VideoCodec::H264),
            Self::Ivf => Some(VideoCodec::Vp8),
            Self::Ogg => None,
        }
    }

    /// Pictures or sound.
    pub fn kind(self) -> Kind {
        if self.video().is_some() { Kind::Video } else { Kind::Audio }
    }
}

/// Media that was encoded before, one frame at least; pictures begin with a keyframe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    format: Format,
    frames: Vec<Frame>,
}

impl Sample {
    /// Reads a whole file's bytes. H.264 that does not say how many frames a second it has is taken to have `fps`.
    pub fn read(format: Format, bytes: &[u8], fps: u32) -> Result<Self, SampleError> {
        let frames = match format {
            Format::AnnexB => annexb::read(bytes, fps)?,
            Format::Ivf => ivf::read(bytes)?,
            Format::Ogg => ogg::read(bytes)?,
        };
        let first = frames.first().ok_or_else(|| SampleError::new("it holds no media"))?;
        if format.kind() == Kind::Video && !first.keyframe {
            return Err(SampleError::new("it does not begin with a keyframe"));
        }
        if let Some((number, frame)) =
            frames.iter().enumerate().find(|(_, frame)| !LASTS.contains(&frame.lasts))
        {
            let why = format!("frame {number} lasts {:?}; between 1 ms and 10 s can be sent", frame.lasts);
            return Err(SampleError::new(why));
        }
        Ok(Self { format, frames })
    }

    /// How it was held.
    pub fn format(&self) -> Format {
        self.format
    }

    /// In the order in which they are sent.
    pub fn frames(&self) -> &[Frame] {
        &self.frames
    }
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
