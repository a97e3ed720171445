//! The two OCI documents a hook is given: the state on stdin, and the bundle's `config.json`.
//!
//! Both are read tolerantly, since every runtime writes them a little differently. Environment, command line and
//! annotations that identity has no use for are read over and never kept: they hold secrets.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::{IgnoredAny, MapAccess};

use crate::lenient::{Document, Item, Lenient, Wanted, fields, lenient};

/// Prefixes and keys of the annotations that tell who a container is.
const KEPT: [&str; 18] = [
    "io.container.manager",
    "io.kubernetes.container.name",
    "io.kubernetes.cri-o.ContainerType",
    "io.kubernetes.cri-o.ImageName",
    "io.kubernetes.cri-o.SandboxID",
    "io.kubernetes.cri-o.SandboxName",
    "io.kubernetes.cri.container-name",
    "io.kubernetes.cri.container-type",
    "io.kubernetes.cri.image-name",
    "io.kubernetes.cri.podsandbox.image-name",
    "io.kubernetes.cri.sandbox-id",
    "io.kubernetes.cri.sandbox-name",
    "io.kubernetes.cri.sandbox-namespace",
    "io.kubernetes.cri.sandbox-uid",
    "io.kubernetes.pod.name",
    "io.kubernetes.pod.namespace",
    "io.kubernetes.pod.uid",
    "nerdctl/",
];

/// Annotations that tell who a container is; all others are dropped while reading.
pub type Annotations = BTreeMap<String, String>;

/// What a hook reads of the OCI state on its stdin. Strings are as they came: see [`crate::text::clean`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct State {
    /// The container's id, not yet a [`crate::container_id::ContainerId`]; never empty.
    #[serde(deserialize_with = "lenient")]
    pub id: String,
    /// The container's process; nothing where the document has none, null, 0 or a negative one. It can be stale.
    #[serde(deserialize_with = "lenient")]
    pub pid: Option<i32>,
    /// The bundle's directory; empty if there is none.
    #[serde(deserialize_with = "lenient")]
    pub bundle: String,
    /// `creating`, `created`, `running` or `stopped`, as the runtime sees fit.
    #[serde(deserialize_with = "lenient")]
    pub status: String,
    /// What is left of the annotations.
    #[serde(deserialize_with = "lenient")]
    pub annotations: Annotations,
}

impl State {
    /// Reads the document on stdin.
    pub fn parse(json: &[u8]) -> Result<Self, Unreadable> {
        let mut state: Self = document("OCI state", json)?;
        if state.id.is_empty() {
            return Err(Unreadable { document: "OCI state", why: Why::NoId });
        }
        state.pid = state.pid.filter(|&pid| pid > 0);
        Ok(state)
    }
}

/// What a hook reads of `config.json`; all of it optional. Strings are as they came: see [`crate::text::clean`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Spec {
    /// The host name inside the container.
    #[serde(deserialize_with = "lenient")]
    pub hostname: Option<String>,
    /// What is left of the annotations.
    #[serde(deserialize_with = "lenient")]
    pub annotations: Annotations,
    /// The root filesystem.
    #[serde(deserialize_with = "lenient")]
    pub root: Root,
    /// The process to be started.
    #[serde(deserialize_with = "lenient")]
    pub process: Process,
    /// What is Linux's own.
    #[serde(deserialize_with = "lenient")]
    pub linux: Linux,
    /// The mounts of `/etc/resolv.conf`, `/etc/hosts` and `/etc/hostname`.
    #[serde(deserialize_with = "lenient")]
    pub mounts: Vec<Mount>,
}

impl Spec {
    /// Reads a `config.json`.
    pub fn parse(json: &[u8]) -> Result<Self, Unreadable> {
        document("config.json", json)
    }

    /// The namespace of a type as `config.json` spells it: `network`, `mount`, `pid`…
    pub fn namespace(&self, kind: &str) -> Option<&Namespace> {
        self.linux.namespaces.iter().find(|namespace| namespace.kind == kind)
    }
}

/// `root`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Root {
    /// The root filesystem's path; below the bundle if relative.
    #[serde(deserialize_with = "lenient")]
    pub path: Option<String>,
}

/// `process`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Process {
    /// Whom it runs as.
    #[serde(deserialize_with = "lenient")]
    pub user: User,
    /// What it may do.
    #[serde(deserialize_with = "lenient")]
    pub capabilities: Capabilities,
    /// Whether an exec can give it more.
    #[serde(deserialize_with = "lenient")]
    pub no_new_privileges: bool,
    /// Its `SELinux` context.
    #[serde(deserialize_with = "lenient")]
    pub selinux_label: Option<String>,
    /// Its `AppArmor` profile.
    #[serde(deserialize_with = "lenient")]
    pub apparmor_profile: Option<String>,
}

/// `process.user`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct User {
    /// The user id inside the container.
    #[serde(deserialize_with = "lenient")]
    pub uid: Option<u32>,
    /// The group id inside the container.
    #[serde(deserialize_with = "lenient")]
    pub gid: Option<u32>,
}

/// `process.capabilities`, each set as names like `CAP_NET_RAW`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// The most it can ever have.
    #[serde(deserialize_with = "lenient")]
    pub bounding: Vec<String>,
    /// What it has at the start.
    #[serde(deserialize_with = "lenient")]
    pub effective: Vec<String>,
    /// What it can make effective.
    #[serde(deserialize_with = "lenient")]
    pub permitted: Vec<String>,
}

/// `linux`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Linux {
    /// The namespaces that are its own or joined; one that is not listed is the runtime's.
    #[serde(deserialize_with = "lenient")]
    pub namespaces: Vec<Namespace>,
    /// User ids of its user namespace.
    #[serde(deserialize_with = "lenient")]
    pub uid_mappings: Vec<IdMapping>,
    /// Group ids of its user namespace.
    #[serde(deserialize_with = "lenient")]
    pub gid_mappings: Vec<IdMapping>,
    /// Its cgroup, in the spelling of the engine's cgroup driver.
    #[serde(deserialize_with = "lenient")]
    pub cgroups_path: Option<String>,
    /// Whether system calls are filtered.
    #[serde(deserialize_with = "lenient")]
    pub seccomp: Present,
}

/// An element of `linux.namespaces`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Namespace {
    /// `network`, `mount`, `pid`, `ipc`, `uts`, `user`, `cgroup`, `time`, or one that is yet to come.
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: String,
    /// The namespace to be joined; a new one if there is none.
    #[serde(deserialize_with = "lenient")]
    pub path: Option<String>,
}

/// An element of `linux.uidMappings` or `linux.gidMappings`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct IdMapping {
    /// First id inside.
    #[serde(rename = "containerID", deserialize_with = "lenient")]
    pub container_id: Option<u32>,
    /// First id outside.
    #[serde(rename = "hostID", deserialize_with = "lenient")]
    pub host_id: Option<u32>,
    /// How many ids.
    #[serde(deserialize_with = "lenient")]
    pub size: Option<u32>,
}

/// An element of `mounts`
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Mount {
    /// Where it is inside.
    #[serde(deserialize_with = "lenient")]
    pub destination: String,
    /// What is mounted.
    #[serde(deserialize_with = "lenient")]
    pub source: Option<String>,
}

/// Whether an object was there, whatever it held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Present(pub bool);

impl Lenient for Present {
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Self(true))
    }
}

impl Lenient for Annotations {
    fn from_object<'de, A: MapAccess<'de>>(mut object: A) -> Result<Self, A::Error> {
        let mut kept = Self::new();
        while let Some(Item(key)) = object.next_key::<Item<String>>()? {
            if KEPT.iter().any(|&k| key == k || (k.ends_with('/') && key.starts_with(k))) {
                if let Item(Some(value)) = object.next_value()? {
                    kept.insert(key, value);
                }
            } else {
                object.next_value::<IgnoredAny>()?;
            }
        }
        Ok(kept)
    }
}

macro_rules! objects {
    ($($object:ty),*) => {$(
        impl Lenient for $object {
            fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
                fields(object)
            }
        }
    )*};
}
objects!(State, Spec, Root, Process, User, Capabilities, Linux, Namespace, IdMapping, Mount);

impl Wanted for Namespace {
    fn is_wanted(&self) -> bool {
        !self.kind.is_empty()
    }
}

impl Wanted for IdMapping {
    fn is_wanted(&self) -> bool {
        self.host_id.is_some()
    }
}

impl Wanted for Mount {
    fn is_wanted(&self) -> bool {
        matches!(&*self.destination, "/etc/resolv.conf" | "/etc/hosts" | "/etc/hostname")
    }
}

/// Why a document could not be read. Holds nothing of the document's own text, so it is safe to log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{document} {why}")]
pub struct Unreadable {
    document: &'static str,
    why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
enum Why {
    #[error("is empty")]
    Empty,
    #[error("ends too early, at line {line} column {column}")]
    Cut { line: usize, column: usize },
    #[error("is no JSON: {0}")]
    Syntax(String),
    #[error("is no JSON object, or has a key twice, at line {line} column {column}")]
    Shape { line: usize, column: usize },
    #[error("names no container: its `id` is missing, empty or no string")]
    NoId,
}

impl Unreadable {
    /// What to do about it.
    pub fn remedy(&self) -> &'static str {
        match self.why {
            Why::Empty => "look whether the runtime was killed, or the file system is full",
            Why::Cut { .. } => "look for a full file system, or a runtime that was killed while writing",
            Why::Syntax(_) | Why::Shape { .. } | Why::NoId => {
                "check which runtime wrote it and report its version"
            }
        }
    }
}

fn document<T: Lenient>(name: &'static str, json: &[u8]) -> Result<T, Unreadable> {
    use serde_json::error::Category;
    let why = |e: serde_json::Error| match (e.classify(), e.line(), e.column()) {
        _ if json.iter().all(u8::is_ascii_whitespace) => Why::Empty,
        (Category::Eof | Category::Io, line, column) => Why::Cut { line, column },
        // Of a syntax error serde_json tells what it expected and where, never what it found.
        (Category::Syntax, ..) => Why::Syntax(e.to_string()),
        (Category::Data, line, column) => Why::Shape { line, column },
    };
    serde_json::from_slice(json)
        .map(|Document(read)| read)
        .map_err(|e| Unreadable { document: name, why: why(e) })
}

#[cfg(test)]
#[path = "oci/tests.rs"]
mod tests;
