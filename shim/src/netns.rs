//! Network namespaces that somebody names by a path. Whatever else the path leads to is not opened: to open a FIFO lets
//! its writer go on, and to open a device can do anything.

use crate::exit::Exit;
use crate::problem::Problem;
use crate::sys;
use porthole_registry::namespace::NamespaceId;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, fstatfs, openat};
use rustix::io::Errno;
use std::path::Path;

/// The magic number of nsfs, <linux/magic.h>.
const NSFS: u64 = 0x6e73_6673;

/// Opens the network namespace at `path`.
///
/// What is there is held by `O_PATH`, which opens nothing, and is opened through that descriptor once it has proven to be
/// a file of nsfs: to open one of those has no effect on anybody.
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

fn is_nsfs(fd: &OwnedFd) -> Result<bool, Errno> {
    Ok(u64::try_from(fstatfs(fd)?.f_type).is_ok_and(|kind| kind == NSFS))
}

/// The same for a path that somebody named. One error for everything that is no network namespace: who may call porthole
/// through sudo is not to learn from it what there is in directories that are closed to them.
pub(crate) fn named(path: &Path) -> Result<(OwnedFd, NamespaceId), Problem> {
    open(path).map_err(|errno| {
        let shown = path.display();
        let message = match errno {
            // What is refused to root is no file of the host's.
            Errno::ACCESS | Errno::PERM => format!("{shown}: {errno}"),
            _ => format!("there is no network namespace at {shown}"),
        };
        Problem::new(Exit::NoTarget, message, "`ip netns list` shows what there is")
    })
}
