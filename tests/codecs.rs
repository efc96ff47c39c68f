//! Codecs at the front door: what is not forwarded is not accepted, and a publish in another codec is told to those who
//! cannot be sent it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::collections::BTreeSet;
use std::time::Duration;

use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
use freshet_loadtest::media::VideoCodec;
use freshet_test_support as support;
use support::dev::Dev;
use support::{Listener, eventually, request};

const SOON: Duration = Duration::from_secs(20);
const SDP: (&str, &str) = ("content-type", "application/sdp");
/// What browsers and encoders offer besides, by their names in `a=rtpmap`.
const NOT_FORWARDED: [&str; 5] = ["red/48000", "red/90000", "ulpfec/90000", "cn/8000", "telephone-event/"];

/// Payload types of a description, by what `a=rtpmap` calls them, in small letters.
fn named(description: &str) -> Vec<(String, String)> {
    let maps = description.lines().filter_map(|line| line.trim().strip_prefix("a=rtpmap:")?.split_once(' '));
    maps.map(|(pt, name)| (pt.to_owned(), name.to_ascii_lowercase())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn red_ulpfec_and_comfort_noise_are_offered_and_not_accepted() {
    let dev = Dev::start("codecs-names", 1, 10).await;
    let offers =
        [("whip", include_str!("data/offer-publish.sdp")), ("whep", include_str!("data/offer-view.sdp"))];
    for (kind, offer) in offers {
        let offer = offer.replace('\n', "\r\n");
        let url = format!("{}/{kind}/stage?wait=1", dev.url());
        let url = if kind == "whip" { url.replace("?wait=1", "") } else { url };
        let made = request("POST", &url, None, &[SDP], offer.clone()).await.unwrap();
        let answer = String::from_utf8_lossy(&made.body).into_owned();
        assert_eq!(made.status, 201, "{kind}: {answer}");
        let (offered, answered) = (named(&offer), named(&answer));
        let lines: Vec<Vec<&str>> =
            answer.lines().filter_map(|line| Some(line.strip_prefix("m=")?.split(' ').collect())).collect();
        for name in NOT_FORWARDED {
            let of: Vec<_> = offered.iter().filter(|(_, called)| called.starts_with(name)).collect();
            assert!(!of.is_empty(), "{kind}: the offer has no {name}");
            for (pt, _) in of {
                // Neither by its name nor by its number.
                let numbered = lines.iter().any(|line| line[3..].contains(&pt.as_str()));
                let mapped = answered.iter().any(|(known, called)| known == pt || called.starts_with(name));
                assert!(!numbered && !mapped, "{kind}: {name} is accepted as {pt}: {answer}");
            }
        }
        for wanted in ["opus/48000/2", "h264/90000", "vp8/90000", "rtx/90000"] {
            assert!(answered.iter().any(|(_, name)| name == wanted), "{kind}: {wanted} is not in {answer}");
        }
    }
    dev.stop();
}

/// The parameters of Opus in a description, in whatever order; none where it says nothing of them.
fn opus(description: &str) -> BTreeSet<&str> {
    let names = named(description);
    let (pt, _) = names.iter().find(|(_, name)| name == "opus/48000/2").expect("Opus with two channels");
    let begins = format!("a=fmtp:{pt} ");
    let lines: Vec<&str> =
        description.lines().filter_map(|line| line.strip_prefix(begins.as_str())).collect();
    assert!(lines.len() <= 1, "they are said once: {lines:?}");
    lines.into_iter().flat_map(|line| line.split(';')).map(str::trim).collect()
}

/// What a session of this kind is answered.
async fn answered(base: &str, kind: &str, offer: &str) -> String {
    let wait = if kind == "whep" { "?wait=1" } else { "" };
    let url = format!("{base}/{kind}/stage{wait}");
    let made = request("POST", &url, None, &[SDP], offer.replace('\n', "\r\n")).await.unwrap();
    let answer = String::from_utf8_lossy(&made.body).into_owned();
    assert_eq!(made.status, 201, "{kind}: {answer}");
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_offered_of_opus_is_in_the_answers_to_publishers_and_viewers() {
    const PLAIN: &str = "minptime=10;useinbandfec=1";
    let dev = Dev::start("codecs-opus", 1, 40).await;
    let offers =
        [("whip", include_str!("data/offer-publish.sdp")), ("whep", include_str!("data/offer-view.sdp"))];
    for (kind, offer) in offers {
        let line = format!("a=fmtp:111 {PLAIN}\n");
        assert!(offer.contains(&line), "{offer}");
        // The second of a shape may be answered from what the first got: rates that differ are each one's own.
        for offered in [
            "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1;usedtx=1;maxaveragebitrate=160000",
            "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1;usedtx=1;maxaveragebitrate=64000",
            "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1;usedtx=1;maxaveragebitrate=64000",
            "minptime=10;useinbandfec=0;stereo=0;sprop-stereo=0;usedtx=0;maxaveragebitrate=510000",
            "stereo=1",
            "sprop-stereo=1",
            "usedtx=1",
            "maxaveragebitrate=24000",
            PLAIN,
        ] {
            let offer = offer.replace(&line, &format!("a=fmtp:111 {offered}\n"));
            let answer = answered(dev.url(), kind, &offer).await;
            let wanted: BTreeSet<&str> = offered.split(';').collect();
            assert_eq!(opus(&answer), wanted, "{kind}: {answer}");
        }
        let answer = answered(dev.url(), kind, &offer.replace(&line, "")).await;
        assert!(opus(&answer).is_empty(), "{kind}: nothing is made up: {answer}");
    }
    // As programs write them: what else they say of themselves is theirs.
    for (offer, wanted) in [
        (
            include_str!("data/offer-obs.sdp"),
            "minptime=10;maxaveragebitrate=160000;stereo=1;sprop-stereo=1;useinbandfec=1",
        ),
        (include_str!("data/offer-gstreamer.sdp"), "sprop-stereo=1;stereo=1;usedtx=1"),
        (include_str!("data/offer-firefox.sdp"), "stereo=1;useinbandfec=1"),
    ] {
        let answer = answered(dev.url(), "whip", offer).await;
        let wanted: BTreeSet<&str> = wanted.split(';').collect();
        assert_eq!(opus(&answer), wanted, "{answer}");
    }
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stereo_stays_stereo_from_one_browser_to_another() {
    let dev = Dev::start("codecs-stereo", 2, 1).await;
    dev.script("stereo.mjs");
    dev.stop();
}

async fn publishes(base: &str, codec: VideoCodec, number: u64) -> Publisher {
    let mut config = PublisherConfig::new(format!("{base}/whip/stage"));
    (config.publisher, config.retry_for) = (Some(number), SOON);
    config.video.as_mut().unwrap().codec = codec;
    Publisher::connect(config).await.expect("a publisher joins")
}

async fn watches(base: &str, codecs: &[VideoCodec]) -> Viewer {
    let mut config = ViewerConfig::new(format!("{base}/whep/stage"));
    (config.codecs, config.retry_for) = (codecs.to_vec(), SOON);
    let viewer = Viewer::connect(config).await.expect("a viewer joins");
    assert!(viewer.wait_for_media(SOON).await, "{:?}", viewer.report());
    viewer
}

/// Packets of picture of this publisher that came.
fn came(viewer: &Viewer, publisher: u64) -> u64 {
    let report = viewer.report();
    let segments = &report.video().unwrap().segments;
    segments.iter().filter(|segment| segment.publisher == publisher).map(|segment| segment.received).sum()
}

async fn plays(viewer: &Viewer, publisher: u64) {
    eventually(SOON, &format!("the picture of publisher {publisher} plays"), || async {
        (came(viewer, publisher) > 60).then_some(())
    })
    .await;
}

/// What a GET of the session says that cannot be played.
async fn unplayable(viewer: &Viewer) -> Option<String> {
    let answer = request("GET", viewer.resource().url(), None, &[], "").await.expect("an answer");
    assert_eq!(answer.status, 204, "the session lives");
    answer.headers.get("freshet-unplayable").map(|value| value.to_str().unwrap().to_owned())
}

async fn listens(viewer: &Viewer) -> Listener {
    let url = format!("{}/sse", viewer.resource().url());
    let made = request("POST", &url, None, &[], "").await.unwrap();
    assert_eq!(made.status, 201);
    let base = url.split("/sessions/").next().unwrap();
    Listener::read(&format!("{base}{}", made.headers["location"].to_str().unwrap()), "").await
}

/// The data of each `unplayable` that was heard.
fn heard(listener: &Listener) -> Vec<String> {
    let text = listener.text();
    // The last may still be on its way.
    let data = |rest: &str| Some(rest.split_once("data: ")?.1.split_once('\n')?.0.to_owned());
    text.split("event: unplayable\n").skip(1).filter_map(data).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_in_another_codec_goes_on_for_some_and_is_told_to_the_others() {
    // Two places a node: what is published last comes to the first viewer over a link, in a session that it had before.
    let dev = Dev::start("codecs-republish", 2, 2).await;
    let base = dev.url().to_owned();
    let first = publishes(&base, VideoCodec::H264, 1).await;
    let both = watches(&base, &[VideoCodec::H264, VideoCodec::Vp8]).await;
    let one = watches(&base, &[VideoCodec::H264]).await;
    let (of_both, of_one) = (listens(&both).await, listens(&one).await);
    for viewer in [&both, &one] {
        plays(viewer, 1).await;
        assert_eq!(unplayable(viewer).await, None);
    }

    let second = publishes(&base, VideoCodec::Vp8, 2).await;
    plays(&both, 2).await;
    eventually(SOON, "the other is told by an event", || async { heard(&of_one).pop() }).await;
    let said = unplayable(&one).await.expect("the session's state says it");
    let (line, codec) = said.split_once(";codec=").expect("the m-line and its codec");
    assert_eq!(codec, "VP8");
    assert_eq!(heard(&of_one), [format!("{{\"{line}\":\"VP8\"}}")], "once, and as the state says it");
    assert_eq!(came(&one, 2), 0, "it is sent nothing that it cannot show");
    let sound = one.report().audio().unwrap().received;
    eventually(SOON, "its sound goes on", || async {
        (one.report().audio().unwrap().received > sound + 50).then_some(())
    })
    .await;
    assert_eq!((unplayable(&both).await, heard(&of_both)), (None, vec![]), "who negotiated it hears nothing");

    let third = publishes(&base, VideoCodec::H264, 3).await;
    for viewer in [&both, &one] {
        plays(viewer, 3).await;
    }
    eventually(SOON, "it is told that all can be sent again", || async {
        (heard(&of_one).last().is_some_and(|data| data == "{}")).then_some(())
    })
    .await;
    assert_eq!(unplayable(&one).await, None);
    drop((first, second, third));
    dev.stop();
}
