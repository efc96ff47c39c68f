//! A publisher: RTP from str0m becomes packets with the origin's index and capture time.

use std::time::Instant;

use bytes::Bytes;
use freshet_relay_proto::track::{CODECS_MAX, MediaKind, TrackInfo};
use str0m::rtp::{ExtensionValues, RtpPacket};

use super::{extensions, negotiate, sdp};
use crate::agent::StreamKey;
use crate::media::clock::{NtpTime, PublisherClock, TrackClock};
use crate::media::codec::{self, CodecName};
use crate::media::packet::{CaptureMicros, Extensions, Packet};
use crate::media::wrap::low_32;

/// One m-line that sends.
struct Track {
    info: TrackInfo,
    mid: String,
    /// Payload type and name of each codec, in the order of `info.codecs`.
    codecs: Vec<(u8, CodecName)>,
    ssrc: Option<u32>,
    clock: TrackClock,
    /// Clock rate of the codec that the track clock runs at, in hertz.
    rate: u32,
    /// NTP and RTP time of the newest sender report.
    report: Option<(NtpTime, u32)>,
}

/// A publisher's session beside str0m.
pub struct Publisher {
    /// The claim that the session holds; packets before it are dropped.
    pub key: Option<StreamKey>,
    /// ICE and DTLS are done.
    pub connected: bool,
    tracks: Vec<Track>,
    clock: PublisherClock,
    /// Ids of header extensions that the answer has.
    extensions: Vec<u8>,
}

/// A packet for the ring.
pub struct Incoming {
    /// Its track.
    pub track: u8,
    /// The packet.
    pub packet: Packet,
}

impl Publisher {
    /// From an answer.
    pub fn new(answer: &sdp::Session) -> Self {
        let mut tracks = Vec::new();
        for media in &answer.media {
            let receives = matches!(media.flow, sdp::Flow::RecvOnly | sdp::Flow::SendRecv);
            let (Some(kind), Some(mid), true) = (media.kind, &media.mid, receives) else { continue };
            let (Ok(id), Some(first)) = (u8::try_from(tracks.len()), media.codecs.first()) else { continue };
            let codecs = media.codecs.iter().take(CODECS_MAX);
            tracks.push(Track {
                info: TrackInfo {
                    id,
                    kind,
                    codecs: codecs.clone().map(negotiate::announced).collect(),
                    layers: Vec::new(),
                },
                mid: mid.clone(),
                codecs: codecs.map(|c| (c.pt, CodecName::from_name(&c.name))).collect(),
                ssrc: None,
                clock: TrackClock::new(first.clock_rate),
                rate: first.clock_rate,
                report: None,
            });
        }
        let ids = answer.media.iter().flat_map(|media| media.extensions.iter().map(|(id, _)| *id));
        let mut extensions: Vec<u8> = ids.collect();
        extensions.sort_unstable();
        extensions.dedup();
        Self { key: None, connected: false, tracks, clock: PublisherClock::new(), extensions }
    }

    /// What is announced.
    pub fn tracks(&self) -> Vec<TrackInfo> {
        self.tracks.iter().map(|t| t.info.clone()).collect()
    }

    /// How many header extensions of a packet were not negotiated.
    pub fn unknown_extensions(&self, packet: &[u8]) -> u32 {
        extensions::unknown(packet, &self.extensions)
    }

    /// The SSRC of a track, once something has come.
    pub fn ssrc(&self, track: u8) -> Option<u32> {
        self.tracks.iter().find(|t| t.info.id == track).and_then(|t| t.ssrc)
    }

    /// Turns what str0m received into a packet. `wall` is this node's clock at `now`. `None` for what cannot be
    /// placed: an m-line or a payload type that was not negotiated.
    pub fn take(&mut self, mid: &str, now: Instant, wall: CaptureMicros, rtp: RtpPacket) -> Option<Incoming> {
        let clock = &mut self.clock;
        let track = self.tracks.iter_mut().find(|t| t.mid == mid)?;
        let pt: u8 = *rtp.header.payload_type;
        let at = track.codecs.iter().position(|(p, _)| *p == pt)?;
        let (_, name) = track.codecs.get(at)?;
        let info = track.info.codecs.get(at)?;
        if info.clock_rate != track.rate {
            track.rate = info.clock_rate;
            track.report = None;
            track.clock = TrackClock::new(info.clock_rate);
        }
        track.ssrc = Some(*rtp.header.ssrc);
        if let Some(info) = &rtp.last_sender_info {
            let since = info.ntp_time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let ntp = NtpTime::from_wall(CaptureMicros(0).later(since));
            let report = (ntp, low_32(info.rtp_time.numer()));
            if track.report != Some(report) {
                track.report = Some(report);
                let verdict = clock.report(ntp, wall);
                track.clock.report(clock, verdict, report.0, report.1);
            }
        }
        let timestamp = rtp.header.timestamp;
        let capture = track.clock.capture(clock, timestamp, wall);
        let keyframe = track.info.kind == MediaKind::Video && codec::is_keyframe(*name, &rtp.payload);
        let packet = Packet {
            index: *rtp.seq_no,
            timestamp,
            marker: rtp.header.marker,
            keyframe,
            codec: u8::try_from(at).ok()?,
            capture,
            arrived: now,
            exts: forwarded(&rtp.header.ext_vals),
            payload: Bytes::from_owner(rtp.payload),
        };
        Some(Incoming { track: track.info.id, packet })
    }
}

fn forwarded(values: &ExtensionValues) -> Extensions {
    let level = values
        .audio_level
        .map(|level| (level.unsigned_abs().min(127), values.voice_activity.unwrap_or(false)));
    let millis10 = |t: str0m::media::MediaTime| {
        let centis = std::time::Duration::from(t).as_millis() / 10;
        u16::try_from(centis).unwrap_or(0xfff).min(0xfff)
    };
    Extensions {
        audio_level: level,
        orientation: values.video_orientation.map(orientation),
        playout_delay: values
            .play_delay_min
            .zip(values.play_delay_max)
            .map(|(min, max)| (millis10(min), millis10(max))),
    }
}

/// The two rotation bits of RFC 3GPP TS 26.114 section 7.4.5.
fn orientation(value: str0m::rtp::VideoOrientation) -> u8 {
    match value {
        str0m::rtp::VideoOrientation::Deg0 => 0,
        str0m::rtp::VideoOrientation::Deg90 => 3,
        str0m::rtp::VideoOrientation::Deg180 => 2,
        str0m::rtp::VideoOrientation::Deg270 => 1,
    }
}
