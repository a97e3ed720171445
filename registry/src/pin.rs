//! Pins: a network namespace mounted on a file, under a name that `ip netns` lists.
//!
//! Whose a name is, is told by the inode found there, never by the name: what is not the namespace that
//! the registry says is left alone.

use crate::error::{Error, Step};
use crate::namespace::NamespaceId;
use crate::naming::PinName;
use crate::netns_dir::NetnsDir;
use rustix::fd::{AsFd, AsRawFd, OwnedFd};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, mount_bind, unmount};

/// What is at a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing.
    Nothing,
    /// Something with this identity: a namespace if anyone mounted one.
    Inode(NamespaceId),
    /// An empty file that nothing is mounted on: a pin that lost its mount, or never got it.
    Bare,
}

impl NetnsDir {
    /// What is at `name`.
    ///
    /// # Errors
    /// What fstatat(2) says, but for ENOENT.
    pub fn look(&self, name: &PinName) -> Result<Found, Error> {
        match fs::statat(self.fd(), name.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let here = fs::fstat(self.fd()).map_err(Step::OpenNetnsDir.on(self.subject(name)))?;
                let empty =
                    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_size == 0;
                Ok(if empty && stat.st_dev == here.st_dev {
                    Found::Bare
                } else {
                    Found::Inode(NamespaceId { dev: stat.st_dev, ino: stat.st_ino })
                })
            }
            Err(Errno::NOENT) => Ok(Found::Nothing),
            Err(errno) => Err(Step::OpenNetnsDir.on(self.subject(name))(errno)),
        }
    }

    /// Mounts the namespace `netns`, whose identity is `id`, at `name`, which has to be free.
    ///
    /// # Errors
    /// When the name is taken by then, or the file or the mount cannot be made; nothing is left then.
    pub fn pin(&self, name: &PinName, netns: impl AsFd, id: NamespaceId) -> Result<(), Error> {
        let flags = OFlags::RDONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(self.fd(), name.as_str(), flags, Mode::from_raw_mode(0o444))
            .map_err(Step::CreatePin.on(self.subject(name)))?;
        // Both ends by descriptor: neither the process nor the name can be swapped between look and mount.
        let mounted =
            mount_bind(fd_path(&netns), fd_path(&file)).map_err(Step::MountPin.on(self.subject(name)));
        drop(file);
        let verified = mounted.and_then(|()| match self.look(name)? {
            Found::Inode(found) if found == id => Ok(()),
            _ => Err(Error::PinMismatch { name: self.subject(name) }),
        });
        if verified.is_err() {
            // Undoes just what this call made; what it says now would be the second error of two.
            drop(self.unpin(name, id));
        }
        verified
    }

    /// Removes the pin at `name` if it is that of `id`, or is bare. Returns whether it was.
    ///
    /// # Errors
    /// When it cannot be unmounted or unlinked.
    pub fn unpin(&self, name: &PinName, id: NamespaceId) -> Result<bool, Error> {
        let fail = || Step::RemovePin.on(self.subject(name));
        // A name may have been mounted on twice; more often than that is somebody's game.
        for _ in 0..8 {
            match self.look(name)? {
                Found::Inode(found) if found == id => {
                    unmount(self.at(name), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW).map_err(fail())?;
                }
                Found::Bare => {
                    return match fs::unlinkat(self.fd(), name.as_str(), AtFlags::empty()) {
                        // Something is mounted there still, and another mount covers it.
                        Err(Errno::BUSY) => self.unpin_beneath(name, id),
                        unlinked => unlinked.map(|()| true).map_err(fail()),
                    };
                }
                Found::Nothing | Found::Inode(_) => return Ok(false),
            }
        }
        Err(fail()(Errno::BUSY))
    }

    /// Takes hold of the mount at `name` if it is that of `id`, to unmount just this one later.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn hold(&self, name: &PinName, id: NamespaceId) -> Result<Option<HeldPin>, Error> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match fs::openat(self.fd(), name.as_str(), flags, Mode::empty()) {
            Ok(fd) if NamespaceId::of(&fd) == Ok(id) => Ok(Some(HeldPin { fd, subject: self.subject(name) })),
            Ok(_) | Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Step::RemovePin.on(self.subject(name))(errno)),
        }
    }

    /// A descriptor of the namespace at `name` if it is `id`, to pin it elsewhere.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(crate) fn open_pin(&self, name: &PinName, id: NamespaceId) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match fs::openat(self.fd(), name.as_str(), flags, Mode::empty()) {
            Ok(fd) => Ok((NamespaceId::of(&fd) == Ok(id)).then_some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Step::OpenNetnsDir.on(self.subject(name))(errno)),
        }
    }

    /// The path of the pin, as a person writes it.
    pub fn subject(&self, name: &PinName) -> String {
        self.path().join(name.as_str()).display().to_string()
    }

    fn at(&self, name: &PinName) -> String {
        format!("{}/{name}", fd_path(&self.fd()))
    }
}

/// One mount of a namespace, whatever is at its name by now.
#[derive(Debug)]
pub(crate) struct HeldPin {
    fd: OwnedFd,
    subject: String,
}

impl HeldPin {
    /// Unmounts it. Waits for an RCU grace period of the kernel, milliseconds on a busy machine: so without the lock.
    pub(crate) fn unmount(self) -> Result<(), Error> {
        match unmount(fd_path(&self.fd), UnmountFlags::DETACH) {
            // Unmounted by somebody else meanwhile.
            Ok(()) | Err(Errno::INVAL) => Ok(()),
            Err(errno) => Err(Step::RemovePin.on(self.subject)(errno)),
        }
    }
}

fn fd_path(fd: &impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}
