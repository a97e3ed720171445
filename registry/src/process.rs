//! A process that cannot be swapped underneath: pidfd_open(2), proc_pid_stat(5).

use crate::bounded;
use crate::deadline::Deadline;
use crate::namespace::{NamespaceId, NamespaceKind};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, CWD, Mode, OFlags};
use rustix::io::{self, Errno};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// What may be wrong with a pid.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// Zero or negative.
    #[error("{0} is no process id")]
    NotAPid(i32),
    /// There is none, or it has ended (a zombie has).
    #[error("process {0} is gone")]
    Gone(i32),
    /// Another process has the number by now.
    #[error(
        "process {pid} is another one: it started at {found}, the recorded one at {expected} (clock ticks since boot)"
    )]
    Reused {
        /// The number.
        pid: i32,
        /// Start time on record.
        expected: u64,
        /// Start time found.
        found: u64,
    },
    /// The kernel refused.
    #[error("{step} of process {pid}: {source}")]
    System {
        /// What was tried.
        step: &'static str,
        /// On which process.
        pid: i32,
        /// Why not.
        source: Errno,
    },
}

/// A process held by a pidfd and by a descriptor of its `/proc` directory, both opened while it lived.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    start: u64,
    pidfd: OwnedFd,
    dir: OwnedFd,
}

impl Process {
    /// Opens the process that has number `pid` now.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] for a dead process or a zombie.
    pub fn open(pid: i32) -> Result<Self, ProcessError> {
        // Pid::from_raw panics on a negative number.
        let number =
            Some(pid).filter(|&pid| pid > 0).and_then(Pid::from_raw).ok_or(ProcessError::NotAPid(pid))?;
        let fail = |step| {
            move |source| match source {
                Errno::SRCH | Errno::NOENT => ProcessError::Gone(pid),
                source => ProcessError::System { step, pid, source },
            }
        };
        let pidfd = pidfd_open(number, PidfdFlags::empty()).map_err(fail("pidfd_open"))?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir =
            fs::openat(CWD, proc_path(pid).as_str(), flags, Mode::empty()).map_err(fail("open /proc"))?;
        let mut buffer = [0; 1024];
        let stat = read_small(&dir, "stat", &mut buffer).map_err(fail("read stat"))?;
        let (_, start) =
            parse_stat(stat).ok_or(ProcessError::System { step: "parse stat", pid, source: Errno::INVAL })?;
        let process = Self { pid, start, pidfd, dir };
        // Alive now means that all three opens met the same process: its number was not free between. The state letter is
        // that of its first thread, which can be a zombie while others run.
        if !process.is_alive() {
            return Err(ProcessError::Gone(pid));
        }
        Ok(process)
    }

    /// Opens process `pid` if it is the one that started at `start`.
    ///
    /// # Errors
    /// [`ProcessError::Reused`] when the number belongs to another process by now.
    pub fn open_recorded(pid: i32, start: u64) -> Result<Self, ProcessError> {
        let process = Self::open(pid)?;
        if process.start == start {
            Ok(process)
        } else {
            Err(ProcessError::Reused { pid, expected: start, found: process.start })
        }
    }

    /// Its number, for people to read.
    pub const fn pid(&self) -> i32 {
        self.pid
    }

    /// When it started, in clock ticks since boot.
    pub const fn start(&self) -> u64 {
        self.start
    }

    /// The pidfd.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// O_PATH descriptor of `/proc/PID`; opening below it fails with ESRCH once the process is gone.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The pidfd and the `/proc/PID` directory, to hand on.
    pub fn into_fds(self) -> (OwnedFd, OwnedFd) {
        (self.pidfd, self.dir)
    }

    /// Whether it has not ended yet: a pidfd becomes readable when it does.
    pub fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0))
    }

    /// Waits for its end. Returns false if it lives at the deadline.
    pub fn ends_by(&self, deadline: Deadline) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        loop {
            match poll(&mut fds, Some(&deadline.timespec())) {
                Err(Errno::INTR) => {}
                ready => return matches!(ready, Ok(1)),
            }
        }
    }

    /// The identity of one of its namespaces.
    ///
    /// # Errors
    /// ENOENT for a zombie or where the kernel lacks the kind, EACCES where ptrace(2) access is refused.
    pub fn namespace(&self, kind: NamespaceKind) -> Result<NamespaceId, Errno> {
        NamespaceId::at(&self.dir, ns_path(kind).as_str())
    }

    /// A descriptor of one of its namespaces.
    ///
    /// # Errors
    /// As [`Process::namespace`].
    pub fn open_namespace(&self, kind: NamespaceKind) -> Result<OwnedFd, Errno> {
        fs::openat(&self.dir, ns_path(kind).as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    }

    /// When it started, by the clock as it is set now, exact to a tick of 10 ms: proc_pid_stat(5), field 22.
    pub fn started_at(&self) -> Option<SystemTime> {
        started_at(self.start)
    }

    /// A file of its `/proc` directory, whole.
    ///
    /// # Errors
    /// Those of open(2) and read(2), and that it is longer than the kernel makes those about one process.
    pub fn read(&self, name: &str) -> std::io::Result<Vec<u8>> {
        let file = fs::openat(&self.dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        bounded::read(&file, bounded::FACTS)
    }
}

/// The time that many clock ticks after boot, by the clock as it is set now.
pub fn started_at(start: u64) -> Option<SystemTime> {
    let ticks = rustix::param::clock_ticks_per_second();
    let since_boot = Duration::from_millis(start.checked_mul(1000)?.checked_div(ticks)?);
    let of = |clock| {
        let time = clock_gettime(clock);
        Some(Duration::new(u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?))
    };
    let boot = of(ClockId::Realtime)?.checked_sub(of(ClockId::Boottime)?)?;
    UNIX_EPOCH.checked_add(boot)?.checked_add(since_boot)
}

/// Whether the process with this number is the one that started at `start`, and runs: one look at proc_pid_stat(5), for
/// those who show it and hold on to nothing.
pub fn is_running(pid: i32, start: u64) -> bool {
    let read = || {
        let file =
            fs::openat(CWD, format!("/proc/{pid}/stat"), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
        let mut buffer = [0; 1024];
        let length = io::read(&file, &mut buffer)?;
        Ok::<_, Errno>(parse_stat(&buffer[..length]))
    };
    match read() {
        Ok(Some((state, found))) if found == start => {
            // Its first thread may have ended before the others.
            !matches!(state, b'Z' | b'X') || !matches!(Process::open(pid), Err(ProcessError::Gone(_)))
        }
        Ok(_) | Err(Errno::NOENT | Errno::SRCH) => false,
        // What cannot be looked at has not ended: what has is released.
        Err(_) => true,
    }
}

fn ns_path(kind: NamespaceKind) -> String {
    format!("ns/{}", kind.proc_name())
}

fn proc_path(pid: i32) -> String {
    format!("/proc/{pid}")
}

/// Reads a `/proc` file into `buffer`. The rest that does not fit is left out: only of `stat`, whose first fields alone are asked for.
fn read_small<'b>(dir: impl AsFd, name: &str, buffer: &'b mut [u8]) -> Result<&'b [u8], Errno> {
    let file = fs::openat(dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut length = 0;
    while length < buffer.len() {
        match io::read(&file, &mut buffer[length..]) {
            Ok(0) => break,
            Ok(more) => length += more,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(&buffer[..length])
}

/// State letter and start time: fields 3 and 22 of proc_pid_stat(5). The name in field 2 may hold
/// spaces and parentheses, so counting starts behind the last one.
fn parse_stat(stat: &[u8]) -> Option<(u8, u64)> {
    let rest = &stat[stat.iter().rposition(|&byte| byte == b')')? + 1..];
    let mut fields = rest.split(|byte| byte.is_ascii_whitespace()).filter(|field| !field.is_empty());
    let state = *fields.next()?.first()?;
    let start = std::str::from_utf8(fields.nth(18)?).ok()?.parse().ok()?;
    Some((state, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        let line = b"42 (a) Z 1 (b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 9999 20 21\n";
        assert_eq!(parse_stat(line), Some((b'S', 9999)));
    }

    #[test]
    fn a_truncated_stat_is_no_process() {
        assert_eq!(parse_stat(b"42 (sh) S 1 2"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[test]
    fn one_s_own_process_is_alive_and_is_found_again_by_its_start_time() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let me = Process::open(pid).unwrap();
        assert!(me.is_alive());
        Process::open_recorded(pid, me.start()).unwrap();
        assert!(is_running(pid, me.start()));
        assert!(!is_running(pid, me.start() + 1));
        assert!(!is_running(-1, me.start()));
        assert!(matches!(Process::open_recorded(pid, me.start() + 1), Err(ProcessError::Reused { .. })));
    }

    #[test]
    fn pids_that_cannot_be_are_refused() {
        assert!(matches!(Process::open(0), Err(ProcessError::NotAPid(0))));
        assert!(matches!(Process::open(-1), Err(ProcessError::NotAPid(-1))));
        assert!(matches!(Process::open(i32::MAX), Err(ProcessError::Gone(_) | ProcessError::System { .. })));
    }

    #[test]
    fn a_zombie_counts_as_gone() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let until = std::time::Instant::now() + Duration::from_secs(5);
        while Process::open(pid).is_ok() && std::time::Instant::now() < until {
            std::thread::yield_now();
        }
        assert!(matches!(Process::open(pid), Err(ProcessError::Gone(_))));
        let mut buffer = [0; 1024];
        let stat = read_small(CWD, &format!("/proc/{pid}/stat"), &mut buffer).unwrap();
        assert!(!is_running(pid, parse_stat(stat).unwrap().1));
        child.wait().unwrap();
    }
}
