//! The tree of files to install into: `/`, or one that will become a node's. Symbolic links in it are followed as the
//! node itself would.

use crate::problem::Problem;
use porthole_registry::bounded::Regular;
use rustix::fd::OwnedFd;
use rustix::fs::{self, Access, AtFlags, CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// More than this is no file that is edited here; the largest are binaries.
pub(crate) const LARGEST: u64 = 64 << 20;
/// Where programs are, in the order in which service managers look.
const PROGRAM_DIRS: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A regular file.
    File {
        /// What is in it.
        bytes: Vec<u8>,
        /// Its permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it leads.
        target: PathBuf,
    },
}

impl Content {
    /// A text that everybody may read.
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self::File { bytes: text.into().into_bytes(), mode: 0o644 }
    }

    /// A program or script.
    pub(crate) fn program(bytes: Vec<u8>) -> Self {
        Self::File { bytes, mode: 0o755 }
    }

    /// The same file with another text.
    pub(crate) fn with_text(&self, text: String) -> Self {
        let mode = if let Self::File { mode, .. } = self { *mode } else { 0o644 };
        Self::File { bytes: text.into_bytes(), mode }
    }

    /// The text, where it is one.
    pub(crate) fn as_text(&self) -> Option<&str> {
        match self {
            Self::File { bytes, .. } => std::str::from_utf8(bytes).ok(),
            Self::Link { .. } => None,
        }
    }
}

/// A tree of files.
#[derive(Debug)]
pub(crate) struct Tree {
    root: PathBuf,
    fd: OwnedFd,
}

impl Tree {
    /// Opens the tree below `root`.
    pub(crate) fn open(root: &Path) -> Result<Self, Problem> {
        let fail = |cause: String| Problem::failed(format!("open the tree {}: {cause}", root.display()));
        let root = root.canonicalize().map_err(|e| fail(e.to_string()))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = fs::openat(CWD, &root, flags, Mode::empty()).map_err(|e| fail(e.to_string()))?;
        Ok(Self { root, fd })
    }

    /// Whether it is the running system's own.
    pub(crate) fn is_live(&self) -> bool {
        self.root == Path::new("/")
    }

    /// Where it is.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The place of `path` on this machine, every symbolic link on the way followed within the tree, the last one too.
    /// What does not exist is in its parent's place.
    pub(crate) fn locate(&self, path: &Path) -> Result<PathBuf, Problem> {
        self.resolve(path, 0).map_err(|errno| match errno {
            Errno::NOENT => Problem::new(
                crate::exit::Exit::Failed,
                format!("{}: is, or is below, a link that leads nowhere", path.display()),
                "make what it leads to, or remove the link, then run this again",
            ),
            errno => failed("find", path, errno),
        })
    }

    fn resolve(&self, path: &Path, depth: usize) -> Result<PathBuf, Errno> {
        if depth > 64 || path.components().any(|c| c == Component::ParentDir) {
            return Err(Errno::INVAL);
        }
        match self.open_path(path) {
            Ok(fd) => {
                use std::os::fd::AsRawFd;
                std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))
                    .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))
            }
            Err(Errno::NOENT) => match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => {
                    let place = self.resolve(parent, depth + 1)?.join(name);
                    // One that leads nowhere in the tree may lead somewhere outside.
                    if place.is_symlink() { Err(Errno::NOENT) } else { Ok(place) }
                }
                _ => Err(Errno::NOENT),
            },
            Err(errno) => Err(errno),
        }
    }

    fn open_path(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        match fs::openat2(&self.fd, path, flags, Mode::empty(), resolve) {
            // Before Linux 5.6, and where a sandbox does not know the call.
            Err(Errno::NOSYS | Errno::PERM) if self.is_live() => fs::openat(CWD, path, flags, Mode::empty()),
            result => result,
        }
    }

    /// What is at `path`, if anything is. A link is followed; see [`Tree::look`].
    pub(crate) fn read(&self, path: &Path) -> Result<Option<Content>, Problem> {
        let place = self.locate(path)?;
        let fail = |e: std::io::Error| Problem::failed(format!("read {}: {e}", path.display()));
        let file = match Regular::open(CWD, &place, OFlags::NOFOLLOW) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(fail(error)),
        };
        let bytes = file.read(LARGEST).map_err(fail)?;
        Ok(Some(Content::File { bytes, mode: file.stat().st_mode & 0o7777 }))
    }

    /// What is at `path`, a link being a link.
    pub(crate) fn look(&self, path: &Path) -> Result<Option<Content>, Problem> {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && let Ok(target) = std::fs::read_link(self.locate(parent)?.join(name))
        {
            return Ok(Some(Content::Link { target }));
        }
        self.read(path)
    }

    /// What is at `path`: the link itself, or what it leads to.
    pub(crate) fn look_as(&self, path: &Path, link: bool) -> Result<Option<Content>, Problem> {
        if link { self.look(path) } else { self.read(path) }
    }

    /// The text at `path`, if there is a file.
    pub(crate) fn text(&self, path: &Path) -> Result<Option<String>, Problem> {
        match self.read(path)? {
            None => Ok(None),
            Some(content) => content.as_text().map(|text| Some(text.to_owned())).ok_or_else(|| {
                Problem::new(
                    crate::exit::Exit::Failed,
                    format!("{}: is no UTF-8 text", path.display()),
                    "repair or move the file, then run this again",
                )
            }),
        }
    }

    /// Whether there is a directory.
    pub(crate) fn is_dir(&self, path: &Path) -> bool {
        self.locate(path).is_ok_and(|place| place.is_dir())
    }

    /// Whether there is a file that may be executed by its mode.
    pub(crate) fn is_executable(&self, path: &Path) -> bool {
        self.locate(path)
            .ok()
            .and_then(|place| place.metadata().ok())
            .is_some_and(|meta| meta.is_file() && meta.mode() & 0o111 != 0)
    }

    /// The names in a directory, sorted; none where there is no such directory.
    pub(crate) fn names(&self, path: &Path) -> Vec<String> {
        let entries = self.locate(path).ok().and_then(|place| std::fs::read_dir(place).ok());
        let names =
            entries.into_iter().flatten().flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    /// The first program of these names, by its path in the tree.
    pub(crate) fn program(&self, names: &[&str]) -> Option<PathBuf> {
        let paths =
            names.iter().flat_map(|name| PROGRAM_DIRS.iter().map(move |dir| Path::new(dir).join(name)));
        paths.into_iter().find(|path| self.is_executable(path))
    }

    /// Whether files can be made in a directory, or in the nearest that exists above it.
    pub(crate) fn can_write(&self, dir: &Path) -> bool {
        let Some(place) = dir.ancestors().find(|dir| self.is_dir(dir)).and_then(|dir| self.locate(dir).ok())
        else {
            return false;
        };
        let read_only = fs::statvfs(&place).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY));
        !read_only && fs::accessat(CWD, &place, Access::WRITE_OK, AtFlags::EACCESS).is_ok()
    }
}

/// The error of a step on a path.
pub(crate) fn failed(step: &str, path: &Path, cause: impl std::fmt::Display) -> Problem {
    Problem::failed(format!("{step} {}: {cause}", path.display()))
}
