//! A publisher: RTP from str0m becomes packets with the origin's index and capture time.

mod health;

use std::time::{Duration, Instant, SystemTime};

use bytes::{Bytes, BytesMut};
use freshet_relay_proto::control::LayerRate;
use freshet_relay_proto::track::{CODECS_MAX, MediaKind, TrackInfo};
use str0m::media::{Mid, Rid};
use str0m::rtp::rtcp::SenderInfo;
use str0m::rtp::{ExtensionValues, RtpPacket};

use super::{extensions, negotiate, sdp};
use crate::agent::{Lane, StreamKey};
use crate::forward::allowance::Reports;
use crate::media::clock::{NtpTime, PublisherClock, TrackClock};
use crate::media::codec::{self, CodecName};
use crate::media::h264::{H264, Taken};
use crate::media::layer::Pulse;
use crate::media::monitor::{Heard, Monitor};
use crate::media::packet::{CaptureMicros, Extensions, Packet};
use crate::media::wrap::low_32;

/// SSRCs whose place is remembered; a publisher that uses more is looked up more often.
const SSRCS_MAX: usize = 16;

/// So long after another SSRC has taken over, what comes of the one before is late; then it takes over itself.
const LATE_MICROS: i64 = 1_000_000;

/// Payloads are kept together in pieces of memory of so many bytes: about thirty packets of video.
const SLAB: usize = 32 << 10;

/// One m-line that sends.
struct Track {
    info: TrackInfo,
    mid: String,
    /// Payload type and name of each codec, in the order of `info.codecs`.
    codecs: Vec<(u8, CodecName)>,
    /// Payload types with NACK and without RTX: what is asked for again comes as it came first.
    repeated: Vec<u8>,
    /// One for each name in `info.layers`, or one without a name.
    layers: Vec<Layer>,
    /// Measures the layers; none without simulcast.
    pulse: Option<Pulse>,
    /// To the publisher and back, where it tells.
    round_trip: Option<Duration>,
}

/// One encoding of a track.
struct Layer {
    ssrc: Option<u32>,
    /// The one before, and when another took over.
    left: Option<(u32, CaptureMicros)>,
    /// The lane that took its last packet, by its index in the shard. Whoever uses it checks that it still is.
    lane: Option<usize>,
    clock: TrackClock,
    /// Clock rate of the codec that the clock runs at, in hertz.
    rate: u32,
    /// Added to its timestamps, so that those of another SSRC go on where the last ones stood.
    shift: u32,
    /// The newest timestamp with that added, and when it came.
    newest: Option<(u32, CaptureMicros)>,
    /// Numbers the packets of every codec.
    h264: H264,
    /// The codec of its newest packet, by its place.
    codec: Option<usize>,
    /// How it arrives.
    monitor: Monitor,
}

impl Layer {
    fn new(rate: u32, kind: MediaKind) -> Self {
        let (clock, h264) = (TrackClock::new(rate), H264::default());
        let monitor = Monitor::new(rate, kind == MediaKind::Video);
        Self {
            ssrc: None,
            left: None,
            lane: None,
            clock,
            rate,
            shift: 0,
            newest: None,
            h264,
            codec: None,
            monitor,
        }
    }

    /// Another SSRC takes over: its timestamps begin anywhere, and the reports so far spoke of others.
    fn take_over(&mut self, timestamp: u32, wall: CaptureMicros) {
        self.left = self.ssrc.map(|ssrc| (ssrc, wall));
        self.h264.restart();
        self.monitor.restart(self.rate);
        self.clock = TrackClock::new(self.rate);
        let Some((newest, at)) = self.newest else { return };
        let passed = u64::try_from(wall.micros_since(at)).unwrap_or(0).saturating_mul(self.rate.into());
        self.shift = newest.wrapping_add(low_32(passed / 1_000_000).max(1)).wrapping_sub(timestamp);
    }

    /// What comes late of the SSRC before has no place among what came since: its numbers and times are others.
    fn has_left(&self, ssrc: u32, wall: CaptureMicros) -> bool {
        self.left.is_some_and(|(left, at)| left == ssrc && wall.micros_since(at) < LATE_MICROS)
    }

    /// What a timestamp is called from here on.
    fn timestamp(&mut self, timestamp: u32, wall: CaptureMicros) -> u32 {
        let timestamp = timestamp.wrapping_add(self.shift);
        if self.newest.is_none_or(|(newest, _)| timestamp.wrapping_sub(newest).cast_signed() > 0) {
            self.newest = Some((timestamp, wall));
        }
        timestamp
    }
}

/// A publisher's session beside str0m.
pub struct Publisher {
    /// The claim that the session holds; packets before it are dropped.
    pub key: Option<StreamKey>,
    /// ICE and DTLS are done.
    pub connected: bool,
    /// What it may still report.
    pub reports: Reports,
    tracks: Vec<Track>,
    /// Where the SSRCs belong that were seen last. One that its publisher gives to another m-line later stays where
    /// it was.
    ssrcs: Vec<(u32, Place)>,
    clock: PublisherClock,
    /// Room for the payloads of the next packets.
    slab: BytesMut,
    /// Ids of header extensions that the answer has.
    extensions: extensions::Known,
}

/// Where packets belong: a track and a layer of it, by their places here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    track: usize,
    layer: usize,
}

/// A packet for the ring.
pub struct Incoming {
    /// Its track.
    pub track: u8,
    /// Its simulcast layer, 0 where there is one encoding.
    pub layer: u8,
    /// The packet.
    pub packet: Packet,
    /// Parameter sets that go in front of it.
    pub sets: Vec<Packet>,
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
            let layers: Vec<String> = media.layers_received.iter().take(sdp::LAYERS_MAX).cloned().collect();
            let encodings = layers.len().max(1);
            tracks.push(Track {
                info: TrackInfo {
                    id,
                    kind,
                    codecs: codecs.clone().map(negotiate::announced).collect(),
                    layers,
                },
                mid: mid.clone(),
                repeated: codecs.clone().filter(|c| c.nack && c.rtx.is_none()).map(|c| c.pt).collect(),
                codecs: codecs.map(|c| (c.pt, CodecName::from_name(&c.name))).collect(),
                layers: (0..encodings).map(|_| Layer::new(first.clock_rate, kind)).collect(),
                pulse: (encodings > 1).then(|| Pulse::new(encodings)),
                round_trip: None,
            });
        }
        let ids = answer.media.iter().flat_map(|media| media.extensions.iter().map(|(id, _)| *id));
        let extensions = ids.collect();
        Self {
            key: None,
            connected: false,
            reports: Reports::default(),
            tracks,
            ssrcs: Vec::new(),
            clock: PublisherClock::new(),
            slab: BytesMut::new(),
            extensions,
        }
    }

    /// What is announced.
    pub fn tracks(&self) -> Vec<TrackInfo> {
        self.tracks.iter().map(|t| t.info.clone()).collect()
    }

    /// How many header extensions of a packet were not negotiated.
    pub fn unknown_extensions(&self, packet: &[u8]) -> u32 {
        extensions::unknown(packet, &self.extensions)
    }

    /// The SSRC of a layer of a track, once something has come.
    pub fn ssrc(&self, (track, layer): Lane) -> Option<u32> {
        let track = self.tracks.iter().find(|t| t.info.id == track)?;
        track.layers.get(usize::from(layer))?.ssrc
    }

    /// When [`Self::rates`] has something to do.
    pub fn due(&self) -> Option<Instant> {
        self.tracks.iter().filter_map(|t| t.pulse.as_ref()?.poll_timeout()).min()
    }

    /// The rates of layers of which something new is to be told.
    pub fn rates(&mut self, now: Instant) -> Vec<LayerRate> {
        let of_track = |track: &mut Track| {
            let id = track.info.id;
            let told = track.pulse.as_mut().map(|pulse| pulse.poll(now)).unwrap_or_default();
            told.into_iter().map(move |(layer, kbps)| LayerRate { track: id, layer, kbps })
        };
        self.tracks.iter_mut().flat_map(of_track).collect()
    }

    /// Where packets of an SSRC belong. `named` is asked for the m-line and the layer of one that is new here, and told
    /// whether what is asked for again comes without RTX; none for what was not negotiated.
    pub fn place(
        &mut self,
        (ssrc, pt): (u32, u8),
        named: impl FnOnce(bool) -> Option<(Mid, Option<Rid>)>,
    ) -> Option<Place> {
        if let Some((_, place)) = self.ssrcs.iter().find(|(known, _)| *known == ssrc) {
            return Some(*place);
        }
        let (mid, rid) = named(self.tracks.iter().any(|track| track.repeated.contains(&pt)))?;
        let at = self.tracks.iter().position(|track| *track.mid == *mid)?;
        let names = &self.tracks.get(at)?.info.layers;
        let layer = match (rid, names.is_empty()) {
            (_, true) => 0,
            (Some(rid), false) => names.iter().position(|name| **name == *rid)?,
            (None, false) => return None,
        };
        let place = Place { track: at, layer };
        if self.ssrcs.len() >= SSRCS_MAX {
            self.ssrcs.remove(0);
        }
        self.ssrcs.push((ssrc, place));
        Some(place)
    }

    /// The lane that took the last packet of a layer.
    pub fn lane(&self, place: Place) -> Option<usize> {
        self.tracks.get(place.track)?.layers.get(place.layer)?.lane
    }

    /// Remembers the lane that takes the packets of a layer.
    pub fn set_lane(&mut self, place: Place, lane: usize) {
        let layer = self.tracks.get_mut(place.track).and_then(|track| track.layers.get_mut(place.layer));
        if let Some(layer) = layer {
            layer.lane = Some(lane);
        }
    }

    /// A sender report came, at `arrival` on this node's clock. One of an SSRC that nothing has come from says nothing.
    pub fn report(&mut self, info: &SenderInfo, arrival: CaptureMicros) {
        let Self { tracks, clock, .. } = self;
        let mut layers = tracks.iter_mut().flat_map(|track| &mut track.layers);
        let Some(layer) = layers.find(|layer| layer.ssrc == Some(*info.ssrc)) else { return };
        let since = info.ntp_time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let ntp = NtpTime::from_wall(CaptureMicros(0).later(since));
        let rtp = low_32(info.rtp_time.numer()).wrapping_add(layer.shift);
        layer.monitor.report(ntp, rtp, arrival);
        clock.report(&mut layer.clock, ntp, rtp, arrival);
    }

    /// Turns what str0m received for a place into a packet. `wall` is this node's clock when it came. `None` for a payload
    /// type that was not negotiated, for what comes much too late, and for the rest of an SSRC that another took over from.
    pub fn take(&mut self, place: Place, wall: CaptureMicros, rtp: &RtpPacket) -> Option<Incoming> {
        let clock = &mut self.clock;
        let track = self.tracks.get_mut(place.track)?;
        let pt: u8 = *rtp.header.payload_type;
        let at = track.codecs.iter().position(|(p, _)| *p == pt)?;
        let (_, name) = track.codecs.get(at)?;
        let info = track.info.codecs.get(at)?;
        let layer = track.layers.get(place.layer)?;
        let starts = layer.clock.is_new() || layer.ssrc != Some(*rtp.header.ssrc);
        let others = || track.layers.iter().filter_map(|layer| layer.clock.delay(wall));
        let behind = if starts { others().min() } else { None };
        let layer = track.layers.get_mut(place.layer)?;
        let nth = u8::try_from(place.layer).ok()?;
        let ssrc = *rtp.header.ssrc;
        if layer.has_left(ssrc, wall) {
            return None;
        }
        if layer.ssrc.is_some_and(|known| known != ssrc) {
            layer.take_over(rtp.header.timestamp, wall);
        }
        if info.clock_rate != layer.rate {
            let h264 = std::mem::take(&mut layer.h264);
            let fresh = Layer::new(info.clock_rate, track.info.kind);
            let (mut monitor, left) =
                (std::mem::replace(&mut layer.monitor, Monitor::new(info.clock_rate, false)), layer.left);
            monitor.restart(info.clock_rate);
            *layer = Layer { h264, monitor, left, ..fresh };
        }
        layer.ssrc = Some(ssrc);
        if let Some(pulse) = &mut track.pulse {
            pulse.note(rtp.timestamp, nth, rtp.payload.len());
        }
        let timestamp = layer.timestamp(rtp.header.timestamp, wall);
        let capture = layer.clock.capture_behind(clock, timestamp, wall, behind);
        let seq = *rtp.seq_no;
        let Taken { index, keyframe, sets } = if *name == CodecName::H264 {
            layer.h264.take(seq, timestamp, rtp.timestamp, &rtp.payload)?
        } else {
            let keyframe = track.info.kind == MediaKind::Video && codec::is_keyframe(*name, &rtp.payload);
            Taken { index: layer.h264.index(seq)?, keyframe, sets: 0 }
        };
        layer.codec = Some(at);
        let bytes = rtp.payload.len().saturating_add(rtp.header.header_len);
        layer.monitor.note(rtp.timestamp, Heard { seq, timestamp, bytes, keyframe });
        let packet = Packet {
            index,
            timestamp,
            marker: rtp.header.marker,
            keyframe,
            codec: u8::try_from(at).ok()?,
            capture,
            arrived: rtp.timestamp,
            exts: forwarded(&rtp.header.ext_vals),
            payload: kept(&mut self.slab, &rtp.payload),
        };
        let mut in_front = Vec::new();
        if sets > 0 {
            let set = |(index, unit): (u64, &[u8])| {
                let (exts, payload) = (Extensions::default(), kept(&mut self.slab, unit));
                Packet { index, marker: false, keyframe: true, exts, payload, ..packet.clone() }
            };
            in_front.extend((index.saturating_sub(sets)..).zip(layer.h264.sets()).map(set));
        }
        Some(Incoming { track: track.info.id, layer: nth, packet, sets: in_front })
    }
}

/// A payload in memory that many share. Left where str0m put it, each would be a piece of memory of its own that is
/// taken and, seconds later, given back when the cache has forgotten it; str0m takes the same warm piece each time.
fn kept(slab: &mut BytesMut, payload: &[u8]) -> Bytes {
    if slab.capacity() < payload.len() {
        *slab = BytesMut::with_capacity(SLAB.max(payload.len()));
    }
    // Parted before it is filled: a locked count waits for all that was stored before it, and a slab is cold memory.
    let rest = slab.split_off(payload.len());
    let mut kept = std::mem::replace(slab, rest);
    kept.extend_from_slice(payload);
    kept.freeze()
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
        abs_capture_time: values.abs_capture_time.as_ref().and_then(|told| captured(told.capture_time)),
    }
}

/// To the microsecond, which is what str0m reads it to. None of times before 1970.
fn captured(at: SystemTime) -> Option<u64> {
    let since = u64::try_from(at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_micros()).ok()?;
    Some(NtpTime::from_wall(CaptureMicros(since)).0)
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
