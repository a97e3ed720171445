//! The one place that changes anything: a plan is carried out, step by step, in the process that becomes the command.

use std::convert::Infallible;
use std::io::{ErrorKind, PipeReader, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::sys::signal::SigSet;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, Timespec, openat};
use rustix::io::Errno;
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, chroot, fchdir, getcwd, getpid,
    pidfd_open, set_dumpable_behavior, set_parent_process_death_signal, setrlimit, setsid, waitpid,
};
use rustix::stdio::{dup2_stdin, stdin};
use rustix::termios::isatty;
use rustix::thread::{no_new_privs, set_no_new_privs};

use super::bounds::{Life, Prepared};
use super::capabilities::Status;
use super::error::{ExecError, Step};
use super::launcher::{Image, Launched, Manner};
use super::lifeline::Lifeline;
use super::places::Directory;
use super::plan::{Opened, Plan};
use super::pty::{Pty, Slave};
use super::recording::Recording;
use super::view::{Places, View, assemble, devpts};
use super::wait::{self, Awaited, Signals};
use super::{Target, seccomp, shield};
use crate::output;
use crate::sys::{self, Fork};
use porthole_registry::namespace::NamespaceKind;

/// Runs the command; the status is its own.
pub(crate) fn apply(
    plan: &Plan,
    target: &Target,
    opened: &Opened,
    run_dir: &Path,
    recording: Option<Recording>,
) -> Result<u8, ExecError> {
    // Nobody but root of the host looks into this process, and what it forks, until it has become the command.
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(Step::SealImage.failed("not dumpable"))?;
    let waits = plan.fork && !plan.detach;
    // Before the cgroup, whose lock is porthole's alone.
    let lifeline = Lifeline::start(&plan.context, waits)?;
    let bounds = plan.bounds.prepare(if waits { Life::Waited } else { Life::Free })?;
    let image = if plan.launches() { Some(Image::open()?) } else { None };
    let entry =
        Entry { plan, target, opened, run_dir, bounds: &bounds, lifeline: &lifeline, image: image.as_ref() };
    if !plan.fork {
        match enter(&entry, None)? {}
    }
    let devpts = match plan.view {
        View::Host(_) => None,
        _ if !plan.terminal => None,
        _ => Some(devpts().map_err(Step::Terminal.failed("a devpts of its own"))?),
    };
    let (pty, slave) = if plan.terminal {
        Pty::open(devpts.as_ref().map(AsFd::as_fd), recording).map(|(p, s)| (Some(p), Some(s)))?
    } else {
        (None, None)
    };
    let (from_child, to_parent) = std::io::pipe().map_err(Step::Fork.failed("a pipe"))?;
    let signals = Signals::take(pty.is_some() || plan.hostile())?;
    let parent =
        pidfd_open(getpid(), PidfdFlags::empty()).map_err(Step::Fork.failed("a descriptor of porthole"))?;
    let as_child =
        AsChild { slave, devpts, old_mask: signals.old_mask(), to_parent, parent, porthole: getpid() };
    let child_main = || {
        let error = match enter(&entry, Some(&as_child)) {
            Err(error) => error,
            Ok(never) => match never {},
        };
        let report = error.report();
        // If nobody reads it, nobody is left to tell.
        if let Ok(bytes) = serde_json::to_vec(&report) {
            let _ = (&as_child.to_parent).write_all(&bytes);
        }
        report.status
    };
    let failed = Step::Fork.failed("the command's");
    let child = if plan.hostile() || plan.namespaces.has(NamespaceKind::Time) {
        // What is inside must not be able to keep us standing still; and the kernel moves no shared memory into
        // another time namespace.
        match sys::fork().map_err(failed)? {
            Fork::Child => sys::exit_now(child_main()),
            Fork::Parent(child) => child,
        }
    } else {
        sys::fork_without_copy(child_main).map_err(failed)?
    };
    drop(as_child);
    let launched = image.map(|_| Launched {
        launcher: child,
        others: lifeline.watcher().into_iter().collect(),
        command: opened.command.name(),
        context: &plan.context,
    });
    if plan.detach {
        return leave(child, launched.as_ref(), from_child);
    }
    outlast();
    bounds.sweep();
    let child = Awaited { child, launched, lifeline: &lifeline, sent: Vec::new() };
    let status = wait::supervise(child, pty, &signals, from_child, plan.bounds.timeout)?;
    if status == KILLED && bounds.killed_for_memory() {
        let limit = "--explain shows how much it may use";
        output::to_stderr(&format!(
            "porthole: {}: the command used up its memory and was killed",
            plan.target
        ));
        output::to_stderr(&format!("help: {limit}, a profile or [exec] in config.toml gives it more"));
    }
    Ok(status)
}

/// A caller's limit of processor time is the command's. It would end this process, and with it what ends the command.
fn outlast() {
    let none = Rlimit { current: None, maximum: None };
    // Where that is not permitted, the limit stays.
    let _ = setrlimit(Resource::Cpu, none);
}

/// 128 and SIGKILL.
const KILLED: u8 = 137;

/// Leaves the command behind once it is one; prints its number.
fn leave(child: Pid, launched: Option<&Launched<'_>>, from_child: PipeReader) -> Result<u8, ExecError> {
    let report = wait::reported(from_child);
    let ended = if report.is_some() || launched.is_some() {
        // It is about to end, and has nothing more to say.
        waitpid(Some(child), WaitOptions::empty()).map_err(Step::Wait.failed("waitpid"))?
    } else {
        None
    };
    if let Some(report) = report {
        return Err(ExecError::Reported(report));
    }
    let command = match (launched, ended) {
        (Some(launched), Some((_, status))) => launched.command(status)?,
        _ => child,
    };
    match writeln!(std::io::stdout(), "{}", command.as_raw_nonzero()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Step::Wait.failed("the process id on stdout")(error))
        }
        _ => Ok(0),
    }
}

/// What the process has when another waits for it.
struct AsChild {
    slave: Option<Slave>,
    /// The devpts of that terminal.
    devpts: Option<OwnedFd>,
    old_mask: SigSet,
    to_parent: PipeWriter,
    /// The process that waits.
    parent: OwnedFd,
    /// Its number.
    porthole: Pid,
}

/// All that a process needs to become the command.
struct Entry<'a> {
    plan: &'a Plan,
    target: &'a Target,
    opened: &'a Opened,
    run_dir: &'a Path,
    bounds: &'a Prepared,
    lifeline: &'a Lifeline,
    /// Of porthole, where the command is to be born in another pid namespace.
    image: Option<&'a Image>,
}

fn enter(entry: &Entry<'_>, child: Option<&AsChild>) -> Result<Infallible, ExecError> {
    let Entry { plan, target, opened, run_dir, bounds, lifeline, image } = *entry;
    if let Some(child) = child {
        child.old_mask.thread_set_mask().map_err(Step::Fork.failed("the signal mask"))?;
        // A terminal of the caller's must not be the controlling one of what is inside: it could type into it.
        if child.slave.is_some() || plan.hostile() || plan.detach {
            setsid().map_err(Step::Terminal.failed("a session of its own"))?;
        }
        if let Some(slave) = &child.slave {
            slave.become_stdio(&plan.ids)?;
            if image.is_none() {
                slave.become_controlling()?;
            }
        }
        if plan.detach {
            without_terminal()?;
        }
    }
    let status = Status::open()?;
    let context = plan.context.open()?;
    bounds.enter()?;
    // The session keyring is the caller's, with the keys of their Kerberos tickets and disks.
    sys::new_session_keyring().map_err(Step::Keyring.failed("a session keyring of its own"))?;
    let user_namespace = plan.shield.open(run_dir, plan.processes)?;
    plan.ids.drop_groups()?;
    plan.namespaces.join_net(target)?;
    let places = Places {
        run_dir,
        process: target.process.as_ref(),
        start: matches!(plan.working_directory, Directory::InView(_)).then_some(&opened.directory),
        writable: &opened.writable,
        devpts: child.and_then(|child| child.devpts.as_ref()).map(AsFd::as_fd),
    };
    assemble(&plan.view, &places)?;
    plan.namespaces.join_others(target)?;
    directories(plan, opened)?;
    shield::enter(user_namespace.as_ref())?;
    plan.capabilities.bound()?;
    plan.ids.apply()?;
    plan.capabilities.apply(status)?;
    // Before no_new_privs, under which AppArmor lets no confined process name a profile of its own.
    context.apply(&plan.context)?;
    forbid_new_privileges()?;
    plan.processes.apply()?;
    sys::close_on_exec().map_err(Step::Descriptors.failed("3 and above"))?;
    let tied = child.is_some() && !plan.detach;
    if let (Some(child), None, true) = (child, image, tied) {
        die_with_parent(child.parent.as_fd())?;
        lifeline.hand_over(getpid())?;
    }
    // Last: from here on only execve is left to be done.
    opened.filter.as_ref().map_or(Ok(()), seccomp::apply)?;
    if let (Some(child), Some(image)) = (child, image) {
        let manner = Manner { terminal: child.slave.is_some(), tied };
        return Err(plan.context.blame_launch(image.launch(&opened.command, manner, child.porthole)));
    }
    Err(plan.context.blame(opened.command.execute(), || opened.command.is_permitted()))
}

fn directories(plan: &Plan, opened: &Opened) -> Result<(), ExecError> {
    if let Some(root) = &opened.root {
        fchdir(root).map_err(Step::Root.failed("the directory"))?;
        chroot(".").map_err(Step::Root.failed("the directory"))?;
    }
    match &plan.working_directory {
        Directory::Opened(path) => {
            let failed = || Step::WorkingDirectory.failed(path.display().to_string());
            fchdir(&opened.directory.fd).map_err(failed())?;
            if plan.confined() && plan.view == View::Entered {
                reachable(path)?;
            }
            Ok(())
        }
        // The view has seen to it.
        Directory::InView(_) => Ok(()),
        Directory::Root => rustix::process::chdir("/").map_err(Step::WorkingDirectory.failed("/")),
    }
}

/// From a directory outside its root, a command of the target's would climb to the host's (the class of CVE-2024-21626).
/// The kernel says so: such a path does not begin at the root.
fn reachable(path: &Path) -> Result<(), ExecError> {
    match getcwd(Vec::new()) {
        Ok(seen) if seen.to_bytes().starts_with(b"/") => Ok(()),
        Ok(_) | Err(Errno::NOENT) => Err(Step::WorkingDirectory.refused(
            format!("{} is not below the command's root", path.display()),
            "name a directory that is, or use --profile sysadmin",
        )),
        Err(error) => Err(Step::WorkingDirectory.failed(path.display().to_string())(error)),
    }
}

fn forbid_new_privileges() -> Result<(), ExecError> {
    set_no_new_privs(true).map_err(Step::NoNewPrivileges.failed("set"))?;
    if !no_new_privs().map_err(Step::NoNewPrivileges.failed("read back"))? {
        return Err(Step::NoNewPrivileges.refused("does not read back as set", "nothing was run"));
    }
    Ok(())
}

/// What runs on alone reads nothing from the caller's terminal.
fn without_terminal() -> Result<(), ExecError> {
    if isatty(stdin()) {
        let null = openat(CWD, "/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        null.and_then(dup2_stdin).map_err(Step::Terminal.failed("/dev/null"))?;
    }
    Ok(())
}

/// Last, since a change of credentials clears it.
fn die_with_parent(parent: BorrowedFd<'_>) -> Result<(), ExecError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(Step::DeathSignal.failed("SIGKILL"))?;
    // If the parent went before that, nobody would send it any more. Its descriptor is readable once it has ended.
    let mut fds = [PollFd::from_borrowed_fd(parent, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
        .map_err(Step::DeathSignal.failed("the parent"))?;
    let gone = fds.first().is_some_and(|fd| !fd.revents().is_empty());
    if gone { Err(Step::DeathSignal.refused("porthole is gone", "")) } else { Ok(()) }
}
