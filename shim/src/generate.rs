//! Completions and man pages, made from the command line's own description.

use crate::cli::Cli;
use crate::exit::ExitCode;
use crate::output::print_exactly;
use crate::problem::Problem;
use clap::CommandFactory;
use std::path::Path;

/// Prints the completions for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<ExitCode, Problem> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut shown(&Cli::command()), "porthole", &mut text);
    print_exactly(&String::from_utf8_lossy(&text))?;
    Ok(ExitCode::SUCCESS)
}

/// The command line without what is hidden, which shells would offer all the same.
fn shown(all: &clap::Command) -> clap::Command {
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let options = all.get_arguments().filter(|option| !option.is_hide_set()).cloned();
    clap::Command::new("porthole").version(env!("CARGO_PKG_VERSION")).args(options).subcommands(commands)
}

/// Writes `porthole.1` and a page for each command.
pub(crate) fn man_pages(directory: &Path) -> Result<ExitCode, Problem> {
    clap_mangen::generate_to(Cli::command().disable_help_subcommand(true), directory)
        .map_err(|e| Problem::failed(format!("write man pages to {}: {e}", directory.display())))?;
    Ok(ExitCode::SUCCESS)
}
