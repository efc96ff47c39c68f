//! The viewer's side of its session's task: drops what is to be lost, measures what comes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use str0m::format::Codec;
use str0m::media::{KeyframeRequestKind, Mid};
use str0m::rtp::{RtpPacket, Ssrc};
use str0m::{Event, Rtc};

use super::decode::{Decoder, Decoding};
use super::drive::Endpoint;
use super::guard::lock;
use super::negotiate::Opened;
use super::sdp;
use super::section::sections;
use super::viewing::{Depth, Loss, PacketHook, ReceivedPacket, ViewerConfig};
use crate::measure::{
    Captured, HeaderMeter, Histogram, Observed, RtpPeek, SkewMeter, TrackMeter, TrackReport, WireMeter,
};
use crate::media::assemble::Piece;
use crate::media::keyframe::starts_keyframe;
use crate::media::stamp::Stamp;
use crate::media::{Kind, VideoCodec};
use crate::{clock, num};

/// From the first packet of a video without keyframe to the first request, as browsers do soon.
pub(super) const FIRST_REQUEST: Duration = Duration::from_millis(200);
/// Between two requests.
pub(super) const NEXT_REQUEST: Duration = Duration::from_secs(1);

/// The meters of a viewer's tracks, in the order of its offer.
#[derive(Debug)]
enum Tracks {
    Whole(Vec<(Mid, TrackMeter)>),
    Headers(Vec<HeaderMeter>),
}

/// What a viewer saw, shared between its task and those who ask.
#[derive(Debug)]
pub(super) struct Seen {
    tracks: Tracks,
    pub skew: SkewMeter,
    pub injected_loss: u64,
    pub injected_rtx_loss: u64,
    pub unmapped: u64,
    pub keyframe_requests: u64,
    /// When somebody asked for a keyframe by hand.
    pub keyframe_asked: Option<Instant>,
}

impl Seen {
    pub fn new(opened: &Opened, joined: Instant, depth: Depth) -> Self {
        let mids = opened.mids.iter();
        let tracks = match depth {
            Depth::Whole => {
                let sections = sections(&opened.negotiated.answer);
                let resends = |mid: &str| sections.iter().any(|one| one.mid == mid && one.resends());
                let meter = |(mid, kind): &(Mid, Kind)| {
                    let meter = TrackMeter::new(mid.to_string(), *kind, joined);
                    (*mid, if resends(&mid.to_string()) { meter.resent() } else { meter })
                };
                Tracks::Whole(mids.map(meter).collect())
            }
            Depth::Headers => Tracks::Headers(
                mids.map(|(mid, kind)| HeaderMeter::new(mid.to_string(), *kind, joined)).collect(),
            ),
        };
        Self {
            tracks,
            skew: SkewMeter::default(),
            injected_loss: 0,
            injected_rtx_loss: 0,
            unmapped: 0,
            keyframe_requests: 0,
            keyframe_asked: None,
        }
    }

    pub fn reports(&self) -> Vec<TrackReport> {
        match &self.tracks {
            Tracks::Whole(meters) => meters.iter().map(|(_, meter)| meter.report()).collect(),
            Tracks::Headers(meters) => meters.iter().map(HeaderMeter::report).collect(),
        }
    }

    pub fn take_recent_gap(&mut self, now: Instant) -> Duration {
        let longest = match &mut self.tracks {
            Tracks::Whole(meters) => meters.iter_mut().map(|(_, meter)| meter.take_recent_gap(now)).max(),
            Tracks::Headers(meters) => meters.iter_mut().map(|meter| meter.take_recent_gap(now)).max(),
        };
        longest.unwrap_or_default()
    }

    pub fn take_latency(&mut self, sum: &mut Histogram) {
        // What is counted by headers has no time of capture.
        if let Tracks::Whole(meters) = &mut self.tracks {
            meters.iter_mut().for_each(|(_, meter)| meter.take_latency(sum));
        }
    }

    /// When the last packet of any track came.
    pub fn last_packet(&self) -> Option<Instant> {
        match &self.tracks {
            Tracks::Whole(meters) => meters.iter().filter_map(|(_, meter)| meter.last_packet()).max(),
            Tracks::Headers(meters) => meters.iter().filter_map(HeaderMeter::last_packet).max(),
        }
    }

    fn track(&mut self, mid: Mid) -> Option<&mut TrackMeter> {
        let Tracks::Whole(meters) = &mut self.tracks else { return None };
        meters.iter_mut().find(|(known, _)| *known == mid).map(|(_, meter)| meter)
    }

    /// The session is connected: what was captured before is history.
    fn on_connected(&mut self, at_us: u64) {
        if let Tracks::Whole(meters) = &mut self.tracks {
            meters.iter_mut().for_each(|(_, meter)| meter.on_connected(at_us));
        }
        self.skew.on_connected(at_us);
    }

    /// A track that is counted by headers.
    pub fn header(&mut self, track: usize) -> Option<&mut HeaderMeter> {
        if let Tracks::Headers(meters) = &mut self.tracks { meters.get_mut(track) } else { None }
    }
}

/// The datagram that the session is working on.
#[derive(Debug, Clone, Copy)]
struct Current {
    peek: RtpPeek,
    rtx: bool,
    repeated: bool,
    delivered: bool,
    at: Instant,
}

pub(super) struct Receiver {
    seen: Arc<Mutex<Seen>>,
    rtx: BTreeSet<u8>,
    video_types: HashMap<u8, VideoCodec>,
    loss: Option<(Loss, StdRng)>,
    hook: Option<PacketHook>,
    decoder: Option<Decoder>,
    /// Headers have said when something was captured.
    told: bool,
    request_keyframes: bool,
    connected: bool,
    wire: WireMeter,
    mids: HashMap<Ssrc, Mid>,
    current: Option<Current>,
    /// The video track whose first keyframe is awaited, and when to ask.
    awaited: Option<(Ssrc, Instant)>,
}

impl Receiver {
    pub fn new(
        opened: &Opened,
        config: &ViewerConfig,
        seen: Arc<Mutex<Seen>>,
        decoding: Option<Arc<Decoding>>,
    ) -> Self {
        let video = opened.rtc.codec_config().params().iter().filter_map(|payload| {
            let codec = match payload.spec().codec {
                Codec::H264 => VideoCodec::H264,
                Codec::Vp8 => VideoCodec::Vp8,
                _ => return None,
            };
            Some((*payload.pt(), codec))
        });
        Self {
            seen,
            rtx: sdp::rtx_payload_types(&opened.negotiated.answer).into_keys().collect(),
            video_types: video.collect(),
            loss: config.loss.map(|loss| (loss, StdRng::seed_from_u64(loss.seed))),
            hook: config.on_packet.clone(),
            decoder: decoding.map(Decoder::new),
            told: false,
            request_keyframes: config.request_keyframes,
            connected: false,
            wire: WireMeter::default(),
            mids: HashMap::new(),
            current: None,
            awaited: None,
        }
    }

    fn mid(&mut self, rtc: &mut Rtc, ssrc: Ssrc) -> Option<Mid> {
        if let Some(mid) = self.mids.get(&ssrc) {
            return Some(*mid);
        }
        let mid = rtc.direct_api().stream_rx(&ssrc)?.mid();
        self.mids.insert(ssrc, mid);
        Some(mid)
    }

    fn packet(&mut self, rtc: &mut Rtc, packet: &RtpPacket, now: Instant) {
        let (via_rtx, at) = self.current.as_ref().map_or((false, now), |current| (current.rtx, current.at));
        if let Some(current) = &mut self.current {
            current.delivered = true;
        }
        let ssrc = packet.header.ssrc;
        let mid = self.mid(rtc, ssrc);
        let stamp = Stamp::read(&packet.payload);
        let payload_type = *packet.header.payload_type;
        let codec = self.video_types.get(&payload_type).copied();
        let keyframe = match (&stamp, codec) {
            (Ok(stamp), _) => stamp.keyframe && stamp.part == 0,
            (Err(_), Some(codec)) => starts_keyframe(codec, &packet.payload),
            (Err(_), None) => false,
        };
        let captured_us =
            packet.header.ext_vals.abs_capture_time.map(|told| clock::micros_of(told.capture_time));
        self.told |= captured_us.is_some();
        let observed = Observed {
            at,
            at_us: clock::unix_micros(at),
            sequence: *packet.seq_no,
            via_rtx,
            bytes: packet.payload.len(),
            stamp,
            captured_us,
            keyframe,
        };
        let sender_report =
            packet.last_sender_info.as_ref().map(|info| (info.ntp_time, num::wrap32(info.rtp_time.numer())));
        let seen = Arc::clone(&self.seen);
        let mut seen = lock(&seen);
        let Some(track) = mid.and_then(|mid| seen.track(mid)) else {
            seen.unmapped += 1;
            return;
        };
        let again = track.on_packet(&observed);
        let kind = track.kind();
        let wants_keyframe = track.wants_keyframe();
        if !again {
            let report = sender_report.map(|(at, timestamp)| (clock::micros_of(at), timestamp));
            let captured = match captured_us {
                Some(captured_us) if stamp.is_err() => Captured::Stamped(captured_us),
                // The rest of a frame is as old, and its first packet has been counted.
                None if self.told && stamp.is_err() => Captured::Unknown,
                _ => Captured::of(&stamp, report, packet.header.timestamp),
            };
            seen.skew.on_packet(kind, observed.at_us, captured);
        }
        if wants_keyframe && self.request_keyframes {
            self.awaited.get_or_insert((ssrc, at + FIRST_REQUEST));
        } else if kind == Kind::Video {
            self.awaited = None;
        }
        drop(seen);
        if let (Some(decoder), Some(codec)) = (&mut self.decoder, codec) {
            let piece = Piece {
                sequence: *packet.seq_no,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                at,
                payload: packet.payload.to_vec(),
            };
            decoder.on_packet(*ssrc, codec, piece);
        }
        if let (Some(hook), Some(mid)) = (&self.hook, mid) {
            hook.call(&ReceivedPacket {
                kind,
                mid: &mid,
                payload_type,
                ssrc: *ssrc,
                sequence: *packet.seq_no,
                timestamp: packet.header.timestamp,
                marker: packet.header.marker,
                keyframe,
                via_rtx: again,
                at,
                payload: &packet.payload,
                stamp,
                sender_report,
            });
        }
    }

    fn ask(&mut self, rtc: &mut Rtc, ssrc: Ssrc) {
        if let Some(stream) = rtc.direct_api().stream_rx(&ssrc) {
            stream.request_keyframe(KeyframeRequestKind::Pli);
            lock(&self.seen).keyframe_requests += 1;
        }
    }
}

impl Endpoint for Receiver {
    fn on_event(&mut self, rtc: &mut Rtc, event: Event, now: Instant) {
        match event {
            Event::RtpPacket(packet) => self.packet(rtc, &packet, now),
            Event::Connected => {
                self.connected = true;
                lock(&self.seen).on_connected(clock::unix_micros(now));
            }
            _ => {}
        }
    }

    fn before_datagram(&mut self, datagram: &[u8], now: Instant) -> bool {
        self.current = None;
        let Some(peek) = RtpPeek::read(datagram) else { return true };
        let rtx = self.rtx.contains(&peek.payload_type);
        if let Some((loss, rng)) = &mut self.loss
            && rng.random::<f64>() < loss.fraction
        {
            let mut seen = lock(&self.seen);
            seen.injected_loss += u64::from(!rtx);
            seen.injected_rtx_loss += u64::from(rtx);
            return false;
        }
        let repeated = self.wire.repeats(peek);
        self.current = Some(Current { peek, rtx, repeated, delivered: false, at: now });
        true
    }

    fn after_datagram(&mut self) {
        let Some(current) = self.current.take() else { return };
        if current.rtx || current.delivered || !self.connected {
            return;
        }
        let mut seen = lock(&self.seen);
        let track = self.mids.get(&current.peek.ssrc.into()).copied();
        match track.and_then(|mid| seen.track(mid)) {
            Some(track) if current.repeated => track.on_repeat(),
            Some(track) => track.on_rejected(),
            None => seen.unmapped += 1,
        }
    }

    fn next_due(&mut self) -> Option<Instant> {
        let asked = lock(&self.seen).keyframe_asked;
        asked.into_iter().chain(self.awaited.map(|(_, at)| at)).min()
    }

    fn on_due(&mut self, rtc: &mut Rtc, now: Instant) {
        let asked = lock(&self.seen).keyframe_asked.take();
        if asked.is_some() {
            let video: Vec<Ssrc> = {
                let mut seen = lock(&self.seen);
                let mut is_video =
                    |mid: &Mid| seen.track(*mid).is_some_and(|track| track.kind() == Kind::Video);
                self.mids.iter().filter(|(_, mid)| is_video(mid)).map(|(ssrc, _)| *ssrc).collect()
            };
            video.into_iter().for_each(|ssrc| self.ask(rtc, ssrc));
            return;
        }
        if let Some((ssrc, at)) = self.awaited
            && at <= now
        {
            self.awaited = Some((ssrc, now + NEXT_REQUEST));
            self.ask(rtc, ssrc);
        }
    }
}
