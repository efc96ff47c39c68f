//! Where the packets of a track come from.

use std::time::Instant;

use super::{AudioSource, LoopedSource, MediaPacket, VideoSource};

/// A source of any kind.
#[derive(Debug)]
pub enum Feed {
    /// Synthetic pictures.
    Video(VideoSource),
    /// Synthetic sound.
    Audio(AudioSource),
    /// A sample of either.
    Looped(LoopedSource),
}

impl Feed {
    /// When the next frame is due.
    pub fn next_due(&self) -> Instant {
        match self {
            Self::Video(source) => source.next_due(),
            Self::Audio(source) => source.next_due(),
            Self::Looped(source) => source.next_due(),
        }
    }

    /// A pause is over: the next frame is due now.
    pub fn resume(&mut self, now: Instant) {
        match self {
            Self::Video(source) => source.resume(now),
            Self::Audio(source) => source.resume(now),
            Self::Looped(source) => source.resume(now),
        }
    }

    /// The next frame shall be a keyframe (PLI or FIR came).
    pub fn request_keyframe(&mut self) {
        match self {
            Self::Video(source) => source.request_keyframe(),
            Self::Looped(source) => source.request_keyframe(),
            Self::Audio(_) => {}
        }
    }

    /// The next frame's packets, if it is due.
    pub fn poll(&mut self, now: Instant) -> Vec<MediaPacket> {
        match self {
            Self::Video(source) => source.poll_frame(now).unwrap_or_default(),
            Self::Looped(source) => source.poll_frame(now).unwrap_or_default(),
            Self::Audio(source) => source.poll_packet(now).into_iter().collect(),
        }
    }
}
