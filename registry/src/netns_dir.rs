//! The directory of the pins: a shared mount of its own, so that a pin made in one mount namespace is seen in the others:
//! ip-netns(8), mount_namespaces(7).
//!
//! `ip netns add` mounts the directory on itself with all that is mounted in it. Where `/run` is shared, as under systemd,
//! that makes peers, which come and go together. Where it is private, it makes copies that cover the originals: the owner
//! of a name unmounts the copy, and unlink(2) fails with EBUSY for ever. So this module mounts the directory while it is
//! empty, when there is nothing to copy and nothing to cover, and leaves it as it is otherwise.
//!
//! It also leaves the directory as it is where an engine has a mount namespace of its own (`KUBENSMNT`): the mount would
//! propagate there, and cover what the engine has mounted in the directory, which is empty here.

use crate::deadline::Deadline;
use crate::error::{Error, Step};
use crate::lock::wait_for_flock;
use crate::store::not_a_directory;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, CWD, Dir, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind, mount_change, unmount};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long the flock of the directory is waited for.
const COURTESY: Duration = Duration::from_millis(20);

/// The open directory of the pins.
#[derive(Debug)]
pub struct NetnsDir {
    path: PathBuf,
    fd: OwnedFd,
}

impl NetnsDir {
    /// Opens it to make pins in. Makes it where there is none, and mounts it, shared, where it is empty and no mount point
    /// yet, unless `as_is` is set. A mount that is there already stays as its maker wanted it.
    ///
    /// # Errors
    /// When it is a file or a symbolic link, or cannot be made or mounted.
    pub fn create(path: &Path, as_is: bool, deadline: Deadline) -> Result<Self, Error> {
        let dir = match Self::open(path)? {
            Some(dir) => dir,
            None => {
                match fs::mkdirat(CWD, path, Mode::from_raw_mode(0o755)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(errno) => return Err(fail(path)(errno)),
                }
                Self::open(path)?.ok_or(Errno::NOENT).map_err(fail(path))?
            }
        };
        if as_is || is_mount_root(dir.fd.as_fd(), "")? { Ok(dir) } else { dir.share(deadline) }
    }

    /// Opens it to look at, if it is there.
    ///
    /// # Errors
    /// When it is a file or a symbolic link, or cannot be opened.
    pub fn open(path: &Path) -> Result<Option<Self>, Error> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(CWD, path, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self { path: path.to_owned(), fd })),
            Err(Errno::NOENT) => Ok(None),
            Err(Errno::NOTDIR | Errno::LOOP) => Err(not_a_directory(path)),
            Err(errno) => Err(fail(path)(errno)),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// O_PATH descriptor.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Mounts it on itself and shares the mount, once a boot, unless there is something in it. `ip netns add` mounts it
    /// under a flock of the directory. Every user can take that lock, so it is waited for only as long as iproute2 needs it.
    /// porthole's own programs have the registry's lock, and a directory that is mounted twice works as well.
    fn share(self, deadline: Deadline) -> Result<Self, Error> {
        // In a directory that stays as it is, this look at its first names is all that a start costs.
        if !is_empty(&self.path)? {
            return Ok(self);
        }
        let path = self.path;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = fs::openat(CWD, &path, flags, Mode::empty()).map_err(fail(&path))?;
        let _ = wait_for_flock(&lock, Deadline::after(deadline.remaining().min(COURTESY)));
        if !is_mount_root(CWD, &path)? && is_empty(&path)? {
            mount_bind(&path, &path).map_err(fail(&path))?;
            mount_change(&path, MountPropagationFlags::SHARED).map_err(fail(&path))?;
            // A name that was mounted since the look is covered now. This mount gives way, unless it is in use.
            if !is_empty(&path)? {
                let _ = unmount(&path, UnmountFlags::NOFOLLOW);
            }
        }
        // The descriptor from before is that of the directory underneath.
        Self::open(&path)?.ok_or(Errno::NOENT).map_err(fail(&path))
    }
}

/// Whether the directory is empty. Reads a few names at most.
fn is_empty(path: &Path) -> Result<bool, Error> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(CWD, path, flags, Mode::empty()).map_err(fail(path))?;
    for entry in Dir::new(fd).map_err(fail(path))? {
        let entry = entry.map_err(fail(path))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

fn fail(path: &Path) -> impl FnOnce(Errno) -> Error {
    Step::OpenNetnsDir.on(path.display().to_string())
}

/// Whether something is mounted right there: statx(2) knows, without a look at mountinfo (Linux 5.8).
pub(crate) fn is_mount_root(dir: BorrowedFd<'_>, name: impl rustix::path::Arg) -> Result<bool, Error> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let statx = fs::statx(dir, name, flags, StatxFlags::TYPE).map_err(Step::OpenNetnsDir.on("statx"))?;
    Ok(statx.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}
