//! Prints the page of a run that never was, to look at what a report shows:
//! `cargo run --package freshet-loadtest --example report > report.html`.

use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

use freshet_loadtest::measure::Histogram;
use freshet_loadtest::report::{
    Bars, ClientReport, Figures, Happening, JoinReport, LossReport, ModeReport, PacketReport, Percentiles,
    PublishersReport, RunReport, SCHEMA, Second, ServerReport, ServerSecond, TargetReport, Verdict,
    ViewerRow, ViewersReport, html,
};

/// Viewers of the run, and how many of them join each second.
const VIEWERS: u32 = 1_000;
const RAMP: u32 = 50;
/// The node is killed in the second after this one.
const KILLED: u32 = 60;
/// Viewers that never come back after it.
const LOST: u32 = 12;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(html(&report()).as_bytes())
}

/// Numbers that look like chance and are the same each time.
struct Chance(u32);

impl Chance {
    /// From 0 to 1.
    fn even(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(self.0 >> 8) / f64::from(1u32 << 24)
    }

    /// Around `centre`, seldom twice as much or half as much where `width` is 0.3.
    fn around(&mut self, centre: f64, width: f64) -> f64 {
        let sum: f64 = (0..12).map(|_| self.even()).sum();
        centre * (width * (sum - 6.0)).exp()
    }
}

/// Values with both their percentiles and their spread.
struct Values {
    histogram: Histogram,
    bars: Bars,
}

impl Values {
    fn new() -> Self {
        let upper_ms: Vec<f64> = (1..=150u32).map(|step| 0.05 * 1.09f64.powf(f64::from(step))).collect();
        let counts = vec![0; upper_ms.len()];
        Self { histogram: Histogram::new(), bars: Bars { upper_ms, counts } }
    }

    fn add(&mut self, ms: f64) {
        self.histogram.record(Duration::from_secs_f64(ms / 1_000.0));
        let place = self.bars.upper_ms.iter().position(|upper| ms <= *upper);
        if let Some(count) = place.and_then(|place| self.bars.counts.get_mut(place)) {
            *count += 1;
        }
    }

    fn set(&self) -> Option<Percentiles> {
        Percentiles::of(&self.histogram)
    }
}

fn report() -> RunReport {
    let mut chance = Chance(7);
    let (mut latency, mut connected, mut keyframe, mut gap) =
        (Values::new(), Values::new(), Values::new(), Values::new());
    let mut timeline = Vec::new();
    for at in 1..=120 {
        timeline.push(second(at, &mut chance, &mut latency));
    }
    for viewer in 0..VIEWERS {
        let joined = chance.around(28.0, 0.25);
        connected.add(joined);
        keyframe.add(joined + chance.around(55.0, 0.4));
        gap.add(if viewer.is_multiple_of(3) {
            chance.around(1_180.0, 0.05).min(1_400.0)
        } else {
            chance.around(38.0, 0.15)
        });
    }
    RunReport {
        rows: Vec::new(),
        worst: worst(),
        schema: SCHEMA,
        name: "example: invented figures".to_owned(),
        started_ms: 1_795_262_400_000,
        target: TargetReport {
            whip: Some("http://127.0.0.1:8080/whip/demo".to_owned()),
            whep: "http://127.0.0.1:8080/whep/demo".to_owned(),
        },
        seconds: 120.0,
        interrupted: false,
        publishers: PublishersReport {
            wanted: 1,
            ended_early: 0,
            reasons: BTreeMap::new(),
            packets: 27_840,
            bytes: 30_600_000,
            keyframes: 63,
            keyframe_requests: 24,
            worst_lateness_ms: 3.1,
        },
        mode: ModeReport { name: "sampled".to_owned(), every: 20, whole: 50, headers: 950 },
        viewers: ViewersReport {
            wanted: VIEWERS.into(),
            seated: VIEWERS.into(),
            sessions: VIEWERS.into(),
            failed: 0,
            ended_early: LOST.into(),
            left: 0,
            silent: 0,
            reasons: BTreeMap::from([("ended: no answer to consent checks".to_owned(), LOST.into())]),
            ..ViewersReport::default()
        },
        packets: packets(),
        latency_ms: latency.set(),
        av_skew_ms: None,
        video_behind_ms: None,
        join: JoinReport {
            answered_ms: connected.set().map(|set| Percentiles {
                p50: set.p50 * 0.3,
                p90: set.p90 * 0.3,
                p99: set.p99 * 0.3,
                p999: set.p999 * 0.3,
                max: set.max * 0.3,
                ..set
            }),
            ice_ms: None,
            connected_ms: connected.set(),
            first_packet_ms: connected.set(),
            first_keyframe_ms: keyframe.set(),
        },
        longest_gap_ms: gap.set(),
        freezes: 340,
        frozen_ms: 401_200.0,
        figures: Figures {
            latency: latency.bars,
            connected: connected.bars,
            first_keyframe: keyframe.bars,
            longest_gap: gap.bars,
        },
        decode: None,
        hls: None,
        chat: None,
        timeline,
        happenings: vec![Happening {
            at_s: 60.0,
            what: "kill -9 node-2".to_owned(),
            ok: true,
            said: "the process ended at once; its third of the viewers came back by another node".to_owned(),
        }],
        server: Some(ServerReport {
            pids: vec![4_711, 4_712, 4_713],
            cores: Some(2.31),
            cores_max: Some(3.87),
            resident_bytes_max: Some(455_081_984),
            switches_per_second: Some(21_480.0),
            packets: Some(25_640_000),
            bits_per_second: Some(2_010_000_000.0),
            joins: Some(1_322),
            cpu_us_per_packet: Some(10.8),
            cpu_ms_per_join: Some(209.7),
            ..ServerReport::default()
        }),
        client: ClientReport {
            cpu_cores: Some(2.96),
            host_cores: 8,
            threads: 4,
            socket_drops: Some(0),
            ..ClientReport::default()
        },
        agents: vec![],
        invalid: Vec::new(),
        bounds: vec![
            Verdict { bound: "loss>0.1%".to_owned(), value: Some(0.412), broken: true, not_measured: false },
            Verdict {
                bound: "p99>100ms".to_owned(),
                value: latency.histogram.quantile(0.99).map(|p99| p99.as_secs_f64() * 1e3),
                broken: false,
                not_measured: false,
            },
            Verdict {
                bound: "gap-max>2s".to_owned(),
                value: gap.histogram.max().map(|max| max.as_secs_f64() * 1e3),
                broken: false,
                not_measured: false,
            },
            Verdict { bound: "failed>0".to_owned(), value: Some(0.0), broken: false, not_measured: false },
        ],
    }
}

fn second(at: u32, chance: &mut Chance, latency: &mut Values) -> Second {
    let joined = if at * RAMP <= VIEWERS { RAMP } else { 0 };
    let lost = if at > KILLED + 1 { LOST } else { 0 };
    // The killed node's viewers join again.
    let again = if at == KILLED + 1 { 321 } else { 0 };
    let (watching, joining) = (VIEWERS.min(at * RAMP) - lost - again, if joined > 0 { 4 } else { again });
    let troubled = at == KILLED + 1 || at == KILLED + 2;
    let mut these = Values::new();
    for _ in 0..400 {
        let ms = if troubled { chance.around(7.0, 0.9) } else { chance.around(3.6, 0.35) };
        these.add(ms);
        latency.add(ms);
    }
    let joins = if at == KILLED + 2 { 309 } else { joined };
    let trouble = if troubled { 1.4 } else { 0.0 };
    let pace = f64::from(watching) / f64::from(VIEWERS);
    Second {
        at_s: f64::from(at),
        seconds: 1.0,
        joining: joining.into(),
        watching: watching.into(),
        failed: lost.into(),
        left: 0,
        joined: joins.into(),
        packets: u64::from(watching) * 232,
        missing: u64::from(if troubled { 74_000 } else { at * 13 % 40 }),
        bits_per_second: u64::from(watching) * 2_040_000,
        latency_ms: these.set(),
        first_keyframe_ms: (joins > 0).then(|| {
            let p50 = chance.around(if troubled { 390.0 } else { 84.0 }, 0.05);
            Percentiles {
                count: joins.into(),
                p50,
                p90: p50 * 1.3,
                p99: p50 * 1.9,
                p999: p50 * 2.1,
                max: p50 * 2.2,
            }
        }),
        longest_gap_ms: if at == KILLED + 2 { 1_400.0 } else { chance.around(46.0, 0.12) },
        freezes: if at == KILLED + 2 { 321 } else { u64::from(at.is_multiple_of(29)) },
        client_cores: Some(0.4 + 2.7 * pace + chance.around(0.1, 0.3)),
        server: Some(ServerSecond {
            cores: Some(0.3 + 2.1 * pace + trouble + chance.around(0.08, 0.3)),
            resident_bytes: Some(160_000_000 + u64::from(watching) * 280_000 + u64::from(at) * 90_000),
            switches_per_second: Some(21_480.0 * pace),
            packets_per_second: Some(f64::from(watching) * 234.0),
            bits_per_second: Some(f64::from(watching) * 2_200_000.0),
            joins_per_second: Some(f64::from(joins)),
        }),
        hls: None,
        chat: None,
    }
}

fn packets() -> PacketReport {
    PacketReport {
        expected: 25_614_000,
        received: 25_508_400,
        lost: 105_600,
        loss_percent: Some(0.412),
        video: LossReport { expected: 19_590_000, lost: 80_700, loss_percent: Some(0.412) },
        audio: LossReport { expected: 6_024_000, lost: 24_900, loss_percent: Some(0.413) },
        lost_before_recovery: 131_200,
        loss_before_recovery_percent: Some(0.512),
        recovered: 25_600,
        history: 61_000,
        bits_per_second: 1_860_000_000,
        ..PacketReport::default()
    }
}

/// Those whose node died: some were on it, others behind it.
fn worst() -> Vec<ViewerRow> {
    let row = |at: u32| ViewerRow {
        viewer: u64::from(at * 83 + 17),
        due_s: f64::from(at) * 1.7,
        whole: at.is_multiple_of(3),
        first_keyframe_ms: Some(180.0 + f64::from(at) * 9.0),
        received: 26_000,
        lost: if at < 4 { 4_310 - u64::from(at) * 37 } else { 214 - u64::from(at) * 6 },
        latency_mean_ms: at.is_multiple_of(3).then_some(5.1),
        latency_max_ms: at.is_multiple_of(3).then_some(1_212.0),
        longest_gap_ms: if at < 4 { 18_900.0 } else { 1_390.0 } - f64::from(at) * 12.0,
        freezes: if at < 4 { 1 } else { 2 },
        frozen_ms: if at < 4 { 18_900.0 } else { 1_640.0 } - f64::from(at) * 12.0,
        ended: if at < 4 { "no answer to consent checks".to_owned() } else { String::new() },
        ..ViewerRow::default()
    };
    (0..10).map(row).collect()
}
