//! What the command may use up: a cgroup of its own or the target's, resource limits, its place before the OOM killer.

mod hierarchy;
mod own;
mod process;
mod slots;
mod target;

use std::fmt;
use std::os::fd::OwnedFd;
use std::time::Duration;

use serde::Serialize;

use super::Target;
use super::args::Request;
use super::error::{ExecError, Step};
use hierarchy::Version;
use own::Own;
use porthole_registry::bounds::{self, Cgroup as Choice};

const NO_CGROUP: &str = "--cgroup none, or cgroup = \"none\" in [exec] of config.toml, runs without bounds";

/// What options, profile and configuration may set; each only what it names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Whose cgroup.
    pub(crate) cgroup: Option<Choice>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
    /// Bytes.
    pub(crate) memory: Option<u64>,
    /// As in cgroups v2.
    pub(crate) cpu_weight: Option<u64>,
}

impl Limits {
    /// What is left open is the configuration's.
    pub(crate) fn or(&self, defaults: &bounds::Bounds) -> bounds::Bounds {
        bounds::Bounds {
            cgroup: self.cgroup.unwrap_or(defaults.cgroup),
            pids: self.pids.unwrap_or(defaults.pids),
            memory: self.memory.unwrap_or(defaults.memory),
            cpu_weight: self.cpu_weight.unwrap_or(defaults.cpu_weight),
        }
    }
}

/// The bounds, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Bounds {
    /// The cgroup.
    pub(crate) cgroup: Cgroup,
    /// No core dumps.
    pub(crate) core_size: u64,
    /// Among the first to be killed when the machine is out of memory.
    pub(crate) oom_score_adj: i32,
    /// How long it may run.
    #[serde(rename = "timeout_seconds", serialize_with = "as_seconds")]
    pub(crate) timeout: Option<Duration>,
}

/// Whose cgroup, and what that allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "whose")]
pub(crate) enum Cgroup {
    /// One that is made for it.
    Own(OwnLimits),
    /// The target's.
    Target {
        /// Its memberships, as in `/proc/PID/cgroup`.
        memberships: Vec<String>,
    },
    /// The caller's: no bounds.
    None,
}

/// What is written to a new cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct OwnLimits {
    /// Of the kernel's interface.
    pub(crate) version: Version,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pids: Option<u64>,
    /// Bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory: Option<u64>,
    /// As in v2: 100 is what every other has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cpu_weight: Option<u64>,
}

#[expect(clippy::ref_option, reason = "serde calls it so")]
fn as_seconds<S: serde::Serializer>(timeout: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    timeout.map(|timeout| timeout.as_secs_f64()).serialize(serializer)
}

impl Default for Bounds {
    fn default() -> Self {
        Self { cgroup: Cgroup::None, core_size: 0, oom_score_adj: process::OOM_SCORE, timeout: None }
    }
}

impl Bounds {
    /// From the options, the profile, the configuration and the machine.
    pub(crate) fn resolve(request: &Request, target: &Target) -> Result<Self, ExecError> {
        let wanted = request.bounds.or(&request.defaults);
        let cgroup = match wanted.cgroup {
            Choice::None => Cgroup::None,
            Choice::Target => Cgroup::Target { memberships: target::memberships(target)? },
            Choice::Own => Cgroup::Own(hierarchy::resolve(&wanted)?),
        };
        Ok(Self { cgroup, timeout: request.timeout, ..Self::default() })
    }

    /// Makes or opens the cgroup, in the process that waits for the command.
    pub(crate) fn prepare(&self, life: Life) -> Result<Prepared, ExecError> {
        let (own, doors, memberships) = match &self.cgroup {
            Cgroup::None => (None, Vec::new(), Vec::new()),
            Cgroup::Target { memberships } => (None, target::open(memberships)?, memberships.clone()),
            Cgroup::Own(limits) => {
                let (own, doors) = own::prepare(limits, life)?;
                (Some(own), doors, Vec::new())
            }
        };
        Ok(Prepared { own, doors, memberships })
    }
}

/// Who ends the cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// The process that waits for the command.
    Waited,
    /// Nobody waits: a later exec, once it is empty.
    Free,
}

/// A cgroup that exists; ended when it is dropped by the process that made it.
#[derive(Debug)]
pub(crate) struct Prepared {
    own: Option<Own>,
    /// To write `0` to.
    doors: Vec<OwnedFd>,
    memberships: Vec<String>,
}

impl Prepared {
    /// Joins it and sets the limits, in the process that becomes the command, while it still may.
    pub(crate) fn enter(&self) -> Result<(), ExecError> {
        for door in &self.doors {
            rustix::io::write(door, b"0").map_err(Step::Bounds.failed("join the cgroup"))?;
        }
        if !self.doors.is_empty() {
            let is = process::memberships()?;
            let joined = match &self.own {
                Some(own) => own.is_joined(&is),
                None => self.memberships.iter().all(|wanted| is.lines().any(|line| line == wanted)),
            };
            if !joined {
                return Err(
                    Step::Bounds.refused("the cgroup does not read back as joined", "nothing was run")
                );
            }
        }
        process::limit()
    }

    /// What the parent does while the command runs: away with what execs left that were killed.
    pub(crate) fn sweep(&self) {
        if let Some(own) = &self.own {
            own.sweep();
        }
    }

    /// Why the command was killed, if that was for want of memory.
    pub(crate) fn killed_for_memory(&self) -> bool {
        self.own.as_ref().is_some_and(Own::killed_for_memory)
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const INDENT: &str = "\n             ";
        match &self.cgroup {
            Cgroup::None => f.write_str("no cgroup of its own: no limit on processes, memory or cpu")?,
            Cgroup::Target { memberships } => {
                write!(f, "in the target's cgroup: {}", memberships.join(" "))?;
            }
            Cgroup::Own(OwnLimits { version, pids, memory, cpu_weight }) => {
                write!(f, "a cgroup ({version}) of its own:")?;
                match pids {
                    Some(pids) => write!(f, " {pids} processes and threads,")?,
                    None => f.write_str(" processes not limited (no such controller),")?,
                }
                match memory {
                    Some(memory) => write!(f, " {} memory,", size(*memory))?,
                    None => f.write_str(" memory not limited (no such controller),")?,
                }
                match cpu_weight {
                    Some(weight) => write!(f, " cpu weight {weight} of 100")?,
                    None => f.write_str(" cpu not weighted (no such controller)")?,
                }
                f.write_str("; read back")?;
            }
        }
        write!(f, "{INDENT}no core dumps, OOM score {} or more", self.oom_score_adj)?;
        match self.timeout {
            Some(timeout) => write!(f, "{INDENT}ended after {}", humantime::format_duration(timeout)),
            None => Ok(()),
        }
    }
}

/// Bytes for people, exactly.
pub(crate) fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.into_iter().find(|(shift, _)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift);
    unit.map_or_else(|| format!("{bytes} B"), |(shift, name)| format!("{} {name}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_and_profile_win_over_the_configuration() {
        let defaults = bounds::Bounds::default();
        assert_eq!(Limits::default().or(&defaults), defaults);
        let limits = Limits { cgroup: Some(Choice::None), pids: Some(3), ..Limits::default() };
        let wanted = bounds::Bounds { cgroup: Choice::None, pids: 3, ..defaults };
        assert_eq!(limits.or(&defaults), wanted);
    }

    #[test]
    fn bounds_say_all_and_what_is_not_there() {
        let own =
            OwnLimits { version: Version::V1, pids: Some(512), memory: Some(1 << 30), cpu_weight: None };
        let bounds =
            Bounds { cgroup: Cgroup::Own(own), timeout: Some(Duration::from_secs(90)), ..Bounds::default() };
        assert_eq!(
            bounds.to_string(),
            "a cgroup (v1) of its own: 512 processes and threads, 1 GiB memory, cpu not weighted (no such controller); \
             read back\n             no core dumps, OOM score 500 or more\n             ended after 1m 30s"
        );
        let json = serde_json::to_value(&bounds).unwrap();
        assert_eq!(json["cgroup"]["whose"], "own");
        assert_eq!(json["cgroup"]["pids"], 512);
        assert_eq!(json["timeout_seconds"], 90.0);
    }

    #[test]
    fn sizes_are_exact() {
        assert_eq!(size(1 << 30), "1 GiB");
        assert_eq!(size(1536 << 20), "1536 MiB");
        assert_eq!(size((1 << 20) + 1), "1048577 B");
    }
}
