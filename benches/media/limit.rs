//! A live shard near its limit and beyond: what it still delivers, and how long packets take.

use std::time::Duration;

use super::common::Settings;
use super::common::live::{Live, Newcomers, Outcome};
use super::common::measure::Samples;
use super::common::pulse::{NEIGHBOURS, Neighbours};
use super::common::report::{Row, Target};
use super::common::trace::Trace;

/// The default of `--batch`.
const BATCH: Duration = Duration::from_millis(5);

/// Rooms of 50 viewers: enough for half as much again as one core delivers.
const ROOMS: usize = 60;
const EACH: usize = 50;
/// A load is run again because of neighbours so often at most.
const AGAIN: usize = 5;

/// How long a load lasts before it counts, and then.
#[derive(Clone, Copy)]
struct Times {
    warm: Duration,
    time: Duration,
}

impl Times {
    const fn millis(warm: u64, time: u64) -> Self {
        Self { warm: Duration::from_millis(warm), time: Duration::from_millis(time) }
    }
}

/// Until the queue at the door is as full as it becomes.
const OVERLOAD: Times = Times::millis(2_000, 1_500);
const LATENCY: Times = Times::millis(1_000, 2_000);
/// Until the mean of the shard forgets the load before, and then twenty newcomers.
const NEWCOMERS: Times = Times::millis(5_000, 2_000);
/// Longer than a session lives that nobody hears, 15 s.
const LONG: Times = Times::millis(5_000, 20_000);
const ROUNDS: usize = 7;

struct Ground {
    live: Live,
    neighbours: Neighbours,
    /// Loads that were run again.
    again: usize,
    rooms: usize,
    each: usize,
    /// Packets a second that a room's viewers should get.
    of_room: f64,
    /// What the shard delivers at most, in packets a second.
    full: f64,
    quick: bool,
}

impl Ground {
    async fn new(settings: &Settings) -> Self {
        let (rooms, each) = settings.size((ROOMS, EACH), (4, 5));
        let trace = Trace::new(settings.size(2, 1));
        let of_room = trace.packets() as f64 / trace.length.as_secs_f64() * each as f64;
        let live = Live::new(rooms, each, BATCH, trace).await;
        let neighbours = Neighbours::new();
        let mut ground =
            Self { live, neighbours, again: 0, rooms, each, of_room, full: 0.0, quick: settings.quick };
        if settings.quick {
            ground.check().await;
        } else {
            // Half of all rooms, and then twice a fifth more than what came of that.
            ground.full = ground.offer(of_room * rooms as f64 / 2.0, OVERLOAD).delivered;
            for _ in 0..2 {
                ground.full = ground.offer(ground.full * 1.2, OVERLOAD).delivered.max(ground.full);
            }
        }
        ground
    }

    /// Offers so many packets a second, or as near as whole rooms come, while the machine is all ours; that failing, when
    /// it was most so.
    fn offer(&mut self, packets: f64, times: Times) -> Outcome {
        let rooms = ((packets / self.of_room).round() as usize).clamp(1, self.rooms);
        let mut best: Option<(f64, Outcome)> = None;
        for nth in 0..=AGAIN {
            self.again += usize::from(nth > 0);
            self.neighbours.begin();
            let out = self.run(rooms, times);
            let had = self.neighbours.had();
            println!("  neighbours had {:.0} % of the time", had * 100.0);
            if best.as_ref().is_none_or(|(least, _)| had < *least) {
                best = Some((had, out));
            }
            if had <= NEIGHBOURS {
                break;
            }
        }
        best.expect("a load is run at least once").1
    }

    fn run(&mut self, rooms: usize, times: Times) -> Outcome {
        let out = self.live.run(rooms, times.warm, times.time);
        let wanted = self.of_room * rooms as f64;
        // How punctual a quick run is says nothing.
        let late = !self.quick && (out.offered / wanted - 1.0).abs() > 0.1;
        assert!(!late, "{} were offered instead of {wanted}", out.offered);
        println!(
            "{rooms} rooms of {}: {:.0} packets a second offered, {:.0} delivered, {:.0} of them at first, least {:.3}; \
             door dropped {}, kernel {}, RTCP {}; {} sessions ended; shard {:.2}, busy {}, {} of {} newcomers refused, crowd {:.2}; p99 {:.2} ms, not held {:.2} ms",
            self.each,
            out.offered,
            out.delivered,
            out.first,
            out.least,
            out.dropped,
            out.unread,
            out.unheard,
            out.ended,
            out.shard,
            out.busy,
            out.newcomers.refused,
            out.newcomers.asked,
            out.crowd,
            out.latency.quantile(990, true),
            out.latency.quantile(990, false)
        );
        out
    }

    /// Everything arrives, what was lost on the way at the second time, and nothing waits for ever.
    async fn check(&mut self) {
        let out = self.run(self.rooms, Times::millis(750, 1_000));
        let (viewers, counters) = ((self.rooms * self.each) as u64, self.live.counters().await);
        // Nobody knows that the last packet of a stream is missing.
        assert!(out.missing <= viewers * 2, "{} packets never come to {viewers} viewers", out.missing);
        assert!(out.first < out.delivered && counters.rtx_packets > 0, "what is missing is sent again");
        assert_eq!((out.dropped, counters.overrun_packets), (0, 0));
        let (half, all) = (out.latency.quantile(500, true), out.latency.quantile(999, true));
        assert!(half > 0.0 && half <= all && all.is_finite(), "{half} and {all} ms");
    }
}

fn samples(figures: &[f64]) -> Samples {
    let mut samples = Samples::default();
    figures.iter().for_each(|figure| samples.push(*figure));
    samples
}

fn median(levels: &[Outcome], what: impl Fn(&Outcome) -> f64) -> f64 {
    samples(&levels.iter().map(what).collect::<Vec<f64>>()).median()
}

/// What a load is a part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Of {
    /// What the shard delivered at most when the bench began.
    Start,
    /// What it delivers as the round begins: who shares the machine changes that from minute to minute.
    Round,
}

/// Runs each of these loads, in parts of what the shard delivers at most, in every round; up in one, down in the next.
fn rounds(ground: &mut Ground, loads: &[u32], of: Of, times: Times) -> Vec<Vec<Outcome>> {
    let mut levels: Vec<Vec<Outcome>> = loads.iter().map(|_| vec![]).collect();
    for round in 0..ROUNDS {
        let full = match of {
            Of::Start => ground.full,
            Of::Round => ground.offer(ground.full * 1.2, OVERLOAD).delivered,
        };
        for step in 0..loads.len() {
            let nth = if round % 2 == 0 { step } else { loads.len() - 1 - step };
            let level = ground.offer(full * f64::from(loads[nth]) / 100.0, times);
            levels[nth].push(level);
        }
    }
    levels
}

/// Delivered packets as more and more is offered, of the most that came of any load in the same round, or of what was offered if
/// that was less. What is sent again fills holes and counts as no delivery of its own.
pub async fn saturation(settings: &Settings) -> Vec<Row> {
    const LOADS: [u32; 5] = [50, 75, 100, 125, 150];
    let mut ground = Ground::new(settings).await;
    if settings.quick {
        return vec![];
    }
    let rounds = rounds(&mut ground, &LOADS, Of::Start, OVERLOAD);
    println!("{} loads were run again because of neighbours", ground.again);
    // A round is short against the time for which a neighbour comes: its loads are compared with each other.
    let peak = |round: usize| rounds.iter().map(|levels| levels[round].first).fold(0.0, f64::max);
    let mut rows = vec![];
    for (load, levels) in LOADS.iter().zip(&rounds) {
        let possible = levels.iter().enumerate().map(|(round, level)| level.offered.min(peak(round)));
        let shares: Vec<f64> =
            levels.iter().zip(possible).map(|(level, possible)| level.first / possible * 100.0).collect();
        let each = |what: &dyn Fn(&Outcome) -> f64| median(levels, what);
        rows.push(Row {
            name: format!("saturation, {load} % offered"),
            unit: "% of the peak, or of the offer",
            ours: samples(&shares),
            reference: None,
            target: Target::Least(90.0),
            note: format!(
                "{:.0} packets a second of {:.0}, and {:.0} again; rounds {}; p99 {:.0} ms; shard at work {:.0} %",
                each(&|level| level.first),
                each(&|level| level.offered),
                each(&|level| level.delivered - level.first),
                listed(&shares),
                each(&|level| level.latency.quantile(990, true)),
                each(&|level| level.shard * 100.0),
            ),
        });
    }
    let least: Vec<f64> =
        rounds[4].iter().map(|out| out.least / (out.delivered / out.offered) * 100.0).collect();
    rows.push(Row {
        name: "saturation, 150 % offered, the viewer with least".to_owned(),
        unit: "% of the mean viewer's packets",
        ours: samples(&least),
        reference: None,
        // Overload is shared: nobody is left with less than half.
        target: Target::Least(50.0),
        note: format!("rounds {}", listed(&least)),
    });
    let refused = [
        (50, Target::Most(0.0), NEWCOMERS),
        (125, Target::Least(100.0), NEWCOMERS),
        (150, Target::Least(100.0), LONG),
    ];
    for (load, target, times) in refused {
        let level = ground.offer(ground.full * f64::from(load) / 100.0, times);
        let Newcomers { asked, refused, .. } = level.newcomers;
        rows.push(Row {
            name: format!("saturation, {load} % offered, newcomers refused"),
            unit: "% of those who ask",
            ours: samples(&[f64::from(refused) / f64::from(asked) * 100.0]),
            reference: None,
            target,
            note: format!(
                "{refused} of {asked}, from 5 s on for {} s; the shard was at work {} % of 2 s",
                times.time.as_secs(),
                level.busy / 10
            ),
        });
        if times.time > NEWCOMERS.time {
            rows.push(Row {
                name: format!("saturation, {load} % offered for 25 s, sessions that end"),
                unit: "sessions",
                ours: samples(&[level.ended as f64]),
                reference: None,
                target: Target::Most(0.0),
                note: format!(
                    "of {}; {} datagrams of clients dropped by the kernel, {} RTCP packets by the shard, unread",
                    ground.rooms * ground.each,
                    level.unread,
                    level.unheard
                ),
            });
        }
    }
    rows
}

fn listed(values: &[f64]) -> String {
    values.iter().map(|value| format!("{value:.0}")).collect::<Vec<_>>().join(", ")
}

/// From the shard's door to the receiver's read, at loads that are parts of what the shard delivers in the same round.
pub async fn latency(settings: &Settings) -> Vec<Row> {
    const LOADS: [u32; 3] = [20, 60, 80];
    let mut ground = Ground::new(settings).await;
    if settings.quick {
        return vec![];
    }
    let rounds = rounds(&mut ground, &LOADS, Of::Round, LATENCY);
    let mut rows = vec![];
    for (load, levels) in LOADS.iter().zip(&rounds) {
        for (held_too, which) in [(true, "all"), (false, "not held")] {
            for (thousandths, name) in [(500, "p50"), (990, "p99"), (999, "p99.9")] {
                let times: Vec<f64> =
                    levels.iter().map(|level| level.latency.quantile(thousandths, held_too)).collect();
                let target = match (name, load, held_too) {
                    ("p99", 60, false) => Target::Most(BATCH.as_secs_f64() * 1e3 + 3.0),
                    ("p99", _, true) => Target::Most(50.0),
                    _ => Target::None,
                };
                let note = if (name, held_too) == ("p50", true) {
                    let at_work = median(levels, |level| level.shard * 100.0);
                    format!(
                        "{:.0} packets a second; shard at work {at_work:.0} %",
                        median(levels, |level| level.delivered)
                    )
                } else {
                    String::new()
                };
                rows.push(Row {
                    name: format!("added latency, {load} % load, {which}, {name}"),
                    unit: "ms",
                    ours: samples(&times),
                    reference: None,
                    target,
                    note,
                });
            }
        }
    }
    rows
}
