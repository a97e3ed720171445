//! Network namespaces that somebody names by a path. Whatever else the path leads to is not opened: to open a FIFO lets
//! its writer go on, and to open a device can do anything.

use crate::exit::Exit;
use crate::problem::Problem;
use crate::sys;
use porthole_registry::namespace::NamespaceId;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat, openat2};
use rustix::io::Errno;
use std::path::Path;

/// The magic number of nsfs, <linux/magic.h>.
const NSFS: u64 = 0x6e73_6673;

/// Opens the network namespace at `path`.
///
/// `O_PATH` holds the file without opening it. A file of nsfs is then opened through that descriptor, which affects nobody.
pub(crate) fn open(path: &Path) -> Result<(OwnedFd, NamespaceId), Errno> {
    let held = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    if !is_nsfs(&held)? {
        return Err(Errno::INVAL);
    }
    let through = format!("/proc/self/fd/{}", held.as_raw_fd());
    let fd = openat(CWD, through.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    if !sys::is_netns(fd.as_fd()).is_ok_and(|is_netns| is_netns) {
        return Err(Errno::INVAL);
    }
    let id = NamespaceId::of(&fd)?;
    Ok((fd, id))
}

/// Whether `path` leads to this network namespace without a link of `/proc`. By such a link one comes to what a container
/// keeps in its own file system, or by a descriptor, and to nothing that tells whose it is.
pub(crate) fn is_at(path: &Path, netns: NamespaceId) -> bool {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let held = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS);
    held.is_ok_and(|held| is_nsfs(&held) == Ok(true) && NamespaceId::of(&held) == Ok(netns))
}

/// Whether it is a namespace, of whatever kind.
pub(crate) fn is_nsfs(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(u64::try_from(fstatfs(fd)?.f_type).is_ok_and(|kind| kind == NSFS))
}

/// The same for a path that the user names. Everything that is no network namespace gives one error, so that a user behind
/// sudo does not learn what a directory contains that is closed to them.
pub(crate) fn named(path: &Path) -> Result<(OwnedFd, NamespaceId), Problem> {
    open(path).map_err(|errno| {
        match errno {
            // Root gets neither from a file system of the host.
            Errno::ACCESS | Errno::PERM => no_target(format!("{}: {errno}", path.display())),
            _ => none_at(path),
        }
    })
}

/// That there is none.
pub(crate) fn none_at(path: &Path) -> Problem {
    no_target(format!("there is no network namespace at {}", path.display()))
}

fn no_target(message: String) -> Problem {
    Problem::new(Exit::NoTarget, message, "`ip netns list` shows what there is")
}
