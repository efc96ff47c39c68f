//! The load harness where nothing but a TURN server can be reached.

use std::time::Duration;

use freshet_loadtest::scenario::Turn;

use crate::support::nets::Net;
use crate::support::{publish, view};
use crate::{WITHIN, goes_on, watches};

/// The program's viewers and publisher go by it too, those included that count by headers, and a bad network of theirs is
/// seen through it.
pub fn program_goes_by_it(client: &Net, base: &str) {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (file, out) = (folder.join("by-turn.toml"), folder.join("by-turn"));
    let text = format!(
        "duration = \"6s\"\nexpect = [\"failed <= 0\", \"silent <= 0\", \"video-loss <= 0%\"]\n\
         [publishers]\nurl = \"{base}/whip/by-program\"\nbitrate = \"300k\"\n\
         [viewers]\nurl = \"{base}/whep/by-program\"\ncount = 4\narrival = \"storm\"\nturn = \"only\"\n\
         mode = \"sampled\"\nsample = 2\nthreads = 1\nallow-hosts = [\"192.0.2.20\"]\n\
         [[events]]\nat = \"2s\"\nimpair = {{ share = \"100%\", delay = \"150ms\", loss = \"2%\", lasts = \"2s\" }}\n"
    );
    std::fs::write(&file, text).unwrap();
    let mut program = client.command(crate::support::harness());
    program.arg("run").arg(&file).arg("--report").arg(&out).args(["--i-own-the-target", "--json"]);
    let ran = program.output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    let report: serde_json::Value =
        serde_json::from_slice(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    let is =
        |path: &str, value: u64| assert_eq!(report.pointer(path), Some(&value.into()), "{path}: {report:#}");
    assert_eq!(ran.status.code(), Some(0), "{said} {report:#}");
    is("/viewers/sessions", 4);
    is("/viewers/relayed", 4);
    is("/mode/headers", 2);
    let number = |path: &str| report.pointer(path).and_then(serde_json::Value::as_f64).unwrap();
    assert!(number("/packets/recovered") > 5.0, "it was asked for again: {report:#}");
    let seconds = report["timeline"].as_array().unwrap();
    let worst = |from: f64, to: f64| {
        let within = seconds.iter().filter(|second| (from..to).contains(&second["at_s"].as_f64().unwrap()));
        within.filter_map(|second| second["latency_ms"]["p50"].as_f64()).fold(0.0, f64::max)
    };
    assert!(worst(3.0, 4.2) >= 150.0 && worst(1.0, 2.0) < 150.0, "{report:#}");
    for row in std::fs::read_to_string(out.join("viewers.csv")).unwrap().lines().skip(1) {
        assert_eq!(row.split(',').nth(5), Some("true"), "relayed: {row}");
    }
}

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
