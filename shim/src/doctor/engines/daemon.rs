//! An engine's daemon: which process it is, and when it was started.

use crate::install::engine::{Engine, EngineName};
use porthole_registry::process::Process;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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
        let comm = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        comm.trim() == engine.name.daemon() && reads(engine, &words(&line))
    });
    // Of several the first: engines start themselves again for what they do beside.
    daemons.filter_map(|pid| Some(Daemon { pid, started: started(pid)? })).min_by_key(|daemon| daemon.started)
}

fn words(line: &[u8]) -> Vec<String> {
    line.split(|&byte| byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect()
}

/// Whether a daemon with this command line reads the engine's configuration: Docker starts a containerd with another.
fn reads(engine: &Engine, words: &[String]) -> bool {
    let names: &[&str] = match engine.name {
        EngineName::Docker => &["--config-file"],
        _ => &["--config", "-c"],
    };
    let told = words.iter().enumerate().find_map(|(at, word)| match word.split_once('=') {
        Some((name, value)) if names.contains(&name) => Some(value.to_owned()),
        None if names.contains(&word.as_str()) => words.get(at + 1).cloned(),
        _ => None,
    });
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    told.is_none_or(|told| real(Path::new(&told)) == real(&engine.config))
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

    fn engine(name: EngineName, config: &str) -> Engine {
        Engine { name, version: None, program: None, config: config.into() }
    }

    #[test]
    fn a_daemon_that_was_told_another_configuration_is_another_one() {
        let containerd = engine(EngineName::Containerd, "/etc/containerd/config.toml");
        let reads = |engine: &Engine, line: &str| reads(engine, &words(line.replace(' ', "\0").as_bytes()));
        assert!(reads(&containerd, "/usr/bin/containerd"));
        assert!(reads(&containerd, "containerd --log-level info --config /etc/containerd/config.toml"));
        assert!(reads(&containerd, "containerd -c=/etc/containerd/config.toml"));
        assert!(!reads(&containerd, "containerd --config /var/run/docker/containerd/containerd.toml"));
        let docker = engine(EngineName::Docker, "/etc/docker/daemon.json");
        assert!(reads(&docker, "dockerd -H fd://"));
        assert!(!reads(&docker, "dockerd --config-file=/srv/daemon.json"));
    }

    #[test]
    fn a_process_that_was_just_started_is_newer_than_a_file_that_was_there() {
        let file = std::env::current_exe().unwrap();
        let me = started(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(newest(&[file]).unwrap().at < me);
        assert!(me <= SystemTime::now() + Duration::from_millis(20));
    }
}
