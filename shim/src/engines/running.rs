//! The containers that run, by their processes alone: the children of the processes that engines start beside them. So a
//! container is found wherever its engine keeps its state.

use super::monitor::{self, Monitor};
use porthole_registry::bounded;
use porthole_registry::host::Host;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use porthole_registry::process::Process;
use porthole_registry::record::Record;
use porthole_registry::store::Store;
use porthole_registry::text::clean;
use std::collections::HashSet;
use std::path::Path;

/// A container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Running {
    pub(crate) pid: i32,
    start: u64,
    mounts: NamespaceId,
    netns: Option<NamespaceId>,
    cgroup: Option<String>,
    command: String,
}

impl Running {
    /// Describes it for people.
    pub(crate) fn describe(&self) -> String {
        let netns = self.netns.map(|id| format!(", net:[{}]", id.ino)).unwrap_or_default();
        let cgroup = self.cgroup.as_ref().map(|path| format!(", cgroup {path}")).unwrap_or_default();
        format!("process {} ({}){netns}{cgroup}", self.pid, self.command)
    }
}

/// All containers of the host's engines, one process of each. Those of virtual machines call no hooks and are left out.
pub(crate) fn containers(host: &Host) -> Vec<Running> {
    below(monitor::all(host), host)
}

fn below(monitors: Vec<Monitor>, host: &Host) -> Vec<Running> {
    let monitors: HashSet<i32> = monitors
        .into_iter()
        .filter(|monitor| monitor.is_of_oci)
        .map(|monitor| monitor.process.pid())
        .collect();
    if monitors.is_empty() {
        return Vec::new();
    }
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let children = pids.filter(|pid| parent(*pid).is_some_and(|parent| monitors.contains(&parent)));
    let mut found: Vec<_> = children.filter_map(|pid| of(pid, host)).collect();
    // A process that is executed in a container is a child too, and shares its mounts.
    found.sort_by_key(|running| (running.start, running.pid));
    let mut known = HashSet::new();
    found.retain(|running| known.insert(running.mounts));
    found
}

/// The containers without a record.
pub(crate) fn unregistered(host: &Host, store: Option<&Store>, boot_id: &str) -> Vec<Running> {
    without_records(containers(host), store, boot_id)
}

/// What may be containers without a record: they run below processes of a monitor's name with a root directory of their own.
pub(crate) fn elsewhere(host: &Host, store: Option<&Store>, boot_id: &str) -> Vec<Running> {
    without_records(below(monitor::elsewhere(host), host), store, boot_id)
}

fn without_records(mut running: Vec<Running>, store: Option<&Store>, boot_id: &str) -> Vec<Running> {
    if running.is_empty() {
        return running;
    }
    let records: Vec<Record> = store
        .and_then(|store| store.records().ok())
        .into_iter()
        .flatten()
        .filter_map(|(_, record)| record.ok())
        .filter(|record| record.is_running(boot_id))
        .collect();
    let mounts: HashSet<_> =
        records.iter().filter_map(|record| Some(record.namespaces.get(&NamespaceKind::Mnt)?.id)).collect();
    let pids: HashSet<_> = records.iter().map(|record| (record.pid, record.pid_start)).collect();
    // A process that a container has left behind, in the host's pid namespace, is a child of the monitor as well.
    let cgroups: HashSet<_> = records.iter().filter_map(|record| record.cgroup.as_deref()).collect();
    running.retain(|one| {
        !mounts.contains(&one.mounts)
            && !pids.contains(&(one.pid, one.start))
            && !one.cgroup.as_deref().is_some_and(|cgroup| is_within(cgroup, &cgroups))
    });
    running
}

/// Whether a cgroup is one of these, or below one. A privileged container can make some of its own.
fn is_within(cgroup: &str, known: &HashSet<&str>) -> bool {
    Path::new(cgroup).ancestors().filter_map(Path::to_str).any(|above| above != "/" && known.contains(above))
}

fn parent(pid: i32) -> Option<i32> {
    let stat = bounded::text(format!("/proc/{pid}/stat"), bounded::FACTS).ok()?;
    // State and parent come after the name, which may contain anything.
    stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn of(pid: i32, host: &Host) -> Option<Running> {
    let process = Process::open(pid).ok()?;
    let mounts = process.namespace(NamespaceKind::Mnt).ok()?;
    if host.namespace(NamespaceKind::Mnt) == Some(mounts) || is_in_its_parents(&process, mounts) {
        return None;
    }
    let text = |name: &str| String::from_utf8_lossy(&process.read(name).unwrap_or_default()).into_owned();
    Some(Running {
        pid,
        start: process.start(),
        mounts,
        netns: process.namespace(NamespaceKind::Net).ok(),
        cgroup: porthole_registry::observe::cgroup(&process),
        command: clean(text("comm").trim_end()).unwrap_or_default(),
    })
}

/// Whether it is in its parent's mount namespace, as a runtime at work is. That need not be the host's.
fn is_in_its_parents(process: &Process, mounts: NamespaceId) -> bool {
    let parent = parent(process.pid()).and_then(|pid| Process::open(pid).ok());
    parent.is_some_and(|parent| parent.namespace(NamespaceKind::Mnt).is_ok_and(|own| own == mounts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_below_that_of_a_container_is_the_containers() {
        let known = HashSet::from(["/kubepods/pod1/c1", "/"]);
        assert!(is_within("/kubepods/pod1/c1", &known));
        assert!(is_within("/kubepods/pod1/c1/inner/more", &known));
        assert!(!is_within("/kubepods/pod1/c10", &known));
        assert!(!is_within("/kubepods/pod1", &known));
        assert!(!is_within("/", &known));
    }
}
