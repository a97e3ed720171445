//! The host's namespaces: those of pid 1.

use crate::namespace::{NamespaceId, NamespaceKind};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io::Errno;
#[allow(deprecated, reason = "see `enter_mount_namespace`")]
use rustix::thread::{UnshareFlags, move_into_link_name_space, unshare};

/// A directory of namespace files: that of pid 1, or one's own where pid 1's may not be looked at (inside a
/// sandbox, or without CAP_SYS_PTRACE). Then one's own namespaces count as the host's.
#[derive(Debug)]
pub struct Host {
    ns: OwnedFd,
    readable: bool,
}

impl Host {
    /// Opens `/proc/1/ns`, or `/proc/self/ns` where that is refused.
    ///
    /// # Errors
    /// When there is no `/proc`.
    pub fn open() -> Result<Self, Errno> {
        let open =
            |path| fs::openat(CWD, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        if let Ok(ns) = open("/proc/1/ns")
            && NamespaceId::at(&ns, NamespaceKind::Net.proc_name()).is_ok()
        {
            return Ok(Self { ns, readable: true });
        }
        Ok(Self { ns: open("/proc/self/ns")?, readable: false })
    }

    /// Whether the namespaces are those of pid 1, and not only one's own.
    pub const fn is_pid_1(&self) -> bool {
        self.readable
    }

    /// The identity of the host's namespace of this kind, if the kernel has the kind.
    pub fn namespace(&self, kind: NamespaceKind) -> Option<NamespaceId> {
        NamespaceId::at(&self.ns, kind.proc_name()).ok()
    }

    /// Moves the calling thread into the host's mount namespace if it is in another: runtimes of some
    /// engines have one of their own, and a pin made there is seen by nobody. Returns whether it moved.
    ///
    /// Everything that was to be opened in the old one has to be open by then.
    ///
    /// # Errors
    /// What setns(2) says: EPERM without CAP_SYS_ADMIN over the host's namespaces.
    pub fn enter_mount_namespace(&self) -> Result<bool, Errno> {
        let other = self.other_mount_namespace()?;
        other.map_or(Ok(false), |other| other.enter().map(|()| true))
    }

    /// The host's mount namespace, if the calling thread is in another.
    ///
    /// # Errors
    /// What open(2) and stat(2) say of it.
    pub fn other_mount_namespace(&self) -> Result<Option<MountNamespace>, Errno> {
        if !self.readable {
            return Ok(None);
        }
        let host = NamespaceId::at(&self.ns, "mnt")?;
        if NamespaceId::at(CWD, "/proc/self/ns/mnt")? == host {
            return Ok(None);
        }
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        fs::openat(&self.ns, "mnt", flags, Mode::empty()).map(|fd| Some(MountNamespace(fd)))
    }
}

/// The host's mount namespace, to be entered.
#[derive(Debug)]
pub struct MountNamespace(OwnedFd);

impl MountNamespace {
    /// Moves the calling thread into it.
    ///
    /// # Errors
    /// As [`Host::enter_mount_namespace`].
    pub fn enter(&self) -> Result<(), Errno> {
        enter_mount_namespace(self.0.as_fd())
    }
}

/// Moves the calling thread into a mount namespace.
///
/// # Errors
/// As [`Host::enter_mount_namespace`].
#[allow(
    deprecated,
    reason = "unshare(2) is dangerous with CLONE_FILES; without it this one is sound, and not unsafe"
)]
pub(crate) fn enter_mount_namespace(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    // setns(2) moves no thread that shares its root and working directory with another.
    unshare(UnshareFlags::FS)?;
    move_into_link_name_space(namespace, Some(NamespaceKind::Mnt.setns_type()))
}

/// The id of this boot, by which a record of an earlier one is told: random(4).
///
/// # Errors
/// When `/proc` is not there.
pub fn boot_id() -> Result<String, Errno> {
    let fd =
        fs::openat(CWD, "/proc/sys/kernel/random/boot_id", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut buffer = [0; 64];
    let length = rustix::io::read(&fd, &mut buffer)?;
    Ok(String::from_utf8_lossy(&buffer[..length]).trim().to_owned())
}
