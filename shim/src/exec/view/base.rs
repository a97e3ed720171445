//! The mount namespace every view starts from: an empty, read-only tmpfs and nothing else. It is made once per boot and
//! pinned at `<run_dir>/view/mnt`; as it holds no mount of the host, it keeps nothing alive and ages in no way.

use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use porthole_registry::deadline::Deadline;
use porthole_registry::store::Store;
use rustix::fs::{CWD, Mode, OFlags, fstatfs, open, openat};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen, mount_change, move_mount, open_tree,
    unmount,
};
use rustix::process::{WaitOptions, fchdir, pivot_root, waitpid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::sys::{self, Fork, MountAttributes};

const NSFS_MAGIC: i64 = 0x6e73_6673;
/// How long it waits for the registry's lock. Whoever holds it longer costs this command a copy of the mount table.
const PATIENCE: Duration = Duration::from_millis(500);

/// The pinned namespace, made if need be; `None` when this machine cannot have one, and the host's mount table has to
/// be copied instead.
pub(super) fn open_or_make(run_dir: &Path) -> Option<OwnedFd> {
    let pin = run_dir.join("view/mnt");
    if let Some(base) = open_pin(&pin) {
        return Some(base);
    }
    make(run_dir, &pin).ok()?;
    open_pin(&pin)
}

/// Enters it, and gets a copy of its own.
pub(super) fn enter(base: &OwnedFd) -> io::Result<()> {
    move_into_link_name_space(base.as_fd(), Some(LinkNameSpaceType::Mount))?;
    Ok(unshare(CloneFlags::CLONE_NEWNS)?)
}

/// The way without it: a copy of the host's mount table, nothing of which propagates.
pub(super) fn copy_of_the_hosts(propagation: MountPropagationFlags) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    Ok(mount_change("/", propagation | MountPropagationFlags::REC)?)
}

fn open_pin(pin: &Path) -> Option<OwnedFd> {
    let file = open(pin, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    // That it is a mount namespace, setns checks.
    (fstatfs(&file).ok()?.f_type == NSFS_MAGIC).then_some(file)
}

fn make(run_dir: &Path, pin: &Path) -> io::Result<()> {
    let view = run_dir.join("view");
    let locked = Store::create(run_dir).and_then(|store| store.lock(Deadline::after(PATIENCE)));
    let _lock = locked.map_err(io::Error::other)?;
    if open_pin(pin).is_some() {
        return Ok(());
    }
    match DirBuilder::new().mode(0o700).create(&view) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    // A mount namespace can be pinned only where mounts do not propagate.
    if !super::is_mount_point(&view) {
        let own = open_tree(CWD, &view, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        let private = MountAttributes { propagation: libc::MS_PRIVATE, ..MountAttributes::default() };
        sys::mount_setattr(own.as_fd(), private)?;
        move_mount(&own, "", CWD, &view, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        sys::mount_setattr(own.as_fd(), private)?;
    }
    let file_flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = open(pin, file_flags, Mode::from_raw_mode(0o400))?;
    let namespace = empty_namespace()?;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&namespace, "", flags)?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(&tree, "", &file, "", onto)?)
}

/// A child makes it, and lives until its namespace has been opened from here.
fn empty_namespace() -> io::Result<OwnedFd> {
    let (mut ready, made) = io::pipe()?;
    let (release, hold) = io::pipe()?;
    match sys::fork()? {
        Fork::Child => {
            drop((ready, hold));
            let done = into_empty_namespace().and_then(|()| (&made).write_all(b"y"));
            // End of file comes when the parent has closed its end, one way or the other.
            let waited = (&release).read_to_end(&mut Vec::new());
            sys::exit_now(u8::from(done.and(waited.map(drop)).is_err()))
        }
        Fork::Parent(child) => {
            drop((made, release));
            let mut answer = Vec::new();
            let namespace = match (&mut ready).take(1).read_to_end(&mut answer) {
                Ok(1) => {
                    let path = format!("/proc/{}/ns/mnt", child.as_raw_nonzero());
                    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(Into::into)
                }
                Ok(_) => Err(io::Error::other("the empty mount namespace could not be made")),
                Err(error) => Err(error),
            };
            drop(hold);
            waitpid(Some(child), WaitOptions::empty())?;
            namespace
        }
    }
}

fn into_empty_namespace() -> io::Result<()> {
    copy_of_the_hosts(MountPropagationFlags::PRIVATE)?;
    let root = tmpfs("0755", "4k", MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    move_mount(&root, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    fchdir(&root)?;
    pivot_root(".", ".")?;
    // What was the root now lies over the new one: with it go all mounts of the host.
    Ok(unmount(".", UnmountFlags::DETACH)?)
}

/// A new tmpfs, mounted nowhere yet.
pub(super) fn tmpfs(mode: &str, size: &str, attributes: MountAttrFlags) -> io::Result<OwnedFd> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&fs, "mode", mode)?;
    fsconfig_set_string(&fs, "size", size)?;
    fsconfig_set_string(&fs, "source", "porthole")?;
    fsconfig_create(&fs)?;
    let always = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, always | attributes)?)
}
