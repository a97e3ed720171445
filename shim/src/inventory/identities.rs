//! Every pod that a network namespace and a process belong to. The policy answers for each.
//!
//! A rule for a pod covers each way to its processes and namespaces, so anything that is shared with a container makes
//! its pod one of the target's names: a namespace, the cgroup, or a pid or user namespace around the process's own.

use super::{Inventory, host};
use crate::policy::PodName;
use crate::problem::Problem;
use crate::sys;
use porthole_registry::namespace::{NamespaceId, NamespaceKind};
use porthole_registry::process::{Process, ProcessError};
use porthole_registry::record::Record;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::CWD;
use std::collections::BTreeSet;

/// The kernel nests them no deeper.
const DEEPEST: usize = 33;

/// Things that only the processes of one container have.
struct Mark {
    name: PodName,
    namespaces: BTreeSet<NamespaceId>,
    cgroup: Option<String>,
}

impl Inventory {
    /// The pods that these belong to. The host's namespaces belong to none. An object that no record describes has an empty
    /// name: a rule has to allow `-` for it.
    pub(crate) fn identities(
        &self,
        netns: &OwnedFd,
        process: Option<&Process>,
    ) -> Result<Vec<PodName>, Problem> {
        let host = host()?;
        let of_host: BTreeSet<_> =
            NamespaceKind::ALL.into_iter().filter_map(|kind| host.namespace(kind)).collect();
        let marks = self.marks(&of_host);
        let net = NamespaceId::of(netns)
            .map_err(|errno| Problem::failed(format!("fstat of the network namespace: {errno}")))?;
        let mut names = Vec::new();
        if !of_host.contains(&net) {
            let found = marks.iter().filter(|mark| mark.namespaces.contains(&net)).map(|mark| &mark.name);
            names.extend(found.cloned());
            // Made inside a container, it is known by who is in it.
            if names.is_empty() {
                let inside = processes_in(net)?;
                names
                    .extend(inside.iter().flat_map(|process| of_process(&marks, process, &of_host)).cloned());
            }
            if names.is_empty() {
                names.push(PodName::default());
            }
        }
        if let Some(process) = process {
            let before = names.len();
            names.extend(of_process(&marks, process, &of_host).cloned());
            if names.len() == before {
                names.push(PodName::default());
            }
        }
        if names.is_empty() {
            names.push(PodName::default());
        }
        let mut seen = Vec::with_capacity(names.len());
        names.retain(|name| {
            !seen.contains(name) && {
                seen.push(name.clone());
                true
            }
        });
        Ok(names)
    }

    fn marks(&self, of_host: &BTreeSet<NamespaceId>) -> Vec<Mark> {
        let of_record = |(_, record): (_, &Record)| {
            let namespaces = self.present.namespaces(record)?;
            let namespaces = namespaces.into_iter().filter(|id| !of_host.contains(id)).collect();
            // The root is everybody's.
            let cgroup = record.cgroup.clone().filter(|path| !path.trim_matches('/').is_empty());
            let cgroup = cgroup.filter(|_| self.present.is_live(record));
            Some(Mark { name: name_of(record), namespaces, cgroup })
        };
        let idle = self.pods.iter().filter(|pod| pod.containers.is_empty()).map(|pod| Mark {
            name: PodName { namespace: pod.namespace.clone(), pod: Some(pod.name.clone()) },
            namespaces: pod.netns.into_iter().collect(),
            cgroup: None,
        });
        self.records().filter_map(of_record).chain(idle).collect()
    }
}

fn name_of(record: &Record) -> PodName {
    let (namespace, pod) = super::groups::called(record);
    PodName { namespace: namespace.map(str::to_owned), pod: Some(pod.to_owned()) }
}

fn of_process<'a>(
    marks: &'a [Mark],
    process: &Process,
    of_host: &BTreeSet<NamespaceId>,
) -> impl Iterator<Item = &'a PodName> + use<'a> {
    let mut own: BTreeSet<_> =
        NamespaceKind::ALL.into_iter().filter_map(|kind| process.namespace(kind).ok()).collect();
    for kind in [NamespaceKind::Pid, NamespaceKind::User] {
        own.extend(around(process, kind));
    }
    let own: BTreeSet<_> = own.difference(of_host).copied().collect();
    let cgroups = process.read("cgroup").unwrap_or_default();
    let cgroups = String::from_utf8_lossy(&cgroups).into_owned();
    marks
        .iter()
        .filter(move |mark| {
            let cgroup = |own: &str| cgroups.lines().any(|line| is_below(line, own));
            !mark.namespaces.is_disjoint(&own) || mark.cgroup.as_deref().is_some_and(cgroup)
        })
        .map(|mark| &mark.name)
}

/// Whether a line of cgroups(7), `/proc/PID/cgroup`, is of this cgroup or one below it.
fn is_below(line: &str, cgroup: &str) -> bool {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default();
    path.strip_prefix(cgroup.trim_end_matches('/'))
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The namespaces of this kind that the process's own is in, as far as they can be seen from here: ioctl_nsfs(2).
fn around(process: &Process, kind: NamespaceKind) -> Vec<NamespaceId> {
    let first = process.open_namespace(kind).ok();
    let next = |inner: &OwnedFd| sys::parent_namespace(inner.as_fd()).ok();
    let outer = std::iter::successors(first, next).take(DEEPEST);
    outer.filter_map(|namespace| NamespaceId::of(&namespace).ok()).collect()
}

/// Whether a process is in a network namespace.
pub(crate) fn has_processes(net: NamespaceId) -> Result<bool, Problem> {
    Ok(!processes_in(net)?.is_empty())
}

/// The processes that are in a network namespace. One that cannot be looked at could be of a pod that is denied.
fn processes_in(net: NamespaceId) -> Result<Vec<Process>, Problem> {
    let entries =
        std::fs::read_dir("/proc").map_err(|error| Problem::failed(format!("list /proc: {error}")))?;
    let entries = entries.flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let inside = pids.filter(|pid| NamespaceId::at(CWD, format!("/proc/{pid}/ns/net").as_str()) == Ok(net));
    let open = |pid| match Process::open(pid) {
        Ok(process) => Some(Ok(process)),
        Err(ProcessError::Gone(_)) => None,
        Err(error) => Some(Err(Problem::failed(error.to_string()))),
    };
    inside.filter_map(open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_has_those_below_it_and_no_neighbour() {
        for (line, want) in [
            ("0::/kubepods/pod1/c1", true),
            ("0::/kubepods/pod1/c1/inner", true),
            ("4:memory:/kubepods/pod1/c1", true),
            ("0::/kubepods/pod1/c10", false),
            ("0::/kubepods/pod1", false),
            ("0::/", false),
            ("", false),
            ("9:name=systemd:/a:b", false),
        ] {
            assert_eq!(is_below(line, "/kubepods/pod1/c1"), want, "{line}");
        }
    }
}
