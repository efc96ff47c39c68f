//! Real media, made by ffmpeg, published by the program and decoded by ffmpeg again.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;
mod program;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use fixture::{Fixture, Script};
use freshet_loadtest::media::sample::{Format, Sample};
use program::loadtest;
use serde_json::Value;

/// The samples, made once.
fn samples() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("media");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("media/make.sh");
        let made = Command::new("sh").arg(script).arg(&folder).stdin(Stdio::null()).status().unwrap();
        assert!(made.success(), "ffmpeg is needed to make samples");
        folder
    })
}

fn sample(name: &str) -> Sample {
    let path = samples().join(name);
    Sample::read(Format::of(&path).unwrap(), &std::fs::read(&path).unwrap(), 7).unwrap()
}

fn lasts(sample: &Sample) -> Duration {
    sample.frames().iter().map(|frame| frame.lasts).sum()
}

#[test]
fn what_ffmpeg_writes_is_read() {
    for name in ["sample.h264", "sample.ivf"] {
        let sample = sample(name);
        // Four seconds at 30 a second with a keyframe in each.
        assert_eq!((sample.frames().len(), lasts(&sample)), (120, Duration::from_secs(4)), "{name}");
        let keys: Vec<usize> = (0..120).filter(|number| sample.frames()[*number].keyframe).collect();
        assert_eq!(keys, [0, 30, 60, 90], "{name}");
        if sample.format() == Format::AnnexB {
            for key in keys {
                let kinds: Vec<u8> = sample.frames()[key].units.iter().map(|unit| unit[0] & 0x1f).collect();
                assert!(kinds.starts_with(&[7, 8]) && kinds.ends_with(&[5]), "{kinds:?}");
            }
        }
    }
    let sound = sample("sample.ogg");
    assert!(sound.frames().iter().all(|frame| frame.lasts == Duration::from_millis(20)));
    assert!((200..204).contains(&sound.frames().len()), "{}", sound.frames().len());
}

/// Publishes a file to the server and has it watched and decoded; gives the report and what was said.
async fn run(server: &Fixture, file: &str, more: &[&str]) -> (Value, String, Option<i32>) {
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let path = |name: &str| samples().join(name).to_str().unwrap().to_owned();
    let (video, sound) = (path(file), path("sample.ogg"));
    let mut arguments = vec!["run", "--whip", &whip, "--whep", &whep, "--media", &video];
    arguments.extend(["--audio-media", &sound, "--json", "--quiet", "--threads", "1"]);
    arguments.extend(more);
    let output = loadtest(&arguments).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (report, said, output.status.code())
}

async fn is_seen_whole(file: &str) {
    let server = Fixture::start(Script { delay: Duration::from_millis(80), ..Script::default() }).await;
    // Longer than the file, so that its end and its beginning are seen to follow each other.
    let more = ["--viewers", "2", "--decode", "2", "--duration", "6s", "--fail-if", "decode-errors>0"];
    let (report, said, _) = run(&server, file, &more).await;
    let (decode, packets) = (&report["decode"], &report["packets"]);
    assert_eq!(decode["sessions"], 1, "{report}");
    assert!(decode["decoded"].as_u64().unwrap() > 120, "{decode} {said}");
    assert_eq!((&decode["errors"], &decode["missing"]), (&0.into(), &0.into()), "{decode}");
    assert_eq!(decode["handed"], decode["decoded"], "{decode}");
    assert_eq!(report["bounds"][0]["broken"], false, "{report}");
    for nothing in ["lost", "mismatched", "rejected", "duplicates", "overtaken"] {
        assert_eq!(packets[nothing], 0, "{nothing}: {packets}");
    }
    assert_eq!(packets["unstamped"], packets["received"], "real media has no stamps: {packets}");
    // By the header of each frame's first packet: the server keeps all back for 80 ms.
    let latency = &report["latency_ms"];
    assert!(latency["p50"].as_f64().unwrap() >= 80.0, "{latency}");
    let counted = latency["count"].as_u64().unwrap();
    assert!(counted > 300 && counted < packets["received"].as_u64().unwrap(), "{latency} {packets}");
    assert_eq!(report["viewers"]["silent"], 0, "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_h264_is_decoded_and_its_age_is_known() {
    is_seen_whole("sample.h264").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_vp8_is_decoded_and_its_age_is_known() {
    is_seen_whole("sample.ivf").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_for_good_is_missed_by_the_decoder() {
    let server = Fixture::start(Script::default()).await;
    let more =
        ["--viewers", "1", "--decode", "1", "--duration", "5s", "--loss", "4%", "--seed", "3", "--no-nack"];
    let bounds = ["--fail-if", "decode-missing>0"];
    let (report, said, code) = run(&server, "sample.h264", &[&more[..], &bounds].concat()).await;
    let decode = &report["decode"];
    assert!(decode["decoded"].as_u64().unwrap() > 0, "{decode}");
    assert!(decode["broken"].as_u64().unwrap() > 0, "{decode}");
    assert!(decode["missing"].as_u64() >= decode["broken"].as_u64(), "{decode}");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("broken: decode-missing>0"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decoder_complains_of_synthetic_pictures() {
    let server = Fixture::start(Script::default()).await;
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let output = loadtest(&[
        "run",
        "--whip",
        &whip,
        "--whep",
        &whep,
        "--viewers",
        "1",
        "--duration",
        "2s",
        "--decode",
        "1",
        "--quiet",
        "--json",
        "--threads",
        "1",
    ])
    .await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["decode"]["errors"].as_u64().unwrap() > 0, "{}", report["decode"]);
    assert!(report["decode"]["first_error"].is_string(), "{}", report["decode"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_is_said_in_a_line_before_anything_is() {
    let server = Fixture::start(Script::default()).await;
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("no-media");
    std::fs::create_dir_all(&folder).unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (no_h264, cut) = (file("no.h264", b"<html>"), file("cut.ivf", b"DKIF"));
    let missing = folder.join("missing.ogg").to_str().unwrap().to_owned();
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    for (more, says) in [
        (&["--media", &no_h264][..], "no.h264 cannot be sent: it does not begin with a start code"),
        (&["--media", &cut], "cut.ivf cannot be sent: it is shorter"),
        (&["--media", &missing], "missing.ogg cannot be sent: No such file"),
        (&["--media", folder.to_str().unwrap()], "no-media cannot be sent: .h264, .ivf and .ogg files can"),
        (&["--media", &missing, "--audio-media", &missing], "both sound"),
        (&["--audio-media", &cut], "no sound that can be sent"),
        (&["--no-video", "--decode", "1"], "no video to decode"),
        (&["--decode", "0"], "out of range"),
    ] {
        let output = loadtest(&[&["run", "--whip", &whip, "--whep", &whep][..], more].concat()).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(said.contains(says), "{says}: {said}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_freshet-loadtest"))
        .args(["run", "--whip", &whip, "--whep", &whep, "--decode", "3"])
        .env("PATH", &folder)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
    assert!(said.contains("ffmpeg cannot be started"), "{said}");
    assert_eq!(server.count(|counters| &counters.posts), 0, "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_sound_alone_is_sound_alone() {
    let server = Fixture::start(Script::default()).await;
    let (whip, whep) = (server.url("/whip/room"), server.url("/whep/room"));
    let sound = samples().join("sample.ogg");
    // Longer than the file.
    let usual =
        ["run", "--whip", &whip, "--whep", &whep, "--viewers", "2", "--duration", "5s", "--threads", "1"];
    let what = [
        "--media",
        sound.to_str().unwrap(),
        "--json",
        "--quiet",
        "--fail-if",
        "loss>0%",
        "--fail-if",
        "silent>0",
    ];
    let output = loadtest(&[&usual[..], &what].concat()).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["bounds"].as_array().unwrap().iter().all(|bound| bound["broken"] == false), "{report:#}");
    let packets = &report["packets"];
    assert_eq!(packets["video"]["expected"], 0, "{packets}");
    // 50 a second for each.
    assert!(packets["audio"]["expected"].as_u64().unwrap() >= 2 * 5 * 48, "{packets}");
    assert_eq!(packets["unstamped"], packets["received"], "{packets}");
}
