//! What a change of layer does to time, against a model that knows when each picture was captured.
//!
//! A publisher's encoder stalls, its layers pause, its way becomes long for a while, its reports come late or not at
//! all. The viewer changes layer all the time.

use proptest::prelude::*;

use super::tests::{Desk, START, WITH_RTX, outlet, packet};
use crate::forward::egress::Outlet;
use crate::forward::rtp::parse;
use crate::forward::srtp::Profile;
use crate::media::clock::{NtpTime, PublisherClock, TrackClock, Verdict};
use crate::media::packet::{CaptureMicros, Packet};

const MILLI: u64 = 1_000;
const SECOND: u64 = 1_000_000;
/// Time between two pictures.
const FRAME: u64 = 50 * MILLI;
const LAYERS: usize = 3;
/// What reports, their delays and the following of the least delayed leave of an error where clocks are known.
const KNOWN: i64 = 45_000;
/// More is not taken back.
const TWICE: i64 = 200_000;
/// The way is longer than usual by so much at most.
const LONG: u64 = 1_500 * MILLI;
/// Where clocks are not known, the way is what arrival cannot tell from the camera's.
const UNKNOWN: i64 = LONG as i64 + 600_000;

/// Looks random, is the same for each run with a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below.max(1)
    }

    /// Times without overlap in which something is the case.
    fn windows(&mut self, end: u64, between: u64, long: u64) -> Vec<(u64, u64)> {
        let (mut windows, mut at) = (Vec::new(), self.roll(between));
        while at < end {
            let until = at + self.roll(long);
            windows.push((at, until));
            at = until + SECOND + self.roll(between);
        }
        windows
    }
}

/// When what is sent in a window goes: at its end.
fn held(windows: &[(u64, u64)], at: u64) -> u64 {
    windows.iter().find(|(from, until)| (*from..*until).contains(&at)).map_or(at, |(_, until)| *until)
}

#[derive(Clone, Copy)]
enum What {
    /// A picture, by the time of its capture.
    Picture(u64),
    /// A sender report, by the time at which it was made.
    Report(u64),
}

/// Something of a layer that comes to the origin.
struct Coming {
    at: u64,
    layer: usize,
    what: What,
}

/// Where a layer's clock stands, unknown to the code under test.
#[derive(Debug, Clone)]
struct Clocks {
    ntp: u64,
    rtp: [u32; LAYERS],
}

impl Clocks {
    fn ntp(&self, micros: u64) -> NtpTime {
        NtpTime::from_wall(CaptureMicros(self.ntp + micros))
    }

    fn rtp(&self, layer: usize, micros: u64) -> u32 {
        self.rtp[layer].wrapping_add((micros * 9 / 100) as u32)
    }
}

/// What comes in `end` microseconds.
fn publish(dice: &mut Dice, end: u64, first_reports: [u64; LAYERS]) -> Vec<Coming> {
    let stalls = dice.windows(end, 12 * SECOND, 2_600 * MILLI);
    let long = dice.windows(end, 20 * SECOND, LONG);
    let pauses: [_; LAYERS] = std::array::from_fn(|_| dice.windows(end, 15 * SECOND, 8 * SECOND));
    let mut all = Vec::new();
    for layer in 0..LAYERS {
        // An encoder that stalls holds back one picture, and the camera's next ones are lost.
        let mut encoded = 0;
        for nth in 0..end / FRAME {
            let capture = nth * FRAME;
            let paused = held(&pauses[layer], capture) != capture;
            if capture < encoded || paused {
                continue;
            }
            encoded = held(&stalls, capture) + 2 * MILLI + layer as u64 * 4 * MILLI + dice.roll(8 * MILLI);
            all.push((encoded, layer, What::Picture(capture)));
        }
        let mut report = first_reports[layer];
        while report < end {
            if dice.roll(5) != 0 {
                all.push((report, layer, What::Report(report)));
            }
            report += 500 * MILLI + dice.roll(SECOND);
        }
    }
    all.sort_by_key(|(at, ..)| *at);
    let mut newest = 0;
    all.into_iter()
        .map(|(sent, layer, what)| {
            newest = newest.max(held(&long, sent) + 5 * MILLI + dice.roll(20 * MILLI));
            Coming { at: newest, layer, what }
        })
        .collect()
}

/// The newest picture that was sent: its capture by the model, when it went, its timestamp, whether its clock was known.
#[derive(Clone, Copy)]
struct Shown {
    capture: u64,
    sent: u64,
    timestamp: u32,
    /// Since when the origin's offset has been as it was then, where the clock is known.
    known: Option<u64>,
}

#[derive(Default, Debug)]
struct Seen {
    known: u32,
    unknown: u32,
}

struct Watch {
    desk: Desk,
    outlet: Outlet,
    layer: usize,
    wanted: usize,
    newest: Option<Shown>,
    /// What a change has shown twice, for the next to take back.
    twice: i64,
    /// What may have been taken for that while clocks were not known.
    unsure: i64,
    seen: Seen,
}

impl Watch {
    fn new(seed: u32) -> Self {
        let outlet = outlet(0x1111, Some(0x2222), seed);
        let desk = Desk::new(Profile::AeadAes128Gcm);
        Self { desk, outlet, layer: 0, wanted: 0, newest: None, twice: 0, unsure: 0, seen: Seen::default() }
    }

    /// Sends a picture, if its layer is shown or wanted, and holds its time against the model's.
    fn picture(&mut self, layer: usize, (came, captured): (u64, u64), known: Option<u64>, packet: &Packet) {
        let changes = layer != self.layer;
        if changes && layer != self.wanted {
            return;
        }
        if changes {
            self.layer = layer;
            self.outlet.switch_layer();
        }
        self.desk.micros = came;
        let outlet = &mut self.outlet;
        self.desk.flush(|sealer, now, road| outlet.send(sealer, WITH_RTX, packet, now, road)).unwrap();
        let timestamp = parse(&self.desk.wire.pop().unwrap()).unwrap().fields.timestamp;
        let shown = Shown { capture: captured, sent: came, timestamp, known };
        if let Some(before) = self.newest.replace(shown) {
            let ticks = timestamp.wrapping_sub(before.timestamp).cast_signed();
            assert!(ticks > 0, "time stands or goes back by {ticks} ticks");
            self.hold(before, shown, i64::from(ticks) * 100 / 9, changes);
        }
    }

    fn hold(&mut self, before: Shown, now: Shown, moved: i64, changes: bool) {
        let mut captured = now.capture as i64 - before.capture as i64;
        let sent = (now.sent - before.sent) as i64;
        let unsure = self.unsure;
        // What was shown twice is known no better than any other time, and is taken back as far as it is.
        let carried = if changes { self.twice.min(KNOWN) } else { 0 };
        if changes {
            let known = before.known.is_some() && now.known.is_some();
            self.unsure = if known { (unsure - captured).clamp(0, TWICE) } else { TWICE };
            captured -= self.twice;
            self.twice = (-captured).clamp(0, TWICE);
            captured = captured.max(0);
        }
        let (error, at) = (moved - captured, now.sent);
        if !changes {
            assert!(
                error.abs() <= 100,
                "within a layer, at {at}: {moved} µs, {captured} between the captures"
            );
        } else if let (Some(since), Some(_)) = (before.known, now.known) {
            self.seen.known += 1;
            // An offset that was too late goes down by a twentieth of the time between reports.
            let slow = (now.sent - since) as i64 / 20;
            assert!(
                (-KNOWN - slow - unsure..=KNOWN + carried).contains(&error),
                "at {at}: {moved} µs, {captured} between the captures, {sent} between the sendings"
            );
        } else {
            self.seen.unknown += 1;
            assert!(moved <= captured.max(sent) + UNKNOWN, "at {at}: {moved} µs, {captured} and {sent}");
        }
    }
}

/// Plays a publish of so long to a viewer who changes layer every second or so.
fn play(clocks: &Clocks, seed: u64, first_reports: [u64; LAYERS], end: u64) -> Seen {
    let mut dice = Dice(seed);
    let mut watch = Watch::new(seed as u32);
    let (mut session, mut tracks) = (PublisherClock::new(), [(); LAYERS].map(|()| TrackClock::new(90_000)));
    let (mut reported, mut anchored, mut steady) = ([false; LAYERS], 0, 0);
    let mut index = [0_u64; LAYERS];
    let mut change = SECOND;
    for Coming { at, layer, what } in publish(&mut dice, end, first_reports) {
        if at >= change {
            watch.wanted = dice.roll(LAYERS as u64) as usize;
            change = at + 200 * MILLI + dice.roll(SECOND);
        }
        let wall = CaptureMicros(START + at);
        match what {
            What::Report(made) => {
                let (ntp, rtp) = (clocks.ntp(made), clocks.rtp(layer, made));
                match session.report(&mut tracks[layer], ntp, rtp, wall) {
                    Verdict::Anchored => (anchored, steady) = (at, at),
                    Verdict::Steady => steady = at,
                    Verdict::Suspect => {}
                }
                reported[layer] = true;
            }
            What::Picture(captured) => {
                let delays = tracks.iter().filter_map(|track| track.delay(wall)).min();
                let behind = if tracks[layer].is_new() { delays } else { None };
                let timestamp = clocks.rtp(layer, captured);
                let capture = tracks[layer].capture_behind(&session, timestamp, wall, behind);
                index[layer] += 1;
                let of_layer = packet(index[layer]);
                let picture = Packet { timestamp, capture, marker: true, ..of_layer };
                // An offset that has just been found still falls.
                let settled = anchored > 0 && at > anchored + 3 * SECOND;
                let known = (reported[layer] && settled).then_some(steady);
                watch.picture(layer, (at, captured), known, &picture);
            }
        }
    }
    watch.seen
}

proptest! {
    #[test]
    fn time_goes_on_by_what_passed_between_the_captures(
        ntp in (1u64 << 40)..(1 << 51),
        rtp: [u32; LAYERS],
        seed: u64,
        first_reports in prop::array::uniform3(0..25 * SECOND),
    ) {
        play(&Clocks { ntp, rtp }, seed, first_reports, 70 * SECOND);
    }
}

#[test]
fn most_changes_are_between_clocks_that_are_known() {
    let clocks = Clocks { ntp: START, rtp: [u32::MAX - 100_000, 7, 1 << 31] };
    let seen = play(&clocks, 5, [SECOND, 2 * SECOND, 30 * SECOND], 240 * SECOND);
    assert!(seen.known > 100 && seen.unknown > 5, "{seen:?}");
}

#[test]
fn a_layer_goes_on_behind_the_latest_picture_though_an_earlier_one_went_last() {
    let (mut desk, mut outlet) = (Desk::new(Profile::AeadAes128Gcm), outlet(0x1111, None, 9));
    let mut times = Vec::new();
    // A picture between two others goes behind both.
    for (index, millis) in [(0, 0), (1, 100), (2, 50), (3, 120)] {
        if index == 3 {
            outlet.switch_layer();
        }
        desk.micros = index * 50 * MILLI;
        let capture = CaptureMicros(START + u64::from(millis) * MILLI);
        let picture = Packet { timestamp: 7 + millis * 90, capture, ..packet(index) };
        desk.flush(|sealer, now, road| outlet.send(sealer, WITH_RTX, &picture, now, road)).unwrap();
        times.push(parse(&desk.wire.pop().unwrap()).unwrap().fields.timestamp);
    }
    let since: Vec<u32> = times.iter().map(|time| time.wrapping_sub(times[0]) / 90).collect();
    assert_eq!(since, [0, 100, 50, 120]);
}
