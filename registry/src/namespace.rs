//! The kinds of namespaces, and how one is told from another: namespaces(7), ioctl_nsfs(2).

use rustix::fd::AsFd;
use rustix::fs::{self, AtFlags};
use rustix::io::Errno;
use rustix::thread::LinkNameSpaceType;
use serde::Serialize;
use std::fmt;

/// A kind of namespace, in the order in which `porthole` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceKind {
    /// Network: interfaces, addresses, routes, sockets.
    Net,
    /// Mount points.
    Mnt,
    /// Process ids.
    Pid,
    /// System V and POSIX message queues, semaphores, shared memory.
    Ipc,
    /// Host and domain name.
    Uts,
    /// User and group ids, capabilities.
    User,
    /// The root of the cgroup tree.
    Cgroup,
    /// Monotonic and boot clocks.
    Time,
}

impl NamespaceKind {
    /// Every kind.
    pub const ALL: [Self; 8] =
        [Self::Net, Self::Mnt, Self::Pid, Self::Ipc, Self::Uts, Self::User, Self::Cgroup, Self::Time];

    /// Its file below `/proc/PID/ns`.
    pub const fn proc_name(self) -> &'static str {
        match self {
            Self::Net => "net",
            Self::Mnt => "mnt",
            Self::Pid => "pid",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::User => "user",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }

    /// The kind by the name of its file.
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.proc_name() == name)
    }

    /// The type that setns(2) expects of its descriptor.
    pub const fn setns_type(self) -> LinkNameSpaceType {
        match self {
            Self::Net => LinkNameSpaceType::Network,
            Self::Mnt => LinkNameSpaceType::Mount,
            Self::Pid => LinkNameSpaceType::ProcessID,
            Self::Ipc => LinkNameSpaceType::InterProcessCommunication,
            Self::Uts => LinkNameSpaceType::HostNameAndNISDomainName,
            Self::User => LinkNameSpaceType::User,
            Self::Cgroup => LinkNameSpaceType::ControlGroup,
            Self::Time => LinkNameSpaceType::Time,
        }
    }
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.proc_name())
    }
}

/// The identity of a namespace while something holds it: device and inode of its nsfs file.
///
/// The kernel hands an inode number out again once the namespace is gone, so an id is only worth
/// something next to what keeps the namespace alive: a descriptor, a process, a pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NamespaceId {
    /// Device number of nsfs.
    pub dev: u64,
    /// Inode number, as in `net:[4026532201]`.
    pub ino: u64,
}

impl NamespaceId {
    /// Of an open descriptor.
    ///
    /// # Errors
    /// What fstat(2) says.
    pub fn of(fd: impl AsFd) -> Result<Self, Errno> {
        fs::fstat(fd).map(|stat| Self { dev: stat.st_dev, ino: stat.st_ino })
    }

    /// Of the file `name` below `dir`, links followed as `/proc/PID/ns/*` needs it.
    ///
    /// # Errors
    /// What fstatat(2) says: ENOENT for a zombie, EACCES where ptrace(2) access is refused.
    pub fn at(dir: impl AsFd, name: impl rustix::path::Arg) -> Result<Self, Errno> {
        fs::statat(dir, name, AtFlags::empty()).map(|stat| Self { dev: stat.st_dev, ino: stat.st_ino })
    }
}
