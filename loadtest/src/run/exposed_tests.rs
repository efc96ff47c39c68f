use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;

use super::*;
use crate::measure::Histogram;
use crate::report::{Percentiles, Second, ServerSecond};
use crate::run::Sums;

/// What the manual says of the page.
const MANUAL: &str = include_str!("../../../docs/loadtest.md");

fn histogram(millis: &[u64]) -> Histogram {
    let mut histogram = Histogram::new();
    millis.iter().for_each(|millis| histogram.record(Duration::from_millis(*millis)));
    histogram
}

/// A run in which everything is known.
fn whole() -> Progress {
    let some = Some(1.5);
    Progress {
        total: Duration::from_secs(30),
        second: Second {
            at_s: 4.0,
            seconds: 1.0,
            joining: 1,
            watching: 3,
            failed: 2,
            bits_per_second: 2_000_000,
            missing: 1,
            latency_ms: Some(Percentiles { p99: 9.5, ..Percentiles::default() }),
            longest_gap_ms: 250.0,
            client_cores: some,
            server: Some(ServerSecond {
                cores: some,
                resident_bytes: Some(1 << 20),
                switches_per_second: some,
                packets_per_second: some,
                bits_per_second: some,
                joins_per_second: some,
            }),
            ..Second::default()
        },
        received: 99,
        freezes: 3,
        sums: Sums {
            joins: 5,
            reasons: BTreeMap::from([("ended: \"ICE\"\\\n".to_owned(), 2)]),
            bytes: 123_456,
            recovered: 7,
            latency: histogram(&[4, 4, 4, 90]),
            skew: histogram(&[12]),
            connected: histogram(&[30, 31]),
            first_keyframe: histogram(&[80]),
        },
        ..Progress::default()
    }
}

/// Series by name and labels.
fn series(page: &str) -> BTreeMap<&str, f64> {
    let samples = page.lines().filter(|line| !line.starts_with('#'));
    samples
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(name, value)| (name, value.parse().unwrap()))
        .collect()
}

/// Names behind `# TYPE`.
fn names(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

#[test]
fn the_page_says_how_it_goes() {
    let page = page::page(&whole());
    let series = series(&page);
    for (name, value) in [
        ("viewers{state=\"watching\"}", 3.0),
        ("viewers{state=\"failed\"}", 2.0),
        ("joins_total", 5.0),
        ("failures_total{reason=\"ended: \\\"ICE\\\"\\\\\\n\"}", 2.0),
        ("failures_total{reason=\"others\"}", 0.0),
        ("received_packets_total", 99.0),
        ("received_payload_bytes_total", 123_456.0),
        ("loss_ratio", 0.01),
        ("latency_seconds_bucket{le=\"0.0025\"}", 0.0),
        ("latency_seconds_bucket{le=\"0.005\"}", 3.0),
        ("latency_seconds_bucket{le=\"0.1\"}", 4.0),
        ("latency_seconds_bucket{le=\"+Inf\"}", 4.0),
        ("latency_seconds_count", 4.0),
        ("latency_seconds_sum", 0.102),
        ("latency_quantile_seconds{quantile=\"0.5\"}", 0.004_001),
        ("latency_quantile_seconds{quantile=\"1\"}", 0.09),
        ("av_skew_quantile_seconds{quantile=\"0.99\"}", 0.012),
        ("longest_gap_seconds", 0.25),
        ("server_resident_bytes", 1_048_576.0),
        ("server_packets_per_second", 1.5),
        ("client_cpu_cores", 1.5),
    ] {
        let told = series.get(format!("freshet_loadtest_{name}").as_str()).copied();
        assert!(
            told.is_some_and(|told| (told - value).abs() <= value * 0.001),
            "{name}: {told:?}, not {value}"
        );
    }
    // Each sample belongs to the head before it, each head stands once.
    let heads: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
    assert_eq!(heads.len(), names(&page).len());
    let mut head = "";
    for line in page.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(next) => head = next.split(' ').next().unwrap(),
            None => assert!(line.starts_with("# HELP ") || line.starts_with(head), "{line} under {head}"),
        }
    }
}

#[test]
fn the_page_and_the_manual_have_the_same_names() {
    let page = page::page(&whole());
    // A run that has not begun has them all, too.
    assert_eq!(names(&page), names(&page::page(&Progress::default())));
    let section = MANUAL.split_once("## While it runs").unwrap().1;
    let section = section.split_once("\n## ").unwrap().0;
    let mut told = BTreeSet::new();
    for row in section.lines().filter_map(|line| line.strip_prefix("| `")) {
        let (cell, _) = row.split_once(" |").unwrap();
        for name in cell.split(", ").map(|name| name.trim_matches('`')) {
            let name = name.split('{').next().unwrap();
            assert!(told.insert(format!("freshet_loadtest_{name}")), "{name} stands twice");
        }
    }
    let told: BTreeSet<&str> = told.iter().map(String::as_str).collect();
    assert_eq!(told, names(&page));
}

#[test]
fn many_reasons_stay_few_series() {
    let mut progress = whole();
    progress.sums.reasons =
        (0..500).map(|number| (format!("{number:03} {}", "x".repeat(9_999)), 2)).collect();
    let page = page::page(&progress);
    assert_eq!(page.matches("failures_total{").count(), 21);
    assert!(page.contains("failures_total{reason=\"others\"} 960\n") && page.len() < 20_000, "{page}");
}

/// The whole answer to one request.
fn ask(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "{request} HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn who_asks_gets_the_last_page_and_nothing_else() {
    let exposed = Exposed::listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = exposed.address;
    assert_eq!(exposed.url(), format!("http://{address}/metrics"));
    assert!(ask(address, "GET /metrics").contains("freshet_loadtest_received_packets_total 0\n"));
    exposed.show(&whole());
    let answer = ask(address, "GET /metrics");
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("text/plain; version=0.0.4"), "{answer}");
    assert!(answer.contains("freshet_loadtest_received_packets_total 99\n"), "{answer}");
    let head = ask(address, "HEAD /metrics");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    assert!(ask(address, "GET /").starts_with("HTTP/1.1 404 "));
    let refused = ask(address, "POST /metrics");
    assert!(
        refused.starts_with("HTTP/1.1 405 ") && refused.to_lowercase().contains("allow: get, head"),
        "{refused}"
    );
    assert!(Exposed::listen(address).is_err(), "somebody else has it");
    drop(exposed);
    let end = std::time::Instant::now() + Duration::from_secs(20);
    while TcpStream::connect(address).is_ok() {
        assert!(std::time::Instant::now() < end, "the address is closed with the run");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_port_alone_is_one_of_this_machine() {
    assert_eq!(listen_address("9464"), Ok("127.0.0.1:9464".parse().unwrap()));
    assert_eq!(listen_address("0.0.0.0:9464"), Ok("0.0.0.0:9464".parse().unwrap()));
    assert_eq!(listen_address("[::1]:1"), Ok("[::1]:1".parse().unwrap()));
    for bad in ["", "host", "127.0.0.1", "70000", ":9464"] {
        assert!(listen_address(bad).unwrap_err().contains("9464"), "{bad}");
    }
}
