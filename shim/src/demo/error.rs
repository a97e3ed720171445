//! What can go wrong in the demo.

use std::io;
use std::path::{Path, PathBuf};

use libcontainer::error::LibcontainerError;

use crate::netlink;

/// A step of the demo that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Namespaces, mounts and interfaces need privileges.
    #[error("demo: {missing}")]
    Privileges {
        /// What the process lacks.
        missing: String,
    },
    /// The hook is part of the build, but not where it is looked for.
    #[error("find porthole-hook: not in {}", list(.tried))]
    NoHook {
        /// Where it was looked for.
        tried: Vec<PathBuf>,
    },
    /// The containers consist of nothing but this program, so it must not need a library.
    #[error("use {} as the containers' program: {reason}", .program.display())]
    Unfit {
        /// The program.
        program: PathBuf,
        /// Why it cannot be used.
        reason: &'static str,
    },
    /// The embedded runtime puts every container into a cgroup.
    #[error("find a cgroup file system: none is mounted")]
    NoCgroups,
    /// One demo at a time.
    #[error("start a demo: {} exists, so one is running or was left", .dir.display())]
    Running {
        /// The demo's directory.
        dir: PathBuf,
    },
    /// `--end` without a demo.
    #[error("end the demo: none is running")]
    NotRunning,
    /// A file of the demo.
    #[error("{step} {}", .path.display())]
    File {
        /// What was to be done.
        step: &'static str,
        /// To what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A call about a process.
    #[error("{step}")]
    Process {
        /// What was to be done.
        step: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The embedded runtime refused.
    #[error("{step} container {name}")]
    Runtime {
        /// What was to be done.
        step: &'static str,
        /// To which container of the pod.
        name: &'static str,
        /// Why it failed.
        source: Box<LibcontainerError>,
    },
    /// The pod's interface.
    #[error("connect the pod")]
    Network(#[from] netlink::Error),
    /// Every /30 of the range was taken.
    #[error("connect the pod: no free network in 198.18.0.0/15")]
    NoSubnet,
    /// The hook did not do its part.
    #[error("find the pod's pin: {detail}")]
    NotPinned {
        /// What was found instead.
        detail: String,
    },
    /// The server inside did not answer in time.
    #[error("wait for the server in the pod: not listening after {seconds} s")]
    NotListening {
        /// How long it was waited for.
        seconds: u64,
    },
    /// A command that was shown failed.
    #[error("the demo ran, but {count} of its commands failed")]
    Commands {
        /// How many.
        count: usize,
    },
    /// Something could not be taken away.
    #[error("take the demo away: {}", .0.join("; "))]
    Leftovers(Vec<String>),
    /// Ctrl-C or a signal.
    #[error("interrupted: the demo's pod was taken away")]
    Interrupted,
    /// The stage was killed or crashed.
    #[error("the demo ended unexpectedly ({how}): its pod was taken away")]
    Crashed {
        /// Its wait status.
        how: String,
    },
    /// The reader of the output went away.
    #[error("write the demo's output")]
    Output(#[source] io::Error),
}

impl Error {
    /// What the reader can do about it.
    pub fn remedy(&self) -> Option<String> {
        Some(match self {
            Self::Privileges { .. } => "run it as root on the host: sudo porthole demo".to_owned(),
            Self::NoHook { .. } => "build it (cargo build) or name it: porthole demo --hook PATH".to_owned(),
            Self::Unfit { .. } => "use the program that `make build` makes, with mode 0755".to_owned(),
            Self::NoCgroups => "mount -t cgroup2 none /sys/fs/cgroup".to_owned(),
            Self::Running { .. } => "porthole demo --end".to_owned(),
            Self::NotPinned { .. } => {
                "the hook says why in the system log: journalctl -t porthole-hook".to_owned()
            }
            Self::Leftovers(_) => "porthole demo --end, then porthole reconcile".to_owned(),
            Self::Network(error) => return error.remedy().map(str::to_owned),
            _ => return None,
        })
    }

    /// The error and its causes on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }

    pub(super) fn file(step: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { step, path, source }
    }

    pub(super) fn process(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Process { step, source }
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// An error and its causes on one line.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_with_its_causes_and_nothing_twice() {
        let cause = io::Error::other("no such device");
        let error = Error::File { step: "open", path: "/x".into(), source: cause };
        assert_eq!(error.chain(), "open /x: no such device");
    }
}
