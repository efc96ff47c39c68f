//! Whether a run's viewers are agents'.

use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use freshet_loadtest::agents::{Brief, Field, Wanted, gather};
use freshet_loadtest::run::{Access, MAX_PROCESSES, RunPlan};
use freshet_loadtest::scenario::Scenario;
use freshet_loadtest::units;

use super::nats::NatsArguments;

/// Whether others watch.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Many machines")]
pub struct TogetherArguments {
    /// Viewers are spread over so many agents (`freshet-loadtest agent`); this process publishes and judges.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_PROCESSES)))]
    agents: Option<u32>,
    #[command(flatten)]
    nats: NatsArguments,
    /// Agents are called for so long. [default: 30s]
    #[arg(long, value_name = "TIME", value_parser = units::duration, requires = "agents")]
    agents_within: Option<Duration>,
    /// Latency is measured while every agent's clock is known this well; else it is not measured at all. [default: 5ms]
    #[arg(long, value_name = "TIME", value_parser = units::duration, requires = "agents")]
    clock_limit: Option<Duration>,
}

impl TogetherArguments {
    /// A plan for as many processes as there are.
    pub fn plan(&self, scenario: &Scenario, access: Access) -> anyhow::Result<RunPlan> {
        Ok(RunPlan::among(scenario, access, self.agents.unwrap_or(1))?)
    }

    /// Finds the agents, if any are wanted, and has them prepare.
    pub fn gather(
        &self,
        plan: &RunPlan,
        brief: impl FnOnce() -> anyhow::Result<Brief>,
    ) -> anyhow::Result<Option<Arc<Field>>> {
        let Some(agents) = self.agents else { return Ok(None) };
        let wanted = Wanted {
            nats: self.nats.config()?,
            agents,
            within: self.agents_within.unwrap_or(Duration::from_secs(30)),
            clock: self.clock_limit.unwrap_or(Duration::from_millis(5)),
        };
        let say = |what: &str| {
            let _nowhere_to_say_it = writeln!(std::io::stderr(), "freshet-loadtest: {what}");
        };
        Ok(Some(gather(&wanted, &brief()?, plan, say)?))
    }
}
