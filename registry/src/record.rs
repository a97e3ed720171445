//! The record of one container: schema 1. Additive changes only; readers ignore what they do not know.

use crate::container_id::ContainerId;
use crate::identity::{Engine, Identity, Kind, PodRef};
use crate::namespace::{NamespaceId, NamespaceKind};
use crate::naming::PinName;
use crate::process::{Process, ProcessError, is_running, started_at};
use crate::stage::Stage;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The schema that this code writes, and the newest that it reads.
pub const SCHEMA: u32 = 1;
/// A file larger than this is no record.
pub const MAX_BYTES: u64 = 256 << 10;

/// One namespace of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "FlatNamespace", into = "FlatNamespace")]
pub struct NamespaceRecord {
    /// Where it was found.
    pub path: String,
    /// Its identity while the container lives.
    pub id: NamespaceId,
    /// Whether it is the host's: not isolated.
    pub host: bool,
}

/// As it is written. Serde's own way to flatten keeps every value aside first, which costs a list of a thousand records
/// several milliseconds.
#[derive(Serialize, Deserialize)]
struct FlatNamespace {
    path: String,
    dev: u64,
    ino: u64,
    host: bool,
}

impl From<FlatNamespace> for NamespaceRecord {
    fn from(FlatNamespace { path, dev, ino, host }: FlatNamespace) -> Self {
        Self { path, id: NamespaceId { dev, ino }, host }
    }
}

impl From<NamespaceRecord> for FlatNamespace {
    fn from(NamespaceRecord { path, id: NamespaceId { dev, ino }, host }: NamespaceRecord) -> Self {
        Self { path, dev, ino, host }
    }
}

/// The container's security context, as config.json asks for it and poststart finds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Security {
    /// SELinux label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub selinux: Option<String>,
    /// AppArmor profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    pub no_new_privileges: bool,
    /// User id of the first process, inside.
    pub uid: u32,
    /// Group id of the first process, inside.
    pub gid: u32,
    /// The bounding set.
    pub capabilities: Vec<String>,
    /// Whether a seccomp filter is asked for.
    pub seccomp: bool,
    /// Host ids that are 0 inside: [uid, gid] of the user namespace's root, where it has its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub userns_owner: Option<[u32; 2]>,
}

/// The pin of the container's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinRecord {
    /// Its name for `ip netns`.
    pub name: PinName,
    /// Where it is.
    pub path: PathBuf,
}

/// What is known about one container. Never holds environment, command line, mounts or free-form
/// annotations: those hold secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// [`SCHEMA`] of the writer.
    pub schema: u32,
    /// The runtime's id of the container.
    pub id: ContainerId,
    /// Its bundle.
    pub bundle: PathBuf,
    /// Who made it.
    pub engine: Engine,
    /// Container or sandbox.
    pub kind: Kind,
    /// Its first process, as the host numbers it.
    pub pid: i32,
    /// When that started, in clock ticks since boot.
    pub pid_start: u64,
    /// The boot in which all this is true.
    pub boot_id: String,
    /// When the record was first made: RFC 3339, UTC.
    pub created: String,
    /// Who wrote it last.
    pub stage: Stage,
    /// The container's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// Its namespaces by kind.
    pub namespaces: BTreeMap<NamespaceKind, NamespaceRecord>,
    /// Its cgroup below the root of the hierarchy: cgroups(7).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Its root file system, seen from the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<PathBuf>,
    /// Its security context.
    #[serde(default)]
    pub security: Security,
    /// Its pin; none on the host's network, or where none could be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinRecord>,
}

impl Record {
    /// Reads a record from its JSON text.
    ///
    /// # Errors
    /// What is wrong with it: JSON, a missing field, a schema newer than [`SCHEMA`].
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(json).map_err(|e| e.to_string())?;
        if record.schema == 0 || record.schema > SCHEMA {
            return Err(format!(
                "schema {} is not known to this version (it knows 1 to {SCHEMA})",
                record.schema
            ));
        }
        Ok(record)
    }

    /// The JSON text of the record.
    pub fn to_json(&self) -> Vec<u8> {
        // Serializing plain data to memory cannot fail: no map has a key that is not a string.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The container's network namespace, if it is known.
    pub fn netns(&self) -> Option<&NamespaceRecord> {
        self.namespaces.get(&NamespaceKind::Net)
    }

    /// Whether the container is on the host's network.
    pub fn on_host_network(&self) -> bool {
        self.netns().is_some_and(|ns| ns.host)
    }

    /// The names that the engine gave it.
    pub fn identity(&self) -> Identity {
        Identity {
            engine: self.engine,
            kind: self.kind,
            name: self.name.clone(),
            image: self.image.clone(),
            pod: self.pod.clone(),
        }
    }

    /// The container's process, if it still is the recorded one, in this boot.
    ///
    /// # Errors
    /// [`ProcessError::Gone`] where it has ended, [`ProcessError::Reused`] where another has its number.
    pub fn process(&self, boot_id: &str) -> Result<Process, ProcessError> {
        if self.boot_id == boot_id {
            Process::open_recorded(self.pid, self.pid_start)
        } else {
            Err(ProcessError::Gone(self.pid))
        }
    }

    /// When the container was started: RFC 3339, UTC. Of an earlier boot the clock is not known, and when the record was
    /// made has to do.
    pub fn started(&self, boot_id: &str) -> String {
        let at = Some(self.pid_start).filter(|_| self.boot_id == boot_id).and_then(started_at);
        at.map_or_else(|| self.created.clone(), |at| humantime::format_rfc3339_seconds(at).to_string())
    }

    /// Whether the container's process runs, to be shown: true by the time it is read it may not be. What acts on the
    /// process opens it, by [`Record::process`].
    pub fn is_running(&self, boot_id: &str) -> bool {
        self.boot_id == boot_id && is_running(self.pid, self.pid_start)
    }
}
