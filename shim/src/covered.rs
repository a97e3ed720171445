//! Lets go of names in the directory of the pins that its own mount covers.
//!
//! Where `/run` is private, `ip netns add` and earlier versions of porthole mounted the directory on itself with copies of
//! all that was mounted in it, and covered the originals. The owner of a name then unmounts the copy, and unlink(2) fails
//! with EBUSY. A covered mount has no path. So this module moves the cover aside for as long as it takes to open the
//! directory underneath. Meanwhile that one shows the same namespaces at the same names.

use crate::inventory::has_processes;
use crate::mounts::{self, Mount};
use crate::problem::Problem;
use porthole_registry::NetnsDir;
use porthole_registry::deadline::Deadline;
use porthole_registry::namespace::NamespaceId;
use porthole_registry::store::Store;
use rustix::fd::{AsFd, AsRawFd};
use rustix::fs::{AtFlags, CWD, Mode, mkdirat, unlinkat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, UnmountFlags, move_mount, unmount};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The name of the cover while it is aside: beside the directory, on the same mount.
const ASIDE: &str = ".porthole-netns";

/// Lets go of the names that the directory's mount covers, and returns them. It holds the registry's lock, and takes none
/// where there is nothing to do.
pub(crate) fn release(netns_dir: &Path, store: &Store, patience: Duration) -> Result<Vec<String>, Problem> {
    // mountinfo has paths without links.
    let Ok(path) = netns_dir.canonicalize() else { return Ok(Vec::new()) };
    let failed = |what: &str, errno: Errno| Problem::failed(format!("{what} {}: {errno}", path.display()));
    let Some(aside) = path.parent().map(|parent| parent.join(ASIDE)) else { return Ok(Vec::new()) };
    let read = || mounts::read().map_err(|e| Problem::failed(format!("read /proc/self/mountinfo: {e}")));
    let was_killed = aside.symlink_metadata().is_ok();
    if !was_killed && held(&read()?, &path).is_empty() {
        return Ok(Vec::new());
    }
    let _lock = store.lock(Deadline::after(patience))?;
    restore(&aside, &path).map_err(|errno| failed("move back the mount of", errno))?;
    let names = held(&read()?, &path);
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let under = underneath(&path, &aside).map_err(|errno| failed("uncover", errno))?;
    let mut released = Vec::new();
    for name in names {
        if !is_needed(&under, &path, &name)? {
            let at = PathBuf::from(format!("/proc/self/fd/{}", under.fd().as_raw_fd()))
                .join(OsStr::from_bytes(&name));
            match unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
                Ok(()) => released.push(String::from_utf8_lossy(&name).into_owned()),
                // Its owner has unmounted it already.
                Err(Errno::INVAL | Errno::NOENT) => {}
                Err(errno) => {
                    return Err(failed(&format!("unmount {} below", String::from_utf8_lossy(&name)), errno));
                }
            }
        }
    }
    Ok(released)
}

/// Names of namespaces that a mount on a private mount covers. A cover on a shared mount cannot be moved.
fn held(mounts: &[Mount], path: &Path) -> Vec<Vec<u8>> {
    let covered = mounts::covered(mounts, path);
    let is_private = |mount: &&&Mount| {
        let mut unders = mounts.iter().filter(|under| under.id == mount.parent);
        unders.any(|under| !under.is_shared() && under.point != path)
    };
    let names = covered.iter().filter(|mount| mount.kind == "nsfs" && mount.point.parent() == Some(path));
    let names = names.filter(is_private).filter_map(|mount| mount.point.file_name());
    names.map(|name| name.as_bytes().to_vec()).collect()
}

/// The directory underneath its mount.
fn underneath(path: &Path, aside: &Path) -> Result<NetnsDir, Errno> {
    match mkdirat(CWD, aside, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let moved = move_mount(CWD, path, CWD, aside, MoveMountFlags::empty());
    let opened = moved.and_then(|()| NetnsDir::open(path).ok().flatten().ok_or(Errno::NOENT));
    restore(aside, path)?;
    opened
}

/// Moves the cover back, also after a run that was killed.
fn restore(aside: &Path, path: &Path) -> Result<(), Errno> {
    match move_mount(CWD, aside, CWD, path, MoveMountFlags::empty()) {
        // It is not there, or is no mount.
        Ok(()) | Err(Errno::NOENT | Errno::INVAL | Errno::NOTDIR) => {}
        Err(errno) => return Err(errno),
    }
    match unlinkat(CWD, aside, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

/// Whether a namespace in use has no mount but the covered one, since the cover has no copy of it.
fn is_needed(under: &NetnsDir, path: &Path, name: &[u8]) -> Result<bool, Problem> {
    let name = OsStr::from_bytes(name);
    let Ok(id) = NamespaceId::at(under.fd().as_fd(), name) else { return Ok(false) };
    if NamespaceId::at(CWD, path.join(name)) == Ok(id) { Ok(false) } else { has_processes(id) }
}
