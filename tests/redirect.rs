//! `--join redirect`: clients are sent on to the node, over real processes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::{Duration, Instant};

use freshet_cluster::token::{ApiKey, Claims, sign};
use freshet_cluster::unit::UnixMillis;
use freshet_loadtest::client::{Publisher, PublisherConfig};
use freshet_test_support as support;
use serde_json::json;
use support::client::Pair;
use support::dev::browse;
use support::{
    Cluster, Flags, KEY, Plan, eventually, metric, publish, remember_secret, request, served_by, token, view,
};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const ROOM: &str = "sent-on";
/// How long a ticket is good.
const TICKET: Duration = Duration::from_secs(30);

/// The first coordinator sends clients on.
fn first_sends_on(name: &str) -> Vec<String> {
    let more: &[&str] = if name == "coordinator-1" { &["--join", "redirect"] } else { &[] };
    more.iter().map(|flag| (*flag).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_sent_on_to_the_node_and_their_sessions_are_reached_from_everywhere() {
    let plan = Plan { nodes: 2, coordinators: 2, max_sessions: 2 };
    let cluster = Cluster::start_as("redirect", plan, Box::new(first_sends_on)).await;
    let (base, other) = (cluster.url(0), cluster.url(1));
    let (host, guest) = (token(ROOM, "host", "publish"), token(ROOM, "guest", "subscribe"));

    // A plain client, step by step.
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let url = format!("{base}/whep/{ROOM}?wait=1");
    let unknown = request("POST", &url, None, &[SDP], offer.clone()).await.unwrap();
    assert_eq!(unknown.status, 401, "who it is asks the coordinator");
    let sent_on = request("POST", &url, Some(&guest), &[SDP], offer.clone()).await.unwrap();
    assert_eq!(sent_on.status, 307, "{:?}", sent_on.json());
    assert_eq!(sent_on.headers["cache-control"], "no-store");
    let to = sent_on.headers["location"].to_str().unwrap().to_owned();
    remember_secret(to.rsplit_once("ticket=").expect("a ticket").1);
    let node = cluster.node_ports.iter().map(|port| format!("http://127.0.0.1:{port}"));
    let node =
        node.clone().find(|node| to.starts_with(&format!("{node}/whep/{ROOM}?wait=1&"))).expect("a node");
    // It is for one room and one node, and for the offer that the coordinator saw.
    let elsewhere = cluster.node_ports.iter().map(|port| format!("http://127.0.0.1:{port}"));
    let elsewhere = elsewhere.clone().find(|other| *other != node).expect("another node");
    for wrong in [
        to.replacen(&node, &elsewhere, 1),
        to.replacen(ROOM, "another", 1),
        to.replacen("wait=1", "wait=0", 1),
    ] {
        let answer = request("POST", &wrong, Some(&guest), &[SDP], offer.clone()).await.unwrap();
        assert_eq!((answer.status, &answer.json()["reason"]), (401, &"ticket-refused".into()), "{wrong}");
    }
    let changed = request("POST", &to, None, &[SDP], format!("{offer}a=x\r\n")).await.unwrap();
    assert_eq!((changed.status, &changed.json()["reason"]), (401, &"ticket-refused".into()));
    let made = request("POST", &to, None, &[SDP, ("origin", "null")], offer.clone()).await.unwrap();
    assert_eq!(made.status, 201, "{:?}", made.json());
    assert_eq!(made.headers["access-control-allow-origin"], "*");
    let again = request("POST", &to, None, &[SDP], offer.clone()).await.unwrap();
    assert_eq!((again.status, &again.json()["reason"]), (401, &"ticket-refused".into()));
    let unused = request("POST", &url, Some(&guest), &[SDP], offer.clone()).await.unwrap();
    let (unused, sent_on_at) = (unused.headers["location"].to_str().unwrap().to_owned(), Instant::now());
    remember_secret(unused.rsplit_once("ticket=").expect("a ticket").1);

    // The session is its identity's, at the node and at any coordinator.
    let session = made.headers["location"].to_str().unwrap().to_owned();
    let path = session.strip_prefix(&node).expect("the session is at the node");
    let tag = made.headers["etag"].to_str().unwrap().to_owned();
    let fragment = "a=mid:0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 50000 typ host\r\n";
    let headers = [("content-type", "application/trickle-ice-sdpfrag"), ("if-match", tag.as_str())];
    for at in [node.as_str(), base.as_str(), other.as_str()] {
        let url = format!("{at}{path}");
        let answer = request("PATCH", &url, Some(&guest), &headers, fragment).await.unwrap();
        assert_eq!(answer.status, 204, "{at}: {:?}", answer.json());
        let answer = request("DELETE", &url, Some(&host), &[], "").await.unwrap();
        assert_eq!(answer.status, 403, "{at}");
    }
    let ended = request("DELETE", &format!("{other}{path}"), Some(&guest), &[], "").await.unwrap();
    assert_eq!(ended.status, 200);

    // Clients that follow, over both nodes: a node gets the plan from the store.
    let publisher = publish(&base, ROOM, &host, |_| {}).await;
    let viewers = [view(&base, ROOM, &guest, |_| {}).await, view(&base, ROOM, &guest, |_| {}).await];
    for viewer in &viewers {
        assert!(viewer.wait_for_media(Duration::from_secs(15)).await, "{}", cluster.tails());
        assert!(cluster.node_ports.iter().any(|port| viewer.resource().url().contains(&port.to_string())));
    }
    let origin = served_by(publisher.resource().url());
    let far = viewers.iter().any(|viewer| served_by(viewer.resource().url()) != origin);
    assert!(far, "two sessions are all that one node takes");
    for viewer in viewers {
        viewer.stop().await.unwrap();
    }
    publisher.stop().await.unwrap();

    // One that nobody used is worth nothing after 30 s.
    tokio::time::sleep((TICKET + Duration::from_secs(1)).saturating_sub(sent_on_at.elapsed())).await;
    let late = request("POST", &unused, None, &[SDP], offer).await.unwrap();
    assert_eq!((late.status, &late.json()["reason"]), (401, &"ticket-refused".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ones_own_oldest_makes_way_though_the_new_one_is_made_elsewhere() {
    let plan = Plan { nodes: 2, coordinators: 1, max_sessions: 1 };
    let cluster = Cluster::start_as("redirect-bound", plan, Box::new(first_sends_on)).await;
    let base = cluster.url(0);
    let claims = json!({"room": ROOM, "identity": "host", "grants": ["publish"], "streams": ["*"],
        "exp": UnixMillis::now().0 / 1000 + 600});
    let host = sign(&KEY.parse::<ApiKey>().unwrap(), &serde_json::from_value::<Claims>(claims).unwrap());
    remember_secret(&host);
    let camera = |name: &str| PublisherConfig {
        token: Some(host.clone()),
        ..PublisherConfig::new(format!("{base}/whip/{ROOM}/{name}"))
    };
    // One session is all that a node takes: the second goes to the other one.
    let first = Publisher::connect(camera("cam-1")).await.expect("the first joins");
    let state = async |session: &str| {
        let answer = request("GET", session, Some(&host), &[], "").await.expect("an answer");
        (answer.status, answer.json()["reason"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(state(first.resource().url()).await.0, 204);
    // Of two that come within 50 ms neither is the older.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let second =
        eventually(Duration::from_secs(15), "the coordinator knows that the first node is full", || async {
            Publisher::connect(camera("cam-2")).await.ok()
        })
        .await;
    assert_ne!(served_by(first.resource().url()), served_by(second.resource().url()));
    eventually(Duration::from_secs(20), "the first one makes way", || async {
        (state(first.resource().url()).await == (404, "taken-over".to_owned())).then_some(())
    })
    .await;
    assert_eq!(state(second.resource().url()).await.0, 204);
    first.close().await;
    second.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_is_let_in_by_a_node_that_did_not_carry_the_room_until_now() {
    let plan = Plan { nodes: 2, coordinators: 1, max_sessions: 1 };
    let cluster = Cluster::start_as("redirect-new", plan, Box::new(first_sends_on)).await;
    let base = cluster.url(0);
    let (host, guest) = (token(ROOM, "host", "publish"), token(ROOM, "guest", "subscribe"));
    let publisher = publish(&base, ROOM, &host, |_| {}).await;
    // It does not wait for a publisher. The node, which has heard of neither room nor plan, must not say that there is none.
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let url = format!("{base}/whep/{ROOM}");
    let to = eventually(
        Duration::from_secs(15),
        "the coordinator knows who publishes and who is full",
        || async {
            let answer = request("POST", &url, Some(&guest), &[SDP], offer.clone()).await?;
            Some(answer.headers.get("location")?.to_str().unwrap().to_owned())
        },
    )
    .await;
    let made = request("POST", &to, None, &[SDP], offer).await.unwrap();
    assert_eq!(made.status, 201, "{:?}", made.json());
    let session = made.headers["location"].to_str().unwrap();
    assert_ne!(served_by(session), served_by(publisher.resource().url()));
    publisher.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_sent_away_is_not_let_in_by_a_ticket_from_before() {
    let plan = Plan { nodes: 1, coordinators: 1, max_sessions: 2 };
    let cluster = Cluster::start_as("redirect-away", plan, Box::new(first_sends_on)).await;
    let (base, node) = (cluster.url(0), format!("http://127.0.0.1:{}", cluster.node_ports[0]));
    let (guest, admin) = (token(ROOM, "guest", "subscribe"), token(ROOM, "boss", "admin"));
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let path = format!("whep/{ROOM}?wait=1");
    let sent_on =
        request("POST", &format!("{base}/{path}"), Some(&guest), &[SDP], offer.clone()).await.unwrap();
    assert_eq!(sent_on.status, 307, "{:?}", sent_on.json());
    let to = sent_on.headers["location"].to_str().unwrap().to_owned();
    remember_secret(to.rsplit_once("ticket=").expect("a ticket").1);
    let away = request("PUT", &format!("{base}/v1/rooms/{ROOM}/bans/guest"), Some(&admin), &[], "").await;
    assert!((200..300).contains(&away.as_ref().unwrap().status), "{:?}", away.unwrap().json());
    let why = |answer: &support::Answer| (answer.status, answer.json()["reason"].clone());
    // The node has heard of it when the token is refused there.
    eventually(Duration::from_secs(10), "refused", || async {
        let answer = request("POST", &format!("{node}/{path}"), Some(&guest), &[SDP], offer.clone()).await;
        (why(&answer.unwrap()) == (403, "revoked".into())).then_some(())
    })
    .await;
    let answer = request("POST", &to, None, &[SDP], offer).await.unwrap();
    assert_eq!(why(&answer), (403, "revoked".into()), "{:?}", answer.json());
}

/// A coordinator that sends on and a node, each with this certificate and these flags.
async fn by_https(test: &str, pair: &Pair, more: &'static [&'static str]) -> Cluster {
    let files = [&pair.cert, &pair.key].map(|path| path.display().to_string());
    let flags: Flags = Box::new(move |name| {
        let own =
            if name.starts_with("node") { ["--listen-plain", "127.0.0.1:0"] } else { ["--join", "redirect"] };
        let tls = ["--tls-cert", &files[0], "--tls-key", &files[1]];
        tls.iter().chain(more).chain(&own).map(|flag| (*flag).to_owned()).collect()
    });
    let plan = Plan { nodes: 1, coordinators: 1, max_sessions: 10 };
    Cluster::start_as(test, plan, flags).await
}

/// A node without a public URL is known by where it listens inside, without TLS: nobody is sent there from a secure page, and no
/// ticket crosses the network in the clear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_https_nobody_is_sent_on_to_where_there_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), &["127.0.0.1"]);
    let cluster = by_https("redirect-plain", &pair, &[]).await;
    let base = cluster.url(0);
    assert!(base.starts_with("https://"), "{base}");
    let (host, guest) = (token(ROOM, "host", "publish"), token(ROOM, "guest", "subscribe"));
    let publisher = publish(&base, ROOM, &host, |config| config.trust = pair.trust()).await;
    let viewer = view(&base, ROOM, &guest, |config| config.trust = pair.trust()).await;
    for session in [publisher.resource().url(), viewer.resource().url()] {
        assert!(session.starts_with(&format!("{base}/sessions/node-1/")), "{session}");
    }
    assert!(viewer.wait_for_media(Duration::from_secs(15)).await, "{}", cluster.tails());
    for kind in ["publish", "view"] {
        let name = format!("freshet_coordinator_joins_total{{kind=\"{kind}\",outcome=\"redirected\"}}");
        assert_eq!(metric(&base, &name).await.unwrap_or_default(), 0.0, "{kind}: sent on");
    }
    viewer.stop().await.unwrap();
    publisher.stop().await.unwrap();
}

/// As docs/operate.md advises: every process has a certificate, and each node a public URL of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn by_https_clients_are_sent_on_to_the_nodes_own_public_url() {
    let dir = tempfile::tempdir().unwrap();
    let pair = Pair::make(dir.path(), &["127.0.0.1"]);
    let cluster = by_https("redirect-https", &pair, &["--public-url", "https://127.0.0.1:OWN-PORT"]).await;
    let (base, node) = (cluster.url(0), format!("https://127.0.0.1:{}", cluster.node_ports[0]));
    assert!(base.starts_with("https://"), "{base}");
    let (host, guest) = (token(ROOM, "host", "publish"), token(ROOM, "guest", "subscribe"));

    // Step by step: the coordinator names the node's URL, and the node names it again.
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let url = format!("{base}/whep/{ROOM}?wait=1");
    let sent_on = request("POST", &url, Some(&guest), &[SDP], offer.clone()).await.unwrap();
    assert_eq!(sent_on.status, 307, "{:?}", sent_on.json());
    let to = sent_on.headers["location"].to_str().unwrap().to_owned();
    remember_secret(to.rsplit_once("ticket=").expect("a ticket").1);
    assert!(to.starts_with(&format!("{node}/whep/{ROOM}?wait=1&")), "it goes elsewhere than to {node}");
    let made = request("POST", &to, None, &[SDP], offer).await.unwrap();
    assert_eq!(made.status, 201, "{:?}", made.json());
    let session = made.headers["location"].to_str().unwrap();
    let path = session.strip_prefix(&node).expect("the session is at the node's own URL");
    // The coordinator, which has another URL, serves its path as well.
    let ended = request("DELETE", &format!("{base}{path}"), Some(&guest), &[], "").await.unwrap();
    assert_eq!(ended.status, 200, "{:?}", ended.json());

    // Clients that follow: TLS to the one and to the other, and media from the node.
    let publisher = publish(&base, ROOM, &host, |config| config.trust = pair.trust()).await;
    let viewer = view(&base, ROOM, &guest, |config| config.trust = pair.trust()).await;
    for session in [publisher.resource().url(), viewer.resource().url()] {
        assert!(session.starts_with(&format!("{node}/sessions/node-1/")), "{session}");
    }
    assert!(viewer.wait_for_media(Duration::from_secs(15)).await, "{}", cluster.tails());
    // None of them was handed over.
    for (kind, joins) in [("publish", 1.0), ("view", 2.0)] {
        let name = format!("freshet_coordinator_joins_total{{kind=\"{kind}\",outcome=\"redirected\"}}");
        let sent_on = metric(&base, &name).await;
        assert!(sent_on.is_some_and(|sent_on| sent_on >= joins), "{kind}: {sent_on:?}");
        let name = format!("freshet_coordinator_joins_total{{kind=\"{kind}\",outcome=\"accepted\"}}");
        assert_eq!(metric(&base, &name).await.unwrap_or_default(), 0.0, "{kind}: handed over");
    }
    viewer.stop().await.unwrap();
    publisher.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_with_tokens_follow_to_the_node_with_a_ticket_alone() {
    let plan = Plan { nodes: 1, coordinators: 1, max_sessions: 10 };
    let cluster = Cluster::start_as("redirect-pages", plan, Box::new(first_sends_on)).await;
    let (base, node) = (cluster.url(0), format!("http://127.0.0.1:{}", cluster.node_ports[0]));
    let (host, guest) = (token(ROOM, "host", "publish"), token(ROOM, "guest", "subscribe"));
    let outcome = browse(
        "redirected.mjs",
        &[
            ("FRESHET_PUBLISH_URL", &base),
            ("FRESHET_WATCH_URL", &base),
            ("FRESHET_NODES", &node),
            ("FRESHET_ROOM", ROOM),
            ("FRESHET_HOST_TOKEN", &host),
            ("FRESHET_GUEST_TOKEN", &guest),
        ],
    );
    assert!(outcome.ok, "{}\n{}", outcome.said, cluster.tails());
    let hops = json!([[base, "POST", 307], [node, "POST", 201]]);
    for kind in ["whip", "whep"] {
        assert_eq!(outcome.result[kind], hops, "{kind}: {}", outcome.said);
    }
}
