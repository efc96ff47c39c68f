//! For tests: a report in which everything is there.

use super::{
    Bars, Figures, Happening, Percentiles, RunReport, SCHEMA, Second, ServerReport, ServerSecond, Verdict,
    ViewerRow,
};

pub fn set(p50: f64, p99: f64, max: f64) -> Percentiles {
    Percentiles { count: 1_000, p50, p90: p99 * 0.8, p99, p999: p99 * 1.1, max }
}

/// 120 s with 1,000 viewers; a node dies at 60.5 s, 12 viewers go and tracks stand still for 1.4 s.
pub fn full() -> RunReport {
    let bars = Bars { upper_ms: vec![5.0, 10.0, 20.0, 50.0], counts: vec![0, 600, 390, 10] };
    let timeline = (1..=120u32).map(second).collect();
    let mut report = RunReport {
        schema: SCHEMA,
        name: "a sample".to_owned(),
        started_ms: 1_795_262_400_000,
        seconds: 120.0,
        latency_ms: Some(set(4.0, 18.0, 1_420.0)),
        av_skew_ms: Some(set(2.0, 9.0, 30.0)),
        video_behind_ms: Some(1.5),
        longest_gap_ms: Some(set(40.0, 900.0, 1_400.0)),
        freezes: 950,
        frozen_ms: 88_000.0,
        figures: Figures {
            latency: bars.clone(),
            connected: bars.clone(),
            first_keyframe: bars.clone(),
            longest_gap: bars,
        },
        worst: vec![ViewerRow {
            viewer: 417,
            due_s: 8.34,
            whole: true,
            first_keyframe_ms: Some(210.0),
            received: 25_000,
            lost: 240,
            latency_mean_ms: Some(4.2),
            latency_max_ms: Some(1_420.0),
            longest_gap_ms: 1_400.0,
            freezes: 2,
            frozen_ms: 1_650.0,
            ended: "ICE".to_owned(),
            ..ViewerRow::default()
        }],
        timeline,
        happenings: vec![Happening {
            at_s: 60.5,
            what: "kill -9 4711".to_owned(),
            ok: true,
            said: "the process ended".to_owned(),
        }],
        server: Some(ServerReport {
            pids: vec![4_711, 4_712],
            metrics: vec!["http://127.0.0.1:8080/metrics".to_owned()],
            cores: Some(1.5),
            cores_max: Some(2.25),
            resident_bytes_max: Some(432_013_312),
            switches_per_second: Some(21_000.0),
            packets: Some(26_400_000),
            bits_per_second: Some(2_100_000_000.0),
            joins: Some(1_001),
            cpu_us_per_packet: Some(3.25),
            cpu_ms_per_join: Some(180.0),
            unread: 2,
        }),
        bounds: vec![
            Verdict { bound: "loss>0.1%".to_owned(), value: Some(0.24), broken: true, not_measured: false },
            Verdict { bound: "p99>100ms".to_owned(), value: Some(18.0), broken: false, not_measured: false },
        ],
        ..RunReport::default()
    };
    report.target.whep = "http://127.0.0.1:8080/whep/demo".to_owned();
    report.target.whip = Some("http://127.0.0.1:8080/whip/demo".to_owned());
    report.viewers.wanted = 1_000;
    (report.viewers.seated, report.viewers.sessions) = (1_000, 1_000);
    report.viewers.ended_early = 12;
    report.viewers.reasons.insert("ended: ICE".to_owned(), 12);
    report.publishers.wanted = 1;
    report.publishers.bytes = 30_000_000;
    report.packets.received = 26_000_000;
    report.packets.loss_percent = Some(0.24);
    report.packets.bits_per_second = 2_000_000_000;
    report.join.first_keyframe_ms = Some(set(80.0, 240.0, 400.0));
    report.join.connected_ms = Some(set(30.0, 90.0, 120.0));
    report.client.cpu_cores = Some(1.25);
    report.client.host_cores = 8;
    report.client.socket_drops = Some(0);
    report
}

fn second(at: u32) -> Second {
    let joined = if at <= 20 { 50 } else { 0 };
    Second {
        at_s: f64::from(at),
        seconds: 1.0,
        joining: if at < 20 { 5 } else { 0 },
        watching: u64::from(at.min(20)) * 50 - if at > 60 { 12 } else { 0 },
        failed: if at > 60 { 12 } else { 0 },
        joined,
        packets: 200_000,
        missing: u64::from(at % 7),
        bits_per_second: u64::from(at.min(20)) * 100_000_000,
        latency_ms: (at != 61).then(|| set(4.0, 18.0, if at == 62 { 1_420.0 } else { 30.0 })),
        first_keyframe_ms: (joined > 0).then(|| set(80.0, 240.0, 400.0)),
        longest_gap_ms: if at == 62 { 1_400.0 } else { 40.0 },
        freezes: if at == 62 { 950 } else { 0 },
        client_cores: Some(1.25),
        server: Some(ServerSecond {
            cores: Some(1.5),
            resident_bytes: Some(432_013_312),
            switches_per_second: Some(21_000.0),
            packets_per_second: Some(220_000.0),
            bits_per_second: Some(2_100_000_000.0),
            joins_per_second: Some(if joined > 0 { 50.0 } else { 0.0 }),
        }),
        ..Second::default()
    }
}
