//! What a forwarded packet costs the shard, against bare sealing and sending; and how that grows.

use std::time::Duration;

use super::READER_CORE;
use super::common::Settings;
use super::common::floor::Floor;
use super::common::measure::{Meter, Samples};
use super::common::report::{Row, Target};
use super::common::sinks::{Reading, Sinks};
use super::common::stage::Stage;
use super::common::trace::Trace;

const UNIT: &str = "µs of CPU a packet";
/// The default of `--batch`.
const BATCH: Duration = Duration::from_millis(5);

/// The shard, and the floor beside it.
struct Pair {
    sinks: Sinks,
    stage: Stage,
    floor: Floor,
    viewers: usize,
}

impl Pair {
    async fn new(viewers: usize, rooms: usize, batch: Duration, reading: Reading) -> Self {
        let sinks = Sinks::new(viewers, reading, READER_CORE);
        let mut stage = Stage::new(rooms, batch).await;
        stage.join(&sinks.addresses(), &mut Meter::default());
        stage.forget_sent(&sinks);
        let floor = Floor::new(&sinks.addresses());
        Self { sinks, stage, floor, viewers }
    }

    /// CPU time of the shard for one turn, in microseconds a packet.
    fn ours(&mut self, trace: &Trace, warm: bool) -> f64 {
        let (before, allocated) = (self.stage.media(), self.stage.flush_allocations);
        let mut meter = Meter::default();
        self.stage.play(trace, &self.sinks, &mut meter);
        let packets = trace.packets() * self.viewers;
        assert_eq!((self.stage.media() - before) as usize, packets, "every packet is sent");
        let allocated = self.stage.flush_allocations - allocated;
        // Lists grow a few times; nothing is allocated for a viewer or a packet.
        assert!(!warm || allocated <= 100, "{allocated} allocations in flushes of {packets} packets");
        meter.micros() / packets as f64
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

    fn note(&self) -> String {
        let media = self.stage.media() as f64;
        format!("{:.1} packets a train", media / self.stage.trains().max(1) as f64)
    }
}

/// Against F at several sizes of the audience.
pub async fn egress(settings: &Settings) -> Vec<Row> {
    let trace = Trace::new(settings.size(2, 1));
    let sizes = settings.size(vec![50, 200, 500, 1_000], vec![20]);
    let repetitions = settings.size(11, 2);
    let mut rows = vec![];
    for reading in [Reading::Read, Reading::Unread] {
        for viewers in &sizes {
            rows.push(compare(&trace, *viewers, reading, Duration::ZERO, repetitions).await);
        }
        let batched = settings.size(500, 20);
        rows.push(compare(&trace, batched, reading, BATCH, repetitions).await);
    }
    rows
}

async fn compare(
    trace: &Trace,
    viewers: usize,
    reading: Reading,
    batch: Duration,
    repetitions: usize,
) -> Row {
    let mut pair = Pair::new(viewers, 1, batch, reading).await;
    let of_floor = trace.batched(batch);
    let (mut ours, mut floor) = (Samples::default(), Samples::default());
    // One turn of each to warm up, not counted.
    for turn in 0..=repetitions {
        let beside = pair.floor(&of_floor);
        let cost = pair.ours(trace, turn > 0);
        if turn > 0 {
            floor.push(beside);
            ours.push(cost);
        }
    }
    let sinks = if reading == Reading::Read { "read" } else { "not read" };
    let held = if batch.is_zero() { "" } else { ", batched" };
    let target = match (reading, viewers) {
        (Reading::Read, 500) => Target::Ratio(1.25),
        (Reading::Unread, 500) => Target::Ratio(1.5),
        _ => Target::None,
    };
    let name = format!("egress, {viewers} viewers, receivers {sinks}{held}");
    Row { name, unit: UNIT, ours, reference: Some(floor), target, note: pair.note() }
}

/// How the cost of a packet grows with the audience, and with the rooms that it sits in.
pub async fn growth(settings: &Settings) -> Vec<Row> {
    let trace = Trace::new(settings.size(2, 1));
    let repetitions = settings.size(7, 1);
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
        let mut small = Pair::new(small.0, small.1, Duration::ZERO, Reading::Unread).await;
        let mut large = Pair::new(large.0, large.1, Duration::ZERO, Reading::Unread).await;
        let (mut ours, mut reference) = (Samples::default(), Samples::default());
        for turn in 0..=repetitions {
            let (one, other) = (small.ours(&trace, turn > 0), large.ours(&trace, turn > 0));
            if turn > 0 {
                reference.push(one);
                ours.push(other);
            }
        }
        let note = "packets into rings are in the price".to_owned();
        let target = Target::Ratio(most);
        rows.push(Row { name, unit: UNIT, ours, reference: Some(reference), target, note });
    }
    rows
}
