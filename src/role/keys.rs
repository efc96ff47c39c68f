//! The file of API keys, read anew when it changes: a key is rotated without a restart.
//!
//! Its text is compared every second: that sees every way of changing a file, a mounted secret's changed link among
//! them. What cannot be read, or holds no key, changes nothing. A file that is being written is not taken half: it must
//! stand still for two looks, and for ten when its last line has no end.

use std::path::{Path, PathBuf};
use std::time::Duration;

use freshet_cluster::token::{ApiKey, ApiKeys};
use freshet_edge::Guard;
use tokio::io::AsyncReadExt as _;
use tokio::time::{MissedTickBehavior, interval};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Longest file that is read, in bytes.
const FILE_MAX: u64 = 256 * 1024;
/// Looks on end that must find the same before it is taken.
const STILL: u32 = 2;
/// The same for a text whose last line has no end: more of it may follow.
const STILL_UNENDED: u32 = 10;

/// What the looks found.
#[derive(Debug, Default)]
struct Reading {
    found: Option<Result<String, String>>,
    looks: u32,
}

/// What is to be done about it.
#[derive(Debug, PartialEq, Eq)]
enum Next<'a> {
    /// Nothing new, or not yet.
    Wait,
    /// It may be half-written.
    Unended,
    /// It stands still: take it, or say what is wrong.
    Take(&'a Result<String, String>),
}

impl Reading {
    /// One more look. The first of all is taken as it is: the process has begun with it.
    fn handle_look(&mut self, text: Result<String, String>) -> Next<'_> {
        let first = self.found.is_none();
        if self.found.as_ref() == Some(&text) {
            self.looks = self.looks.saturating_add(1);
        } else {
            self.looks = 1;
        }
        let found = self.found.insert(text);
        let unended = found.as_ref().is_ok_and(|text| !text.is_empty() && !text.ends_with('\n'));
        let still = if unended { STILL_UNENDED } else { STILL };
        if first {
            self.looks = still;
        }
        match self.looks {
            looks if looks == still => Next::Take(found),
            1 if unended => Next::Unended,
            _ => Next::Wait,
        }
    }
}

/// Keeps the guard's API keys as the file has them, besides those given in the configuration.
pub async fn follow(guard: Guard, file: PathBuf, given: Vec<ApiKey>) {
    let Some(keys) = guard.keys() else { return };
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut reading = Reading::default();
    loop {
        tick.tick().await;
        let text = read(&file).await.map_err(|error| error.to_string());
        let text = match reading.handle_look(text) {
            Next::Wait => continue,
            Next::Unended => {
                tracing::warn!(
                    file = %file.display(),
                    "API keys may be half-written: the last line has no end; those until now stay for {STILL_UNENDED} s"
                );
                continue;
            }
            Next::Take(text) => text,
        };
        let found = text.as_ref().map_err(Clone::clone).and_then(|text| parse(text, &given));
        match found {
            Ok(api) => {
                let ids: Vec<String> = api.iter().map(|key| key.id().to_owned()).collect();
                if keys.set_api(api) {
                    tracing::info!(file = %file.display(), keys = ids.join(","), "API keys have changed");
                }
            }
            Err(error) => {
                let file = file.display();
                tracing::warn!(%file, error, "API keys cannot be read anew: those until now stay");
            }
        }
    }
}

async fn read(file: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let _bytes = tokio::fs::File::open(file).await?.take(FILE_MAX).read_to_string(&mut text).await?;
    Ok(text)
}

fn parse(text: &str, given: &[ApiKey]) -> Result<ApiKeys, String> {
    let found = ApiKeys::parse_file(text).map_err(|error| error.to_string())?;
    if found.is_empty() {
        return Err("the file has no key: write ID:SECRET into it".to_owned());
    }
    ApiKeys::new(given.iter().cloned().chain(found)).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_taken_when_it_stands_still() {
        let mut reading = Reading::default();
        let ok = |text: &str| Ok::<String, String>(text.to_owned());
        assert_eq!(reading.handle_look(ok("a")), Next::Take(&ok("a")), "what the process began with");
        assert_eq!(reading.handle_look(ok("a")), Next::Wait);
        // One that is written slowly, a piece a second.
        assert_eq!(reading.handle_look(ok("")), Next::Wait);
        assert_eq!(reading.handle_look(ok("b\n")), Next::Wait);
        assert_eq!(reading.handle_look(ok("b\nc")), Next::Unended);
        for _ in 2..STILL_UNENDED {
            assert_eq!(reading.handle_look(ok("b\nc")), Next::Wait);
        }
        assert_eq!(reading.handle_look(ok("b\ncd\n")), Next::Wait);
        assert_eq!(reading.handle_look(ok("b\ncd\n")), Next::Take(&ok("b\ncd\n")));
        assert_eq!(reading.handle_look(ok("b\ncd\n")), Next::Wait);
        // One that never ends its last line.
        let looks: Vec<bool> =
            (0..12).map(|_| matches!(reading.handle_look(ok("e")), Next::Take(_))).collect();
        assert_eq!(looks.iter().position(|taken| *taken), Some(9));
        assert_eq!(looks.iter().filter(|taken| **taken).count(), 1);
        let gone = Err("gone".to_owned());
        assert_eq!(reading.handle_look(gone.clone()), Next::Wait);
        assert_eq!(reading.handle_look(gone.clone()), Next::Take(&gone));
    }

    #[test]
    fn what_holds_no_key_is_refused_and_secrets_stay_unsaid() {
        let given = ["app:0123456789abcdef".parse().unwrap()];
        let ids = |text: &str| {
            parse(text, &given).map(|keys| keys.iter().map(|key| key.id().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(ids("new:0123456789abcdef\n").unwrap(), ["app", "new"]);
        assert!(ids("# nothing\n").unwrap_err().contains("no key"));
        let twice = ids("app:another-secret-0123\n").unwrap_err();
        assert!(twice.contains("app") && !twice.contains("another-secret"), "{twice}");
        let half = ids("new:short\n").unwrap_err();
        assert!(half.contains("16") && !half.contains("short"), "{half}");
    }
}
