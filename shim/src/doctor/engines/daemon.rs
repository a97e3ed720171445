//! An engine's daemon: which process it is, and when it was started.

use crate::install::engine::{Engine, command_line};
use porthole_registry::bounded;
use porthole_registry::process::Process;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A running daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    pub(super) pid: i32,
    pub(super) started: SystemTime,
}

/// A file, and when it was last changed: its bytes, its name or its mode.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) path: PathBuf,
    pub(super) at: SystemTime,
}

/// The daemon of an engine that reads the configuration that is looked at.
pub(super) fn find(engine: &Engine) -> Option<Daemon> {
    let pids = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let daemons = pids.filter(|pid| {
        let comm = bounded::text(format!("/proc/{pid}/comm"), bounded::FACTS).unwrap_or_default();
        let line = bounded::file(format!("/proc/{pid}/cmdline"), bounded::LISTS).unwrap_or_default();
        // Docker starts a containerd with another configuration.
        let other = command_line::other_config(engine.name, &command_line::words(&line), &engine.config);
        comm.trim() == engine.name.daemon() && other.is_none()
    });
    // Of several the first: engines start themselves again for what they do beside.
    daemons.filter_map(|pid| Some(Daemon { pid, started: started(pid)? })).min_by_key(|daemon| daemon.started)
}

fn started(pid: i32) -> Option<SystemTime> {
    // A tick is what the start time is exact to.
    Process::open(pid).ok()?.started_at()?.checked_add(Duration::from_millis(20))
}

/// The file that was changed last.
pub(super) fn newest(files: &[PathBuf]) -> Option<Written> {
    let of = |path: &PathBuf| {
        let meta = fs::metadata(path).ok()?;
        let since = Duration::new(u64::try_from(meta.ctime()).ok()?, u32::try_from(meta.ctime_nsec()).ok()?);
        Some(Written { path: path.clone(), at: UNIX_EPOCH.checked_add(since)? })
    };
    files.iter().filter_map(of).max_by_key(|written| written.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_was_just_started_is_newer_than_a_file_that_was_there() {
        let file = std::env::current_exe().unwrap();
        let me = started(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(newest(&[file]).unwrap().at < me);
        assert!(me <= SystemTime::now() + Duration::from_millis(20));
    }
}
