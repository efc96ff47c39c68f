//! What the media plane costs, measured against what it must cost.
//!
//! Each bench runs ours and a reference in one process on one core, turn by turn, and divides the CPU time of the
//! thread that does the work. The floor F seals the same packets with bare AES-GCM into one arena and sends each
//! viewer's share of a frame as one GSO train by `sendmmsg`: no server can do less with UDP sockets.
//!
//! Words choose benches; without one all run. `--quick` (and a run by `cargo test`) checks that packets arrive and
//! prints figures that mean little. A full run writes `target/bench/summary.json`, a scoreboard and its plots beside it;
//! `--record` writes tables and plots into `benches`.
#![allow(
    unsafe_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a measuring program: the floor is bare system calls, and a wrong assumption should stop it"
)]

mod batch;
mod common;
mod egress;
mod ingress;
mod join;
mod limit;
mod relay;
mod storm;

use common::report::Row;
use common::{Settings, allocations, measure, report};

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// The core that works, and the one that reads what was sent.
const WORKER_CORE: usize = 0;
const READER_CORE: usize = 1;

const BENCHES: [&str; 12] = [
    "egress",
    "feedback",
    "batch",
    "growth",
    "join",
    "memory",
    "ingress",
    "relay",
    "saturation",
    "latency",
    "idle",
    "storm",
];

async fn run(bench: &str, settings: &Settings) -> Vec<Row> {
    match bench {
        "egress" => egress::egress(settings).await,
        "feedback" => egress::feedback(settings).await,
        "batch" => batch::batch(settings).await,
        "growth" => egress::growth(settings).await,
        "join" => join::join(settings).await,
        "memory" => join::memory(settings).await,
        "ingress" => ingress::ingress(settings).await,
        "relay" => relay::relay(settings).await,
        "saturation" => limit::saturation(settings).await,
        "latency" => limit::latency(settings).await,
        "idle" => join::idle(settings).await,
        "storm" => storm::storm(settings).await,
        other => panic!("there is no bench {other:?}; there are {BENCHES:?}"),
    }
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let has = |word: &str| words.iter().any(|given| given == word);
    // Without `--bench` it is `cargo test` that runs us.
    let settings = Settings { quick: has("--quick") || !has("--bench") };
    let mut chosen: Vec<&str> = words.iter().map(String::as_str).filter(|w| !w.starts_with('-')).collect();
    if !has("--bench") && (has("--list") || chosen.iter().any(|word| !BENCHES.contains(word))) {
        // `cargo test` asks for names of tests, or wants some of another target.
        return;
    }
    if chosen.is_empty() {
        chosen = BENCHES.to_vec();
    }
    measure::raise_open_files();
    measure::pin(WORKER_CORE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for bench in chosen {
        let rows = runtime.block_on(run(bench, &settings));
        println!("{}", report::table(&rows));
        if !settings.quick {
            report::write_summary(&rows);
            report::record(bench, &rows, has("--record"));
        }
    }
}
