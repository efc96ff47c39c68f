//! A WHIP publisher of stamped media, or of samples.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use rand::Rng;
use str0m::media::Direction;

use super::drive::{Paths, SessionState};
use super::gate::Reach;
use super::handle::{SessionHandle, no_way};
use super::negotiate::{Negotiated, Opening, open};
use super::resource::{PatchOutcome, SessionResource};
use super::rtc::Codecs;
use super::send::{PublisherStats, Samples, Sender, Sending};
use super::{ClientError, EndReason, Gate, Trust};
use crate::media::sample::Sample;
use crate::media::stamp::MAX_NUMBER;
use crate::media::{Kind, MAX_LAYERS, MAX_PAYLOAD, VideoConfig};
use crate::scenario::Turn;

/// How layers are called, the largest first: full, a half, a quarter of the width.
const LAYERS: [&str; MAX_LAYERS as usize] = ["f", "h", "q"];

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
    /// Real video, again and again, instead of synthetic one; of `video`, whose codec has to be its own, only
    /// `max_payload` counts then.
    pub video_sample: Option<Arc<Sample>>,
    /// Real sound instead of synthetic one.
    pub audio_sample: Option<Arc<Sample>>,
    /// Further request headers of the POST, such as `If-None-Match`.
    pub headers: Vec<(String, String)>,
    /// Local address for media; `None`: the one from which the endpoint is reached.
    pub bind: Option<IpAddr>,
    /// Time for ICE and DTLS after the answer.
    pub connect_timeout: Duration,
    /// Time for each HTTP request.
    pub http_timeout: Duration,
    /// Obey `Retry-After` of 409, 429 and 503 for so long; zero: fail at once.
    pub retry_for: Duration,
    /// When a TURN server that the response names is used.
    pub turn: Turn,
    /// Begin to send when connected, without [`Publisher::start`].
    pub autostart: bool,
    /// The target is the user's own though it is neither loopback nor private.
    pub allow_public: bool,
    /// Keeps out whom redirects, `Location`s and `Link`s lead to; `None`: whatever address may be loaded.
    pub gate: Option<Arc<Gate>>,
    /// Whose certificates are believed where the URL begins with https.
    pub trust: Trust,
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
            video_sample: None,
            audio_sample: None,
            headers: Vec::new(),
            bind: None,
            connect_timeout: Duration::from_secs(10),
            http_timeout: Duration::from_secs(10),
            retry_for: Duration::ZERO,
            turn: Turn::default(),
            autostart: true,
            allow_public: false,
            gate: None,
            trust: Trust::default(),
            publisher: None,
        }
    }

    /// The names of its simulcast layers, if there are several.
    fn layers(&self) -> &'static [&'static str] {
        let count = self.video.map_or(1, |video| usize::from(video.layers));
        if count > 1 { LAYERS.get(..count).unwrap_or_default() } else { &[] }
    }

    fn check(&self) -> Result<(), ClientError> {
        let bad = |why: String| Err(ClientError::BadConfig(why));
        let codec = self.video_sample.as_ref().map(|sample| sample.format().video());
        if codec.is_some_and(|codec| codec.is_none() || codec != self.video.map(|video| video.codec)) {
            return bad("the video sample is not of the codec that is to be sent".to_owned());
        }
        if self.audio_sample.as_ref().is_some_and(|sample| sample.format().kind() != Kind::Audio) {
            return bad("the audio sample is no sound".to_owned());
        }
        let Some(video) = &self.video else { return Ok(()) };
        if !(1..=240).contains(&video.fps) {
            return bad(format!("{} frames a second; between 1 and 240 can be sent", video.fps));
        }
        if !(1..=MAX_LAYERS).contains(&video.layers) {
            return bad(format!("{} simulcast layers; between 1 and {MAX_LAYERS} can be sent", video.layers));
        }
        if video.layers > 1 && self.video_sample.is_some() {
            return bad("a video sample has one encoding: it cannot be sent as simulcast layers".to_owned());
        }
        if let Some(over) = video.oversized.filter(|over| over.bytes > MAX_PAYLOAD) {
            return bad(format!("a packet of {} bytes; at most {MAX_PAYLOAD} can be sent", over.bytes));
        }
        Ok(())
    }
}

/// A session that publishes. Dropping it ends the session without a word, as a crash would.
#[derive(Debug)]
pub struct Publisher {
    handle: SessionHandle,
    sending: Arc<Sending>,
}

impl Publisher {
    /// Posts an offer and waits until ICE and DTLS are done.
    pub async fn connect(config: PublisherConfig) -> Result<Self, ClientError> {
        config.check()?;
        match Self::by(&config, config.turn == Turn::Only).await? {
            Some(found) => Ok(found),
            None => Self::by(&config, true).await?.ok_or_else(no_way),
        }
    }

    /// One attempt; `None` where there is no direct way and one by TURN may be.
    async fn by(config: &PublisherConfig, relayed: bool) -> Result<Option<Self>, ClientError> {
        let mut medias = Vec::new();
        medias.extend(config.audio.then_some(Kind::Audio));
        medias.extend(config.video.is_some().then_some(Kind::Video));
        let codecs = Codecs {
            video: config.video.iter().map(|video| video.codec).collect(),
            video_rtx: true,
            audio_rtx: false,
            capture_time: config.video_sample.is_some() || config.audio_sample.is_some(),
        };
        let opening = Opening {
            url: &config.url,
            token: config.token.as_deref(),
            headers: &config.headers,
            bind: config.bind,
            http_bind: None,
            allow_public: config.allow_public,
            gate: config.gate.as_ref(),
            trust: &config.trust,
            http_timeout: config.http_timeout,
            retry_for: config.retry_for,
            codecs,
            medias: &medias,
            layers: config.layers(),
            direction: Direction::SendOnly,
            relayed,
        };
        let opened = open(&opening).await?;
        let publisher =
            config.publisher.unwrap_or_else(|| rand::rng().random_range(1..=MAX_NUMBER)) & MAX_NUMBER;
        let sending = Arc::new(Sending::new(publisher, config.autostart));
        let samples = Samples { video: config.video_sample.clone(), audio: config.audio_sample.clone() };
        let layers = config.layers();
        let endpoint = match Sender::new(&opened, (config.video, layers), samples, Arc::clone(&sending)) {
            Ok(endpoint) => endpoint,
            Err(error) => {
                opened.resource.abandon().await;
                return Err(error);
            }
        };
        let paths = Paths::new(publisher);
        let reach = Reach { allow_public: config.allow_public, gate: config.gate.clone() };
        let handle = SessionHandle::spawn(opened, endpoint, paths, reach);
        let connected = handle.direct(config.turn, relayed, config.connect_timeout).await?;
        Ok(connected.then_some(Self { handle, sending }))
    }

    /// Begins to send, or goes on after a pause: numbers without a gap, timestamps with the pause in them.
    pub fn start(&self) {
        self.send(true);
    }

    /// Stops sending media; the session stays.
    pub fn pause(&self) {
        self.send(false);
    }

    fn send(&self, on: bool) {
        self.sending.switch(on);
        self.handle.wake();
    }

    /// What was sent so far.
    pub fn stats(&self) -> PublisherStats {
        self.sending.stats()
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
