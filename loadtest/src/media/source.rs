//! When which packet is due. Machines: time comes in, packets come out; the wall clock of the start is told, not read.
//!
//! A packet's capture time is the *scheduled* one. A publisher that falls behind sends late, and its lateness shows as
//! latency instead of vanishing (coordinated omission).

use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;

use super::packetize::{self, Place};
use super::stamp::Stamp;
use super::{Kind, VideoCodec};
use crate::num;

/// A keyframe takes as many bytes as so many other frames.
const KEYFRAME_WEIGHT: u64 = 5;
/// Payload bytes of an Opus packet: 40 kbit/s.
const OPUS_BYTES: usize = 100;
const OPUS_PERIOD: Duration = Duration::from_millis(20);
const OPUS_TICKS: u64 = 960;
pub(super) const OPUS_CLOCK: u64 = 48_000;
pub(super) const VIDEO_CLOCK: u64 = 90_000;

/// Most simulcast layers of a publisher.
pub const MAX_LAYERS: u8 = 3;

/// Frames that are one packet above what a relay's datagrams carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Oversized {
    /// Every so many frames.
    pub every: u32,
    /// Payload bytes; at most [`super::MAX_PAYLOAD`].
    pub bytes: usize,
}

/// What video a publisher pretends to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VideoConfig {
    /// Codec offered and sent.
    pub codec: VideoCodec,
    /// Payload bits per second, on average over a group of pictures; of the largest layer, where there are several.
    pub bitrate: Bitrate,
    /// Simulcast layers (RFC 8853), 1 to [`MAX_LAYERS`]; each has a quarter of the bits of the one above, as one with half
    /// of its width and height has. 1: no simulcast.
    pub layers: u8,
    /// Frames per second.
    pub fps: u32,
    /// Frames from one keyframe to the next; 0: only the first frame and those asked for.
    pub gop: u32,
    /// Largest payload of a packet, in bytes.
    pub max_payload: usize,
    /// Single packets of unusual size, to see relays split them.
    pub oversized: Option<Oversized>,
}

impl Default for VideoConfig {
    fn default() -> Self {
        Self {
            codec: VideoCodec::H264,
            bitrate: Bitrate::from_mbps(2),
            layers: 1,
            fps: 30,
            gop: 60,
            max_payload: 1_200,
            oversized: None,
        }
    }
}

/// A packet that is due.
#[derive(Debug, Clone)]
pub struct MediaPacket {
    /// Which of the publisher's tracks; which of its layers the stamp says.
    pub kind: Kind,
    /// RTP timestamp in the track's clock, from 0 at the source's start.
    pub rtp_time: u32,
    /// Last packet of a video frame.
    pub marker: bool,
    /// When it was due.
    pub captured: Instant,
    /// What its payload says, where that is synthetic.
    pub stamp: Stamp,
    /// Its header is to say when it was captured, because its payload cannot.
    pub told: bool,
    /// The payload.
    pub payload: Vec<u8>,
}

/// Where a source's timeline lies: its start by both clocks, and the pauses since.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timeline {
    start: Instant,
    start_us: u64,
    paused: Duration,
}

impl Timeline {
    pub fn new(start: Instant, start_us: u64) -> Self {
        Self { start, start_us, paused: Duration::ZERO }
    }

    pub fn at(&self, media: Duration) -> Instant {
        self.start + self.paused + media
    }

    /// Shifts what is due at `due` to `now`, if that is later.
    pub fn resume(&mut self, due: Instant, now: Instant) {
        self.paused += now.saturating_duration_since(due);
    }

    pub fn unix_micros(&self, captured: Instant) -> u64 {
        self.start_us.saturating_add(num::micros(captured.saturating_duration_since(self.start)))
    }

    /// Ticks of a clock that passed in pauses: RTP time goes on in them.
    pub fn paused_ticks(&self, rate: u64) -> u64 {
        num::micros(self.paused).saturating_mul(rate) / 1_000_000
    }
}

/// Makes the packets of a video track.
#[derive(Debug)]
pub struct VideoSource {
    config: VideoConfig,
    publisher: u64,
    layer: Option<u8>,
    timeline: Timeline,
    frame: u64,
    sequence: u64,
    since_keyframe: u32,
    keyframe_wanted: bool,
}

impl VideoSource {
    /// A source whose first frame, a keyframe, is due at `start`, which is `start_us` microseconds after the Unix epoch.
    pub fn new(config: VideoConfig, publisher: u64, start: Instant, start_us: u64) -> Self {
        let (timeline, layer) = (Timeline::new(start, start_us), None);
        let (frame, sequence, since_keyframe, keyframe_wanted) = (0, 0, 0, true);
        Self { config, publisher, layer, timeline, frame, sequence, since_keyframe, keyframe_wanted }
    }

    /// The same for one of several layers, from 0, the largest.
    pub fn of_layer(layer: u8, config: VideoConfig, publisher: u64, start: Instant, start_us: u64) -> Self {
        let bps = (config.bitrate.bps() >> (2 * u32::from(layer.min(MAX_LAYERS)))).max(1);
        let config = VideoConfig { bitrate: Bitrate::from_bps(bps), ..config };
        Self { layer: Some(layer), ..Self::new(config, publisher, start, start_us) }
    }

    /// When the next frame is due.
    pub fn next_due(&self) -> Instant {
        let nanos = u128::from(self.frame) * 1_000_000_000 / u128::from(self.config.fps.max(1));
        self.timeline.at(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    /// A pause is over: the next frame, a keyframe after a pause of some length, is due now.
    pub fn resume(&mut self, now: Instant) {
        let due = self.next_due();
        self.keyframe_wanted |= now > due;
        self.timeline.resume(due, now);
    }

    /// The next frame shall be a keyframe (PLI or FIR came).
    pub fn request_keyframe(&mut self) {
        self.keyframe_wanted = true;
    }

    /// The next frame's packets, if it is due.
    pub fn poll_frame(&mut self, now: Instant) -> Option<Vec<MediaPacket>> {
        let captured = self.next_due();
        if captured > now {
            return None;
        }
        let periodic = self.config.gop > 0 && self.since_keyframe >= self.config.gop;
        let keyframe = self.keyframe_wanted || periodic;
        self.keyframe_wanted = false;
        self.since_keyframe = if keyframe { 1 } else { self.since_keyframe.saturating_add(1) };
        let packets = self.frame(captured, keyframe);
        self.frame += 1;
        Some(packets)
    }

    fn frame(&mut self, captured: Instant, keyframe: bool) -> Vec<MediaPacket> {
        let oversized = self
            .config
            .oversized
            .filter(|over| !keyframe && over.every > 0 && self.frame.is_multiple_of(u64::from(over.every)));
        let sizes: Vec<usize> = match oversized {
            Some(over) => vec![over.bytes],
            None => packetize::cut(self.frame_bytes(keyframe), self.config.max_payload).collect(),
        };
        let parameters = keyframe && self.config.codec == VideoCodec::H264;
        let frame = num::wrap32(self.frame);
        let mut packets = Vec::with_capacity(sizes.len() + 1);
        let mut part = 0;
        if parameters {
            let stamp = self.stamp(captured, part, keyframe, false);
            packets.push(self.packet(stamp, captured, packetize::h264_parameters(&stamp)));
            part += 1;
        }
        let count = sizes.len();
        for (number, size) in sizes.into_iter().enumerate() {
            let last = number + 1 == count;
            let place = Place { keyframe, first: number == 0, last, alone: count == 1, frame };
            let stamp = self.stamp(captured, part, keyframe, last);
            packets.push(self.packet(
                stamp,
                captured,
                packetize::video(self.config.codec, place, &stamp, size),
            ));
            part += 1;
        }
        packets
    }

    /// Bytes of a frame, such that a group of pictures holds the bit rate.
    fn frame_bytes(&self, keyframe: bool) -> usize {
        let average = self.config.bitrate.bps() / 8 / u64::from(self.config.fps.max(1));
        let gop = u64::from(self.config.gop);
        let plain = if gop > 1 { average * gop / (gop - 1 + KEYFRAME_WEIGHT) } else { average };
        num::index(if keyframe && gop != 1 { plain * KEYFRAME_WEIGHT } else { plain })
    }

    fn stamp(&mut self, captured: Instant, part: u16, keyframe: bool, frame_end: bool) -> Stamp {
        let sequence = self.sequence;
        self.sequence += 1;
        Stamp {
            publisher: self.publisher,
            sequence,
            captured_us: self.timeline.unix_micros(captured),
            frame: num::wrap32(self.frame),
            part,
            keyframe,
            frame_end,
            video: true,
            layer: self.layer,
        }
    }

    fn packet(&self, stamp: Stamp, captured: Instant, payload: Vec<u8>) -> MediaPacket {
        let ticks = self.frame * VIDEO_CLOCK / u64::from(self.config.fps.max(1));
        let ticks = ticks + self.timeline.paused_ticks(VIDEO_CLOCK);
        let marker = stamp.frame_end;
        let (kind, rtp_time, told) = (Kind::Video, num::wrap32(ticks), false);
        MediaPacket { kind, rtp_time, marker, captured, stamp, told, payload }
    }
}

/// Makes the packets of an Opus track: 50 a second.
#[derive(Debug)]
pub struct AudioSource {
    publisher: u64,
    timeline: Timeline,
    sequence: u64,
}

impl AudioSource {
    /// A source whose first packet is due at `start`, which is `start_us` microseconds after the Unix epoch.
    pub fn new(publisher: u64, start: Instant, start_us: u64) -> Self {
        Self { publisher, timeline: Timeline::new(start, start_us), sequence: 0 }
    }

    /// A pause is over: the next packet is due now.
    pub fn resume(&mut self, now: Instant) {
        let due = self.next_due();
        self.timeline.resume(due, now);
    }

    /// When the next packet is due.
    pub fn next_due(&self) -> Instant {
        let millis = self.sequence.saturating_mul(u64::try_from(OPUS_PERIOD.as_millis()).unwrap_or(20));
        self.timeline.at(Duration::from_millis(millis))
    }

    /// The next packet, if it is due.
    pub fn poll_packet(&mut self, now: Instant) -> Option<MediaPacket> {
        let captured = self.next_due();
        if captured > now {
            return None;
        }
        let sequence = self.sequence;
        self.sequence += 1;
        let stamp = Stamp {
            publisher: self.publisher,
            sequence,
            captured_us: self.timeline.unix_micros(captured),
            frame: num::wrap32(sequence),
            part: 0,
            keyframe: false,
            frame_end: true,
            video: false,
            layer: None,
        };
        let payload = packetize::opus(&stamp, OPUS_BYTES);
        let ticks = sequence.wrapping_mul(OPUS_TICKS).wrapping_add(self.timeline.paused_ticks(OPUS_CLOCK));
        let (kind, rtp_time, told) = (Kind::Audio, num::wrap32(ticks), false);
        Some(MediaPacket { kind, rtp_time, marker: false, captured, stamp, told, payload })
    }
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
