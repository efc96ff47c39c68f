//! Limits of a whole server as its flags set them, at the coordinator's door and at a node's own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use support::{Process, hears, metric, request};

const SDP: (&str, &str) = ("content-type", "application/sdp");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_through_a_proxys_one_forwarded_address_leaves_the_others_in() {
    let dir = tempfile::tempdir().unwrap();
    let [port] = freshet_cluster::testing::free_ports::<1>();
    let listen = format!("127.0.0.1:{port}");
    let flags = ["dev", "--max-busy", "100%", "--listen", &listen, "--trusted-proxy", "127.0.0.1"];
    let flags = [&flags[..], &["--address-limit", "1:20", "--log-level", "debug"]].concat();
    let args: Vec<String> = flags.into_iter().map(str::to_owned).collect();
    let mut process = Process::start(dir.path(), "door", "dev", &args, &[]);
    let coordinator = format!("http://{listen}");
    hears(&coordinator, 1, None).await;
    let log = std::fs::read_to_string(&process.log).unwrap();
    let node =
        log.split("http_addr=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    let node = format!("http://{node}");
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    for (role, base) in [("coordinator", &coordinator), ("node", &node)] {
        let join = async |from: &str| {
            let headers = [SDP, ("x-forwarded-for", from)];
            let url = format!("{base}/whep/r1?wait=1");
            request("POST", &url, None, &headers, offer.clone()).await.expect("an answer")
        };
        let began = Instant::now();
        let mut taken = 0;
        for _ in 0..60 {
            let answer = join("198.51.100.1, 192.0.2.1").await;
            match answer.status {
                201 => taken += 1,
                429 => assert!(answer.headers.contains_key("retry-after")),
                other => panic!("{role}: {other} {}", answer.json()),
            }
        }
        let refilled = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
        assert!((20..=20 + refilled).contains(&taken), "{role} took {taken} in {:?}", began.elapsed());
        assert_eq!(join("192.0.2.2").await.status, 201, "{role}: another client of the same proxy");
        let name = format!("freshet_{role}_http_limited_total{{by=\"address\"}}");
        assert_eq!(metric(base, &name).await, Some(60.0 - taken as f64), "{role}");
    }
    process.signal("-TERM");
    assert_eq!(process.wait(Duration::from_secs(8)), Some(0), "{}", process.tail());
}
