//! `porthole`: pods and containers by name.

#![deny(unsafe_code)]

mod cgroup;
mod cli;
mod demo;
mod destination;
mod exec;
mod exit;
mod generate;
mod identify;
mod inspect;
mod inventory;
mod list;
mod netlink;
mod output;
mod problem;
mod reconcile;
mod share;
mod sys;
mod target;

use clap::Parser;
use cli::{Cli, Command};
use exit::Exit;
use output::Format;
use porthole_registry::config::Config;
use problem::Problem;
use std::process::ExitCode;

fn main() -> ExitCode {
    // The demo's containers run this binary as their program.
    if let Some(status) = demo::guest(std::env::args_os()) {
        return status;
    }
    // Usage errors and --help end here, with 2 and 0.
    let cli = Cli::parse();
    let format = cli.output;
    let before_command = matches!(cli.command, Command::Exec { .. });
    run(cli).unwrap_or_else(|problem| problem.end(format, before_command))
}

fn run(cli: Cli) -> Result<ExitCode, Problem> {
    // What is made below is meant with the modes that are written there.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let config = || configuration(cli.config.as_deref());
    match cli.command {
        Command::List(args) => list::run(&args, &config()?, cli.output),
        Command::Identify { thing } => identify::run(&thing, &config()?, cli.output),
        Command::Inspect { target } => inspect::run(&target, &config()?, cli.output),
        Command::Exec { target, args } => exec(&target, &args, config()?, cli.output),
        Command::Reconcile => reconcile::run(&config()?, cli.output),
        Command::Demo(args) => Ok(demo::run(&args, &demo::Places::new(&config()?, cli.config.as_deref()))?),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { directory } => generate::man_pages(&directory),
    }
}

fn exec(words: &str, args: &exec::ExecArgs, config: Config, format: Format) -> Result<ExitCode, Problem> {
    let target = destination::open(words, args, &config)?;
    let settings = exec::Settings { run_dir: config.run_dir, json: format == Format::Json };
    let status = exec::run(&target, args, &settings).unwrap_or_else(|error| {
        let report = error.report();
        output::report(
            &report,
            &format!("{}: {}", target.label, report.message),
            report.remedy.as_deref(),
            format,
        );
        report.status
    });
    Ok(ExitCode::from(status))
}

/// The configuration; a key that is wrong is an error here, so that nobody works on with another one than they wrote.
fn configuration(path: Option<&std::path::Path>) -> Result<Config, Problem> {
    let (config, problems) = Config::load(path);
    match problems.first() {
        None => Ok(config),
        Some(problem) => {
            Err(Problem::new(Exit::Usage, problem.to_string(), "docs: reference/config.md lists every key"))
        }
    }
}
