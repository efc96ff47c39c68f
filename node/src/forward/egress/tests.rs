use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Again, Format, Outlet, Request, Road, Sealer, Unsent};
use crate::forward::blank::Blank;
use crate::forward::rtcp::Compound;
use crate::forward::rtp::{Parsed, parse};
use crate::forward::srtp::{Profile, SrtpSender};
use crate::forward::stamp::SentAt;
use crate::forward::train::{TrainLimits, Trains};
use crate::media::clock::{Skew, ViewClock};
use crate::media::packet::{CaptureMicros, Extensions, Packet};

const TO: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9);
const MS: Duration = Duration::from_millis(1);
const SECOND: u64 = 1_000_000;
pub const START: u64 = 1_800_000_000 * SECOND;
const MEDIA: u32 = 0x1111;
const RTX: u32 = 0x2222;
const SOUND: u32 = 0x3333;
/// Ids of the extensions that the viewer took.
const ABS: u8 = 2;
const NUMBER: u8 = 3;
const MID: u8 = 4;
const LEVEL: u8 = 1;
const DELAY: u8 = 5;
const TURNED: u8 = 13;

pub const WITH_RTX: Format = Format { pt: 102, rtx: Some(103), nack: true, clock_rate: 90_000, vp8: false };
const PLAIN: Format = Format { pt: 102, rtx: None, nack: true, clock_rate: 90_000, vp8: false };
const NEVER: Format = Format { pt: 111, rtx: None, nack: false, clock_rate: 48_000, vp8: false };

fn sealer(profile: Profile) -> Sealer {
    let (key, salt) = (vec![7; profile.key_len()], vec![9; profile.salt_len()]);
    Sealer::new(SrtpSender::new(profile, &key, &salt).unwrap(), Blank::default())
}

pub fn outlet(ssrc: u32, rtx: Option<u32>, seed: u32) -> Outlet {
    let extensions = [
        (ABS, "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"),
        (NUMBER, "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"),
        (MID, "urn:ietf:params:rtp-hdrext:sdes:mid"),
        (LEVEL, "urn:ietf:params:rtp-hdrext:ssrc-audio-level"),
        (DELAY, "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"),
        (TURNED, "urn:3gpp:video-orientation"),
    ];
    Outlet::new(ssrc, rtx, "0", &extensions.map(|(id, uri)| (id, uri.to_owned())), (seed, 1))
}

pub fn packet(index: u64) -> Packet {
    Packet {
        index,
        timestamp: (index as u32).wrapping_mul(3_000),
        marker: index.is_multiple_of(3),
        keyframe: index == 0,
        codec: 0,
        capture: CaptureMicros(START + index * 1_000),
        arrived: Instant::now(),
        exts: Extensions {
            audio_level: Some((30, true)),
            orientation: Some(1),
            playout_delay: Some((10, 40)),
            abs_capture_time: Some(0xee62_ba80_1f9a_dd37),
        },
        payload: index.to_be_bytes().repeat(40).into(),
    }
}

/// One viewer's egress, and what it put on the wire.
pub struct Desk {
    pub sealer: Sealer,
    trains: Trains,
    start: Instant,
    /// Time of the flush in microseconds since the start.
    pub micros: u64,
    /// The arena may be too small.
    spare: bool,
    pub wire: Vec<Vec<u8>>,
}

impl Desk {
    pub fn new(profile: Profile) -> Self {
        let trains = Trains::new(TrainLimits { arena: 4_096, ..TrainLimits::default() });
        Self { sealer: sealer(profile), trains, start: Instant::now(), micros: 0, spare: false, wire: vec![] }
    }

    fn now(&self) -> Instant {
        self.start + Duration::from_micros(self.micros)
    }

    /// Does something with the road, and takes what is on it.
    pub fn flush<T>(&mut self, work: impl FnOnce(&mut Sealer, Instant, &mut Road<'_>) -> T) -> T {
        let (now, at) = (self.now(), SentAt::new(CaptureMicros(START + self.micros)));
        let Self { sealer, trains, wire, .. } = self;
        trains.begin(TO, None);
        let spare = self.spare;
        let mut depart = |_: &mut Trains| assert!(spare, "the arena is large enough");
        let done = work(sealer, now, &mut Road { trains, depart: &mut depart, to: &TO.into(), at });
        trains.end();
        for train in trains.pending() {
            let bytes = &trains.arena()[train.range.clone()];
            wire.extend(bytes.chunks(train.segment).map(<[u8]>::to_vec));
        }
        trains.advance(trains.pending().len());
        done
    }

    pub fn send(&mut self, outlet: &mut Outlet, format: Format, index: u64) -> Result<u64, Unsent> {
        self.flush(|sealer, now, road| outlet.send(sealer, format, &packet(index), now, road))
    }

    pub fn again(&mut self, outlet: &mut Outlet, format: Format, seq: u16) -> Option<Again> {
        self.again_after(outlet, format, seq, MS)
    }

    fn again_after(
        &mut self,
        outlet: &mut Outlet,
        format: Format,
        seq: u16,
        trip: Duration,
    ) -> Option<Again> {
        let (source, index) = outlet.find(seq)?;
        let round_trip = Some(trip);
        Some(self.flush(|sealer, now, road| {
            let request = Request { seq, source, now, round_trip, copies: 2 };
            outlet.again(sealer, format, &packet(index), request, road)
        }))
    }
}

fn number(packet: &Parsed<'_>) -> Option<u16> {
    packet.extension(NUMBER).map(|value| u16::from_be_bytes(value.try_into().unwrap()))
}

fn sent_at(packet: &Parsed<'_>) -> Option<u32> {
    packet.extension(ABS).map(|value| u32::from_be_bytes([0, value[0], value[1], value[2]]))
}

#[test]
fn every_packet_of_a_viewer_is_numbered_and_dated_whatever_its_ssrc() {
    let mut desk = Desk::new(Profile::AeadAes128Gcm);
    let (mut picture, mut sound) = (outlet(MEDIA, Some(RTX), 1 << 16), outlet(SOUND, None, 1 << 16));
    for index in 0..40 {
        desk.micros = index * 20_000;
        desk.send(&mut picture, WITH_RTX, index).unwrap();
        desk.send(&mut sound, NEVER, index).unwrap();
        if index % 4 == 3 {
            let seq = parse(&desk.wire[0]).unwrap().fields.seq + index as u16 - 1;
            assert!(matches!(desk.again(&mut picture, WITH_RTX, seq), Some(Again::Sent { .. })));
        }
    }
    let read: Vec<Parsed<'_>> = desk.wire.iter().map(|packet| parse(packet).unwrap()).collect();
    assert_eq!(read.len(), 90);
    let of = |ssrc| read.iter().filter(|packet| packet.fields.ssrc == ssrc).count();
    assert_eq!((of(MEDIA), of(SOUND), of(RTX)), (40, 40, 10));
    for (n, packet) in read.iter().enumerate() {
        assert_eq!(number(packet), Some(n as u16), "one count for all SSRCs, retransmissions too");
        assert_eq!(packet.extension(DELAY), Some(&[0, 0xa0, 0x28][..]), "what came passes beside it");
        assert_eq!((packet.extension(LEVEL), packet.extension(TURNED)), (Some(&[0x9e][..]), Some(&[1][..])));
    }
    let (first, last) = (sent_at(&read[0]).unwrap(), sent_at(&read[89]).unwrap());
    let passed = f64::from(last.wrapping_sub(first) & 0x00ff_ffff) / f64::from(1 << 18);
    assert!((passed - 39.0 * 0.020).abs() < 0.000_01, "{passed} s");
    assert_eq!(sent_at(&read[87]), sent_at(&read[89]), "all that one flush sends has its time");
}

#[test]
fn where_repeats_are_plain_nothing_is_stamped_and_a_repeat_is_the_same_to_the_byte() {
    let mut desk = Desk::new(Profile::AeadAes128Gcm);
    let mut outlet = outlet(MEDIA, None, 1 << 16);
    for index in 0..10 {
        desk.micros = index * 33_000;
        desk.send(&mut outlet, PLAIN, index).unwrap();
    }
    let first = parse(&desk.wire[4]).unwrap();
    assert_eq!((number(&first), sent_at(&first)), (None, None));
    let seq = first.fields.seq;
    desk.micros += 500_000;
    assert!(matches!(desk.again(&mut outlet, PLAIN, seq), Some(Again::Sent { .. })));
    assert_eq!(desk.wire[10], desk.wire[4]);
}

#[test]
fn a_packet_without_a_place_is_told_from_one_that_cannot_be_sealed() {
    let mut desk = Desk::new(Profile::AeadAes128Gcm);
    let mut outlet = outlet(MEDIA, Some(RTX), 1 << 16);
    assert!(desk.send(&mut outlet, WITH_RTX, 7).is_ok());
    assert_eq!(desk.send(&mut outlet, WITH_RTX, 6), Err(Unsent::NoPlace), "from before it began");
    // Longer than any train.
    let long = Packet { payload: vec![0; 5_000].into(), ..packet(8) };
    desk.spare = true;
    let sent = desk.flush(|sealer, now, road| outlet.send(sealer, WITH_RTX, &long, now, road));
    assert_eq!(sent, Err(Unsent::Failed));
    assert!(desk.send(&mut outlet, WITH_RTX, 9).is_ok());
    let seq = |n: usize| parse(&desk.wire[n]).unwrap().fields.seq;
    assert_eq!((desk.wire.len(), seq(1)), (2, seq(0) + 2), "its number stays free");
}

#[test]
fn what_may_be_stamped_without_rtx_is_never_repeated() {
    let mut desk = Desk::new(Profile::AeadAes128Gcm);
    let mut outlet = outlet(SOUND, None, 1 << 16);
    desk.send(&mut outlet, NEVER, 0).unwrap();
    let seq = parse(&desk.wire[0]).unwrap().fields.seq;
    desk.micros += 20_000;
    assert!(matches!(desk.again(&mut outlet, NEVER, seq), Some(Again::TooSoon)));
    assert_eq!(desk.send(&mut outlet, NEVER, 0), Err(Unsent::NoPlace), "nor by a feeder that sends it twice");
    assert_eq!(desk.wire.len(), 1);
}

#[test]
fn what_came_in_1200_bytes_goes_in_1250_whatever_the_m_line_is_called_and_the_ids_are() {
    const URIS: [&str; 7] = [
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
        "urn:ietf:params:rtp-hdrext:sdes:mid",
        "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
        "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
        "urn:3gpp:video-orientation",
        "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time",
    ];
    for (first, mid) in [
        (1, "0"),
        (1, "sixteen-letters-"),
        (100, "0"),
        (100, "sixteen-letters-"),
        (101, "0"),
        (101, "sixteen-letters-"),
    ] {
        for profile in [Profile::AeadAes256Gcm, Profile::AeadAes128Gcm, Profile::Aes128CmSha1_80] {
            let mut desk = Desk::new(profile);
            let extensions: Vec<_> = (first..).zip(URIS.map(str::to_owned)).collect();
            let mut outlet = Outlet::new(MEDIA, Some(RTX), mid, &extensions, (7, 1));
            // Without an extension of its own a packet of 1,200 bytes has most payload. Sound has no orientation, and a
            // picture no level.
            let long = |index: u64| {
                let exts = packet(index).exts;
                let exts = match first % 2 == 0 {
                    true => Extensions { orientation: None, ..exts },
                    false => Extensions { audio_level: None, ..exts },
                };
                Packet { payload: vec![7; 1_200 - 12].into(), exts, ..packet(index) }
            };
            for index in 0..3 {
                let sent =
                    desk.flush(|sealer, now, road| outlet.send(sealer, WITH_RTX, &long(index), now, road));
                assert!(sent.is_ok());
            }
            let seq = parse(&desk.wire[1]).unwrap().fields.seq;
            desk.micros += 50_000;
            let (source, index) = outlet.find(seq).unwrap();
            let again = desk.flush(|sealer, now, road| {
                let request = Request { seq, source, now, round_trip: Some(MS), copies: 2 };
                outlet.again(sealer, WITH_RTX, &long(index), request, road)
            });
            assert!(matches!(again, Again::Sent { .. }));
            assert_eq!(desk.wire.len(), 4);
            let longest = desk.wire.iter().map(Vec::len).max().unwrap();
            assert!((1_215..=1_250).contains(&longest), "{first} {mid} {profile:?}: {longest}");
            // One that has room for it says what its m-line is called.
            desk.send(&mut outlet, WITH_RTX, 3).unwrap();
            let short = parse(desk.wire.last().unwrap()).unwrap();
            assert_eq!(short.extension(first + 2), Some(mid.as_bytes()));
        }
    }
}

#[test]
fn what_is_asked_for_twice_within_a_round_trip_is_sent_once() {
    // Of those who have been sent little an answer is one packet, of others two.
    for (millis, before, wanted) in [(20, 3, 1), (100, 3, 1), (400, 3, 1), (20, 600, 2), (400, 600, 2)] {
        let mut desk = Desk::new(Profile::AeadAes128Gcm);
        let mut outlet = outlet(MEDIA, Some(RTX), 1 << 16);
        for index in 0..before {
            desk.micros = index * 1_000;
            assert!(desk.send(&mut outlet, WITH_RTX, index).is_ok());
        }
        let asked = usize::try_from(before).unwrap() - 3;
        let (first, trip) = (parse(&desk.wire[asked]).unwrap().fields.seq, MS * millis);
        let mut sent = Vec::new();
        for tenths in [0, 5, 7, 9, 11, 16, 20, 22] {
            desk.micros = before * 1_000 + u64::from(millis) * tenths * 100;
            let wire = desk.wire.len();
            let again = desk.again_after(&mut outlet, WITH_RTX, first, trip).unwrap();
            let answered = matches!(again, Again::Sent { copies, .. } if copies == wanted);
            assert_eq!((desk.wire.len() - wire) as u64, if answered { wanted } else { 0 });
            sent.push(answered);
        }
        assert_eq!(sent, [true, false, false, false, true, false, false, true], "{millis} ms, {before}");
        let other = desk.again_after(&mut outlet, WITH_RTX, first + 1, trip).unwrap();
        assert!(matches!(other, Again::Sent { .. }), "another packet does not wait for it");
    }
}

#[test]
fn every_copy_counts_for_the_share_of_retransmissions() {
    let mut desk = Desk::new(Profile::AeadAes128Gcm);
    let mut outlet = outlet(MEDIA, Some(RTX), 1 << 16);
    // So much that few are sent twice.
    for index in 0..600 {
        desk.micros = index * 1_000;
        desk.send(&mut outlet, WITH_RTX, index).unwrap();
    }
    let (seq, before, wire) =
        (parse(&desk.wire[590]).unwrap().fields.seq, outlet.again_left, desk.wire.len());
    let Some(Again::Sent { copies: 2, bytes }) = desk.again(&mut outlet, WITH_RTX, seq) else {
        panic!("it goes twice")
    };
    let on_wire: usize = desk.wire[wire..].iter().map(Vec::len).sum();
    assert_eq!((desk.wire.len() - wire, on_wire as u64), (2, bytes));
    assert_eq!(before - outlet.again_left, bytes);
}

#[test]
fn what_is_sent_again_comes_to_a_fifth_of_the_media_and_no_more() {
    let mut desk = Desk::new(Profile::AeadAes128Gcm);
    let mut outlet = outlet(MEDIA, Some(RTX), 1 << 16);
    let (mut media, mut again, mut refused) = (0, 0, 0);
    for index in 0..20_000 {
        desk.micros = index * 100_000;
        desk.send(&mut outlet, WITH_RTX, index).unwrap();
        media += packet(index).payload.len() as u64;
        let seq = parse(&desk.wire[0]).unwrap().fields.seq;
        desk.wire.clear();
        // Its viewer never has it, however often it comes.
        for _ in 0..3 {
            desk.micros += 20_000;
            refused += u64::from(matches!(desk.again(&mut outlet, WITH_RTX, seq), Some(Again::TooSoon)));
        }
        again += desk.wire.drain(..).map(|packet| packet.len() as u64).sum::<u64>();
        assert!(again <= media / 5 + super::AGAIN_BURST + 1_000, "{again} bytes beside {media} of media");
    }
    assert!(again >= media / 5, "{again} bytes beside {media} of media: a fifth is its due");
    assert!(refused > 40_000, "{refused} of 60,000 requests");
}

/// What stands for the nonce of a sealed packet: SSRC and index. Sequence numbers in here go up and wrap.
#[derive(Default)]
struct Nonces {
    newest: HashMap<u32, u64>,
    seen: HashMap<(bool, u32, u64), Arc<[u8]>>,
    repeated: usize,
}

impl Nonces {
    fn record(&mut self, nonce: (bool, u32, u64), sealed: &[u8]) {
        if let Some(before) = self.seen.insert(nonce, sealed.into()) {
            // A cipher in counter mode gives the same bytes only for the same plaintext and header.
            assert_eq!(before[..], *sealed, "{nonce:x?} sealed two different plaintexts");
            self.repeated += 1;
        }
    }

    fn rtp(&mut self, sealed: &[u8]) {
        let fields = parse(sealed).unwrap().fields;
        let newest = self.newest.entry(fields.ssrc).or_insert(u64::from(fields.seq));
        let step = fields.seq.wrapping_sub(*newest as u16).cast_signed();
        let index = newest.checked_add_signed(i64::from(step)).unwrap();
        *newest = index.max(*newest);
        self.record((false, fields.ssrc, index), sealed);
    }

    fn rtcp(&mut self, sealed: &[u8]) {
        let (rest, index) = sealed.split_at(sealed.len() - 4);
        let ssrc = u32::from_be_bytes(rest[4..8].try_into().unwrap());
        let index = u32::from_be_bytes(index.try_into().unwrap()) & 0x7fff_ffff;
        self.record((true, ssrc, index.into()), sealed);
    }
}

/// Wraps of both counts, retransmissions, plain repeats, late packets, another publisher, another layer, reports.
#[test]
fn no_nonce_seals_two_different_plaintexts() {
    for (format, rtx) in [(WITH_RTX, Some(RTX)), (PLAIN, None)] {
        let (mut desk, mut nonces) = (Desk::new(Profile::AeadAes128Gcm), Nonces::default());
        let (mut picture, mut sound) = (outlet(MEDIA, rtx, 0x7fff_7fff), outlet(SOUND, None, 0x7ffe_0000));
        picture.rtx_seq = 0xf000;
        let (mut asked, mut answered) = (0x7fff_u16, 0);
        let clock = ViewClock::new();
        for step in 0..100_000_u64 {
            desk.micros = step * 4_000;
            // Every ninth packet comes late; another publisher and another layer count from elsewhere.
            let index = match step % 9 {
                7 => step + 1,
                8 => step - 1,
                _ => step,
            };
            match step {
                45_000 => picture.switch_source(),
                81_000 => drop(picture.switch_layer()),
                _ => {}
            }
            let of_source =
                if step < 45_000 { 0 } else { 7_000_000 } + if step < 81_000 { 0 } else { 900_000 };
            let _ = desk.send(&mut picture, format, index + of_source);
            let _ = desk.send(&mut sound, NEVER, index);
            if step % 6 == 0 {
                answered +=
                    usize::from(matches!(desk.again(&mut picture, format, asked), Some(Again::Sent { .. })));
                asked = asked.wrapping_add(6);
            }
            if step % 60 == 1 {
                // Asked once more, and by someone who never agreed to NACK; sent twice by a feeder.
                desk.again(&mut picture, format, asked.wrapping_sub(600));
                desk.again(&mut sound, NEVER, asked);
                let _ = desk.send(&mut sound, NEVER, index);
            }
            for sealed in desk.wire.drain(..) {
                nonces.rtp(&sealed);
            }
            if step % 250 == 0 {
                for outlet in [&mut picture, &mut sound] {
                    let wall = CaptureMicros(START + step * 4_000);
                    let mut compound = Compound::default();
                    outlet.report(&mut compound, "cname", &clock, wall, Skew::default());
                    nonces.rtcp(&desk.sealer.report(&compound).unwrap());
                }
            }
        }
        let of =
            |rtcp: bool, ssrc: u32| nonces.seen.keys().filter(|key| (key.0, key.1) == (rtcp, ssrc)).count();
        assert!(of(false, MEDIA) > 99_000 && of(false, SOUND) == 100_000, "every packet went");
        assert_eq!((of(true, MEDIA), of(true, SOUND)), (400, 400));
        assert!(nonces.newest[&MEDIA] > 1 << 16, "the sequence number wraps");
        assert!(answered > 15_000, "{answered} requests answered");
        if rtx.is_some() {
            assert!(
                nonces.newest[&RTX] > 1 << 16 && nonces.repeated == 0,
                "as RTX, under numbers of its own"
            );
        } else {
            assert!(nonces.repeated > 15_000, "as the same packet");
        }
    }
}
