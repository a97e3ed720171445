//! The procfs of the target's pid namespace, without a process in it.
//!
//! A process that mounts a procfs from inside has CAP_SYS_ADMIN there, and a container with CAP_SYS_PTRACE takes it over.
//! Two ways need none: `fsconfig` names the pid namespace to a new procfs (Linux 6.17); or the mount on the target's own
//! `/proc` is cloned by a process that joins the target's mount namespace and stays out of its pid namespace. Where
//! neither works the command is refused.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use porthole_registry::namespace::NamespaceId;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, PROC_SUPER_MAGIC, StatxAttributes, StatxFlags, fstatfs, openat, statat, statx,
};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_fd, fsmount,
    fsopen, open_tree,
};
use rustix::thread::{
    LinkNameSpaceType, ThreadNameSpaceType, move_into_link_name_space, move_into_thread_name_spaces,
};

use crate::exec::TargetProcess;
use crate::exec::error::{ExecError, Step};
use crate::sys::{self, MountAttributes};

/// The root of every procfs.
const ROOT_INODE: u64 = 1;

/// A mount of it, in no namespace yet, read-only. For a process with one thread, in the host's mount namespace.
pub(super) fn of_target(process: &TargetProcess) -> Result<OwnedFd, ExecError> {
    let pidns = openat(&process.proc_dir, "ns/pid", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(Step::View.failed(format!("pid namespace of process {}", process.pid)))?;
    let mount = match new(&pidns) {
        // The answer of a kernel that does not know the option.
        Err(Errno::INVAL) => {
            clone_of_the_targets(process).map_err(Step::View.failed("/proc of the target"))?
        }
        made => made.map_err(Step::View.failed("a procfs of the target's pid namespace"))?,
    };
    if !shows(&mount, &pidns).map_err(Step::View.failed("/proc of the target"))? {
        return Err(Step::View.refused(
            format!("what process {} has at /proc is not the procfs of its pid namespace", process.pid),
            "leave out -p, join the mount namespace too (-m), or use Linux 6.17 or later, which needs no /proc of the target's",
        ));
    }
    Ok(mount)
}

fn new(pidns: &OwnedFd) -> Result<OwnedFd, Errno> {
    let fs = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_fd(&fs, "pidns", pidns)?;
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC
        | MountAttrFlags::MOUNT_ATTR_RDONLY;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Not what is mounted on it: a container's masks stay behind, and no link is followed.
fn clone_of_the_targets(process: &TargetProcess) -> io::Result<OwnedFd> {
    let own = openat(CWD, "/proc/self/ns/mnt", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    move_into_thread_name_spaces(process.pidfd.as_fd(), ThreadNameSpaceType::MOUNT)?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_NO_AUTOMOUNT;
    let mount = open_tree(CWD, "/proc", flags);
    move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Mount))?;
    let mount = mount?;
    let set =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    sys::mount_setattr(
        mount.as_fd(),
        MountAttributes { set, propagation: libc::MS_PRIVATE, recursive: false },
    )?;
    Ok(mount)
}

/// Whether it is the root of a procfs, and that of this pid namespace: its first process is in no other.
fn shows(mount: &OwnedFd, pidns: &OwnedFd) -> Result<bool, Errno> {
    let stat = statx(mount, "", AtFlags::EMPTY_PATH, StatxFlags::INO)?;
    let is_root = stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) && stat.stx_ino == ROOT_INODE;
    if !is_root || fstatfs(mount)?.f_type != PROC_SUPER_MAGIC {
        return Ok(false);
    }
    let first = statat(mount, "1/ns/pid", AtFlags::empty())?;
    let wanted = NamespaceId::of(pidns)?;
    Ok(first.st_ino == wanted.ino && first.st_dev == wanted.dev)
}
