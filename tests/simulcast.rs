//! Simulcast in a real browser, across two nodes. Alone in its program: three encoders are work enough for the machine.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use support::dev::Dev;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_on_another_node_changes_size_ten_times_without_a_freeze() {
    let dev = Dev::start("simulcast", 2, 1).await;
    let result = dev.script("simulcast.mjs");
    assert_eq!(result["changes"].as_array().unwrap().len(), 20, "{result}");
    dev.stop();
}
