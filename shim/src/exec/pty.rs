//! A terminal for the command when the caller has one.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, fcntl_setfl, openat};
use rustix::io::Errno;
use rustix::process::{Pid, ioctl_tiocsctty};
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout, stderr, stdin, stdout};
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, isatty, tcgetattr, tcgetpgrp, tcgetwinsize,
    tcsetattr, tcsetwinsize,
};

use super::error::{ExecError, Step};
use super::ids::Ids;
use super::recording::Recording;

/// Our end; while it lives the caller's terminal is raw, and when it goes the terminal is as it was.
#[derive(Debug)]
pub(crate) struct Pty {
    master: OwnedFd,
    before: Termios,
    raw: bool,
    input: Vec<u8>,
    input_open: bool,
    output_open: bool,
    recording: Option<Recording>,
}

/// The command's end.
#[derive(Debug)]
pub(crate) struct Slave(OwnedFd);

impl Pty {
    /// On the devpts `own`, or on the host's: what is on the host's is seen beside the terminals of others.
    pub(crate) fn open(
        own: Option<BorrowedFd<'_>>,
        recording: Option<Recording>,
    ) -> Result<(Self, Slave), ExecError> {
        let open = || -> io::Result<(Self, Slave)> {
            let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
            let master = match own {
                Some(devpts) => {
                    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
                    openat(devpts, "ptmx", flags, Mode::empty())?
                }
                None => openpt(flags)?,
            };
            unlockpt(&master)?;
            let slave = ioctl_tiocgptpeer(&master, flags)?;
            let before = tcgetattr(stdin())?;
            tcsetattr(&slave, OptionalActions::Now, &before)?;
            // So that a command that does not read cannot keep us from passing on what it writes.
            fcntl_setfl(&master, OFlags::RDWR | OFlags::NONBLOCK)?;
            let mut pty = Self {
                master,
                before,
                raw: false,
                input: Vec::new(),
                input_open: true,
                output_open: true,
                recording,
            };
            pty.resize();
            Ok((pty, Slave(slave)))
        };
        open().map_err(Step::Terminal.failed("a pseudo terminal"))
    }

    /// Every key to the command, from now on.
    pub(crate) fn make_raw(&mut self) -> Result<(), ExecError> {
        let mut raw = self.before.clone();
        raw.make_raw();
        self.raw = true;
        tcsetattr(stdin(), OptionalActions::Drain, &raw).map_err(Step::Terminal.failed("raw mode"))
    }

    /// The caller's terminal as it was, while others use it.
    pub(crate) fn restore(&mut self) {
        if std::mem::take(&mut self.raw) {
            let _ = tcsetattr(stdin(), OptionalActions::Drain, &self.before);
        }
    }

    /// Whether the key that suspends was just typed, to be taken as that, and to `child` itself: not to a job of the
    /// shell that `child` is. The kernel sends SIGTSTP then, and throws it away, since nobody in that session could
    /// continue its first process.
    pub(crate) fn asks_to_suspend(&self, child: Pid) -> bool {
        let Ok(modes) = tcgetattr(&self.master) else { return false };
        modes.local_modes.contains(LocalModes::ISIG)
            && self.input.contains(&modes.special_codes[SpecialCodeIndex::VSUSP])
            && tcgetpgrp(&self.master).is_ok_and(|foreground| foreground == child)
    }

    /// The command's terminal gets the size of the caller's. A terminal without one leaves it as it is.
    pub(crate) fn resize(&mut self) {
        if let Ok(size) = tcgetwinsize(stdin()) {
            let _ = tcsetwinsize(&self.master, size);
            if let Some(recording) = &mut self.recording {
                recording.resized(size.ws_col, size.ws_row);
            }
        }
    }

    pub(crate) fn reads_input(&self) -> bool {
        self.input_open && self.input.is_empty()
    }

    pub(crate) fn has_input(&self) -> bool {
        !self.input.is_empty()
    }

    pub(crate) fn has_output(&self) -> bool {
        self.output_open
    }

    pub(crate) fn master(&self) -> BorrowedFd<'_> {
        self.master.as_fd()
    }

    /// Takes what was typed.
    pub(crate) fn take_input(&mut self) {
        let mut buffer = [0; 4096];
        match rustix::io::read(stdin(), &mut buffer) {
            Ok(0) => self.input_open = false,
            Ok(count) => self.input.extend_from_slice(&buffer[..count]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => self.input_open = false,
        }
    }

    /// Gives the command as much of it as it takes.
    pub(crate) fn give_input(&mut self) {
        match rustix::io::write(&self.master, &self.input) {
            Ok(count) => drop(self.input.drain(..count)),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => (self.input_open, self.input) = (false, Vec::new()),
        }
    }

    /// Passes on what the command wrote; false when there is nothing more for now.
    pub(crate) fn pass_output(&mut self) -> bool {
        let mut buffer = [0; 16384];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(count) if count > 0 => {
                // A terminal that is gone takes nothing more; the command must not wait for it.
                write_all(stdout(), &buffer[..count]);
                if let Some(recording) = &mut self.recording {
                    recording.shown(&buffer[..count]);
                }
                true
            }
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => false,
            // EIO: the last process has closed its end.
            Ok(_) | Err(_) => {
                self.output_open = false;
                false
            }
        }
    }
}

impl Drop for Pty {
    fn drop(&mut self) {
        self.restore();
        if let Some(Err(error)) = self.recording.take().map(Recording::end) {
            crate::output::to_stderr(&format!("porthole: --record: the recording is not complete: {error}"));
        }
    }
}

fn write_all(to: BorrowedFd<'_>, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match rustix::io::write(to, bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(_) => return,
        }
    }
}

impl Slave {
    /// Makes it stdin, stdout and stderr of this process; a stderr that is not a terminal stays what it is.
    pub(crate) fn become_stdio(&self, ids: &Ids) -> Result<(), ExecError> {
        let become_it = || -> io::Result<()> {
            let redirect = isatty(stderr());
            if let Ids::Set { uid, gid, host } = *ids {
                let (uid, gid) = host.unwrap_or((uid, gid));
                fchown(&self.0, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
                fchmod(&self.0, Mode::from_raw_mode(0o600))?;
            }
            dup2_stdin(&self.0)?;
            dup2_stdout(&self.0)?;
            if redirect {
                dup2_stderr(&self.0)?;
            }
            Ok(())
        };
        become_it().map_err(Step::Terminal.failed("the command's"))
    }

    /// Makes it the controlling terminal of this process, which begins a session.
    pub(crate) fn become_controlling(&self) -> Result<(), ExecError> {
        ioctl_tiocsctty(&self.0).map_err(Step::Terminal.failed("the controlling one"))
    }
}
