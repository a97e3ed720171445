//! The mount namespace every view starts from: an empty, read-only tmpfs, and a `/dev` with harmless devices. It is made
//! once per boot and pinned at `<run_dir>/view/mnt`; as it holds no mount of the host, it keeps nothing alive and ages in
//! no way.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sched::{CloneFlags, unshare};
use porthole_registry::namespace::NamespaceKind;
use rustix::fs::{CWD, Mode, mkdirat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{fchdir, pivot_root};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::devices;
use crate::exec::pinned;
use crate::sys::{self, MountAttributes};

/// The pinned namespace, made if need be; `None` when this machine cannot have one, and the host's mount table has to
/// be copied instead.
pub(super) fn open_or_make(run_dir: &Path) -> Option<OwnedFd> {
    let make = || pinned::of_a_child(NamespaceKind::Mnt, into_empty_namespace, |_| Ok(()));
    pinned::open_or_make(run_dir, "mnt", make).ok()
}

/// Enters it, and gets a copy of its own.
pub(super) fn enter(base: &OwnedFd) -> io::Result<()> {
    move_into_link_name_space(base.as_fd(), Some(LinkNameSpaceType::Mount))?;
    Ok(unshare(CloneFlags::CLONE_NEWNS)?)
}

/// A `/dev` for a view that was entered from `base`, mounted nowhere yet.
pub(super) fn devices(base: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match base.map(|_| open_tree(CWD, "/dev", flags)) {
        Some(Ok(devices)) => Ok(devices),
        // A base that an older porthole made has none.
        Some(Err(Errno::NOENT)) | None => devices::devices(),
        Some(Err(error)) => Err(error.into()),
    }
}

/// The way without it: a copy of the host's mount table, nothing of which propagates.
pub(super) fn copy_of_the_hosts(propagation: MountPropagationFlags) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount_change("/", propagation | MountPropagationFlags::REC)?)
}

fn into_empty_namespace() -> io::Result<()> {
    copy_of_the_hosts(MountPropagationFlags::PRIVATE)?;
    let root = tmpfs("0755", "4k", MountAttrFlags::MOUNT_ATTR_NODEV)?;
    mkdirat(&root, "dev", Mode::from_raw_mode(0o755))?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&devices::devices()?, "", &root, "dev", onto)?;
    read_only(root.as_fd())?;
    move_mount(&root, "", CWD, "/", onto)?;
    fchdir(&root)?;
    pivot_root(".", ".")?;
    // What was the root now lies over the new one: with it go all mounts of the host.
    Ok(unmount(".", UnmountFlags::DETACH)?)
}

/// No file in it is written to from now on; devices are, as ever.
pub(super) fn read_only(tree: BorrowedFd<'_>) -> io::Result<()> {
    let set = libc::MOUNT_ATTR_RDONLY;
    sys::mount_setattr(tree, MountAttributes { set, ..MountAttributes::default() })
}

/// A new tmpfs, mounted nowhere yet.
pub(super) fn tmpfs(mode: &str, size: &str, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "mode", mode)?;
    fsconfig_set_string(&fs, "size", size)?;
    fsconfig_set_string(&fs, "source", "porthole")?;
    fsconfig_create(&fs)?;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_NOSUID | attributes)?)
}
