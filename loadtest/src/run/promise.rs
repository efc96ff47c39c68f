//! Bounds that a plan cannot keep, known before it runs.

use super::plan::{PlanError, RunPlan};
use crate::report::Bound;

impl RunPlan {
    /// Refuses bounds that no run of this plan can keep, as those on figures of somebody who is not in it.
    ///
    /// # Errors
    /// [`PlanError::Bound`].
    pub fn can_keep(&self, bounds: &[Bound]) -> Result<(), PlanError> {
        let (hls, chat) = (self.beside.hls.is_some(), self.beside.chat.is_some());
        let missing = |figure: &str| match figure {
            _ if figure.starts_with("hls-") => (!hls).then_some("nobody watches by HLS in this run"),
            _ if figure.starts_with("chat-") => (!chat).then_some("nobody chats in this run"),
            _ if self.audience == 0 => Some("nobody watches by WHEP in this run"),
            _ if figure.starts_with("decode-") => {
                self.decode.is_none().then_some("nobody decodes in this run: add --decode")
            }
            "video-loss" | "first-keyframe-p50" | "first-keyframe-p99" => {
                (!self.viewer.video).then_some("there is no video in this run")
            }
            "audio-loss" => (!self.viewer.audio).then_some("there is no sound in this run"),
            _ => None,
        };
        for bound in bounds {
            if let Some(why) = missing(bound.figure()).or_else(|| bound.never_kept()) {
                return Err(PlanError::Bound { bound: bound.text().to_owned(), why });
            }
        }
        Ok(())
    }
}
