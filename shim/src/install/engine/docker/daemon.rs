//! The daemon that runs on this node: which process it is, how it was started, and having it read its configuration again.

use super::config::{Config, NAME};
use super::info::{self, Info};
use crate::engines::command_line::values;
use crate::engines::{EngineName, daemon};
use crate::exit::Exit;
use crate::problem::Problem;
use rustix::process::{Signal, pidfd_send_signal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const SOCKET: &str = "/run/docker.sock";
/// How long it may take to act on what it has read.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running daemon.
#[derive(Debug)]
pub(super) struct Daemon {
    process: daemon::Daemon,
    socket: PathBuf,
}

impl Daemon {
    /// The daemon with this configuration, if one runs; else a daemon that was started with another.
    pub(super) fn find(config: &Config) -> Result<Option<Self>, Problem> {
        let all = daemon::of(EngineName::Docker);
        let found = all.iter().find(|daemon| daemon.reads(config.place())).or(all.first());
        let Some(process) = found.cloned() else { return Ok(None) };
        let socket = socket(config, process.words())?;
        Ok(Some(Self { process, socket }))
    }

    /// The value of one of its options.
    pub(super) fn flag(&self, names: &[&str]) -> Option<String> {
        values(self.process.words(), names).next().map(str::to_owned)
    }

    /// An option that it was started with, and that is in the way; see [`conflict`].
    pub(super) fn conflict(&self, file: &Path) -> Option<String> {
        conflict(self.process.words(), file)
    }

    /// What it says of itself; it may be about to start, and then answers a little later.
    pub(super) fn info(&self) -> Result<Info, Problem> {
        let until = Instant::now() + PATIENCE;
        loop {
            match info::ask(&self.socket) {
                Ok(info) => return Ok(info),
                Err(e) if Instant::now() >= until => {
                    return Err(Problem::new(
                        Exit::Failed,
                        format!("ask Docker at {}: {e}", self.socket.display()),
                        "it has to answer there: look at `docker info` and at \"hosts\" in its configuration",
                    ));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(200)),
            }
        }
    }

    /// Has it read its configuration, and waits until it goes by it.
    pub(super) fn take(&self, config: &Config) -> Result<(), Problem> {
        pidfd_send_signal(self.process.process().pidfd(), Signal::HUP)
            .map_err(|e| Problem::failed(format!("signal Docker: {e}")))?;
        let until = Instant::now() + PATIENCE;
        loop {
            match agrees(&self.info()?, config) {
                Ok(()) => return Ok(()),
                Err(problem) if Instant::now() >= until => return Err(problem),
                Err(_) => std::thread::sleep(Duration::from_millis(100)),
            }
        }
    }
}

/// Whether a daemon goes by a configuration: its default runtime, and whether ours is known to it.
pub(super) fn agrees(info: &Info, config: &Config) -> Result<(), Problem> {
    let problem = |what: String| {
        Problem::new(
            Exit::Failed,
            format!("Docker has not taken its configuration: {what}"),
            "look at its log: `journalctl -u docker`",
        )
    };
    let default = config.default_runtime()?;
    let right = match &default {
        Some(name) => info.default_runtime == *name,
        None => info.default_runtime != NAME,
    };
    if !right {
        return Err(problem(format!("its default runtime is {}", info.default_runtime)));
    }
    let (known, wanted) = (info.runtimes.get(NAME), config.guard()?);
    match (known, &wanted) {
        (Some(known), Some(guard)) if known.path == *guard => Ok(()),
        (None, None) => Ok(()),
        (Some(known), _) => Err(problem(format!("its runtime {NAME} is {}", known.path.display()))),
        (None, Some(_)) => Err(problem(format!("it has no runtime {NAME}"))),
    }
}

fn socket(config: &Config, words: &[String]) -> Result<PathBuf, Problem> {
    let hosts = config.value(&["hosts"])?;
    let hosts = hosts.iter().filter_map(|hosts| hosts.as_array()).flatten().filter_map(|host| host.as_str());
    let mut hosts = hosts.chain(values(words, &["--host", "-H"]));
    let path = hosts.find_map(|host| host.strip_prefix("unix://")).filter(|path| path.starts_with('/'));
    Ok(path.unwrap_or(SOCKET).into())
}

/// Options that cannot be together with what has to be in the configuration file; or another file than that.
pub(super) fn conflict(words: &[String], file: &Path) -> Option<String> {
    for name in ["--default-runtime", "--add-runtime"] {
        if let Some(value) = values(words, &[name]).next() {
            return Some(format!("{name}={value}"));
        }
    }
    let other = values(words, &["--config-file"]).find(|other| Path::new(other) != file);
    other.map(|other| format!("--config-file={other}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn options_that_are_in_the_way_are_found_in_every_spelling() {
        let file = Path::new("/etc/docker/daemon.json");
        for (line, found) in [
            ("-H fd:// --containerd=/run/containerd/containerd.sock", None),
            ("--default-runtime nvidia", Some("--default-runtime=nvidia")),
            ("--default-runtime=nvidia", Some("--default-runtime=nvidia")),
            ("-D --add-runtime=x=/usr/bin/x", Some("--add-runtime=x=/usr/bin/x")),
            ("--config-file /etc/docker/daemon.json", None),
            ("--config-file=/srv/d.json", Some("--config-file=/srv/d.json")),
            ("--default-runtimes x", None),
        ] {
            assert_eq!(conflict(&words(line), file).as_deref(), found, "{line}");
        }
    }

    #[test]
    fn the_socket_is_where_the_daemon_was_told_to_listen() {
        for (text, line, path) in [
            ("{}", "", SOCKET),
            ("{\"hosts\": [\"tcp://127.0.0.1:2375\", \"unix:///srv/d.sock\"]}", "", "/srv/d.sock"),
            ("{\"hosts\": [\"fd://\"]}", "", SOCKET),
            ("{}", "-H unix:///x.sock", "/x.sock"),
            ("{}", "-Hunix:///x.sock", "/x.sock"),
            ("{}", "--host=fd://", SOCKET),
        ] {
            let config = Config::parse(Some(text), Path::new("d")).unwrap();
            assert_eq!(socket(&config, &words(line)).unwrap(), Path::new(path), "{text} {line}");
        }
    }
}
