//! `freshet token`: mints an access token.

use freshet_cluster::token::{Claims, Grant, MaxSessions, sign};
use freshet_cluster::unit::UnixMillis;

use crate::cli::TokenArgs;
use crate::config::{self, Layers, ReadFile, Role};

/// So much of a wrong value is shown, in characters.
const SHOWN: usize = 40;

fn shown(text: &str) -> String {
    let short: String = text.chars().take(SHOWN).collect();
    if short == text { format!("{text:?}") } else { format!("{short:?}…") }
}

/// Only the variables of keys: a wrong one of another setting must not stop a token.
pub fn of_keys(env: impl Fn(&str) -> Option<String>) -> impl Fn(&str) -> Option<String> {
    const NAMES: [&str; 4] =
        ["FRESHET_API_KEY", "FRESHET_API_KEY_FILE", "FRESHET_TOKEN_LIFE_MAX", "FRESHET_JWKS_AUDIENCE"];
    move |name| env(name).filter(|_| NAMES.contains(&name))
}

fn words(seconds: u64) -> String {
    if seconds.is_multiple_of(3600) { format!("{}h", seconds / 3600) } else { format!("{seconds}s") }
}

/// Makes the token, or says what is missing.
pub fn mint(
    args: &TokenArgs,
    env: impl Fn(&str) -> Option<String>,
    files: ReadFile<'_>,
    now: UnixMillis,
) -> Result<String, anyhow::Error> {
    // Whoever names a file here means its key, whatever else the shell's environment has.
    let file = args.keys.flags.contains_key("api-key-file");
    let env = move |name: &str| env(name).filter(|_| !(file && name == "FRESHET_API_KEY"));
    let layers = Layers::new(Role::Dev, &args.keys.flags, of_keys(env), None)?;
    let keys = config::api_keys(&layers, files)?;
    let key = keys.first().ok_or_else(|| {
        anyhow::anyhow!(
            "a token is signed by an API key: give --api-key-file, or ID:SECRET in FRESHET_API_KEY"
        )
    })?;
    let ttl = config::duration(&args.ttl).map_err(|e| anyhow::anyhow!("--ttl: {e}"))?.as_secs();
    let most = config::life_max(&layers, files)?.as_secs();
    anyhow::ensure!(
        (1..=most).contains(&ttl),
        "--ttl: a token lives 1s to {}, not {}{}",
        words(most),
        args.ttl,
        if ttl > most { ": give --token-life-max, where the cluster takes longer ones" } else { "" }
    );
    anyhow::ensure!(
        !args.identity.starts_with('~'),
        "--identity {}: names that begin with ~ are Freshet's own, and their tokens are refused: use another one",
        shown(&args.identity)
    );
    let iat = now.0 / 1000;
    let claims = Claims {
        room: args.room.parse().map_err(|e| anyhow::anyhow!("--room: {e}, or * for every room"))?,
        identity: args
            .identity
            .parse()
            .map_err(|e| anyhow::anyhow!("--identity {}: {e}", shown(&args.identity)))?,
        grants: args
            .grants
            .iter()
            .map(|word| word.parse::<Grant>())
            .collect::<Result<_, _>>()
            .map_err(|e| anyhow::anyhow!("--grant: {e}"))?,
        streams: args
            .streams
            .iter()
            .map(|id| match id.as_str() {
                "*" => Ok("*".to_owned()),
                id => id.parse::<freshet_cluster::StreamId>().map(|s| s.as_str().to_owned()),
            })
            .collect::<Result<_, _>>()
            .map_err(|e| anyhow::anyhow!("--stream: {e}, or * for every stream"))?,
        max_sessions: args.max_sessions.map(MaxSessions::Each),
        exp: iat.saturating_add(ttl),
        iat: Some(iat),
        nbf: None,
        unknown: serde_json::Map::new(),
    };
    Ok(sign(key, &claims))
}
