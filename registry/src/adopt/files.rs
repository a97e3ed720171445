//! Directories of engines' state, opened one below the other, and the small files in them.

use super::{Candidate, Found};
use crate::bounded::Regular;
use crate::container_id::ContainerId;
use rustix::fd::OwnedFd;
use rustix::fs::{self, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// An open directory.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    fd: OwnedFd,
}

/// A file that was read.
#[derive(Debug)]
pub(super) struct Content {
    pub(super) bytes: Vec<u8>,
    pub(super) written: SystemTime,
}

impl Directory {
    /// Opens one that is configured: by its path, symbolic links and all (`/var/run`). None where there is none.
    pub(super) fn root(path: &Path) -> Result<Option<Self>, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Self::opened(fs::openat(CWD, path, flags, Mode::empty()), path.to_owned())
    }

    /// Opens one below it. None where there is none, or something else than a directory.
    pub(super) fn below(&self, name: &str) -> Result<Option<Self>, String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self::opened(fs::openat(&self.fd, name, flags, Mode::empty()), self.path.join(name))
    }

    fn opened(fd: Result<OwnedFd, Errno>, path: PathBuf) -> Result<Option<Self>, String> {
        match fd {
            Ok(fd) => Ok(Some(Self { path, fd })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno.to_string()),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The names in it, sorted.
    pub(super) fn names(&self) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(|errno| errno.to_string())? {
            let entry = entry.map_err(|errno| errno.to_string())?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether there is something of this name in it that is no directory.
    pub(super) fn has(&self, name: &str) -> bool {
        fs::statat(&self.fd, name, fs::AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) != FileType::Directory)
    }

    /// Reads a file in it. None where there is none.
    pub(super) fn read(&self, name: &str, limit: u64) -> Result<Option<Content>, String> {
        let told = |cause: &str| format!("{name}: {cause}");
        // A symbolic link is nothing that an engine puts there.
        let file = match Regular::open(&self.fd, Path::new(name), OFlags::NOFOLLOW) {
            Ok(file) => file,
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::NOENT) => return Ok(None),
                Some(Errno::LOOP) => return Err(told("is a symbolic link")),
                _ => return Err(told(&error.to_string())),
            },
        };
        let bytes = file.read(limit).map_err(|e| told(&e.to_string()))?;
        Ok(Some(Content { bytes, written: modified(file.stat()) }))
    }
}

fn modified(stat: &Stat) -> SystemTime {
    let seconds = u64::try_from(stat.st_mtime).unwrap_or(0);
    UNIX_EPOCH + Duration::new(seconds, u32::try_from(stat.st_mtime_nsec).unwrap_or(0))
}

/// Calls `visit` for every directory in `parent` whose name is a container's id; tells of every other one.
pub(super) fn each_container(
    parent: &Directory,
    found: &mut Found,
    mut visit: impl FnMut(&mut Found, ContainerId, Directory),
) {
    let names = match parent.names() {
        Ok(names) => names,
        Err(cause) => return found.unreadable(parent.path().to_owned(), cause),
    };
    for name in names {
        match (parent.below(&name), ContainerId::parse(&name)) {
            (Ok(None), _) => {}
            (Ok(Some(directory)), Ok(id)) => visit(found, id, directory),
            (Ok(Some(directory)), Err(e)) => found.unreadable(directory.path().to_owned(), e.to_string()),
            (Err(cause), _) => found.unreadable(parent.path().join(&name), cause),
        }
    }
}

/// Finds the containers of a runtime that keeps `ROOT/ID/NAME` of each, of at most `limit` bytes, which `parse` reads.
pub(super) fn each_state(
    root: &Path,
    name: &str,
    limit: u64,
    found: &mut Found,
    parse: fn(ContainerId, &[u8]) -> Result<Candidate, String>,
) {
    match Directory::root(root) {
        Ok(None) => {}
        Ok(Some(root)) => each_container(&root, found, |found, id, container| {
            let content = container.read(name, limit);
            let candidate = content.and_then(|content| {
                let read = content.map(|content| parse(id, &content.bytes)).transpose();
                read.map_err(|cause| format!("{name}: {cause}"))
            });
            found.note(&container, candidate);
        }),
        Err(cause) => found.unreadable(root.to_owned(), cause),
    }
}

/// A number that can be that of a container's process. 1 is the host's own.
pub(super) fn container_pid(number: i64) -> Result<i32, String> {
    let pid = i32::try_from(number).ok().filter(|&pid| pid > 1);
    pid.ok_or_else(|| format!("{number} is no number of a container's process"))
}

/// The number in a file that holds nothing else.
pub(super) fn pid_in(content: &Content) -> Result<i32, String> {
    let text = str::from_utf8(&content.bytes).unwrap_or_default().trim();
    text.parse().map_err(|_| "holds no process id".to_owned()).and_then(container_pid)
}

/// A bundle's path out of a state file.
pub(super) fn bundle(path: &str) -> Result<PathBuf, String> {
    let path = Path::new(path);
    let down = |c| matches!(c, Component::RootDir | Component::Normal(_));
    if path.is_absolute() && path.components().all(down) && path.as_os_str().len() < 4096 {
        return Ok(path.to_owned());
    }
    Err("names no bundle by its absolute path".to_owned())
}
