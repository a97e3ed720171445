//! `porthole`: pods and containers by name.

#![deny(unsafe_code)]

mod cgroup;
mod cli;
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
mod target;

use clap::Parser;
use cli::{Cli, Command};
use exit::Exit;
use porthole_registry::config::Config;
use problem::Problem;
use std::process::ExitCode;

fn main() -> ExitCode {
    // Usage errors and --help end here, with 2 and 0.
    let cli = Cli::parse();
    let format = cli.output;
    run(cli).unwrap_or_else(|problem| problem.end(format, false))
}

fn run(cli: Cli) -> Result<ExitCode, Problem> {
    let config = || configuration(cli.config.as_deref());
    match cli.command {
        Command::List(args) => list::run(&args, &config()?, cli.output),
        Command::Identify { thing } => identify::run(&thing, &config()?, cli.output),
        Command::Inspect { target } => inspect::run(&target, &config()?, cli.output),
        Command::Reconcile => reconcile::run(&config()?, cli.output),
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { directory } => generate::man_pages(&directory),
    }
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
