//! Log lines: text for eyes, JSON for machines, always to standard error.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::{LogFormat, Origin};

/// Starts logging for the whole process. `RUST_LOG` is used when nobody has set the level.
pub fn start(format: LogFormat, level: &str, origin: &Origin) -> anyhow::Result<()> {
    let rust_log = std::env::var("RUST_LOG").ok().filter(|text| !text.is_empty());
    let filter = match rust_log {
        Some(text) if *origin == Origin::Default => EnvFilter::try_new(text)?,
        _ => EnvFilter::try_new(level)?,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))
}
