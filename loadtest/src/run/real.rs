//! Which files publishers send, and what follows for the codecs of a run. Nothing is read here: agents do not have the files.

use std::path::PathBuf;

use crate::media::VideoCodec;
use crate::media::sample::Format;
use crate::scenario::{Codec, Publishers};

/// Files with what publishers send, where that is real.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Media {
    /// Pictures.
    pub video: Option<PathBuf>,
    /// Sound.
    pub audio: Option<PathBuf>,
}

impl Media {
    /// The files of real media, and the codec of the pictures that are sent.
    pub(super) fn of(publishers: &Publishers) -> Result<(Self, Option<VideoCodec>), String> {
        let mut media = Self { video: None, audio: publishers.audio_media.clone() };
        let mut codec = match publishers.codec {
            Codec::H264 => Some(VideoCodec::H264),
            Codec::Vp8 => Some(VideoCodec::Vp8),
            Codec::Opus => None,
        };
        if let Some(file) = &publishers.media {
            let Some(format) = Format::of(file) else {
                return Err(format!("{} cannot be sent: .h264, .ivf and .ogg files can", file.display()));
            };
            codec = format.video();
            if codec.is_some() {
                media.video = Some(file.clone());
                if publishers.layers > 1 {
                    return Err("a file has one encoding: it cannot be sent as simulcast layers".to_owned());
                }
            } else if media.audio.replace(file.clone()).is_some() {
                return Err("media and audio-media are both sound".to_owned());
            }
        }
        if let Some(file) = media.audio.as_ref().filter(|file| Format::of(file) != Some(Format::Ogg)) {
            return Err(format!("{} is no sound that can be sent: .ogg files are", file.display()));
        }
        if media.audio.is_some() && !publishers.audio {
            return Err("there is a file of sound, and no sound is to be sent".to_owned());
        }
        Ok((media, codec))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Depth;
    use crate::run::{Access, PlanError, RunPlan};
    use crate::scenario::{Mode, Scenario};

    fn plan(edit: impl FnOnce(&mut Scenario)) -> Result<RunPlan, PlanError> {
        let mut scenario = Scenario::default();
        scenario.viewers.url = "http://127.0.0.1/whep/r".to_owned();
        scenario.viewers.count = 100;
        edit(&mut scenario);
        RunPlan::of(&scenario, Access::default())
    }

    #[test]
    fn real_media_says_what_is_sent_and_who_decodes_opens_all() {
        let with = |file: &str| plan(|s| s.publishers.media = Some(file.into())).unwrap();
        let codec = |plan: &RunPlan| plan.publisher.video.map(|video| video.codec);
        assert_eq!(codec(&with("a.ivf")), Some(VideoCodec::Vp8));
        let sound = with("a.ogg");
        assert!(codec(&sound).is_none() && !sound.viewer.video && sound.viewer.capture_time);
        assert_eq!(sound.media, Media { video: None, audio: Some("a.ogg".into()) });
        let edit = |s: &mut Scenario| (s.viewers.mode, s.viewers.decode) = (Mode::Sampled, Some(7));
        let plan = plan(edit).unwrap();
        assert!((0..100).step_by(7).all(|viewer| plan.decodes(viewer) && plan.depth(viewer) == Depth::Whole));
        assert_eq!((0..100).filter(|viewer| plan.decodes(*viewer)).count(), 15);
    }
}
