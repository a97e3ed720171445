//! Pins with a mount that cannot be seen.
//!
//! The directory's own mount is made as `ip netns add` makes it: a peer of the mount that the directory is on. So a pin
//! is mounted twice, on either, and the second one is covered by the directory's own mount. As long as both are peers,
//! unmounting one takes the other along. Once somebody has made the directory's mount private, it does not; and the
//! kernel unlinks no file that something is mounted on in the caller's mount namespace, covered or not. Of one that has
//! mounts in other mount namespaces alone, it unlinks the name and takes these mounts away: unlink(2), and
//! `detach_mounts` in the kernel. So the name is removed from a copy of the mount namespace in which nothing is mounted
//! there.

use crate::error::{Error, Step};
use crate::host::enter_mount_namespace;
use crate::namespace::NamespaceId;
use crate::naming::PinName;
use crate::netns_dir::{NetnsDir, is_mount_root};
use rustix::fd::AsFd;
use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::UnshareFlags;

/// More mounts on one directory are somebody's game.
const LAYERS: usize = 8;

impl NetnsDir {
    /// Removes the pin at `name`, on which a namespace is mounted that another mount covers, if that is `id`. The
    /// calling thread leaves its mount namespace for that time.
    pub(crate) fn unpin_beneath(&self, name: &PinName, id: NamespaceId) -> Result<bool, Error> {
        let fail = || Step::RemovePin.on(self.subject(name));
        let home =
            fs::openat(CWD, "/proc/thread-self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(fail())?;
        // Whoever may not come back does not leave: pins that are made in a copy are seen by nobody.
        enter_mount_namespace(home.as_fd()).map_err(fail())?;
        leave().map_err(fail())?;
        let removed = self.uncover().map_err(fail()).and_then(|dir| dir.unpin(name, id));
        enter_mount_namespace(home.as_fd()).map_err(fail())?;
        removed
    }

    /// This directory without the mounts on it, in a mount namespace that is nobody else's.
    fn uncover(&self) -> Result<Self, Errno> {
        let identity = |dir: &Self| fs::fstat(dir.fd()).map(|stat| (stat.st_dev, stat.st_ino));
        mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
        for layer in 0..LAYERS {
            let dir = Self::open(self.path()).ok().flatten().ok_or(Errno::BUSY)?;
            // What is beneath another directory than this one is somebody else's.
            if identity(&dir)? != identity(self)? {
                break;
            }
            if !is_mount_root(dir.fd(), "").unwrap_or(false) {
                return if layer > 0 { Ok(dir) } else { Err(Errno::BUSY) };
            }
            unmount(self.path(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW)?;
        }
        Err(Errno::BUSY)
    }
}

/// Moves the calling thread into a copy of its mount namespace.
#[allow(
    deprecated,
    reason = "unshare(2) is dangerous with CLONE_FILES; without it this one is sound, and not unsafe"
)]
fn leave() -> Result<(), Errno> {
    rustix::thread::unshare(UnshareFlags::NEWNS)
}
