//! The process that outlives the stage: it waits, and takes away what is left.
//!
//! Its signals are blocked from before the stage is started until the pod is gone, so there is no moment at which
//! Ctrl-C would leave something behind.

use crate::exit::ExitCode;
use porthole_registry::bounded;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open, pidfd_send_signal, set_child_subreaper};

use super::{Error, Places, Pod, leftovers, preflight, rootfs, runtime};

const SIGNALS: [Signal; 4] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// How long orphans may take to end.
const PATIENCE: Duration = Duration::from_secs(3);

/// Runs the stage and, unless the pod is to be kept, leaves nothing.
pub(super) fn supervise(places: &Places, hook: &Path, keep: bool) -> Result<ExitCode, Error> {
    let mut run_dir = std::fs::DirBuilder::new();
    std::os::unix::fs::DirBuilderExt::mode(run_dir.recursive(true), 0o755);
    run_dir.create(&places.run_dir).map_err(Error::file("create", &places.run_dir))?;
    let signals: SigSet = SIGNALS.into_iter().collect();
    signals.thread_block().map_err(|e| Error::Process { step: "block signals", source: e.into() })?;
    claim(places)?;
    let earlier = children();
    // The containers become children of this process when the stage dies, and so can be buried.
    let outcome = set_child_subreaper(Some(getpid()))
        .map_err(|e| Error::Process { step: "become the reaper of the demo's processes", source: e.into() })
        .and_then(|()| run_stage(places, hook, keep, &signals));
    if matches!(&outcome, Ok(status) if status.success()) && Pod::load(places).is_some_and(|pod| pod.kept) {
        return Ok(ExitCode::SUCCESS);
    }
    end_orphans(hook, &earlier);
    let cleaned = leftovers::take_away(places);
    match (outcome?, cleaned) {
        (status, Err(error)) => {
            // Both are news: the first was told by the stage.
            let _ = writeln!(io::stderr(), "porthole: the demo ended with {status}");
            Err(error)
        }
        (status, Ok(())) => verdict(status),
    }
}

/// In the stage: the signals that the supervisor holds back end it as usual.
pub(super) fn begin_stage() -> Result<(), Error> {
    let signals: SigSet = SIGNALS.into_iter().collect();
    signals.thread_unblock().map_err(|e| Error::Process { step: "unblock signals", source: e.into() })
}

/// As long as it lives no signal ends the stage, nor a hook that it has called: nobody is left registering a
/// container that is being taken away.
pub(super) struct Uninterrupted(());

impl Uninterrupted {
    pub(super) fn begin() -> Result<Self, Error> {
        let signals: SigSet = SIGNALS.into_iter().collect();
        signals.thread_block().map_err(|e| Error::Process { step: "block signals", source: e.into() })?;
        Ok(Self(()))
    }
}

impl Drop for Uninterrupted {
    fn drop(&mut self) {
        let _ = begin_stage();
    }
}

/// A stage that was killed cannot wait for what it had begun, so this does: a hook may finish; a half-made container,
/// still a copy of this program, is ended before it goes on to make what is about to be taken away. Other children, of
/// the commands shown or from before this program, are left alone.
fn end_orphans(hook: &Path, earlier: &[Pid]) {
    let file = |path: PathBuf| std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let (own, hook) = (file("/proc/self/exe".into()), file(hook.to_owned()));
    let started = Instant::now();
    let mut busy = true;
    while busy && started.elapsed() < PATIENCE {
        busy = false;
        for pid in children().into_iter().filter(|pid| !earlier.contains(pid)) {
            let exe = file(format!("/proc/{}/exe", pid.as_raw_nonzero()).into());
            // What cannot be ended is found by its cgroup later.
            let _ = match exe {
                Some(_) if exe == hook => runtime::await_end(pid),
                Some(_) if exe == own => runtime::kill_process(pid),
                _ => continue,
            };
            busy = true;
        }
    }
}

fn children() -> Vec<Pid> {
    let list = format!("/proc/self/task/{}/children", getpid().as_raw_nonzero());
    let text = bounded::text(list, bounded::LISTS).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok().and_then(Pid::from_raw)).collect()
}

/// One demo at a time: `mkdir` succeeds for one only.
fn claim(places: &Places) -> Result<(), Error> {
    let dir = places.demo_dir();
    match rootfs::make_dir(&dir, 0o700) {
        Err(Error::File { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::Running { dir })
        }
        other => other,
    }
}

fn run_stage(places: &Places, hook: &Path, keep: bool, signals: &SigSet) -> Result<ExitStatus, Error> {
    let step = "start the demo's stage";
    let mut command = Command::new(preflight::program()?);
    if let Some(config) = &places.config {
        command.arg("--config").arg(config);
    }
    command.args(["demo", "--stage", "--hook"]).arg(hook).args(keep.then_some("--keep"));
    // The runtime goes back to where it was after it has moved; make that a place that stays.
    let mut stage = command.current_dir("/").spawn().map_err(Error::process(step))?;
    let waited = wait(&stage, signals);
    if waited.is_err() {
        let _ = stage.kill();
    }
    let status = stage.wait().map_err(Error::process("wait for the demo's stage"))?;
    waited.map(|()| status)
}

/// Until the stage has ended; a signal is passed on to it.
fn wait(stage: &Child, signals: &SigSet) -> Result<(), Error> {
    let step = "wait for the demo's stage";
    let pid = i32::try_from(stage.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| Error::Process { step, source: io::ErrorKind::InvalidData.into() })?;
    let pidfd =
        pidfd_open(pid, PidfdFlags::empty()).map_err(|e| Error::Process { step, source: e.into() })?;
    let pending = SignalFd::with_flags(signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(|e| Error::Process { step, source: e.into() })?;
    loop {
        let mut fds =
            [PollFd::new(&pidfd, PollFlags::IN), PollFd::from_borrowed_fd(pending.as_fd(), PollFlags::IN)];
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => continue,
            other => other.map_err(|e| Error::Process { step, source: e.into() })?,
        };
        if !fds[0].revents().is_empty() {
            return Ok(());
        }
        if let Ok(Some(_)) = pending.read_signal() {
            // Gone already is as good.
            let _ = pidfd_send_signal(&pidfd, rustix::process::Signal::TERM);
        }
    }
}

fn verdict(status: ExitStatus) -> Result<ExitCode, Error> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(ExitCode::SUCCESS),
        // The stage has told why.
        (Some(code), _) if code < 100 => Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        (_, Some(libc::SIGINT | libc::SIGTERM | libc::SIGHUP | libc::SIGQUIT)) => Err(Error::Interrupted),
        _ => Err(Error::Crashed { how: status.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_stage_is_no_crash() {
        assert!(matches!(verdict(ExitStatus::from_raw(libc::SIGINT)), Err(Error::Interrupted)));
        assert!(matches!(verdict(ExitStatus::from_raw(libc::SIGSEGV)), Err(Error::Crashed { .. })));
        assert!(matches!(verdict(ExitStatus::from_raw(101 << 8)), Err(Error::Crashed { .. })));
    }

    #[test]
    fn a_stage_that_has_told_why_keeps_its_status() {
        assert!(verdict(ExitStatus::from_raw(1 << 8)).is_ok());
        assert!(verdict(ExitStatus::from_raw(0)).is_ok());
    }
}
