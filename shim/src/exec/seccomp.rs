//! The system calls that the command may make: an allowlist by profile, everything else refused.

mod calls;
mod condition;
mod layout;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;

use caps::Capability;
use rustix::thread::{SecureComputingMode, secure_computing_mode};
use seccompiler::BpfProgram;
use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::capabilities::{Base, Capabilities};
use super::error::{ExecError, Step};
use calls::{Call, GROUPS, Group, Rule};
use condition::{
    Condition, Error, FAMILIES, FAMILIES_AND_PACKET, FAMILIES_AND_PACKET_NOT_UNIX, FAMILIES_NOT_UNIX,
};
use layout::{Verdict, assemble};

/// The filter, as data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub(crate) enum Filter {
    /// None: the profile allows everything.
    Off,
    /// An allowlist.
    On(List),
}

/// Which list: the tables of `calls` and what the command is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct List {
    profile: Base,
    /// It may open packet sockets.
    raw: bool,
    /// Objects of the host that it may reach.
    reach: Reach,
}

/// Objects that system calls alone reach, past every file and capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    /// System V and POSIX IPC: the IPC namespace is not the host's.
    pub(crate) ipc: bool,
    /// Sockets of the Unix domain: what has an abstract name is the target's, or out of reach.
    pub(crate) unix: bool,
}

impl Filter {
    /// That of a profile, for a command with `capabilities`.
    pub(crate) fn resolve(profile: Base, capabilities: Capabilities, reach: Reach) -> Self {
        match profile {
            Base::Sysadmin => Self::Off,
            _ => {
                let raw = capabilities.contains(Capabilities::of(Capability::CAP_NET_RAW));
                Self::On(List { profile, raw, reach })
            }
        }
    }

    /// As the kernel takes it; none where nothing is filtered.
    pub(crate) fn compile(&self) -> Result<Option<BpfProgram>, ExecError> {
        let Self::On(list) = self else { return Ok(None) };
        let program = assemble(&list.verdicts()).map_err(|error| failed("its compilation", error))?;
        Ok(Some(program))
    }
}

impl List {
    fn verdict(self, group: &Group) -> Verdict {
        let tracing = self.profile == Base::Trace;
        match group.rule {
            Rule::Allow => Verdict::Allow,
            Rule::If(condition) => Verdict::If(condition),
            Rule::Family => Verdict::If(self.families()),
            Rule::IfOrTrace(usual, wider) => Verdict::If(if tracing { wider } else { usual }),
            Rule::Trace if tracing => Verdict::Allow,
            Rule::OwnIpc if self.reach.ipc => Verdict::Allow,
            Rule::Trace | Rule::OwnIpc | Rule::Deny => Verdict::Deny(Error::Eperm),
            Rule::Missing => Verdict::Deny(Error::Enosys),
        }
    }

    fn families(self) -> &'static Condition {
        match (self.raw, self.reach.unix) {
            (true, true) => &FAMILIES_AND_PACKET,
            (true, false) => &FAMILIES_AND_PACKET_NOT_UNIX,
            (false, true) => &FAMILIES,
            (false, false) => &FAMILIES_NOT_UNIX,
        }
    }

    /// By number.
    fn verdicts(self) -> Vec<(u32, Verdict)> {
        let mut verdicts: Vec<_> =
            self.calls().filter_map(|(call, verdict)| Some((call.number?, verdict))).collect();
        verdicts.sort_unstable_by_key(|(number, _)| *number);
        verdicts
    }

    /// Those that this architecture has.
    fn calls(self) -> impl Iterator<Item = (&'static Call, Verdict)> {
        let of = move |group: &'static Group| group.calls.iter().map(move |call| (call, self.verdict(group)));
        GROUPS.iter().flat_map(of).filter(|(call, _)| call.number.is_some())
    }

    fn names(self, wanted: Verdict) -> Vec<&'static str> {
        self.calls().filter(|(_, verdict)| *verdict == wanted).map(|(call, _)| call.name()).collect()
    }

    fn conditions(self) -> Vec<(&'static str, &'static Condition)> {
        let condition = |(call, verdict): (&'static Call, Verdict)| match verdict {
            Verdict::If(condition) => Some((call.name(), condition)),
            Verdict::Allow | Verdict::Deny(_) => None,
        };
        self.calls().filter_map(condition).collect()
    }
}

impl Serialize for List {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let conditions: BTreeMap<_, _> =
            self.conditions().into_iter().map(|(name, condition)| (name, condition.to_string())).collect();
        let mut list = serializer.serialize_struct("List", 8)?;
        list.serialize_field("list", self.profile.name())?;
        list.serialize_field("architecture", std::env::consts::ARCH)?;
        list.serialize_field("other_architectures", "kill")?;
        list.serialize_field("default", Error::Eperm.name())?;
        list.serialize_field("allowed", &self.names(Verdict::Allow))?;
        list.serialize_field("conditions", &conditions)?;
        list.serialize_field("denied", &self.names(Verdict::Deny(Error::Eperm)))?;
        list.serialize_field("missing", &self.names(Verdict::Deny(Error::Enosys)))?;
        list.end()
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::On(list) = self else { return f.write_str("all: the profile has no filter") };
        let (allowed, conditions) = (list.names(Verdict::Allow).len(), list.conditions());
        let by_argument: Vec<_> = conditions.iter().map(|(name, _)| *name).collect();
        let unix = if list.reach.unix { "unix " } else { "" };
        let packet = if list.raw { " packet" } else { "" };
        let tracing = if list.profile == Base::Trace { "" } else { " tracing," };
        let ipc = if list.reach.ipc { "" } else { " System V and POSIX IPC," };
        writeln!(
            f,
            "list {}: {allowed}, and by argument {}; read back",
            list.profile.name(),
            by_argument.join(" ")
        )?;
        writeln!(
            f,
            "             EPERM for all others: namespaces, mounts,{tracing}{ipc} bpf, keys, io_uring, modules, …"
        )?;
        writeln!(f, "             sockets: {unix}inet inet6 netlink{packet}")?;
        write!(f, "             other architectures than {}: killed", std::env::consts::ARCH)
    }
}

/// Puts the filter in force for this thread and all that it becomes.
pub(crate) fn apply(program: &BpfProgram) -> Result<(), ExecError> {
    seccompiler::apply_filter(program).map_err(|error| failed("its installation", error))?;
    // Through the filter: it would not allow this call without being one that knows it.
    match secure_computing_mode().map_err(Step::Seccomp.failed("reading back"))? {
        SecureComputingMode::Filter => Ok(()),
        other => Err(Step::Seccomp.refused(format!("reads back as {other:?}"), "nothing was run")),
    }
}

fn failed(subject: &str, error: impl std::error::Error + Send + Sync + 'static) -> ExecError {
    Step::Seccomp.failed(subject)(io::Error::other(error))
}
