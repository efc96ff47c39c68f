//! A WHEP viewer that checks every packet.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use str0m::media::Direction;

use super::decode::{Decoded, Decoding};
use super::drive::SessionState;
use super::events::Events;
use super::guard::lock;
use super::handle::{SessionHandle, no_way};
use super::negotiate::{Negotiated, Opening, open};
use super::receive::{Receiver, Seen};
use super::relay::Left;
use super::resource::{PatchOutcome, SessionResource};
use super::rtc::Codecs;
use super::sampled::Sampler;
use super::viewing::{Depth, ViewerConfig};
use super::{ClientError, EndReason, Standing};
use crate::measure::{Histogram, SkewReport, TrackReport};
use crate::media::Kind;
use crate::scenario::{Impairment, Turn};

/// What a viewer saw.
#[derive(Debug, Clone)]
pub struct ViewerReport {
    /// How much of its media it opened.
    pub depth: Depth,
    /// Where the session stands.
    pub state: SessionState,
    /// When the join was due: all times count from here.
    pub joined: Instant,
    /// From the start of the join to the answer.
    pub answered: Option<Duration>,
    /// From the start of the join to a working ICE pair.
    pub ice: Option<Duration>,
    /// From the start of the join to SRTP keys.
    pub connected: Option<Duration>,
    /// Each negotiated track, in the order of the offer: audio, video.
    pub tracks: Vec<TrackReport>,
    /// How far sound and picture are apart.
    pub skew: SkewReport,
    /// Datagrams of media dropped on purpose.
    pub injected_loss: u64,
    /// Datagrams of retransmissions dropped on purpose.
    pub injected_rtx_loss: u64,
    /// Media that the session refused and that belongs to no track.
    pub unmapped: u64,
    /// Keyframes asked for.
    pub keyframe_requests: u64,
    /// The statuses with which the server asked to come again later, before it let the viewer in.
    pub put_off: Vec<u16>,
    /// Its media comes by a TURN server.
    pub relayed: bool,
    /// What a real decoder made of its video, where it has one.
    pub decoded: Option<Decoded>,
}

impl ViewerReport {
    /// The first track of a kind.
    pub fn track(&self, kind: Kind) -> Option<&TrackReport> {
        self.tracks.iter().find(|track| track.kind == kind)
    }

    /// The video track.
    pub fn video(&self) -> Option<&TrackReport> {
        self.track(Kind::Video)
    }

    /// The audio track.
    pub fn audio(&self) -> Option<&TrackReport> {
        self.track(Kind::Audio)
    }
}

/// A session that watches. Dropping it ends the session without a word, as a crash would.
#[derive(Debug)]
pub struct Viewer {
    handle: SessionHandle,
    seen: Arc<Mutex<Seen>>,
    joined: Instant,
    answered: Duration,
    depth: Depth,
    relayed: bool,
    events: Option<Events>,
    decoding: Option<Arc<Decoding>>,
}

impl Viewer {
    /// Posts an offer and waits until ICE and DTLS are done.
    pub async fn connect(config: ViewerConfig) -> Result<Self, ClientError> {
        let joined = config.scheduled.unwrap_or_else(Instant::now);
        match Self::by(&config, joined, config.turn == Turn::Only).await? {
            Some(found) => Ok(found),
            None => Self::by(&config, joined, true).await?.ok_or_else(no_way),
        }
    }

    /// One attempt; `None` where there is no direct way and one by TURN may be.
    async fn by(config: &ViewerConfig, joined: Instant, relayed: bool) -> Result<Option<Self>, ClientError> {
        let mut medias = Vec::new();
        medias.extend(config.audio.then_some(Kind::Audio));
        medias.extend(config.video.then_some(Kind::Video));
        let opening = Opening {
            url: &config.url,
            token: config.token.as_deref(),
            headers: &config.headers,
            bind: config.bind,
            http_bind: config.http_bind,
            allow_public: config.allow_public,
            gate: config.gate.as_ref(),
            trust: &config.trust,
            http_timeout: config.http_timeout,
            retry_for: config.retry_for,
            codecs: Codecs {
                video: config.codecs.clone(),
                video_rtx: config.nack,
                audio_rtx: config.audio_nack,
                capture_time: config.capture_time,
            },
            medias: &medias,
            layers: &[],
            direction: Direction::RecvOnly,
            relayed,
        };
        let opened = open(&opening).await?;
        let answered = joined.elapsed();
        let seen = Arc::new(Mutex::new(Seen::new(&opened, joined, config.depth)));
        let decoding = config.decode.then(|| Arc::new(Decoding::default()));
        let handle = match config.depth {
            Depth::Whole => {
                let receiver = Receiver::new(&opened, config, Arc::clone(&seen), decoding.clone());
                SessionHandle::spawn(opened, receiver, config.paths(), config.reach())
            }
            Depth::Headers => {
                let sampler = Sampler::new(&opened, config, Arc::clone(&seen));
                SessionHandle::spawn(opened, sampler, config.paths(), config.reach())
            }
        };
        if !handle.direct(config.turn, relayed, config.connect_timeout).await? {
            return Ok(None);
        }
        let response = &handle.negotiated().response;
        let events = Events::listen(&response.headers, &response.url, handle.resource().caller());
        Ok(Some(Self { handle, seen, joined, answered, depth: config.depth, relayed, events, decoding }))
    }

    /// What was seen so far.
    pub fn report(&self) -> ViewerReport {
        let marks = self.handle.marks();
        let seen = lock(&self.seen);
        ViewerReport {
            depth: self.depth,
            state: self.handle.state(),
            joined: self.joined,
            answered: Some(self.answered),
            ice: SessionHandle::since(self.joined, marks.ice),
            connected: SessionHandle::since(self.joined, marks.connected),
            tracks: seen.reports(),
            skew: seen.skew.report(),
            injected_loss: seen.injected_loss,
            injected_rtx_loss: seen.injected_rtx_loss,
            unmapped: seen.unmapped,
            keyframe_requests: seen.keyframe_requests,
            put_off: self.handle.negotiated().put_off.clone(),
            relayed: self.relayed,
            decoded: self.decoding.as_ref().map(|decoding| decoding.seen()),
        }
    }

    /// The longest that one of its tracks stood still since this was asked; one that goes on counts as far as `until`.
    pub fn take_recent_gap(&self, until: Instant) -> Duration {
        lock(&self.seen).take_recent_gap(until)
    }

    /// Moves the latencies since this was asked into a histogram of many, so that each viewer needs none of its own.
    /// Reports have only those that came since.
    pub fn take_latency(&self, sum: &mut Histogram) {
        lock(&self.seen).take_latency(sum);
    }

    /// Moves the seconds' skews since this was asked into a histogram of many.
    pub fn take_skew(&self, sum: &mut Histogram) {
        lock(&self.seen).skew.take_apart(sum);
    }

    /// Its decoder; what it was given is decoded to the end by [`Decoding::finish`], within seconds.
    pub(crate) fn decoding(&self) -> Option<Arc<Decoding>> {
        self.decoding.clone()
    }

    /// Gives its decoder nothing more, and waits until what it was given is decoded, for some seconds at most.
    pub async fn finish_decoding(&self) {
        if let Some(decoding) = self.decoding() {
            decoding.finish().await;
        }
    }

    /// Waits until the report satisfies `condition`; false if it does not by then or the session ended before.
    pub async fn wait_until(&self, within: Duration, condition: impl Fn(&ViewerReport) -> bool) -> bool {
        let end = Instant::now() + within;
        loop {
            let report = self.report();
            if condition(&report) {
                return true;
            }
            if Instant::now() >= end || matches!(report.state, SessionState::Ended(_)) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until every negotiated track received something and video began with a keyframe.
    pub async fn wait_for_media(&self, within: Duration) -> bool {
        let flows =
            |track: &TrackReport| track.received > 0 && (track.kind == Kind::Audio || track.keyframes > 0);
        self.wait_until(within, |report| report.tracks.iter().all(flows)).await
    }

    /// Asks for a keyframe (PLI) on each video track that received something.
    pub fn request_keyframe(&self) {
        lock(&self.seen).keyframe_asked = Some(Instant::now());
        self.handle.wake();
    }

    /// Makes the network between this viewer and its server bad from now on, or good again. Must be called inside a
    /// runtime.
    pub fn impair(&self, bad: Option<Impairment>) {
        self.handle.impair(bad);
    }

    /// Where the session stands.
    pub fn state(&self) -> SessionState {
        self.handle.state()
    }

    /// Tells when this viewer has to join again. It goes on to watch over the session when the viewer is gone.
    pub fn standing(&self) -> Standing {
        Standing {
            state: self.handle.states(),
            told: self.events.as_ref().map(Events::told),
            resource: self.handle.shared_resource(),
            seen: Arc::clone(&self.seen),
        }
    }

    /// Waits until the session is over; `None` if it is not by then.
    pub async fn ended(&self, within: Duration) -> Option<EndReason> {
        self.handle.ended(within).await
    }

    /// Where this viewer receives media.
    pub fn local_address(&self) -> SocketAddr {
        self.handle.local()
    }

    /// Where the socket of that address is left when the viewer is gone. Nobody else holds it once that is so.
    pub(crate) fn left(&self) -> Arc<Left> {
        self.handle.left()
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

    /// Ends the session as a good client does: DELETE, then DTLS close. Gives what was seen before.
    pub async fn stop(self) -> Result<ViewerReport, ClientError> {
        let report = self.report();
        let deleted = self.handle.resource().delete().await;
        self.handle.close().await;
        deleted.map(|()| report)
    }

    /// Ends the session by DTLS close alone.
    pub async fn close(self) -> ViewerReport {
        let report = self.report();
        self.handle.close().await;
        report
    }
}
