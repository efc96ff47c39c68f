//! The load harness where nothing but a TURN server can be reached.

use std::time::Duration;

use freshet_loadtest::scenario::Turn;

use crate::support::nets::Net;
use crate::support::{publish, view};
use crate::{WITHIN, goes_on, watches};

/// It finds no direct way to room `relayed` and then this one, or is told that there is no other.
pub fn harness_goes_by_it(client: &Net, server: &Net, base: &'static str) {
    let (viewer, by_turn) = client.run(async move {
        let viewer = view(base, "relayed", "", |config| {
            (config.allow_public, config.token, config.retry_for) = (true, None, WITHIN);
            (config.turn, config.connect_timeout) = (Turn::Fallback, Duration::from_secs(10));
        });
        let viewer = viewer.await;
        let by_turn = publish(base, "by-turn", "", |config| {
            (config.allow_public, config.token, config.retry_for) = (true, None, WITHIN);
            config.turn = Turn::Only;
        });
        (viewer, by_turn.await)
    });
    assert!(viewer.report().relayed, "there was no direct way");
    let viewer = goes_on(client, viewer, 100);
    let (direct, _) = watches(server, base, "by-turn");
    let direct = goes_on(server, direct, 100);
    for viewer in [&viewer, &direct] {
        let report = viewer.report();
        let video = report.video().unwrap();
        assert_eq!((video.missing, video.payload_mismatch, video.duplicates), (0, 0, 0), "{video:?}");
    }
    client.run(async move {
        viewer.stop().await.unwrap();
        by_turn.stop().await.unwrap();
    });
    drop(direct);
}
