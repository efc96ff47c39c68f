//! The publisher's side of its session's task: writes what is due, answers keyframe requests.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use rand::Rng;
use str0m::format::Codec;
use str0m::media::{Mid, Pt, Rid};
use str0m::rtp::{AbsCaptureTime, ExtensionValues, RtpWrite};
use str0m::{Event, Rtc};

use super::ClientError;
use super::drive::Endpoint;
use super::guard::lock;
use super::negotiate::Opened;
use super::section::sections;
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
    /// Index of the last packet; none of several layers, which viewers see in part.
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

/// A stream of packets: sound, pictures, or one of several layers of pictures.
struct Line {
    mid: Mid,
    /// The layer's place, from 0, the largest, and its name; `None`: there is one encoding.
    layer: Option<(u8, Rid)>,
    kind: Kind,
    pt: Pt,
    /// Added to indices: RTP numbers start at random (RFC 3550 section 5.1), low enough for ROC 0.
    first_sequence: u64,
    first_time: u32,
    /// It is there once media was wanted on a connected session.
    source: Option<Feed>,
}

impl Line {
    fn new(mid: Mid, kind: Kind, pt: Pt, layer: Option<(u8, Rid)>) -> Self {
        let mut rng = rand::rng();
        let (first_sequence, first_time) = (rng.random_range(1..30_000), rng.random());
        Self { mid, layer, kind, pt, first_sequence, first_time, source: None }
    }

    fn carries(&self, packet: &MediaPacket) -> bool {
        self.kind == packet.kind && self.layer.map(|(place, _)| place) == packet.stamp.layer
    }
}

/// What of a publisher's media is real.
#[derive(Debug, Clone, Default)]
pub(super) struct Samples {
    pub video: Option<Arc<Sample>>,
    pub audio: Option<Arc<Sample>>,
}

impl Samples {
    fn of(&self, kind: Kind) -> Option<Arc<Sample>> {
        match kind {
            Kind::Video => self.video.clone(),
            Kind::Audio => self.audio.clone(),
        }
    }
}

pub(super) struct Sender {
    lines: Vec<Line>,
    config: Option<VideoConfig>,
    samples: Samples,
    sending: Arc<Sending>,
    connected: bool,
    /// Sources wait for the end of a pause.
    paused: bool,
    queue: VecDeque<MediaPacket>,
}

impl Sender {
    /// What sends what the server has taken: pictures as configured, in layers of these names if there are any.
    pub fn new(
        opened: &Opened,
        (config, layers): (Option<VideoConfig>, &[&'static str]),
        samples: Samples,
        sending: Arc<Sending>,
    ) -> Result<Self, ClientError> {
        let refused = |what: &str| ClientError::BadResponse {
            url: opened.negotiated.response.url.clone(),
            why: format!("the answer takes no {what} that was offered"),
        };
        let mut lines = Vec::new();
        for (mid, kind) in &opened.mids {
            let wanted = config.map(|video| video.codec).filter(|_| *kind == Kind::Video);
            let name = if wanted.is_some() { "video" } else { "audio" };
            let pt = payload_type(&opened.rtc, *mid, wanted).ok_or_else(|| refused(name))?;
            if *kind == Kind::Audio || layers.is_empty() {
                lines.push(Line::new(*mid, *kind, pt, None));
                continue;
            }
            let taken = taken_layers(&opened.negotiated.answer, *mid);
            let of = (0..).zip(layers).filter(|(_, name)| taken.iter().any(|taken| taken == *name));
            let before = lines.len();
            lines.extend(of.map(|(place, name)| Line::new(*mid, *kind, pt, Some((place, Rid::from(*name))))));
            if lines.len() == before {
                return Err(refused("simulcast layer"));
            }
        }
        let (connected, paused, queue) = (false, false, VecDeque::new());
        Ok(Self { lines, config, samples, sending, connected, paused, queue })
    }

    /// Sources exist once media was wanted on a connected session. True while it is.
    fn prepare(&mut self) -> bool {
        if !self.connected || !self.sending.on.load(Ordering::Relaxed) {
            self.paused = true;
            return false;
        }
        let begun = self.lines.iter().any(|line| line.source.is_some());
        if begun && !self.paused {
            return true;
        }
        self.paused = false;
        let now = Instant::now();
        let wall = clock::unix_micros(now);
        let Self { lines, config, samples, sending, .. } = self;
        let publisher = lock(&sending.stats).publisher;
        for line in lines {
            let source = line.source.get_or_insert_with(|| {
                match (line.kind, samples.of(line.kind), config.unwrap_or_default()) {
                    (Kind::Video, None, config) => Feed::Video(match line.layer {
                        Some((layer, _)) => VideoSource::of_layer(layer, config, publisher, now, wall),
                        None => VideoSource::new(config, publisher, now, wall),
                    }),
                    (Kind::Audio, None, _) => Feed::Audio(AudioSource::new(publisher, now, wall)),
                    (kind, Some(sample), config) => {
                        let most = if kind == Kind::Video { config.max_payload } else { MAX_PAYLOAD };
                        Feed::Looped(LoopedSource::new(sample, most, publisher, now, wall))
                    }
                }
            });
            source.resume(now);
        }
        true
    }

    fn fill(&mut self, now: Instant) {
        for source in self.lines.iter_mut().filter_map(|line| line.source.as_mut()) {
            self.queue.extend(source.poll(now));
        }
    }

    fn write(&mut self, rtc: &mut Rtc, packet: MediaPacket, now: Instant) {
        let Some(line) = self.lines.iter().find(|line| line.carries(&packet)) else { return };
        {
            let mut stats = lock(&self.sending.stats);
            stats.worst_lateness = stats.worst_lateness.max(now.saturating_duration_since(packet.captured));
            let track = match packet.kind {
                Kind::Video => &mut stats.video,
                Kind::Audio => &mut stats.audio,
            };
            track.packets += 1;
            track.bytes += num::len(packet.payload.len());
            // Which of several layers a viewer was to have last, and under which number, is for the server to say.
            track.last_index = packet.stamp.layer.is_none().then_some(packet.stamp.sequence);
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
        if let Some(stream) = api.stream_tx_by_mid(line.mid, line.layer.map(|(_, name)| name)) {
            stream.write_rtp(write);
        }
    }
}

impl Endpoint for Sender {
    fn on_event(&mut self, _rtc: &mut Rtc, event: Event, _now: Instant) {
        match event {
            Event::Connected => self.connected = true,
            Event::KeyframeRequest(asked) => {
                lock(&self.sending.stats).keyframe_requests += 1;
                let of =
                    |line: &&mut Line| line.mid == asked.mid && line.layer.map(|(_, name)| name) == asked.rid;
                let sources = self.lines.iter_mut().filter(of).filter_map(|line| line.source.as_mut());
                sources.for_each(Feed::request_keyframe);
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
        self.lines.iter().filter_map(|line| line.source.as_ref()).map(Feed::next_due).min()
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

/// The layers of a medium that an answer takes.
fn taken_layers(answer: &str, mid: Mid) -> Vec<String> {
    let all = sections(answer).into_iter();
    all.filter(|section| section.mid == mid.to_string()).flat_map(|section| section.layers).collect()
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
