//! Putting a view together, in the process that confines.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstat, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsmount, fsopen, move_mount, open_tree,
};
use rustix::process::{chroot, fchdir};

use super::own::{self, Own};
use super::{Contents, Root, Tree, View, base, devices, procfs};
use crate::exec::TargetProcess;
use crate::exec::error::{ExecError, Step};
use crate::exec::places::OpenedDirectory;
use crate::sys::{self, MountAttributes};

/// The objects that a view is put together from, opened when the plan was made.
pub(crate) struct Places<'a> {
    /// Where the empty mount namespace is pinned.
    pub(crate) run_dir: &'a Path,
    /// The process that the procfs is of.
    pub(crate) process: Option<&'a TargetProcess>,
    /// The directory that the command starts in, if it is in the view.
    pub(crate) start: Option<&'a OpenedDirectory>,
    /// Directories that the command may write to.
    pub(crate) writable: &'a [OpenedDirectory],
    /// The devpts that its terminal is on, if it has one.
    pub(crate) devpts: Option<BorrowedFd<'a>>,
}

impl Places<'_> {
    /// The directory at `path` that was opened, if one was.
    fn opened(&self, path: &Path) -> Option<&OpenedDirectory> {
        self.writable.iter().chain(self.start).find(|opened| opened.path == path)
    }

    /// Where `/` is the view's.
    fn change_to_start(&self) -> Result<(), ExecError> {
        let path = self.start.map_or(Path::new("/"), |start| &start.path);
        let failed = |error: Errno| Step::WorkingDirectory.failed(path.display().to_string())(error);
        let place = found(path).map_err(failed)?;
        if let Some(start) = self.start {
            start.is_still_at(&place)?;
        }
        fchdir(&place).map_err(failed)
    }
}

/// Leaves the host's mount namespace for the view. The command starts where `places` say.
pub(crate) fn assemble(view: &View, places: &Places<'_>) -> Result<(), ExecError> {
    match view {
        View::Entered => Ok(()),
        View::Confined(contents) => confined(contents, places),
        View::Host(contents) => host(contents, places),
    }
}

fn confined(contents: &Contents, places: &Places<'_>) -> Result<(), ExecError> {
    let base = base::open_or_make(places.run_dir);
    let mut trees = Vec::with_capacity(contents.trees.len());
    for tree in &contents.trees {
        // A directory that was opened is taken from its descriptor: its path may lead elsewhere by now.
        let opened = if tree.found { places.opened(&tree.path).filter(|_| tree.writable) } else { None };
        trees.push((detach(tree, opened).map_err(failed(&tree.path))?, tree, opened));
    }
    let procfs = match places.process {
        Some(process) if contents.procfs => Some(procfs::of_target(process)?),
        _ => None,
    };
    let new_devpts =
        if places.devpts.is_some() { None } else { Some(devices::devpts().map_err(failed("/dev/pts"))?) };
    match &base {
        Some(base) => base::enter(base).map_err(failed("the empty mount namespace"))?,
        None => {
            base::copy_of_the_hosts(MountPropagationFlags::PRIVATE)
                .map_err(failed("a copy of the host's"))?;
        }
    }
    let small_dev = base::devices(base.as_ref()).map_err(failed("/dev"))?;
    let mut trees = trees.into_iter();
    let root = match contents.root {
        Root::Empty => own::empty_root(contents).map_err(failed("/"))?,
        Root::Host => match trees.next() {
            Some((root, ..)) => root,
            None => return Err(Step::View.refused("a view without a root", "")),
        },
    };
    // Over the namespace's root, where chroot is not a prison but the root as setns would find it.
    attach(root.as_fd(), "/").map_err(failed("/"))?;
    fchdir(&root).map_err(failed("/"))?;
    chroot(".").map_err(failed("/"))?;
    let own = Own::start(contents).map_err(failed("/run"))?;
    own.attach("/run").map_err(failed("/run"))?;
    attach(small_dev.as_fd(), "/dev").map_err(failed("/dev"))?;
    if let Some(devpts) = places.devpts.or(new_devpts.as_ref().map(AsFd::as_fd)) {
        base::read_only(devpts).and_then(|()| attach(devpts, "/dev/pts")).map_err(failed("/dev/pts"))?;
    }
    if contents.root == Root::Empty {
        own::tmp().and_then(|tmp| attach(tmp.as_fd(), "/tmp")).map_err(failed("/tmp"))?;
    }
    for (tree, at, opened) in trees {
        match opened {
            Some(opened) if contents.root == Root::Host => {
                let place = found(&at.path).map_err(failed(&at.path))?;
                opened.is_still_at(&place)?;
                attach_to(tree.as_fd(), place.as_fd())
            }
            _ if at.found => attach_found(tree.as_fd(), &at.path),
            _ => attach(tree.as_fd(), &at.path),
        }
        .map_err(failed(&at.path))?;
    }
    if let Some(procfs) = procfs {
        attach(procfs.as_fd(), "/proc").map_err(failed("/proc"))?;
    }
    sysfs(contents, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    match (contents.root, contents.etc_merged) {
        (Root::Empty, _) => {}
        (Root::Host, true) => Own::merge_etc()?,
        (Root::Host, false) => own.overlay_etc(&contents.dns.overlays)?,
    }
    // After all else: the working directory's tree may have them too, and an overlay shows what is below mounts.
    own.hide(&contents.hidden)?;
    if contents.root == Root::Empty {
        own.cover().map_err(failed("/run"))?;
    }
    places.change_to_start()
}

fn host(contents: &Contents, places: &Places<'_>) -> Result<(), ExecError> {
    base::copy_of_the_hosts(MountPropagationFlags::DOWNSTREAM).map_err(failed("a copy of the host's"))?;
    if contents.sysfs {
        // The files lie where the fresh sysfs will cover them.
        let own = Own::start(contents).map_err(failed("/sys"))?;
        own.attach("/sys").map_err(failed("/sys"))?;
        own.overlay_etc(&contents.dns.overlays)?;
    }
    sysfs(contents, MountAttrFlags::empty())?;
    places.change_to_start()
}

/// A sysfs shows the network namespace that it is mounted from.
fn sysfs(contents: &Contents, also: MountAttrFlags) -> Result<(), ExecError> {
    if !contents.sysfs {
        return Ok(());
    }
    let hardened = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let mount = || -> io::Result<()> {
        let fs = fsopen("sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&fs)?;
        let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, hardened | also)?;
        attach(mount.as_fd(), "/sys")
    };
    mount().map_err(failed("/sys"))
}

/// A clone of one mount, without those below it, in no namespace and with nothing to propagate to.
fn detach(tree: &Tree, opened: Option<&OpenedDirectory>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let here = flags | OpenTreeFlags::AT_EMPTY_PATH;
    let clone = match opened {
        Some(opened) => open_tree(&opened.fd, "", here)?,
        None if tree.found => open_tree(found(&tree.path)?, "", here)?,
        None => open_tree(CWD, &tree.path, flags | OpenTreeFlags::AT_SYMLINK_NOFOLLOW)?,
    };
    let mut set = libc::MOUNT_ATTR_NOSUID;
    set |= if tree.devices { 0 } else { libc::MOUNT_ATTR_NODEV };
    set |= if tree.writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    sys::mount_setattr(
        clone.as_fd(),
        MountAttributes { set, propagation: libc::MS_PRIVATE, recursive: false },
    )?;
    Ok(clone)
}

/// Opens a path that other users may change: no link is followed.
fn found(path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Mounts a detached tree where only root writes, a last link not followed: what is a link on the host is covered,
/// wherever it leads.
pub(super) fn attach(tree: BorrowedFd<'_>, at: impl AsRef<Path>) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, at.as_ref(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

/// Mounts a detached tree at a path that other users may change.
pub(super) fn attach_found(tree: BorrowedFd<'_>, at: &Path) -> io::Result<()> {
    attach_to(tree, found(at)?.as_fd())
}

fn attach_to(tree: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    Ok(move_mount(tree, "", place, "", flags)?)
}

pub(super) fn failed<E: Into<io::Error>>(subject: impl AsRef<Path>) -> impl FnOnce(E) -> ExecError {
    Step::View.failed(subject.as_ref().display().to_string())
}

impl OpenedDirectory {
    /// Refuses a place that is another directory than the one that was opened: the path leads elsewhere by now.
    fn is_still_at(&self, place: &OwnedFd) -> Result<(), ExecError> {
        let failed = || Step::WorkingDirectory.failed(self.path.display().to_string());
        let (is, was) = (fstat(place).map_err(failed())?, fstat(&self.fd).map_err(failed())?);
        if (is.st_dev, is.st_ino) == (was.st_dev, was.st_ino) {
            return Ok(());
        }
        Err(Step::WorkingDirectory.refused(
            format!("{} is another directory than when porthole opened it", self.path.display()),
            "change to the directory again, and see who moves it",
        ))
    }
}
