//! Waiting for the command: its signals, its terminal, its end.

use porthole_registry::bounded;
use std::io::{PipeReader, Read};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::Timespec;
use rustix::process::{
    Pid, Signal as Sent, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group, waitpid,
};
use rustix::stdio::stdin;

use super::error::{ExecError, FAILED, Report, Step};
use super::launcher::Launched;
use super::lifeline::Lifeline;
use super::pty::Pty;
use crate::sys;

/// Sent on to the command. The terminal's stop signal is not: the command has it too, or `Signals::take` sees to it.
const FORWARDED: [Signal; 10] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGALRM,
    Signal::SIGCONT,
    Signal::SIGWINCH,
    Signal::SIGVTALRM,
];

/// The signals of this process, read instead of delivered.
#[derive(Debug)]
pub(crate) struct Signals {
    fd: SignalFd,
    old_mask: SigSet,
    separate: bool,
}

impl Signals {
    /// Before the fork, so that none is missed. `separate`: the command has a session of its own, so nothing that a
    /// terminal sends here reaches it by itself.
    pub(crate) fn take(separate: bool) -> Result<Self, ExecError> {
        let mut mask = SigSet::empty();
        FORWARDED.iter().for_each(|&signal| mask.add(signal));
        mask.add(Signal::SIGCHLD);
        if separate {
            mask.add(Signal::SIGTSTP);
        }
        // An ignored SIGCHLD, which a caller can leave us, would throw the command's status away.
        sys::default_action(libc::SIGCHLD).map_err(Step::Wait.failed("SIGCHLD"))?;
        let old_mask =
            mask.thread_swap_mask(SigmaskHow::SIG_BLOCK).map_err(Step::Wait.failed("the signal mask"))?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let fd = SignalFd::with_flags(&mask, flags).map_err(Step::Wait.failed("signalfd"))?;
        Ok(Self { fd, old_mask, separate })
    }

    pub(crate) fn old_mask(&self) -> SigSet {
        self.old_mask
    }
}

/// The process that porthole waits for: the command, or first the launcher that starts it.
pub(crate) struct Awaited<'a> {
    /// A child of this process.
    pub(crate) child: Pid,
    /// Set while that is the launcher.
    pub(crate) launched: Option<Launched<'a>>,
    /// Ends the command with this process.
    pub(crate) lifeline: &'a Lifeline,
    /// Signals that were sent to the launcher. It may have ended by then, and passes nothing on.
    pub(crate) sent: Vec<Sent>,
}

impl Awaited<'_> {
    /// Sends it a signal. One that has ended hears no more.
    fn send(&mut self, signal: Sent) -> Result<(), rustix::io::Errno> {
        if self.launched.is_some() {
            self.sent.push(signal);
        }
        heard(kill_process(self.child, signal))
    }

    /// Whether it has ended, and how. The end of a launcher that has done its work is the beginning of the command.
    fn ended(&mut self) -> Result<Option<WaitStatus>, ExecError> {
        let Some(status) = ended(self.child)? else { return Ok(None) };
        let Some(launched) = &self.launched else { return Ok(Some(status)) };
        if status.exit_status() == Some(i32::from(FAILED)) {
            // It never became a launcher, and has reported why.
            return Ok(Some(status));
        }
        if status.terminating_signal().is_some_and(|number| self.sent.iter().any(|s| s.as_raw() == number)) {
            // As the command would have ended. One that has just been started ends with it.
            launched.end_children()?;
            return Ok(Some(status));
        }
        self.child = launched.command(status)?;
        self.launched = None;
        self.lifeline.hand_over(self.child)?;
        for signal in std::mem::take(&mut self.sent) {
            self.send(signal).map_err(Step::Wait.failed("forward a signal"))?;
        }
        // Its end may be what the signal was about.
        ended(self.child)
    }
}

/// Until the command has ended; then its status, or what kept it from starting.
pub(crate) fn supervise(
    mut child: Awaited<'_>,
    mut pty: Option<Pty>,
    signals: &Signals,
    from_child: PipeReader,
    timeout: Option<Duration>,
) -> Result<u8, ExecError> {
    let mut end = End::after(timeout);
    if let Some(pty) = &mut pty {
        pty.make_raw()?;
    }
    let status = loop {
        wait_for_events(child.child, signals, pty.as_mut(), end.left())?;
        end.act(&mut child)?;
        if let Some(status) = handle_signals(&mut child, signals, pty.as_mut())? {
            break status;
        }
    };
    while pty.as_mut().is_some_and(Pty::pass_output) {}
    drop(pty);
    match reported(from_child) {
        Some(report) => Err(ExecError::Reported(report)),
        None if end.timed_out() => Ok(TIMED_OUT),
        None => Ok(status),
    }
}

/// As of timeout(1).
const TIMED_OUT: u8 = 124;
/// What a command gets for its last words.
const GRACE: Duration = Duration::from_secs(5);

/// The end that a command is given.
struct End {
    next: Option<(Instant, Sent)>,
    begun: bool,
}

impl End {
    fn after(timeout: Option<Duration>) -> Self {
        // What is too far away for the clock never comes.
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { next: at.map(|at| (at, Sent::TERM)), begun: false }
    }

    /// Until something is to be done.
    fn left(&self) -> Option<Duration> {
        self.next.map(|(at, _)| at.saturating_duration_since(Instant::now()))
    }

    fn act(&mut self, child: &mut Awaited<'_>) -> Result<(), ExecError> {
        let Some((at, signal)) = self.next.filter(|(at, _)| *at <= Instant::now()) else { return Ok(()) };
        self.begun = true;
        self.next = (signal == Sent::TERM).then(|| (at + GRACE, Sent::KILL));
        // One that is stopped is to hear of it too.
        for signal in [signal, Sent::CONT] {
            child.send(signal).map_err(Step::Wait.failed("end the command"))?;
        }
        Ok(())
    }

    fn timed_out(&self) -> bool {
        self.begun
    }
}

/// What the child sent before it ended. Once it has become the command, the pipe is closed and empty.
pub(crate) fn reported(mut from_child: PipeReader) -> Option<Report> {
    let mut bytes = Vec::new();
    from_child.read_to_end(&mut bytes).ok()?;
    if bytes.is_empty() {
        return None;
    }
    let garbled = |_| Report {
        code: "internal".to_owned(),
        status: FAILED,
        message: "the process that entered the target ended in the middle of a report".to_owned(),
        remedy: None,
    };
    Some(serde_json::from_slice(&bytes).unwrap_or_else(garbled))
}

fn wait_for_events(
    child: Pid,
    signals: &Signals,
    pty: Option<&mut Pty>,
    left: Option<Duration>,
) -> Result<(), ExecError> {
    let Some(pty) = pty else {
        return poll_all(&mut [PollFd::from_borrowed_fd(signals.fd.as_fd(), PollFlags::IN)], left);
    };
    let (mut readable, mut writable, mut typed) = (false, false, false);
    {
        let mut fds = vec![PollFd::from_borrowed_fd(signals.fd.as_fd(), PollFlags::IN)];
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, pty.has_output());
        wanted.set(PollFlags::OUT, pty.has_input());
        let master = (!wanted.is_empty()).then_some(fds.len());
        if master.is_some() {
            fds.push(PollFd::from_borrowed_fd(pty.master(), wanted));
        }
        let input = pty.reads_input().then_some(fds.len());
        if input.is_some() {
            fds.push(PollFd::from_borrowed_fd(stdin(), PollFlags::IN));
        }
        poll_all(&mut fds, left)?;
        let events =
            |index: Option<usize>| index.and_then(|i| fds.get(i)).map_or(PollFlags::empty(), PollFd::revents);
        let ended = PollFlags::HUP | PollFlags::ERR;
        readable |= pty.has_output() && events(master).intersects(PollFlags::IN | ended);
        writable |= pty.has_input() && events(master).intersects(PollFlags::OUT | ended);
        typed |= events(input).intersects(PollFlags::IN | ended);
    }
    if readable {
        pty.pass_output();
    }
    let mut suspend = false;
    if typed {
        pty.take_input();
        suspend = pty.asks_to_suspend(child) && takes_sigtstp_as_it_is(child);
    }
    if writable || (typed && pty.has_input()) {
        pty.give_input();
    }
    if suspend { stop_with(child, Some(pty)) } else { Ok(()) }
}

/// Whether the process neither ignores nor handles SIGTSTP: a shell at its prompt does, and editors do.
fn takes_sigtstp_as_it_is(child: Pid) -> bool {
    let status =
        bounded::text(format!("/proc/{}/status", child.as_raw_nonzero()), bounded::FACTS).unwrap_or_default();
    let has = |field: &str| {
        let set = status.lines().find_map(|line| line.strip_prefix(field));
        set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok())
            .is_some_and(|set| set & 1 << (libc::SIGTSTP - 1) != 0)
    };
    !status.is_empty() && !has("SigIgn:") && !has("SigCgt:")
}

/// Stops the command and then this process, until a SIGCONT, which is sent on. In its own session nobody could continue
/// the command, so it would not stop for a SIGTSTP.
fn stop_with(child: Pid, pty: Option<&mut Pty>) -> Result<(), ExecError> {
    let failed = Step::Wait.failed("stop with the command");
    let stopped = match &pty {
        Some(_) => kill_process_group(child, Sent::STOP),
        None => kill_process(child, Sent::STOP),
    };
    if let Some(pty) = pty {
        pty.restore();
    }
    match stopped {
        // Not a group of its own yet, or not any more.
        Err(rustix::io::Errno::SRCH) => Ok(()),
        stopped => stopped.and_then(|()| kill_process(getpid(), Sent::STOP)).map_err(failed),
    }
}

fn poll_all(fds: &mut [PollFd<'_>], left: Option<Duration>) -> Result<(), ExecError> {
    let left = left.and_then(|left| Timespec::try_from(left).ok());
    match poll(fds, left.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Step::Wait.failed("poll")(error)),
    }
}

fn handle_signals(
    awaited: &mut Awaited<'_>,
    signals: &Signals,
    mut pty: Option<&mut Pty>,
) -> Result<Option<u8>, ExecError> {
    while let Some(info) = signals.fd.read_signal().map_err(Step::Wait.failed("signalfd"))? {
        let Ok(number) = i32::try_from(info.ssi_signo) else { continue };
        if number == libc::SIGCHLD {
            if let Some(status) = awaited.ended()?.and_then(status_of) {
                return Ok(Some(status));
            }
            continue;
        }
        if number == libc::SIGTSTP {
            stop_with(awaited.child, pty.as_deref_mut())?;
            continue;
        }
        if let Some(pty) = pty.as_deref_mut() {
            match number {
                libc::SIGWINCH => {
                    pty.resize();
                    continue;
                }
                // Whoever stopped us may have left the terminal in another mode.
                libc::SIGCONT => pty.make_raw()?,
                _ => {}
            }
        }
        // What a terminal sends goes to the whole foreground group: the command, in it, has it already.
        let from_terminal = info.ssi_code == libc::SI_KERNEL;
        if from_terminal && !signals.separate {
            continue;
        }
        if let Some(signal) = Sent::from_named_raw(number) {
            let sent = match pty {
                // All that was stopped.
                Some(_) if number == libc::SIGCONT => heard(kill_process_group(awaited.child, signal)),
                _ => awaited.send(signal),
            };
            sent.map_err(Step::Wait.failed("forward a signal"))?;
        }
    }
    Ok(None)
}

/// Whether a signal arrived; what has ended needs none.
fn heard(sent: Result<(), rustix::io::Errno>) -> Result<(), rustix::io::Errno> {
    match sent {
        Err(rustix::io::Errno::SRCH) => Ok(()),
        other => other,
    }
}

fn ended(child: Pid) -> Result<Option<WaitStatus>, ExecError> {
    match waitpid(Some(child), WaitOptions::NOHANG) {
        Ok(Some((_, status))) => Ok(Some(status)),
        Ok(None) => Ok(None),
        Err(error) => Err(Step::Wait.failed("waitpid")(error)),
    }
}

fn status_of(status: WaitStatus) -> Option<u8> {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => return None,
    };
    Some(u8::try_from(code).unwrap_or(FAILED))
}
