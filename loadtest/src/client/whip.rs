//! A WHIP publisher of stamped media.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::Rng;
use str0m::media::{Direction, Mid, Pt};
use str0m::rtp::RtpWrite;
use str0m::{Event, Rtc};

use super::drive::{Endpoint, SessionState, lock};
use super::handle::SessionHandle;
use super::negotiate::{Negotiated, Opened, Opening, open};
use super::resource::{PatchOutcome, SessionResource};
use super::rtc::Codecs;
use super::{ClientError, EndReason};
use crate::media::stamp::MAX_NUMBER;
use crate::media::{AudioSource, Kind, MAX_PAYLOAD, MediaPacket, VideoCodec, VideoConfig, VideoSource};
use crate::num;

/// How a publisher connects and what it sends.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// WHIP endpoint.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
    /// Video to send; `None`: audio only.
    pub video: Option<VideoConfig>,
    /// Send Opus.
    pub audio: bool,
    /// Further request headers of the POST, such as `If-None-Match`.
    pub headers: Vec<(String, String)>,
    /// Local address for media; `None`: the one from which the endpoint is reached.
    pub bind: Option<IpAddr>,
    /// Time for ICE and DTLS after the answer.
    pub connect_timeout: Duration,
    /// Time for each HTTP request.
    pub http_timeout: Duration,
    /// Obey `Retry-After` of 409 and 503 for so long; zero: fail at once.
    pub retry_for: Duration,
    /// Begin to send when connected, without [`Publisher::start`].
    pub autostart: bool,
    /// The target is the user's own though it is neither loopback nor private.
    pub allow_public: bool,
    /// Number in the stamps; `None`: random.
    pub publisher: Option<u64>,
}

impl PublisherConfig {
    /// 2 Mbit/s of H.264 and Opus, sent as soon as the session is connected.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            video: Some(VideoConfig::default()),
            audio: true,
            headers: Vec::new(),
            bind: None,
            connect_timeout: Duration::from_secs(10),
            http_timeout: Duration::from_secs(10),
            retry_for: Duration::ZERO,
            autostart: true,
            allow_public: false,
            publisher: None,
        }
    }

    fn check(&self) -> Result<(), ClientError> {
        let bad = |why: String| Err(ClientError::BadConfig(why));
        let Some(video) = &self.video else { return Ok(()) };
        if !(1..=240).contains(&video.fps) {
            return bad(format!("{} frames a second; between 1 and 240 can be sent", video.fps));
        }
        if let Some(over) = video.oversized.filter(|over| over.bytes > MAX_PAYLOAD) {
            return bad(format!("a packet of {} bytes; at most {MAX_PAYLOAD} can be sent", over.bytes));
        }
        Ok(())
    }
}

/// What was sent on one track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TrackSent {
    /// Packets, retransmissions not counted.
    pub packets: u64,
    /// Payload bytes of them.
    pub bytes: u64,
    /// Index of the last packet.
    pub last_index: Option<u64>,
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

/// A session that publishes. Dropping it ends the session without a word, as a crash would.
#[derive(Debug)]
pub struct Publisher {
    handle: SessionHandle,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    stats: Mutex<PublisherStats>,
    sending: Mutex<bool>,
}

impl Publisher {
    /// Posts an offer and waits until ICE and DTLS are done.
    pub async fn connect(config: PublisherConfig) -> Result<Self, ClientError> {
        config.check()?;
        let mut medias = Vec::new();
        medias.extend(config.audio.then_some(Kind::Audio));
        medias.extend(config.video.is_some().then_some(Kind::Video));
        let codecs = Codecs {
            video: config.video.iter().map(|video| video.codec).collect(),
            video_rtx: true,
            audio_rtx: false,
        };
        let opening = Opening {
            url: &config.url,
            token: config.token.as_deref(),
            headers: &config.headers,
            bind: config.bind,
            allow_public: config.allow_public,
            http_timeout: config.http_timeout,
            retry_for: config.retry_for,
            codecs,
            medias: &medias,
            direction: Direction::SendOnly,
        };
        let mut opened = open(&opening).await?;
        let publisher =
            config.publisher.unwrap_or_else(|| rand::rng().random_range(1..=MAX_NUMBER)) & MAX_NUMBER;
        let stats = PublisherStats { publisher, ..PublisherStats::default() };
        let shared = Arc::new(Shared { stats: Mutex::new(stats), sending: Mutex::new(config.autostart) });
        let endpoint = Sender::new(&mut opened, &config, publisher, Arc::clone(&shared))?;
        let handle = SessionHandle::spawn(opened, endpoint);
        handle.connected(config.connect_timeout).await?;
        Ok(Self { handle, shared })
    }

    /// Begins to send.
    pub fn start(&self) {
        self.send(true);
    }

    /// Stops sending media; the session stays.
    pub fn pause(&self) {
        self.send(false);
    }

    fn send(&self, on: bool) {
        *lock(&self.shared.sending) = on;
        self.handle.wake();
    }

    /// What was sent so far.
    pub fn stats(&self) -> PublisherStats {
        lock(&self.shared.stats).clone()
    }

    /// Where the session stands.
    pub fn state(&self) -> SessionState {
        self.handle.state()
    }

    /// Waits until the session is over; `None` if it is not by then.
    pub async fn ended(&self, within: Duration) -> Option<EndReason> {
        self.handle.ended(within).await
    }

    /// The session's URL and what can be done there.
    pub fn resource(&self) -> &SessionResource {
        self.handle.resource()
    }

    /// Offer, answer, response headers.
    pub fn negotiated(&self) -> &Negotiated {
        self.handle.negotiated()
    }

    /// Restarts ICE by PATCH.
    pub async fn restart_ice(&self) -> Result<PatchOutcome, ClientError> {
        self.handle.restart_ice().await
    }

    /// Ends the session as a good client does: DELETE, then DTLS close. Gives what was sent.
    pub async fn stop(self) -> Result<PublisherStats, ClientError> {
        self.pause();
        let deleted = self.handle.resource().delete().await;
        self.handle.close().await;
        deleted.map(|()| self.stats())
    }

    /// Ends the session by DTLS close alone.
    pub async fn close(self) -> PublisherStats {
        self.handle.close().await;
        self.stats()
    }
}

struct Line {
    mid: Mid,
    pt: Pt,
    /// Added to indices: RTP numbers start at random (RFC 3550 section 5.1), low enough for ROC 0.
    first_sequence: u64,
    first_time: u32,
}

/// The publisher's side of the session's task.
struct Sender {
    video: Option<Line>,
    audio: Option<Line>,
    config: Option<VideoConfig>,
    publisher: u64,
    shared: Arc<Shared>,
    connected: bool,
    video_source: Option<VideoSource>,
    audio_source: Option<AudioSource>,
    queue: VecDeque<MediaPacket>,
}

impl Sender {
    fn new(
        opened: &mut Opened,
        config: &PublisherConfig,
        publisher: u64,
        shared: Arc<Shared>,
    ) -> Result<Self, ClientError> {
        let (mut video, mut audio) = (None, None);
        for (mid, kind) in &opened.mids {
            let wanted = config.video.as_ref().map(|video| video.codec).filter(|_| *kind == Kind::Video);
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
            config: config.video,
            publisher,
            shared,
            connected: false,
            video_source: None,
            audio_source: None,
            queue: VecDeque::new(),
        })
    }

    /// Sources exist while media is wanted and the session is connected.
    fn prepare(&mut self, now: Instant) {
        let sending = self.connected && *lock(&self.shared.sending);
        if !sending {
            self.queue.clear();
            return;
        }
        if self.video.is_some() && self.video_source.is_none() {
            self.video_source = self.config.map(|config| VideoSource::new(config, self.publisher, now));
        }
        if self.audio.is_some() && self.audio_source.is_none() {
            self.audio_source = Some(AudioSource::new(self.publisher, now));
        }
    }

    fn active(&self) -> bool {
        self.connected && *lock(&self.shared.sending)
    }

    fn fill(&mut self, now: Instant) {
        if let Some(frame) = self.video_source.as_mut().and_then(|source| source.poll_frame(now)) {
            self.queue.extend(frame);
        }
        self.queue.extend(self.audio_source.as_mut().and_then(|source| source.poll_packet(now)));
    }

    fn write(&mut self, rtc: &mut Rtc, packet: MediaPacket, now: Instant) {
        let line = match packet.kind {
            Kind::Video => &self.video,
            Kind::Audio => &self.audio,
        };
        let Some(line) = line else { return };
        {
            let mut stats = lock(&self.shared.stats);
            stats.worst_lateness = stats.worst_lateness.max(now.saturating_duration_since(packet.captured));
            let track = match packet.kind {
                Kind::Video => &mut stats.video,
                Kind::Audio => &mut stats.audio,
            };
            track.packets += 1;
            track.bytes += num::len(packet.payload.len());
            track.last_index = Some(packet.stamp.sequence);
            track.keyframes += u64::from(packet.stamp.keyframe && packet.stamp.part == 0);
        }
        let sequence = line.first_sequence + packet.stamp.sequence;
        let time = line.first_time.wrapping_add(packet.rtp_time);
        let write = RtpWrite::new(line.pt, sequence.into(), time, packet.captured, packet.payload)
            .marker(packet.marker)
            .nackable(packet.kind == Kind::Video);
        let mut api = rtc.direct_api();
        if let Some(stream) = api.stream_tx_by_mid(line.mid, None) {
            stream.write_rtp(write);
        }
    }
}

impl Endpoint for Sender {
    fn on_event(&mut self, _rtc: &mut Rtc, event: Event, now: Instant) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.prepare(now);
            }
            Event::KeyframeRequest(_) => {
                lock(&self.shared.stats).keyframe_requests += 1;
                if let Some(source) = &mut self.video_source {
                    source.request_keyframe();
                }
            }
            _ => {}
        }
    }

    fn next_due(&mut self) -> Option<Instant> {
        if !self.active() {
            return None;
        }
        if let Some(packet) = self.queue.front() {
            return Some(packet.captured);
        }
        if self.video_source.is_none() && self.audio_source.is_none() {
            self.prepare(Instant::now());
        }
        let video = self.video_source.as_ref().map(VideoSource::next_due);
        let audio = self.audio_source.as_ref().map(AudioSource::next_due);
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
    use str0m::format::Codec;
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
