//! Limits of a whole server as its flags set them, at the coordinator's door and at a node's own, and whom they take for one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use support::nets::{Net, alone, wire};
use support::{Process, hears, metric, request};

const SDP: (&str, &str) = ("content-type", "application/sdp");
/// What an address may at once where it may little: it gets one more each second.
const BURST: u32 = 6;
const LITTLE: [&str; 2] = ["--address-limit", "1:6"];
/// So often somebody asks who may little: many more times than even a slow machine's seconds allow.
const TRIES: u32 = 24;

/// `freshet dev` with these flags, and where its coordinator and its node listen.
async fn serve(dir: &Path, test: &str, flags: &[&str]) -> (Process, [(&'static str, String); 2]) {
    let [port] = freshet_cluster::testing::free_ports::<1>();
    let listen = format!("127.0.0.1:{port}");
    let args = ["dev", "--max-busy", "100%", "--listen", &listen].into_iter().chain(flags.iter().copied());
    let args: Vec<String> = args.map(str::to_owned).collect();
    let process = Process::start(dir, test, "dev", &args, &[]);
    let coordinator = format!("http://{listen}");
    hears(&coordinator, 1, None).await;
    let log = std::fs::read_to_string(&process.log).unwrap();
    let node =
        log.split("http_addr=").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("an address");
    let node = format!("http://{node}");
    (process, [("coordinator", coordinator), ("node", node)])
}

fn stop(mut process: Process) {
    process.signal("-TERM");
    assert_eq!(process.wait(Duration::from_secs(8)), Some(0), "{}", process.tail());
}

fn offer() -> String {
    include_str!("data/offer-view.sdp").replace('\n', "\r\n")
}

fn limited(role: &str) -> String {
    format!("freshet_{role}_http_limited_total{{by=\"address\"}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_through_a_proxys_one_forwarded_address_leaves_the_others_in() {
    let dir = tempfile::tempdir().unwrap();
    let flags = ["--trusted-proxy", "127.0.0.1", "--address-limit", "1:20", "--log-level", "debug"];
    let (process, served) = serve(dir.path(), "door", &flags).await;
    for (role, base) in &served {
        let join = async |from: &str| {
            let headers = [SDP, ("x-forwarded-for", from)];
            let url = format!("{base}/whep/r1?wait=1");
            request("POST", &url, None, &headers, offer()).await.expect("an answer")
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
        assert_eq!(metric(base, &limited(role)).await, Some(60.0 - taken as f64), "{role}");
    }
    stop(process);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_who_says_each_time_to_be_another_is_counted_and_told_as_who_it_is() {
    // Nobody is believed, or a proxy's network in which the client is not.
    for (test, believed) in [("stranger", &[][..]), ("no-proxy", &["--trusted-proxy", "192.0.2.0/24"][..])] {
        let dir = tempfile::tempdir().unwrap();
        let (process, served) = serve(dir.path(), test, &[&LITTLE[..], believed].concat()).await;
        let mut sessions = 0;
        for (role, base) in &served {
            let (began, mut taken) = (Instant::now(), 0_u32);
            for n in 1..=TRIES {
                let (plain, standard) = (format!("198.51.100.{n}"), format!("for=198.51.100.{n}"));
                // Either, and both as they agree.
                let said = [("x-forwarded-for", plain.as_str()), ("forwarded", standard.as_str())];
                let said = [&said[..1], &said[1..], &said[..]][n as usize % 3];
                let url = format!("{base}/whep/r1?wait=1");
                let answer = request("POST", &url, None, &[&[SDP][..], said].concat(), offer()).await;
                let answer = answer.expect("an answer");
                match answer.status {
                    201 => taken += 1,
                    429 => assert_eq!(answer.json()["reason"], "rate-limit"),
                    other => panic!("{test}, {role}: {other} {}", answer.json()),
                }
            }
            let most = BURST + u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
            assert!((BURST..=most).contains(&taken), "{test}: {role} took {taken} in {:?}", began.elapsed());
            let refused = metric(base, &limited(role)).await;
            assert_eq!(refused, Some(f64::from(TRIES - taken)), "{test}: {role}");
            sessions += taken as usize;
        }
        // The node says of each session whose it is, of those that came through the coordinator too.
        let log = std::fs::read_to_string(&process.log).unwrap();
        assert_eq!(log.matches("client=Some(127.0.0.1)").count(), sessions, "{test}: {log}");
        assert!(!log.contains("198.51.100."), "{test}: {log}");
        stop(process);
    }
}

/// The status of a POST from this address of the machine.
async fn joins_from(address: &str, url: &str) -> u16 {
    let mut connector = HttpConnector::new();
    connector.set_local_address(Some(address.parse().unwrap()));
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let request = http::Request::post(url).header(SDP.0, SDP.1);
    let request = request.body(Full::new(Bytes::from(offer()))).unwrap();
    client.request(request).await.expect("an answer").status().as_u16()
}

#[test]
fn two_hosts_of_one_64_share_what_an_address_may_and_one_of_another_has_its_own() {
    alone("two_hosts_of_one_64_share_what_an_address_may_and_one_of_another_has_its_own", || {
        const PAIR: [&str; 2] = ["2001:db8:0:1::20", "2001:db8:0:1:ffff::21"];
        const BESIDE: &str = "2001:db8:0:2::20";
        let (server, client) = (Net::new("server"), Net::new("client"));
        wire((&server, "eth0"), (&client, "eth0"));
        // The second, so that it knows the way back.
        for address in ["2001:db8:0:1::10/64", "2001:db8:0:2::10/64"] {
            server.address("eth0", address);
        }
        for address in [PAIR[0], PAIR[1], BESIDE] {
            client.address("eth0", &format!("{address}/64"));
        }
        let dir = tempfile::tempdir().unwrap();
        let args = ["dev", "--listen", "[2001:db8:0:1::10]:8080", "--udp-port", "7700"];
        let args = [&args[..], &LITTLE[..]].concat();
        // A debug build on a machine that runs other tests is busy at times.
        let env = [("FRESHET_MAX_BUSY", "100%")];
        let process = server.start(dir.path(), "door-six", env!("CARGO_BIN_EXE_freshet"), &args, &env);
        client.run(async {
            let base = "http://[2001:db8:0:1::10]:8080";
            let url = format!("{base}/whep/r1?wait=1");
            hears(base, 1, None).await;
            let (began, mut taken) = (Instant::now(), 0_u32);
            for from in PAIR.iter().cycle().take(TRIES as usize) {
                match joins_from(from, &url).await {
                    201 => taken += 1,
                    429 => {}
                    other => panic!("{from}: {other}"),
                }
            }
            let most = BURST + u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
            assert!((BURST..=most).contains(&taken), "both took {taken} in {:?}", began.elapsed());
            for nth in 1..=BURST {
                assert_eq!(joins_from(BESIDE, &url).await, 201, "its own, number {nth}");
            }
            let refused = metric(base, &limited("coordinator")).await;
            assert_eq!(refused, Some(f64::from(TRIES - taken)));
        });
        drop(process);
    });
}
