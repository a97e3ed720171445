//! The record of one container: schema 1.
//!
//! Changes to the schema only add, and readers of every version live side by side on a node. So a reader takes what it
//! knows of a record; a field, a value or a schema of a later version is no error. A record that is written again keeps
//! them: a program changes only the values that it means to change.

mod carry;

use crate::container_id::ContainerId;
use crate::identity::{Engine, Identity, Kind, PodRef};
use crate::lenient::{Item, Lenient, fields, lenient, required};
use crate::namespace::{NamespaceId, NamespaceKind};
use crate::naming::PinName;
use crate::process::{Process, ProcessError, is_running, started_at};
use crate::stage::Stage;
use serde::de::{IgnoredAny, MapAccess, SeqAccess};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The schema that this code writes.
pub const SCHEMA: u32 = 1;
/// A file larger than this is no record, so nothing larger is written.
pub const MAX_BYTES: u64 = 256 << 10;

/// One namespace of the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "FlatNamespace")]
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
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct FlatNamespace {
    #[serde(deserialize_with = "lenient")]
    path: String,
    #[serde(deserialize_with = "lenient")]
    dev: u64,
    #[serde(deserialize_with = "lenient")]
    ino: u64,
    #[serde(deserialize_with = "lenient")]
    host: bool,
}

/// A namespace without an inode number is none.
impl Lenient for Option<NamespaceRecord> {
    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        fields(object).map(|flat: FlatNamespace| (flat.ino != 0).then(|| flat.into()))
    }
}

impl Lenient for BTreeMap<NamespaceKind, NamespaceRecord> {
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let mut namespaces = Self::new();
        while let Some(Item(name)) = object.next_key::<Item<String>>()? {
            if let Some(kind) = NamespaceKind::of_name(&name) {
                let Item(namespace) = object.next_value::<Item<Option<NamespaceRecord>>>()?;
                namespaces.extend(namespace.map(|namespace| (kind, namespace)));
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(namespaces)
    }
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
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub selinux: Option<String>,
    /// AppArmor profile.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub apparmor: Option<String>,
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    #[serde(deserialize_with = "lenient")]
    pub no_new_privileges: bool,
    /// User id of the first process, inside.
    #[serde(deserialize_with = "lenient")]
    pub uid: u32,
    /// Group id of the first process, inside.
    #[serde(deserialize_with = "lenient")]
    pub gid: u32,
    /// The bounding set.
    #[serde(deserialize_with = "lenient")]
    pub capabilities: Vec<String>,
    /// Whether a seccomp filter is asked for.
    #[serde(deserialize_with = "lenient")]
    pub seccomp: bool,
    /// Host ids that are 0 inside: [uid, gid] of the user namespace's root, where it has its own.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub userns_owner: Option<[u32; 2]>,
}

impl Lenient for Security {
    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        fields(object)
    }
}

impl Lenient for Option<[u32; 2]> {
    fn from_array<'de, A: SeqAccess<'de>>(mut array: A) -> Result<Self, A::Error> {
        let mut next = || Ok(array.next_element::<Item<Option<u32>>>()?.and_then(|Item(number)| number));
        let pair = next()?.zip(next()?);
        while array.next_element::<IgnoredAny>()?.is_some() {}
        Ok(pair.map(Into::into))
    }
}

/// The pin of the container's network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PinRecord {
    /// Its name for `ip netns`.
    pub name: PinName,
    /// Where it is.
    pub path: PathBuf,
}

impl Lenient for Option<PinRecord> {
    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Read {
            #[serde(deserialize_with = "lenient")]
            name: Option<PinName>,
            #[serde(deserialize_with = "lenient")]
            path: PathBuf,
        }
        fields(object).map(|Read { name, path }| name.map(|name| PinRecord { name, path }))
    }
}

/// What is known about one container. Never holds environment, command line, mounts or free-form
/// annotations: those hold secrets.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(remote = "Self")]
pub struct Record {
    /// [`SCHEMA`] of the newest writer.
    #[serde(default = "first_schema", deserialize_with = "lenient")]
    pub schema: u32,
    /// The runtime's id of the container.
    #[serde(deserialize_with = "required")]
    pub id: ContainerId,
    /// Its bundle.
    #[serde(default, deserialize_with = "lenient")]
    pub bundle: PathBuf,
    /// Who made it.
    #[serde(default, deserialize_with = "lenient")]
    pub engine: Engine,
    /// Container or sandbox.
    #[serde(default, deserialize_with = "lenient")]
    pub kind: Kind,
    /// Its first process, as the host numbers it.
    #[serde(deserialize_with = "required")]
    pub pid: i32,
    /// When that started, in clock ticks since boot.
    #[serde(deserialize_with = "required")]
    pub pid_start: u64,
    /// The boot in which all this is true.
    #[serde(deserialize_with = "required")]
    pub boot_id: String,
    /// When the record was first made: RFC 3339, UTC.
    #[serde(default, deserialize_with = "lenient")]
    pub created: String,
    /// Who wrote it last.
    #[serde(default, deserialize_with = "lenient")]
    pub stage: Stage,
    /// The container's name.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its image.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Its pod.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub pod: Option<PodRef>,
    /// Its namespaces by kind.
    #[serde(default, deserialize_with = "lenient")]
    pub namespaces: BTreeMap<NamespaceKind, NamespaceRecord>,
    /// Its cgroup below the root of the hierarchy: cgroups(7).
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Its root file system, seen from the host.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub rootfs: Option<PathBuf>,
    /// Its security context.
    #[serde(default, deserialize_with = "lenient")]
    pub security: Security,
    /// Its pin; none on the host's network, or where none could be made.
    #[serde(default, deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub pin: Option<PinRecord>,
    /// The text that it was read from.
    #[serde(skip)]
    pub(crate) original: Option<Box<str>>,
}

const fn first_schema() -> u32 {
    1
}

impl Serialize for Record {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match carry::from(self) {
            Some(fields) => fields.serialize(serializer),
            None => Self::serialize(self, serializer),
        }
    }
}

impl Record {
    /// Reads a record from its JSON text.
    ///
    /// # Errors
    /// That it is no JSON, or names no container or no process: `id`, `pid`, `pid_start`, `boot_id`. No other field is
    /// needed.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(json).map_err(|e| e.to_string())?;
        let mut record = Self::parse_alone(text).map_err(|e| e.to_string())?;
        record.original = Some(text.into());
        Ok(record)
    }

    /// Reads what this version knows, and keeps no text.
    fn parse_alone(text: &str) -> serde_json::Result<Self> {
        let mut reader = serde_json::Deserializer::from_str(text);
        let record = Self::deserialize(&mut reader)?;
        reader.end().map(|()| record)
    }

    /// The JSON text of the record, with all that this version does not know of the text that it was read from.
    ///
    /// # Errors
    /// That a path is no UTF-8.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// The text of its file, which [`Record::parse`] reads again: no longer than [`MAX_BYTES`]. Values that this version
    /// does not know give way to the others.
    ///
    /// # Errors
    /// That a path is no UTF-8, or that it is too long even so.
    pub(crate) fn to_file(&self) -> Result<Vec<u8>, String> {
        let fits = |json: &Vec<u8>| u64::try_from(json.len()).is_ok_and(|length| length <= MAX_BYTES);
        let json = self.to_json().map_err(|e| e.to_string())?;
        if fits(&json) {
            return Ok(json);
        }
        let json = self.to_json_alone().map_err(|e| e.to_string())?;
        let length = json.len();
        Some(json)
            .filter(fits)
            .ok_or_else(|| format!("it would have {length} bytes, and no more than {MAX_BYTES} are read"))
    }

    /// The JSON text of what this version knows.
    pub(crate) fn to_json_alone(&self) -> serde_json::Result<Vec<u8>> {
        let mut json = Vec::with_capacity(2048);
        Self::serialize(self, &mut serde_json::Serializer::new(&mut json)).map(|()| json)
    }

    /// Takes over the fields of an earlier record of the same life of the container.
    pub(crate) fn continues(&mut self, earlier: Self) {
        self.created = earlier.created;
        self.schema = self.schema.max(earlier.schema);
        self.original = earlier.original;
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

    /// When the container was started: RFC 3339, UTC. The clock of an earlier boot is not known, so the time of the record
    /// stands in.
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
