//! The audience that waits: pages that are open before the host starts, and what happens when it does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Publisher, PublisherConfig, Viewer, ViewerConfig};
use freshet_test_support as support;
use rustix::process::{Resource, getrlimit, setrlimit};
use support::dev::Dev;
use support::{eventually, gauges, metric, request};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const ROOM: &str = "premiere";
const SDP: (&str, &str) = ("content-type", "application/sdp");
const LONG: Duration = Duration::from_secs(60);
/// All play so long after the stream began, where 500 wait.
const ALL_PLAY: Duration = Duration::from_secs(3);
/// What they may cost the host: the keyframe that is there when the first come, and one for those who come later than a
/// second after it.
const KEYFRAMES: u64 = 2;

/// One audience at a time: each wants the whole machine.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// A page that listens to the room's events.
struct Page {
    stream: TcpStream,
    heard: String,
}

impl Page {
    /// Opens the events and waits until the room is known. `from` is where a proxy says that it is.
    async fn open(address: &str, from: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let ask = format!(
            "GET /v1/rooms/{ROOM}/events HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\
             X-Forwarded-For: {from}\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut page = Self { stream, heard: String::new() };
        page.until("event: snapshot\n").await;
        assert!(page.heard.starts_with("HTTP/1.1 200 "), "{}", page.heard);
        page
    }

    /// The data of an event of this beginning.
    async fn until(&mut self, event: &str) -> serde_json::Value {
        let mut part = [0; 2048];
        loop {
            let data = self.heard.split_once(event).and_then(|(_, rest)| rest.split_once("data: "));
            if let Some((data, _)) = data.and_then(|(_, data)| data.split_once('\n')) {
                return serde_json::from_str(data).expect("an event's data is JSON");
            }
            let read = self.stream.read(&mut part).await.expect("the events go on");
            assert!(read > 0, "the events ended: {}", self.heard);
            self.heard.push_str(&String::from_utf8_lossy(&part[..read]));
        }
    }

    /// Waits for the host; says over how long the audience is to spread.
    async fn host_starts(&mut self) -> Duration {
        let started = self.until("event: stream\n").await;
        assert_eq!(started["state"], "started", "{started}");
        Duration::from_millis(started["spread_ms"].as_u64().expect("it names the spread"))
    }
}

/// Where one of an audience is: behind one of fifty addresses.
fn office(n: usize) -> String {
    format!("198.51.100.{}", n % 50)
}

/// As many pages, opened a few at a time.
async fn pages(address: &str, count: usize) -> Vec<Page> {
    let mut opening = JoinSet::new();
    let mut open = Vec::new();
    for n in 0..count {
        if opening.len() >= 100 {
            open.push(opening.join_next().await.unwrap().unwrap());
        }
        let address = address.to_owned();
        opening.spawn(async move { Page::open(&address, &office(n)).await });
    }
    while let Some(page) = opening.join_next().await {
        open.push(page.unwrap());
    }
    open
}

/// A publisher of a small picture, with a keyframe every two seconds.
async fn host(base: &str) -> Publisher {
    let mut config = PublisherConfig::new(format!("{base}/whip/{ROOM}"));
    let video = config.video.as_mut().unwrap();
    video.bitrate = Bitrate::from_kbps(200);
    video.fps = 15;
    video.gop = 30;
    Publisher::connect(config).await.expect("the host joins")
}

/// After how many seconds each of those who come too early is to come back.
async fn sent_away(base: &str, offer: &str, count: usize) -> Vec<u64> {
    let mut told = Vec::new();
    for _ in 0..count {
        let url = format!("{base}/whep/{ROOM}");
        let answer = request("POST", &url, None, &[SDP], offer.to_owned()).await.unwrap();
        assert_eq!(answer.status, 409, "{}", answer.json());
        told.push(answer.headers["retry-after"].to_str().unwrap().parse().unwrap());
    }
    told
}

/// How often requests were answered with each status, at the coordinator.
async fn statuses(base: &str) -> BTreeMap<String, f64> {
    let answer = request("GET", &format!("{base}/metrics"), None, &[], "").await.expect("metrics");
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let mut all = BTreeMap::new();
    for line in text.lines().filter_map(|l| l.strip_prefix("freshet_coordinator_http_requests_total{")) {
        let (labels, count) = line.rsplit_once(' ').unwrap();
        let status = labels.split("status=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        *all.entry(status.to_owned()).or_default() += count.parse::<f64>().unwrap();
    }
    all
}

async fn all_listen(base: &str, count: usize) {
    eventually(LONG, &format!("{count} listen"), || async {
        let listening = gauges(base).await?.get("freshet_coordinator_event_listeners").copied()?;
        (listening == count as f64).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_who_wait_all_play_when_the_host_starts() {
    let _alone = ALONE.lock().await;
    const WAITING: usize = 500;
    /// Who comes too early besides, and does not wait.
    const MORE: usize = 400;
    // With places to spare: a join that is under way may be counted twice until the next heartbeat, by the node's and
    // by the coordinator's own count, and a node that seems full is not asked.
    let dev = Dev::start("waiting", 1, WAITING * 2).await;
    let base = dev.url().to_owned();
    let address = base.strip_prefix("http://").unwrap();

    // A page asks for media first, and is told to wait: the more do, the longer the time over which they come back.
    let offer = include_str!("data/offer-view.sdp").replace('\n', "\r\n");
    let told = sent_away(&base, &offer, WAITING).await;
    assert!(told[..90].iter().all(|s| *s == 2), "few wait: {told:?}");
    let (last, spread) = (&told[400..], |s: u64| told[400..].iter().filter(|told| **told == s).count());
    assert!(last.iter().all(|s| (2..=7).contains(s)), "{told:?}");
    assert!((2..=6).all(|s| spread(s) > 0), "{told:?}");

    // No audience is told to wait longer than 10 s.
    let more = sent_away(&base, &offer, MORE).await;
    assert!(more.iter().all(|s| (2..=10).contains(s)) && more[350..].iter().any(|s| *s > 8), "{more:?}");

    // A node that is asked itself says it alike.
    let told = sent_away(&dev.node_url(), &offer, 200).await;
    assert!(told[..90].iter().all(|s| *s == 2) && told[100..].contains(&3), "{told:?}");

    let waiting = pages(address, WAITING).await;
    all_listen(&base, WAITING).await;
    let mut joining = JoinSet::new();
    for mut page in waiting {
        let url = format!("{base}/whep/{ROOM}");
        joining.spawn(async move {
            let spread = page.host_starts().await;
            let heard = Instant::now();
            tokio::time::sleep(spread.mul_f64(rand::random())).await;
            // At once or not at all: who waited until the host is there is not sent away again.
            let mut config = ViewerConfig::new(url);
            config.connect_timeout = LONG;
            config.http_timeout = LONG;
            let viewer = Viewer::connect(config).await.expect("there is a place for everybody who waited");
            assert!(viewer.wait_for_media(LONG).await, "no media: {:?}", viewer.report());
            (spread, heard, Instant::now(), viewer)
        });
    }
    let host = host(&base).await;
    let connected = Instant::now();
    let mut playing = Vec::new();
    while let Some(joined) = joining.join_next().await {
        playing.push(joined.unwrap());
    }
    // The stream begins when ICE and DTLS of its host are done; somebody may hear of it before the host's task does.
    let began = playing.iter().map(|p| p.1).min().unwrap().min(connected);
    let heard = playing.iter().map(|p| p.1 - began).max().unwrap();
    let played = playing.iter().map(|p| p.2 - began).max().unwrap();
    println!("{WAITING} waited: all heard of the host within {heard:?} and played within {played:?}");
    assert!(playing.iter().all(|p| p.0 == Duration::from_millis(1_000)), "2 ms for each");

    let asked = host.stats().keyframe_requests;
    println!("keyframes asked of the host: {asked}");
    assert!(played <= ALL_PLAY, "the last played {played:?} after the stream began");
    assert!(asked <= KEYFRAMES, "{asked} in {played:?}");
    let statuses = statuses(&base).await;
    assert_eq!(statuses.get("429"), None, "{statuses:?}");
    assert_eq!(statuses.get("503"), None, "{statuses:?}");
    assert_eq!(statuses.get("409"), Some(&((WAITING + MORE) as f64)), "only those of before: {statuses:?}");
    drop(playing);
    dev.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_pages_spread_their_joins_over_the_time_that_the_event_names() {
    let _alone = ALONE.lock().await;
    let dev = Dev::start("waiting-spread", 1, 100).await;
    dev.script("waiting.mjs");
    dev.stop();
}

/// Joins, waits for a picture, and leaves: to go on decrypting for all of them is beyond one machine.
async fn sees_a_picture(url: &str, from: &str) -> Result<(), String> {
    let mut config = ViewerConfig::new(url.to_owned());
    config.headers.push(("x-forwarded-for".to_owned(), from.to_owned()));
    (config.connect_timeout, config.http_timeout, config.retry_for) = (LONG, LONG, LONG);
    let viewer = Viewer::connect(config).await.map_err(|error| error.to_string())?;
    if !viewer.wait_for_media(LONG).await {
        return Err(format!("no media: {:?}", viewer.report()));
    }
    viewer.stop().await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_pages_hear_that_the_host_starts_and_all_get_in() {
    let _alone = ALONE.lock().await;
    const WAITING: usize = 5_000;
    // A listener's queue and connection; what the allocator keeps besides.
    const EACH: f64 = 96.0 * 1024.0;
    const IMPATIENT: Duration = Duration::from_secs(1);
    const APART: Duration = Duration::from_millis(500);
    const TRIES: u32 = 4;
    let mut files = getrlimit(Resource::Nofile);
    files.current = files.maximum;
    setrlimit(Resource::Nofile, files).unwrap();
    assert!(files.current.is_none_or(|files| files > 16_000), "this test needs 16,000 files: {files:?}");

    // Every limit is as it is by default. The audience comes through a proxy, from many addresses.
    let env = [("FRESHET_TRUSTED_PROXY", "127.0.0.1/32")];
    let dev = Dev::start_with("waiting-pages", 1, WAITING * 2, &env).await;
    let base = dev.url().to_owned();
    let before = dev.resident_bytes();
    let began = Instant::now();
    let waiting = pages(base.strip_prefix("http://").unwrap(), WAITING).await;
    all_listen(&base, WAITING).await;
    let each = (dev.resident_bytes() - before) / WAITING as f64;
    println!("{WAITING} pages opened within {:?}, at {:.1} KiB each", began.elapsed(), each / 1024.0);
    assert!(each < EACH, "{each} bytes for each listener");

    let mut hearing = JoinSet::new();
    for (n, mut page) in waiting.into_iter().enumerate() {
        let (url, from) = (format!("{base}/whep/{ROOM}"), office(n));
        hearing.spawn(async move {
            let spread = page.host_starts().await;
            let heard = Instant::now();
            // None of them waits as it is told to: all ask within a second.
            tokio::time::sleep(IMPATIENT.mul_f64(rand::random())).await;
            let mut again = 0;
            while let Err(error) = sees_a_picture(&url, &from).await {
                // Where all of them compute on one machine, a handshake may take too long: a page comes again, too.
                again += 1;
                assert!(again < TRIES, "there is a place for everybody: {error}");
            }
            (spread, heard, Instant::now(), again, page)
        });
    }
    let host = host(&base).await;
    let connected = Instant::now();
    let mut heard = Vec::new();
    while let Some(page) = hearing.join_next().await {
        heard.push(page.unwrap());
    }
    let began = heard.iter().map(|p| p.1).min().unwrap().min(connected);
    let all_heard = heard.iter().map(|p| p.1 - began).max().unwrap();
    let all_played = heard.iter().map(|p| p.2 - began).max().unwrap();
    println!("all {WAITING} heard of the host within {all_heard:?}, and had a picture within {all_played:?}");
    assert!(heard.iter().all(|p| p.0 == Duration::from_secs(5)), "the longest that anybody is told to wait");
    let asked = u128::from(host.stats().keyframe_requests);
    println!("keyframes asked of the host: {asked}");
    println!("came again: {}", heard.iter().map(|p| p.3).sum::<u32>());
    // Whoever waits for one asks again; more than one in this time the node passes on to nobody.
    let most = all_played.as_millis() / APART.as_millis() + u128::from(KEYFRAMES);
    assert!(asked <= most, "{asked} in {all_played:?}");
    let statuses = statuses(&base).await;
    println!("answers: {statuses:?}");
    assert_eq!(statuses.get("429"), None, "{statuses:?}");
    for name in
        ["event_listeners_refused_total", "event_listeners_slow_total", "http_connections_refused_total"]
    {
        assert_eq!(metric(&base, &format!("freshet_coordinator_{name}")).await, Some(0.0), "{name}");
    }
    drop(heard);
    all_listen(&base, 0).await;
    dev.stop();
}
