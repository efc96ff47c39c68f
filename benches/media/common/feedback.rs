//! What viewers say of what they get, as browsers do: receiver reports, transport-wide feedback, and NACKs for one
//! packet in a hundred, whatever came.
//!
//! The sinks' reader notes the newest numbers. What viewers say is sealed on the reader's core too: done on the shard's,
//! it would cost the shard what it has in its caches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use freshet_node::forward::srtp::SrtpSender;

use super::measure::pin;

/// How often a viewer asks for a packet again: one in a hundred of 290 a second.
const NACK_EVERY: Duration = Duration::from_millis(350);
/// How often it tells of transport-wide numbers: Chromium's shortest interval, which it takes for all but slow paths.
const TRANSPORT_EVERY: Duration = Duration::from_millis(50);
/// Blocks of reception reports stand in as many of what it says as make one a second.
const REPORT_EVERY: Duration = Duration::from_millis(1_050);
/// How far behind the newest the packet is that is asked for.
const BEHIND: u16 = 3;
/// The SSRC that viewers speak under.
const SELF: u32 = 1;
/// Payload types and extension of str0m's offers.
const OPUS: u8 = 111;
const RTX: [u8; 7] = [121, 107, 109, 120, 119, 36, 115];
const TRANSPORT: u8 = 3;
/// Ticks of a transport-wide delta, 250 µs each: any will do.
const DELTA: u8 = 4;

/// The newest that a viewer's socket got. Numbers are zero until something came.
#[derive(Default)]
pub struct Heard {
    /// SSRC and sequence number: sound, picture.
    lanes: [AtomicU64; 2],
    /// Transport-wide number, and 1 in the 17th bit.
    transport: AtomicU32,
}

impl Heard {
    /// Looks at the clear part of a packet.
    pub fn note(&self, datagram: &[u8]) {
        let [first @ 0x80..=0xbf, second, a, b, _, _, _, _, ssrc @ ..] = datagram else { return };
        let pt = second & 0x7f;
        if matches!(*second, 192..=223) || ssrc.len() < 4 {
            return;
        }
        if first & 0x10 != 0
            && let Some(number) = transport(&ssrc[4..])
        {
            self.transport.store(1 << 16 | u32::from(number), Ordering::Relaxed);
        }
        if !RTX.contains(&pt) {
            let ssrc = u64::from(u32::from_be_bytes([ssrc[0], ssrc[1], ssrc[2], ssrc[3]]));
            let lane = &self.lanes[usize::from(pt != OPUS)];
            lane.store(ssrc << 16 | u64::from(u16::from_be_bytes([*a, *b])), Ordering::Relaxed);
        }
    }

    fn lane(&self, at: usize) -> (u32, u16) {
        let both = self.lanes[at].load(Ordering::Relaxed);
        ((both >> 16) as u32, both as u16)
    }
}

/// The transport-wide number among one-byte header extensions (RFC 8285 section 4.2).
fn transport(rest: &[u8]) -> Option<u16> {
    let [0xbe, 0xde, high, low, rest @ ..] = rest else { return None };
    let mut rest = rest.get(..4 * usize::from(u16::from_be_bytes([*high, *low])))?;
    while let [first, tail @ ..] = rest {
        if *first == 0 {
            rest = tail;
            continue;
        }
        let length = usize::from(first & 0x0f) + 1;
        if first >> 4 == TRANSPORT {
            return Some(u16::from_be_bytes([*tail.first()?, *tail.get(1)?]));
        }
        rest = tail.get(length..)?;
    }
    None
}

struct Voice {
    sealer: SrtpSender,
    /// The newest transport-wide number it has told of.
    told: Option<u16>,
    turns: u32,
}

/// What viewers say, by their places.
pub type Said = Vec<(usize, Vec<u8>)>;

/// All viewers, and when they speak next.
pub struct Feedback {
    pub due: Instant,
    every: Duration,
    ask: Option<Sender<Instant>>,
    said: Receiver<Said>,
    thread: Option<JoinHandle<()>>,
}

impl Feedback {
    /// Viewers in the order of their sinks, who speak on a core of the caller's choice, of losses and, if `transport`,
    /// of transport-wide numbers.
    pub fn new(
        now: Instant,
        heard: Arc<Vec<Heard>>,
        sealers: Vec<SrtpSender>,
        transport: bool,
        core: usize,
    ) -> Self {
        assert_eq!(heard.len(), sealers.len(), "each viewer has a sink and keys");
        // Not all speak in the same turns of theirs.
        let voice = |(nth, sealer)| Voice { sealer, told: None, turns: nth as u32 };
        let voices = sealers.into_iter().enumerate().map(voice).collect();
        let every = if transport { TRANSPORT_EVERY } else { NACK_EVERY };
        let mut voices = Voices { heard, voices, transport, every, start: now, reports: 0 };
        let ((ask, asked), (tell, said)) = (channel(), channel());
        let thread = std::thread::spawn(move || {
            pin(core);
            while let Ok(now) = asked.recv() {
                if tell.send(voices.say(now)).is_err() {
                    return;
                }
            }
        });
        Self { due: now, every, ask: Some(ask), said, thread: Some(thread) }
    }

    /// What all of them say now.
    pub fn say(&mut self, now: Instant) -> Said {
        self.due = now + self.every;
        self.ask.as_ref().unwrap().send(now).unwrap();
        self.said.recv().unwrap()
    }
}

impl Drop for Feedback {
    fn drop(&mut self) {
        self.ask = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

struct Voices {
    heard: Arc<Vec<Heard>>,
    voices: Vec<Voice>,
    transport: bool,
    every: Duration,
    start: Instant,
    reports: u8,
}

impl Voices {
    fn say(&mut self, now: Instant) -> Said {
        self.reports = self.reports.wrapping_add(1);
        let time = (now.duration_since(self.start).as_millis() / 64) as u32;
        let mut said = Vec::with_capacity(self.voices.len());
        let of = |time: Duration| (time.as_millis() / self.every.as_millis()) as u32;
        let (of_report, of_nack) = (of(REPORT_EVERY), of(NACK_EVERY));
        for (at, (voice, heard)) in self.voices.iter_mut().zip(self.heard.iter()).enumerate() {
            voice.turns += 1;
            let lanes = [heard.lane(0), heard.lane(1)];
            let mut compound = Vec::with_capacity(200);
            let blocks = if voice.turns.is_multiple_of(of_report) { &lanes[..] } else { &[] };
            report(&mut compound, blocks);
            let newest = heard.transport.load(Ordering::Relaxed);
            if self.transport && newest != 0 {
                let newest = newest as u16;
                let told = voice.told.replace(newest).unwrap_or(newest.wrapping_sub(1));
                transport_wide(&mut compound, lanes[1].0, told, newest, (time, self.reports));
            }
            if voice.turns.is_multiple_of(of_nack) && lanes[1].0 != 0 {
                nack(&mut compound, lanes[1].0, lanes[1].1.wrapping_sub(BEHIND));
            }
            let mut sealed = vec![0; compound.len() + 32];
            let length = voice.sealer.seal_rtcp(&compound, &mut sealed).unwrap();
            sealed.truncate(length);
            said.push((at, sealed));
        }
        said
    }
}

fn header(out: &mut Vec<u8>, count: u8, packet_type: u8, bytes: usize) {
    out.extend([0x80 | count, packet_type]);
    out.extend(((bytes / 4 - 1) as u16).to_be_bytes());
    out.extend(SELF.to_be_bytes());
}

/// RFC 3550 section 6.4.2.
fn report(out: &mut Vec<u8>, blocks: &[(u32, u16)]) {
    header(out, blocks.len() as u8, 201, 8 + 24 * blocks.len());
    for (ssrc, seq) in blocks {
        out.extend(ssrc.to_be_bytes());
        out.extend([0; 4]);
        out.extend(u32::from(*seq).to_be_bytes());
        out.extend(90_u32.to_be_bytes());
        out.extend([0; 8]);
    }
}

/// Everything behind `told` has come, evenly (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
fn transport_wide(out: &mut Vec<u8>, ssrc: u32, told: u16, newest: u16, (time, count): (u32, u8)) {
    let packets = newest.wrapping_sub(told);
    let padding = (22 + usize::from(packets)).next_multiple_of(4) - 22 - usize::from(packets);
    header(out, 15, 205, 22 + usize::from(packets) + padding);
    out.extend(ssrc.to_be_bytes());
    out.extend(told.wrapping_add(1).to_be_bytes());
    out.extend(packets.to_be_bytes());
    out.extend((time << 8 | u32::from(count)).to_be_bytes());
    // A run of packets with short deltas.
    out.extend((0x2000 | packets).to_be_bytes());
    out.extend(std::iter::repeat_n(DELTA, packets.into()));
    out.extend(std::iter::repeat_n(0, padding));
}

/// RFC 4585 section 6.2.1.
fn nack(out: &mut Vec<u8>, ssrc: u32, seq: u16) {
    header(out, 1, 205, 16);
    out.extend(ssrc.to_be_bytes());
    out.extend([seq.to_be_bytes(), [0; 2]].concat());
}
