//! `porthole reconcile`: registry and kernel brought to agreement, and what runs already registered.

use crate::covered;
use crate::engines::{running, state, views};
use crate::exit::{Exit, ExitCode};
use crate::inventory::{Inventory, host, this_boot};
use crate::output::{Cell, Format, print, print_json, table, to_stderr};
use crate::problem::Problem;
use porthole_registry::adopt::{Adoption, StateKind, missing};
use porthole_registry::config::Config;
use porthole_registry::host::Host;
use porthole_registry::reconcile::{Action, Done};
use porthole_registry::registration::Registry;
use std::path::PathBuf;
use std::time::Duration;

/// How long it waits for the registry's lock, each time it needs it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The time that a container has from its start to a record, or to an entry in its engine's state.
const GRACE: Duration = Duration::from_millis(1500);

/// Options of `reconcile`.
#[derive(Debug, clap::Args)]
pub(crate) struct ReconcileArgs {
    /// Look for running containers here as well: ENGINE is containerd, containers-storage, runc or crun
    #[arg(long, value_name = "ENGINE=DIR", value_parser = engine_state)]
    engine_state: Vec<(StateKind, PathBuf)>,
}

fn engine_state(text: &str) -> Result<(StateKind, PathBuf), String> {
    let (engine, directory) = text.split_once('=').ok_or("expected ENGINE=DIR")?;
    let engine = engine.parse().map_err(|e: porthole_registry::adopt::UnknownEngine| e.to_string())?;
    let directory = PathBuf::from(directory);
    if directory.is_absolute() {
        Ok((engine, directory))
    } else {
        Err("DIR has to be an absolute path".into())
    }
}

/// Runs the command.
pub(crate) fn run(args: ReconcileArgs, config: &Config, format: Format) -> Result<ExitCode, Problem> {
    let host = host()?;
    // Pins belong where pid 1 sees them, and engines' state is what it sees. The configuration has been read by now.
    host.enter_mount_namespace().map_err(|errno| {
        let remedy = "run it as root, on the host";
        Problem::new(Exit::Failed, format!("enter the host's mount namespace: {errno}"), remedy)
    })?;
    let boot_id = this_boot()?;
    let registry = Inventory::registry(config)?.seeing(views::all(&host));
    let mut engines = config.engines.clone();
    for (engine, directory) in args.engine_state {
        engines.add(engine, directory);
    }
    let engines = state::directories(&engines, &host);
    // The mount that covers pins comes first, then stale records and pins, so that their names are free.
    let mut done: Vec<Done> = uncover(&registry, config).into_iter().collect();
    done.extend(registry.reconcile(&boot_id, &config.pin_name, PATIENCE));
    let adoption = Adoption {
        engines: &engines,
        host: &host,
        boot_id: &boot_id,
        views: registry.views(),
        template: &config.pin_name,
        patience: PATIENCE,
    };
    let adopted = registry.adopt(&adoption);
    // The work that was done before is printed all the same.
    done.extend(adopted.unwrap_or_else(|error| vec![Done::failed(Action::Adopt, &error)]));
    let unknown = unexplained(&registry, &adoption, config, &mut done);
    let told = unknown.len();
    done.extend(unknown);
    let elsewhere = running::elsewhere(&host, Some(&registry.store), &boot_id);
    match format {
        Format::Json => print_json(&done)?,
        Format::Table | Format::Wide if done.is_empty() && elsewhere.is_empty() => {
            print("nothing to do: registry and kernel agree\n")?
        }
        Format::Table | Format::Wide if done.is_empty() => print("nothing to do\n")?,
        Format::Table | Format::Wide => print(&table(&["ACTION", "SUBJECT", "DETAIL"], &rows(&done)))?,
    }
    if told > 0 {
        let (containers, run) = if told == 1 { ("container", "runs") } else { ("containers", "run") };
        to_stderr(&format!(
            "porthole: {told} {containers} {run} unregistered, in no known state of an engine"
        ));
        to_stderr(
            "help: name its directory, by --engine-state ENGINE=DIR and in [engines] of the configuration",
        );
    }
    if let Some(one) = elsewhere.first() {
        to_stderr(&format!(
            "porthole: {} may be containers without a record, of an engine with a root directory of its own, which is not \
             looked into; one is {}",
            elsewhere.len(),
            one.describe()
        ));
        to_stderr("help: name the directory of its state as the host sees it, by --engine-state ENGINE=DIR");
    }
    let failed = done.iter().any(|done| done.failed);
    Ok(if failed { Exit::Failed } else { Exit::Done }.into())
}

/// Lets go of what is mounted beneath the directory's own mount.
fn uncover(registry: &Registry, config: &Config) -> Option<Done> {
    let released = covered::release(&config.netns_dir, &registry.store, PATIENCE);
    let (detail, failed) = match released {
        Ok(names) if names.is_empty() => return None,
        Ok(names) => {
            let names = names.join(", ");
            (format!("its mount covered names, whose owners could not remove them: {names}"), false)
        }
        Err(Problem { message, remedy, .. }) => {
            (remedy.map_or_else(|| message.clone(), |remedy| format!("{message}; {remedy}")), true)
        }
    };
    let subject = config.netns_dir.display().to_string();
    Some(Done { action: Action::CleanUp, subject, detail, failed })
}

/// The containers that run, by their processes, without a record and in no state of an engine. A container that was being
/// made at the first look gets a second one.
fn unexplained(
    registry: &Registry,
    adoption: &Adoption<'_>,
    config: &Config,
    done: &mut Vec<Done>,
) -> Vec<Done> {
    let look = |host: &Host| running::unregistered(host, Some(&registry.store), adoption.boot_id);
    let first = look(adoption.host);
    if first.is_empty() {
        return Vec::new();
    }
    std::thread::sleep(GRACE);
    let engines = state::directories(adoption.engines, adoption.host);
    let again = registry.adopt(&Adoption { engines: &engines, template: &config.pin_name, ..*adoption });
    // The failures of the second look are those of the first.
    done.extend(again.into_iter().flatten().filter(|done| !done.failed));
    let known = missing(Some(registry), adoption).processes;
    let mut left = look(adoption.host);
    left.retain(|one| first.contains(one) && !known.contains(&one.pid));
    let tell = |one: &running::Running| Done {
        action: Action::Adopt,
        subject: format!("pid {}", one.pid),
        detail: format!("{}: runs, and is in no known state of an engine", one.describe()),
        failed: true,
    };
    left.iter().map(tell).collect()
}

fn rows(done: &[Done]) -> Vec<Vec<Cell>> {
    let row = |done: &Done| {
        let failed = if done.failed { "FAILED: " } else { "" };
        let cells = [done.action.to_string(), done.subject.clone(), format!("{failed}{}", done.detail)];
        cells.map(Cell::phrase).to_vec()
    };
    done.iter().map(row).collect()
}
