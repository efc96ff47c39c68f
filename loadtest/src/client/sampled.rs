//! The side of a session whose media is counted by headers, so that one machine drives more viewers than it could
//! decrypt for.
//!
//! str0m makes ICE and DTLS, and is shown nothing else: of media it would answer for what it never saw. SRTP is opened
//! here where it must be: all RTCP, all retransmissions, and of first transmissions those that say what headers do not
//! ([`crate::measure::HeaderMeter::wants`]). Reports, NACK, PLI and transport-wide feedback are written here, too.
//!
//! str0m knows the same keys. It counts SRTCP indices of its own, and under GCM one key, SSRC and index must never seal
//! two packets; so no RTP and RTCP of its own leaves the session ([`Endpoint::may_send`]), and ours has an SSRC by chance.

use std::slice::Chunks;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use str0m::{Event, Rtc};

use super::drive::Endpoint;
use super::ears::{Due, Tap};
use super::guard::lock;
use super::holes::Holes;
use super::negotiate::Opened as Session;
use super::receive::{FIRST_REQUEST, NEXT_REQUEST, Seen};
use super::rtc;
use super::rtcp::{self, Block};
use super::section::{Load, sections};
use super::srtp::{Keys, Srtp};
use super::transport::Transport;
use super::viewing::{Loss, ViewerConfig};
use crate::measure::{Headed, Opened, RtpHead};
use crate::media::keyframe::starts_keyframe;
use crate::media::stamp::Stamp;
use crate::media::{Kind, VideoCodec};
use crate::num;

/// Between two receiver reports.
const REPORT: Duration = Duration::from_secs(1);
/// Payload types that a session has.
const TYPES: usize = 128;
/// Sources of retransmissions that are remembered.
const SOURCES: usize = 16;

/// What a payload type is, and of which track.
#[derive(Debug, Clone, Copy)]
struct Role {
    track: usize,
    load: Load,
}

/// What is said of a track in reports.
#[derive(Debug)]
struct Line {
    clock: u32,
    nack: bool,
    /// What is asked for comes under its own source and number.
    resends: bool,
    pli: bool,
    holes: Holes,
    reception: Reception,
}

/// What RFC 3550 section 6.4.1 wants to know of a source.
#[derive(Debug, Default)]
struct Reception {
    ssrc: u32,
    /// First and highest index.
    range: Option<(u64, u64)>,
    received: u64,
    told: (u64, u64),
    transit: Option<u32>,
    /// Sixteen times the jitter.
    jitter: u32,
    report: Option<(u32, Instant)>,
}

impl Reception {
    fn on_packet(&mut self, ssrc: u32, index: u64, timestamp: u32, arrived: u32) {
        if self.ssrc != ssrc {
            *self = Self { ssrc, ..Self::default() };
        }
        let (first, highest) = self.range.unwrap_or((index, index));
        self.range = Some((first, highest.max(index)));
        self.received += 1;
        let transit = arrived.wrapping_sub(timestamp);
        if let Some(before) = self.transit.replace(transit) {
            let apart = transit.wrapping_sub(before);
            let apart = apart.min(apart.wrapping_neg());
            // A clock that jumps is no jitter.
            let (jitter, apart) = (self.jitter, apart.min(u32::MAX >> 8));
            self.jitter = jitter.saturating_sub(jitter.saturating_add(8) >> 4).saturating_add(apart);
        }
    }

    fn block(&mut self, now: Instant) -> Option<Block> {
        let (first, highest) = self.range?;
        let expected = highest.saturating_sub(first) + 1;
        let (before, had) = std::mem::replace(&mut self.told, (expected, self.received));
        let (new, came) = (expected.saturating_sub(before), self.received.saturating_sub(had));
        let share = (new.saturating_sub(came) * 256).checked_div(new).unwrap_or(0);
        let lost = i64::try_from(expected).unwrap_or(0) - i64::try_from(self.received).unwrap_or(0);
        let (last_report, delay) = self.report.map_or((0, 0), |(middle, at)| {
            let micros = num::micros(now.saturating_duration_since(at));
            (middle, num::wrap32((micros << 16) / 1_000_000))
        });
        Some(Block {
            ssrc: self.ssrc,
            fraction: u8::try_from(share).unwrap_or(u8::MAX),
            lost: i32::try_from(lost).unwrap_or(i32::MAX),
            highest: num::wrap32(highest),
            jitter: self.jitter >> 4,
            last_report,
            delay,
        })
    }
}

/// Counts media by headers: in its session's task until it is connected, and wherever its socket is read from then on.
pub(super) struct Sampler(Arc<Mutex<Counting>>);

struct Counting {
    seen: Arc<Mutex<Seen>>,
    roles: [Option<Role>; TYPES],
    lines: Vec<Line>,
    /// The SSRC of what is sent.
    sender: u32,
    loss: Option<(Loss, StdRng)>,
    request_keyframes: bool,
    srtp: Option<Srtp>,
    connected: bool,
    /// Retransmissions have sources of their own, each with its highest number.
    again: Vec<(u32, u64)>,
    extension: Option<u8>,
    transport: Transport,
    begun: Instant,
    report_at: Option<Instant>,
    /// When to ask for the first keyframe.
    ask_at: Option<Instant>,
    out: Vec<Vec<u8>>,
    /// Who reads its socket sees to what is due, and not the session's task.
    tapped: bool,
}

impl Sampler {
    pub fn new(session: &Session, config: &ViewerConfig, seen: Arc<Mutex<Seen>>) -> Self {
        Self(Arc::new(Mutex::new(Counting::new(session, config, seen))))
    }
}

impl Counting {
    fn new(session: &Session, config: &ViewerConfig, seen: Arc<Mutex<Seen>>) -> Self {
        let (mut roles, mut lines, mut extension) = ([None; TYPES], Vec::new(), None);
        let sections = sections(&session.negotiated.answer);
        for (track, (mid, _)) in session.mids.iter().enumerate() {
            let section = sections.iter().find(|section| section.mid == *mid.to_string());
            let section = section.cloned().unwrap_or_default();
            let resends = section.resends();
            for (number, load) in section.loads {
                if let (Some(role), Some(load)) = (roles.get_mut(usize::from(number)), load) {
                    *role = Some(Role { track, load });
                }
            }
            extension = extension.or(section.transport);
            lines.push(Line {
                clock: section.clock,
                nack: section.nack,
                resends,
                pli: section.pli,
                holes: Holes::default(),
                reception: Reception::default(),
            });
        }
        let begun = Instant::now();
        Self {
            seen,
            roles,
            lines,
            sender: rand::rng().random_range(1..u32::MAX),
            loss: config.loss.map(|loss| (loss, StdRng::seed_from_u64(loss.seed))),
            request_keyframes: config.request_keyframes,
            srtp: None,
            connected: false,
            again: Vec::new(),
            extension,
            transport: Transport::new(begun),
            begun,
            report_at: None,
            ask_at: None,
            out: Vec::new(),
            tapped: false,
        }
    }

    fn is_ready(&self) -> bool {
        self.connected && self.srtp.is_some()
    }

    fn media(&mut self, datagram: &[u8], head: &RtpHead, now: Instant) {
        let peek = head.peek;
        let role = self.roles.get(usize::from(peek.payload_type)).copied().flatten();
        let seen = Arc::clone(&self.seen);
        let mut seen = lock(&seen);
        if let Some((loss, rng)) = &mut self.loss
            && rng.random::<f64>() < loss.fraction
        {
            let again = role.is_some_and(|role| matches!(role.load, Load::Again { .. }));
            seen.injected_loss += u64::from(!again);
            seen.injected_rtx_loss += u64::from(again);
            return;
        }
        if let Some(number) = head.transport {
            self.transport.on_packet(number, peek.ssrc, now);
        }
        let Some(Role { track, load }) = role else {
            seen.unmapped += 1;
            return;
        };
        let (Some(meter), Some(line), Some(srtp)) =
            (seen.header(track), self.lines.get_mut(track), &mut self.srtp)
        else {
            return;
        };
        match load {
            Load::Media { codec } => {
                let bytes = datagram.len().saturating_sub(head.length + srtp.tag_len());
                let (at, padded, ssrc, sequence) = (now, head.padded, peek.ssrc, peek.sequence);
                let mut packet = Headed { at, ssrc, sequence, bytes, padded, again: false };
                let index = meter.srtp_index(peek.ssrc, peek.sequence);
                let mut opened = None;
                if meter.wants(&packet) {
                    let Some(payload) = srtp.open_rtp(datagram, head.length, peek.ssrc, index) else {
                        meter.on_rejected();
                        return;
                    };
                    opened = Some(look(unpadded(payload, head.padded), codec));
                }
                let before = meter.source();
                let asked = line.holes.fill(meter.index(peek.ssrc, peek.sequence));
                packet.again = line.resends && asked && before == Some(peek.ssrc);
                let skipped = meter.on_packet(&packet, opened.as_ref());
                if before.is_some_and(|before| meter.source() != Some(before)) {
                    line.holes.clear();
                }
                if line.nack && !skipped.is_empty() {
                    line.holes.add(skipped, now);
                }
                let arrived = num::micros(now.saturating_duration_since(self.begun)) * u64::from(line.clock)
                    / 1_000_000;
                line.reception.on_packet(peek.ssrc, index, head.timestamp, num::wrap32(arrived));
            }
            Load::Again { codec } => {
                let near = self.again.iter().find(|(ssrc, _)| *ssrc == peek.ssrc).map(|(_, near)| *near);
                let index = near.map_or(peek.sequence.into(), |near| num::extend(near, peek.sequence));
                let Some(payload) = srtp.open_rtp(datagram, head.length, peek.ssrc, index) else {
                    meter.on_rejected();
                    return;
                };
                self.again.retain(|(ssrc, _)| *ssrc != peek.ssrc);
                self.again.truncate(SOURCES - 1);
                self.again.insert(0, (peek.ssrc, near.map_or(index, |near| near.max(index))));
                // One without a number in front is padding that measures the path.
                let payload = unpadded(payload, head.padded);
                let Some((number, payload)) = payload.split_first_chunk::<2>() else { return };
                let (sequence, ssrc) = (u16::from_be_bytes(*number), meter.source().unwrap_or(0));
                let bytes = payload.len();
                let packet = Headed { at: now, ssrc, sequence, bytes, padded: false, again: true };
                if let Some(index) = meter.on_recovered(&packet, &look(payload, codec)) {
                    line.holes.fill(index);
                }
            }
        }
        if meter.wants_keyframe() && self.request_keyframes {
            self.ask_at.get_or_insert(now + FIRST_REQUEST);
        } else if meter.kind() == Kind::Video {
            self.ask_at = None;
        }
    }

    /// Reports of the server: when it sent them tells it the round trip.
    fn reports(&mut self, datagram: &[u8], now: Instant) {
        let Some(compound) = self.srtp.as_mut().and_then(|srtp| srtp.open_rtcp(datagram)) else {
            lock(&self.seen).unmapped += 1;
            return;
        };
        for (ssrc, middle) in rtcp::sender_reports(compound) {
            for line in self.lines.iter_mut().filter(|line| line.reception.ssrc == ssrc) {
                line.reception.report = Some((middle, now));
            }
        }
    }

    /// Asks for a keyframe of each video that something came of.
    fn ask(&self, compound: &mut Vec<u8>) {
        let mut seen = lock(&self.seen);
        for (track, line) in self.lines.iter().enumerate() {
            let video = seen.header(track).filter(|meter| meter.kind() == Kind::Video);
            let source = video.and_then(|meter| meter.source());
            if let Some(ssrc) = source.filter(|_| line.pli) {
                rtcp::picture_loss(compound, self.sender, ssrc);
                seen.keyframe_requests += 1;
            }
        }
    }
}

/// What a payload says.
fn look(payload: &[u8], codec: Option<VideoCodec>) -> Opened {
    let stamp = Stamp::read(payload);
    let keyframe = match (&stamp, codec) {
        (Ok(stamp), _) => stamp.keyframe && stamp.part == 0,
        (Err(_), Some(codec)) => starts_keyframe(codec, payload),
        (Err(_), None) => false,
    };
    Opened { stamp, keyframe, padding: payload.is_empty() }
}

/// A payload without its padding, whose length stands at its end.
fn unpadded(payload: &[u8], padded: bool) -> &[u8] {
    let padding = if padded { payload.last().copied().map_or(0, usize::from) } else { 0 };
    payload.get(..payload.len().saturating_sub(padding)).unwrap_or_default()
}

impl Counting {
    /// A datagram came; false if the session has to be shown it.
    fn count(&mut self, datagram: &[u8], now: Instant) -> bool {
        let Some(&[first, second]) = datagram.first_chunk::<2>() else { return false };
        if !(128..192).contains(&first) {
            return false;
        }
        if self.srtp.is_none() {
            // Nobody could tell yet what it is.
        } else if (192..224).contains(&second) {
            self.reports(datagram, now);
        } else if let Some(head) = RtpHead::read(datagram, self.extension) {
            self.media(datagram, &head, now);
        }
        true
    }

    /// When something is due that was not asked for by hand.
    fn next_due(&self) -> Option<Instant> {
        if !self.is_ready() {
            return None;
        }
        let holes = self.lines.iter().filter_map(|line| line.holes.next_due());
        [self.report_at, self.transport.next_due(), self.ask_at].into_iter().flatten().chain(holes).min()
    }

    fn on_due(&mut self, now: Instant) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        let mut feedback = Vec::new();
        let asked = due(lock(&self.seen).keyframe_asked.take());
        let first = due(self.ask_at);
        if first {
            self.ask_at = Some(now + NEXT_REQUEST);
        }
        if asked || first {
            self.ask(&mut feedback);
        }
        for line in &mut self.lines {
            let lost = line.holes.take_due(now);
            if !lost.is_empty() {
                rtcp::nack(&mut feedback, self.sender, line.reception.ssrc, &lost);
            }
        }
        self.transport.report(&mut feedback, self.sender, now);
        let report = due(self.report_at);
        if !report && feedback.is_empty() {
            return;
        }
        // A compound packet begins with a report, and one with blocks may come whenever it is due.
        let mut blocks = Vec::new();
        if report {
            self.report_at = Some(now + REPORT);
            blocks.extend(self.lines.iter_mut().filter_map(|line| line.reception.block(now)));
        }
        let mut compound = Vec::new();
        rtcp::report(&mut compound, self.sender, &blocks);
        compound.append(&mut feedback);
        self.out.extend(self.srtp.as_mut().and_then(|srtp| srtp.seal_rtcp(&compound)));
    }
}

impl Tap for Mutex<Counting> {
    fn take(&self, datagrams: Chunks<'_, u8>, now: Instant, aside: &mut dyn FnMut(&[u8])) {
        let mut counting = lock(self);
        for datagram in datagrams {
            if !counting.count(datagram, now) {
                aside(datagram);
            }
        }
    }

    fn due(&self, now: Instant) -> Due {
        let mut counting = lock(self);
        counting.tapped = true;
        if counting.next_due().is_some_and(|due| due <= now) {
            counting.on_due(now);
        }
        Due { send: std::mem::take(&mut counting.out), next: counting.next_due() }
    }

    fn let_go(&self) {
        lock(self).tapped = false;
    }
}

impl Endpoint for Sampler {
    fn on_event(&mut self, _rtc: &mut Rtc, event: Event, now: Instant) {
        if matches!(event, Event::Connected) {
            let mut counting = lock(&self.0);
            counting.connected = true;
            counting.report_at = Some(now + REPORT);
        }
    }

    fn on_keys(&mut self, keys: &Keys) {
        let srtp = Srtp::new(keys, rtc::ciphers());
        if srtp.is_none() {
            tracing::error!(?keys, "DTLS agreed on an SRTP profile that cannot be counted by headers");
        }
        lock(&self.0).srtp = srtp;
    }

    fn before_datagram(&mut self, datagram: &[u8], now: Instant) -> bool {
        !lock(&self.0).count(datagram, now)
    }

    fn tap(&self) -> Option<Arc<dyn Tap>> {
        let ready = lock(&self.0).is_ready();
        ready.then(|| Arc::clone(&self.0) as Arc<dyn Tap>)
    }

    fn may_send(&self, datagram: &[u8]) -> bool {
        !datagram.first().is_some_and(|first| (128..192).contains(first))
    }

    fn take_datagrams(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut lock(&self.0).out)
    }

    fn next_due(&mut self) -> Option<Instant> {
        let counting = lock(&self.0);
        if !counting.is_ready() {
            return None;
        }
        let asked = lock(&counting.seen).keyframe_asked;
        let often = if counting.tapped { None } else { counting.next_due() };
        asked.into_iter().chain(often).min()
    }

    fn on_due(&mut self, _rtc: &mut Rtc, now: Instant) {
        lock(&self.0).on_due(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_say_what_came_of_what_was_sent() {
        let begin = Instant::now();
        let mut reception = Reception::default();
        assert_eq!(reception.block(begin), None, "nothing to report on");
        // 20 of 100 are lost; each came 160 ticks after the one before, which is as they were sent.
        for index in (65_500..65_600).filter(|index| index % 5 != 2) {
            let sent = num::wrap32(index * 160);
            reception.on_packet(7, index, sent, sent.wrapping_add(4_000_000_000));
        }
        reception.report = Some((0x1234_5678, begin));
        let block = reception.block(begin + Duration::from_millis(500)).unwrap();
        let expected = Block {
            ssrc: 7,
            fraction: 51,
            lost: 20,
            highest: 65_599,
            jitter: 0,
            last_report: 0x1234_5678,
            delay: 32_768,
        };
        assert_eq!(block, expected);
        // One is late by 1,600 ticks, the next one is not.
        reception.on_packet(7, 65_600, 0, 4_000_001_600);
        reception.on_packet(7, 65_601, 0, 4_000_000_000);
        let block = reception.block(begin + Duration::from_millis(500)).unwrap();
        assert_eq!((block.fraction, block.lost, block.highest), (0, 20, 65_601));
        assert!((180..200).contains(&block.jitter), "{block:?}");
        // What comes again is received too often, not lost.
        (0..30).for_each(|_| reception.on_packet(7, 65_601, 0, 4_000_000_000));
        assert_eq!(reception.block(begin).unwrap().lost, -10);
        reception.on_packet(8, 5, 0, 0);
        let block = reception.block(begin).unwrap();
        assert_eq!((block.ssrc, block.lost, block.last_report), (8, 0, 0), "another source begins anew");
    }

    #[test]
    fn padding_is_no_payload() {
        assert_eq!(unpadded(&[1, 2, 0, 2], true), [1, 2]);
        assert_eq!(unpadded(&[1, 2, 0, 2], false), [1, 2, 0, 2]);
        assert_eq!(unpadded(&[1, 200], true), [0_u8; 0]);
        assert_eq!(unpadded(&[], true), [0_u8; 0]);
    }
}
