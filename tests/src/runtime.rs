//! The runtimes under which every sentence has to hold.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::tools::{Outcome, binary, run};

/// An OCI runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    /// opencontainers/runc
    Runc,
    /// containers/crun
    Crun,
    /// The library inside youki, through a small command line of our own.
    Libcontainer,
}

/// How runtimes are known to differ where a sentence of the suite has to know.
#[derive(Clone, Copy, Debug)]
pub struct Traits {
    /// The stage a container that is only created was last seen at.
    pub last_stage_of_create: &'static str,
    /// Pid in the state that poststop gets: `None` when the key is missing.
    pub poststop_pid: PoststopPid,
    /// Whether poststop runs when createRuntime failed or the command cannot be started.
    pub poststop_after_failed_create: bool,
    /// Whether poststop runs when the bundle is gone at `delete`.
    pub poststop_without_bundle: bool,
}

/// What poststop's state says of the pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PoststopPid {
    /// No such key.
    Absent,
    /// The number 0.
    Zero,
    /// The number the process had.
    Stale,
}

impl Runtime {
    /// The table of known differences; each row is asserted by a test.
    #[must_use]
    pub fn traits(self) -> Traits {
        match self {
            Self::Runc => Traits {
                last_stage_of_create: "poststart",
                poststop_pid: PoststopPid::Absent,
                poststop_after_failed_create: true,
                poststop_without_bundle: true,
            },
            Self::Crun => Traits {
                last_stage_of_create: "createRuntime",
                poststop_pid: PoststopPid::Zero,
                poststop_after_failed_create: false,
                poststop_without_bundle: false,
            },
            Self::Libcontainer => Traits {
                last_stage_of_create: "createRuntime",
                poststop_pid: PoststopPid::Stale,
                poststop_after_failed_create: false,
                poststop_without_bundle: true,
            },
        }
    }

    fn command(self) -> Command {
        let mut command = match self {
            Self::Runc => Command::new("runc"),
            Self::Crun => Command::new("crun"),
            Self::Libcontainer => Command::new(binary("porthole-test-runtime")),
        };
        // Not below /run, which some tests fill or make read-only.
        command.args(["--root", &format!("/mnt/state/{self:?}")]).stdin(Stdio::null());
        command
    }

    fn call(self, args: &[&str]) -> Outcome {
        let mut command = self.command();
        command.args(args);
        run(command)
    }

    /// Creates the container of the bundle at `dir`; its process waits to be started.
    #[must_use]
    pub fn create(self, id: &str, dir: &Path) -> Outcome {
        self.call(&["create", "--bundle", &dir.to_string_lossy(), id])
    }

    /// Starts its process.
    #[must_use]
    pub fn start(self, id: &str) -> Outcome {
        self.call(&["start", id])
    }

    /// Sends SIGKILL to its process.
    #[must_use]
    pub fn kill(self, id: &str) -> Outcome {
        self.call(&["kill", id, "KILL"])
    }

    /// Deletes it, killing it first when it runs.
    #[must_use]
    pub fn delete(self, id: &str) -> Outcome {
        self.call(&["delete", "--force", id])
    }

    /// Its state; `None` when the runtime knows no such container.
    #[must_use]
    pub fn state(self, id: &str) -> Option<Value> {
        let outcome = self.call(&["state", id]);
        outcome.status.success().then(|| serde_json::from_str(&outcome.stdout).expect("a state is JSON"))
    }
}
