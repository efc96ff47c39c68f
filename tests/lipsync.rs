//! Lip sync over two nodes, as a person in front of a real browser would see and hear it.
//!
//! A program of its own with one test: tests of one program run beside each other, programs one after another, and
//! what two browsers play on a busy machine says little about us.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use freshet_test_support as support;
use support::dev::Dev;

/// The deliberate error, in microseconds, and the least of it that a browser must show: it corrects an offset until
/// less than 30 ms is left, and starts from some that is its own.
const SKEW: (&str, &str) = ("FRESHET_TEST_REPORT_SKEW_US", "200000");
const SKEW_SEEN_MS: i64 = 100;
/// An error so large shows long before the browser has come wholly to rest.
const SOON: (&str, &str) = ("FRESHET_LIPSYNC_SETTLE_MS", "13000");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flashes_and_beeps_of_one_instant_arrive_together_and_an_error_of_ours_would_show() {
    // One session a node: the viewer cannot be where the publisher is.
    let dev = Dev::start("lipsync", 3, 1).await;
    let result = dev.script("lipsync.mjs");
    assert_eq!(result["pairs"], 20, "{result}");
    dev.stop();

    let dev = Dev::start_with("lipsync-skewed", 3, 1, &[SKEW]).await;
    let outcome = dev.run("lipsync.mjs", &[SOON]);
    assert!(!outcome.ok, "an error of 200 ms in our sender reports was not seen: {}", outcome.said);
    assert_eq!(outcome.result["pairs"], 20, "{}", outcome.said);
    let median = outcome.result["medianMs"].as_i64().unwrap_or_default();
    assert!(median > SKEW_SEEN_MS, "it failed, but not for the error of 200 ms: {}", outcome.said);
    dev.stop();
}
