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
        _ => EnvFilter::try_new(directives(level))?,
    };
    let filter = filter.and(filter_fn(keeps_secrets));
    let lines = layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => registry().with(lines.with_filter(filter)).try_init(),
        LogFormat::Json => registry().with(lines.json().flatten_event(true).with_filter(filter)).try_init(),
    };
    started.map_err(|e| anyhow::anyhow!("logging cannot start: {e}"))
}

/// The level, and what is not shown at it unless it is named: what happens to NATS, our own lines tell; and what the
/// WebRTC libraries warn of is what clients send, who are told in their answers. From `debug` on that is shown.
fn directives(level: &str) -> String {
    let all = matches!(level.trim().to_ascii_lowercase().as_str(), "debug" | "trace");
    let clients = if all { "" } else { "str0m=error,is=error,dimpl=error," };
    format!("async_nats=warn,{clients}{level}")
}

/// Not so of the ICE agent's traces, which print passwords: no level brings them out.
fn keeps_secrets(about: &Metadata<'_>) -> bool {
    *about.level() != Level::TRACE || about.target().split("::").next() != Some("is")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::{Result, Write};
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    /// What of one line of each kind is shown at a level, by its number.
    fn shown(level: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let filter = EnvFilter::try_new(directives(level)).unwrap();
        let layer = layer().with_ansi(false).without_time().with_writer(move || writer.clone());
        tracing::subscriber::with_default(registry().with(layer.with_filter(filter)), || {
            tracing::warn!(target: "str0m::sdp::parser", "line 1");
            tracing::warn!(target: "is::stun", "line 2");
            tracing::warn!(target: "dimpl::dtls12::engine", "line 3");
            tracing::error!(target: "str0m", "line 4");
            tracing::debug!(target: "str0m::change", "line 5");
            tracing::warn!(target: "freshet_node::sfu", "line 6");
            tracing::info!(target: "freshet_node::sfu", "line 7");
            tracing::info!(target: "async_nats", "line 8");
        });
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        text.lines().filter_map(|line| line.rsplit(' ').next()).collect()
    }

    #[test]
    fn what_clients_send_wrong_is_shown_from_debug_on() {
        assert_eq!(shown("info"), "467");
        assert_eq!(shown("warn"), "46");
        assert_eq!(shown("debug"), "1234567");
        assert_eq!(shown("info,str0m=warn"), "1467", "or where it is asked for");
    }
}
