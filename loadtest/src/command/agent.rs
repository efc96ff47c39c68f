//! `freshet-loadtest agent`: watches for runs that are started elsewhere.

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use freshet_loadtest::agents::{Brief, serve};
use freshet_loadtest::client::Trust;
use freshet_loadtest::clock;
use freshet_loadtest::run::{Access, RunPlan};
use freshet_loadtest::scenario::{Scenario, Server};

use crate::cli::{AgentArguments, Cli, Command};

/// Longest name of an agent, in characters.
const NAME_MAX: usize = 60;

/// Serves until it is stopped.
pub fn agent(arguments: &AgentArguments) -> anyhow::Result<ExitCode> {
    let ahead = arguments.pretend_clock_ahead.unwrap_or_default();
    clock::pretend(i64::try_from(ahead.as_micros()).unwrap_or(i64::MAX));
    let name = arguments.name.clone().unwrap_or_else(host);
    let name = name.chars().filter(|character| !character.is_control()).take(NAME_MAX).collect();
    let say = |what: &str| {
        let _nowhere_to_say_it = writeln!(std::io::stderr(), "freshet-loadtest: {what}");
    };
    serve(arguments.nats.config()?, name, |brief| plan(arguments.i_own_the_target, brief), say)?;
    Ok(ExitCode::SUCCESS)
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "agent".to_owned() } else { name.trim().to_owned() }
}

/// What a coordinator asks for, by this host's rules: it says what is watched, not what may be.
fn plan(allow_public: bool, brief: &Brief) -> Result<RunPlan, String> {
    let words = std::iter::once("freshet-loadtest").chain(brief.arguments.iter().map(String::as_str));
    let parsed = Cli::try_parse_from(words).map_err(|error| error.to_string())?;
    let arguments = match &parsed.command {
        Command::Run(arguments) => arguments.as_ref(),
        Command::Capacity(arguments) => &arguments.run,
        Command::Compare(_) | Command::Agent(_) => {
            return Err("it is asked for something else than a run".into());
        }
    };
    // What stands for a variable of this host is none of the coordinator's business.
    let file = brief.file.as_deref().map(|text| Scenario::read(text, |_| None)).transpose();
    let mut scenario = arguments.over(file.map_err(|error| error.to_string())?.unwrap_or_default());
    // These happen on the coordinator's machine alone.
    scenario.events.clear();
    scenario.server = Server::default();
    (scenario.hls, scenario.chat) = Default::default();
    scenario.viewers.count = brief.viewers.unwrap_or(scenario.viewers.count);
    scenario.duration = brief.duration.unwrap_or(scenario.duration);
    let trust = brief.authorities.as_deref().map(|pem| Trust::authorities(pem.as_bytes())).transpose();
    let access = Access {
        publish: None,
        watch: brief.token.clone(),
        allow_public,
        trust: trust.map_err(|error| error.to_string())?.unwrap_or_default(),
        ..Access::default()
    };
    let plan = RunPlan::among(&scenario, access, brief.of).map_err(|error| error.to_string())?;
    Ok(plan.share(brief.share, brief.of))
}
