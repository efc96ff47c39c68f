//! Real encoded media, read from a file's bytes. Whatever the bytes are: a sample, or one line that says why not.

mod annexb;
mod bits;
mod ivf;
mod ogg;

use std::path::Path;
use std::time::Duration;

use super::{Kind, VideoCodec};

/// Largest file that is read, in bytes.
pub const FILE_MAX: u64 = 256 << 20;
/// Most frames of a sample.
const FRAMES_MAX: usize = 1 << 20;
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

/// Why bytes are no sample, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SampleError(String);

impl SampleError {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// What is captured at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Until the next one is due.
    pub lasts: Duration,
    /// A decoder can begin here. Not said of sound.
    pub keyframe: bool,
    /// The NAL units of an H.264 picture without start codes; one VP8 frame; one Opus packet. None of them is empty.
    pub units: Vec<Vec<u8>>,
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
            return Err(SampleError(why));
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

/// Adds a frame, up to what is bearable.
fn add<T>(all: &mut Vec<T>, one: T) -> Result<(), SampleError> {
    if all.len() >= FRAMES_MAX {
        return Err(SampleError(format!("it holds more than {FRAMES_MAX} frames")));
    }
    all.push(one);
    Ok(())
}

/// How long the n-th of frames lasts whose period is so many seconds: all together without a rounding error.
fn lasts(number: u64, numerator: u64, denominator: u64) -> Duration {
    let at = |number: u64| {
        u128::from(number) * u128::from(numerator) * 1_000_000_000 / u128::from(denominator.max(1))
    };
    let nanos = at(number.saturating_add(1)).saturating_sub(at(number));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "sample_tests.rs"]
mod tests;
