//! The mount namespaces of this node beside the host's: of the engines, and of the host's other processes.

use super::daemon::{is_hosts, other_view};
use super::{daemon, monitor};
use porthole_registry::host::Host;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use porthole_registry::process::Process;
use porthole_registry::views::{View, Views};
use rustix::fs::CWD;
use std::collections::HashSet;

/// All of them, each once.
pub(crate) fn all(host: &Host) -> Views {
    let mut known: HashSet<_> = host.namespace(NamespaceKind::Mnt).into_iter().collect();
    let daemons = daemon::all();
    let monitors = monitor::all(host);
    let processes = daemons.iter().map(daemon::Daemon::process);
    let processes = processes.chain(monitors.iter().map(|monitor| &monitor.process));
    let mut engines: Vec<View> = processes.filter_map(|process| other_view(process, host)).collect();
    engines.retain(|view| known.insert(view.mounts()));
    let mut others = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let is_new = |id: NamespaceId| !known.contains(&id);
        if !NamespaceId::at(CWD, format!("/proc/{pid}/ns/mnt")).is_ok_and(is_new) {
            continue;
        }
        let process = Process::open(pid).ok().filter(|process| is_hosts(process, host));
        if let Some(view) = process.and_then(|process| View::of(&process).ok())
            && known.insert(view.mounts())
        {
            others.push(view);
        }
    }
    Views::all(engines, others)
}
