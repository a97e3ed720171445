//! Putting a view together, in the process that will become the command.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    fsconfig_create, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
};
use rustix::process::{chroot, fchdir};

use super::{Contents, Hide, Tree, View, base};
use crate::exec::dns::Overlay;
use crate::exec::error::{ExecError, Step};
use crate::sys::{self, MountAttributes};

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Where a view keeps the files it adds.
const KEPT: &str = ".porthole";
/// What lies over a hidden directory.
const NO_FILES: &str = "none";
/// What lies over anything else.
const NO_CONTENT: &str = "empty";

/// The directory the command starts in: as it was opened on the host, and where it is.
pub(crate) struct Start<'a> {
    pub(crate) opened: BorrowedFd<'a>,
    pub(crate) path: &'a Path,
}

impl Start<'_> {
    /// By path: the tree it is on in the view is another than the one it was opened on. A path from the kernel has no
    /// links; one that has some by now is not the same directory.
    fn change_to(&self) -> Result<(), ExecError> {
        let failed = |error: Errno| Step::WorkingDirectory.failed(self.path.display().to_string())(error);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            openat2(CWD, self.path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS).map_err(failed)?;
        fchdir(&directory).map_err(failed)
    }
}

/// Leaves the host's mount namespace for the view. The command starts in `working_directory`.
pub(crate) fn assemble(view: &View, run_dir: &Path, working_directory: &Start<'_>) -> Result<(), ExecError> {
    match view {
        View::Entered => Ok(()),
        View::Confined(contents) => confined(contents, run_dir, working_directory),
        View::Host(contents) => host(contents, working_directory),
    }
}

fn confined(contents: &Contents, run_dir: &Path, working_directory: &Start<'_>) -> Result<(), ExecError> {
    let base = base::open_or_make(run_dir);
    let mut trees = Vec::with_capacity(contents.trees.len());
    for (index, tree) in contents.trees.iter().enumerate() {
        // The working directory, last if it is there, is taken from its descriptor: its path may lead elsewhere by now.
        let from = (index + 1 == contents.trees.len() && tree.path == working_directory.path)
            .then_some(working_directory.opened);
        trees.push((detach(tree, from).map_err(failed(&tree.path))?, tree));
    }
    let devices = if contents.small_dev { device_files().map_err(failed("/dev"))? } else { Vec::new() };
    match &base {
        Some(base) => base::enter(base).map_err(failed("the empty mount namespace"))?,
        None => {
            base::copy_of_the_hosts(MountPropagationFlags::PRIVATE)
                .map_err(failed("a copy of the host's"))?;
        }
    }
    let mut trees = trees.into_iter();
    let Some((root, _)) = trees.next() else {
        return Err(Step::View.refused("a view without a root", ""));
    };
    // Over the namespace's root, where chroot is not a prison but the root as setns would find it.
    attach(root.as_fd(), "/").map_err(failed("/"))?;
    fchdir(&root).map_err(failed("/"))?;
    chroot(".").map_err(failed("/"))?;
    let own = Own::start(contents, &devices).map_err(failed("/run"))?;
    attach(own.tree.as_fd(), "/run").map_err(failed("/run"))?;
    if contents.small_dev {
        attach_part(&own, "dev", "/dev").map_err(failed("/dev"))?;
        for (name, device) in DEVICES.iter().zip(&devices) {
            attach(device.as_fd(), format!("/dev/{name}")).map_err(failed(format!("/dev/{name}")))?;
        }
    }
    let mut last = None;
    for (tree, at) in trees {
        attach(tree.as_fd(), &at.path).map_err(failed(&at.path))?;
        last = Some((tree, at));
    }
    fresh(contents, MountAttrFlags::MOUNT_ATTR_RDONLY)?;
    if contents.etc_merged {
        Own::merge_etc()?;
    } else {
        own.overlay_etc(&contents.dns.overlays)?;
    }
    // After all else: the working directory's tree may have them too, and an overlay shows what is below mounts.
    own.hide(&contents.hidden)?;
    match last {
        Some((tree, at)) if at.path == working_directory.path => {
            fchdir(&tree).map_err(Step::WorkingDirectory.failed(at.path.display().to_string()))
        }
        _ => working_directory.change_to(),
    }
}

fn host(contents: &Contents, working_directory: &Start<'_>) -> Result<(), ExecError> {
    base::copy_of_the_hosts(MountPropagationFlags::DOWNSTREAM).map_err(failed("a copy of the host's"))?;
    // The files lie where the fresh sysfs will cover them.
    let own = Own::start(contents, &[]).map_err(failed("/sys"))?;
    attach(own.tree.as_fd(), "/sys").map_err(failed("/sys"))?;
    own.overlay_etc(&contents.dns.overlays)?;
    fresh(contents, MountAttrFlags::empty())?;
    working_directory.change_to()
}

/// The file systems that show the namespaces they are mounted from.
fn fresh(contents: &Contents, also: MountAttrFlags) -> Result<(), ExecError> {
    let hardened = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    for (wanted, kind, at) in [(contents.sysfs, "sysfs", "/sys"), (contents.procfs, "proc", "/proc")] {
        if wanted {
            let mount = || -> io::Result<()> {
                let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
                fsconfig_create(&fs)?;
                let mount = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, hardened | also)?;
                attach(mount.as_fd(), at)
            };
            mount().map_err(failed(at))?;
        }
    }
    Ok(())
}

/// A clone of one mount, without those below it, in no namespace and with nothing to propagate to.
fn detach(tree: &Tree, from: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let clone = match from {
        Some(directory) => open_tree(directory, "", flags | OpenTreeFlags::AT_EMPTY_PATH)?,
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

fn device_files() -> io::Result<Vec<OwnedFd>> {
    let device = |name| Tree { path: Path::new("/dev").join(name), writable: false, devices: true };
    DEVICES.iter().map(|name| detach(&device(name), None)).collect()
}

/// Mounts a detached tree, a last link not followed: what is a link on the host is covered, wherever it leads.
fn attach(tree: BorrowedFd<'_>, at: impl AsRef<Path>) -> io::Result<()> {
    Ok(move_mount(tree, "", CWD, at.as_ref(), MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}

fn attach_part(own: &Own, part: &str, at: impl AsRef<Path>) -> io::Result<()> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = open_tree(&own.tree, format!("{KEPT}/{part}"), flags)?;
    attach(tree.as_fd(), at)
}

/// The tmpfs with what is neither the host's nor the target's.
struct Own {
    tree: OwnedFd,
}

impl Own {
    /// Makes and fills it; from then on it is read-only.
    fn start(contents: &Contents, devices: &[OwnedFd]) -> io::Result<Self> {
        let tree = base::tmpfs("0755", "8m", MountAttrFlags::MOUNT_ATTR_NOEXEC)?;
        let mode = Mode::from_raw_mode(0o755);
        mkdirat(&tree, KEPT, mode)?;
        mkdirat(&tree, format!("{KEPT}/etc"), mode)?;
        mkdirat(&tree, "lock", mode)?;
        if contents.hidden.iter().any(|hide| hide.directory) {
            mkdirat(&tree, format!("{KEPT}/{NO_FILES}"), mode)?;
        }
        if contents.hidden.iter().any(|hide| !hide.directory) {
            create(&tree, &format!("{KEPT}/{NO_CONTENT}"), b"")?;
        }
        for Overlay { name, content, .. } in &contents.dns.overlays {
            create(&tree, &format!("{KEPT}/etc/{name}"), content)?;
        }
        if !devices.is_empty() {
            mkdirat(&tree, format!("{KEPT}/dev"), mode)?;
            for directory in ["pts", "shm", "mqueue"] {
                mkdirat(&tree, format!("{KEPT}/dev/{directory}"), mode)?;
            }
            for name in DEVICES {
                create(&tree, &format!("{KEPT}/dev/{name}"), b"")?;
            }
            let links = [
                ("fd", "/proc/self/fd"),
                ("stdin", "/proc/self/fd/0"),
                ("stdout", "/proc/self/fd/1"),
                ("stderr", "/proc/self/fd/2"),
                ("ptmx", "pts/ptmx"),
            ];
            for (name, to) in links {
                symlinkat(to, &tree, format!("{KEPT}/dev/{name}"))?;
            }
        }
        let set = libc::MOUNT_ATTR_RDONLY;
        sys::mount_setattr(tree.as_fd(), MountAttributes { set, ..MountAttributes::default() })?;
        Ok(Self { tree })
    }

    /// Covers what is not to be seen.
    fn hide(&self, hidden: &[Hide]) -> Result<(), ExecError> {
        for Hide { path, directory } in hidden {
            match attach_part(self, if *directory { NO_FILES } else { NO_CONTENT }, path) {
                // It is on a mount that is not in the view.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                done => done.map_err(failed(path))?,
            }
        }
        Ok(())
    }

    /// File over file: the host's others stay as they are, and are read where they are.
    fn overlay_etc(&self, overlays: &[Overlay]) -> Result<(), ExecError> {
        for Overlay { name, .. } in overlays {
            let at = format!("/etc/{name}");
            match attach_part(self, &format!("etc/{name}"), &at) {
                Ok(()) => {}
                // Where the host's own mounts are shown as they are, nothing is added to them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(at)(error)),
            }
        }
        Ok(())
    }

    /// Directory over directory: the only way to a file that the host does not have.
    fn merge_etc() -> Result<(), ExecError> {
        let merge = || -> io::Result<()> {
            let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_set_string(&fs, "source", "porthole")?;
            fsconfig_set_string(&fs, "lowerdir", format!("/run/{KEPT}/etc:/etc"))?;
            fsconfig_create(&fs)?;
            let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
                | MountAttrFlags::MOUNT_ATTR_NOSUID
                | MountAttrFlags::MOUNT_ATTR_NODEV;
            attach(fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?.as_fd(), "/etc")
        };
        merge().map_err(failed("an overlay of /etc"))
    }
}

fn create(tree: &OwnedFd, path: &str, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(tree, path, flags, Mode::from_raw_mode(0o644))?;
    File::from(file).write_all(content)
}

fn failed<E: Into<io::Error>>(subject: impl AsRef<Path>) -> impl FnOnce(E) -> ExecError {
    Step::View.failed(subject.as_ref().display().to_string())
}
