//! A real browser behind a path that loses packets. Alone in its program, as what a browser plays beside other tests
//! says little about us.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use freshet_test_support as support;
use support::dev::Dev;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_goes_on_when_two_and_when_ten_percent_are_lost() {
    let dev = Dev::start("lossy", 1, 10).await;
    let result = dev.script("lossy.mjs");
    let paths = result["paths"].as_array().unwrap();
    assert_eq!(paths.len(), 2, "{result}");
    assert!(paths.iter().all(|path| path["rtx"].as_f64().unwrap() >= 1.0), "{result}");
    dev.stop();
}
