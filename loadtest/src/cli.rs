//! The command line.

mod nats;
mod together;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::Trust;
use freshet_loadtest::media::{MAX_LAYERS, Oversized};
use freshet_loadtest::report::Bound;
use freshet_loadtest::run::{Access, listen_address};
use freshet_loadtest::scenario::{Arrival, Codec, Mode, Rooms, Scenario, Selector, Stay, Turn, expand};
use freshet_loadtest::units;

use nats::NatsArguments;
use together::TogetherArguments;

const EXAMPLES: &str = "\
Examples (H stands for http://127.0.0.1:8080):
  A scenario from a file, and a page to look at afterwards:
    freshet-loadtest run event.toml --report out

  One publisher, 200 viewers joining over 4 seconds, measured for 30:
    freshet-loadtest run --whip H/whip/demo --whep H/whep/demo \\
        --viewers 200 --ramp 50/s --duration 30s

  A storm of joins, as a gate in CI:
    freshet-loadtest run --whip H/whip/demo --whep H/whep/demo --viewers 200 \\
        --ramp storm --json --fail-if 'loss>0.1%' --fail-if 'p99>100ms' \\
        --fail-if 'failed>0' --fail-if 'not-back>0'

  Ten rooms with ten viewers each, over a network that loses 1 %:
    freshet-loadtest run --whip 'H/whip/room-{i}' --whep 'H/whep/room-{i}' \\
        --publishers 10 --viewers 100 --loss 1% --seed 7

  Watch what somebody else publishes; each viewer stays a minute on average:
    freshet-loadtest run --whep H/whep/demo --viewers 20 --stay 'exponential 60s'

  Fifty players of HLS, wherever it comes from, and nothing else:
    freshet-loadtest run --hls-url https://live.example/a/index.m3u8 --hls-viewers 50 \\
        --duration 60s --i-own-the-target --allow-host cdn.example \\
        --fail-if 'hls-stalls>0'

  Thirty who chat in a room of Freshet, two messages a second:
    freshet-loadtest run --chat-url H/v1/rooms/demo --chat-clients 30 --chat-rate 2/s \\
        --fail-if 'chat-lost>0' --fail-if 'chat-repeated>0'

  Was it better than yesterday?
    freshet-loadtest compare yesterday/report.json out/report.json

  Three machines watch; each has been told: freshet-loadtest agent --nats nats://10.0.0.9
    freshet-loadtest run event.toml --agents 3 --nats nats://10.0.0.9

  How large an audience does it hold?
    freshet-loadtest capacity capacity.toml --report out

Exit status:
  0  the run is over and every bound was kept
  1  a bound is broken, or it was stopped, or an agent was lost, or the run is invalid: its figures do not speak of
     the server; capacity: not even the smallest audience kept the bounds
  2  bad usage, or nothing could be measured";

/// What is wrong with a command line: the paragraph that says it, in one line.
pub fn in_one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let said: Vec<&str> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    let said = said.join(" ");
    format!("freshet-loadtest: {}; see --help", said.strip_prefix("error: ").unwrap_or(&said))
}

/// How many viewers can a WHIP/WHEP server hold, and what do they see?
#[derive(Debug, Parser)]
#[command(name = "freshet-loadtest", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Publish stamped media, watch it, and report what arrived.
    Run(Box<RunArguments>),
    /// Put two runs side by side, with ratios.
    Compare(CompareArguments),
    /// Watch for runs that are started elsewhere, until it is stopped.
    Agent(Box<AgentArguments>),
    /// Find the largest audience that keeps the bounds: one run for each size.
    Capacity(Box<CapacityArguments>),
}

/// What a comparison is told.
#[derive(Debug, Args)]
pub struct CompareArguments {
    /// report.json of the first run.
    pub a: PathBuf,
    /// report.json of the second run.
    pub b: PathBuf,
    /// Print Markdown.
    #[arg(long, conflicts_with = "json")]
    pub markdown: bool,
    /// Print one JSON object.
    #[arg(long)]
    pub json: bool,
}

/// Codecs by their names.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum CodecName {
    /// H.264.
    H264,
    /// VP8.
    Vp8,
    /// No pictures.
    Opus,
}

impl CodecName {
    fn codec(self) -> Codec {
        match self {
            Self::H264 => Codec::H264,
            Self::Vp8 => Codec::Vp8,
            Self::Opus => Codec::Opus,
        }
    }
}

/// How much viewers decrypt, by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ModeName {
    /// Every viewer every packet.
    Full,
    /// One in some viewers every packet.
    Sampled,
}

impl ModeName {
    fn mode(self) -> Mode {
        match self {
            Self::Full => Mode::Full,
            Self::Sampled => Mode::Sampled,
        }
    }
}

/// When TURN is used, by name.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum TurnName {
    /// Where ICE finds no direct way within half of its time.
    Fallback,
    /// Never.
    Never,
    /// Always.
    Only,
}

impl TurnName {
    fn turn(self) -> Turn {
        match self {
            Self::Fallback => Turn::Fallback,
            Self::Never => Turn::Never,
            Self::Only => Turn::Only,
        }
    }
}

/// What a run is told. What is said here goes before what the file says.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArguments {
    /// Scenario, in TOML: docs/loadtest.md. Flags change what it says.
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// WHIP endpoint to publish to; {i} stands for the publisher's number. Without it nothing is published.
    #[arg(long, value_name = "URL")]
    whip: Option<String>,
    /// WHEP endpoint to watch; {i} stands for a publisher's number, over which viewers are spread.
    #[arg(long, value_name = "URL")]
    whep: Option<String>,
    /// Bearer token of publishers. [env: FRESHET_LOADTEST_WHIP_TOKEN, unless the file names another]
    #[arg(long, value_name = "TOKEN")]
    token_whip: Option<String>,
    /// Bearer token of viewers. [env: FRESHET_LOADTEST_WHEP_TOKEN, unless the file names another]
    #[arg(long, value_name = "TOKEN")]
    token_whep: Option<String>,
    /// Playlist of HLS to watch, of whatever server; {i} stands for a publisher's number.
    #[arg(long, value_name = "URL")]
    hls_url: Option<String>,
    /// Viewers of HLS. [default: 10 if there is a playlist]
    #[arg(long, value_name = "N")]
    hls_viewers: Option<u32>,
    /// Room of Freshet to chat in, such as H/v1/rooms/demo. Without it that of --whep or --whip.
    #[arg(long, value_name = "URL")]
    chat_url: Option<String>,
    /// Those who chat, all rooms together. [default: 10 if there is a room to chat in]
    #[arg(long, value_name = "N")]
    chat_clients: Option<u32>,
    /// Messages a second in each room, of all who chat there together: 2/s, 30/m. [default: 1/s]
    #[arg(long, value_name = "RATE", value_parser = units::rate)]
    chat_rate: Option<f64>,
    /// Bearer token of viewers of HLS. [env: FRESHET_LOADTEST_HLS_TOKEN, unless the file names another]
    #[arg(long, value_name = "TOKEN")]
    token_hls: Option<String>,
    /// Bearer tokens of those who chat, with blanks between them; the n-th client has the n-th, and so on in a circle.
    /// [env: FRESHET_LOADTEST_CHAT_TOKEN, unless the file names another]
    #[arg(long, value_name = "TOKENS")]
    token_chat: Option<String>,
    /// Redirects, Locations, Links and playlists may lead to this host, too, as HOST or HOST:PORT; may be given again.
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// Publishers. [default: 1]
    #[arg(long, value_name = "N")]
    publishers: Option<u32>,
    /// Viewers. [default: 10]
    #[arg(long, value_name = "N")]
    viewers: Option<u32>,
    /// How viewers arrive: 50/s, 600/m, storm (all at once), 'storm 5s', 'poisson 20/s', or steps: 100@0s,400@30s.
    /// [default: 50/s]
    #[arg(long, value_name = "ARRIVAL")]
    ramp: Option<Arrival>,
    /// How long each viewer stays before a newcomer takes its place: 60s, 'exponential 60s', whole. [default: whole]
    #[arg(long, value_name = "STAY")]
    stay: Option<Stay>,
    /// How viewers are spread over publishers: even, zipf, 'zipf 1.2'. [default: even]
    #[arg(long, value_name = "SPREAD")]
    rooms: Option<Rooms>,
    /// How long to measure after the last viewer is due. [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    duration: Option<Duration>,
    /// Video bit rate. [default: 2M]
    #[arg(long, value_name = "RATE", value_parser = units::bit_rate)]
    bitrate: Option<Bitrate>,
    /// Frames a second. [default: 30]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: Option<u32>,
    /// Frames from one keyframe to the next; 0: only when asked for. [default: 60]
    #[arg(long, value_name = "FRAMES")]
    gop: Option<u32>,
    /// Send video in so many simulcast layers, 1 to 3, each with a quarter of the bits of the one above. [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=i64::from(MAX_LAYERS)))]
    layers: Option<u8>,
    /// What publishers send; opus: sound alone. [default: h264]
    #[arg(long, value_enum)]
    codec: Option<CodecName>,
    /// Send the real media of this file again and again: .h264 (Annex B), .ivf (VP8), or .ogg (Opus, sound alone).
    #[arg(long, value_name = "FILE", conflicts_with_all = ["codec", "no_video", "oversized", "layers"])]
    media: Option<PathBuf>,
    /// Send the real sound of this file (.ogg, Opus) with it.
    #[arg(long, value_name = "FILE", conflicts_with = "no_audio")]
    audio_media: Option<PathBuf>,
    /// Make every N-th frame one packet of BYTES, to see relays split it.
    #[arg(long, value_name = "N:BYTES", value_parser = units::oversized)]
    oversized: Option<Oversized>,
    /// No sound.
    #[arg(long)]
    no_audio: bool,
    /// No pictures.
    #[arg(long, conflicts_with_all = ["no_audio", "codec"])]
    no_video: bool,
    /// full: viewers decrypt every packet. sampled: most of them count media by its headers, which takes far less CPU;
    /// latency and damage are then those of the others. [default: full]
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// With --mode sampled, one in N viewers decrypts every packet. [default: 20]
    #[arg(long, value_name = "N")]
    sample: Option<u32>,
    /// One in N viewers hands its video to a real decoder, ffmpeg, which counts pictures and errors.
    #[arg(long, value_name = "N")]
    decode: Option<u32>,
    /// Viewers lose this share of the media that reaches them: 0.01 or 1%.
    #[arg(long, value_name = "SHARE", value_parser = units::share)]
    loss: Option<f64>,
    /// All that is left to chance follows from this: losses, Poisson arrivals, stays, Zipf's rooms. [default: 1]
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Viewers offer no retransmission.
    #[arg(long)]
    no_nack: bool,
    /// Viewers offer NACK and RTX for audio too, which browsers do not.
    #[arg(long, conflicts_with = "no_nack")]
    audio_nack: bool,
    /// Obey Retry-After of 409, 429 and 503 for so long. [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    retry_for: Option<Duration>,
    /// Who loses its session does not join again.
    #[arg(long)]
    no_reconnect: bool,
    /// When TURN servers that responses name are used, by publishers too. [default: fallback]
    #[arg(long, value_enum)]
    turn: Option<TurnName>,
    /// Time for each HTTP request. [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    http_timeout: Option<Duration>,
    /// Time for ICE and DTLS. [default: 10s]
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    connect_timeout: Option<Duration>,
    /// Local address of all viewers; without it the one from which the target is reached, and on loopback each its own.
    #[arg(long, value_name = "IP")]
    bind: Option<IpAddr>,
    /// Threads that drive viewers; without it as many as the host has cores, at most 8.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The run is over by then, whatever hangs; without it a minute more than joining and measuring take.
    #[arg(long, value_name = "TIME", value_parser = units::duration)]
    time_limit: Option<Duration>,
    /// A process of the server on this machine, whose CPU and memory are measured; may be given again.
    #[arg(long, value_name = "PID")]
    server_pid: Vec<u32>,
    /// A page of the server's metrics, as Prometheus reads them: CPU, memory, packets, joins; may be given again.
    #[arg(long, value_name = "URL")]
    server_metrics: Vec<String>,
    /// What these pages call packets sent to viewers: a name, or name{label="value"}.
    /// [default: freshet_node_egress_packets_total]
    #[arg(long, value_name = "SERIES")]
    server_packets: Option<Selector>,
    /// What they call the bytes of these. [default: freshet_node_egress_bytes_total]
    #[arg(long, value_name = "SERIES")]
    server_bytes: Option<Selector>,
    /// What they call sessions that were taken. [default: freshet_node_joins_total]
    #[arg(long, value_name = "SERIES")]
    server_joins: Option<Selector>,
    /// Exit with 1 if this holds in the end, such as 'loss>0.1%', 'p99>100ms', 'first-keyframe-p99>2s', 'failed>0'.
    #[arg(long, value_name = "BOUND")]
    fail_if: Vec<Bound>,
    /// While the run goes on, tell Prometheus how at http://ADDR/metrics: a port of this machine alone, such as 9464, or
    /// an address with its port.
    #[arg(long, value_name = "ADDR", value_parser = listen_address)]
    pub metrics_listen: Option<SocketAddr>,
    /// Write report.html, report.json, summary.md and viewers.csv into this folder, which is made if need be.
    #[arg(long, value_name = "FOLDER")]
    pub report: Option<PathBuf>,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    pub json: bool,
    /// No progress on standard error.
    #[arg(long)]
    pub quiet: bool,
    /// The target is neither loopback nor private, and it is mine or its owner agrees.
    #[arg(long)]
    i_own_the_target: bool,
    /// PEM file with the authorities behind the server's certificate; without it the system's.
    #[arg(long, value_name = "FILE", value_parser = authorities)]
    pub ca: Option<Authorities>,
    #[command(flatten)]
    pub together: TogetherArguments,
}

/// What an agent is told.
#[derive(Debug, Args)]
pub struct AgentArguments {
    #[command(flatten)]
    pub nats: NatsArguments,
    /// Its name in reports. [default: this host's]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Targets may be loaded from here that are neither loopback nor private: they are mine or their owners agree.
    #[arg(long)]
    pub i_own_the_target: bool,
    /// This host's clock is taken for wrong by so much.
    #[arg(long, value_name = "TIME", value_parser = units::duration, hide = true)]
    pub pretend_clock_ahead: Option<Duration>,
}

/// What a search is told.
#[derive(Debug, Args)]
pub struct CapacityArguments {
    #[command(flatten)]
    pub run: RunArguments,
    /// Smallest audience. [default: 50]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub from: Option<u32>,
    /// Largest audience. [default: 2000]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub to: Option<u32>,
    /// How close the answer has to be. [default: a fiftieth of the largest]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub resolution: Option<u32>,
    /// So many runs of a size have to agree. [default: 2]
    #[arg(long, value_name = "N", help_heading = "Search")]
    pub confirm: Option<u32>,
    /// How long each run measures after its last viewer is due. [default: 20s]
    #[arg(long, value_name = "TIME", value_parser = units::duration, help_heading = "Search")]
    pub step_time: Option<Duration>,
    /// Between two runs, for the server to forget the last one. [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = units::duration, help_heading = "Search")]
    pub pause: Option<Duration>,
}

/// Authorities from a file.
#[derive(Debug, Clone)]
pub struct Authorities {
    /// The file's text.
    pub pem: String,
    trust: Trust,
}

fn authorities(path: &str) -> Result<Authorities, String> {
    let pem = std::fs::read_to_string(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    let trust = Trust::authorities(pem.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Authorities { pem, trust })
}

/// Puts a flag's value in, where the flag was given.
fn put<T: Clone>(place: &mut T, given: Option<&T>) {
    if let Some(given) = given {
        place.clone_from(given);
    }
}

impl RunArguments {
    /// What is to be run: what the file says, and on top of it what these arguments say.
    pub fn scenario(&self) -> anyhow::Result<Scenario> {
        let file = self.file.as_deref().map(read).transpose()?;
        Ok(self.over(file.unwrap_or_default()))
    }

    /// What these arguments make of a scenario.
    pub fn over(&self, mut scenario: Scenario) -> Scenario {
        put(&mut scenario.duration, self.duration.as_ref());
        put(&mut scenario.seed, self.seed.as_ref());
        scenario.time_limit = self.time_limit.or(scenario.time_limit);
        scenario.expect.extend(self.fail_if.iter().cloned());
        let server = &mut scenario.server;
        server.pids.extend(&self.server_pid);
        server.metrics.extend(self.server_metrics.iter().cloned());
        server.packets = self.server_packets.clone().or(server.packets.take());
        server.bytes = self.server_bytes.clone().or(server.bytes.take());
        server.joins = self.server_joins.clone().or(server.joins.take());
        let publishers = &mut scenario.publishers;
        publishers.url = self.whip.clone().or(publishers.url.take());
        publishers.oversized = self.oversized.or(publishers.oversized);
        publishers.media = self.media.clone().or(publishers.media.take());
        publishers.audio_media = self.audio_media.clone().or(publishers.audio_media.take());
        put(&mut publishers.count, self.publishers.as_ref());
        put(&mut publishers.bitrate, self.bitrate.as_ref());
        put(&mut publishers.fps, self.fps.as_ref());
        put(&mut publishers.gop, self.gop.as_ref());
        put(&mut publishers.layers, self.layers.as_ref());
        put(&mut publishers.codec, self.codec.map(CodecName::codec).as_ref());
        publishers.audio &= !self.no_audio;
        if self.no_video {
            (publishers.codec, publishers.media) = (Codec::Opus, None);
        }
        let viewers = &mut scenario.viewers;
        put(&mut viewers.url, self.whep.as_ref());
        put(&mut viewers.count, self.viewers.as_ref());
        put(&mut viewers.arrival, self.ramp.as_ref());
        put(&mut viewers.stay, self.stay.as_ref());
        put(&mut viewers.rooms, self.rooms.as_ref());
        put(&mut viewers.mode, self.mode.map(ModeName::mode).as_ref());
        put(&mut viewers.sample, self.sample.as_ref());
        viewers.decode = self.decode.or(viewers.decode);
        put(&mut viewers.loss, self.loss.as_ref());
        put(&mut viewers.retry_for, self.retry_for.as_ref());
        put(&mut viewers.http_timeout, self.http_timeout.as_ref());
        put(&mut viewers.connect_timeout, self.connect_timeout.as_ref());
        put(&mut viewers.turn, self.turn.map(TurnName::turn).as_ref());
        viewers.reconnect &= !self.no_reconnect;
        viewers.nack &= !self.no_nack;
        viewers.audio_nack |= self.audio_nack;
        viewers.bind = self.bind.or(viewers.bind);
        viewers.threads = self.threads.or(viewers.threads);
        put(&mut scenario.hls.url, self.hls_url.as_ref());
        scenario.hls.viewers = self.hls_viewers.or(scenario.hls.viewers);
        let chat = &mut scenario.chat;
        chat.url = self.chat_url.clone().or(chat.url.take());
        chat.clients = self.chat_clients.or(chat.clients);
        put(&mut chat.rate, self.chat_rate.as_ref());
        scenario
    }

    /// What a file does not say. Tokens come from the environment unless they are given here.
    pub fn access(&self, scenario: &Scenario) -> Access {
        let token = |given: &Option<String>, name: &str| given.clone().or_else(|| std::env::var(name).ok());
        Access {
            publish: token(&self.token_whip, &scenario.publishers.token_env),
            watch: token(&self.token_whep, &scenario.viewers.token_env),
            allow_public: self.i_own_the_target,
            trust: self.ca.as_ref().map(|ca| ca.trust.clone()).unwrap_or_default(),
            hls: token(&self.token_hls, &scenario.hls.token_env),
            chat: token(&self.token_chat, &scenario.chat.token_env)
                .map(|tokens| tokens.split_whitespace().map(str::to_owned).collect())
                .unwrap_or_default(),
            hosts: self.allow_host.clone(),
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Scenario> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    Scenario::read(&text, |variable| std::env::var(variable).ok()).with_context(|| name.to_string())
}

/// A scenario's text with the values of variables in it.
pub fn expanded(path: &Path) -> anyhow::Result<String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {name}"))?;
    expand(&text, |variable| std::env::var(variable).ok()).with_context(|| name.to_string())
}
