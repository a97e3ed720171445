//! containerd, and with it Docker, nerdctl, k3s: `STATE/io.containerd.runtime.v2.task/NAMESPACE/ID/{config.json,init.pid}`.
//!
//! The directory of a task is there from its creation to its deletion; `init.pid` is written once the runtime has
//! created it.

use super::files::{Directory, each_container, pid_in};
use super::{Candidate, Claim, Evidence, Found, StateKind};
use crate::container_id::ContainerId;
use std::path::Path;

const TASKS: &str = "io.containerd.runtime.v2.task";

pub(super) fn find(state: &Path, found: &mut Found) {
    let tasks = Directory::root(&state.join(TASKS));
    let namespaces = tasks.and_then(|tasks| tasks.map(|dir| Ok((dir.names()?, dir))).transpose());
    match namespaces {
        Ok(None) => {}
        Ok(Some((names, tasks))) => {
            for name in names {
                match tasks.below(&name) {
                    Ok(None) => {}
                    Ok(Some(namespace)) => each_container(&namespace, found, |found, id, task| {
                        let candidate = candidate(id, &task);
                        found.note(&task, candidate);
                    }),
                    Err(cause) => found.unreadable(tasks.path().join(&name), cause),
                }
            }
        }
        Err(cause) => found.unreadable(state.join(TASKS), cause),
    }
}

fn candidate(id: ContainerId, task: &Directory) -> Result<Option<Candidate>, String> {
    let Some(content) = task.read("init.pid", 64)? else { return Ok(None) };
    let pid = pid_in(&content).map_err(|cause| format!("init.pid: {cause}"))?;
    let process = Some(Claim { pid, evidence: Evidence::Written(content.written) });
    Ok(Some(Candidate { id, process, bundle: task.path().to_owned(), kind: StateKind::Containerd }))
}
