//! A cgroup of the command's own: `porthole/exec-…` in the v2 hierarchy, or in those of v1 that bound something.
//!
//! Whoever made it holds a lock on its directory. The lock goes with the process, in whatever way that ends, so a cgroup
//! that nobody has locked is nobody's any more: the next exec ends it. The first hierarchy has the lock; its directory is
//! made first and removed last.

use porthole_registry::bounded;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, fchmod, flock, fstat, mkdir, openat, rmdir};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use rustix::time::{ClockId, clock_gettime};

use super::super::error::{ExecError, Step};
use super::hierarchy::{Hierarchy, Knob, PARENT, ROOT, Version, hierarchies};
use super::{Life, NO_CGROUP, OwnLimits, slots};
use crate::locks::flock_holder;

/// What a process needs to die of SIGKILL, whatever it is doing.
const PATIENCE: Duration = Duration::from_secs(5);
/// The same while a command runs that is to be waited for: who does not die at once is left to the next exec.
const HASTE: Duration = Duration::from_millis(20);
/// As many are looked at in one sweep; with a hundred execs at once each leaves some to the others.
const SWEPT: usize = 32;

/// A process that can open a directory can lock it, and a cgroup that is locked is taken for one in use.
const CLOSED: Mode = Mode::RWXU;

/// A cgroup that this process has made or taken, and locked.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) version: Version,
    pub(super) hierarchies: Vec<Hierarchy>,
    pub(super) name: String,
    pub(super) life: Life,
    /// Of the first directory.
    #[expect(dead_code, reason = "what counts is that it is open")]
    pub(super) lock: OwnedFd,
}

/// Makes one, or takes one that stands ready; and what `0` has to be written to.
pub(super) fn prepare(limits: &OwnLimits, life: Life) -> Result<(Own, Vec<OwnedFd>), ExecError> {
    let hierarchies = hierarchies(Path::new(ROOT), limits);
    let version = limits.version;
    if version == Version::V1
        && life == Life::Waited
        && let Some(own) = slots::claim(&hierarchies)?
    {
        let doors = own.doors()?;
        return Ok((own, doors));
    }
    let kind = if life == Life::Waited { "exec" } else { "free" };
    let pid = std::process::id();
    let mut tries = 0;
    loop {
        let now = clock_gettime(ClockId::Monotonic);
        let name = format!("{kind}-{pid}-{:x}{:08x}", now.tv_sec, now.tv_nsec);
        match Own::create(version, &hierarchies, name, life).and_then(|own| Ok((own.doors()?, own))) {
            Ok((doors, own)) => return Ok((own, doors)),
            // A sweep took it for one that was left behind.
            Err(Failed::Lost) if tries < 8 => tries += 1,
            Err(failed) => return Err(failed.into()),
        }
    }
}

/// Why there is no cgroup.
pub(super) enum Failed {
    /// Another process was quicker.
    Lost,
    At(PathBuf, io::Error),
    ReadsBack(PathBuf, String, u64),
}

impl From<Failed> for ExecError {
    fn from(failed: Failed) -> Self {
        let what = match failed {
            Failed::Lost => "cgroups that were just made are gone again".to_owned(),
            Failed::At(path, error) => format!("{}: {error}", path.display()),
            Failed::ReadsBack(path, is, wanted) => {
                format!("{} reads back as {is}, not as {wanted}", path.display())
            }
        };
        Step::Bounds.refused(what, NO_CGROUP)
    }
}

fn at(path: &Path) -> impl FnOnce(Errno) -> Failed {
    move |error| match error {
        Errno::NOENT | Errno::NODEV | Errno::WOULDBLOCK => Failed::Lost,
        error => Failed::At(path.to_owned(), error.into()),
    }
}

impl Own {
    /// Makes the cgroup `name`, locks it, sets its limits and reads them back.
    pub(super) fn create(
        version: Version,
        hierarchies: &[Hierarchy],
        name: String,
        life: Life,
    ) -> Result<Self, Failed> {
        let Some((first, others)) = hierarchies.split_first() else { return Err(Failed::Lost) };
        let directory = first.parent.join(&name);
        make(first, &name)?;
        let lock = lock(&directory).map_err(at(&directory))?;
        let own = Self { version, hierarchies: hierarchies.to_vec(), name, life, lock };
        let filled =
            others.iter().try_for_each(|hierarchy| make(hierarchy, &own.name)).and_then(|()| own.set());
        if let Err(failed) = filled {
            own.remove();
            return Err(failed);
        }
        Ok(own)
    }

    fn set(&self) -> Result<(), Failed> {
        for hierarchy in &self.hierarchies {
            let directory = hierarchy.parent.join(&self.name);
            for knob in &hierarchy.knobs {
                let path = directory.join(knob.file);
                let file = match open(&path, OFlags::RDWR) {
                    Err(Errno::NOENT) if knob.optional => continue,
                    Err(Errno::NOENT) if self.version == Version::V2 && directory.exists() => {
                        self.enable(&hierarchy.parent)?;
                        open(&path, OFlags::RDWR)
                    }
                    opened => opened,
                };
                set(&file.map_err(at(&path))?, knob, &path)?;
            }
        }
        Ok(())
    }

    /// Has v2 hand the controllers down to our cgroups. Once a boot, so it is done when they turn out to be missing.
    fn enable(&self, parent: &Path) -> Result<(), Failed> {
        for directory in [parent.parent(), Some(parent)].into_iter().flatten() {
            let path = directory.join("cgroup.subtree_control");
            let knobs = self.hierarchies.iter().flat_map(|hierarchy| &hierarchy.knobs);
            let names = knobs.filter(|knob| !knob.optional).filter_map(|knob| knob.file.split('.').next());
            let words: Vec<_> = names.map(|name| format!("+{name}")).collect();
            let file = open(&path, OFlags::WRONLY).map_err(at(&path))?;
            File::from(file).write_all(words.join(" ").as_bytes()).map_err(|e| Failed::At(path, e))?;
        }
        Ok(())
    }

    /// What a process writes `0` to. That of v1 moves one thread, which is all there is, and so waits for nobody: moving a
    /// whole process holds up every fork of the machine.
    pub(super) fn doors(&self) -> Result<Vec<OwnedFd>, Failed> {
        let file = if self.version == Version::V1 { "tasks" } else { "cgroup.procs" };
        let door = |hierarchy: &Hierarchy| {
            let path = hierarchy.parent.join(&self.name).join(file);
            open(&path, OFlags::WRONLY).map_err(at(&path))
        };
        self.hierarchies.iter().map(door).collect()
    }

    /// Whether a process with these memberships is in it, in every hierarchy.
    pub(super) fn is_joined(&self, memberships: &str) -> bool {
        let ending = format!("/{PARENT}/{}", self.name);
        memberships.lines().filter(|line| line.ends_with(&ending)).count() == self.hierarchies.len()
    }

    pub(super) fn killed_for_memory(&self) -> bool {
        let file = if self.version == Version::V1 { "memory.oom_control" } else { "memory.events" };
        let text = self.hierarchies.iter().find_map(|hierarchy| {
            bounded::text(hierarchy.parent.join(&self.name).join(file), bounded::FACTS).ok()
        });
        let count =
            |text: &str| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.parse::<u64>().ok());
        text.as_deref().and_then(count).is_some_and(|count| count > 0)
    }

    /// Kills what is in it, until nothing is. False if something stays.
    pub(super) fn empty(&self, patience: Duration) -> bool {
        let Some(first) = self.hierarchies.first() else { return true };
        let directory = first.parent.join(&self.name);
        if read(&directory.join("cgroup.procs")).is_ok_and(|members| members.is_empty()) {
            return true;
        }
        let until = Instant::now() + patience;
        let mut killed = false;
        loop {
            match members(&directory) {
                Some(members) if members.is_empty() => return true,
                // A cgroup that is gone.
                None => return true,
                Some(members) => {
                    // In the numbers of a pid namespace that is not around ours, a process is 0.
                    let seen = members.iter().any(|&pid| pid != 0);
                    let by_kernel = write(&directory.join("cgroup.kill"), "1");
                    if (!seen && !by_kernel) || Instant::now() > until {
                        return false;
                    }
                    if !by_kernel {
                        if !killed {
                            write(&directory.join("pids.max"), "0");
                        }
                        members.iter().for_each(|&pid| self.kill(pid));
                    }
                    killed = true;
                }
            }
            std::thread::sleep(Duration::from_micros(500));
        }
    }

    /// Only while it is a member: a number can have been given to another process since.
    fn kill(&self, pid: i32) {
        let Some(pid) = Pid::from_raw(pid) else { return };
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { return };
        let path = format!("/proc/{}/cgroup", pid.as_raw_nonzero());
        let ending = format!("/{PARENT}/{}", self.name);
        if bounded::text(path, bounded::FACTS)
            .is_ok_and(|text| text.lines().any(|line| line.ends_with(&ending)))
        {
            let _ = pidfd_send_signal(&pidfd, Signal::KILL);
        }
    }

    /// Removes it if it is empty.
    pub(super) fn remove(&self) -> bool {
        self.hierarchies
            .iter()
            .rev()
            .all(|hierarchy| matches!(rmdir(hierarchy.parent.join(&self.name)), Ok(()) | Err(Errno::NOENT)))
    }

    /// Removes the cgroups that killed execs have left. A cgroup that root has locked is in use.
    pub(super) fn sweep(&self) {
        let Some(first) = self.hierarchies.first() else { return };
        let Ok(entries) = std::fs::read_dir(&first.parent) else { return };
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        // Processes of all execs, and of this one alone: then no slot can have any of an exec that is gone.
        let alone = read(&first.parent.join("pids.current")).is_ok_and(|count| count == "1\n");
        let names = names.filter(|name| !alone || !slots::is_slot(name));
        let mut names: Vec<_> =
            names.filter(|name| *name != self.name && !name.contains('.') && name.contains('-')).collect();
        if names.len() > SWEPT {
            let start = usize::try_from(std::process::id()).unwrap_or_default() % names.len();
            names.rotate_left(start);
        }
        for name in names.into_iter().take(SWEPT) {
            let directory = first.parent.join(&name);
            let (lock, is_a_users) = match lock(&directory) {
                Ok(lock) => (lock, false),
                Err(_) => match locked_by_a_user(&directory) {
                    Some(lock) => (lock, true),
                    None => continue,
                },
            };
            let (version, hierarchies) = (self.version, self.hierarchies.clone());
            let left = Self { version, hierarchies, name, life: Life::Free, lock };
            // Where nobody waits, what runs goes on; a directory that is not empty is not removed.
            let is_over = left.name.starts_with("free-") || left.empty(HASTE);
            if is_over && (is_a_users || !slots::is_slot(&left.name)) {
                left.remove();
            }
        }
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        match self.life {
            Life::Free => {}
            Life::Waited if slots::is_slot(&self.name) => {
                self.empty(PATIENCE);
            }
            // An empty one goes at once.
            Life::Waited => {
                if !self.remove() && self.empty(PATIENCE) {
                    self.remove();
                }
            }
        }
    }
}

fn make(hierarchy: &Hierarchy, name: &str) -> Result<(), Failed> {
    let path = hierarchy.parent.join(name);
    let made = match mkdir(&path, CLOSED) {
        Err(Errno::NOENT) => {
            match mkdir(&hierarchy.parent, CLOSED) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(Failed::At(hierarchy.parent.clone(), error.into())),
            }
            mkdir(&path, CLOSED)
        }
        made => made,
    };
    match made {
        // Of a slot whose removal was interrupted; what is in it is set and read back all the same.
        Err(Errno::EXIST) if slots::is_slot(name) => Ok(()),
        Err(Errno::EXIST) => Err(Failed::Lost),
        made => made.map_err(|error| Failed::At(path, error.into())),
    }
}

/// Opens and locks the directory of a cgroup; an error if another process has it.
pub(super) fn lock(directory: &Path) -> rustix::io::Result<OwnedFd> {
    let lock = open(directory, OFlags::RDONLY | OFlags::DIRECTORY)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    // Older ones made them open to everybody.
    if fstat(&lock)?.st_mode & 0o077 != 0 {
        fchmod(&lock, CLOSED)?;
    }
    Ok(lock)
}

/// Opens the directory of a cgroup that is locked by another user than root. An older version made such directories
/// open to everybody; this closes the directory.
fn locked_by_a_user(directory: &Path) -> Option<OwnedFd> {
    let lock = open(directory, OFlags::RDONLY | OFlags::DIRECTORY).ok()?;
    let stat = fstat(&lock).ok()?;
    if stat.st_mode & 0o077 == 0 {
        return None;
    }
    let locks = bounded::text("/proc/locks", bounded::LISTS).ok()?;
    let holder = flock_holder(&locks, stat.st_dev, stat.st_ino)?;
    // An exec holds the lock while its command runs. If the holder is gone, nothing runs.
    let is_roots = std::fs::metadata(format!("/proc/{holder}")).is_ok_and(|process| process.uid() == 0);
    (!is_roots && fchmod(&lock, CLOSED).is_ok()).then_some(lock)
}

pub(super) fn open(path: &Path, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
}

fn set(file: &OwnedFd, knob: &Knob, path: &Path) -> Result<(), Failed> {
    rustix::io::write(file, knob.value.to_string().as_bytes()).map_err(at(path))?;
    let mut bytes = [0; 32];
    let count = rustix::io::pread(file, &mut bytes, 0).map_err(at(path))?;
    let is = String::from_utf8_lossy(&bytes[..count]);
    if knob.is(&is) {
        return Ok(());
    }
    Err(Failed::ReadsBack(path.to_owned(), is.trim().to_owned(), knob.value))
}

/// What a small file says, by one read: the kernel gives all of it at once.
pub(super) fn read(path: &Path) -> rustix::io::Result<String> {
    let mut bytes = [0; 1024];
    let count = rustix::io::read(open(path, OFlags::RDONLY)?, &mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes[..count]).into_owned())
}

/// Processes of a cgroup; none if it is not there.
pub(super) fn members(directory: &Path) -> Option<Vec<i32>> {
    let file = open(&directory.join("cgroup.procs"), OFlags::RDONLY).ok()?;
    let text = bounded::utf8(bounded::read(&file, bounded::LISTS).ok()?).ok()?;
    Some(text.lines().filter_map(|line| line.parse().ok()).collect())
}

fn write(path: &Path, value: &str) -> bool {
    open(path, OFlags::WRONLY).is_ok_and(|file| File::from(file).write_all_at(value.as_bytes(), 0).is_ok())
}

#[cfg(test)]
#[path = "own/tests.rs"]
mod tests;
