//! What a forwarded packet costs the shard, against bare sealing and sending; and how that grows.

use std::time::Duration;

use freshet_node::peer::crypto;
use freshet_node::peer::keys::Keys;
use str0m::crypto::dtls::SrtpProfile;

use super::READER_CORE;
use super::common::Settings;
use super::common::floor::{Floor, Profile};
use super::common::measure::{Meter, Samples};
use super::common::pulse::{NEIGHBOURS, Neighbours};
use super::common::report::{Row, Target};
use super::common::sinks::{Reading, Sinks};
use super::common::stage::{Reports, Stage};
use super::common::trace::Trace;

pub const UNIT: &str = "µs of CPU a packet";
/// The default of `--batch`.
const BATCH: Duration = Duration::from_millis(5);

/// Allocations of a turn in which some list is longer than ever before.
const GROWTHS: usize = 3;
/// The turns before have filled rings and let lists grow.
const STEADY: usize = 3;

/// The shard, and the floor beside it.
pub struct Pair {
    sinks: Sinks,
    stage: Stage,
    floor: Floor,
    viewers: usize,
    rooms: usize,
}

impl Pair {
    /// So many viewers in so many rooms, whose packets nobody reads.
    async fn new(viewers: usize, rooms: usize) -> Self {
        let (profile, reading) = (Profile::Gcm, Reading::Unread);
        Self::of(Case { profile, viewers, reading, batch: Duration::ZERO, transport: false }, rooms).await
    }

    pub async fn of(case: Case, rooms: usize) -> Self {
        let Case { profile, viewers, reading, batch, transport } = case;
        let sinks = Sinks::new(viewers, reading, READER_CORE);
        let cm = profile == Profile::Cm;
        let agreed = if cm { for_cm } else { |keys| keys };
        let take_keys = if cm { take_keys_for_cm } else { crypto::take_keys };
        let mut stage = Stage::keyed(rooms, batch, take_keys).await;
        stage.join(&sinks.addresses(), &mut Meter::default());
        stage.forget_sent(&sinks);
        if reading == Reading::Read {
            stage.listen(&sinks, transport, agreed);
        }
        let floor = Floor::new(&sinks.addresses(), profile);
        Self { sinks, stage, floor, viewers, rooms }
    }

    /// CPU time of the shard for one turn, in microseconds a packet.
    pub fn ours(&mut self, trace: &Trace, steady: bool) -> f64 {
        let ((media, again), allocated) = (self.stage.media(), self.stage.forward_allocations);
        let mut meter = Meter::default();
        self.stage.play(trace, &self.sinks, &mut meter);
        let packets = trace.packets() * self.viewers;
        let (media, again) = (self.stage.media().0 - media, self.stage.media().1 - again);
        assert_eq!(media as usize, packets, "every packet is sent");
        let wanted = if self.sinks.reading() == Reading::Read && steady { packets / 200 } else { 0 };
        assert!(
            again as usize >= wanted,
            "{again} packets were sent again, of {packets}; {:?}",
            self.stage.sfu.counters()
        );
        let packets = packets + again as usize;
        let allocated = self.stage.forward_allocations - allocated;
        // Nothing is allocated for a packet, a viewer or a frame; some list may still grow for the last time.
        assert!(!steady || allocated <= GROWTHS, "{allocated} allocations in forwarding {packets} packets");
        meter.micros() / packets as f64
    }

    /// How long the train was that a video packet rode in, since the last call.
    pub fn take_ride(&mut self) -> usize {
        self.stage.take_ride()
    }

    /// Of that, what it took to put packets into rings, in microseconds since the last call.
    fn take_ingress(&mut self) -> f64 {
        std::mem::take(&mut self.stage.ingress).micros()
    }

    /// The same of the floor.
    fn floor(&mut self, trace: &Trace) -> f64 {
        let (mut meter, mut packets) = (Meter::default(), 0);
        for moment in &trace.moments {
            let sent = meter.time(|| self.floor.send(&moment.packets));
            packets += sent;
            self.sinks.expect(sent);
        }
        meter.micros() / packets as f64
    }
}

/// The bench's clients always agree on AES-256-GCM. What they agreed on is long enough for AES-CM, so egress is made
/// to seal by that; nobody opens what is sent.
fn take_keys_for_cm() -> Option<Keys> {
    crypto::take_keys().map(for_cm)
}

fn for_cm(keys: Keys) -> Keys {
    Keys { profile: SrtpProfile::AES128_CM_SHA1_80, ..keys }
}

/// One comparison with F.
#[derive(Clone, Copy)]
pub struct Case {
    pub profile: Profile,
    pub viewers: usize,
    pub reading: Reading,
    pub batch: Duration,
    /// Viewers tell of transport-wide numbers too.
    pub transport: bool,
}

/// Against F at several sizes of the audience.
pub async fn egress(settings: &Settings) -> Vec<Row> {
    let trace = Trace::new(settings.size(2, 1));
    let sizes = settings.size(vec![50, 200, 500, 1_000], vec![20]);
    let usual = settings.size(500, 20);
    let repetitions = settings.size(21, 4);
    let (mut rows, mut rides) = (vec![], vec![]);
    for reading in [Reading::Read, Reading::Unread] {
        let (profile, batch) = (Profile::Gcm, Duration::ZERO);
        let case = Case { profile, viewers: usual, reading, batch, transport: false };
        let mut cases: Vec<Case> = sizes.iter().map(|viewers| Case { viewers: *viewers, ..case }).collect();
        cases.push(Case { batch: BATCH, ..case });
        if reading == Reading::Read {
            cases.push(Case { profile: Profile::Cm, ..case });
            cases.push(Case { transport: true, ..case });
        }
        for case in cases {
            let (row, ride) = compare(&trace, case, repetitions).await;
            rows.push(row);
            let plain = case.profile == Profile::Gcm && !case.transport;
            if plain && case.viewers == usual && reading == Reading::Read {
                rides.push(ride);
            }
        }
    }
    rows.append(&mut rides);
    rows
}

/// The row of the cost, and the one of the trains.
async fn compare(trace: &Trace, case: Case, repetitions: usize) -> (Row, Row) {
    let Case { profile, viewers, reading, batch, transport } = case;
    let mut pair = Pair::of(case, 1).await;
    let of_floor = trace.batched(batch);
    let (neighbours, mut turns) = (Neighbours::new(), vec![]);
    // One turn of each to warm up, not counted.
    for turn in 0..=repetitions + repetitions / 2 {
        neighbours.begin();
        let beside = pair.floor(&of_floor);
        let cost = pair.ours(trace, turn >= STEADY);
        let ride = pair.take_ride() as f64;
        if turn > 0 {
            turns.push((neighbours.had(), beside, cost, ride));
        }
        if turns.iter().filter(|(had, ..)| *had <= NEIGHBOURS).count() == repetitions {
            break;
        }
    }
    turns.sort_by(|(one, ..), (other, ..)| one.total_cmp(other));
    let (mut ours, mut floor, mut rides) = (Samples::default(), Samples::default(), Samples::default());
    for (_, beside, cost, ride) in turns.into_iter().take(repetitions) {
        floor.push(beside);
        ours.push(cost);
        rides.push(ride);
    }
    let sinks = if reading == Reading::Read { "read" } else { "not read" };
    let held = if batch.is_zero() { "" } else { ", batched" };
    let sealed = if profile == Profile::Cm { ", AES-CM" } else { "" };
    let told = if transport { ", transport-wide feedback" } else { "" };
    let target = match (profile, reading, viewers, transport) {
        (Profile::Gcm, Reading::Read, 500, false) => Target::Ratio(1.25),
        (Profile::Gcm, Reading::Unread, 500, _) => Target::Ratio(1.5),
        _ => Target::None,
    };
    let name = format!("egress, {viewers} viewers, receivers {sinks}{held}{sealed}{told}");
    let note = format!("video in trains of {}", rides.median());
    let cost = Row { name, unit: UNIT, ours, reference: Some(floor), target, note };
    let trains = Row {
        name: format!("train that a video packet rides in, {viewers} viewers{held}"),
        unit: "packets, median",
        ours: rides,
        reference: None,
        target: Target::Least(4.0),
        note: "over all video packets; sound that closes the train counts with it".to_owned(),
    };
    (cost, trains)
}

/// What it costs to take in what viewers say of what they get: to open it, to take it apart and to note what it tells.
/// What it asks for is sent again by the next flush, and is not in it.
pub async fn feedback(settings: &Settings) -> Vec<Row> {
    let trace = Trace::new(settings.size(2, 1));
    let (viewers, repetitions) = (settings.size(500, 20), settings.size(11, 4));
    let mut rows = vec![];
    for (transport, what) in [(false, "losses"), (true, "transport-wide numbers")] {
        let (profile, reading, batch) = (Profile::Gcm, Reading::Read, Duration::ZERO);
        let mut pair = Pair::of(Case { profile, viewers, reading, batch, transport }, 1).await;
        let (mut ours, mut second) = (Samples::default(), Samples::default());
        for turn in 0..=repetitions {
            pair.ours(&trace, turn >= STEADY);
            let Reports { count, allocated, cost } = std::mem::take(&mut pair.stage.reports);
            assert!(turn < STEADY || allocated <= GROWTHS, "{allocated} allocations in {count} datagrams");
            if turn > 0 {
                ours.push(cost.micros() / count as f64);
                second.push(cost.micros() / viewers as f64 / trace.length.as_secs_f64());
            }
        }
        let note = format!("{:.1} µs a second for each viewer", second.median());
        let (name, target) = (format!("feedback of {what}, {viewers} viewers"), Target::None);
        rows.push(Row { name, unit: "µs of CPU a datagram", ours, reference: None, target, note });
    }
    rows
}

/// How the cost of a packet grows with the audience, and with the rooms that it sits in.
pub async fn growth(settings: &Settings) -> Vec<Row> {
    let trace = Trace::new(settings.size(2, 1));
    let repetitions = settings.size(7, 4);
    let (few, many) = settings.size((50, 2_000), (5, 20));
    let (viewers, rooms) = settings.size((1_000, 200), (20, 4));
    let mut rows = vec![];
    for (name, small, large, most) in [
        (format!("{many} viewers against {few}, receivers not read"), (few, 1), (many, 1), 1.3),
        (
            format!("{viewers} viewers in {rooms} rooms against 1, receivers not read"),
            (viewers, 1),
            (viewers, rooms),
            1.5,
        ),
    ] {
        let mut small = Pair::new(small.0, small.1).await;
        let mut large = Pair::new(large.0, large.1).await;
        let (mut ours, mut reference) = (Samples::default(), Samples::default());
        let mut into_rings = [Samples::default(), Samples::default()];
        for turn in 0..=repetitions {
            let steady = turn >= STEADY;
            let (one, other) = (small.ours(&trace, steady), large.ours(&trace, steady));
            let taken_in = [&mut small, &mut large]
                .map(|pair| pair.take_ingress() / (trace.packets() * pair.rooms) as f64);
            if turn > 0 {
                reference.push(one);
                ours.push(other);
                into_rings.iter_mut().zip(taken_in).for_each(|(samples, cost)| samples.push(cost));
            }
        }
        let [before, after] = into_rings.map(|samples| samples.median());
        let note = format!("in it, {before:.2} and {after:.2} µs to put a publisher's packet into its ring");
        let target = Target::Ratio(most);
        rows.push(Row { name, unit: UNIT, ours, reference: Some(reference), target, note });
    }
    rows
}
