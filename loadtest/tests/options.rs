//! What RFC 9725 and the WHEP draft leave to servers: whichever way one takes, the clients follow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::panic, missing_docs)]

mod fixture;

use std::sync::Arc;
use std::time::Duration;

use fixture::{Fixture, Location, Script};
use freshet_loadtest::client::{
    ClientError, Gate, IceServer, Publisher, PublisherConfig, SessionState, Viewer, ViewerConfig, call,
};
use freshet_loadtest::scenario::Turn;

const SOON: Duration = Duration::from_secs(10);

async fn publish(server: &Fixture) -> Publisher {
    Publisher::connect(PublisherConfig::new(server.url("/whip/room"))).await.unwrap()
}

fn watch(server: &Fixture) -> ViewerConfig {
    ViewerConfig::new(server.url("/whep/room"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_location_may_be_written_in_every_way() {
    for location in [Location::Relative, Location::Path, Location::Network, Location::Absolute] {
        let server = Fixture::start(Script { location, ..Script::default() }).await;
        let publisher = publish(&server).await;
        let viewer = Viewer::connect(watch(&server)).await.unwrap();
        assert_eq!(publisher.resource().url(), server.url("/sessions/1"), "{location:?}");
        assert_eq!(viewer.resource().url(), server.url("/sessions/2"), "{location:?}");
        viewer.stop().await.unwrap();
        publisher.stop().await.unwrap();
        assert_eq!(server.count(|counters| &counters.deletes), 2, "{location:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_takes_method_and_body_along_but_no_token_to_another_origin() {
    let second = Fixture::start(Script::default()).await;
    let moved = Some(second.url("/whep/room"));
    let first = Fixture::start(Script { moved, ..Script::default() }).await;
    let _publisher = publish(&second).await;
    let viewer = Viewer::connect(ViewerConfig::new(first.url("/moved"))).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await);
    assert_eq!(viewer.resource().url(), second.url("/sessions/2"));
    assert_eq!(second.count(|counters| &counters.posts), 2, "it was a POST there too");
    viewer.stop().await.unwrap();
    assert_eq!(second.count(|counters| &counters.deletes), 1, "the session is the second server's");

    let strict = Fixture::start(Script { token: Some("right".into()), ..Script::default() }).await;
    let moved = Some(strict.url("/whip/room"));
    let astray = Fixture::start(Script { moved, ..Script::default() }).await;
    let config =
        PublisherConfig { token: Some("right".into()), ..PublisherConfig::new(astray.url("/moved")) };
    assert_eq!(Publisher::connect(config).await.unwrap_err().status(), Some(401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn neither_etag_nor_patch_has_to_be_there() {
    let server = Fixture::start(Script { no_etag: true, ..Script::default() }).await;
    let _publisher = publish(&server).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    assert_eq!((viewer.resource().etag(), viewer.negotiated().etag.as_deref()), (None, None));
    let candidate = "candidate:9 1 udp 1 127.0.0.1 9 typ host".to_owned();
    assert_eq!(viewer.resource().trickle(&[candidate], true).await.unwrap().status, 204);
    assert_eq!(viewer.restart_ice().await.unwrap().status, 200);

    let server = Fixture::start(Script { no_patch: true, no_etag: true, ..Script::default() }).await;
    let publisher = publish(&server).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    assert!(viewer.wait_for_media(SOON).await);
    let refused = viewer.restart_ice().await.unwrap_err();
    assert_eq!((refused.status(), refused.class().as_str()), (Some(405), "HTTP 405"));
    assert_eq!(publisher.restart_ice().await.unwrap_err().status(), Some(405));
    // The session is what it was.
    let before = viewer.report().video().unwrap().received;
    let on = viewer.wait_until(SOON, |report| report.video().unwrap().received > before + 300).await;
    assert!(on && viewer.state() == SessionState::Connected, "{:?}", viewer.report());
    viewer.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_counter_offer_is_answered() {
    let server = Fixture::start(Script { counter_offer: true, ..Script::default() }).await;
    let publisher = publish(&server).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    assert_eq!(viewer.negotiated().response.status, 406);
    assert!(viewer.negotiated().countered && !publisher.negotiated().countered);
    assert_eq!(server.count(|counters| &counters.patches), 1);
    assert!(viewer.wait_for_media(SOON).await, "{:?}", viewer.report());
    let report = viewer.report();
    assert_eq!((report.tracks.len(), report.unmapped), (2, 0));
    assert_eq!((report.video().unwrap().missing, report.video().unwrap().unstamped), (0, 0));
    viewer.stop().await.unwrap();
    assert_eq!(server.count(|counters| &counters.deletes), 1);

    // A viewer that hears no answer to its answer has no session.
    let server = Fixture::start(Script { counter_offer: true, no_patch: true, ..Script::default() }).await;
    let _publisher = publish(&server).await;
    let refused = Viewer::connect(watch(&server)).await.unwrap_err();
    assert_eq!(refused.class(), "HTTP 405");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ice_servers_of_links_are_read_and_tried_where_they_are_needed() {
    // Nobody answers at the discard port.
    let turn = "<turn:127.0.0.1:9?transport=udp>; rel=\"ice-server\"; username=\"u\"; credential=\"c\"";
    let links =
        vec![format!("<stun:127.0.0.1:9>; rel=\"ice-server\", {turn}"), "</x>; rel=\"other\"".to_owned()];
    let server = Fixture::start(Script { links, ..Script::default() }).await;
    let _publisher = publish(&server).await;
    let viewer = Viewer::connect(watch(&server)).await.unwrap();
    let expected = [
        IceServer { url: "stun:127.0.0.1:9".into(), username: None, credential: None },
        IceServer {
            url: "turn:127.0.0.1:9?transport=udp".into(),
            username: Some("u".into()),
            credential: Some("c".into()),
        },
    ];
    assert_eq!(viewer.negotiated().ice_servers, expected);
    assert!(!viewer.report().relayed, "there is a direct way");

    let only = Viewer::connect(ViewerConfig { turn: Turn::Only, ..watch(&server) }).await.unwrap_err();
    assert!(only.to_string().contains("the TURN server turn:127.0.0.1:9"), "{only}");
    let plain = Fixture::start(Script::default()).await;
    let _publisher = publish(&plain).await;
    let none = Viewer::connect(ViewerConfig { turn: Turn::Only, ..watch(&plain) }).await.unwrap_err();
    assert!(none.to_string().contains("names none that can be used"), "{none}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_led_to_a_public_host_that_was_not_named() {
    let sessions = Script { location: Location::Public, ..Script::default() };
    let moved = Some("http://192.0.2.1:9/whep/room".to_owned());
    let away = Fixture::start(Script { moved, ..sessions }).await;
    for path in ["/whip/room", "/moved"] {
        let url = away.url(path);
        // The target is the user's own; what it leads to is not.
        let gate = Some(Arc::new(Gate::of_sessions(&[&url], &[], true).unwrap()));
        let config = PublisherConfig { allow_public: true, gate, ..PublisherConfig::new(url.clone()) };
        let refused = Publisher::connect(config).await.unwrap_err();
        assert!(matches!(refused, ClientError::StrangeHost { .. }), "{path}: {refused}");
        assert_eq!(refused.class(), "192.0.2.1:9 was not named: --allow-host 192.0.2.1:9");
        if path == "/moved" {
            // Nor is a call in the run, such as one that drains a node.
            let gate = Some(Arc::new(Gate::of_sessions(&[&url], &[], true).unwrap()));
            let like = ViewerConfig { allow_public: true, gate, ..ViewerConfig::new(url.clone()) };
            let refused = call("POST", &url, None, None, &like).await.unwrap_err();
            assert!(matches!(refused, ClientError::StrangeHost { .. }), "{refused}");
        }
        // Without that statement the address is enough.
        let refused = Publisher::connect(PublisherConfig::new(url)).await.unwrap_err();
        assert!(matches!(refused, ClientError::ForbiddenTarget { .. }), "{path}: {refused}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_goes_to_no_other_host_unless_it_is_allowed() {
    let server = Fixture::start(Script {
        location: Location::Renamed,
        token: Some("right".into()),
        ..Script::default()
    })
    .await;
    let url = server.url("/whip/room");
    let bearers = || server.count(|counters| &counters.bearers);
    for (hosts, expected) in [(vec![], 0), (vec!["localhost".to_owned()], 1)] {
        let gate = Some(Arc::new(Gate::of_sessions(&[&url], &hosts, false).unwrap()));
        let config =
            PublisherConfig { token: Some("right".into()), gate, ..PublisherConfig::new(url.clone()) };
        Publisher::connect(config).await.unwrap().stop().await.unwrap();
        assert_eq!(bearers(), expected, "{hosts:?}");
    }
    assert_eq!(server.count(|counters| &counters.deletes), 2, "both sessions were ended there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_comes_to_nothing_is_deleted() {
    fn unreachable(sdp: String) -> String {
        replaced(&sdp, "a=candidate:", " 127.0.0.1 ", " 127.255.255.254 ")
    }
    fn public(sdp: String) -> String {
        replaced(&sdp, "a=candidate:", " 127.0.0.1 ", " 192.0.2.1 ")
    }
    // A parser that splits at every white space sees no address here; that of the session does.
    fn hidden(sdp: String) -> String {
        public(sdp).replace("a=candidate:", "a=candidate:x\t")
    }
    type Rewrite = fn(String) -> String;
    let cases: [(Rewrite, &str); 4] = [
        (unreachable, "timeout: ICE"),
        (|_| "no SDP at all".to_owned(), "bad response: no SDP answer: it begins with \"no SDP at all\""),
        (public, "target not allowed"),
        (hidden, "target not allowed"),
    ];
    for (rewrite, class) in cases {
        let server = Fixture::start(Script { rewrite: Some(rewrite), ..Script::default() }).await;
        let _publisher = publish(&server).await;
        let config = ViewerConfig { connect_timeout: Duration::from_millis(700), ..watch(&server) };
        assert_eq!(Viewer::connect(config).await.unwrap_err().class(), class);
        assert_eq!(server.count(|counters| &counters.deletes), 1, "{class}");
    }
    // The target is the user's own; a candidate at an address of nobody who was named is not.
    for rewrite in [public as Rewrite, hidden] {
        let server = Fixture::start(Script { rewrite: Some(rewrite), ..Script::default() }).await;
        let _publisher = publish(&server).await;
        let gate = Some(Arc::new(Gate::of_sessions(&[&server.url("/whep/room")], &[], true).unwrap()));
        let refused = Viewer::connect(ViewerConfig { allow_public: true, gate, ..watch(&server) }).await;
        assert_eq!(refused.unwrap_err().class(), "192.0.2.1 was not named: --allow-host 192.0.2.1");
        assert_eq!(server.count(|counters| &counters.deletes), 1);
    }
}

/// The text with a word of certain lines replaced.
fn replaced(text: &str, lines: &str, word: &str, by: &str) -> String {
    let change = |line: &str| match line.starts_with(lines) {
        true => format!("{}\r\n", line.replace(word, by)),
        false => format!("{line}\r\n"),
    };
    text.lines().map(change).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_knows_no_simulcast_is_told_from_one_that_does() {
    let layered = |server: &Fixture| {
        let mut config = PublisherConfig::new(server.url("/whip/room"));
        config.video.as_mut().unwrap().layers = 3;
        config
    };
    let server = Fixture::start(Script { one_encoding: true, ..Script::default() }).await;
    let error = Publisher::connect(layered(&server)).await.unwrap_err().to_string();
    assert!(error.contains("takes no simulcast layer that was offered"), "{error}");
    assert_eq!(server.count(|counters| &counters.deletes), 1, "its session is not left behind");
    let server = Fixture::start(Script::default()).await;
    let publisher = Publisher::connect(layered(&server)).await.unwrap();
    let offer = &publisher.negotiated().offer;
    assert!(offer.contains("a=simulcast:send q;h;f") && offer.contains("a=rid:f send"), "{offer}");
    publisher.stop().await.unwrap();
    let mut none = layered(&server);
    none.video.as_mut().unwrap().layers = 4;
    assert!(
        matches!(Publisher::connect(none).await, Err(ClientError::BadConfig(why)) if why.contains("between 1 and 3"))
    );
}
