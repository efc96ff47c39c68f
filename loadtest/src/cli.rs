//! The command line.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use freshet_cluster::unit::Bitrate;
use freshet_loadtest::client::{Loss, PublisherConfig, Trust, ViewerConfig};
use freshet_loadtest::media::{Oversized, VideoCodec, VideoConfig};
use freshet_loadtest::run::{self, Bound, RunPlan};

/// Threads for viewers where none were asked for: at most so many.
const MOST_THREADS: usize = 8;
/// What joining and leaving may take beyond ramp and duration.
const SLACK: Duration = Duration::from_secs(60);

const EXAMPLES: &str = "\
Examples (H stands for http://127.0.0.1:8080):
  One publisher, 200 viewers joining over 4 seconds, measured for 30:
    freshet-loadtest run --whip H/whip/demo --whep H/whep/demo \\
        --viewers 200 --ramp 50/s --duration 30s

  A storm of joins, as a gate in CI:
    freshet-loadtest run --whip H/whip/demo --whep H/whep/demo --viewers 200 \\
        --ramp storm --json --fail-if 'loss>0.1%' --fail-if 'p99>100ms'

  Ten rooms with ten viewers each, over a network that loses 1 %:
    freshet-loadtest run --whip 'H/whip/room-{i}' --whep 'H/whep/room-{i}' \\
        --publishers 10 --viewers 100 --loss 1% --seed 7

  Watch what somebody else publishes:
    freshet-loadtest run --whep H/whep/demo --viewers 20

Exit status:
  0  the run is over and every bound was kept
  1  a bound is broken, or bounds were given and the run is invalid
  2  bad usage, or nothing could be measured";

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
}

/// Video codecs by their names.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Codec {
    /// H.264.
    H264,
    /// VP8.
    Vp8,
}

/// What a run is told.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct RunArguments {
    /// WHIP endpoint to publish to; {i} stands for the publisher's number. Without it nothing is published.
    #[arg(long, value_name = "URL")]
    whip: Option<String>,
    /// WHEP endpoint to watch; {i} stands for a publisher's number, over which viewers are spread.
    #[arg(long, value_name = "URL")]
    whep: String,
    /// Bearer token of publishers.
    #[arg(long, value_name = "TOKEN", env = "FRESHET_LOADTEST_WHIP_TOKEN", hide_env_values = true)]
    token_whip: Option<String>,
    /// Bearer token of viewers.
    #[arg(long, value_name = "TOKEN", env = "FRESHET_LOADTEST_WHEP_TOKEN", hide_env_values = true)]
    token_whep: Option<String>,
    /// Publishers.
    #[arg(long, value_name = "N", default_value_t = 1)]
    publishers: u32,
    /// Viewers.
    #[arg(long, value_name = "N", default_value_t = 10)]
    viewers: u32,
    /// How viewers arrive: 50/s, 600/m, or storm for all at once.
    #[arg(long, value_name = "RATE", default_value = "50/s", value_parser = Ramp::parse)]
    ramp: Ramp,
    /// How long to measure after the last viewer was started.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = run::duration)]
    duration: Duration,
    /// Video bit rate.
    #[arg(long, value_name = "RATE", default_value = "2M", value_parser = run::bit_rate)]
    bitrate: Bitrate,
    /// Frames a second.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=240))]
    fps: u32,
    /// Frames from one keyframe to the next; 0: only when asked for.
    #[arg(long, value_name = "FRAMES", default_value_t = 60)]
    gop: u32,
    /// Video codec.
    #[arg(long, value_enum, default_value_t = Codec::H264)]
    codec: Codec,
    /// Make every N-th frame one packet of BYTES, to see relays split it.
    #[arg(long, value_name = "N:BYTES", value_parser = run::oversized)]
    oversized: Option<Oversized>,
    /// No sound.
    #[arg(long)]
    no_audio: bool,
    /// No pictures.
    #[arg(long, conflicts_with = "no_audio")]
    no_video: bool,
    /// Viewers lose this share of the media that reaches them: 0.01 or 1%.
    #[arg(long, value_name = "SHARE", value_parser = run::loss)]
    loss: Option<f64>,
    /// Seed of that loss; viewer n uses the seed plus n.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Viewers offer no retransmission.
    #[arg(long)]
    no_nack: bool,
    /// Viewers offer NACK and RTX for audio too, which browsers do not.
    #[arg(long, conflicts_with = "no_nack")]
    audio_nack: bool,
    /// Obey Retry-After of 409, 429 and 503 for so long.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = run::duration)]
    retry_for: Duration,
    /// Time for each HTTP request.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = run::duration)]
    http_timeout: Duration,
    /// Time for ICE and DTLS.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = run::duration)]
    connect_timeout: Duration,
    /// Local address for media; without it the one from which the target is reached.
    #[arg(long, value_name = "IP")]
    bind: Option<IpAddr>,
    /// Threads that drive viewers; without it as many as the host has cores, at most 8.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The run is over by then, whatever hangs; without it a minute more than joining and measuring take.
    #[arg(long, value_name = "TIME", value_parser = run::duration)]
    time_limit: Option<Duration>,
    /// Exit with 1 if this holds in the end, such as 'loss>0.1%', 'p99>100ms', 'first-keyframe-p99>2s', 'failed>0'.
    #[arg(long, value_name = "BOUND")]
    pub fail_if: Vec<Bound>,
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
    ca: Option<Trust>,
}

fn authorities(path: &str) -> Result<Trust, String> {
    let pem = std::fs::read(path).map_err(|error| format!("cannot read {path}: {error}"))?;
    Trust::authorities(&pem).map_err(|error| error.to_string())
}

/// Viewers a second; none: all at once.
#[derive(Debug, Clone, Copy)]
struct Ramp(Option<f64>);

impl Ramp {
    fn parse(text: &str) -> Result<Self, String> {
        run::ramp(text).map(Self)
    }
}

impl RunArguments {
    /// The plan that these arguments mean.
    pub fn plan(&self) -> RunPlan {
        let codec = match self.codec {
            Codec::H264 => VideoCodec::H264,
            Codec::Vp8 => VideoCodec::Vp8,
        };
        let video = VideoConfig {
            codec,
            bitrate: self.bitrate,
            fps: self.fps,
            gop: self.gop,
            oversized: self.oversized,
            ..VideoConfig::default()
        };
        let publisher = PublisherConfig {
            token: self.token_whip.clone(),
            video: (!self.no_video).then_some(video),
            audio: !self.no_audio,
            bind: self.bind,
            connect_timeout: self.connect_timeout,
            http_timeout: self.http_timeout,
            retry_for: self.retry_for,
            allow_public: self.i_own_the_target,
            trust: self.ca.clone().unwrap_or_default(),
            ..PublisherConfig::new(self.whip.clone().unwrap_or_default())
        };
        let viewer = ViewerConfig {
            token: self.token_whep.clone(),
            video: !self.no_video,
            audio: !self.no_audio,
            nack: !self.no_nack,
            audio_nack: self.audio_nack,
            loss: self.loss.map(|fraction| Loss { fraction, seed: self.seed }),
            bind: self.bind,
            connect_timeout: self.connect_timeout,
            http_timeout: self.http_timeout,
            retry_for: self.retry_for,
            allow_public: self.i_own_the_target,
            trust: self.ca.clone().unwrap_or_default(),
            ..ViewerConfig::new(self.whep.clone())
        };
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let mut plan = RunPlan {
            publisher,
            publishers: if self.whip.is_some() { self.publishers } else { 0 },
            viewer,
            viewers: self.viewers,
            ramp: self.ramp.0,
            duration: self.duration,
            threads: self.threads.unwrap_or(cores.min(MOST_THREADS)).clamp(1, 256),
            time_limit: Duration::MAX,
        };
        plan.time_limit = self.time_limit.unwrap_or(plan.arrival() + plan.duration + SLACK);
        plan
    }
}
