//! A run whose viewers are agents'.

use std::sync::Arc;

use freshet_loadtest::agents::{Brief, Field};
use freshet_loadtest::report::{Bound, RunReport};
use freshet_loadtest::run::{self, Progress, RunError, RunPlan};

use crate::cli::{RunArguments, expanded};

/// What is not for agents: options and whether a value follows. Agents have rules, credentials and folders of their own,
/// and a secret that is on the command line is sent as one.
const OWN: [(&str, bool); 12] = [
    ("--agents", true),
    ("--agents-within", true),
    ("--clock-limit", true),
    ("--ca", true),
    ("--report", true),
    ("--token-whip", true),
    ("--token-whep", true),
    ("--token-hls", true),
    ("--token-chat", true),
    ("--allow-host", true),
    ("--server-pid", true),
    ("--i-own-the-target", false),
];

/// Arguments that describe the run to an agent.
fn shared(arguments: impl Iterator<Item = String>) -> Vec<String> {
    let mut shared = Vec::new();
    let mut arguments = arguments;
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, _)) => (name, true),
            None => (argument.as_str(), false),
        };
        let own = OWN.iter().find(|(own, _)| *own == name).map(|(_, valued)| *valued);
        match own.or(name.starts_with("--nats").then_some(true)) {
            Some(true) if !value => drop(arguments.next()),
            Some(_) => {}
            None => shared.push(argument),
        }
    }
    shared
}

/// The run as agents are told of it.
pub fn brief(arguments: &RunArguments, plan: &RunPlan) -> anyhow::Result<Brief> {
    Ok(Brief {
        arguments: shared(std::env::args().skip(1)),
        file: arguments.file.as_deref().map(expanded).transpose()?,
        token: plan.viewer.token.clone(),
        authorities: arguments.ca.as_ref().map(|ca| ca.pem.clone()),
        ..Brief::default()
    })
}

/// Runs a plan with the viewers of this process or of agents.
pub fn drive(
    plan: &RunPlan,
    bounds: &[Bound],
    field: Option<&Arc<Field>>,
    progress: impl FnMut(&Progress),
) -> Result<RunReport, RunError> {
    match field {
        Some(field) => run::run_with_agents(plan, bounds, field, progress),
        None => run::run(plan, bounds, progress),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_files_and_permissions_stay_here() {
        let all = "run x.toml --nats nats://u:p@h --nats-creds=c --agents 3 --viewers 9 --i-own-the-target --ca f \
                   --token-whep=secret --token-whip secret --report out --quiet --whep http://h/?a=b --server-pid 4";
        let kept = shared(all.split_whitespace().map(str::to_owned));
        assert_eq!(kept, ["run", "x.toml", "--viewers", "9", "--quiet", "--whep", "http://h/?a=b"]);
    }
}
