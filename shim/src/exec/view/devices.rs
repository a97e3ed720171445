//! A `/dev` with harmless devices, and terminals of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, chmodat, makedev, mkdirat, mknodat, symlinkat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
};

use super::base::{read_only, tmpfs};

/// Devices that everybody may use, as devices(7) numbers them.
const DEVICES: [(&str, u32, u32); 6] =
    [("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0)];
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// How many a command has at once. All instances share the kernel's number of them (4096), and one that is made in the
/// host's first mount namespace may use those too that are kept for the host.
const TERMINALS: &str = "64";

/// Made anew, mounted nowhere yet.
pub(super) fn devices() -> io::Result<OwnedFd> {
    let tree = tmpfs("0755", "64k", MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
    for (name, major, minor) in DEVICES {
        mknodat(&tree, name, FileType::CharacterDevice, Mode::from_raw_mode(0o666), makedev(major, minor))?;
        // Whatever the umask is.
        chmodat(&tree, name, Mode::from_raw_mode(0o666), AtFlags::empty())?;
    }
    for directory in ["pts", "shm", "mqueue"] {
        mkdirat(&tree, directory, Mode::from_raw_mode(0o755))?;
    }
    for (name, to) in LINKS {
        symlinkat(to, &tree, name)?;
    }
    read_only(tree.as_fd())?;
    Ok(tree)
}

/// A devpts of its own, mounted nowhere yet: the terminals of others are not in it.
pub(crate) fn devpts() -> io::Result<OwnedFd> {
    let fs = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in [("ptmxmode", "0666"), ("mode", "0620"), ("max", TERMINALS)] {
        fsconfig_set_string(&fs, name, value)?;
    }
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}
