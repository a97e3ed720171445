//! What can end an exec before its command runs: the step, its subject, the cause, the remedy.

use std::io;

use serde::{Deserialize, Serialize};

/// Status of everything that is porthole's own failure, as in env(1).
pub(crate) const FAILED: u8 = 125;
/// The command was found, and cannot be executed.
pub(crate) const NOT_EXECUTABLE: u8 = 126;
/// The command was not found.
pub(crate) const NOT_FOUND: u8 = 127;

/// One step of entering a target; its name is part of every message about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Words into a request.
    Request,
    /// Whether it may be done.
    Policy,
    /// The line in the system log.
    Audit,
    /// The recording of the session.
    Record,
    /// What the target is.
    Inspect,
    /// The pod's resolver files.
    Dns,
    /// A process of its own for the command.
    Fork,
    /// The terminal of the command.
    Terminal,
    /// setns.
    Join,
    /// The private mount view.
    View,
    /// Root directory.
    Root,
    /// Working directory.
    WorkingDirectory,
    /// The session keyring.
    Keyring,
    /// cgroup, resource limits.
    Bounds,
    /// uid, gid, groups.
    Ids,
    /// The five capability sets.
    Capabilities,
    /// No new privileges.
    NoNewPrivileges,
    /// The security module's context.
    Context,
    /// The host's processes out of reach.
    Apart,
    /// The command out of their reach.
    Shield,
    /// The filter of system calls.
    Seccomp,
    /// A copy of porthole that nothing inside can write to.
    SealImage,
    /// Descriptors.
    Descriptors,
    /// The fork into the target's pid namespace.
    Launch,
    /// The end of the command with porthole.
    DeathSignal,
    /// Waiting for the command.
    Wait,
}

impl Step {
    /// What was being done.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Request => "read the request",
            Self::Policy => "ask the policy",
            Self::Audit => "write to the system log",
            Self::Record => "record the session",
            Self::Inspect => "inspect the target",
            Self::Dns => "read the pod's resolver files",
            Self::Fork => "start a process",
            Self::Terminal => "set up the terminal",
            Self::Join => "join the namespace",
            Self::View => "build the mount view",
            Self::Root => "change the root directory",
            Self::WorkingDirectory => "change the working directory",
            Self::Keyring => "leave the caller's keyring",
            Self::Bounds => "bound what it uses",
            Self::Ids => "change user and group",
            Self::Capabilities => "reduce capabilities",
            Self::NoNewPrivileges => "forbid new privileges",
            Self::Context => "set the security context",
            Self::Apart => "keep it apart from the host's processes",
            Self::Shield => "keep others from tracing it",
            Self::Seccomp => "filter system calls",
            Self::SealImage => "protect porthole's own image",
            Self::Descriptors => "close file descriptors",
            Self::Launch => "launch it in the pid namespace",
            Self::DeathSignal => "tie the command to porthole",
            Self::Wait => "wait for the command",
        }
    }

    /// The same for programs.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::Request => "usage",
            Self::Policy => "policy",
            Self::Audit => "audit",
            Self::Record => "record",
            Self::Inspect => "inspect",
            Self::Dns => "dns",
            Self::Fork => "fork",
            Self::Terminal => "terminal",
            Self::Join => "join_namespace",
            Self::View => "mount_view",
            Self::Root => "root",
            Self::WorkingDirectory => "working_directory",
            Self::Keyring => "keyring",
            Self::Bounds => "bounds",
            Self::Ids => "ids",
            Self::Capabilities => "capabilities",
            Self::NoNewPrivileges => "no_new_privileges",
            Self::Context => "security_context",
            Self::Apart => "apart",
            Self::Shield => "shield",
            Self::Seccomp => "seccomp",
            Self::SealImage => "seal_image",
            Self::Descriptors => "descriptors",
            Self::Launch => "launch",
            Self::DeathSignal => "death_signal",
            Self::Wait => "wait",
        }
    }

    /// An error of the kernel in this step.
    pub(crate) fn failed<E: Into<io::Error>>(
        self,
        subject: impl Into<String>,
    ) -> impl FnOnce(E) -> ExecError {
        move |source| ExecError::Step { step: self, subject: subject.into(), source: source.into() }
    }

    /// A refusal of ours in this step.
    pub(crate) fn refused(self, subject: impl Into<String>, remedy: impl Into<String>) -> ExecError {
        ExecError::Refused { step: self, subject: subject.into(), remedy: remedy.into() }
    }
}

/// Why the command did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ExecError {
    /// The kernel said no.
    #[error("{}: {subject}: {source}", step.name())]
    Step {
        /// While doing what.
        step: Step,
        /// To what.
        subject: String,
        /// Why.
        source: io::Error,
    },
    /// It cannot be done, or not safely.
    #[error("{}: {subject}", step.name())]
    Refused {
        /// While doing what.
        step: Step,
        /// What is wrong.
        subject: String,
        /// What to do.
        remedy: String,
    },
    /// No such command.
    #[error("{command}: command not found")]
    NotFound {
        /// As given.
        command: String,
    },
    /// A command that cannot run.
    #[error("{command}: cannot be executed: {source}")]
    NotExecutable {
        /// As given.
        command: String,
        /// Why.
        source: io::Error,
    },
    /// What the process that entered the target reported before it ended.
    #[error("{}", .0.message)]
    Reported(Report),
}

impl ExecError {
    /// The process exit status that stands for it.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Step { .. } | Self::Refused { .. } => FAILED,
            Self::NotFound { .. } => NOT_FOUND,
            Self::NotExecutable { .. } => NOT_EXECUTABLE,
            Self::Reported(report) => report.status,
        }
    }

    /// What the reader can do about it.
    pub(crate) fn remedy(&self) -> Option<String> {
        match self {
            Self::Refused { remedy, .. } => Some(remedy.clone()).filter(|r| !r.is_empty()),
            Self::Reported(report) => report.remedy.clone(),
            Self::NotFound { .. } => Some(
                "without -m it is looked for on the host, with -m in the target; PATH applies".to_owned(),
            ),
            Self::NotExecutable { .. } => {
                Some("the command runs as another user: --explain shows which".to_owned())
            }
            Self::Step { step, source, .. } => remedy_of(*step, source).map(str::to_owned),
        }
    }

    /// Everything there is to say, in a form that can be printed or sent.
    pub(crate) fn report(&self) -> Report {
        match self {
            Self::Reported(report) => report.clone(),
            Self::Step { step, .. } | Self::Refused { step, .. } => self.with_code(step.code()),
            Self::NotFound { .. } => self.with_code("command_not_found"),
            Self::NotExecutable { .. } => self.with_code("command_not_executable"),
        }
    }

    fn with_code(&self, code: &str) -> Report {
        Report {
            code: code.to_owned(),
            status: self.status(),
            message: self.to_string(),
            remedy: self.remedy(),
        }
    }
}

fn remedy_of(step: Step, source: &io::Error) -> Option<&'static str> {
    let denied = source.kind() == io::ErrorKind::PermissionDenied;
    match step {
        Step::Join | Step::View | Step::Ids | Step::Capabilities if denied => {
            Some("run it as root with all capabilities (sudo porthole …)")
        }
        Step::View if source.raw_os_error() == Some(libc::ENOSYS) => Some("Linux 5.12 or later is needed"),
        Step::Join | Step::Inspect => Some("the process may have ended: try again, or name the pod"),
        Step::Keyring if denied => Some("something filters keyctl(2): run it outside that container"),
        Step::Bounds => {
            Some("--cgroup none, or cgroup = \"none\" in [exec] of config.toml, runs without a cgroup")
        }
        Step::WorkingDirectory => Some("choose another with -w=DIR"),
        _ => None,
    }
}

/// An error as data: printed by the command line, and sent by the process that enters the target to the one that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    /// For programs: which step, or what about the command.
    pub(crate) code: String,
    /// The exit status.
    pub(crate) status: u8,
    /// For people.
    pub(crate) message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_env() {
        let denied = || io::Error::from_raw_os_error(libc::EACCES);
        assert_eq!(Step::View.failed("/")(denied()).status(), 125);
        assert_eq!(Step::Ids.refused("x", "y").status(), 125);
        assert_eq!(ExecError::NotFound { command: "x".into() }.status(), 127);
        assert_eq!(ExecError::NotExecutable { command: "x".into(), source: denied() }.status(), 126);
    }

    #[test]
    fn a_report_survives_the_way_to_the_parent() {
        let report = Step::View.failed("/etc")(io::Error::from_raw_os_error(libc::EPERM)).report();
        assert_eq!(report.code, "mount_view");
        assert!(report.message.starts_with("build the mount view: /etc: "), "{}", report.message);
        assert!(report.remedy.is_some());
        let sent: Report = serde_json::from_slice(&serde_json::to_vec(&report).unwrap()).unwrap();
        assert_eq!(ExecError::Reported(sent).report(), report);
    }
}
