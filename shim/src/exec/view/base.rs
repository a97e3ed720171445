//! The mount namespace every view starts from: an empty, read-only tmpfs, and a `/dev` with harmless devices. It is made
//! once per boot and pinned at `<run_dir>/view/mnt`; as it holds no mount of the host, it keeps nothing alive and ages in
//! no way.

use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use porthole_registry::deadline::Deadline;
use porthole_registry::store::Store;
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, chmodat, fstatfs, makedev, mkdirat, mknodat, open, openat,
    symlinkat,
};
use rustix::io::Errno;
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

/// A `/dev` for a view that was entered from `base`, mounted nowhere yet.
pub(super) fn devices(base: Option<&OwnedFd>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match base.map(|_| open_tree(CWD, "/dev", flags)) {
        Some(Ok(devices)) => Ok(devices),
        // A base that an older porthole made has none.
        Some(Err(Errno::NOENT)) | None => new_devices(),
        Some(Err(error)) => Err(error.into()),
    }
}

/// A devpts of its own, mounted nowhere yet: the terminals of others are not in it.
pub(crate) fn devpts() -> io::Result<OwnedFd> {
    let fs = fsopen("devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (name, value) in [("ptmxmode", "0666"), ("mode", "0620")] {
        fsconfig_set_string(&fs, name, value)?;
    }
    fsconfig_create(&fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
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
    let nodev = MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = tmpfs("0755", "4k", nodev)?;
    mkdirat(&root, "dev", Mode::from_raw_mode(0o755))?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&new_devices()?, "", &root, "dev", onto)?;
    read_only(root.as_fd())?;
    move_mount(&root, "", CWD, "/", onto)?;
    fchdir(&root)?;
    pivot_root(".", ".")?;
    // What was the root now lies over the new one: with it go all mounts of the host.
    Ok(unmount(".", UnmountFlags::DETACH)?)
}

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

fn new_devices() -> io::Result<OwnedFd> {
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
