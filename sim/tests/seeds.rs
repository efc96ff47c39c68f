//! Committed seeds gate. `FRESHET_SIM_SEEDS=1000..1100 cargo test -p freshet-sim sweep -- --ignored` runs longer.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::{Duration, Instant};

use freshet_sim::{Report, Settings};

const FIFTY: Settings = Settings {
    nodes: 50,
    coordinators: 2,
    rooms: 12,
    restarts: true,
    busy: Duration::from_secs(180),
    calm: Duration::from_secs(45),
};

const FAULTS: [&str; 8] = [
    "heartbeat lost",
    "heartbeat delayed",
    "node killed",
    "node cut off from the store",
    "lease lost while alive",
    "registered again",
    "bus away",
    "store wiped",
];

fn run(seed: u64, settings: Settings) -> Report {
    freshet_sim::run(seed, settings, Instant::now())
}

fn assert_good(seed: u64, report: &Report) {
    assert!(report.violations.is_empty(), "seed {seed}: {:#?}\n{:?}", report.violations, report.fired);
    assert!(report.fired.of("joined") > 1000, "seed {seed}: {:?}", report.fired);
}

#[test]
fn fifty_nodes_and_two_coordinators_keep_every_rule() {
    let mut fired: Vec<Report> = Vec::new();
    for seed in [1, 7, 42, 132, 2026] {
        let report = run(seed, FIFTY);
        assert_good(seed, &report);
        for fault in FAULTS {
            assert!(report.fired.of(fault) > 0, "seed {seed}: {fault:?} never fired: {:?}", report.fired);
        }
        fired.push(report);
    }
    // Rarer ones, over all seeds.
    for fault in [
        "restart within the lease",
        "call to a dead node",
        "death by a new incarnation",
        "repair",
        "conflict",
        "coordinator started again",
        "store wiped and all coordinators started again",
    ] {
        assert!(fired.iter().any(|report| report.fired.of(fault) > 0), "{fault:?} never fired");
    }
}

#[test]
fn a_lone_coordinator_never_overfills_a_node() {
    let tight = Settings { nodes: 12, coordinators: 1, rooms: 4, restarts: false, ..FIFTY };
    for seed in [3, 11] {
        let report = run(seed, tight);
        assert_good(seed, &report);
        assert!(report.fired.of("nobody has room") > 0, "seed {seed} was never full: {:?}", report.fired);
        assert_eq!(report.fired.of("refused over capacity"), 0, "seed {seed}: {:?}", report.fired);
    }
}

#[test]
fn one_seed_is_one_run() {
    let short = Settings { busy: Duration::from_secs(60), calm: Duration::from_secs(30), ..FIFTY };
    assert_eq!(run(5, short), run(5, short));
    assert_ne!(run(5, short).digest, run(6, short).digest);
}

/// Two seeds here; `FRESHET_SIM_SEEDS=FROM..TO` runs as many as one has time for.
#[test]
fn sweep() {
    let range = std::env::var("FRESHET_SIM_SEEDS").unwrap_or_else(|_| "100..102".to_owned());
    let (from, to) = range.split_once("..").unwrap();
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        assert_good(seed, &run(seed, FIFTY));
    }
}
