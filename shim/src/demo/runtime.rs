//! The embedded OCI runtime: create, start, kill, delete.
//!
//! It clones processes, so the caller has to be single-threaded.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open, pidfd_send_signal, waitpid};

use super::pod::Member;
use super::{Error, Places};

/// How long a killed process may take to go.
const PATIENCE: Duration = Duration::from_secs(2);

/// Where the runtime keeps its state.
pub(super) fn state_dir(places: &Places) -> PathBuf {
    places.demo_dir().join("runtime")
}

pub(super) fn create(places: &Places, member: &Member, bundle: &Path) -> Result<Container, Error> {
    let quiet = || {
        let path = Path::new("/dev/null");
        File::options().read(true).write(true).open(path).map_err(Error::file("open", path))
    };
    let (stdin, stdout, stderr) = (quiet()?, quiet()?, quiet()?);
    let build = || {
        ContainerBuilder::new(member.id.clone(), SyscallType::default())
            .with_root_path(state_dir(places))?
            .with_stdin(stdin)
            .with_stdout(stdout)
            .with_stderr(stderr)
            .validate_id()?
            .as_init(bundle)
            .with_systemd(false)
            .build()
    };
    build().map_err(failed("create", member))
}

pub(super) fn start(container: &mut Container, member: &Member) -> Result<(), Error> {
    container.start().map_err(failed("start", member))
}

/// Kills the container's process and waits until it has gone.
pub(super) fn kill(container: &Container) -> Result<(), Error> {
    match container.pid().and_then(|pid| Pid::from_raw(pid.as_raw())) {
        Some(pid) => kill_process(pid).map_err(Error::process("kill a container's process")),
        None => Ok(()),
    }
}

/// Deletes the container, killing what is left of it; one that is not there is no error.
pub(super) fn delete(places: &Places, member: &Member) -> Result<(), Error> {
    let dir = state_dir(places).join(&member.id);
    if !dir.exists() {
        return Ok(());
    }
    // The library stumbles over a process that ends between two looks at it; the next time it has ended.
    let loaded = Container::load(dir.clone()).or_else(|_| Container::load(dir));
    let mut container = loaded.map_err(failed("load", member))?;
    kill(&container)?;
    container.delete(true).map_err(failed("delete", member))
}

/// Kills one process; that it has gone already is what was wanted.
pub(super) fn kill_process(pid: Pid) -> std::io::Result<()> {
    let pidfd = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        other => other?,
    };
    match pidfd_send_signal(&pidfd, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => bury(pid, &pidfd),
        Err(error) => Err(error.into()),
    }
}

/// Waits a while for a process to end by itself.
pub(super) fn await_end(pid: Pid) -> std::io::Result<()> {
    bury(pid, &pidfd_open(pid, PidfdFlags::empty())?)
}

fn bury(pid: Pid, pidfd: &OwnedFd) -> std::io::Result<()> {
    let limit = Timespec { tv_sec: i64::try_from(PATIENCE.as_secs()).unwrap_or(1), tv_nsec: 0 };
    if poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&limit))? == 0 {
        return Err(std::io::ErrorKind::TimedOut.into());
    }
    // Ours to bury when it is our child; someone else's otherwise.
    let _ = waitpid(Some(pid), WaitOptions::NOHANG);
    Ok(())
}

fn failed(step: &'static str, member: &Member) -> impl FnOnce(LibcontainerError) -> Error {
    let name = member.role.name();
    move |source| Error::Runtime { step, name, source: Box::new(source) }
}
