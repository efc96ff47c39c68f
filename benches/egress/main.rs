//! What a forwarded packet costs on its way to viewers, measured against what it must cost.
//!
//! The floor F seals the same packets with bare AES-GCM into one arena and sends each viewer's share of a frame as
//! one GSO train by `sendmmsg`: no server can do less with UDP sockets. Ours takes the product's way: ring, outlet
//! (rewriting, header, seal), trains, socket. Both run in one process on one core, turn by turn, with the same kind
//! of sink, and the CPU time of the sending thread is divided by the packets sent.
//!
//! Our way may allocate once for each packet that comes in, and not at all for each viewer: more stops the run.
//!
//! `--quick` (and a run by `cargo test`) checks that every packet arrives and prints figures that mean little.
//! `--record` writes the table into `benches/README.md`. `target/bench/summary.json` is always written.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a measuring program: the floor is bare system calls, and a wrong assumption should stop it"
)]

mod allocations;
mod floor;
mod measure;
mod ours;
mod report;
mod sinks;
mod trace;

use measure::{Samples, pin, thread_cpu};
use report::Row;
use sinks::{Reading, Sinks};
use trace::Trace;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// The core that sends, and the one that reads what was sent.
const SENDER_CORE: usize = 0;
const READER_CORE: usize = 1;

struct Settings {
    quick: bool,
    record: bool,
    viewers: Vec<usize>,
    repetitions: usize,
}

fn settings() -> Settings {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    // Without `--bench` it is `cargo test` that runs us.
    let quick = has("--quick") || !has("--bench");
    if quick {
        Settings { quick, record: false, viewers: vec![20], repetitions: 2 }
    } else {
        Settings { quick, record: has("--record"), viewers: vec![50, 200, 500], repetitions: 15 }
    }
}

fn main() {
    let settings = settings();
    measure::raise_open_files();
    pin(SENDER_CORE);
    let trace = Trace::new(if settings.quick { 1 } else { 2 });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows = runtime.block_on(async {
        let mut rows = vec![];
        for reading in [Reading::Read, Reading::Unread] {
            for viewers in &settings.viewers {
                rows.push(compare(&settings, &trace, *viewers, reading).await);
            }
        }
        rows
    });
    report::print(&rows);
    report::write_summary(&rows);
    if settings.record {
        report::record(&rows);
    }
}

/// Sends the trace by both ways in turn and compares their cost.
async fn compare(settings: &Settings, trace: &Trace, viewers: usize, reading: Reading) -> Row {
    let sinks = Sinks::new(viewers, reading, READER_CORE);
    let mut floor = floor::Floor::new(&sinks.addresses());
    let mut ours = ours::Ours::new(&sinks.addresses()).await;
    let packets = trace.packets() * viewers;
    let (mut of_floor, mut of_ours) = (Samples::default(), Samples::default());
    // One turn of each to warm up, not counted.
    for turn in 0..=settings.repetitions {
        let floor = measured(&sinks, packets, |sent| floor.send(trace, sent));
        let made = allocations::made();
        let ours = measured(&sinks, packets, |sent| ours.send(trace, sent));
        let made = allocations::made() - made;
        if turn > 0 {
            // One for the packet itself, however many viewers it goes to, and a few while the rings grow.
            let allowed = trace.packets() + 20;
            assert!(made <= allowed, "{made} allocations for {} packets", trace.packets());
            of_floor.push(floor);
            of_ours.push(ours);
        }
    }
    Row { viewers, reading, packets_per_train: ours.packets_per_train(), floor: of_floor, ours: of_ours }
}

/// CPU time of one turn, in microseconds a packet. Between two moments the readers catch up, off the clock: nothing is
/// dropped, and they have gone to sleep before the next moment, as receivers of a live stream have.
fn measured(sinks: &Sinks, packets: usize, send: impl FnOnce(&mut dyn FnMut(usize))) -> f64 {
    let (mut nanos, mut count) = (0, 0);
    let mut start = thread_cpu();
    send(&mut |sent| {
        nanos += thread_cpu() - start;
        count += sent;
        sinks.expect(sent);
        start = thread_cpu();
    });
    assert_eq!(count, packets, "every packet is sent");
    nanos as f64 / 1e3 / packets as f64
}
