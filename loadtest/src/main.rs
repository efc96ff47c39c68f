//! `freshet-loadtest`: how many viewers a WHIP/WHEP server holds, and what they see.

mod cli;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;
use freshet_loadtest::run;

/// The run is over and a bound is broken.
const BROKEN: u8 = 1;
/// The run could not be made.
const UNUSABLE: u8 = 2;

fn main() -> ExitCode {
    let cli::Cli { command: cli::Command::Run(arguments) } = cli::Cli::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("FRESHET_LOADTEST_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match execute(&arguments) {
        Ok(code) => code,
        Err(error) => {
            let _nowhere_to_say_it = writeln!(std::io::stderr(), "freshet-loadtest: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

fn execute(arguments: &cli::RunArguments) -> anyhow::Result<ExitCode> {
    let plan = arguments.plan();
    let mut terminal = std::io::stderr();
    let redraw = terminal.is_terminal();
    let report = run::run(&plan, &arguments.fail_if, |progress| {
        if arguments.quiet {
            return;
        }
        let line = run::progress_line(progress);
        let _progress_is_optional = match redraw {
            true => write!(terminal, "\r\x1b[K{line}").and_then(|()| terminal.flush()),
            false => writeln!(terminal, "{line}"),
        };
    });
    if redraw && !arguments.quiet {
        write!(terminal, "\r\x1b[K")?;
    }
    let report = report?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write!(out, "{}", run::table(&report))?;
    }
    out.flush()?;
    if !report.failed() {
        return Ok(ExitCode::SUCCESS);
    }
    for verdict in report.bounds.iter().filter(|verdict| verdict.broken) {
        writeln!(terminal, "freshet-loadtest: bound {verdict}")?;
    }
    for doubt in &report.invalid {
        writeln!(terminal, "freshet-loadtest: the run is invalid: {doubt}")?;
    }
    Ok(ExitCode::from(BROKEN))
}
