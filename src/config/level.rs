//! Which log lines are written: levels, and filters as in `RUST_LOG`. Pure.

use tracing_subscriber::EnvFilter;

/// What may be written.
pub(super) const ADVICE: &str = "write error, warn (or warning), info, debug, trace or off, or a filter of TARGET=LEVEL, as in \
     info,freshet_node=debug";

/// Reads levels and filters, separated by commas, and returns them as the filter takes them.
///
/// To the filter a word that is no level is the name of a module, and then nothing else is logged: only with `modules`
/// is such a word taken for one.
pub(super) fn read(text: &str, modules: bool) -> Result<String, String> {
    let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
    let read: Vec<String> = parts.map(|part| directive(part, modules)).collect::<Result<_, _>>()?;
    if read.is_empty() {
        return Err(ADVICE.to_owned());
    }
    let filter = read.join(",");
    match filter.parse::<EnvFilter>() {
        Ok(_) => Ok(filter),
        Err(e) => Err(format!("{e}: {ADVICE}")),
    }
}

fn directive(part: &str, modules: bool) -> Result<String, String> {
    // What stands in brackets are spans and their fields: the filter itself reads those.
    if part.contains(['[', ']', '{', '}']) {
        return Ok(part.to_owned());
    }
    let (target, word) = match part.rsplit_once('=') {
        Some(("", _)) => return Err(format!("{part:?} names no target: {ADVICE}")),
        Some((target, word)) => (Some(target), word),
        None => (None, part),
    };
    match (target, level(word)) {
        (None, Some(level)) => Ok(level),
        (Some(target), Some(level)) => Ok(format!("{target}={level}")),
        (None, None) if modules => Ok(part.to_owned()),
        (_, None) => Err(format!("{word:?} is no level: {ADVICE}")),
    }
}

fn level(word: &str) -> Option<String> {
    match word.to_ascii_lowercase().as_str() {
        "warning" => Some("warn".to_owned()),
        word @ ("off" | "error" | "warn" | "info" | "debug" | "trace") => Some(word.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_filters_are_read() {
        for (text, wanted) in [
            ("warning", "warn"),
            ("WARN", "warn"),
            ("off", "off"),
            ("info, freshet_node=Debug", "info,freshet_node=debug"),
            ("info,freshet_node::quic=warning,", "info,freshet_node::quic=warn"),
            ("info,[session{room}]=debug", "info,[session{room}]=debug"),
        ] {
            assert_eq!(read(text, false).as_deref(), Ok(wanted), "{text}");
        }
        assert_eq!(read("hyper,warning", true).as_deref(), Ok("hyper,warn"));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_with_what_is() {
        for text in
            ["", ",", "warnings", "verbose", "freshet_node", "info,loud", "a=", "=info", "a=loud", "[x"]
        {
            let said = read(text, false).unwrap_err();
            assert!(said.contains("debug, trace or off") && said.contains("TARGET=LEVEL"), "{text}: {said}");
        }
        assert!(read("a=loud", true).is_err(), "a target's level is a level in any case");
    }
}
