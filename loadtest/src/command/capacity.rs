//! `freshet-loadtest capacity`: a run for each size that the search wants.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use freshet_loadtest::agents::Brief;
use freshet_loadtest::capacity::{
    CAPACITY_SCHEMA, CapacityReport, Limits, Outcome, Search, Step, StepReport, html, markdown, row, summary,
    table_head,
};
use freshet_loadtest::report::{Bound, RunReport, TargetReport};
use freshet_loadtest::run::{RunError, progress_line};
use freshet_loadtest::scenario::{Climb, Scenario};

use super::together::{brief, drive};
use crate::cli::CapacityArguments;
use crate::files;

/// What has to hold where nothing else was said.
const BOUNDS: [&str; 4] = ["loss < 0.1%", "p99 <= 200ms", "first-keyframe-p99 <= 2s", "failed <= 0"];
/// No audience kept the bounds.
const NOTHING: u8 = 1;
/// The search was ended before its end, or this side could not do the smallest size.
const UNKNOWN: u8 = 2;

/// What is to be searched for.
fn scenario(arguments: &CapacityArguments) -> anyhow::Result<Scenario> {
    let mut scenario = arguments.run.scenario()?;
    let climb = &mut scenario.capacity;
    climb.from = arguments.from.unwrap_or(climb.from);
    climb.to = arguments.to.unwrap_or(climb.to);
    climb.resolution = arguments.resolution.or(climb.resolution);
    climb.confirm = arguments.confirm.unwrap_or(climb.confirm);
    climb.step_time = arguments.step_time.unwrap_or(climb.step_time);
    climb.pause = arguments.pause.unwrap_or(climb.pause);
    scenario.duration = climb.step_time;
    if scenario.expect.is_empty() {
        scenario.expect = BOUNDS.iter().map(|text| Bound::expected(text)).collect::<Result<_, _>>()?;
    }
    Ok(scenario)
}

/// Searches to the end.
pub fn capacity(arguments: &CapacityArguments) -> anyhow::Result<ExitCode> {
    let scenario = scenario(arguments)?;
    let Climb { from, to, resolution, confirm, .. } = scenario.capacity;
    let resolution = resolution.unwrap_or((to / 50).max(1));
    let limits = Limits { from, to, resolution, confirm };
    let search = Search::new(limits).map_err(|why| anyhow::anyhow!("the search is impossible: {why}"))?;
    let folder = arguments.run.report.as_deref().map(files::prepare).transpose()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let report = CapacityReport {
        schema: CAPACITY_SCHEMA,
        name: if scenario.name.is_empty() { "Capacity".to_owned() } else { scenario.name.clone() },
        started_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
        target: TargetReport { whip: scenario.publishers.url.clone(), whep: scenario.viewers.url.clone() },
        bounds: Vec::new(),
        confirm,
        ..CapacityReport::default()
    };
    let mut climb = Climber { arguments, scenario, report, search };
    let found = climb.all(folder)?;
    let mut out = std::io::stdout().lock();
    if arguments.run.json {
        serde_json::to_writer(&mut out, &climb.report)?;
        writeln!(out)?;
    } else {
        writeln!(out)?;
        summary(&climb.report).iter().try_for_each(|said| writeln!(out, "{said}"))?;
    }
    out.flush()?;
    Ok(match (found, climb.report.holds) {
        (true, Some(_)) => ExitCode::SUCCESS,
        (true, None) if climb.report.breaks.is_some() => ExitCode::from(NOTHING),
        (_, _) => ExitCode::from(UNKNOWN),
    })
}

struct Climber<'a> {
    arguments: &'a CapacityArguments,
    scenario: Scenario,
    report: CapacityReport,
    search: Search,
}

impl Climber<'_> {
    /// Runs sizes until it is known, or somebody ends it; true if it is known.
    fn all(&mut self, folder: Option<&Path>) -> anyhow::Result<bool> {
        if !self.arguments.run.json {
            writeln!(std::io::stdout(), "{}", table_head())?;
        }
        loop {
            let size = match self.search.next() {
                Step::Try(size) => size,
                Step::Found(found) => {
                    self.report.found(found);
                    write(folder, &self.report)?;
                    return Ok(true);
                }
            };
            if !self.report.steps.is_empty() {
                std::thread::sleep(self.scenario.capacity.pause);
            }
            let (outcome, step) = match self.once(size)? {
                Ok(run) if run.interrupted => {
                    self.report.interrupted = true;
                    self.report.found(self.search.so_far());
                    write(folder, &self.report)?;
                    return Ok(false);
                }
                Ok(run) => {
                    self.report.bounds = run.bounds.iter().map(|verdict| verdict.bound.clone()).collect();
                    StepReport::of(size, &run)
                }
                Err(error) => {
                    let outcome = failure(&error, self.report.steps.is_empty());
                    let Some(outcome) = outcome else { return Err(error.into()) };
                    (outcome, StepReport::failed(size, outcome, error.to_string()))
                }
            };
            if !self.arguments.run.json {
                writeln!(std::io::stdout(), "{}", row(&step))?;
            }
            self.search.record(size, outcome);
            self.report.steps.push(step);
            // What is known so far is not lost with this process.
            self.report.found(self.search.so_far());
            write(folder, &self.report)?;
        }
    }

    /// One run of a size.
    fn once(&self, size: u32) -> anyhow::Result<Result<RunReport, RunError>> {
        let mut scenario = self.scenario.clone();
        scenario.viewers.count = size;
        let run = &self.arguments.run;
        let plan = run.together.plan(&scenario, run.access(&scenario))?;
        plan.can_keep(&scenario.expect)?;
        let told = || -> anyhow::Result<Brief> {
            let (viewers, duration) = (Some(size), Some(scenario.duration));
            Ok(Brief { viewers, duration, ..brief(run, &plan)? })
        };
        let field = run.together.gather(&plan, told).with_context(|| format!("{size} viewers"))?;
        let mut terminal = std::io::stderr();
        Ok(drive(&plan, &scenario.expect, field.as_ref(), |progress| {
            if !run.quiet {
                let _progress_is_optional = writeln!(terminal, "{}", progress_line(progress));
            }
        }))
    }
}

/// What a run that could not be made says of the server; nothing where it says that the search cannot go on.
fn failure(error: &RunError, first: bool) -> Option<Outcome> {
    match error {
        RunError::NoViewer { .. } => Some(Outcome::Broken),
        RunError::Host(_) => Some(Outcome::Stopped),
        // It could be used before.
        RunError::Publisher { .. } | RunError::Endpoint(_) | RunError::TimeLimit(_) if !first => {
            Some(Outcome::Broken)
        }
        _ => None,
    }
}

fn write(folder: Option<&Path>, report: &CapacityReport) -> anyhow::Result<()> {
    let Some(folder) = folder else { return Ok(()) };
    for (name, text) in [
        ("capacity.json", serde_json::to_string_pretty(report)?),
        ("capacity.md", markdown(report)),
        ("capacity.html", html(report)),
    ] {
        let path = folder.join(name);
        if let Err(error) = std::fs::write(&path, text) {
            bail!("cannot write {}: {error}", path.display());
        }
    }
    Ok(())
}
