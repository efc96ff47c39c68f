//! Simulcast in a real browser, across two nodes. Alone in its program: three encoders are work enough for the machine.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use freshet_test_support as support;
use support::dev::Dev;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_on_another_node_changes_size_ten_times_without_a_freeze() {
    let dev = Dev::start("simulcast", 2, 1).await;
    let nodes = format!("{} {}", dev.url_of(1), dev.url_of(2));
    // Chromium chooses VP8 by itself; what a host with a hardware encoder sends is H.264.
    for codec in ["VP8", "H264"] {
        let done = dev.run("simulcast.mjs", &[("FRESHET_CODEC", codec), ("FRESHET_NODES", &nodes)]);
        assert!(done.ok, "{}", done.said);
        assert_eq!(done.result["codec"], format!("video/{codec}"), "{}", done.said);
        assert_eq!(done.result["changes"].as_array().unwrap().len(), 20, "{}", done.said);
        assert_eq!(done.result["relayed"].as_array().unwrap().len(), 2, "{}", done.said);
    }
    dev.stop();
}
