//! The publisher's side of its session's task: writes what is due, answers keyframe requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rand::Rng;
use str0m::format::Codec;
use str0m::media::{Mid, Pt};
use str0m::rtp::{AbsCaptureTime, ExtensionValues, RtpWrite};
use str0m::{Event, Rtc};

use super::ClientError;
use super::drive::Endpoint;
use super::guard::lock;
use super::negotiate::Opened;
use crate::media::sample::Sample;
use crate::media::{
    AudioSource, Feed, Kind, LoopedSource, MAX_PAYLOAD, MediaPacket, VideoCodec, VideoConfig, VideoSource,
};
use crate::{clock, num};

/// What was sent on one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackSent {
    /// Packets, retransmissions not counted.
    pub packets: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Index of the last packet.
    pub last_index: Option<u64>,
    /// When the last packet was due to be captured.
    pub last_due: Option<Instant>,
    /// Keyframes sent.
    pub keyframes: u64,
}

/// What a publisher did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublisherStats {
    /// Number in its stamps.
    pub publisher: u64,
    /// Its video.
    pub video: TrackSent,
    /// Its audio.
    pub audio: TrackSent,
    /// PLI and FIR that came.
    pub keyframe_requests: u64,
    /// Longest time by which a packet left later than it was due: this host was too busy.
    pub worst_lateness: Duration,
}

impl PublisherStats {
    /// What was sent of a kind.
    pub fn track(&self, kind: Kind) -> &TrackSent {
        match kind {
            Kind::Video => &self.video,
            Kind::Audio => &self.audio,
        }
    }
}

/// What the task of a publisher and those who hold it share.
#[derive(Debug)]
pub(super) struct Sending {
    stats: Mutex<PublisherStats>,
    on: AtomicBool,
}

impl Sending {
    pub fn new(publisher: u64, on: bool) -> Self {
        let stats = PublisherStats { publisher, ..PublisherStats::default() };
        Self { stats: Mutex::new(stats), on: AtomicBool::new(on) }
    }

    pub fn switch(&self, on: bool) {
        self.on.store(on, Ordering::Relaxed);
    }

    pub fn stats(&self) -> PublisherStats {
        lock(&self.stats).clone()
    }
}

struct Line {
    mid: Mid,
    pt: Pt,
    /// Added to indices: RTP numbers start at random (RFC 3550 section 5.1), low enough for ROC 0.
    first_sequence: u64,
    first_time: u32,
}

/// What of a publisher's media is real.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    pub video: Option<Arc<Sample>>,
    pub audio: Option<Arc<Sample>>,
}

pub(super) struct Sender {
    video: Option<Line>,
    audio: Option<Line>,
    config: Option<VideoConfig>,
    samples: Samples,
    publisher: u64,
    sending: Arc<Sending>,
    connected: bool,
    /// Sources wait for the end of a pause.
    paused: bool,
    video_source: Option<Feed>,
    audio_source: Option<Feed>,
    queue: VecDeque<MediaPacket>,
}

impl Sender {
    pub fn new(
        opened: &Opened,
        config: Option<VideoConfig>,
        samples: Samples,
        publisher: u64,
        sending: Arc<Sending>,
    ) -> Result<Self, ClientError> {
        let (mut video, mut audio) = (None, None);
        for (mid, kind) in &opened.mids {
            let wanted = config.map(|video| video.codec).filter(|_| *kind == Kind::Video);
            let pt = payload_type(&opened.rtc, *mid, wanted).ok_or_else(|| ClientError::BadResponse {
                url: opened.negotiated.response.url.clone(),
                why: format!(
                    "the answer takes no {} that was offered",
                    if wanted.is_some() { "video" } else { "audio" }
                ),
            })?;
            let mut rng = rand::rng();
            let line =
                Line { mid: *mid, pt, first_sequence: rng.random_range(1..30_000), first_time: rng.random() };
            match kind {
                Kind::Video => video = Some(line),
                Kind::Audio => audio = Some(line),
            }
        }
        Ok(Self {
            video,
            audio,
            config,
            samples,
            publisher,
            sending,
            connected: false,
            paused: false,
            video_source: None,
            audio_source: None,
            queue: VecDeque::new(),
        })
    }

    /// Sources exist once media was wanted on a connected session. True while it is.
    fn prepare(&mut self) -> bool {
        if !self.connected || !self.sending.on.load(Ordering::Relaxed) {
            self.paused = true;
            return false;
        }
        let begun = self.video_source.is_some() || self.audio_source.is_some();
        if begun && !self.paused {
            return true;
        }
        self.paused = false;
        let now = Instant::now();
        let wall = clock::unix_micros(now);
        if let (Some(_), Some(config)) = (&self.video, self.config) {
            let source = self.video_source.get_or_insert_with(|| match self.samples.video.clone() {
                Some(sample) => {
                    Feed::Looped(LoopedSource::new(sample, config.max_payload, self.publisher, now, wall))
                }
                None => Feed::Video(VideoSource::new(config, self.publisher, now, wall)),
            });
            source.resume(now);
        }
        if self.audio.is_some() {
            let source = self.audio_source.get_or_insert_with(|| match self.samples.audio.clone() {
                Some(sample) => {
                    Feed::Looped(LoopedSource::new(sample, MAX_PAYLOAD, self.publisher, now, wall))
                }
                None => Feed::Audio(AudioSource::new(self.publisher, now, wall)),
            });
            source.resume(now);
        }
        true
    }

    fn fill(&mut self, now: Instant) {
        for source in [&mut self.video_source, &mut self.audio_source].into_iter().flatten() {
            self.queue.extend(source.poll(now));
        }
    }

    fn write(&mut self, rtc: &mut Rtc, packet: MediaPacket, now: Instant) {
        let line = match packet.kind {
            Kind::Video => &self.video,
            Kind::Audio => &self.audio,
        };
        let Some(line) = line else { return };
        {
            let mut stats = lock(&self.sending.stats);
            stats.worst_lateness = stats.worst_lateness.max(now.saturating_duration_since(packet.captured));
            let track = match packet.kind {
                Kind::Video => &mut stats.video,
                Kind::Audio => &mut stats.audio,
            };
            track.packets += 1;
            track.bytes += num::len(packet.payload.len());
            track.last_index = Some(packet.stamp.sequence);
            track.last_due = Some(packet.captured);
            track.keyframes += u64::from(packet.stamp.keyframe && packet.stamp.part == 0);
        }
        let sequence = line.first_sequence + packet.stamp.sequence;
        let time = line.first_time.wrapping_add(packet.rtp_time);
        let capture_time = UNIX_EPOCH + Duration::from_micros(packet.stamp.captured_us);
        let told = packet.told.then_some(AbsCaptureTime { capture_time, clock_offset: None });
        let write = RtpWrite::new(line.pt, sequence.into(), time, packet.captured, packet.payload)
            .marker(packet.marker)
            .ext_vals(ExtensionValues { abs_capture_time: told, ..ExtensionValues::default() })
            .nackable(packet.kind == Kind::Video);
        let mut api = rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(line.mid, None) {
            stream.write_rtp(write);
        }
    }
}

impl Endpoint for Sender {
    fn on_event(&mut self, _rtc: &mut Rtc, event: Event, _now: Instant) {
        match event {
            Event::Connected => self.connected = true,
            Event::KeyframeRequest(_) => {
                lock(&self.sending.stats).keyframe_requests += 1;
                if let Some(source) = &mut self.video_source {
                    source.request_keyframe();
                }
            }
            _ => {}
        }
    }

    fn next_due(&mut self) -> Option<Instant> {
        // What is half written goes out whole even when a pause begins: numbers have no gap.
        if let Some(packet) = self.queue.front() {
            return Some(packet.captured);
        }
        if !self.prepare() {
            return None;
        }
        let video = self.video_source.as_ref().map(Feed::next_due);
        let audio = self.audio_source.as_ref().map(Feed::next_due);
        video.into_iter().chain(audio).min()
    }

    fn on_due(&mut self, rtc: &mut Rtc, now: Instant) {
        if self.queue.is_empty() {
            self.fill(now);
        }
        if let Some(packet) = self.queue.pop_front() {
            self.write(rtc, packet, now);
        }
    }
}

/// The payload type under which the other side takes this media.
fn payload_type(rtc: &Rtc, mid: Mid, video: Option<VideoCodec>) -> Option<Pt> {
    let wanted = match video {
        Some(VideoCodec::H264) => Codec::H264,
        Some(VideoCodec::Vp8) => Codec::Vp8,
        None => Codec::Opus,
    };
    let media = rtc.media(mid)?;
    if media.disabled() || media.stopped() || !media.direction().is_sending() {
        return None;
    }
    let known = rtc.codec_config().params();
    media
        .remote_pts()
        .iter()
        .copied()
        .find(|pt| known.iter().any(|p| p.pt() == *pt && p.spec().codec == wanted))
}
