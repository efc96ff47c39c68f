//! A scenario, and the file that it is written in.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use freshet_cluster::unit::Bitrate;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{Act, Arrival, Call, Chat, Event, Hls, Impairment, Rooms, Selector, Stay};
use crate::media::Oversized;
use crate::report::Bound;
use crate::units;

/// Largest file that is read, in bytes.
const FILE_MAX: usize = 1 << 20;
/// Most events of a run.
const EVENTS_MAX: usize = 1_000;

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Scenario {
    /// Its name in the report.
    pub name: String,
    /// How long to measure after the last viewer is due.
    #[serde(deserialize_with = "duration")]
    pub duration: Duration,
    /// The run is over by then, whatever hangs.
    #[serde(deserialize_with = "some_duration")]
    pub time_limit: Option<Duration>,
    /// What is left to chance follows from this.
    pub seed: u64,
    /// Who publishes.
    pub publishers: Publishers,
    /// Who watches.
    pub viewers: Viewers,
    /// Who watches by HLS.
    pub hls: Hls,
    /// Who chats.
    pub chat: Chat,
    /// What is done in the run.
    #[serde(deserialize_with = "events")]
    pub events: Vec<Event>,
    /// What must hold in the end.
    #[serde(deserialize_with = "bounds")]
    pub expect: Vec<Bound>,
    /// The server's processes.
    pub server: Server,
    /// How a search for the largest audience goes.
    pub capacity: Climb,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            name: String::new(),
            duration: Duration::from_secs(10),
            time_limit: None,
            seed: 1,
            publishers: Publishers::default(),
            viewers: Viewers::default(),
            hls: Hls::default(),
            chat: Chat::default(),
            events: Vec::new(),
            expect: Vec::new(),
            server: Server::default(),
            capacity: Climb::default(),
        }
    }
}

/// Codecs by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// H.264 (RFC 6184).
    H264,
    /// VP8 (RFC 7741).
    Vp8,
    /// No pictures.
    Opus,
}

/// Who publishes.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Publishers {
    /// WHIP endpoint; `{i}` stands for the publisher's number. Without it others publish.
    pub url: Option<String>,
    /// How many.
    pub count: u32,
    /// What they send.
    pub codec: Codec,
    /// Bit rate of their video.
    #[serde(deserialize_with = "bit_rate")]
    pub bitrate: Bitrate,
    /// Frames a second.
    pub fps: u32,
    /// Frames from one keyframe to the next; 0: only when asked for.
    pub gop: u32,
    /// Simulcast layers of their video; 1: one encoding.
    pub layers: u8,
    /// With sound.
    pub audio: bool,
    /// A file of real video to send again and again, or of real sound alone.
    pub media: Option<PathBuf>,
    /// A file of real sound to send with it.
    pub audio_media: Option<PathBuf>,
    /// Single packets of unusual size.
    #[serde(deserialize_with = "oversized")]
    pub oversized: Option<Oversized>,
    /// The environment variable that holds their bearer token.
    pub token_env: String,
}

impl Default for Publishers {
    fn default() -> Self {
        Self {
            url: None,
            count: 1,
            codec: Codec::H264,
            bitrate: Bitrate::from_mbps(2),
            fps: 30,
            gop: 60,
            layers: 1,
            audio: true,
            media: None,
            audio_media: None,
            oversized: None,
            token_env: "FRESHET_LOADTEST_WHIP_TOKEN".to_owned(),
        }
    }
}

/// How much of their media viewers decrypt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Every viewer every packet.
    #[default]
    Full,
    /// One in some viewers every packet; of the others media is counted by its headers.
    Sampled,
}

/// When a TURN server that a response names is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Turn {
    /// Where ICE finds no direct way within half of its time.
    #[default]
    Fallback,
    /// Never.
    Never,
    /// Always: no direct way is tried.
    Only,
}

/// Who watches.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Viewers {
    /// WHEP endpoint; `{i}` stands for the number of the publisher that is watched.
    pub url: String,
    /// How many.
    pub count: u32,
    /// When they come.
    #[serde(deserialize_with = "text")]
    pub arrival: Arrival,
    /// How long each stays.
    #[serde(deserialize_with = "text")]
    pub stay: Stay,
    /// Whom they watch.
    #[serde(deserialize_with = "text")]
    pub rooms: Rooms,
    /// How much of their media they decrypt.
    pub mode: Mode,
    /// Where they are sampled, one in so many decrypts all.
    pub sample: u32,
    /// One in so many hands its video to a real decoder.
    pub decode: Option<u32>,
    /// They lose this share of the media that reaches them.
    #[serde(deserialize_with = "share")]
    pub loss: f64,
    /// They ask for lost packets again.
    pub nack: bool,
    /// Those of sound, too, which browsers do not.
    pub audio_nack: bool,
    /// `Retry-After` of 409, 429 and 503 is obeyed for so long.
    #[serde(deserialize_with = "duration")]
    pub retry_for: Duration,
    /// Who loses its session joins again.
    pub reconnect: bool,
    /// When TURN servers that responses name are used, by publishers too.
    pub turn: Turn,
    /// Hosts beside those of the URLs that sessions may lead to, publishers' too, as `HOST` or `HOST:PORT`.
    pub allow_hosts: Vec<String>,
    /// Time for each HTTP request.
    #[serde(deserialize_with = "duration")]
    pub http_timeout: Duration,
    /// Time for ICE and DTLS.
    #[serde(deserialize_with = "duration")]
    pub connect_timeout: Duration,
    /// Local address for media.
    pub bind: Option<IpAddr>,
    /// Threads that drive them.
    pub threads: Option<usize>,
    /// The environment variable that holds their bearer token.
    pub token_env: String,
}

impl Default for Viewers {
    fn default() -> Self {
        Self {
            url: String::new(),
            count: 10,
            arrival: Arrival::Ramp(50.0),
            stay: Stay::Whole,
            rooms: Rooms::Even,
            mode: Mode::Full,
            sample: 20,
            decode: None,
            loss: 0.0,
            nack: true,
            audio_nack: false,
            retry_for: Duration::from_secs(10),
            reconnect: true,
            turn: Turn::default(),
            allow_hosts: Vec::new(),
            http_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(10),
            bind: None,
            threads: None,
            token_env: "FRESHET_LOADTEST_WHEP_TOKEN".to_owned(),
        }
    }
}

/// What of the server is measured.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Server {
    /// Its processes, on this machine.
    pub pids: Vec<u32>,
    /// Pages of its metrics, as Prometheus reads them.
    pub metrics: Vec<String>,
    /// What they call packets sent to viewers; `None`: as Freshet does.
    #[serde(deserialize_with = "some_text")]
    pub packets: Option<Selector>,
    /// What they call the bytes of these.
    #[serde(deserialize_with = "some_text")]
    pub bytes: Option<Selector>,
    /// What they call sessions that were taken.
    #[serde(deserialize_with = "some_text")]
    pub joins: Option<Selector>,
}

/// How a search for the largest audience goes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Climb {
    /// Smallest audience.
    pub from: u32,
    /// Largest audience.
    pub to: u32,
    /// How close the answer has to be; without it a fiftieth of the largest.
    pub resolution: Option<u32>,
    /// So many runs of a size have to agree.
    pub confirm: u32,
    /// How long each run measures after its last viewer is due.
    #[serde(deserialize_with = "duration")]
    pub step_time: Duration,
    /// Between two runs, for the server to forget the last one.
    #[serde(deserialize_with = "duration")]
    pub pause: Duration,
}

impl Default for Climb {
    fn default() -> Self {
        let (step_time, pause) = (Duration::from_secs(20), Duration::from_secs(2));
        Self { from: 50, to: 2_000, resolution: None, confirm: 2, step_time, pause }
    }
}

/// Why a file is no scenario.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct ScenarioError {
    /// Where, from 1.
    pub line: usize,
    /// What is wrong, in one line, and what would be right.
    pub why: String,
}

impl Scenario {
    /// Reads a file's text. `${NAME}` in it stands for an environment variable, `${NAME:-value}` for one that may be
    /// missing.
    pub fn read(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Self, ScenarioError> {
        if text.len() > FILE_MAX {
            return Err(ScenarioError { line: 1, why: format!("a scenario has {FILE_MAX} bytes at most") });
        }
        let text = expand(text, variable)?;
        let scenario: Self = toml::from_str(&text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
            ScenarioError { line: before.matches('\n').count().saturating_add(1), why }
        })?;
        Ok(scenario)
    }
}

/// Puts the values of variables in. Lines of comment stay as they are.
pub fn expand(text: &str, variable: impl Fn(&str) -> Option<String>) -> Result<String, ScenarioError> {
    let mut whole = String::with_capacity(text.len());
    for (before, line) in text.split_inclusive('\n').enumerate() {
        let failed = |why| ScenarioError { line: before.saturating_add(1), why };
        if line.trim_start().starts_with('#') {
            whole.push_str(line);
            continue;
        }
        let mut rest = line;
        while let Some((plain, named)) = rest.split_once("${") {
            let (name, after) =
                named.split_once('}').ok_or_else(|| failed("${ is not closed by }".to_owned()))?;
            let (name, otherwise) = match name.split_once(":-") {
                Some((name, otherwise)) => (name, Some(otherwise.to_owned())),
                None => (name, None),
            };
            let value = variable(name).or(otherwise).ok_or_else(|| {
                failed(format!("the environment has no {name}: set it, or write ${{{name}:-a value}}"))
            })?;
            whole.push_str(plain);
            whole.push_str(&value);
            rest = after;
        }
        whole.push_str(rest);
    }
    Ok(whole)
}

// --- values that people write as text ---

fn parsed<'de, D: Deserializer<'de>, T, E: Display>(
    from: D,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map_err(D::Error::custom)
}

fn text<'de, D: Deserializer<'de>, T>(from: D) -> Result<T, D::Error>
where
    T: std::str::FromStr<Err = String>,
{
    parsed(from, str::parse)
}

fn some_text<'de, D: Deserializer<'de>, T>(from: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err = String>,
{
    text(from).map(Some)
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    parsed(from, units::duration)
}

fn some_duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    duration(from).map(Some)
}

fn bit_rate<'de, D: Deserializer<'de>>(from: D) -> Result<Bitrate, D::Error> {
    parsed(from, units::bit_rate)
}

fn some_bit_rate<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Bitrate>, D::Error> {
    bit_rate(from).map(Some)
}

fn oversized<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Oversized>, D::Error> {
    parsed(from, units::oversized).map(Some)
}

fn share<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    parsed(from, units::share)
}

/// A share that may be the whole.
fn part<'de, D: Deserializer<'de>>(from: D) -> Result<f64, D::Error> {
    parsed(from, |text| if text.trim() == "100%" { Ok(1.0) } else { units::share(text) })
}

fn bounds<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Bound>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| Bound::expected(text).map_err(D::Error::custom)).collect()
}

// --- events, of which each is one of several things ---

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    #[serde(deserialize_with = "duration")]
    at: Duration,
    name: Option<String>,
    kill: Option<u32>,
    command: Option<Vec<String>>,
    call: Option<WrittenCall>,
    impair: Option<WrittenImpairment>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenCall {
    #[serde(default = "post")]
    method: String,
    url: String,
    token_env: Option<String>,
    body: Option<String>,
}

fn post() -> String {
    "POST".to_owned()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct WrittenImpairment {
    #[serde(deserialize_with = "part")]
    share: f64,
    #[serde(deserialize_with = "part")]
    loss: f64,
    #[serde(deserialize_with = "duration")]
    delay: Duration,
    #[serde(deserialize_with = "duration")]
    jitter: Duration,
    #[serde(deserialize_with = "some_bit_rate")]
    rate: Option<Bitrate>,
    #[serde(deserialize_with = "some_duration")]
    lasts: Option<Duration>,
}

impl Default for WrittenImpairment {
    fn default() -> Self {
        let Impairment { share, loss, delay, jitter, rate, lasts } = Impairment::NONE;
        Self { share, loss, delay, jitter, rate, lasts }
    }
}

/// Longest that a datagram is held back, so that what is held stays bounded.
const LATEST: Duration = Duration::from_secs(5);

impl TryFrom<Written> for Event {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { at, name, kill, command, call, impair } = written;
        let act = match (kill, command, call, impair) {
            (Some(pid), None, None, None) if pid > 1 => Act::Kill(pid),
            (Some(pid), None, None, None) => return Err(format!("{pid} is no process that may be killed")),
            (None, Some(words), None, None) if words.first().is_some_and(|name| !name.is_empty()) => {
                Act::Command(words)
            }
            (None, Some(_), None, None) => return Err("a command needs the name of a program".to_owned()),
            (None, None, Some(WrittenCall { method, url, token_env, body }), None) => {
                Act::Call(Call { method, url, token_env, body })
            }
            (None, None, None, Some(impair)) => {
                let WrittenImpairment { share, loss, delay, jitter, rate, lasts } = impair;
                if delay.saturating_add(jitter) > LATEST {
                    return Err(format!("datagrams are {LATEST:?} late at most"));
                }
                Act::Impair(Impairment { share, loss, delay, jitter, rate, lasts })
            }
            _ => return Err("an event has one of kill, command, call and impair".to_owned()),
        };
        Ok(Self { at, name, act })
    }
}

fn events<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Event>, D::Error> {
    let written = Vec::<Written>::deserialize(from)?;
    if written.len() > EVENTS_MAX {
        return Err(D::Error::custom(format!("a run has {EVENTS_MAX} events at most")));
    }
    let mut events =
        written.into_iter().map(Event::try_from).collect::<Result<Vec<_>, _>>().map_err(D::Error::custom)?;
    events.sort_by_key(|event| event.at);
    Ok(events)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
