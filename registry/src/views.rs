//! Mount namespaces beside the host's. An engine can have one of its own (`KUBENSMNT` of CRI-O); at the path of a mount that
//! it has made there, other mount namespaces have a bare file.

use crate::bounded;
use crate::namespace::{NamespaceId, NamespaceKind};
use crate::process::Process;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// As many symbolic links as the kernel follows: path_resolution(7).
const MOST_LINKS: usize = 40;

/// The file system as the processes of one mount namespace see it.
#[derive(Debug)]
pub struct View {
    mounts: NamespaceId,
    root: OwnedFd,
}

impl View {
    /// The view of a process.
    ///
    /// # Errors
    /// Those of open(2): the process is gone, or may not be looked at.
    pub fn of(process: &Process) -> Result<Self, Errno> {
        let mounts = process.namespace(NamespaceKind::Mnt)?;
        Ok(Self { mounts, root: root(process.dir(), "root")? })
    }

    /// The view of the calling thread, as it is now.
    ///
    /// # Errors
    /// Those of open(2).
    pub fn own() -> Result<Self, Errno> {
        Ok(Self { mounts: NamespaceId::at(CWD, "/proc/self/ns/mnt")?, root: root(CWD, "/")? })
    }

    /// Its mount namespace.
    pub const fn mounts(&self) -> NamespaceId {
        self.mounts
    }

    /// Opens what its processes find at an absolute path. A symbolic link on the way leads where it leads them.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn open(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let flags = flags | OFlags::CLOEXEC;
        match fs::openat2(&self.root, path, flags, Mode::empty(), resolve) {
            // Before Linux 5.6, and in a unit with `RestrictSUIDSGID=`, whose filter refuses the call.
            Err(Errno::NOSYS | Errno::PERM) => self.walk(path, flags),
            opened => opened,
        }
    }

    /// As [`View::open`], by one component after the other: a link to an absolute path leads into this root, and nothing
    /// leads out of it.
    fn walk(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let names = |path: &Path| path.components().rev().map(|part| part.as_os_str().to_owned()).collect();
        let step = |dir: BorrowedFd<'_>, name: &OsStr, flags| {
            fs::openat(dir, name, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
        };
        let mut pending: Vec<OsString> = names(path);
        let mut above: Vec<OwnedFd> = Vec::new();
        let mut links = 0;
        while let Some(name) = pending.pop() {
            match name.as_bytes() {
                b"/" => above.clear(),
                b"." => {}
                b".." => drop(above.pop()),
                _ => {
                    let dir = above.last().map_or(self.root.as_fd(), AsFd::as_fd);
                    let fd = step(dir, &name, OFlags::PATH)?;
                    if FileType::from_raw_mode(fs::fstat(&fd)?.st_mode) == FileType::Symlink {
                        links += 1;
                        if links > MOST_LINKS {
                            return Err(Errno::LOOP);
                        }
                        let target = fs::readlinkat(&fd, "", Vec::new())?.into_bytes();
                        pending.extend(names(Path::new(OsStr::from_bytes(&target))));
                    } else if pending.is_empty() {
                        return step(dir, &name, flags);
                    } else {
                        above.push(fd);
                    }
                }
            }
        }
        let dir = above.last().map_or(self.root.as_fd(), AsFd::as_fd);
        step(dir, OsStr::new("."), flags)
    }

    /// A path of its processes without symbolic links; a path that does not exist is resolved by its parent.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        let resolved = self.open(path, OFlags::PATH).and_then(|fd| {
            let link = fs::readlinkat(CWD, format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())?;
            Ok(PathBuf::from(link.to_string_lossy().into_owned()))
        });
        match (resolved, path.parent(), path.file_name()) {
            (Ok(resolved), _, _) => resolved,
            (Err(_), Some(parent), Some(name)) => self.resolve(parent).join(name),
            _ => path.to_owned(),
        }
    }

    /// Whether its processes find the namespace at `path`.
    pub(crate) fn has(&self, path: &Path, id: NamespaceId) -> bool {
        self.open(path, OFlags::PATH).is_ok_and(|fd| NamespaceId::of(fd).is_ok_and(|found| found == id))
    }
}

fn root(dir: impl AsFd, path: &str) -> Result<OwnedFd, Errno> {
    fs::openat(dir, path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
}

/// The mount namespaces that a look at the registry can look into.
#[derive(Debug, Default)]
pub struct Views {
    /// Those of engines, in which a holder is searched for.
    engines: Vec<View>,
    /// Those of other processes. Copies of an engine's mounts can be in them long after it has unmounted its own.
    others: Vec<View>,
    /// Whether all other mount namespaces have no process of the host's.
    complete: bool,
}

/// The answer to whether a namespace is found at a path in a mount namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It is found.
    Yes,
    /// It is not found, or no process can find it there any more.
    No,
    /// The program cannot look into the mount namespace.
    Unknown,
}

impl Views {
    /// One alone, as a hook has it. The others are unknown.
    pub fn one(engine: View) -> Self {
        Self { engines: vec![engine], others: Vec::new(), complete: false }
    }

    /// Those of all processes of the host.
    pub const fn all(engines: Vec<View>, others: Vec<View>) -> Self {
        Self { engines, others, complete: true }
    }

    /// Those of engines.
    pub(crate) fn engines(&self) -> &[View] {
        &self.engines
    }

    /// The mount namespace of an engine in which the namespace is found at `path`, where it is found so.
    pub(crate) fn find(&self, path: &Path, id: NamespaceId) -> Option<u64> {
        self.engines.iter().find(|view| view.has(path, id)).map(|view| view.mounts.ino)
    }

    /// Whether the namespace is found at `path` in the mount namespace with inode number `mounts`.
    pub fn see(&self, path: &Path, mounts: u64, id: NamespaceId) -> Seen {
        let known = self.engines.iter().chain(&self.others);
        match known.into_iter().find(|view| view.mounts.ino == mounts) {
            Some(view) if view.has(path, id) => Seen::Yes,
            Some(_) => Seen::No,
            None if self.complete && !is_mounted(mounts) => Seen::No,
            None => Seen::Unknown,
        }
    }
}

/// Whether a mount namespace is mounted, and so outlives its processes. If mountinfo cannot be read, it counts as mounted.
fn is_mounted(mounts: u64) -> bool {
    let name = format!(" mnt:[{mounts}] ");
    bounded::text("/proc/self/mountinfo", bounded::LISTS).map_or(true, |text| text.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ones_own_view_is_what_one_sees() {
        let view = View::own().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/usr", &link).unwrap();
        let usr = NamespaceId::at(CWD, "/usr").unwrap();
        assert!(view.has(&link, usr) && view.has(Path::new("/usr"), usr));
        assert!(!view.has(Path::new("/etc"), usr));
        assert_eq!(view.resolve(&link.join("none")), Path::new("/usr/none"));
    }

    #[test]
    fn a_kernel_without_openat2_finds_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::openat(CWD, dir.path(), OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let view = View { root, ..View::own().unwrap() };
        let link = |target: &str, name: &str| {
            std::os::unix::fs::symlink(target, dir.path().join(name)).unwrap();
        };
        std::fs::create_dir_all(dir.path().join("run/netns")).unwrap();
        std::fs::create_dir(dir.path().join("var")).unwrap();
        std::fs::write(dir.path().join("run/netns/u"), "").unwrap();
        link("/run", "var/run");
        link("../../../../run/netns", "var/up");
        link("loop", "loop");
        let inode = |fd: Result<OwnedFd, Errno>| fd.and_then(fs::fstat).map(|stat| stat.st_ino);
        for path in
            ["/run/netns/u", "/var/run/netns/u", "/var/up/u", "/var/../run/./netns", "/", "/none/u", "/loop"]
        {
            let (path, flags) = (Path::new(path), OFlags::PATH);
            let resolved = inode(view.open(path, flags));
            assert_eq!(inode(view.walk(path, flags)), resolved, "{}", path.display());
        }
        assert!(view.walk(Path::new("/var/run/netns/u"), OFlags::RDONLY).is_ok());
    }

    #[test]
    fn of_a_mount_namespace_without_a_process_a_hook_knows_nothing_and_reconcile_that_it_is_gone() {
        let view = View::own().unwrap();
        let (own, id) = (view.mounts().ino, NamespaceId::at(CWD, "/usr").unwrap());
        let mut views = Views::one(view);
        let (there, gone) = (Path::new("/usr"), Path::new("/nonexistent"));
        assert_eq!((views.see(there, own, id), views.see(gone, own, id)), (Seen::Yes, Seen::No));
        assert_eq!(views.see(there, 1, id), Seen::Unknown);
        views.complete = true;
        assert_eq!(views.see(there, 1, id), Seen::No);
    }
}
