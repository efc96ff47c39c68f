//! Limits of a whole server as its flags set them, at the coordinator's door and at a node's own, and whom they take for one:
//! an address, or an identity.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use freshet_cluster::bus::memory::MemoryBus;
use freshet_cluster::secret::Secret;
use freshet_cluster::store::memory::MemoryStore;
use freshet_cluster::token::{ApiKey, Claims, sign};
use freshet_cluster::unit::UnixMillis;
use freshet_coordinator::{Coordinator, CoordinatorConfig};
use freshet_edge::Guard;
use freshet_edge::serve::Limits;
use freshet_loadtest::client::ViewerConfig;
use freshet_test_support as support;
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::json;
use support::nets::{Net, alone, wire};
use support::{Answer, Cluster, KEY, Listener, Plan, Process, eventually, hears, metric, request, view};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const SDP: (&str, &str) = ("content-type", "application/sdp");
/// What an address may at once where it may little: it gets one more each second.
const BURST: u32 = 6;
const LITTLE: [&str; 2] = ["--address-limit", "1:6"];
/// The same of an identity and of failures, and two event streams.
const FEW: [&str; 6] = ["--identity-limit", "1:6", "--failure-limit", "1:6", "--identity-listeners", "2"];
const SOON: Duration = Duration::from_secs(20);
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

fn limited(role: &str, by: &str) -> String {
    format!("freshet_{role}_http_limited_total{{by=\"{by}\"}}")
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
        assert_eq!(metric(base, &limited(role, "address")).await, Some(60.0 - taken as f64), "{role}");
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
            let refused = metric(base, &limited(role, "address")).await;
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

/// Two addresses of one /64, and one of another.
const PAIR: [&str; 2] = ["2001:db8:0:1::20", "2001:db8:0:1:ffff::21"];
const BESIDE: &str = "2001:db8:0:2::20";

/// A server at `2001:db8:0:1::10`, and a client that has all three of these addresses.
fn neighbours() -> (Net, Net) {
    let (server, client) = (Net::new("server"), Net::new("client"));
    wire((&server, "eth0"), (&client, "eth0"));
    // The second, so that it knows the way back.
    for address in ["2001:db8:0:1::10/64", "2001:db8:0:2::10/64"] {
        server.address("eth0", address);
    }
    for address in [PAIR[0], PAIR[1], BESIDE] {
        client.address("eth0", &format!("{address}/64"));
    }
    (server, client)
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
        let (server, client) = neighbours();
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
            let refused = metric(base, &limited("coordinator", "address")).await;
            assert_eq!(refused, Some(f64::from(TRIES - taken)));
        });
        drop(process);
    });
}

/// Asks once from this address and keeps the connection: its answer as far as that is well or ends with `}`.
async fn stays(from: &str, server: SocketAddr, path: &str) -> (TcpStream, String) {
    let socket = TcpSocket::new_v6().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    let mut stream = socket.connect(server).await.expect("a connection");
    let asks = format!("GET {path} HTTP/1.1\r\nHost: door\r\n\r\n");
    stream.write_all(asks.as_bytes()).await.unwrap();
    let (mut said, mut part) = (String::new(), [0; 2048]);
    let is_well = |said: &str| said.starts_with("HTTP/1.1 200 ") && said.contains("\r\n\r\n");
    while !is_well(&said) && !said.ends_with('}') {
        let read = tokio::time::timeout(SOON, stream.read(&mut part)).await.expect("an answer").unwrap();
        assert!(read > 0, "{from}: the connection ended: {said}");
        said.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    (stream, said)
}

#[test]
fn two_hosts_of_one_64_share_its_connections_and_one_of_another_has_its_own() {
    alone("two_hosts_of_one_64_share_its_connections_and_one_of_another_has_its_own", || {
        let (server, client) = neighbours();
        let at: SocketAddr = "[2001:db8:0:1::10]:8080".parse().unwrap();
        server.run(async move {
            let listener = TcpListener::bind(at).await.unwrap();
            let router = Router::new().route("/", get(|| async { "{}" }));
            // One household holds three times as many as are free: six. Were each of the two addresses one, they held seven.
            let limits = Limits { connections: 8, ..Limits::default() };
            let never = std::future::pending();
            let serving = freshet_edge::serve::serve(listener, router, limits, None, never, Duration::ZERO);
            tokio::spawn(serving);
        });
        client.run(async move {
            let mut open = Vec::new();
            for from in PAIR.into_iter().cycle().take(6) {
                let (stream, said) = stays(from, at, "/").await;
                assert!(said.starts_with("HTTP/1.1 200 "), "{from}: {said}");
                open.push(stream);
            }
            for from in PAIR {
                let (_, said) = stays(from, at, "/").await;
                assert!(
                    said.starts_with("HTTP/1.1 503 ") && said.contains("from your address"),
                    "{from}: {said}"
                );
            }
            let (_, said) = stays(BESIDE, at, "/").await;
            assert!(said.starts_with("HTTP/1.1 200 "), "{BESIDE}: {said}");
        });
    });
}

#[test]
fn two_hosts_of_one_64_share_its_event_streams_and_one_of_another_has_its_own() {
    alone("two_hosts_of_one_64_share_its_event_streams_and_one_of_another_has_its_own", || {
        let (server, client) = neighbours();
        let at: SocketAddr = "[2001:db8:0:1::10]:8080".parse().unwrap();
        let coordinator = server.run(async move {
            let (id, secret) = ("six".parse().unwrap(), Secret::new("a secret of the whole cluster"));
            let mut config = CoordinatorConfig::new(at, id, Guard::open(), secret);
            // Of eight, one household holds six, as of connections, and has more of those than it needs here.
            (config.listeners, config.patience) = (8, Duration::ZERO);
            let (store, bus) = (Arc::new(MemoryStore::new()), Arc::new(MemoryBus::new()));
            Coordinator::start(config, store, bus).await.expect("a coordinator")
        });
        client.run(async move {
            let base = format!("http://{at}");
            eventually(SOON, "the coordinator is ready", || async {
                let answer = request("GET", &format!("{base}/readyz"), None, &[], "").await?;
                (answer.status == 200).then_some(())
            })
            .await;
            // Of one room or of several, each is one.
            let events = |n: usize| format!("/v1/rooms/r{}/events", n % 3);
            let mut open = Vec::new();
            for (n, from) in PAIR.into_iter().cycle().take(6).enumerate() {
                let (stream, said) = stays(from, at, &events(n)).await;
                assert!(said.contains("text/event-stream"), "{from}: {said}");
                open.push(stream);
            }
            for (n, from) in PAIR.into_iter().enumerate() {
                let (_, said) = stays(from, at, &events(n)).await;
                let shared = said.contains("too-many-listeners") && said.contains("listens 6 times");
                assert!(said.starts_with("HTTP/1.1 429 ") && shared, "{from}: {said}");
            }
            let (_beside, said) = stays(BESIDE, at, &events(0)).await;
            assert!(said.contains("text/event-stream"), "{BESIDE}: {said}");
            // What one of them gives back either of them may have.
            open.remove(0);
            eventually(SOON, "a place is free again", || async {
                let (_, said) = stays(PAIR[1], at, &events(0)).await;
                said.contains("text/event-stream").then_some(())
            })
            .await;
        });
        drop(coordinator);
    });
}

fn few(_process: &str) -> Vec<String> {
    FEW.map(str::to_owned).to_vec()
}

/// A coordinator and a node that allow little, each with counts of its own, and where they listen.
async fn strict(test: &str) -> (Cluster, [(&'static str, String); 2]) {
    let plan = Plan { nodes: 1, coordinators: 1, max_sessions: 100 };
    let cluster = Cluster::start_as(test, plan, Box::new(few)).await;
    let node = format!("http://127.0.0.1:{}", cluster.node_ports[0]);
    let served = [("coordinator", cluster.url(0)), ("node", node)];
    (cluster, served)
}

/// A token to watch, signed by this key and good until so many seconds from now.
fn minted(key: &str, identity: &str, left_s: i64) -> String {
    let exp = (UnixMillis::now().0 / 1_000).saturating_add_signed(left_s);
    let claims = json!({"room": "r1", "identity": identity, "grants": ["subscribe"], "exp": exp});
    let claims: Claims = serde_json::from_value(claims).unwrap();
    sign(&key.parse::<ApiKey>().unwrap(), &claims)
}

/// One that is good for long.
fn good(identity: &str) -> String {
    minted(KEY, identity, 600)
}

async fn watch(base: &str, token: Option<&str>) -> Answer {
    request("POST", &format!("{base}/whep/r1?wait=1"), token, &[SDP], offer()).await.expect("an answer")
}

fn why(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["reason"].as_str().unwrap_or_default().to_owned())
}

/// Whether it is a 429, and for this.
fn is_limited(answer: &Answer, detail: &str) -> bool {
    if answer.status != 429 {
        return false;
    }
    assert_eq!(answer.json()["reason"], "rate-limit");
    assert!(answer.headers.contains_key("retry-after"));
    let said = answer.json()["detail"].as_str().unwrap_or_default().to_owned();
    assert!(said.contains(detail), "{said}");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_identitys_storm_costs_another_at_the_same_address_nothing() {
    let (_cluster, served) = strict("door-identity").await;
    for (role, base) in &served {
        let (ann, began, mut taken) = (good("ann"), Instant::now(), 0_u32);
        for _ in 0..TRIES {
            let answer = watch(base, Some(&ann)).await;
            if !is_limited(&answer, "this token's identity") {
                assert_eq!(answer.status, 201, "{role}: {}", answer.json());
                taken += 1;
            }
        }
        let most = BURST + u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
        assert!((BURST..=most).contains(&taken), "{role} took {taken} in {:?}", began.elapsed());
        let bob = good("bob");
        for nth in 1..=BURST {
            assert_eq!(watch(base, Some(&bob)).await.status, 201, "{role}: another's, number {nth}");
        }
        for (by, count) in [("identity", TRIES - taken), ("address", 0), ("failures", 0)] {
            assert_eq!(metric(base, &limited(role, by)).await, Some(f64::from(count)), "{role}: {by}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_identity_reads_two_event_streams_at_a_coordinator_and_at_a_node() {
    let (_cluster, [(_, coordinator), (_, node)]) = strict("door-listeners").await;
    let (ann, bob) = (good("ann"), good("bob"));
    // Clients that stay: a session's streams end with it. It has two at most, so a third is another session's.
    let (mut viewers, mut streams) = (Vec::new(), Vec::new());
    for (token, count) in [(&ann, 2), (&ann, 1), (&bob, 1)] {
        let wait = |config: &mut ViewerConfig| config.url.push_str("?wait=1");
        let viewer = view(&node, "r1", token, wait).await;
        for _ in 0..count {
            let sse = format!("{}/sse", viewer.resource().url());
            let made = request("POST", &sse, Some(token), &[], "").await.expect("an answer");
            assert_eq!(made.status, 201, "{}", made.json());
            streams.push(format!("{node}{}", made.headers["location"].to_str().unwrap()));
        }
        viewers.push(viewer);
    }
    let room = [(); 4].map(|()| format!("{coordinator}/v1/rooms/r1/events"));
    for [first, second, third, others] in [room, streams.try_into().expect("four streams")] {
        let open = [Listener::read(&first, &ann).await, Listener::read(&second, &ann).await];
        // One that is let in does not end.
        let refused = tokio::time::timeout(SOON, request("GET", &third, Some(&ann), &[], "")).await;
        let refused = refused.expect("an answer that ends").expect("an answer");
        assert_eq!(why(&refused), (429, "too-many-listeners".to_owned()), "{third}");
        assert!(refused.headers.contains_key("retry-after"));
        let another = Listener::read(&others, &bob).await;
        assert!(!open.iter().chain([&another]).any(Listener::ended), "{third}: those that are read go on");
    }
    for viewer in viewers {
        viewer.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guesses_shut_an_address_out_for_a_moment_and_expired_tokens_do_not() {
    const SHUT: &str = "without a valid token";
    let (_cluster, served) = strict("door-failures").await;
    // Past the leeway; and by somebody who has the key's name and not its secret.
    let expired = minted(KEY, "ann", -600);
    let forged = minted("test:fedcba9876543210fedcba9876543210", "ann", 600);
    for (role, base) in &served {
        for _ in 0..TRIES {
            let answer = watch(base, Some(&expired)).await;
            assert_eq!(why(&answer), (401, "token-invalid".to_owned()), "{role}: expired is no guess");
        }
        assert_eq!(watch(base, Some(&good("early"))).await.status, 201, "{role}");
        assert_eq!(metric(base, &limited(role, "failures")).await, Some(0.0), "{role}");

        let (began, mut judged) = (Instant::now(), 0_u32);
        for _ in 0..TRIES {
            let answer = watch(base, Some(&forged)).await;
            if !is_limited(&answer, SHUT) {
                assert_eq!(why(&answer), (401, "token-invalid".to_owned()), "{role}");
                judged += 1;
            }
        }
        let most = BURST + u32::try_from(began.elapsed().as_secs()).unwrap() + 1;
        assert!((BURST..=most).contains(&judged), "{role} judged {judged} in {:?}", began.elapsed());

        // Whoever else is there is shut out as well. One more guess each time, should a second just have passed.
        let late = good("late");
        let refused = std::cell::Cell::new(TRIES - judged);
        let count = |answer: &Answer| {
            let is = is_limited(answer, SHUT);
            refused.set(refused.get() + u32::from(is));
            is
        };
        eventually(SOON, "a good token is refused, too", || async {
            let guess = watch(base, Some(&forged)).await;
            assert!(count(&guess) || guess.status == 401, "{role}: {}", guess.json());
            let answer = watch(base, Some(&late)).await;
            assert!(count(&answer) || answer.status == 201, "{role}: {}", answer.json());
            (answer.status == 429).then_some(())
        })
        .await;
        let bare = watch(base, None).await;
        assert_eq!(why(&bare), (401, "token-missing".to_owned()), "{role}: nothing to guess with");
        let counts = [("failures", refused.get()), ("identity", 0), ("address", 0)];
        for (by, count) in counts {
            assert_eq!(metric(base, &limited(role, by)).await, Some(f64::from(count)), "{role}: {by}");
        }
        eventually(SOON, "its allowance has grown again", || async {
            let answer = watch(base, Some(&late)).await;
            assert!(is_limited(&answer, SHUT) || answer.status == 201, "{role}: {}", answer.json());
            (answer.status == 201).then_some(())
        })
        .await;
    }
}
