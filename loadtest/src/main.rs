//! `freshet-loadtest`: how many viewers a WHIP/WHEP server holds, and what they see.

mod cli;
mod command;
mod dashboard;
mod files;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use clap::error::ErrorKind;
use dashboard::Dashboard;
use freshet_loadtest::report::{compare, table};
use freshet_loadtest::run::{self, Exposed};

/// The run is over and a bound is broken.
const BROKEN: u8 = 1;
/// The run could not be made.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let cli::Cli { command } = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        // Help is an error to clap, and has more than a line; so has what is said to who gives nothing at all.
        Err(error)
            if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand =>
        {
            error.exit()
        }
        Err(error) => {
            let _nowhere_to_say_it = writeln!(std::io::stderr(), "{}", cli::in_one_line(&error));
            return ExitCode::from(UNUSABLE);
        }
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("FRESHET_LOADTEST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let done = match &command {
        cli::Command::Run(arguments) => execute(arguments),
        cli::Command::Compare(arguments) => side_by_side(arguments),
        cli::Command::Agent(arguments) => command::agent(arguments),
        cli::Command::Capacity(arguments) => command::capacity(arguments),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            let _nowhere_to_say_it = writeln!(std::io::stderr(), "freshet-loadtest: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn execute(arguments: &cli::RunArguments) -> anyhow::Result<ExitCode> {
    let scenario = arguments.scenario()?;
    let plan = arguments.together.plan(&scenario, arguments.access(&scenario))?;
    plan.can_keep(&scenario.expect)?;
    // A run must not be lost because there is nowhere to write.
    let folder = arguments.report.as_deref().map(files::prepare).transpose()?;
    let mut terminal = std::io::stderr();
    let exposed = arguments.metrics_listen.map(expose).transpose()?;
    if let Some(exposed) = exposed.as_ref().filter(|_| !arguments.quiet) {
        writeln!(terminal, "freshet-loadtest: the run's metrics are at {}", exposed.url())?;
    }
    let drawn = terminal.is_terminal() && !arguments.quiet;
    // Before the screen is taken: who is missing is said in a line.
    let field = arguments.together.gather(&plan, || command::brief(arguments, &plan))?;
    let mut dashboard = drawn.then(|| Dashboard::open(&plan.name, &plan.target())).transpose()?;
    let report = command::drive(&plan, &scenario.expect, field.as_ref(), |progress| {
        exposed.iter().for_each(|exposed| exposed.show(progress));
        let _progress_is_optional = match &mut dashboard {
            Some(dashboard) => dashboard.show(progress),
            None if arguments.quiet => Ok(()),
            None => writeln!(terminal, "{}", run::progress_line(progress)),
        };
    });
    drop(dashboard);
    let report = report?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", table(&report))?;
    }
    out.flush()?;
    if let Some(folder) = folder {
        let page = files::write(folder, &report)?;
        if !arguments.quiet {
            writeln!(terminal, "freshet-loadtest: the report is {}", page.display())?;
        }
    }
    if !report.failed() {
        return Ok(ExitCode::SUCCESS);
    }
    for verdict in report.bounds.iter().filter(|verdict| verdict.broken || verdict.not_measured) {
        writeln!(terminal, "freshet-loadtest: bound {verdict}")?;
    }
    if report.interrupted {
        writeln!(terminal, "freshet-loadtest: the run was stopped before its end")?;
    }
    for doubt in &report.invalid {
        writeln!(terminal, "freshet-loadtest: the run is invalid: {doubt}")?;
    }
    Ok(ExitCode::from(BROKEN))
}

fn expose(address: SocketAddr) -> anyhow::Result<Exposed> {
    Exposed::listen(address).with_context(|| {
        format!("the run's metrics cannot be at {address}; choose another with --metrics-listen")
    })
}

fn side_by_side(arguments: &cli::CompareArguments) -> anyhow::Result<ExitCode> {
    let (a, b) = (files::read(&arguments.a)?, files::read(&arguments.b)?);
    let comparison = compare(&a, &b)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &comparison)?;
        writeln!(out)?;
    } else if arguments.markdown {
        write!(out, "{}", comparison.markdown())?;
    } else {
        write!(out, "{}", comparison.table())?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
