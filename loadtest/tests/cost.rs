//! What measures the cost of a viewer runs. What it finds is for a quiet machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::process::Command;

#[test]
fn the_cost_of_a_viewer_is_measured_beside_a_naive_one() {
    // Cargo builds examples with the tests, and does not say where: beside the program.
    let folder = Path::new(env!("CARGO_BIN_EXE_freshet-loadtest")).with_file_name("examples");
    let program = folder.join("cost");
    let output = Command::new(&program).arg("--quick").output();
    let output =
        output.unwrap_or_else(|error| panic!("{}: {error}: `cargo test` builds it", program.display()));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    for row in ["video, some 32 packets a second", "Opus, 50 packets a second"] {
        let line = out.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{out}"));
        let costs: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        // The count of packets in the name, the three kinds, and the last of the first.
        let [_, naive, full, sampled, ratio] = costs[..] else { panic!("{line}") };
        assert!([naive, full, sampled].iter().all(|cost| (0.1..1_000.0).contains(cost)), "{line}");
        assert!((ratio - sampled / naive).abs() < 0.02, "{line}");
    }
}
