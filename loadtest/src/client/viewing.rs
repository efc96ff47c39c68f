//! What a viewer wants, and what it shows of each packet.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::media::stamp::{Stamp, StampError};
use crate::media::{Kind, VideoCodec};
use crate::scenario::{Impairment, Turn};

use super::drive::Paths;
use super::gate::Reach;
use super::target::{resolve_reference, same_origin};
use super::{Gate, Trust};

/// How much of its media a viewer opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Depth {
    /// Every packet is decrypted and checked.
    #[default]
    Whole,
    /// First transmissions are counted by their headers, which takes far less CPU: no latency, no damage, and no packet
    /// for [`ViewerConfig::on_packet`]. Retransmissions and RTCP are decrypted.
    Headers,
}

/// Loss that a viewer makes for itself: datagrams of media and retransmissions are dropped before the session sees them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loss {
    /// Share of datagrams dropped, 0–1.
    pub fraction: f64,
    /// The same seed drops the same positions in the sequence of datagrams.
    pub seed: u64,
}

/// A packet as a viewer's session delivered it, decrypted and recovered.
#[derive(Debug, Clone, Copy)]
pub struct ReceivedPacket<'a> {
    /// Video or audio.
    pub kind: Kind,
    /// Media id of its track.
    pub mid: &'a str,
    /// Payload type.
    pub payload_type: u8,
    /// SSRC of its track.
    pub ssrc: u32,
    /// Extended sequence number.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// It starts a keyframe.
    pub keyframe: bool,
    /// It came as a retransmission, by RTX or under its own number.
    pub via_rtx: bool,
    /// When it was read from the socket.
    pub at: Instant,
    /// The payload.
    pub payload: &'a [u8],
    /// Its stamp, or why there is none.
    pub stamp: Result<Stamp, StampError>,
    /// The last sender report of its track: wall clock and the RTP timestamp (32 bits) that belongs to it.
    pub sender_report: Option<(SystemTime, u32)>,
}

/// Called for each packet on the session's task; must be quick.
#[derive(Clone)]
pub struct PacketHook(Arc<dyn Fn(&ReceivedPacket<'_>) + Send + Sync>);

impl PacketHook {
    /// Observes packets by a closure.
    pub fn new(hook: impl Fn(&ReceivedPacket<'_>) + Send + Sync + 'static) -> Self {
        Self(Arc::new(hook))
    }

    pub(super) fn call(&self, packet: &ReceivedPacket<'_>) {
        (self.0)(packet);
    }
}

impl fmt::Debug for PacketHook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PacketHook")
    }
}

/// How a viewer connects and what it wants.
#[derive(Debug, Clone)]
pub struct ViewerConfig {
    /// WHEP endpoint.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
    /// Ask for video.
    pub video: bool,
    /// Ask for audio.
    pub audio: bool,
    /// Video codecs offered.
    pub codecs: Vec<VideoCodec>,
    /// Offer NACK and RTX for video.
    pub nack: bool,
    /// Offer NACK and RTX for audio too, which browsers do not.
    pub audio_nack: bool,
    /// Ask for a keyframe while none came (PLI).
    pub request_keyframes: bool,
    /// Ask for the time of capture in headers (abs-capture-time), because media has no stamps.
    pub capture_time: bool,
    /// Hand its video to a real decoder, ffmpeg; only what is opened whole can be decoded.
    pub decode: bool,
    /// How much of its media it opens.
    pub depth: Depth,
    /// Loss made on purpose.
    pub loss: Option<Loss>,
    /// The network between it and its server is bad from the first datagram on.
    pub impairment: Option<Impairment>,
    /// What is left to chance on that network follows from this.
    pub seed: u64,
    /// Observes each packet.
    pub on_packet: Option<PacketHook>,
    /// Further request headers of the POST.
    pub headers: Vec<(String, String)>,
    /// Local address for media; `None`: the one from which the endpoint is reached.
    pub bind: Option<IpAddr>,
    /// Local address for HTTP; `None`: the one from which the endpoint is reached.
    pub http_bind: Option<IpAddr>,
    /// Time for ICE and DTLS after the answer.
    pub connect_timeout: Duration,
    /// Time for each HTTP request.
    pub http_timeout: Duration,
    /// Obey `Retry-After` of 409, 429 and 503 for so long; zero: fail at once.
    pub retry_for: Duration,
    /// When a TURN server that the response names is used.
    pub turn: Turn,
    /// The target is the user's own though it is neither loopback nor private.
    pub allow_public: bool,
    /// Keeps out whom redirects, `Location`s, `Link`s and `reconnect` lead to; `None`: whatever address may be loaded.
    pub gate: Option<Arc<Gate>>,
    /// Whose certificates are believed where the URL begins with https.
    pub trust: Trust,
    /// When the join was due; all times of the report count from here. `None`: when `connect` is called.
    pub scheduled: Option<Instant>,
}

impl ViewerConfig {
    /// A viewer of video and audio as a browser would be: NACK and RTX for video, keyframe requests.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            token: None,
            video: true,
            audio: true,
            codecs: vec![VideoCodec::H264, VideoCodec::Vp8],
            nack: true,
            audio_nack: false,
            request_keyframes: true,
            capture_time: false,
            decode: false,
            depth: Depth::Whole,
            loss: None,
            impairment: None,
            seed: 1,
            on_packet: None,
            headers: Vec::new(),
            bind: None,
            http_bind: None,
            connect_timeout: Duration::from_secs(10),
            http_timeout: Duration::from_secs(10),
            retry_for: Duration::ZERO,
            turn: Turn::default(),
            allow_public: false,
            gate: None,
            trust: Trust::default(),
            scheduled: None,
        }
    }

    /// Goes to an endpoint that a server named. A token is for the origin that it was given for.
    pub(crate) fn go_to(&mut self, url: String) {
        let url = resolve_reference(&self.url, &url).unwrap_or(url);
        self.token = self.token.take().filter(|_| same_origin(&url, &self.url));
        self.url = url;
    }

    /// Where its datagrams may go.
    pub(super) fn reach(&self) -> Reach {
        Reach { allow_public: self.allow_public, gate: self.gate.clone() }
    }

    /// The network to begin with.
    pub(super) fn paths(&self) -> Paths {
        let mut paths = Paths::new(self.seed);
        paths.set(self.impairment);
        paths
    }
}
