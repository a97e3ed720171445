//! The file systems of a view that are neither the host's nor the target's.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{Mode, OFlags, mkdirat, openat, symlinkat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen, open_tree,
};

use super::assemble::{attach, attach_found, failed};
use super::{Contents, Hide, Root, base};
use crate::exec::dns::Overlay;
use crate::exec::error::ExecError;

/// Where a view keeps the files it adds.
const KEPT: &str = ".porthole";
/// The cover of a hidden directory.
const NO_FILES: &str = "none";
/// The cover of anything else.
const NO_CONTENT: &str = "empty";
/// The file in `/run` that iptables-legacy opens and locks. Each command has its own: others could hold a shared one for ever.
const XTABLES_LOCK: &str = "xtables.lock";
/// Places for mounts in an empty root.
const POINTS: [&str; 5] = ["/proc", "/sys", "/dev", "/run", "/tmp"];
const MODE: Mode = Mode::from_raw_mode(0o755);

/// An empty root: directories and files to mount the trees on, links, and the files that `/etc` gets.
pub(super) fn empty_root(contents: &Contents) -> io::Result<OwnedFd> {
    let nodev = MountAttrFlags::MOUNT_ATTR_NODEV;
    let root = base::tmpfs("0755", "8m", nodev)?;
    for point in POINTS {
        directories(&root, Path::new(point))?;
    }
    let tops = contents.trees.iter().filter(|tree| !contents.is_below_another(&tree.path));
    for tree in tops {
        if tree.directory {
            directories(&root, &tree.path)?;
        } else {
            parents(&root, &tree.path)?;
            create(&root, relative(&tree.path), b"")?;
        }
    }
    for link in &contents.links {
        parents(&root, &link.path)?;
        symlinkat(&link.to, &root, relative(&link.path))?;
    }
    directories(&root, Path::new("/etc"))?;
    for Overlay { name, content, .. } in &contents.dns.overlays {
        // A directory of that name has a tree in it.
        match create(&root, Path::new("etc").join(name), content) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            done => done?,
        }
    }
    base::read_only(root.as_fd())?;
    Ok(root)
}

/// A `/tmp` that goes with the view. Its files count as the command's memory.
pub(super) fn tmp() -> io::Result<OwnedFd> {
    base::tmpfs("1777", "50%", MountAttrFlags::MOUNT_ATTR_NODEV)
}

fn relative(path: &Path) -> &Path {
    path.strip_prefix("/").unwrap_or(path)
}

fn parents(root: &OwnedFd, path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |parent| directories(root, parent))
}

/// Below a root that nobody else has yet, so that no component is a link.
fn directories(root: &OwnedFd, path: &Path) -> io::Result<()> {
    let mut at = std::path::PathBuf::new();
    for component in path.components().filter(|c| *c != Component::RootDir) {
        at.push(component);
        match mkdirat(root, &at, MODE) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// The tmpfs at `/run`, with what is laid over the host's.
pub(super) struct Own {
    tree: OwnedFd,
}

impl Own {
    /// Makes and fills it; from then on it is read-only.
    pub(super) fn start(contents: &Contents) -> io::Result<Self> {
        let attributes = MountAttrFlags::MOUNT_ATTR_NOEXEC | MountAttrFlags::MOUNT_ATTR_NODEV;
        let tree = base::tmpfs("0755", "8m", attributes)?;
        mkdirat(&tree, KEPT, MODE)?;
        mkdirat(&tree, format!("{KEPT}/etc"), MODE)?;
        mkdirat(&tree, "lock", MODE)?;
        if contents.root == Root::Empty {
            mkdirat(&tree, format!("{KEPT}/run"), MODE)?;
            mkdirat(&tree, format!("{KEPT}/run/lock"), MODE)?;
        }
        if contents.xtables_lock {
            let point = Path::new(XTABLES_LOCK);
            let in_run = if contents.root == Root::Empty {
                Path::new(KEPT).join("run").join(point)
            } else {
                point.into()
            };
            create(&tree, in_run, b"")?;
        }
        if contents.hidden.iter().any(|hide| hide.directory) {
            mkdirat(&tree, format!("{KEPT}/{NO_FILES}"), MODE)?;
        }
        if contents.hidden.iter().any(|hide| !hide.directory) {
            create(&tree, format!("{KEPT}/{NO_CONTENT}"), b"")?;
        }
        if contents.root == Root::Host {
            for Overlay { name, content, .. } in &contents.dns.overlays {
                create(&tree, format!("{KEPT}/etc/{name}"), content)?;
            }
        }
        base::read_only(tree.as_fd())?;
        Ok(Self { tree })
    }

    fn part(&self, part: &str) -> io::Result<OwnedFd> {
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        Ok(open_tree(&self.tree, format!("{KEPT}/{part}"), flags)?)
    }

    /// Mounts it. Before Linux 6.15 no part can be had of what is mounted nowhere.
    pub(super) fn attach(&self, at: &str) -> io::Result<()> {
        attach(self.tree.as_fd(), at)
    }

    /// Covers it with an empty directory: others see that, and have no use for the rest.
    pub(super) fn cover(&self) -> io::Result<()> {
        attach(self.part("run")?.as_fd(), "/run")
    }

    /// Covers what is not to be seen.
    pub(super) fn hide(&self, hidden: &[Hide]) -> Result<(), ExecError> {
        for Hide { path, directory } in hidden {
            let cover = self.part(if *directory { NO_FILES } else { NO_CONTENT }).map_err(failed(path))?;
            match attach_found(cover.as_fd(), path) {
                // It is on a mount that is not in the view.
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                done => done.map_err(failed(path))?,
            }
        }
        Ok(())
    }

    /// File over file: the host's others stay as they are, and are read where they are.
    pub(super) fn overlay_etc(&self, overlays: &[Overlay]) -> Result<(), ExecError> {
        for Overlay { name, .. } in overlays {
            let at = format!("/etc/{name}");
            let file = self.part(&format!("etc/{name}")).map_err(failed(&at))?;
            match attach(file.as_fd(), &at) {
                Ok(()) => {}
                // Where the host's own mounts are shown as they are, nothing is added to them.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(at)(error)),
            }
        }
        Ok(())
    }

    /// Directory over directory: the only way to a file that the host does not have.
    pub(super) fn merge_etc() -> Result<(), ExecError> {
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

/// A file in a file system that nobody else has yet.
fn create(tree: &OwnedFd, path: impl AsRef<Path>, content: &[u8]) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = openat(tree, path.as_ref(), flags, Mode::from_raw_mode(0o644))?;
    let mut file = File::from(file);
    if content.is_empty() { Ok(()) } else { file.write_all(content) }
}
