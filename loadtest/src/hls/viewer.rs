//! One viewer of HLS: reads playlists and fetches what its player wants, as long as it lives.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet};

use super::fetch::{Fetched, Fetcher, held_back};
use super::player::{Player, PlayerReport};
use super::playlist::{Media, Playlist};
use super::track::{Item, Next, What};
use crate::client::{ClientError, Gate, Trust, WebClient, resolve_reference};
use crate::clock::unix_micros;
use crate::measure::Histogram;

/// Requests for one segment, until it is given up.
const TRIES: u32 = 3;
/// Between two of them where the server names no time.
const PAUSE: Duration = Duration::from_millis(500);
/// The longest that `Retry-After` of a segment or playlist is obeyed: what is waited for is old by then.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Between two tries to begin.
const AGAIN: Duration = Duration::from_secs(1);
/// Kinds of errors that are told apart.
const KINDS: usize = 50;

/// How a viewer watches.
#[derive(Debug, Clone)]
pub struct HlsConfig {
    /// The playlist: of variants, or of segments.
    pub url: String,
    /// Bearer token.
    pub token: Option<String>,
    /// Who may be asked.
    pub gate: Arc<Gate>,
    /// Whose certificates are believed.
    pub trust: Trust,
    /// Time for each request that the server does not hold back.
    pub http_timeout: Duration,
    /// A stream that is not there yet is asked for again for so long.
    pub retry_for: Duration,
    /// Local address.
    pub local: Option<IpAddr>,
    /// When it comes; times of joining count from here.
    pub due: Instant,
}

/// What a viewer saw.
#[derive(Debug, Clone, Default)]
pub struct HlsSeen {
    /// It came, and has not begun to play.
    pub joining: bool,
    /// Why it cannot play, or what went wrong last while it has not begun.
    pub trouble: Option<String>,
    /// It will not begin any more.
    pub failed: bool,
    /// From when it was due until it played.
    pub start: Option<Duration>,
    /// What was played.
    pub player: PlayerReport,
    /// Bytes of media.
    pub bytes: u64,
    /// Requests that went wrong, by kind.
    pub errors: BTreeMap<String, u64>,
    /// Times that `Retry-After` was obeyed.
    pub obeyed: u64,
    /// How long segments and parts took from request to last byte.
    pub fetch: Histogram,
}

#[derive(Default)]
struct Seen {
    player: Option<Player>,
    failed: bool,
    trouble: Option<String>,
    bytes: u64,
    errors: BTreeMap<String, u64>,
    obeyed: u64,
    fetch: Histogram,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Seen>,
    /// A playlist was read: of pictures, of sound.
    news: [Notify; 2],
}

/// A viewer. It goes away when this is dropped.
pub struct HlsViewer {
    shared: Arc<Shared>,
    due: Instant,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for HlsViewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HlsViewer").field("due", &self.due).finish_non_exhaustive()
    }
}

impl Drop for HlsViewer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn now() -> u64 {
    unix_micros(Instant::now())
}

/// A few words by which errors are counted together.
fn class(error: &ClientError) -> String {
    match error {
        ClientError::Timeout { what, .. } => format!("timeout: {what}"),
        other => other.class(),
    }
}

/// How long to wait before the same is asked for again; nothing if that is of no use.
fn again(error: &ClientError) -> Option<Duration> {
    match error {
        ClientError::Refused { status: 408 | 425 | 429 | 500..=599, retry_after, .. } => {
            Some(retry_after.unwrap_or(PAUSE))
        }
        ClientError::Unreachable { .. } | ClientError::Timeout { .. } => Some(PAUSE),
        _ => None,
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, what: &str, error: &ClientError) {
        tracing::info!(%error, "a viewer of HLS did not get {what}");
        let mut seen = self.seen();
        let kind = class(error);
        seen.trouble = Some(kind.clone());
        let kind = format!("{what}: {kind}");
        if seen.errors.len() < KINDS || seen.errors.contains_key(&kind) {
            *seen.errors.entry(kind).or_default() += 1;
        }
    }

    /// Waits before the same is asked for again, and notes whether the server named the time.
    async fn pause(&self, error: &ClientError, otherwise: Duration) {
        let named = match error {
            ClientError::Refused { retry_after, .. } => *retry_after,
            _ => None,
        };
        self.seen().obeyed += u64::from(named.is_some());
        tokio::time::sleep(named.unwrap_or(otherwise).min(PAUSE_MAX)).await;
    }

    fn with_player<T>(&self, ask: impl FnOnce(&mut Player) -> T) -> Option<T> {
        self.seen().player.as_mut().map(ask)
    }

    fn patience(&self, track: usize) -> Duration {
        Duration::from_micros(self.with_player(|player| player.patience(track)).unwrap_or(0))
    }
}

impl HlsViewer {
    /// Comes when it is due. Must be called inside a runtime.
    pub fn start(config: HlsConfig) -> Self {
        let shared = Arc::new(Shared::default());
        let (due, mine) = (config.due, Arc::clone(&shared));
        let task = tokio::spawn(async move {
            tokio::time::sleep_until(config.due.into()).await;
            if let Err(error) = attend(&config, &mine).await {
                mine.error("playlist", &error);
                mine.seen().failed = true;
            }
        });
        Self { shared, due, task }
    }

    /// What it saw until now.
    pub fn seen(&self) -> HlsSeen {
        let mut seen = self.shared.seen();
        let player = seen.player.as_mut().map(|player| player.report(now())).unwrap_or_default();
        let begun = player.began.map(|at| at.saturating_sub(unix_micros(self.due)));
        HlsSeen {
            joining: begun.is_none() && !seen.failed && self.due <= Instant::now(),
            trouble: seen.trouble.clone(),
            failed: seen.failed,
            start: begun.map(Duration::from_micros),
            player,
            bytes: seen.bytes,
            errors: seen.errors.clone(),
            obeyed: seen.obeyed,
            fetch: seen.fetch.clone(),
        }
    }
}

/// A playlist that is played, as it was first read.
struct Begun {
    url: String,
    asked: u64,
    first: Fetched<Media>,
}

async fn attend(config: &HlsConfig, shared: &Arc<Shared>) -> Result<(), ClientError> {
    let HlsConfig { gate, token, http_timeout, trust, local, .. } = config;
    let web = WebClient::new(Arc::clone(gate), token.clone(), *http_timeout, trust, *local)?;
    let fetcher = Arc::new(Fetcher { web, timeout: *http_timeout });
    let begun = patiently(config, shared, &fetcher).await?;
    let mut player = Player::new(begun.len());
    let mut all = JoinSet::new();
    let mut urls = Vec::new();
    for (track, Begun { url, asked, first }) in begun.into_iter().enumerate() {
        player.read(track, asked, now(), first.base.into(), first.what);
        urls.push(url);
    }
    shared.seen().player = Some(player);
    for (track, url) in urls.into_iter().enumerate() {
        all.spawn(follow(track, url, Arc::clone(shared), Arc::clone(&fetcher)));
        all.spawn(fetch(track, Arc::clone(shared), Arc::clone(&fetcher)));
    }
    while all.join_next().await.is_some() {}
    Ok(())
}

/// Reads all playlists that are played; one that is not there yet is asked for again.
async fn patiently(
    config: &HlsConfig,
    shared: &Shared,
    fetcher: &Fetcher,
) -> Result<Vec<Begun>, ClientError> {
    let until = Instant::now() + config.retry_for;
    loop {
        let error = match open(&config.url, fetcher).await {
            Ok(begun) => return Ok(begun),
            Err(error) => error,
        };
        // Streams that begin soon are not found before.
        let absent = matches!(error.status(), Some(404 | 409));
        let Some(pause) = again(&error).or(absent.then_some(AGAIN)) else { return Err(error) };
        if Instant::now() + pause > until {
            return Err(error);
        }
        shared.error("playlist", &error);
        shared.pause(&error, AGAIN).await;
    }
}

async fn open(url: &str, fetcher: &Fetcher) -> Result<Vec<Begun>, ClientError> {
    let asked = now();
    let Fetched { what, base } = fetcher.playlist(url, Duration::ZERO).await?;
    let master = match what {
        Playlist::Media(what) => {
            return Ok(vec![Begun { url: url.to_owned(), asked, first: Fetched { what, base } }]);
        }
        Playlist::Master(master) => master,
    };
    let bad = || ClientError::BadResponse { url: base.clone(), why: "it has no variant".to_owned() };
    let (variant, sound) = master.best().ok_or_else(bad)?;
    let mut begun = Vec::new();
    for uri in [Some(variant.uri.as_str()), sound.map(|sound| sound.uri.as_str())].into_iter().flatten() {
        let (url, asked) = (resolve_reference(&base, uri)?, now());
        let first = fetcher.media(&url, Duration::ZERO).await?;
        begun.push(Begun { url, asked, first });
    }
    Ok(begun)
}

/// Reads a playlist again and again.
async fn follow(track: usize, url: String, shared: Arc<Shared>, fetcher: Arc<Fetcher>) {
    while let Some(Some(reload)) = shared.with_player(|player| player.reload(track)) {
        sleep_until(reload.at).await;
        let asked = now();
        let (target, patience) = match reload.block {
            Some(block) => (held_back(&url, block), shared.patience(track)),
            None => (url.clone(), Duration::ZERO),
        };
        match fetcher.media(&target, patience).await {
            Ok(Fetched { what, base }) => {
                shared.with_player(|player| player.read(track, asked, now(), base.into(), what));
                if let Some(news) = shared.news.get(track) {
                    news.notify_one();
                }
            }
            Err(error) => {
                shared.error("playlist", &error);
                if reload.block.is_some() && error.status() == Some(400) {
                    shared.with_player(|player| player.do_not_block(track));
                }
                shared.pause(&error, PAUSE).await;
            }
        }
    }
}

/// Fetches what the player wants, one after the other.
async fn fetch(track: usize, shared: Arc<Shared>, fetcher: Arc<Fetcher>) {
    let Some(news) = shared.news.get(track) else { return };
    while let Some(next) = shared.with_player(|player| player.next(track, now())) {
        match next {
            Next::Get(item) => {
                let here = item_here(track, &item, &shared, &fetcher).await;
                shared.with_player(|player| match here {
                    true => player.arrived(track, &item, now()),
                    false => player.missed(track, &item, now()),
                });
            }
            Next::Wait(Some(until)) => {
                tokio::select! {
                    () = news.notified() => {}
                    () = sleep_until(until) => {}
                }
            }
            Next::Wait(None) => news.notified().await,
            Next::End => return,
        }
    }
}

/// Fetches an item and what comes before it; says whether it is here.
async fn item_here(track: usize, item: &Item, shared: &Shared, fetcher: &Fetcher) -> bool {
    if let Some(map) = &item.map {
        match fetcher.resource(&item.base, map, Duration::ZERO).await {
            Ok(bytes) => shared.seen().bytes += bytes,
            Err(error) => {
                shared.error("map", &error);
                return false;
            }
        }
    }
    let (name, patience) = match item.what {
        What::Segment => ("segment", Duration::ZERO),
        What::Part => ("part", Duration::ZERO),
        What::Hint => ("announced part", shared.patience(track)),
    };
    for attempt in 1..=TRIES {
        let asked = Instant::now();
        match fetcher.resource(&item.base, &item.resource, patience).await {
            Ok(bytes) => {
                let mut seen = shared.seen();
                seen.bytes += bytes;
                // How long the server held an announced part back says nothing of the network.
                if item.what != What::Hint {
                    seen.fetch.record(asked.elapsed());
                }
                return true;
            }
            Err(error) => {
                shared.error(name, &error);
                if attempt == TRIES || item.what == What::Hint || again(&error).is_none() {
                    return false;
                }
                shared.pause(&error, PAUSE).await;
            }
        }
    }
    false
}

async fn sleep_until(at: u64) {
    tokio::time::sleep(Duration::from_micros(at.saturating_sub(now()))).await;
}
