//! Publisher and viewer against a real peer: what the harness reports is what happened, to the packet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use fixture::{Fixture, Location, Script};
use freshet_loadtest::client::{
    ClientError, Loss, PacketHook, Publisher, PublisherConfig, SessionState, Viewer, ViewerConfig,
};
use freshet_loadtest::media::{MAX_PAYLOAD, Oversized, VideoCodec, VideoConfig};

const SOON: Duration = Duration::from_secs(5);

async fn publish(server: &Fixture, video: VideoConfig) -> Publisher {
    let config = PublisherConfig { video: Some(video), ..PublisherConfig::new(server.url("/whip/room")) };
    Publisher::connect(config).await.unwrap()
}

fn watch(server: &Fixture) -> ViewerConfig {
    ViewerConfig::new(server.url("/whep/room"))
}

/// Pauses the publisher and lets everything that is under way arrive.
async fn settle(publisher: &Publisher) {
    publisher.pause();
    tokio::time::sleep(Duration::from_millis(700)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clean_path_delivers_every_packet_with_its_bytes_and_its_time() {
    let server = Fixture::start(Script::default()).await;
    let oversized = Some(Oversized { every: 10, bytes: MAX_PAYLOAD });
    let publisher = publish(&server, VideoConfig { gop: 15, oversized, ..VideoConfig::default() }).await;
    let seen = Arc::new(AtomicU64::new(0));
    let largest = Arc::new(Mutex::new(0));
    let hook = {
        let (seen, largest) = (Arc::clone(&seen), Arc::clone(&largest));
        PacketHook::new(move |packet| {
            seen.fetch_add(1, Ordering::Relaxed);
            let mut largest = largest.lock().unwrap();
            *largest = packet.payload.len().max(*largest);
        })
    };
    let viewer = Viewer::connect(ViewerConfig { on_packet: Some(hook), ..watch(&server) }).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await, "{:?}", viewer.report());
    tokio::time::sleep(Duration::from_secs(2)).await;
    settle(&publisher).await;

    let (sent, report) = (publisher.stats(), viewer.report());
    let (video, audio) = (report.video().unwrap(), report.audio().unwrap());
    assert!(video.received > 300 && audio.received > 90, "{} {}", video.received, audio.received);
    for (track, sent) in [(video, &sent.video), (audio, &sent.audio)] {
        assert_eq!(track.missing_up_to(sent.last_index.unwrap()), 0);
        assert_eq!(track.lost_before_recovery, 0);
        assert_eq!((track.duplicates, track.out_of_order_after_recovery, track.payload_mismatch), (0, 0, 0));
        assert_eq!((track.unstamped, track.rejected), (0, 0));
        assert_eq!(track.segments.len(), 1);
        assert_eq!(track.segments[0].publisher, publisher.stats().publisher);
        assert!(
            track.latency.quantile(0.5).unwrap() < Duration::from_millis(50),
            "{:?}",
            track.latency.quantile(0.5)
        );
        assert!(track.longest_gap < Duration::from_millis(500));
    }
    assert!(video.keyframes >= 3);
    assert!(video.first_keyframe.unwrap() >= video.first_packet.unwrap());
    assert_eq!(seen.load(Ordering::Relaxed), video.received + audio.received);
    assert_eq!(*largest.lock().unwrap(), MAX_PAYLOAD, "oversized packets arrive whole");
    assert_eq!(report.state, SessionState::Connected);
    assert!(report.answered <= report.ice && report.ice <= report.connected);

    viewer.stop().await.unwrap();
    publisher.stop().await.unwrap();
    assert_eq!(server.count(|counters| &counters.deletes), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_that_no_retransmission_mends_is_counted_exactly() {
    let server = Fixture::start(Script { lose_every: Some(50), ..Script::default() }).await;
    let publisher = publish(&server, VideoConfig::default()).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    settle(&publisher).await;

    let report = viewer.report();
    let video = report.video().unwrap();
    let (first, last) = (video.first_index.unwrap(), video.last_index.unwrap());
    // The server counts from 1: it loses the indices 49, 99, 149, …
    let lost = (first..=last).filter(|index| index % 50 == 49).count() as u64;
    assert!(lost >= 8, "{lost} in {first}..={last}");
    assert_eq!((video.missing, video.lost_before_recovery, video.recovered_by_rtx), (lost, lost, 0));
    assert_eq!(video.received, last - first + 1 - lost);
    assert_eq!(report.audio().unwrap().missing, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_loss_is_made_good_by_retransmission() {
    let server = Fixture::start(Script::default()).await;
    let publisher = publish(&server, VideoConfig::default()).await;
    let loss = Some(Loss { fraction: 0.03, seed: 7 });
    let lossy = Viewer::connect(ViewerConfig { loss, audio: false, ..watch(&server) }).await.unwrap();
    let deaf = ViewerConfig { loss, nack: false, audio: false, ..watch(&server) };
    let deaf = Viewer::connect(deaf).await.unwrap();
    assert!(lossy.wait_for_media(SOON).await && deaf.wait_for_media(SOON).await);
    tokio::time::sleep(Duration::from_secs(4)).await;
    settle(&publisher).await;

    let report = lossy.report();
    let video = report.video().unwrap();
    assert!(report.injected_loss >= 10, "{}", report.injected_loss);
    assert_eq!(video.missing, 0, "all of {} lost came back", report.injected_loss);
    // What was lost before the first packet or behind the last is no gap that the viewer could see.
    assert!(video.recovered_by_rtx.abs_diff(report.injected_loss) <= 2, "{video:?}");
    assert_eq!(video.lost_before_recovery, video.recovered_by_rtx);
    assert_eq!((video.out_of_order_after_recovery, video.payload_mismatch, video.duplicates), (0, 0, 0));
    assert!(video.late >= video.recovered_by_rtx);

    let without = deaf.report();
    let video = without.video().unwrap();
    assert_eq!(video.recovered_by_rtx, 0);
    assert!(video.missing >= 10 && video.missing.abs_diff(without.injected_loss) <= 2, "{video:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn audio_can_be_recovered_too_where_both_sides_want_it() {
    let server = Fixture::start(Script::default()).await;
    let publisher = publish(&server, VideoConfig::default()).await;
    let loss = Some(Loss { fraction: 0.05, seed: 3 });
    let config = ViewerConfig { loss, video: false, audio_nack: true, ..watch(&server) };
    let viewer = Viewer::connect(config).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    settle(&publisher).await;
    let report = viewer.report();
    assert!(report.injected_loss > 0);
    assert_eq!(report.tracks.len(), 1);
    let offered = &viewer.negotiated().offer;
    assert!(offered.contains("apt=111"), "{offered}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_and_delay_are_seen_as_they_are() {
    let delay = Duration::from_millis(80);
    let script = Script { damage_every: Some(20), delay, ..Script::default() };
    let server = Fixture::start(script).await;
    let publisher = publish(&server, VideoConfig { codec: VideoCodec::Vp8, ..VideoConfig::default() }).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    settle(&publisher).await;
    let report = viewer.report();
    let video = report.video().unwrap();
    assert!(video.payload_mismatch >= 15, "{}", video.payload_mismatch);
    assert_eq!(video.first_mismatch.as_deref(), Some("the payload's bytes are not those that were sent"));
    // What is damaged came all the same.
    assert_eq!((video.missing, video.lost_before_recovery), (0, 0), "{video:?}");
    let median = video.latency.quantile(0.5).unwrap();
    assert!((80..120).contains(&median.as_millis()), "{median:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_asks_for_the_keyframe_that_it_needs() {
    let server = Fixture::start(Script::default()).await;
    let publisher = publish(&server, VideoConfig { gop: 0, ..VideoConfig::default() }).await;
    let first = Viewer::connect(watch(&server)).await.unwrap();
    assert!(first.wait_for_media(SOON).await);
    let report = first.report();
    assert_eq!(report.keyframe_requests, 1);
    assert!(publisher.stats().keyframe_requests >= 1);
    let before = report.video().unwrap().keyframes;
    first.request_keyframe();
    assert!(first.wait_until(SOON, |report| report.video().unwrap().keyframes > before).await);
    let silent = ViewerConfig { request_keyframes: false, ..watch(&server) };
    let silent = Viewer::connect(silent).await.unwrap();
    assert!(!silent.wait_for_media(Duration::from_millis(600)).await, "no request, no keyframe");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_trickle_restart_and_survive_both() {
    let server = Fixture::start(Script { location: Location::Absolute, ..Script::default() }).await;
    let publisher = publish(&server, VideoConfig::default()).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await);
    assert_eq!(viewer.negotiated().ice_servers.len(), 1);
    assert_eq!(viewer.resource().etag().as_deref(), Some("\"one\""));

    let candidate = "candidate:9 1 udp 1 127.0.0.1 9 typ host".to_owned();
    let outcome = viewer.resource().trickle(&[candidate], true).await.unwrap();
    assert_eq!((outcome.status, outcome.body.as_str()), (204, ""));

    for name in ["viewer", "publisher"] {
        let outcome = match name {
            "viewer" => viewer.restart_ice().await.unwrap(),
            _ => publisher.restart_ice().await.unwrap(),
        };
        assert_eq!((outcome.status, outcome.etag.as_deref()), (200, Some("\"two\"")), "{name}");
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        let before = viewer.report().video().unwrap().received;
        let flows = viewer.wait_until(SOON, |report| report.video().unwrap().received > before + 100).await;
        assert!(flows, "media flows after the {name}'s restart");
    }
    let stale = viewer.resource().request(http::Method::PATCH, &[("if-match", "\"x\"")], "").await.unwrap();
    assert_eq!(stale.status, 415);
    assert_eq!(stale.problem().unwrap().detail, "not a fragment");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_say_why_and_retry_after_is_obeyed() {
    let server = Fixture::start(Script { busy: 2, token: Some("right".into()), ..Script::default() }).await;
    let wrong = ViewerConfig { token: Some("wrong".into()), ..watch(&server) };
    let refused = Viewer::connect(wrong).await.unwrap_err();
    assert_eq!(refused.status(), Some(401));
    assert!(refused.to_string().contains("the token is missing or wrong [bad-token]"), "{refused}");

    let token = Some("right".to_owned());
    let config = PublisherConfig { token: token.clone(), ..PublisherConfig::new(server.url("/whip/room")) };
    let refused = Publisher::connect(config.clone()).await.unwrap_err();
    assert_eq!((refused.status(), refused.class().as_str()), (Some(503), "HTTP 503 over-capacity"));
    assert!(
        matches!(refused, ClientError::Refused { retry_after: Some(after), .. } if after == Duration::from_secs(1))
    );
    let patient = PublisherConfig { retry_for: Duration::from_secs(5), ..config };
    let publisher = Publisher::connect(patient).await.unwrap();
    assert_eq!(publisher.negotiated().attempts, 2);
    publisher.stop().await.unwrap();

    let early = Viewer::connect(ViewerConfig { token, ..watch(&server) }).await.unwrap_err();
    assert_eq!(early.status(), Some(409));
    assert_eq!(early.problem().unwrap().reason.as_deref(), Some("no-publisher"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redirects_are_followed_but_not_for_ever_and_nonsense_is_named() {
    let server = Fixture::start(Script::default()).await;
    let _publisher = publish(&server, VideoConfig::default()).await;
    let viewer = Viewer::connect(ViewerConfig::new(server.url("/old/whep/room"))).await.unwrap();
    assert!(viewer.resource().url().starts_with(&server.url("/sessions/")), "{}", viewer.resource().url());
    for (path, says) in [("/endless", "more than 5 redirects"), ("/nonsense", "no SDP answer")] {
        let error = Viewer::connect(ViewerConfig::new(server.url(path))).await.unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let began = Instant::now();
    let mut config = ViewerConfig::new(server.url("/silent"));
    config.http_timeout = Duration::from_millis(300);
    let error = Viewer::connect(config).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { .. }), "{error}");
    assert!(began.elapsed() < Duration::from_secs(2));
    let error = Viewer::connect(ViewerConfig::new("http://127.0.0.1:9/whep/room")).await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_publisher_is_a_second_segment_and_a_dropped_one_says_nothing() {
    let server = Fixture::start(Script::default()).await;
    let first = publish(&server, VideoConfig::default()).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await);
    drop(first);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(server.count(|counters| &counters.deletes), 0, "a crash sends no DELETE");
    let second = publish(&server, VideoConfig::default()).await;
    let number = second.stats().publisher;
    let switched = viewer
        .wait_until(SOON, |report| {
            report.video().unwrap().segments.last().is_some_and(|last| last.publisher == number)
        })
        .await;
    assert!(switched, "{:?}", viewer.report().video());
    assert_eq!(viewer.report().video().unwrap().segments.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_is_a_gap_in_time_and_none_in_numbers() {
    let server = Fixture::start(Script::default()).await;
    let config = PublisherConfig { autostart: false, ..PublisherConfig::new(server.url("/whip/room")) };
    let publisher = Publisher::connect(config).await.unwrap();
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(publisher.stats().video.packets, 0, "nothing is sent before the start");
    publisher.start();
    assert!(viewer.wait_for_media(SOON).await);
    publisher.pause();
    tokio::time::sleep(Duration::from_millis(600)).await;
    let paused = publisher.stats();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(publisher.stats(), paused, "nothing is sent in a pause");
    publisher.start();
    tokio::time::sleep(Duration::from_millis(500)).await;
    settle(&publisher).await;

    let (sent, report) = (publisher.stats(), viewer.report());
    for (track, sent) in [(report.video().unwrap(), sent.video), (report.audio().unwrap(), sent.audio)] {
        assert_eq!(track.first_index, Some(0), "a viewer that was there first misses nothing");
        assert_eq!((track.missing_up_to(sent.last_index.unwrap()), track.received), (0, sent.packets));
        let gap = track.longest_gap.as_millis();
        assert!((780..1_000).contains(&gap), "{gap} ms");
        assert!(
            track.latency.quantile(0.9).unwrap() < Duration::from_millis(60),
            "late packets do not pile up"
        );
    }
    assert!(report.video().unwrap().keyframes >= 2);
}
