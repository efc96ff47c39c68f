//! Sessions that are half open, at a whole server: whoever leaves many behind does not keep the others out.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Viewer, ViewerConfig};
use freshet_test_support as support;
use support::{KEY, Process, eventually, hears, metric, publish, request, token};

const SDP: (&str, &str) = ("content-type", "application/sdp");
const ROOM: &str = "stage";
/// Sessions that the node takes.
const PLACES: f64 = 60.0;

/// POSTs an offer as a guest behind a proxy, who does no more than that. Whether there is a session now.
async fn leave_one(url: &str) -> bool {
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let headers = [SDP, ("x-forwarded-for", "198.51.100.1")];
    let answer = request("POST", &format!("{url}/whep/{ROOM}"), None, &headers, offer).await;
    let answer = answer.expect("an answer");
    match answer.status {
        201 => true,
        // It is not public yet.
        401 => false,
        503 => {
            assert!(answer.headers.contains_key("retry-after"));
            assert_eq!(answer.json()["reason"], "over-capacity", "{}", answer.json());
            false
        }
        other => panic!("{other} {}", answer.json()),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_who_leaves_sessions_half_open_keeps_nobody_out() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = freshet_cluster::testing::free_ports::<1>();
    let listen = format!("127.0.0.1:{port}");
    let flags = ["dev", "--max-busy", "100%", "--listen", &listen, "--trusted-proxy", "127.0.0.1"];
    let more = ["--shards", "1", "--max-sessions", "60"];
    let args: Vec<String> = flags.into_iter().chain(more).map(str::to_owned).collect();
    let mut process = Process::start(dir.path(), "greedy", "dev", &args, &[("FRESHET_API_KEY", KEY)]);
    let url = format!("http://{listen}");
    let admin = token(ROOM, "boss", "admin");
    hears(&url, 1, Some(&token("*", "operator", "admin"))).await;
    let log = std::fs::read_to_string(&process.log).unwrap();
    let node = log.split("http_addr=").nth(1).and_then(|rest| rest.split_whitespace().next());
    let node = format!("http://{}", node.expect("an address"));
    let spec = format!("{url}/v1/rooms/{ROOM}/spec");
    let json = [("content-type", "application/json")];
    let put = request("PUT", &spec, Some(&admin), &json, r#"{"public":true}"#).await.unwrap();
    assert!((200..300).contains(&put.status), "{}", put.status);
    let publisher = publish(&url, ROOM, &token(ROOM, "host", "publish"), |config| {
        let video = config.video.as_mut().unwrap();
        video.bitrate = Bitrate::from_kbps(200);
        video.gop = 15;
    })
    .await;
    eventually(Duration::from_secs(10), "the room is public", || async {
        leave_one(&url).await.then_some(())
    })
    .await;

    // As many as it can get at once, and more all the time.
    let mut taken = 0;
    for _ in 0..80 {
        taken += usize::from(leave_one(&url).await);
    }
    assert!(taken > 20, "nobody else needs the places: {taken}");
    let goes_on = url.clone();
    let goes_on = tokio::spawn(async move {
        loop {
            leave_one(&goes_on).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    for nth in 0..5 {
        let mut config = ViewerConfig::new(format!("{url}/whep/{ROOM}"));
        config.retry_for = Duration::from_secs(25);
        let viewer = Viewer::connect(config).await.unwrap_or_else(|error| panic!("viewer {nth}: {error}"));
        assert!(viewer.wait_for_media(Duration::from_secs(10)).await, "viewer {nth} sees something");
        viewer.close().await;
    }
    assert!(!goes_on.is_finished(), "{:?}", goes_on.await);
    goes_on.abort();
    let shown = async |name: &str| metric(&node, &format!("freshet_node_{name}")).await.unwrap();
    assert!(shown("displaced_sessions_total").await > 0.0);
    let half_open = shown("half_open_sessions").await;
    assert!((PLACES / 4.0..PLACES).contains(&half_open), "it keeps what nobody needs: {half_open}");
    publisher.stop().await.unwrap();
    process.signal("-TERM");
    assert_eq!(process.wait(Duration::from_secs(8)), Some(0), "{}", process.tail());
}
