//! The directory of the pins, with the discipline of `ip netns add`: a shared mount of its own, so that
//! a pin made in one mount namespace is seen in the others: ip-netns(8), mount_namespaces(7).

use crate::deadline::Deadline;
use crate::error::{Error, Step};
use crate::lock::wait_for_flock;
use crate::store::not_a_directory;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, mount_bind_recursive, mount_change};
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
    /// Opens it to make pins in: makes it where there is none, and a shared mount where it is no mount
    /// point yet. A mount that is there already is left as its maker wanted it.
    ///
    /// # Errors
    /// When it is a file or a symbolic link, or cannot be made or mounted.
    pub fn create(path: &Path, deadline: Deadline) -> Result<Self, Error> {
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
        if is_mount_root(dir.fd.as_fd(), "")? { Ok(dir) } else { dir.share(deadline) }
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

    /// Mounts it on itself and shares the mount, once a boot. `ip netns add` does the same under a flock of the directory.
    /// Every user can take that one, so it is waited for only as long as iproute2 needs it: porthole's own programs keep out
    /// of each other's way by the registry's lock, and mounted twice the directory is the same one.
    fn share(self, deadline: Deadline) -> Result<Self, Error> {
        let path = self.path;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let lock = fs::openat(CWD, &path, flags, Mode::empty()).map_err(fail(&path))?;
        let _ = wait_for_flock(&lock, Deadline::after(deadline.remaining().min(COURTESY)));
        if !is_mount_root(CWD, &path)? {
            mount_bind_recursive(&path, &path).map_err(fail(&path))?;
            mount_change(&path, MountPropagationFlags::SHARED | MountPropagationFlags::REC)
                .map_err(fail(&path))?;
        }
        // The descriptor from before is that of the directory underneath.
        Self::open(&path)?.ok_or(Errno::NOENT).map_err(fail(&path))
    }
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
