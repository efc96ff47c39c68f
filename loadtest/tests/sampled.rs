//! Viewers that count media by its headers see what viewers see that decrypt it, to the packet.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;

use std::time::Duration;

use fixture::{Fixture, Script};
use freshet_loadtest::client::{Depth, Loss, Publisher, PublisherConfig, SessionState, Viewer, ViewerConfig};
use freshet_loadtest::measure::TrackReport;
use freshet_loadtest::media::VideoConfig;

const SOON: Duration = Duration::from_secs(10);

async fn publish(server: &Fixture, video: VideoConfig) -> Publisher {
    let config = PublisherConfig { video: Some(video), ..PublisherConfig::new(server.url("/whip/room")) };
    Publisher::connect(config).await.unwrap()
}

async fn watch(server: &Fixture, depth: Depth) -> Viewer {
    let config = ViewerConfig { depth, ..ViewerConfig::new(server.url("/whep/room")) };
    let viewer = Viewer::connect(config).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await, "{depth:?}: {:?}", viewer.report());
    viewer
}

/// Pauses the publisher and lets everything that is under way arrive.
async fn settle(publisher: &Publisher) {
    publisher.pause();
    tokio::time::sleep(Duration::from_millis(900)).await;
}

/// The server counts from 1: of every fifty it treats the indices 49, 99, 149, … in its own way.
fn fiftieth(track: &TrackReport) -> u64 {
    let (first, last) = (track.first_index.unwrap(), track.last_index.unwrap());
    (first..=last).filter(|index| index % 50 == 49).count() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loss_is_counted_by_headers_as_it_is_by_stamps() {
    let server = Fixture::start(Script { lose_every: Some(50), ..Script::default() }).await;
    let publisher = publish(&server, VideoConfig::default()).await;
    let whole = watch(&server, Depth::Whole).await;
    let headers = watch(&server, Depth::Headers).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    settle(&publisher).await;

    let sent = publisher.stats();
    for viewer in [&whole, &headers] {
        let report = viewer.report();
        let (depth, video, audio) = (report.depth, report.video().unwrap(), report.audio().unwrap());
        let lost = fiftieth(video);
        assert!(lost >= 8, "{depth:?} {lost}");
        let (first, last) = (video.first_index.unwrap(), video.last_index.unwrap());
        assert_eq!((video.missing, video.lost_before_recovery), (lost, lost), "{depth:?}");
        assert_eq!((video.recovered_by_rtx, video.duplicates, video.rejected), (0, 0, 0), "{depth:?}");
        assert_eq!(video.received, last - first + 1 - lost, "{depth:?}");
        assert_eq!(video.segments.last().unwrap().publisher, sent.publisher, "{depth:?}");
        // All but what the server lost at the very end, which no number behind it shows.
        let end = sent.video.last_index.unwrap();
        let tail = (last + 1..=end).filter(|index| index % 50 != 49).count();
        assert_eq!(tail, 0, "{depth:?}: {last} of {end}");
        assert_eq!(video.missing_up_to(end), lost + (end - last), "{depth:?}");
        assert_eq!(
            (audio.missing_up_to(sent.audio.last_index.unwrap()), audio.rejected),
            (0, 0),
            "{depth:?}"
        );
        assert!(video.first_keyframe.unwrap() >= video.first_packet.unwrap(), "{depth:?}");
        assert!(video.longest_gap < Duration::from_millis(1_500), "{depth:?}: {:?}", video.longest_gap);
        assert_eq!((report.unmapped, report.state.clone()), (0, SessionState::Connected), "{depth:?}");
    }
    // They came one after the other, and saw the same from then on.
    let (whole, headers) = (whole.report(), headers.report());
    assert_eq!(whole.video().unwrap().last_index, headers.video().unwrap().last_index);
    let payload = |report: &TrackReport| report.bytes / report.received;
    let (one, other) = (payload(whole.audio().unwrap()), payload(headers.audio().unwrap()));
    assert_eq!(one, other, "bytes of payload, without header and tag");
    assert!(headers.video().unwrap().latency.is_empty() && !whole.video().unwrap().latency.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_is_asked_for_and_found_in_retransmissions() {
    let server = Fixture::start(Script { hold_every: Some(50), ..Script::default() }).await;
    let publisher = publish(&server, VideoConfig::default()).await;
    let whole = watch(&server, Depth::Whole).await;
    let headers = watch(&server, Depth::Headers).await;
    let config =
        ViewerConfig { nack: false, depth: Depth::Headers, ..ViewerConfig::new(server.url("/whep/room")) };
    let deaf = Viewer::connect(config).await.unwrap();
    assert!(deaf.wait_for_media(SOON).await);
    tokio::time::sleep(Duration::from_secs(3)).await;
    settle(&publisher).await;

    for viewer in [&whole, &headers] {
        let report = viewer.report();
        let (depth, video) = (report.depth, report.video().unwrap());
        let held = fiftieth(video);
        assert!(held >= 8, "{depth:?} {held}");
        assert_eq!((video.missing, video.recovered_by_rtx), (0, held), "{depth:?}: {video:?}");
        assert_eq!((video.lost_before_recovery, video.duplicates, video.rejected), (held, 0, 0), "{depth:?}");
        assert_eq!((video.late, video.payload_mismatch), (held, 0), "{depth:?}");
    }
    let report = deaf.report();
    let video = report.video().unwrap();
    assert_eq!((video.missing, video.recovered_by_rtx), (fiftieth(video), 0), "nobody asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_again_under_its_own_number_was_lost_and_is_recovered() {
    let resend_after = Some(Duration::from_millis(150));
    let server = Fixture::start(Script { hold_every: Some(50), resend_after, ..Script::default() }).await;
    let publisher = publish(&server, VideoConfig::default()).await;
    let whole = watch(&server, Depth::Whole).await;
    let headers = watch(&server, Depth::Headers).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    settle(&publisher).await;
    for viewer in [&whole, &headers] {
        let report = viewer.report();
        let (depth, video) = (report.depth, report.video().unwrap());
        let held = fiftieth(video);
        assert!(held >= 8, "{depth:?} {held}");
        // Of the very last one nobody could know that it was missing, nor of one before the first.
        let edge = |index: Option<u64>| u64::from(index.unwrap() % 50 == 49);
        let asked = held - edge(video.last_index) - edge(video.first_index);
        assert_eq!((video.missing, video.recovered_by_rtx), (0, asked), "{depth:?}: {video:?}");
        assert_eq!(
            (video.lost_before_recovery, video.duplicates, video.rejected),
            (asked, 0, 0),
            "{depth:?}"
        );
        let late = asked..=asked + edge(video.first_index);
        assert!(late.contains(&video.late), "{depth:?}: no more are late: {video:?}");
        assert_eq!(video.out_of_order_after_recovery, 0, "{depth:?}");
        assert_eq!(report.unmapped, 0, "{depth:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seeded_loss_and_keyframes_are_asked_for_by_headers_too() {
    let server = Fixture::start(Script::default()).await;
    let publisher = publish(&server, VideoConfig { gop: 0, ..VideoConfig::default() }).await;
    let url = server.url("/whep/room");
    let loss = Some(Loss { fraction: 0.03, seed: 7 });
    let config = ViewerConfig { loss, depth: Depth::Headers, ..ViewerConfig::new(&url) };
    let lossy = Viewer::connect(config).await.unwrap();
    assert!(lossy.wait_for_media(SOON).await, "a keyframe came because it was asked for");
    assert!(lossy.report().keyframe_requests >= 1 && publisher.stats().keyframe_requests >= 1);
    let before = publisher.stats().keyframe_requests;
    lossy.request_keyframe();
    let asked = async {
        while publisher.stats().keyframe_requests == before {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, asked).await.expect("a keyframe is asked for by hand");
    tokio::time::sleep(Duration::from_secs(2)).await;
    settle(&publisher).await;
    let report = lossy.report();
    let video = report.video().unwrap();
    assert!(video.missing <= 1 && video.recovered_by_rtx >= 3, "{video:?}");
    assert_eq!((video.payload_mismatch, video.rejected, report.unmapped), (0, 0, 0));
    assert!(report.audio().unwrap().missing <= report.injected_loss);
    lossy.stop().await.unwrap();
    assert_eq!(server.count(|counters| &counters.deletes), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publisher_that_takes_over_is_seen_by_headers() {
    let server = Fixture::start(Script::default()).await;
    let first = publish(&server, VideoConfig::default()).await;
    let viewer = watch(&server, Depth::Headers).await;
    drop(first);
    let second = publish(&server, VideoConfig::default()).await;
    let number = second.stats().publisher;
    let switched = |report: &TrackReport| report.segments.last().is_some_and(|last| last.publisher == number);
    assert!(
        viewer.wait_until(SOON, |report| switched(report.video().unwrap())).await,
        "{:?}",
        viewer.report()
    );
    settle(&second).await;
    let (sent, report) = (second.stats(), viewer.report());
    assert_eq!(report.video().unwrap().missing_up_to(sent.video.last_index.unwrap()), 0);
    assert_eq!(report.audio().unwrap().missing, 0);
}
