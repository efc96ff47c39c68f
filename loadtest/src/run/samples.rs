//! Real media for publishers, from files.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{RunError, RunPlan};
use crate::client::{PublisherConfig, decoder_is_there};
use crate::media::sample::{FILE_MAX, Format, Sample};
use crate::num;

/// How publishers connect, with what they are to send read from its files.
pub(super) fn publisher(plan: &RunPlan) -> Result<PublisherConfig, RunError> {
    let mut config = plan.publisher.clone();
    let fps = config.video.map_or(0, |video| video.fps);
    let load = |path: &Option<_>| path.as_deref().map(|path| read(path, fps)).transpose();
    config.video_sample = load(&plan.media.video)?;
    config.audio_sample = load(&plan.media.audio)?;
    Ok(config)
}

/// Sees that viewers can decode, where some are to.
pub(crate) fn check_decoder(plan: &RunPlan) -> Result<(), String> {
    if plan.decode.is_some() && plan.seats.iter().any(|seat| plan.decodes(seat.number)) {
        return decoder_is_there();
    }
    Ok(())
}

fn read(path: &Path, fps: u32) -> Result<Arc<Sample>, RunError> {
    let name = path.display();
    let failed = |why: String| RunError::Media { file: name.to_string(), why };
    let format = Format::of(path).ok_or_else(|| failed("its name ends otherwise".to_owned()))?;
    let size = fs::metadata(path).map_err(|error| failed(error.to_string()))?;
    if !size.is_file() {
        return Err(failed("it is no file".to_owned()));
    }
    if size.len() > FILE_MAX {
        return Err(failed(format!("it has {} bytes; at most {FILE_MAX} are read", size.len())));
    }
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    let sample = Sample::read(format, &bytes, fps).map_err(|error| failed(error.to_string()))?;
    tracing::info!(file = %name, frames = num::len(sample.frames().len()), "media was read");
    Ok(Arc::new(sample))
}
