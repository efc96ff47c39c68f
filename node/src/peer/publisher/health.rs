//! How a publisher's media arrives, in words.

use std::time::{Duration, Instant};

use freshet_edge::stream_health::{HealthWarning, LayerHealth, TrackHealth};
use freshet_relay_proto::track::MediaKind;
use str0m::media::Mid;

use super::{Layer, Publisher, Track};
use crate::agent::Lane;
use crate::media::codec::h264::SPS;
use crate::media::monitor::PACKET_MAX;
use crate::media::packet::CaptureMicros;
use crate::peer::sdp;

/// Of a thousand packets so many may be missing.
const LOSS_PERMILLE: u64 = 20;

impl Publisher {
    /// A keyframe of a layer is asked for.
    pub fn keyframe_asked(&mut self, (track, layer): Lane, now: Instant) {
        let Some(track) = self.tracks.iter_mut().find(|t| t.info.id == track) else { return };
        for (nth, each) in track.layers.iter_mut().enumerate() {
            if nth == usize::from(layer) {
                each.monitor.ask_keyframe(now);
            } else {
                each.monitor.ask_other();
            }
        }
    }

    /// What str0m knows of the path to the publisher.
    pub fn note_round_trip(&mut self, mid: Mid, time: Option<Duration>) {
        if let Some(track) = self.tracks.iter_mut().find(|track| *track.mid == *mid) {
            track.round_trip = time.or(track.round_trip);
        }
    }

    /// How its media arrives, and what should be looked at.
    pub fn health(&mut self, now: Instant, wall: CaptureMicros) -> (Vec<TrackHealth>, Vec<HealthWarning>) {
        let mut warnings = Vec::new();
        let tracks = self.tracks.iter_mut().map(|track| track.health(now, wall, &mut warnings)).collect();
        (tracks, warnings)
    }
}

impl Track {
    fn health(
        &mut self,
        now: Instant,
        wall: CaptureMicros,
        warnings: &mut Vec<HealthWarning>,
    ) -> TrackHealth {
        let kind = match self.info.kind {
            MediaKind::Audio => "audio",
            MediaKind::Video => "video",
        };
        let codec = self.layers.iter().find_map(|layer| layer.codec).and_then(|at| self.info.codecs.get(at));
        let (name, fmtp) = (codec.map(|codec| codec.name.clone()), codec.map(|codec| codec.fmtp.as_str()));
        let negotiated = || {
            let param = |name| fmtp.and_then(|fmtp| sdp::param(fmtp, name));
            ["profile-level-id", "profile-id", "profile"]
                .into_iter()
                .find_map(param)
                .map(str::to_ascii_lowercase)
        };
        let profile = self.layers.iter().find_map(Layer::profile).or_else(negotiated);
        let video = self.info.kind == MediaKind::Video;
        let mut layers = Vec::new();
        for (n, layer) in self.layers.iter_mut().enumerate() {
            let rid = self.info.layers.get(n).cloned();
            let what = rid.as_ref().map_or_else(|| kind.to_owned(), |rid| format!("{kind} layer {rid}"));
            layers.push(layer.health(now, rid, video));
            layer.warn(now, wall, &what, warnings);
        }
        let round_trip_us = self.round_trip.map(micros);
        TrackHealth { kind: kind.to_owned(), codec: name, profile, round_trip_us, layers }
    }
}

impl Layer {
    /// Profile, constraints and level that the stream itself names.
    fn profile(&self) -> Option<String> {
        let mut sets = self.h264.sets();
        let set = sets.find(|unit| unit.first().is_some_and(|header| header & 0x1f == SPS))?;
        Some(set.get(1..4)?.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    fn health(&mut self, now: Instant, rid: Option<String>, video: bool) -> LayerHealth {
        let monitor = &mut self.monitor;
        let rates = monitor.rates(now);
        let fps = f64::from(u32::try_from(rates.frames_per_1000_s).unwrap_or(u32::MAX)) / 1_000.0;
        LayerHealth {
            rid,
            bitrate_bps: rates.bps,
            fps: video.then_some(fps),
            packets: monitor.packets(),
            lost_packets: monitor.lost(),
            loss_permille: rates.loss_permille,
            jitter_us: monitor.jitter_micros(),
            keyframe_interval_ms: monitor.keyframe_interval().map(millis),
            keyframe_age_ms: monitor.keyframe_age(now).map(millis),
            bframes: monitor.has_bframes(now),
            oversized_packets: monitor.oversized(),
        }
    }

    fn warn(&mut self, now: Instant, wall: CaptureMicros, what: &str, warnings: &mut Vec<HealthWarning>) {
        let monitor = &mut self.monitor;
        let rates = monitor.rates(now);
        let mut warn = |reason: &str, text: String| {
            warnings.push(HealthWarning { reason: reason.to_owned(), text: format!("{what}: {text}") });
        };
        if let Some(late) = monitor.keyframe_late(now) {
            let millis = millis(late);
            warn(
                "keyframe-interval",
                format!(
                    "a keyframe that was asked for has been {millis} ms on its way, and who joins waits for it: set the \
                     encoder's keyframe interval to 2 s or less"
                ),
            );
        } else if let Some(own) = monitor.own_interval(now) {
            let millis = millis(own);
            warn(
                "keyframe-interval",
                format!(
                    "its keyframes come {millis} ms apart, and unless the encoder sends one when asked, who joins waits \
                     for the next: set the encoder's keyframe interval to 2 s"
                ),
            );
        }
        if monitor.has_bframes(now) {
            let text = "it has B-frames: they are forwarded, cost delay, and some players stutter with them: set the \
                        encoder's B-frames to 0";
            warn("bframes", text.to_owned());
        }
        if let Some(usual) = monitor.collapsed_from() {
            let (now, usual) = (rates.bps / 1_000, usual / 1_000);
            warn(
                "bitrate-collapse",
                format!(
                    "{now} kbit/s come in where {usual} did: the host's uplink or encoder does not keep up"
                ),
            );
        }
        if monitor.clock_jumped(wall) {
            let text = "the publisher's clock, or its media time beside it, has jumped: sound and picture may be apart \
                        until it runs evenly";
            warn("clock-jump", text.to_owned());
        }
        if rates.loss_permille >= LOSS_PERMILLE {
            let loss = rates.loss_permille;
            let text = format!(
                "{loss} of 1,000 packets do not arrive: the host's network loses them; a lower bitrate may help"
            );
            warn("loss", text);
        }
        if monitor.oversized() > 0 {
            let count = monitor.oversized();
            let text = format!(
                "{count} packets were longer than {PACKET_MAX} bytes: with what is added for viewers they may not fit \
                 every path; set the encoder's packet size to {PACKET_MAX} or less"
            );
            warn("oversized-packets", text);
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
