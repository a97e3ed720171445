//! Which namespaces are joined, and how: always from descriptors that were opened and checked before.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd};

use porthole_registry::namespace::NamespaceKind;
use rustix::fs::{AtFlags, FileType, statat};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use serde::Serialize;

use super::error::{ExecError, Step};
use super::{Target, TargetProcess};

fn flag(kind: NamespaceKind) -> ThreadNameSpaceType {
    match kind {
        NamespaceKind::Net => ThreadNameSpaceType::NETWORK,
        NamespaceKind::Mnt => ThreadNameSpaceType::MOUNT,
        NamespaceKind::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
        NamespaceKind::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
        NamespaceKind::Pid => ThreadNameSpaceType::PROCESS_ID,
        NamespaceKind::Cgroup => ThreadNameSpaceType::CONTROL_GROUP,
        NamespaceKind::User => ThreadNameSpaceType::USER,
        NamespaceKind::Time => ThreadNameSpaceType::TIME,
    }
}

/// What the options selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// `-a`: each one of the target's that is not the caller's already.
    All,
    /// Exactly these.
    These(BTreeSet<NamespaceKind>),
}

/// One namespace that will be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Join {
    /// Its kind.
    pub(crate) namespace: NamespaceKind,
    /// Its inode, as in `/proc/PID/ns` and `lsns`.
    pub(crate) inode: u64,
}

/// The namespaces to join, in the order of joining: net first, with the caller's rights and before the mount view, whose
/// `/sys` is that of the net namespace; the others in one call, in which the kernel takes the user namespace first and
/// checks against it. Of a pid namespace only children become members: [`super::launcher`] forks the one that does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Joins(pub Vec<Join>);

impl Joins {
    /// Looks up what `selection` means for `target`.
    pub(crate) fn resolve(selection: &Selection, target: &Target) -> Result<Self, ExecError> {
        let wanted: Vec<NamespaceKind> = match selection {
            Selection::All => NamespaceKind::ALL.to_vec(),
            Selection::These(these) => these.iter().copied().collect(),
        };
        let mut joins = Vec::with_capacity(wanted.len());
        for namespace in wanted {
            if namespace == NamespaceKind::Net {
                let inode =
                    rustix::fs::fstat(&target.netns).map_err(Step::Inspect.failed("net namespace"))?.st_ino;
                joins.push(Join { namespace, inode });
                continue;
            }
            let Some(process) = &target.process else {
                return Err(Step::Inspect.refused(
                    format!("no process of {} lives, so there is no {namespace} namespace to join", target.label),
                    "only the network namespace outlives its processes: use -n, or wait for a container to start",
                ));
            };
            let Some(inode) = inode_in(process, namespace)? else {
                if *selection == Selection::All {
                    continue;
                }
                return Err(Step::Inspect.refused(
                    format!("the kernel has no {namespace} namespaces"),
                    format!("leave out --{namespace}"),
                ));
            };
            let own =
                rustix::fs::stat(format!("/proc/self/ns/{}", namespace.proc_name())).map(|s| s.st_ino).ok();
            // Joining the user namespace one is in is an error to the kernel, and would bring dropped rights back.
            match (own == Some(inode), selection) {
                (true, Selection::All) => {}
                (true, Selection::These(_)) if namespace == NamespaceKind::User => {
                    return Err(Step::Inspect.refused(
                        format!("{} has no user namespace of its own", target.label),
                        "leave out -U",
                    ));
                }
                _ => joins.push(Join { namespace, inode }),
            }
        }
        joins.sort_by_key(|join| match join.namespace {
            NamespaceKind::Net => 0,
            NamespaceKind::User => 1,
            _ => 2,
        });
        Ok(Self(joins))
    }

    /// Whether `namespace` is among them.
    pub(crate) fn has(&self, namespace: NamespaceKind) -> bool {
        self.0.iter().any(|join| join.namespace == namespace)
    }

    /// Whether one is joined that is not the caller's own.
    pub(crate) fn has_other(&self, namespace: NamespaceKind) -> bool {
        let own =
            || rustix::fs::stat(format!("/proc/self/ns/{}", namespace.proc_name())).map(|stat| stat.st_ino);
        let joined = self.0.iter().find(|join| join.namespace == namespace);
        joined.is_some_and(|join| own().is_ok_and(|own| own != join.inode))
    }

    /// Whether anything inside could look at, or lie to, a process that is in there.
    pub(crate) fn hostile(&self) -> bool {
        [NamespaceKind::Mnt, NamespaceKind::Pid, NamespaceKind::User]
            .into_iter()
            .any(|namespace| self.has(namespace))
    }

    /// Joins the network namespace.
    pub(crate) fn join_net(&self, target: &Target) -> Result<(), ExecError> {
        if self.has(NamespaceKind::Net) {
            move_into_link_name_space(target.netns.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(Step::Join.failed("net"))?;
        }
        Ok(())
    }

    /// Joins all that are left.
    pub(crate) fn join_others(&self, target: &Target) -> Result<(), ExecError> {
        let others: Vec<_> =
            self.0.iter().map(|j| j.namespace).filter(|n| *n != NamespaceKind::Net).collect();
        let flags = others.iter().fold(ThreadNameSpaceType::empty(), |flags, n| flags | flag(*n));
        match &target.process {
            Some(process) if !flags.is_empty() => {
                let names: Vec<_> = others.iter().map(|n| n.proc_name()).collect();
                join_of(process, flags, &names.join(", "))
            }
            _ => Ok(()),
        }
    }
}

fn join_of(process: &TargetProcess, flags: ThreadNameSpaceType, names: &str) -> Result<(), ExecError> {
    move_into_thread_name_spaces(process.pidfd.as_fd(), flags)
        .map_err(Step::Join.failed(format!("{names} of process {}", process.pid)))
}

fn inode_in(process: &TargetProcess, namespace: NamespaceKind) -> Result<Option<u64>, ExecError> {
    let dir: BorrowedFd<'_> = process.proc_dir.as_fd();
    match statat(dir, format!("ns/{}", namespace.proc_name()), AtFlags::empty()) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(Some(stat.st_ino)),
        Ok(_) => Err(Step::Inspect.refused(
            format!("ns/{namespace} of process {} is no namespace", process.pid),
            "is /proc a proc filesystem?",
        )),
        Err(rustix::io::Errno::NOENT) if namespace == NamespaceKind::Time => Ok(None),
        Err(error) => {
            Err(Step::Inspect.failed(format!("{namespace} namespace of process {}", process.pid))(error))
        }
    }
}
