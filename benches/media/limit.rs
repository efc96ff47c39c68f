//! A live shard near its limit and beyond: what it still delivers, and how long packets take.

use std::time::Duration;

use super::common::Settings;
use super::common::live::{Live, Outcome};
use super::common::measure::Samples;
use super::common::report::{Row, Target};
use super::common::trace::Trace;

/// The default of `--batch`.
const BATCH: Duration = Duration::from_millis(5);
/// Until the last room plays and the pacer knows its rate.
const WARM: Duration = Duration::from_secs(3);

/// Rooms of 50 viewers: enough for half as much again as one core delivers.
const ROOMS: usize = 60;
const EACH: usize = 50;

struct Ground {
    live: Live,
    rooms: usize,
    each: usize,
    warm: Duration,
    time: Duration,
    /// Packets a second that a room's viewers should get.
    of_room: f64,
    quick: bool,
}

impl Ground {
    async fn new(settings: &Settings, rooms: usize, each: usize, seconds: u64) -> Self {
        let (rooms, each) = settings.size((rooms, each), (rooms.min(4), 5));
        let trace = Trace::new(settings.size(2, 1));
        let of_room = trace.packets() as f64 / trace.length.as_secs_f64() * each as f64;
        let live = Live::new(rooms, each, BATCH, trace).await;
        let (warm, time) = (settings.size(WARM, WARM / 4), Duration::from_secs(settings.size(seconds, 1)));
        Self { live, rooms, each, warm, time, of_room, quick: settings.quick }
    }

    /// Offers so many packets a second, or as near as whole rooms come.
    fn offer(&mut self, rate: f64) -> Outcome {
        let rooms = ((rate / self.of_room).round() as usize).max(1);
        assert!(rooms <= self.rooms, "{rooms} rooms are wanted, there are {}", self.rooms);
        self.run(rooms)
    }

    fn run(&mut self, rooms: usize) -> Outcome {
        let out = self.live.run(rooms, self.warm, self.time);
        let wanted = self.of_room * rooms as f64;
        // How punctual a quick run is says nothing.
        let late = !self.quick && (out.offered / wanted - 1.0).abs() > 0.1;
        assert!(!late, "{} were offered instead of {wanted}", out.offered);
        println!(
            "{rooms} rooms of {}: {:.0} packets a second offered, {:.0} delivered, {:.0} of them at first, least {:.3}; \
             door refused {}; shard {:.2}, crowd {:.2}; p99 {:.2} ms, not held {:.2} ms",
            self.each,
            out.offered,
            out.delivered,
            out.first,
            out.least,
            out.refused,
            out.shard,
            out.crowd,
            out.latency.quantile(990, true),
            out.latency.quantile(990, false)
        );
        out
    }

    /// Everything arrives, what was lost on the way at the second time, and nothing waits for ever.
    async fn check(&mut self) {
        let out = self.run(self.rooms);
        let (viewers, counters) = ((self.rooms * self.each) as u64, self.live.counters().await);
        // Nobody knows that the last packet of a stream is missing.
        assert!(out.missing <= viewers * 2, "{} packets never come to {viewers} viewers", out.missing);
        assert!(out.first < out.delivered && counters.rtx_packets > 0, "what is missing is sent again");
        assert_eq!((out.refused, counters.overrun_packets), (0, 0));
        let (half, all) = (out.latency.quantile(500, true), out.latency.quantile(999, true));
        assert!(half > 0.0 && half <= all && all.is_finite(), "{half} and {all} ms");
    }
}

fn samples(figures: &[f64]) -> Samples {
    let mut samples = Samples::default();
    figures.iter().for_each(|figure| samples.push(*figure));
    samples
}

/// Delivered packets as more and more is offered.
pub async fn saturation(settings: &Settings) -> Vec<Row> {
    let mut ground = Ground::new(settings, ROOMS, EACH, 2).await;
    if settings.quick {
        ground.check().await;
        return vec![];
    }
    const LEVELS: [u32; 5] = [50, 75, 100, 125, 150];
    let all = ground.rooms;
    let full = ground.run(all).delivered;
    let mut outcomes: Vec<Vec<Outcome>> = LEVELS.map(|_| vec![]).into();
    for _ in 0..3 {
        for (level, outcomes) in LEVELS.iter().zip(&mut outcomes) {
            outcomes.push(ground.offer(full * f64::from(*level) / 100.0));
        }
    }
    // The machine has moods that last for many seconds: a level is compared with the best of its own round.
    let peak = |round: usize| outcomes.iter().map(|of_level| of_level[round].delivered).fold(0.0, f64::max);
    let peaks: Vec<f64> = (0..3).map(peak).collect();
    let shares = |of_level: &[Outcome]| -> Vec<f64> {
        of_level.iter().zip(&peaks).map(|(out, peak)| out.delivered / peak * 100.0).collect()
    };
    let of = |outcomes: &[Outcome], what: &dyn Fn(&Outcome) -> f64| {
        samples(&outcomes.iter().map(what).collect::<Vec<f64>>())
    };
    let mut rows = vec![];
    for (level, outcomes) in LEVELS.iter().zip(&outcomes) {
        let (shard, p99) = (
            of(outcomes, &|out| out.shard * 100.0).median(),
            of(outcomes, &|out| out.latency.quantile(990, true)).median(),
        );
        rows.push(Row {
            name: format!("saturation, {level} % offered"),
            unit: "% of the peak delivered",
            ours: samples(&shares(outcomes)),
            reference: None,
            target: if *level < 100 { Target::None } else { Target::Least(90.0) },
            note: format!(
                "{:.0} packets a second of {:.0}; rounds {}; p99 {p99:.0} ms; shard at work {shard:.0} %",
                of(outcomes, &|out| out.delivered).median(),
                of(outcomes, &|out| out.offered).median(),
                shares(outcomes).iter().map(|share| format!("{share:.0}")).collect::<Vec<_>>().join(", ")
            ),
        });
    }
    rows.push(Row {
        name: "saturation, 150 % offered, the viewer with least".to_owned(),
        unit: "% of the mean viewer's packets",
        ours: of(&outcomes[4], &|out| out.least / (out.delivered / out.offered) * 100.0),
        reference: None,
        target: Target::None,
        note: String::new(),
    });
    rows
}

/// From the shard's door to the receiver's read.
pub async fn latency(settings: &Settings) -> Vec<Row> {
    let mut ground = Ground::new(settings, ROOMS, EACH, 4).await;
    if settings.quick {
        ground.check().await;
        return vec![];
    }
    let all = ground.rooms;
    let full = ground.run(all).delivered;
    let mut rows = vec![];
    for load in [20_u32, 60, 80] {
        let outcomes: Vec<_> = (0..3).map(|_| ground.offer(full * f64::from(load) / 100.0)).collect();
        for (held_too, which) in [(true, "all"), (false, "not held")] {
            for (thousandths, name) in [(500, "p50"), (990, "p99"), (999, "p99.9")] {
                let mut ours = Samples::default();
                outcomes.iter().for_each(|out| ours.push(out.latency.quantile(thousandths, held_too)));
                let target = match (name, load, held_too) {
                    ("p99", 60, false) => Target::Most(BATCH.as_secs_f64() * 1e3 + 3.0),
                    ("p99", _, true) => Target::Most(50.0),
                    _ => Target::None,
                };
                rows.push(Row {
                    name: format!("added latency, {load} % load, {which}, {name}"),
                    unit: "ms",
                    ours,
                    reference: None,
                    target,
                    note: String::new(),
                });
            }
        }
    }
    rows
}
