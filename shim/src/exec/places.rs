//! Directories that the command is given: its root, where it starts, where it may write. Each is opened once; its path is
//! derived from the descriptor, since the words that led there may lead elsewhere by now.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, fstat, openat, openat2, statat};
use rustix::io::Errno;
use serde::Serialize;

use super::Target;
use super::args::Place;
use super::error::{ExecError, Step};

/// Where the command starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Directory {
    /// `/` of what it sees.
    Root,
    /// This directory of the host, in the view.
    InView(PathBuf),
    /// The one opened here, whatever the command sees around it.
    Opened(PathBuf),
}

impl Directory {
    /// Where the view has to start the command; what is opened needs no place in it.
    pub(crate) fn in_view(&self) -> &Path {
        match self {
            Self::Root | Self::Opened(_) => Path::new("/"),
            Self::InView(path) => path,
        }
    }
}

/// A directory, and the path that the kernel has for it.
#[derive(Debug)]
pub(crate) struct OpenedDirectory {
    /// Without links.
    pub(crate) path: PathBuf,
    /// `O_PATH`
    pub(crate) fd: OwnedFd,
}

impl OpenedDirectory {
    /// That of the host at `path`, relative to the caller's. A link of /proc leads into the mount namespace of its
    /// process, which the policy has not been asked for, and is not followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = openat2(CWD, path, flags, Mode::empty(), ResolveFlags::NO_MAGICLINKS)?;
        Ok(Self { path: path_of(&fd)?, fd })
    }

    /// The same for one that an option names.
    pub(crate) fn named(path: &Path, step: Step) -> Result<Self, ExecError> {
        Self::open(path).map_err(|error| Self::why_not(path, step, error))
    }

    /// The message for an error of [`Self::open`].
    pub(crate) fn why_not(path: &Path, step: Step, error: io::Error) -> ExecError {
        match error.raw_os_error() {
            Some(libc::ELOOP) => step.refused(
                format!("{} leads through a link of /proc, or in a circle", path.display()),
                "name the directory by its own path; without DIR it is that of the target's process",
            ),
            _ => step.failed(path.display().to_string())(error),
        }
    }
}

/// Where a directory is: from `/proc/self/fd`, and checked, since the kernel marks one that was removed in a way that
/// looks like a name, and shows one outside of this root by a path that is not its own here.
fn path_of(fd: &OwnedFd) -> io::Result<PathBuf> {
    let link = std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?;
    let (named, opened) = (statat(CWD, &link, AtFlags::SYMLINK_NOFOLLOW)?, fstat(fd)?);
    let is_it = (named.st_dev, named.st_ino) == (opened.st_dev, opened.st_ino);
    if link.is_absolute() && is_it { Ok(link) } else { Err(Errno::NOENT.into()) }
}

/// Opens the directory that an option names; its path is for people where it is the target's.
pub(crate) fn open_place(
    place: &Place,
    target: &Target,
    link: &str,
    step: Step,
) -> Result<OpenedDirectory, ExecError> {
    match (place, &target.process) {
        (Place::Host(path), _) => OpenedDirectory::named(path, step),
        (Place::Target, Some(process)) => {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let fd = openat(&process.proc_dir, link, flags, Mode::empty())
                .map_err(step.failed(format!("{link} of process {}", process.pid)))?;
            Ok(OpenedDirectory { path: PathBuf::from(format!("/proc/{}/{link}", process.pid)), fd })
        }
        (Place::Target, None) => Err(step.refused(
            format!("no process of {} lives to take it from", target.label),
            "name a directory, or wait for a container to start",
        )),
    }
}
