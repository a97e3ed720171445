//! Directories that the command is given: its root, and where it starts.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;
use serde::Serialize;

use super::Target;
use super::args::{Place, Request};
use super::capabilities::Base;
use super::error::{ExecError, Step};
use super::plan::Caller;
use super::view::{Contents, Hide};

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

/// Opens it; and its path, for people.
pub(crate) fn open_place(
    place: &Place,
    target: &Target,
    link: &str,
    step: Step,
) -> Result<(PathBuf, OwnedFd), ExecError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match (place, &target.process) {
        (Place::Host(path), _) => {
            // A link of /proc leads into the mount namespace of its process, which the policy has not been asked for.
            let no_links_of_proc = ResolveFlags::NO_MAGICLINKS;
            let fd =
                openat2(CWD, path, flags, Mode::empty(), no_links_of_proc).map_err(|error| match error {
                    Errno::LOOP => step.refused(
                        format!("{} leads through a link of /proc, or in a circle", path.display()),
                        "name the directory by its own path; without DIR it is that of the target's process",
                    ),
                    error => step.failed(path.display().to_string())(error),
                })?;
            let path = std::fs::canonicalize(path).map_err(step.failed(path.display().to_string()))?;
            Ok((path, fd))
        }
        (Place::Target, Some(process)) => {
            let fd = openat(&process.proc_dir, link, flags, Mode::empty())
                .map_err(step.failed(format!("{link} of process {}", process.pid)))?;
            Ok((PathBuf::from(format!("/proc/{}/{link}", process.pid)), fd))
        }
        (Place::Target, None) => Err(step.refused(
            format!("no process of {} lives to take it from", target.label),
            "name a directory, or wait for a container to start",
        )),
    }
}

/// Where the command is to start.
pub(crate) fn directory(
    request: &Request,
    target: &Target,
    caller: &Caller,
    entered: bool,
    hidden: &[Hide],
) -> Result<(Directory, OwnedFd), ExecError> {
    let root = || {
        openat(CWD, "/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(Step::WorkingDirectory.failed("/"))
    };
    let confined = request.profile.base != Base::Sysadmin;
    let place = match (&request.working_directory, &caller.directory) {
        (Some(place), _) => place.clone(),
        (None, Some(path)) if !entered => Place::Host(path.clone()),
        (None, _) => return Ok((Directory::Root, root()?)),
    };
    let (path, fd) = open_place(&place, target, "cwd", Step::WorkingDirectory)?;
    Ok(match place {
        _ if entered => (Directory::Opened(path), fd),
        Place::Target => (Directory::Opened(path), fd),
        Place::Host(_) if confined && !Contents::has(&path, hidden) => {
            if request.working_directory.is_some() {
                return Err(Step::WorkingDirectory.refused(
                    format!("{} is not in the command's view of the host", path.display()),
                    "name one that --explain does not list as hidden, outside /run and /sys, or use --profile sysadmin",
                ));
            }
            (Directory::Root, root()?)
        }
        Place::Host(_) => (Directory::InView(path), fd),
    })
}
