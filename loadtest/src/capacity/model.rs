//! What a search found: one JSON object, documented in `docs/loadtest.md`.

use serde::{Deserialize, Serialize};

use super::{Found, Outcome};
use crate::num;
use crate::report::{RunReport, TargetReport, Verdict};

/// Version of [`CapacityReport`].
pub const CAPACITY_SCHEMA: u32 = 1;
/// This side has so little CPU left that its figures are its own: a share of its cores.
const SATURATED: f64 = 0.9;

/// One run of a search.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StepReport {
    /// Size of its audience.
    pub viewers: u32,
    /// How it went: `kept`, `broken` or `stopped`.
    pub outcome: String,
    /// Bounds that it broke.
    pub broken: Vec<Verdict>,
    /// Why it says nothing of the server, or why nothing was measured.
    pub why: Vec<String>,
    /// Viewers that connected.
    pub connected: u64,
    /// Viewers that could not.
    pub failed: u64,
    /// Lost of expected packets.
    pub loss_percent: Option<f64>,
    /// 99th percentile of latency.
    pub latency_p99_ms: Option<f64>,
    /// 99th percentile of the time to the first keyframe.
    pub first_keyframe_p99_ms: Option<f64>,
    /// Payload bits received a second, all viewers together.
    pub bits_per_second: u64,
    /// Cores' worth of CPU of this side: of its busiest process, where agents watched.
    pub client_cores: Option<f64>,
    /// Cores of that host.
    pub host_cores: u64,
    /// Cores' worth of CPU of the server's processes, where they were named.
    pub server_cores: Option<f64>,
    /// Their resident memory at its highest.
    pub server_resident_bytes: Option<u64>,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct CapacityReport {
    /// Version of this object: [`CAPACITY_SCHEMA`].
    pub schema: u32,
    /// The scenario's name.
    pub name: String,
    /// When it began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// What was aimed at.
    pub target: TargetReport,
    /// What had to hold.
    pub bounds: Vec<String>,
    /// So many runs of a size had to agree.
    pub confirm: u32,
    /// The largest audience that kept all bounds, confirmed.
    pub holds: Option<u32>,
    /// The next size up, which broke one, confirmed.
    pub breaks: Option<u32>,
    /// The size at which this side could not do more.
    pub stopped: Option<u32>,
    /// The search was ended by hand.
    pub interrupted: bool,
    /// Each run, in order.
    pub steps: Vec<StepReport>,
}

/// How often a bound was broken at a size.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdicts {
    /// The bound.
    pub bound: String,
    /// Its figure in the first run that broke it.
    pub verdict: Verdict,
    /// Runs that broke it.
    pub times: usize,
}

impl StepReport {
    /// What a run of a size came to.
    pub fn of(viewers: u32, report: &RunReport) -> (Outcome, Self) {
        let broken: Vec<Verdict> = report.bounds.iter().filter(|verdict| verdict.broken).cloned().collect();
        let (client_cores, host_cores) = busiest(report);
        let mut why = report.invalid.clone();
        if let Some(cores) = client_cores.filter(|cores| *cores >= SATURATED * num::float(host_cores.max(1)))
        {
            why.push(format!(
                "this side used {cores:.1} of its {host_cores} cores: more viewers need more of them"
            ));
        }
        let outcome = match (why.is_empty(), broken.is_empty()) {
            (false, _) => Outcome::Stopped,
            (true, true) => Outcome::Kept,
            (true, false) => Outcome::Broken,
        };
        let step = Self {
            viewers,
            outcome: word(outcome).to_owned(),
            broken,
            why,
            connected: report.viewers.seated,
            failed: report.viewers.failed,
            loss_percent: report.packets.loss_percent,
            latency_p99_ms: report.latency_ms.map(|set| set.p99),
            first_keyframe_p99_ms: report.join.first_keyframe_ms.map(|set| set.p99),
            bits_per_second: report.packets.bits_per_second,
            client_cores,
            host_cores,
            server_cores: report.server.as_ref().and_then(|server| server.cores),
            server_resident_bytes: report.server.as_ref().and_then(|server| server.resident_bytes_max),
        };
        (outcome, step)
    }

    /// A run in which nothing could be measured.
    pub fn failed(viewers: u32, outcome: Outcome, why: String) -> Self {
        Self { viewers, outcome: word(outcome).to_owned(), why: vec![why], ..Self::default() }
    }
}

/// The process of this side that has the least CPU left.
fn busiest(report: &RunReport) -> (Option<f64>, u64) {
    let client = (report.client.cpu_cores, report.client.host_cores);
    let agents = report.agents.iter().map(|agent| (agent.cpu_cores, agent.host_cores));
    let share = |(cores, host): &(Option<f64>, u64)| cores.unwrap_or(0.0) / num::float((*host).max(1));
    agents.fold(client, |most, one| if share(&one) > share(&most) { one } else { most })
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Kept => "kept",
        Outcome::Broken => "broken",
        Outcome::Stopped => "stopped",
    }
}

impl CapacityReport {
    /// Puts in what the search knows.
    pub fn found(&mut self, found: Found) {
        (self.holds, self.breaks, self.stopped) = (found.holds, found.breaks, found.stopped);
    }

    /// Runs of a size.
    pub fn runs(&self, viewers: u32) -> impl Iterator<Item = &StepReport> {
        self.steps.iter().filter(move |step| step.viewers == viewers)
    }

    /// What broke at the next size up, what broke most often first; the first run's figure of each.
    pub fn limits(&self) -> Vec<Verdicts> {
        let mut all: Vec<Verdicts> = Vec::new();
        let Some(breaks) = self.breaks else { return all };
        for verdict in self.runs(breaks).flat_map(|step| &step.broken) {
            match all.iter_mut().find(|known| known.bound == verdict.bound) {
                Some(known) => known.times += 1,
                None => {
                    all.push(Verdicts { bound: verdict.bound.clone(), verdict: verdict.clone(), times: 1 })
                }
            }
        }
        all.sort_by_key(|known| std::cmp::Reverse(known.times));
        all
    }
}
