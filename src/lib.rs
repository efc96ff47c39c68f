//! The `freshet` command: configuration, assembly of a node, a coordinator or both, and their end.
//!
//! Nothing here decides about media or placement; it reads settings, starts what the other crates have, and waits for
//! signals.

pub mod cli;
pub mod config;
pub mod explain;
mod host;
pub mod lifecycle;
pub mod logging;
pub mod mint;
pub mod output;
pub mod role;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use freshet_cluster::unit::UnixMillis;

use cli::{Ask, Given};
use config::{File, Layers, Settings};

/// Runs a command line to its end.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let ask = match cli::parse(args) {
        Ok(ask) => ask,
        // Help and version are "errors" of clap that go to standard output and exit 0.
        Err(answer) => {
            let code = if answer.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
            // A closed pipe is no reason to complain.
            let _written = answer.print();
            return code;
        }
    };
    match answer(ask) {
        Ok(code) => code,
        Err(error) => {
            let _written = writeln!(std::io::stderr(), "freshet: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line. Most of our messages say their cause themselves: what was said is not said
/// again.
fn told(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |said, cause| match cause.to_string() {
        cause if said.is_empty() => cause,
        cause if said.contains(&cause) => said,
        cause => format!("{said}: {cause}"),
    })
}

fn answer(ask: Ask) -> anyhow::Result<ExitCode> {
    match ask {
        Ask::Token(args) => {
            unicode(["FRESHET_API_KEY", "FRESHET_API_KEY_FILE"].map(str::to_owned).into_iter())?;
            let token = mint::mint(&args, variable, &read_file, UnixMillis::now())?;
            output::say(&token)?;
            Ok(ExitCode::SUCCESS)
        }
        Ask::Read(args) => {
            let found = explain::explain(&args, variable, &read_file, std::io::stdin(), UnixMillis::now())?;
            output::say(&found.text)?;
            let fine = found.valid || !args.must_be_valid;
            Ok(if fine { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Ask::Config(given) => {
            let layers = layers(&given)?;
            output::say(config::print::toml(&layers).trim_end())?;
            for (name, meant) in strangers() {
                let _written = writeln!(std::io::stderr(), "freshet: {}", misspelt(&name, &meant));
            }
            Settings::new(&layers, &host::name(), &read_file)?;
            Ok(ExitCode::SUCCESS)
        }
        Ask::Run(given) => {
            let layers = layers(&given)?;
            let settings = Settings::new(&layers, &host::name(), &read_file)?;
            let common = settings.common();
            let origin = layers.get("log-level").map_or(&config::Origin::Default, |g| &g.origin);
            logging::start(common.log, &common.log_level, origin)?;
            strangers().iter().for_each(|(name, meant)| tracing::warn!("{}", misspelt(name, meant)));
            role::run(settings)
        }
    }
}

/// The values in force for a role.
fn layers(given: &Given) -> anyhow::Result<Layers> {
    let others = ["FRESHET_CONFIG", config::RUST_LOG].map(str::to_owned);
    unicode(config::settings::of(given.role).map(|s| s.env()).chain(others))?;
    let path = given.file.clone().or_else(|| variable("FRESHET_CONFIG").filter(|p| !p.is_empty()));
    let text = match &path {
        Some(path) => {
            Some(read_file(path).with_context(|| format!("cannot read configuration file {path:?}"))?)
        }
        None => None,
    };
    let file = path.as_deref().zip(text.as_deref()).map(|(path, text)| File { path, text });
    let flags: &BTreeMap<_, _> = &given.flags;
    let mut layers = Layers::new(given.role, flags, variable, file)?;
    config::derive_for_others(&mut layers, host::addresses);
    config::derive_defaults(&mut layers, &host::name());
    Ok(layers)
}

/// Variables that hold something else than text are refused: passed over they would count as not set.
fn unicode(mut names: impl Iterator<Item = String>) -> anyhow::Result<()> {
    let broken = |name: &String| matches!(std::env::var(name), Err(std::env::VarError::NotUnicode(_)));
    match names.find(broken) {
        Some(name) => anyhow::bail!("the environment variable {name} is not valid UTF-8: write it anew"),
        None => Ok(()),
    }
}

/// Variables that are near to ones of ours, and those.
fn strangers() -> Vec<(String, String)> {
    config::strangers(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()))
}

fn misspelt(name: &str, meant: &str) -> String {
    format!("the environment variable {name} is none of ours and counts for nothing: did you mean {meant}?")
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Largest file that a setting may name, in bytes.
const FILE_MAX: u64 = 1 << 20;

fn read_file(path: &str) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(FILE_MAX + 1).read_to_string(&mut text)?;
    if u64::try_from(read).unwrap_or(u64::MAX) > FILE_MAX {
        return Err(std::io::Error::other(format!(
            "it has more than {FILE_MAX} bytes: is it the right file?"
        )));
    }
    Ok(text)
}
