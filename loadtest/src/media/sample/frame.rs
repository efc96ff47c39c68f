//! What every reader of a file gives: frames, or why there are none.

use std::time::Duration;

/// Most frames of a sample.
const FRAMES_MAX: usize = 1 << 20;

/// Why bytes are no sample, in one line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SampleError(String);

impl SampleError {
    pub(super) fn new(why: impl Into<String>) -> Self {
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

/// Adds a frame, up to what is bearable.
pub(super) fn add<T>(all: &mut Vec<T>, one: T) -> Result<(), SampleError> {
    if all.len() >= FRAMES_MAX {
        return Err(SampleError(format!("it holds more than {FRAMES_MAX} frames")));
    }
    all.push(one);
    Ok(())
}

/// How long the n-th of frames lasts whose period is so many seconds: all together without a rounding error.
pub(super) fn lasts(number: u64, numerator: u64, denominator: u64) -> Duration {
    let at = |number: u64| {
        u128::from(number) * u128::from(numerator) * 1_000_000_000 / u128::from(denominator.max(1))
    };
    let nanos = at(number.saturating_add(1)).saturating_sub(at(number));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
