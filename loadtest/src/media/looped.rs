//! When which packet of a sample is due, again and again: timestamps and numbers go on from one round to the next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::payload::payloads;
use super::sample::{Frame, Sample};
use super::source::{OPUS_CLOCK, Timeline, VIDEO_CLOCK};
use super::stamp::Stamp;
use super::{Kind, MediaPacket};
use crate::num;

/// Makes the packets of a track from a sample. Machine: time comes in, packets come out.
#[derive(Debug)]
pub struct LoopedSource {
    sample: Arc<Sample>,
    publisher: u64,
    max_payload: usize,
    timeline: Timeline,
    /// The next frame, and when it is due from the start.
    next: usize,
    due: Duration,
    /// Frames and packets so far.
    frames: u64,
    sequence: u64,
    keyframe_wanted: bool,
}

impl LoopedSource {
    /// A source whose first frame is due at `start`, which is `start_us` microseconds after the Unix epoch. No payload
    /// but an Opus packet has more than `max_payload` bytes.
    pub fn new(
        sample: Arc<Sample>,
        max_payload: usize,
        publisher: u64,
        start: Instant,
        start_us: u64,
    ) -> Self {
        Self {
            sample,
            publisher,
            max_payload,
            timeline: Timeline::new(start, start_us),
            next: 0,
            due: Duration::ZERO,
            frames: 0,
            sequence: 0,
            keyframe_wanted: false,
        }
    }

    /// When the next frame is due.
    pub fn next_due(&self) -> Instant {
        self.timeline.at(self.due)
    }

    /// A pause is over: the next frame, a keyframe after a pause of some length, is due now.
    pub fn resume(&mut self, now: Instant) {
        let due = self.next_due();
        self.keyframe_wanted |= now > due;
        self.timeline.resume(due, now);
    }

    /// The next frame shall be a keyframe (PLI or FIR came): what is before it in the sample is passed over.
    pub fn request_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// The next frame's packets, if it is due.
    pub fn poll_frame(&mut self, now: Instant) -> Option<Vec<MediaPacket>> {
        let captured = self.next_due();
        if captured > now {
            return None;
        }
        let sample = Arc::clone(&self.sample);
        if std::mem::replace(&mut self.keyframe_wanted, false) {
            self.skip_to_keyframe(sample.frames());
        }
        let frame = sample.frames().get(self.next)?;
        let packets = self.packets(frame, captured);
        self.frames += 1;
        self.next = (self.next + 1) % sample.frames().len().max(1);
        self.due += frame.lasts;
        Some(packets)
    }

    fn skip_to_keyframe(&mut self, frames: &[Frame]) {
        let order = (self.next..frames.len()).chain(0..self.next);
        let found = order.into_iter().find(|place| frames.get(*place).is_some_and(|frame| frame.keyframe));
        self.next = found.unwrap_or(self.next);
    }

    fn packets(&mut self, frame: &Frame, captured: Instant) -> Vec<MediaPacket> {
        let kind = self.sample.format().kind();
        let clock = match kind {
            Kind::Video => VIDEO_CLOCK,
            Kind::Audio => OPUS_CLOCK,
        };
        // To the nearest tick, so that periods that are whole ticks stay whole.
        let ticks = (self.due.as_nanos() * u128::from(clock) + 500_000_000) / 1_000_000_000;
        let ticks = u64::try_from(ticks).unwrap_or(u64::MAX).wrapping_add(self.timeline.paused_ticks(clock));
        let payloads = payloads(self.sample.format(), frame, self.frames, self.max_payload);
        let count = payloads.len();
        let mut packets = Vec::with_capacity(count);
        for (part, payload) in (0_u16..).zip(payloads) {
            let last = usize::from(part) + 1 == count;
            let stamp = Stamp {
                publisher: self.publisher,
                sequence: self.sequence,
                captured_us: self.timeline.unix_micros(captured),
                frame: num::wrap32(self.frames),
                part,
                keyframe: frame.keyframe,
                frame_end: last,
                video: kind == Kind::Video,
                layer: None,
            };
            self.sequence += 1;
            let marker = last && kind == Kind::Video;
            let (rtp_time, told) = (num::wrap32(ticks), part == 0);
            packets.push(MediaPacket { kind, rtp_time, marker, captured, stamp, told, payload });
        }
        packets
    }
}

#[cfg(test)]
#[path = "looped_tests.rs"]
mod tests;
