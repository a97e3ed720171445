//! The command apart from the host's other processes, where it sees them: its user may own some, whose `/proc/PID/root`
//! leads around the view and whose memory around everything. Landlock lets no process out of its domain look into one
//! outside, of any owner; since version 6 (Linux 6.12) it does the same for signals and abstract sockets. A command that
//! traces is in no domain: where the host's network namespace is kept, it makes no Unix socket at all.

use std::fmt;
use std::os::fd::AsFd;

use caps::Capability;
use rustix::fs::{CWD, Mode, OFlags, openat};
use serde::Serialize;

use super::capabilities::{Base, Capabilities, Sets};
use super::error::{ExecError, Step};
use crate::sys::{self, Landlock};

/// Links between directories: the one right that every domain takes, unless it is given back.
const REFER: u64 = 1 << 13;
const ABSTRACT_SOCKETS: u64 = 1;
const SIGNALS: u64 = 2;
/// The first one that can give that right back.
const WITH_REFER: u32 = 2;
const WITH_SCOPES: u32 = 6;

/// What is kept from the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub(crate) enum Apart {
    /// It is meant to reach other processes, or sees those of the target alone.
    Off,
    /// The kernel has no Landlock, or one that is too old.
    Missing,
    /// Looking into processes of the host, and what more the kernel can keep from it.
    On {
        /// Sending them signals.
        signals: bool,
        /// Connecting to their abstract sockets: where the network namespace is the host's.
        abstract_sockets: bool,
    },
}

impl Apart {
    /// From what the command may do, and sees.
    /// `other_processes`: it is born in another pid namespace; `other_sockets`: it joins another network namespace.
    pub(crate) fn resolve(
        profile: Base,
        other_processes: bool,
        other_sockets: bool,
        capabilities: &Sets,
    ) -> Self {
        let may = |capability| capabilities.permitted.contains(Capabilities::of(capability));
        let nothing_of_the_hosts = other_processes && other_sockets;
        if profile == Base::Sysadmin || nothing_of_the_hosts || may(Capability::CAP_SYS_PTRACE) {
            return Self::Off;
        }
        let version = sys::landlock_version();
        if version < WITH_REFER {
            return Self::Missing;
        }
        let scopes = version >= WITH_SCOPES;
        Self::On {
            signals: scopes && !may(Capability::CAP_KILL) && !other_processes,
            abstract_sockets: scopes && !other_sockets,
        }
    }

    /// Whether the command may make Unix sockets: none of the host's abstract ones is in its reach, or the domain keeps
    /// it from them.
    pub(crate) fn leaves_unix_sockets(self, profile: Base, other_sockets: bool) -> bool {
        profile == Base::Sysadmin || other_sockets || matches!(self, Self::On { abstract_sockets: true, .. })
    }

    /// From now on, for this process and all that it becomes.
    pub(crate) fn apply(self) -> Result<(), ExecError> {
        let Self::On { signals, abstract_sockets } = self else { return Ok(()) };
        let scopes = if signals { SIGNALS } else { 0 } | if abstract_sockets { ABSTRACT_SOCKETS } else { 0 };
        let files = if scopes == 0 { REFER } else { 0 };
        let ruleset =
            sys::landlock_create(&Landlock { files, ports: 0, scopes }).map_err(failed("its ruleset"))?;
        if files != 0 {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let root = openat(CWD, "/", flags, Mode::empty()).map_err(failed("/"))?;
            sys::landlock_allow(ruleset.as_fd(), files, root.as_fd()).map_err(failed("its rule"))?;
        }
        sys::landlock_restrict(ruleset.as_fd()).map_err(failed("its domain"))
    }
}

impl fmt::Display for Apart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("as far as permissions go"),
            Self::Missing => {
                f.write_str("the host's, of the same user, are open to it: the kernel has no Landlock")
            }
            Self::On { signals, abstract_sockets } => {
                f.write_str("apart from the host's: looks into none")?;
                f.write_str(if *signals { ", signals none" } else { "" })?;
                f.write_str(if *abstract_sockets { ", connects to no abstract socket" } else { "" })
            }
        }
    }
}

fn failed<E: Into<std::io::Error>>(what: &str) -> impl FnOnce(E) -> ExecError {
    Step::Apart.failed(format!("Landlock: {what}"))
}
