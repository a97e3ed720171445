//! Which namespaces are joined, and how: always from descriptors that were opened and checked before.

use std::collections::BTreeSet;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, FileType, statat};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};
use serde::Serialize;

use super::error::{ExecError, Step};
use super::{Target, TargetProcess};

/// A kind of namespace, named as nsenter's options are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Namespace {
    /// `-n`
    Net,
    /// `-m`
    Mount,
    /// `-u`
    Uts,
    /// `-i`
    Ipc,
    /// `-p`
    Pid,
    /// `-C`
    Cgroup,
    /// `-U`
    User,
    /// `-T`
    Time,
}

impl Namespace {
    /// All of them.
    pub(crate) const ALL: [Self; 8] =
        [Self::Net, Self::Mount, Self::Uts, Self::Ipc, Self::Pid, Self::Cgroup, Self::User, Self::Time];

    /// Its name in `/proc/PID/ns`.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Mount => "mnt",
            Self::Uts => "uts",
            Self::Ipc => "ipc",
            Self::Pid => "pid",
            Self::Cgroup => "cgroup",
            Self::User => "user",
            Self::Time => "time",
        }
    }

    fn flag(self) -> ThreadNameSpaceType {
        match self {
            Self::Net => ThreadNameSpaceType::NETWORK,
            Self::Mount => ThreadNameSpaceType::MOUNT,
            Self::Uts => ThreadNameSpaceType::HOST_NAME_AND_NIS_DOMAIN_NAME,
            Self::Ipc => ThreadNameSpaceType::INTER_PROCESS_COMMUNICATION,
            Self::Pid => ThreadNameSpaceType::PROCESS_ID,
            Self::Cgroup => ThreadNameSpaceType::CONTROL_GROUP,
            Self::User => ThreadNameSpaceType::USER,
            Self::Time => ThreadNameSpaceType::TIME,
        }
    }
}

impl fmt::Display for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.file())
    }
}

/// What the options selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selection {
    /// `-a`: each one of the target's that is not the caller's already.
    All,
    /// Exactly these.
    These(BTreeSet<Namespace>),
}

/// One namespace that will be joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Join {
    /// Its kind.
    pub(crate) namespace: Namespace,
    /// Its inode, as in `/proc/PID/ns` and `lsns`.
    pub(crate) inode: u64,
}

/// The namespaces to join, in the order of joining: pid before the fork, so that the child is inside; net next, with
/// the caller's rights and before the mount view, whose `/sys` is that of the net namespace; the others in one call
/// last, in which the kernel takes the user namespace first and checks against it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Joins(pub Vec<Join>);

impl Joins {
    /// Looks up what `selection` means for `target`.
    pub(crate) fn resolve(selection: &Selection, target: &Target) -> Result<Self, ExecError> {
        let wanted: Vec<Namespace> = match selection {
            Selection::All => Namespace::ALL.to_vec(),
            Selection::These(these) => these.iter().copied().collect(),
        };
        let mut joins = Vec::with_capacity(wanted.len());
        for namespace in wanted {
            if namespace == Namespace::Net {
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
            let own = rustix::fs::stat(format!("/proc/self/ns/{}", namespace.file())).map(|s| s.st_ino).ok();
            // Joining the user namespace one is in is an error to the kernel, and would bring dropped rights back.
            match (own == Some(inode), selection) {
                (true, Selection::All) => {}
                (true, Selection::These(_)) if namespace == Namespace::User => {
                    return Err(Step::Inspect.refused(
                        format!("{} has no user namespace of its own", target.label),
                        "leave out -U",
                    ));
                }
                _ => joins.push(Join { namespace, inode }),
            }
        }
        joins.sort_by_key(|join| match join.namespace {
            Namespace::Pid => 0,
            Namespace::Net => 1,
            Namespace::User => 2,
            _ => 3,
        });
        Ok(Self(joins))
    }

    /// Whether `namespace` is among them.
    pub(crate) fn has(&self, namespace: Namespace) -> bool {
        self.0.iter().any(|join| join.namespace == namespace)
    }

    /// Whether anything inside could look at, or lie to, a process that is in there.
    pub(crate) fn hostile(&self) -> bool {
        [Namespace::Mount, Namespace::Pid, Namespace::User].into_iter().any(|namespace| self.has(namespace))
    }

    /// Makes the children of this process members of the target's pid namespace.
    pub(crate) fn join_pid(&self, target: &Target) -> Result<(), ExecError> {
        match (&target.process, self.has(Namespace::Pid)) {
            (Some(process), true) => join_of(process, ThreadNameSpaceType::PROCESS_ID, "pid"),
            _ => Ok(()),
        }
    }

    /// Joins the network namespace.
    pub(crate) fn join_net(&self, target: &Target) -> Result<(), ExecError> {
        if self.has(Namespace::Net) {
            move_into_link_name_space(target.netns.as_fd(), Some(LinkNameSpaceType::Network))
                .map_err(Step::Join.failed("net"))?;
        }
        Ok(())
    }

    /// Joins all that are left.
    pub(crate) fn join_others(&self, target: &Target) -> Result<(), ExecError> {
        let others: Vec<_> = self
            .0
            .iter()
            .map(|j| j.namespace)
            .filter(|n| !matches!(n, Namespace::Pid | Namespace::Net))
            .collect();
        let flags = others.iter().fold(ThreadNameSpaceType::empty(), |flags, n| flags | n.flag());
        match &target.process {
            Some(process) if !flags.is_empty() => {
                let names: Vec<_> = others.iter().map(|n| n.file()).collect();
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

fn inode_in(process: &TargetProcess, namespace: Namespace) -> Result<Option<u64>, ExecError> {
    let dir: BorrowedFd<'_> = process.proc_dir.as_fd();
    match statat(dir, format!("ns/{}", namespace.file()), AtFlags::empty()) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => Ok(Some(stat.st_ino)),
        Ok(_) => Err(Step::Inspect.refused(
            format!("ns/{namespace} of process {} is no namespace", process.pid),
            "is /proc a proc filesystem?",
        )),
        Err(rustix::io::Errno::NOENT) if namespace == Namespace::Time => Ok(None),
        Err(error) => {
            Err(Step::Inspect.failed(format!("{namespace} namespace of process {}", process.pid))(error))
        }
    }
}
