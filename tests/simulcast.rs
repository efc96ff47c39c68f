//! Simulcast in a real browser, across two nodes. Alone in its program: three encoders are work enough for the machine.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use support::dev::Dev;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_on_another_node_changes_size_ten_times_without_a_freeze() {
    let dev = Dev::start("simulcast", 2, 1).await;
    let result = dev.script("simulcast.mjs");
    assert_eq!(result["changes"].as_array().unwrap().len(), 20, "{result}");
    // Chromium chooses VP8 by itself; what a host with a hardware encoder sends is H.264.
    let h264 = dev.run("simulcast.mjs", &[("FRESHET_CODEC", "H264"), ("FRESHET_ROUNDS", "2")]);
    assert!(h264.ok, "{}", h264.said);
    assert_eq!(h264.result["codec"], "video/H264", "{}", h264.said);
    assert_eq!(h264.result["changes"].as_array().unwrap().len(), 4, "{}", h264.said);
    dev.stop();
}
