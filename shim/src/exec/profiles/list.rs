//! `porthole profiles`: every profile there is, with what it grants.

use serde::Serialize;

use super::super::bounds::size;
use super::super::capabilities::{Base, Capabilities};
use super::{Directory, Profile};
use crate::exit::{Exit, ExitCode};
use crate::output::{self, Cell, Format};
use crate::problem::Problem;
use porthole_registry::bounds::Bounds;

#[derive(Serialize)]
struct Row {
    name: String,
    extends: Option<&'static str>,
    description: String,
    capabilities: Granted,
    pids: u64,
    memory: u64,
    cpu_weight: u64,
    timeout_seconds: Option<u64>,
    hide: Vec<String>,
    file: Option<String>,
}

/// All that the caller has is no list.
#[derive(Serialize)]
#[serde(untagged)]
enum Granted {
    All(&'static str),
    These(Capabilities),
}

impl Row {
    fn new(profile: &Profile, defaults: &Bounds) -> Self {
        let bounds = profile.bounds.or(defaults);
        let all = profile.base.capabilities() == Capabilities::ALL || profile.add == Capabilities::ALL;
        Self {
            name: profile.name.clone(),
            extends: profile.file.as_ref().map(|_| profile.base.name()),
            description: profile.description.clone(),
            capabilities: if all && profile.drop.is_empty() {
                Granted::All("ALL")
            } else {
                Granted::These(profile.capabilities())
            },
            pids: bounds.pids,
            memory: bounds.memory,
            cpu_weight: bounds.cpu_weight,
            timeout_seconds: profile.timeout.map(|timeout| timeout.as_secs()),
            hide: profile.hide.iter().map(|path| path.display().to_string()).collect(),
            file: profile.file.as_ref().map(|path| path.display().to_string()),
        }
    }

    fn cells(&self) -> Vec<Cell> {
        let capabilities = match &self.capabilities {
            Granted::All(all) => (*all).to_owned(),
            Granted::These(these) => these.to_string().replace("CAP_", ""),
        };
        let told = [
            self.name.clone(),
            output::or_dash(self.extends),
            capabilities,
            self.pids.to_string(),
            size(self.memory),
            self.cpu_weight.to_string(),
            output::or_dash(self.timeout_seconds.map(|seconds| format!("{seconds}s"))),
            output::or_dash(Some(&self.description)),
        ];
        told.map(Cell::phrase).to_vec()
    }
}

/// Prints them. One that is wrong is said on stderr, and the status tells.
pub(crate) fn run(defaults: &Bounds, format: Format) -> Result<ExitCode, Problem> {
    let mut rows: Vec<_> = Base::ALL.iter().map(|&base| Row::new(&base.into(), defaults)).collect();
    let directory = Directory::standard();
    let mut exit = Exit::Done;
    for name in directory.names() {
        match directory.profile(&name) {
            Ok(profile) => rows.push(Row::new(&profile, defaults)),
            Err(error) => {
                exit = Exit::Failed;
                let report = error.report();
                output::report(&report, &report.message, &[], report.remedy.as_deref(), format);
            }
        }
    }
    match format {
        Format::Json => output::print_json(&rows)?,
        Format::Table | Format::Wide => {
            let header =
                ["PROFILE", "EXTENDS", "CAPABILITIES", "PIDS", "MEMORY", "CPU WEIGHT", "TIMEOUT", "FOR"];
            let rows: Vec<_> = rows.iter().map(Row::cells).collect();
            output::print(&output::table(&header, &rows))?;
        }
    }
    Ok(exit.into())
}
