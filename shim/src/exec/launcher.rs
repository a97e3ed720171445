//! The launcher: the last fork, into the target's pid namespace.
//!
//! A process is visible in a pid namespace from its first instant, and a container with CAP_SYS_PTRACE reads all of it:
//! credentials, mounts, descriptors, memory, command line, environment. A process that is not dumpable is no exception.
//! So the process that confines stays outside. When it has nothing more to do it executes porthole's image again, with
//! the words and the environment of the command and nothing else; that is the launcher. Its child is born in the pid
//! namespace, has what the finished command has, and executes it.
//!
//! The child is a child of porthole's (`CLONE_PARENT`), which waits for it and sends it signals. The launcher ends as
//! soon as the command runs, and its status says whether it does.

use std::ffi::{CString, OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use porthole_registry::bounded;
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{
    Pid, Signal, WaitOptions, WaitStatus, getpid, getppid, ioctl_tiocsctty, kill_process,
    set_parent_process_death_signal, setsid, waitpid,
};
use rustix::stdio::stdin;

use super::command::Command;
use super::error::{ExecError, FAILED, Step};
use super::lsm::Context;
use crate::exit::ExitCode;
use crate::sys;

/// The name that the launcher runs under. No caller of porthole's gets here by chance: the words that follow are counted.
const NAME: &str = "porthole-launcher";

/// How the command is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Manner {
    /// stdin becomes its controlling terminal.
    pub(crate) terminal: bool,
    /// It ends with porthole.
    pub(crate) tied: bool,
}

impl Manner {
    fn word(self) -> String {
        let flag = |set: bool, letter| if set { letter } else { '-' };
        [flag(self.terminal, 't'), flag(self.tied, 'd')].iter().collect()
    }

    fn parse(word: &OsStr) -> Option<Self> {
        match *word.as_bytes() {
            [terminal @ (b't' | b'-'), tied @ (b'd' | b'-')] => {
                Some(Self { terminal: terminal == b't', tied: tied == b'd' })
            }
            _ => None,
        }
    }
}

/// porthole's image, opened while `/proc` is the host's.
#[derive(Debug)]
pub(crate) struct Image(OwnedFd);

impl Image {
    /// Of this process, which runs from a mount that nobody writes to: see [`super::seal`].
    pub(crate) fn open() -> Result<Self, ExecError> {
        openat(CWD, "/proc/self/exe", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .map(Self)
            .map_err(Step::Launch.failed("/proc/self/exe"))
    }

    /// Becomes the launcher of `command`. Comes back only with the error of execve.
    pub(crate) fn launch(&self, command: &Command, manner: Manner, porthole: Pid) -> io::Error {
        let text = |text: String| CString::new(text).unwrap_or_default();
        let candidates = command.candidates();
        let mut words = vec![
            text(NAME.to_owned()),
            text(manner.word()),
            text(porthole.as_raw_nonzero().to_string()),
            text(candidates.len().to_string()),
        ];
        words.extend(candidates.iter().cloned());
        words.extend(command.arguments().iter().cloned());
        sys::fexecve(self.0.as_fd(), &words, command.environment())
    }
}

/// Runs the launcher, if these are the words of one. For `main`, before the command line is parsed.
pub(crate) fn guest(words: &[OsString]) -> Option<ExitCode> {
    let [name, manner, porthole, count, rest @ ..] = words else { return None };
    if name != NAME {
        return None;
    }
    let manner = Manner::parse(manner)?;
    let porthole = Pid::from_raw(porthole.to_str()?.parse().ok()?)?;
    let (candidates, arguments) = rest.split_at_checked(count.to_str()?.parse().ok()?)?;
    let command = Command::from_words(candidates, arguments, std::env::vars_os()).ok()?;
    sys::keep_last_arguments(arguments.len());
    Some(ExitCode::from(launch(&command, manner, porthole).status()))
}

fn launch(command: &Command, manner: Manner, porthole: Pid) -> Outcome {
    let is_there = || getppid() == Some(porthole);
    if manner.tied && !is_there() {
        return Outcome::Alone;
    }
    match sys::fork_beside(|| become_the_command(command, manner).status()) {
        Err(_) => Outcome::NoFork,
        // porthole went before the child had its death signal.
        Ok((child, None)) if manner.tied && !is_there() => {
            let _ = kill_process(child, Signal::KILL);
            Outcome::Alone
        }
        Ok((_, None)) => Outcome::Running,
        Ok((_, Some(status))) => Outcome::of(status).unwrap_or(Outcome::NoFork),
    }
}

/// In the child. Comes back only with what failed.
fn become_the_command(command: &Command, manner: Manner) -> Outcome {
    if setsid().is_err() || (manner.terminal && ioctl_tiocsctty(stdin()).is_err()) {
        return Outcome::NoTerminal;
    }
    if manner.tied && set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return Outcome::NoDeathSignal;
    }
    match command.execute() {
        ExecError::NotExecutable { source, .. } => {
            let errno = source.raw_os_error().and_then(|errno| u8::try_from(errno).ok());
            Outcome::NotExecutable(errno.unwrap_or_default().min(LAST_ERRNO), command.is_permitted())
        }
        _ => Outcome::NotFound,
    }
}

/// The outcome, as an exit status: any other channel would be a descriptor that the child has too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Running,
    /// The error of execve, and whether the file's own permissions allow it.
    NotExecutable(u8, bool),
    NotFound,
    NoFork,
    NoTerminal,
    NoDeathSignal,
    Alone,
}

/// errno(3) has no number beyond it.
const LAST_ERRNO: u8 = 133;
/// Added to EPERM (1) and EACCES (13), the two that a security module answers.
const PERMITTED: u8 = 200;

impl Outcome {
    const PLAIN: [(u8, Self); 7] = [
        (0, Self::Running),
        // Its own number is porthole's for a process that never became a launcher. File systems choose what they answer.
        (149, Self::NotExecutable(FAILED, false)),
        (150, Self::NotFound),
        (151, Self::NoFork),
        (152, Self::NoTerminal),
        (153, Self::NoDeathSignal),
        (154, Self::Alone),
    ];

    fn status(self) -> u8 {
        match self {
            Self::NotExecutable(FAILED, _) => 149,
            Self::NotExecutable(errno @ (1 | 13), true) => PERMITTED + errno,
            // A number that is none still says that it failed.
            Self::NotExecutable(errno, _) => errno.max(1),
            plain => {
                Self::PLAIN.iter().find(|(_, outcome)| *outcome == plain).map_or(154, |(status, _)| *status)
            }
        }
    }

    fn of(status: u8) -> Option<Self> {
        match status {
            FAILED => None,
            1..=LAST_ERRNO => Some(Self::NotExecutable(status, false)),
            201 | 213 => Some(Self::NotExecutable(status - PERMITTED, true)),
            _ => Self::PLAIN.iter().find(|(known, _)| *known == status).map(|(_, outcome)| *outcome),
        }
    }
}

/// A launcher that porthole has started.
#[derive(Debug)]
pub(crate) struct Launched<'a> {
    /// The launcher.
    pub(crate) launcher: Pid,
    /// Other children of this process that are not the command.
    pub(crate) others: Vec<Pid>,
    /// The command's name, for messages.
    pub(crate) command: &'a str,
    /// The security context of the command.
    pub(crate) context: &'a Context,
}

impl Launched<'_> {
    /// The command, once the launcher has ended with `status`; or why there is none.
    pub(crate) fn command(&self, status: WaitStatus) -> Result<Pid, ExecError> {
        let children = self.children()?;
        let failed = match status.exit_status().map(u8::try_from) {
            Some(Ok(status)) => failure(status, self.command),
            _ => Some((Step::Launch.refused("the launcher was killed", "nothing was run"), false)),
        };
        match (failed, children.as_slice()) {
            (None, [command]) => Ok(*command),
            (None, _) => {
                Self::end(&children);
                Err(Step::Launch.refused("the command is not among porthole's children", "try again"))
            }
            (Some((error, permitted)), _) => {
                Self::end(&children);
                Err(self.context.blame(error, || permitted))
            }
        }
    }

    /// After the launcher's end: ends the command, if there is one.
    pub(crate) fn end_children(&self) -> Result<(), ExecError> {
        self.children().map(|children| Self::end(&children))
    }

    /// After the launcher's end: the command.
    fn children(&self) -> Result<Vec<Pid>, ExecError> {
        let text = bounded::text(list_of_children(), bounded::LISTS)
            .map_err(Step::Launch.failed(list_of_children()))?;
        let pids = text.split_ascii_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
        Ok(pids.filter(|pid| *pid != self.launcher && !self.others.contains(pid)).collect())
    }

    /// Nothing that was not confirmed runs on.
    fn end(children: &[Pid]) {
        for &child in children {
            let _ = kill_process(child, Signal::KILL);
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    }
}

/// Why the command does not run, from the launcher's exit status; and whether the permissions of its file would allow it.
/// `None`: it runs.
fn failure(status: u8, command: &str) -> Option<(ExecError, bool)> {
    let refused = |what: &str| Step::Launch.refused(what, "nothing was run");
    let error = match Outcome::of(status) {
        Some(Outcome::Running) => return None,
        Some(Outcome::NotExecutable(errno, permitted)) => {
            let source = io::Error::from_raw_os_error(errno.into());
            return Some((ExecError::NotExecutable { command: command.to_owned(), source }, permitted));
        }
        Some(Outcome::NotFound) => ExecError::NotFound { command: command.to_owned() },
        Some(Outcome::NoFork) => Step::Launch
            .refused("no process in the target's pid namespace", "has it, or its cgroup, too many?"),
        Some(Outcome::NoTerminal) => refused("no session or terminal of its own"),
        Some(Outcome::NoDeathSignal) => refused("no death signal"),
        Some(Outcome::Alone) => refused("porthole is gone"),
        None => refused("the launcher ended in a way that it has no status for"),
    };
    Some((error, false))
}

/// Refuses what could not be waited for: a kernel without this list does not tell porthole which process the command is.
pub(crate) fn can_be_found() -> Result<(), ExecError> {
    match std::fs::exists(list_of_children()) {
        Ok(true) => Ok(()),
        _ => Err(Step::Launch.refused(
            format!(
                "{} is missing, so the command could not be found among porthole's children",
                list_of_children()
            ),
            "use a kernel with CONFIG_PROC_CHILDREN, or leave out -p",
        )),
    }
}

fn list_of_children() -> String {
    let pid = getpid().as_raw_nonzero();
    format!("/proc/self/task/{pid}/children")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_outcome_has_a_status_of_its_own() {
        let mut outcomes: Vec<_> = Outcome::PLAIN.iter().map(|(_, outcome)| *outcome).collect();
        outcomes.extend((1..=LAST_ERRNO).map(|errno| Outcome::NotExecutable(errno, false)));
        outcomes.extend([1, 13].map(|errno| Outcome::NotExecutable(errno, true)));
        for outcome in &outcomes {
            assert_eq!(Outcome::of(outcome.status()), Some(*outcome));
        }
        // That of a process which never became a launcher, and has said why.
        assert!(outcomes.iter().all(|outcome| outcome.status() != FAILED));
        assert_eq!(Outcome::of(FAILED), None);
        assert_eq!(failure(149, "x").unwrap().0.status(), 126);
        assert_eq!(Outcome::of(255), None);
        assert!(failure(0, "x").is_none());
        assert_eq!(failure(2, "x").unwrap().0.status(), 126);
        assert_eq!(failure(150, "x").unwrap().0.status(), 127);
        assert_eq!(failure(255, "x").unwrap().0.status(), 125);
    }

    #[test]
    fn only_its_own_words_make_a_launcher() {
        let guest = |words: &[&str]| guest(&words.iter().map(OsString::from).collect::<Vec<_>>());
        for words in [
            &["porthole", "--", "1", "0"][..],
            &[NAME],
            &[NAME, "exec", "1", "0"],
            &[NAME, "--", "0", "0"],
            &[NAME, "--", "1", "5", "a"],
        ] {
            assert!(guest(words).is_none(), "{words:?}");
        }
    }
}
