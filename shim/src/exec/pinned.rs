//! Namespaces of porthole's own that exec needs again and again: made once per boot, and pinned below `<run_dir>/view`,
//! which nobody but root looks into.

use std::fs::DirBuilder;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::time::Duration;

use porthole_registry::deadline::Deadline;
use porthole_registry::namespace::NamespaceKind;
use porthole_registry::store::Store;
use rustix::fs::{CWD, Mode, OFlags, open, openat};
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::{Pid, WaitOptions, waitpid};

use super::view::is_mount_point;
use crate::netns::is_nsfs;
use crate::sys::{self, Fork, MountAttributes};

/// How long it waits for the registry's lock.
const PATIENCE: Duration = Duration::from_millis(500);

/// The namespace pinned as `name`; `make` makes it where there is none.
///
/// # Errors
/// Where this machine cannot have one, or the lock is another's for too long.
pub(super) fn open_or_make(
    run_dir: &Path,
    name: &str,
    make: impl FnOnce() -> io::Result<OwnedFd>,
) -> io::Result<OwnedFd> {
    let directory = run_dir.join("view");
    let pin = directory.join(name);
    if let Some(namespace) = open_pin(&pin) {
        return Ok(namespace);
    }
    let locked = Store::create(run_dir).and_then(|store| store.lock(Deadline::after(PATIENCE)));
    let _lock = locked.map_err(io::Error::other)?;
    if let Some(namespace) = open_pin(&pin) {
        return Ok(namespace);
    }
    private(&directory)?;
    let file_flags = OFlags::RDONLY | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = open(&pin, file_flags, Mode::from_raw_mode(0o400))?;
    let namespace = make()?;
    let flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(&namespace, "", flags)?;
    let onto = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(&tree, "", &file, "", onto)?;
    open_pin(&pin).ok_or_else(|| io::Error::other("the pin is not there after it was made"))
}

fn open_pin(pin: &Path) -> Option<OwnedFd> {
    let file = open(pin, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty()).ok()?;
    // That it is of the right kind, setns checks.
    is_nsfs(&file).ok()?.then_some(file)
}

/// A mount namespace can be pinned only where mounts do not propagate.
fn private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if is_mount_point(directory) {
        return Ok(());
    }
    let own = open_tree(CWD, directory, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
    let private = MountAttributes { propagation: libc::MS_PRIVATE, ..MountAttributes::default() };
    sys::mount_setattr(own.as_fd(), private)?;
    move_mount(&own, "", CWD, directory, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
    sys::mount_setattr(own.as_fd(), private)
}

/// A namespace that a child enters by `child`, and that `parent` then finishes from here. The child lives until then.
pub(super) fn of_a_child(
    kind: NamespaceKind,
    child: impl FnOnce() -> io::Result<()>,
    parent: impl FnOnce(Pid) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let (mut ready, made) = io::pipe()?;
    let (release, hold) = io::pipe()?;
    match sys::fork()? {
        Fork::Child => {
            drop((ready, hold));
            let done = child().and_then(|()| (&made).write_all(b"y"));
            // Closed, it tells the parent that there is no namespace; the parent's end tells this process that it may go.
            drop(made);
            let waited = (&release).read_to_end(&mut Vec::new());
            sys::exit_now(u8::from(done.and(waited.map(drop)).is_err()))
        }
        Fork::Parent(child) => {
            drop((made, release));
            let mut answer = Vec::new();
            let namespace = match (&mut ready).take(1).read_to_end(&mut answer) {
                Ok(1) => parent(child).and_then(|()| {
                    let path = format!("/proc/{}/ns/{}", child.as_raw_nonzero(), kind.proc_name());
                    Ok(openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
                }),
                Ok(_) => Err(io::Error::other(format!("the {kind} namespace could not be made"))),
                Err(error) => Err(error),
            };
            drop(hold);
            waitpid(Some(child), WaitOptions::empty())?;
            namespace
        }
    }
}
