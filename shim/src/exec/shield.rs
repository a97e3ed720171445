//! The shield against tracers: through ptrace(2) other processes of the command's user would run anything with
//! its namespaces, whatever the policy says about commands.
//!
//! The kernel lets no process trace one that has a capability it lacks. A command without any is put into a user namespace
//! in which every id is itself, and in which no process outside has a right that has no capability on the host. A process
//! that has the owner's id outside has every right inside, so the owner is an id that no process has: root of a container
//! is root's number, however few its capabilities are. Commands share the namespace where Landlock keeps them from each
//! other, see [`super::apart`]; elsewhere each has one of its own.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use caps::CapSet;
use nix::sched::{CloneFlags, unshare};
use porthole_registry::namespace::NamespaceKind;
use rustix::process::{Pid, Uid, getuid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_thread_res_uid};
use serde::Serialize;

use super::apart::Apart;
use super::capabilities::{Base, Sets};
use super::error::{ExecError, Step};
use super::namespaces::Joins;
use super::pinned;

/// The kind of shield.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Shield {
    /// As far as the kernel goes: the profile confines nothing.
    Off,
    /// A capability that other processes of its user lack.
    Capabilities,
    /// The target's user namespace.
    Target,
    /// A user namespace of porthole's.
    UserNamespace,
}

/// Every id but the last, which is none.
const ALL_IDS: &str = "0 0 4294967295";
/// The last id: of no account, and in no range that is given to containers.
const OWNER: Uid = Uid::from_raw_unchecked(u32::MAX - 1);

impl Shield {
    pub(crate) fn resolve(profile: Base, namespaces: &Joins, capabilities: &Sets) -> Self {
        match () {
            () if profile == Base::Sysadmin => Self::Off,
            () if !capabilities.permitted.is_empty() => Self::Capabilities,
            () if namespaces.has_other(NamespaceKind::User) => Self::Target,
            () => Self::UserNamespace,
        }
    }

    /// Opens what it needs, while `/run` and `/proc` are the host's.
    pub(crate) fn open(self, run_dir: &Path, processes: Apart) -> Result<Option<OwnedFd>, ExecError> {
        if self != Self::UserNamespace {
            return Ok(None);
        }
        let make = || pinned::of_a_child(NamespaceKind::User, into_namespace_of_nobodys, map_ids);
        let opened = match processes {
            Apart::On { .. } => pinned::open_or_make(run_dir, "user", make).or_else(|_| make()),
            Apart::Off | Apart::Missing => make(),
        };
        opened.map(Some).map_err(|error| {
            Step::Shield.refused(
                format!("a user namespace: {error}"),
                "allow them (sysctl user.max_user_namespaces), or choose a profile with a capability, such as general",
            )
        })
    }
}

/// Enters what was opened: with all rights in it, which go with the capabilities.
pub(crate) fn enter(namespace: Option<&OwnedFd>) -> Result<(), ExecError> {
    let Some(namespace) = namespace else { return Ok(()) };
    move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::User))
        .map_err(Step::Shield.failed("its user namespace"))
}

/// In a child: a new user namespace belongs to the effective id of who makes it.
fn into_namespace_of_nobodys() -> io::Result<()> {
    let own = getuid();
    set_thread_res_uid(own, OWNER, own)?;
    // A kernel that lets not everybody make user namespaces asks for a capability, which the change of id has put to rest.
    caps::read(None, CapSet::Permitted)
        .and_then(|permitted| caps::set(None, CapSet::Effective, &permitted))
        .map_err(io::Error::other)?;
    Ok(unshare(CloneFlags::CLONE_NEWUSER)?)
}

fn map_ids(child: Pid) -> io::Result<()> {
    let write = |file: &str| std::fs::write(format!("/proc/{}/{file}", child.as_raw_nonzero()), ALL_IDS);
    write("uid_map").and_then(|()| write("gid_map"))
}

impl fmt::Display for Shield {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "traced by any process that the kernel lets",
            Self::Capabilities => "not traced by others of its user: they lack its capabilities",
            Self::Target => "not traced from outside of the target's user namespace but by root",
            Self::UserNamespace => "not traced by others of its user: a user namespace keeps it from them",
        })
    }
}
