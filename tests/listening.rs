//! WHEP's extensions through coordinators: what a viewer's session says of the stream that it watches.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use freshet_test_support as support;
use support::{Answer, Cluster, Listener, Plan, eventually, gauges, publish, request, token};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const JSON: (&str, &str) = ("content-type", "application/json");
const SOON: Duration = Duration::from_secs(20);

async fn ask(method: &str, url: &str, token: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    request(method, url, Some(token), headers, body.to_owned()).await.expect("somebody answers")
}

/// Status and reason of what is refused.
async fn refused(method: &str, url: &str, token: &str, body: &str) -> (u16, String) {
    let answer = ask(method, url, token, &[JSON], body).await;
    (answer.status, answer.json()["reason"].as_str().unwrap_or_default().to_owned())
}

/// The events in what a listener heard, each with its data.
fn events(listener: &Listener) -> Vec<(String, String)> {
    let text = listener.text();
    let blocks = text.split("\n\n").filter(|block| block.starts_with("event: "));
    let event = |block: &str| {
        let (name, data) = block.split_once('\n').expect("an event has data");
        let data = data.strip_prefix("data: ").expect("a data line and nothing else");
        assert!(!data.contains('\n'), "one data line: {block}");
        (name["event: ".len()..].to_owned(), data.to_owned())
    };
    blocks.map(event).collect()
}

async fn hears(listener: &Listener, wanted: &[&str]) {
    let wanted: Vec<_> = wanted.iter().map(|name| ((*name).to_owned(), "{}".to_owned())).collect();
    eventually(SOON, &format!("{wanted:?} are heard"), || async {
        let heard = events(listener);
        assert!(heard.len() <= wanted.len(), "{heard:?}, wanted {wanted:?}");
        (heard == wanted).then_some(())
    })
    .await;
}

/// Event streams of the cluster's nodes, and those who read them.
async fn kept(cluster: &Cluster) -> Option<(f64, f64)> {
    let (mut streams, mut readers) = (0.0, 0.0);
    for port in &cluster.node_ports {
        let gauges = gauges(&format!("http://127.0.0.1:{port}")).await?;
        streams += gauges.get("freshet_node_event_streams")?;
        readers += gauges.get("freshet_node_event_stream_readers")?;
    }
    Some((streams, readers))
}

async fn until_kept(cluster: &Cluster, wanted: (f64, f64)) {
    let what = format!("{wanted:?} event streams and readers");
    eventually(SOON, &what, || async { kept(cluster).await.filter(|kept| *kept == wanted).map(drop) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_hears_through_any_coordinator_when_its_stream_begins_and_ends() {
    let cluster = Cluster::start("listening", Plan { nodes: 2, coordinators: 2, max_sessions: 10 }).await;
    let (one, two) = (cluster.url(0), cluster.url(1));
    let (host, watch) = (token("show", "host", "publish"), token("show", "viewer", "subscribe"));
    let stranger = token("show", "stranger", "admin");

    // What a client is told when it joins.
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let made = ask("POST", &format!("{one}/whep/show?wait=1"), &watch, &[SDP], &offer).await;
    assert_eq!(made.status, 201);
    let at = made.headers["location"].to_str().unwrap().to_owned();
    let links: Vec<&str> = made.headers.get_all("link").iter().map(|link| link.to_str().unwrap()).collect();
    let sse = format!(
        "<{at}/sse>; rel=\"urn:ietf:params:whep:ext:core:server-sent-events\"; events=\"active,inactive,layers,unplayable\""
    );
    let layer = format!("<{at}/layer>; rel=\"urn:ietf:params:whep:ext:core:layer\"");
    assert!(links.contains(&sse.as_str()) && links.contains(&layer.as_str()), "{links:?}");
    let exposed = made.headers["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("Link") && exposed.contains("Location"), "{exposed}");
    assert_eq!(ask("DELETE", &format!("{one}{at}"), &watch, &[], "").await.status, 200);

    // A session that waits for its host.
    let viewer = {
        let mut config = freshet_loadtest::client::ViewerConfig::new(format!("{one}/whep/show?wait=1"));
        config.token = Some(watch.clone());
        config.retry_for = SOON;
        freshet_loadtest::client::Viewer::connect(config).await.expect("a viewer joins")
    };
    let path = viewer.resource().url().strip_prefix(&one).expect("a session of this coordinator").to_owned();
    let (sse, layer) = (format!("{two}{path}/sse"), format!("{two}{path}/layer"));
    for (body, wanted) in [
        ("{}", (400, "bad-json")),
        ("[7]", (400, "bad-json")),
        ("nonsense", (400, "bad-json")),
        ("[]", (422, "no-such-event")),
    ] {
        assert_eq!(refused("POST", &sse, &watch, body).await, (wanted.0, wanted.1.to_owned()), "{body}");
    }
    let large = format!("[\"{}\"]", "x".repeat(20_000));
    assert_eq!(refused("POST", &sse, &watch, &large).await.0, 413);
    assert_eq!(refused("POST", &layer, &watch, "[]").await, (400, "bad-json".to_owned()));
    assert_eq!(refused("POST", &layer, &watch, "{\"rid\": \"h\"}").await, (422, "no-such-layer".to_owned()));
    assert_eq!(
        refused("POST", &layer, &watch, "{\"mediaId\": \"9\"}").await,
        (422, "no-such-layer".to_owned())
    );
    for (body, wanted) in [
        ("{\"maxTemporalLayerId\": \"0\"}", (400, "bad-json")),
        ("{\"temporalLayerId\": -1}", (400, "bad-json")),
        ("{\"maxTemporalLayerId\": 4}", (422, "no-such-layer")),
    ] {
        assert_eq!(refused("POST", &layer, &watch, body).await, (wanted.0, wanted.1.to_owned()), "{body}");
    }
    for body in ["{\"maxTemporalLayerId\": 0}", "{}"] {
        assert_eq!(ask("POST", &layer, &watch, &[JSON], body).await.status, 200, "{body}");
    }

    let subscribe = async |body: &str| {
        let made = ask("POST", &sse, &watch, &[JSON], body).await;
        assert_eq!(made.status, 201, "{}", made.json());
        made.headers["location"].to_str().unwrap().to_owned()
    };
    let all = subscribe("[\"active\",\"inactive\",\"layers\",\"viewercount\"]").await;
    let ends = subscribe("[\"inactive\"]").await;
    assert_eq!(refused("POST", &sse, &watch, "").await, (409, "too-many-event-streams".to_owned()));
    for (method, url) in [
        ("POST", &sse),
        ("POST", &layer),
        ("GET", &format!("{two}{all}")),
        ("DELETE", &format!("{two}{all}")),
    ] {
        assert_eq!(
            refused(method, url, &stranger, "{}").await,
            (403, "not-yours".to_owned()),
            "{method} {url}"
        );
        let nobody = request(method, url, None, &[JSON], "{}").await.unwrap();
        assert_eq!(nobody.status, 401, "{method} {url}");
    }

    // Heard through either coordinator.
    let mut all_heard = Listener::read(&format!("{one}{all}"), &watch).await;
    let ends_heard = Listener::read(&format!("{two}{ends}"), &watch).await;
    until_kept(&cluster, (2.0, 2.0)).await;
    assert_eq!((events(&all_heard), events(&ends_heard)), (vec![], vec![]), "no initial inactive");
    let publisher = publish(&two, "show", &host, |config| config.retry_for = SOON).await;
    hears(&all_heard, &["active", "layers"]).await;
    publisher.stop().await.unwrap();
    hears(&all_heard, &["active", "layers", "inactive"]).await;
    hears(&ends_heard, &["inactive"]).await;

    // A reader goes; who comes back hears how it is now.
    drop(all_heard);
    until_kept(&cluster, (2.0, 1.0)).await;
    let publisher = publish(&one, "show", &host, |config| config.retry_for = SOON).await;
    assert!(viewer.wait_for_media(SOON).await, "{}", cluster.tails());
    all_heard = Listener::read(&format!("{two}{all}"), &watch).await;
    hears(&all_heard, &["active", "layers"]).await;
    hears(&ends_heard, &["inactive"]).await;

    // One that is deleted ends for its reader; the session's end ends the other.
    assert_eq!(ask("DELETE", &format!("{one}{ends}"), &watch, &[], "").await.status, 200);
    eventually(SOON, "the deleted stream ends", || async { ends_heard.ended().then_some(()) }).await;
    for method in ["GET", "DELETE"] {
        let gone = refused(method, &format!("{one}{ends}"), &watch, "").await;
        assert_eq!(gone, (404, "no-event-stream".to_owned()), "{method}");
    }
    until_kept(&cluster, (1.0, 1.0)).await;
    viewer.stop().await.unwrap();
    eventually(SOON, "the session's end ends its stream", || async { all_heard.ended().then_some(()) }).await;
    hears(&all_heard, &["active", "layers"]).await;
    assert_eq!(refused("GET", &format!("{one}{all}"), &watch, "").await.0, 404);
    until_kept(&cluster, (0.0, 0.0)).await;
    publisher.stop().await.unwrap();
}
