//! The registry's lock: flock(2), held only around a change, and waited for no longer than a deadline.

use crate::deadline::Deadline;
use crate::error::{Error, Step};
use crate::store::Store;
use rustix::fd::OwnedFd;
use rustix::fs::{self, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Proof that the registry is locked, by this process, until it is dropped.
#[derive(Debug)]
pub struct Lock {
    // Closing the descriptor unlocks, and so does the death of the process.
    _fd: OwnedFd,
}

impl Store {
    /// Waits for the lock.
    ///
    /// # Errors
    /// [`Error::LockTimeout`] when another process still holds it at the deadline.
    pub fn lock(&self, deadline: Deadline) -> Result<Lock, Error> {
        let path = || self.subject("lock");
        // 0600: whoever may open it may lock it.
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = fs::openat(self.dir(), "lock", flags, Mode::from_raw_mode(0o600))
            .map_err(Step::Lock.on(path()))?;
        let held = wait_for_flock(&fd, deadline).map_err(|refused| match refused {
            Refused::Timeout(waited) => Error::LockTimeout { path: path(), waited_ms: waited.as_millis() },
            Refused::System(errno) => Step::Lock.on(path())(errno),
        });
        held.map(|()| Lock { _fd: fd })
    }
}

/// Why flock(2) was not had.
pub(crate) enum Refused {
    /// Held by another for this long.
    Timeout(Duration),
    /// The call failed.
    System(Errno),
}

/// Takes an exclusive flock(2). Polls, because a blocking call knows no deadline: at first at a quarter of
/// the time that one registration holds the lock, later at the pace of a queue of them.
pub(crate) fn wait_for_flock(fd: &OwnedFd, deadline: Deadline) -> Result<(), Refused> {
    let begin = Instant::now();
    let mut pause = Duration::from_micros(50);
    loop {
        match fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) if deadline.passed() => return Err(Refused::Timeout(begin.elapsed())),
            Err(Errno::WOULDBLOCK) => {
                sleep(pause.min(deadline.remaining()));
                pause = (pause * 2).min(Duration::from_millis(2));
            }
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Refused::System(errno)),
        }
    }
}
