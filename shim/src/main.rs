//! `porthole`: pods and containers by name.

#![deny(unsafe_code)]
#![cfg_attr(not(test), no_main)]
#![cfg_attr(test, allow(dead_code, reason = "the tests have another main"))]

mod audit;
mod cgroup;
mod cli;
mod covered;
mod demo;
mod destination;
mod doctor;
mod engines;
mod exec;
mod exit;
mod generate;
mod identify;
mod inspect;
mod install;
mod inventory;
mod list;
mod locks;
mod lsm;
mod mounts;
mod names;
mod netlink;
mod netns;
mod output;
mod policy;
mod problem;
mod reconcile;
mod share;
mod sys;
mod target;

use cli::{Cli, Command};
use exit::{Exit, ExitCode};
use output::Format;
use porthole_registry::config::Config;
use problem::Problem;

/// musl's own takes a mapping from the kernel, and gives it back, for every few allocations: 65 system calls in an `exec`.
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

/// Runs the command; see `sys` for who calls it.
fn main_status() -> ExitCode {
    // A reader that has gone is an error of the write, not the end of the process.
    sys::ignore(libc::SIGPIPE);
    // So is a file that grows beyond a limit of the caller's, who could end porthole by it, and not the command.
    sys::ignore(libc::SIGXFSZ);
    if sys::fill_standard_descriptors().is_err() {
        return Exit::Failed.into();
    }
    if let Some(answer) = porthole_registry::look::answer(sys::arguments()) {
        return if output::print(&answer).is_ok() { Exit::Done } else { Exit::Failed }.into();
    }
    // The demo's containers run this binary as their program.
    if let Some(status) = demo::guest(sys::arguments()).or_else(|| exec::guest(sys::arguments())) {
        return status;
    }
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let format = cli.global.output;
    let before_command = matches!(cli.command, Command::Exec { .. });
    run(cli).unwrap_or_else(|problem| problem.end(format, before_command))
}

/// Help and version go to stdout with status 0. An error is said as every other one, and in front of a command to be
/// run it has the status of all that is ours.
fn usage(error: &clap::Error) -> ExitCode {
    let given = cli::Given::scan(sys::arguments().iter().skip(1));
    if !error.use_stderr() {
        // A reader that has gone is no error.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    if given.json {
        let message = error.to_string();
        Problem::new(Exit::Usage, message.trim().trim_start_matches("error: "), "").report(Format::Json);
    } else {
        let _ = error.print();
    }
    if given.exec { ExitCode::from(125) } else { Exit::Usage.into() }
}

fn run(cli: Cli) -> Result<ExitCode, Problem> {
    let Cli { global, command } = cli;
    // What is made below is meant with the modes that are written there.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    if global.config.is_some() && is_behind_sudo() {
        return Err(configuration_refused());
    }
    let config = || configuration(global.config.as_deref());
    match command {
        Command::List(args) => list::run(&args, &config()?, global.output),
        Command::Identify { thing } => identify::run(&thing, &config()?, global.output),
        Command::Inspect { target } => inspect::run(&target, &config()?, global.output),
        Command::Exec { target, args } => {
            args.env.iter().for_each(exec::Variable::conceal);
            let settings = settings(&global)?;
            exec(&target, &args, &config()?, settings)
        }
        Command::Policy(args) => policy::run(args, global.config.as_deref(), &config()?, global.output),
        // Their --config is the engine's.
        Command::Install(args) => install::install(&args, global.output),
        Command::Uninstall(args) => install::uninstall(&args, global.output),
        Command::Profiles => exec::list_profiles(&config()?.exec, global.output),
        // A configuration with a mistake is what it is to find.
        Command::Doctor(args) => doctor::run(&args, global.config.as_deref(), global.output),
        Command::Reconcile(args) => reconcile::run(args, &config()?, global.output),
        Command::Demo(args) => {
            Ok(demo::run(&args, &demo::Places::new(&config()?, global.config.as_deref()))?)
        }
        Command::Completions { shell } => generate::completions(shell),
        Command::Man { directory } => generate::man_pages(&directory),
    }
}

/// A user behind sudo would have porthole read, and quote, files that are closed to them.
fn is_behind_sudo() -> bool {
    let variables: Vec<_> = std::env::vars_os().collect();
    policy::Invoker::read(&variables).is_ok_and(|invoker| invoker.behind_sudo)
}

fn configuration_refused() -> Problem {
    let what = "--config: only root may run a command with another configuration";
    Problem::new(Exit::Usage, what, "leave it out")
}

/// What is known before the configuration. Whose records are believed decides what the policy sees, so a configuration
/// of one's own is for root alone.
fn settings(global: &cli::Global) -> Result<exec::Settings, Problem> {
    let variables: Vec<_> = std::env::vars_os().collect();
    let is_root = policy::Invoker::read(&variables).is_ok_and(|invoker| invoker.is_root());
    if global.config.is_some() && !is_root {
        return Err(configuration_refused());
    }
    Ok(exec::Settings {
        json: global.output == Format::Json,
        policy: policy::beside(global.config.as_deref()),
        ..exec::Settings::default()
    })
}

fn exec(
    words: &str,
    args: &exec::ExecArgs,
    config: &Config,
    settings: exec::Settings,
) -> Result<ExitCode, Problem> {
    let format = if settings.json { Format::Json } else { Format::Table };
    let settings = exec::Settings {
        run_dir: config.run_dir.clone(),
        audit: config.audit,
        bounds: config.exec,
        hidden: config.hidden.clone(),
        ..settings
    };
    let end = |error: &exec::ExecError, label: &str| {
        let report = error.report();
        let text = format!("{label}: {}", report.message);
        output::report(&report, &text, &[], report.remedy.as_deref(), format);
        ExitCode::from(report.status)
    };
    let ask = match exec::ask_beforehand(words, args, &settings) {
        Ok(ask) => ask,
        Err(error) => return Ok(end(&error, words)),
    };
    let target = destination::open(words, args, config, ask)?;
    let status = exec::run(&target, args, &settings);
    Ok(status.map_or_else(|error| end(&error, &target.label), ExitCode::from))
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
