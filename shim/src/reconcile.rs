//! `porthole reconcile`: registry and kernel brought to agreement.

use crate::exit::{Exit, ExitCode};
use crate::inventory::{Inventory, this_boot};
use crate::output::{Format, print, print_json, table};
use crate::problem::Problem;
use porthole_registry::config::Config;
use porthole_registry::reconcile::Done;
use std::time::Duration;

/// How long it waits for the registry's lock, each time it needs it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command.
pub(crate) fn run(config: &Config, format: Format) -> Result<ExitCode, Problem> {
    let boot = this_boot()?;
    let registry = Inventory::registry(config)?;
    let done = registry.reconcile(&boot, &config.pin_name, PATIENCE)?;
    match format {
        Format::Json => print_json(&done)?,
        Format::Table | Format::Wide if done.is_empty() => {
            print("nothing to do: registry and kernel agree\n")?
        }
        Format::Table | Format::Wide => print(&table(&["ACTION", "SUBJECT", "DETAIL"], &rows(&done)))?,
    }
    let failed = done.iter().any(|done| done.failed);
    Ok(if failed { Exit::Failed } else { Exit::Done }.into())
}

fn rows(done: &[Done]) -> Vec<Vec<String>> {
    let row = |done: &Done| {
        let failed = if done.failed { "FAILED: " } else { "" };
        vec![done.action.to_string(), done.subject.clone(), format!("{failed}{}", done.detail)]
    };
    done.iter().map(row).collect()
}
