//! The file of API keys, read anew when it changes: a key is rotated without a restart.
//!
//! Its text is compared every second: that sees every way of changing a file, a mounted secret's changed link among
//! them. What cannot be read, or holds no key, changes nothing.

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

/// Keeps the guard's API keys as the file has them, besides those given in the configuration.
pub async fn follow(guard: Guard, file: PathBuf, given: Vec<ApiKey>) {
    let Some(keys) = guard.keys() else { return };
    let mut tick = interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last: Option<Result<String, String>> = None;
    loop {
        tick.tick().await;
        let text = read(&file).await.map_err(|error| error.to_string());
        if last.as_ref() == Some(&text) {
            continue;
        }
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
        last = Some(text);
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
