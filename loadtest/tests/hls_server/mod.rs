//! A scripted server of HLS: segments of a quarter of a second that are there once they were captured, in plain
//! playlists and in those of low latency, whose reloads and announced parts it holds back.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

/// Length of a segment in plain playlists, and of a part in those of low latency.
pub const UNIT_MS: u64 = 250;
/// Parts of a segment.
pub const PARTS: u64 = 4;
/// So much was captured before the server started.
const BEFORE_MS: u64 = 10_000;
/// Bytes of a segment and of a part.
pub const BYTES: usize = 5_000;

/// What the server does.
#[derive(Debug, Clone, Default)]
pub struct Script {
    /// Nothing new appears between these times after its start; then all that was captured.
    pub silent: Option<(Duration, Duration)>,
    /// This segment, counted from those that were there at the start, is not found.
    pub missing: Option<u64>,
    /// Segments are said to be at this address.
    pub elsewhere: Option<SocketAddr>,
    /// The first so many requests for a playlist are answered with 503 and `Retry-After: 1`.
    pub busy: u64,
}

#[derive(Debug, Default)]
pub struct Counters {
    pub playlists: AtomicU64,
    pub held_back: AtomicU64,
    pub media: AtomicU64,
    pub maps: AtomicU64,
    pub refused: AtomicU64,
}

#[derive(Clone)]
struct Server {
    script: Arc<Script>,
    counters: Arc<Counters>,
    start: Instant,
    start_ms: u64,
    busy: Arc<Mutex<u64>>,
}

pub struct HlsServer {
    pub address: SocketAddr,
    pub counters: Arc<Counters>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Drop for HlsServer {
    fn drop(&mut self) {
        self.tasks.iter().for_each(|task| task.abort());
    }
}

impl HlsServer {
    pub async fn start(script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Self::start_on(listener, script).await
    }

    pub async fn start_on(listener: TcpListener, script: Script) -> Self {
        let counters = Arc::new(Counters::default());
        let address = listener.local_addr().unwrap();
        let start_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        let server = Server {
            script: Arc::new(script),
            counters: Arc::clone(&counters),
            start: Instant::now(),
            start_ms,
            busy: Arc::default(),
        };
        let app = Router::new()
            .route("/master.m3u8", get(master))
            .route("/nonsense.m3u8", get(|| async { "<!doctype html>" }))
            .route("/silent.m3u8", get(|| async { tokio::time::sleep(Duration::from_secs(60)).await }))
            .route("/plain/live.m3u8", get(plain))
            .route("/plain/{file}", get(segment))
            .route("/low/{track}/live.m3u8", get(low))
            .route("/low/{track}/{file}", get(part))
            .with_state(server);
        let tasks = vec![tokio::spawn(async move { axum::serve(listener, app).await.unwrap() })];
        Self { address, counters, tasks }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn count(&self, counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
        counter(&self.counters).load(Ordering::Relaxed)
    }
}

impl Server {
    /// Units of media that are there now.
    fn units(&self) -> u64 {
        let after = self.start.elapsed();
        let after = match self.script.silent {
            Some((from, to)) if (from..to).contains(&after) => from,
            _ => after,
        };
        (BEFORE_MS + u64::try_from(after.as_millis()).unwrap()) / UNIT_MS
    }

    /// When a unit began to be captured.
    fn date(&self, unit: u64) -> String {
        let ms = self.start_ms - BEFORE_MS + unit * UNIT_MS;
        let (days, ms) = (ms / 86_400_000, ms % 86_400_000);
        let (year, month, day) = civil(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1_000)
    }
}

/// Day of the calendar, by counting years and months: nothing of what is tested.
fn civil(mut days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, days + 1)
}

async fn master(State(server): State<Server>) -> Response {
    server.counters.playlists.fetch_add(1, Ordering::Relaxed);
    let text = "#EXTM3U\n\
        #EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"x\",DEFAULT=YES,URI=\"low/sound/live.m3u8\"\n\
        #EXT-X-STREAM-INF:BANDWIDTH=100000\nplain/live.m3u8\n\
        #EXT-X-STREAM-INF:BANDWIDTH=200000,AUDIO=\"a\"\nlow/pictures/live.m3u8\n";
    text.into_response()
}

async fn plain(State(server): State<Server>) -> Response {
    server.counters.playlists.fetch_add(1, Ordering::Relaxed);
    {
        let mut busy = server.busy.lock().unwrap();
        *busy += 1;
        if *busy <= server.script.busy {
            server.counters.refused.fetch_add(1, Ordering::Relaxed);
            return (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "1")], "later").into_response();
        }
    }
    let units = server.units();
    let first = units - 24;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-SERVER-CONTROL:HOLD-BACK=2.5\n\
         #EXT-X-PROGRAM-DATE-TIME:{}\n",
        server.date(first)
    );
    let place = server.script.elsewhere.map_or(String::new(), |place| format!("http://{place}/plain/"));
    for unit in first..units {
        text.push_str(&format!("#EXTINF:0.25,\n{place}{unit}.ts\n"));
    }
    text.into_response()
}

async fn segment(State(server): State<Server>, Path(file): Path<String>) -> Response {
    let unit: u64 = file.trim_end_matches(".ts").parse().unwrap();
    assert!(unit < server.units() || server.script.silent.is_some(), "asked for before it was listed");
    if server.script.missing.is_some_and(|missing| unit == missing + BEFORE_MS / UNIT_MS) {
        return StatusCode::NOT_FOUND.into_response();
    }
    server.counters.media.fetch_add(1, Ordering::Relaxed);
    vec![7; BYTES].into_response()
}

/// A playlist of low latency with `units` parts.
fn low_text(server: &Server, units: u64) -> String {
    let first = units / PARTS - 6;
    let mut text = format!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-PART-INF:PART-TARGET=0.25\n#EXT-X-MEDIA-SEQUENCE:{first}\n\
         #EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5\n#EXT-X-MAP:URI=\"init.mp4\"\n\
         #EXT-X-PROGRAM-DATE-TIME:{}\n",
        server.date(first * PARTS)
    );
    for unit in first * PARTS..units {
        let (segment, nth) = (unit / PARTS, unit % PARTS);
        // Parts are listed near the edge alone.
        if segment + 3 >= units / PARTS {
            let independent = if nth == 0 { ",INDEPENDENT=YES" } else { "" };
            text.push_str(&format!("#EXT-X-PART:DURATION=0.25,URI=\"{unit}.part\"{independent}\n"));
        }
        if nth == PARTS - 1 {
            text.push_str(&format!("#EXTINF:1,\n{segment}.mp4\n"));
        }
    }
    text.push_str(&format!("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"{units}.part\"\n"));
    text
}

async fn low(
    State(server): State<Server>,
    Path(_track): Path<String>,
    Query(query): Query<HashMap<String, u64>>,
) -> Response {
    server.counters.playlists.fetch_add(1, Ordering::Relaxed);
    if let Some(segment) = query.get("_HLS_msn") {
        server.counters.held_back.fetch_add(1, Ordering::Relaxed);
        let wanted = segment * PARTS + query.get("_HLS_part").copied().unwrap_or(PARTS - 1);
        if wanted > server.units() + 2 * PARTS {
            return StatusCode::BAD_REQUEST.into_response();
        }
        until_there(&server, wanted).await;
    }
    low_text(&server, server.units()).into_response()
}

async fn until_there(server: &Server, unit: u64) {
    while unit >= server.units() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn part(
    State(server): State<Server>,
    Path((_track, file)): Path<(String, String)>,
    headers: HeaderMap,
) -> Response {
    assert!(headers.get("range").is_none(), "nobody spoke of ranges");
    if file == "init.mp4" {
        server.counters.maps.fetch_add(1, Ordering::Relaxed);
        return vec![1; 100].into_response();
    }
    if let Some(unit) = file.strip_suffix(".part") {
        let unit: u64 = unit.parse().unwrap();
        assert!(unit <= server.units() + 1, "asked for before it was announced");
        until_there(&server, unit).await;
    }
    server.counters.media.fetch_add(1, Ordering::Relaxed);
    vec![7; BYTES].into_response()
}
