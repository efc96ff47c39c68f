//! Log lines: text for eyes, JSON for machines, always to standard error.

use std::io::IsTerminal;

use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, filter_fn};
use tracing_subscriber::fmt::layer;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogFormat, Origin, RUST_LOG};

/// Starts logging for the whole process.
pub fn start(format: LogFormat, level: &str, origin: &Origin) -> anyhow::Result<()> {
    let filter = match origin {
        Origin::Environment(name) if name == RUST_LOG => EnvFilter::try_new(level)?,
        // What happens to NATS, our own lines tell; a level that names async_nats still shows its lines.
        _ => EnvFilter::try_new(format!("async_nats=warn,{level}"))?,
    };
    let filter = filter.and(filter_fn(keeps_secrets));
    let lines = layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => registry().with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => registry().with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))
}

/// Not so of the ICE agent's traces, which print passwords: no level brings them out.
fn keeps_secrets(about: &Metadata<'_>) -> bool {
    *about.level() != Level::TRACE || about.target().split("::").next() != Some("is")
}
