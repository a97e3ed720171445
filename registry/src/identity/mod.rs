//! Who a container is: its engine, its name, and the pod it belongs to.
//!
//! Engines say so in different places: in annotations, in files of their own, or not at all. Nothing found here is
//! trusted: every string is cleaned, and an id is only made part of a path once it is proven to be an id.

mod containerd;
mod crio;
mod current;
mod docker;
mod files;
mod nerdctl;
mod podman;

use std::path::{Component, Path};

use serde::de::MapAccess;
use serde::{Deserialize, Serialize};

use crate::container_id::ContainerId;
use crate::lenient::{Lenient, fields, lenient};
use crate::oci::{Spec, State};
use crate::text::clean;

pub use current::CurrentNames;
pub use files::{Disk, Files, NoFiles};

/// The software that made the runtime create the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Engine {
    /// containerd, mostly by way of CRI.
    Containerd,
    /// CRI-O.
    CriO,
    /// podman.
    Podman,
    /// Docker, also below cri-dockerd.
    Docker,
    /// nerdctl, on containerd.
    Nerdctl,
    /// None that is known: a runtime called by hand, or by something else.
    #[default]
    Unknown,
}

impl Engine {
    const KNOWN: [Self; 5] = [Self::Containerd, Self::CriO, Self::Podman, Self::Docker, Self::Nerdctl];

    /// The engine's name as records and tables have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::CriO => "cri-o",
            Self::Podman => "podman",
            Self::Docker => "docker",
            Self::Nerdctl => "nerdctl",
            Self::Unknown => "unknown",
        }
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

impl Lenient for Engine {
    fn from_text(value: &str) -> Self {
        Self::KNOWN.into_iter().find(|engine| engine.as_str() == value).unwrap_or_default()
    }
}

/// What a container is to its pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A container that does the work. Unknown kinds of newer versions count as this one.
    #[default]
    Container,
    /// One that only holds the pod's namespaces: pause, infra.
    Sandbox,
}

impl Lenient for Kind {
    fn from_text(value: &str) -> Self {
        if value == "sandbox" { Self::Sandbox } else { Self::Container }
    }
}

/// The pod a container belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PodRef {
    /// The pod's name.
    #[serde(deserialize_with = "lenient")]
    pub name: String,
    /// Its Kubernetes namespace.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Its unique id.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The container that holds its namespaces.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub sandbox_id: Option<String>,
}

impl Lenient for Option<PodRef> {
    fn from_object<'de, A: MapAccess<'de>>(object: A) -> Result<Self, A::Error> {
        fields(object).map(|pod: PodRef| (!pod.name.is_empty()).then_some(pod))
    }
}

/// Who a container is. Every string is [`clean`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Who made it.
    pub engine: Engine,
    /// What it is to its pod.
    pub kind: Kind,
    /// The container's name; a sandbox has none.
    pub name: Option<String>,
    /// The image's name.
    pub image: Option<String>,
    /// Its pod, on engines that have pods.
    pub pod: Option<PodRef>,
}

/// Finds out who the container is that `state` is about.
///
/// `spec` may be missing, as it is when a container's bundle was deleted before the container.
pub fn identify(state: &State, spec: Option<&Spec>, files: &dyn Files) -> Identity {
    let clues = Clues { state, spec, files, id: ContainerId::parse(&state.id).ok() };
    // The bundle's path is the engine's choice. An annotation can be the user's, so it comes second, and of
    // annotations the one that engines overwrite comes first.
    if clues.bundle_is_below("moby") {
        return docker::identify(&clues)
            .unwrap_or_else(|| Identity { engine: Engine::Docker, ..Identity::default() });
    }
    match clues.annotation("io.container.manager") {
        Some("libpod") => return podman::identify(&clues),
        Some("cri-o") => return crio::identify(&clues),
        _ => {}
    }
    if clues.has_any(&containerd::MARKS) {
        return containerd::identify(&clues);
    }
    if clues.has_any(&crio::MARKS) {
        return crio::identify(&clues);
    }
    if clues.has_any(&nerdctl::MARKS) {
        return nerdctl::identify(&clues);
    }
    if podman::storage_of(&clues).is_some() {
        return podman::identify(&clues);
    }
    if let Some(identity) = docker::identify(&clues) {
        return identity;
    }
    let engine = if clues.bundle_is_a_task() { Engine::Containerd } else { Engine::Unknown };
    Identity { engine, ..Identity::default() }
}

/// All there is to go by.
struct Clues<'a> {
    state: &'a State,
    spec: Option<&'a Spec>,
    files: &'a dyn Files,
    /// Missing if the state's id is none; then no file can be looked for.
    id: Option<ContainerId>,
}

impl<'a> Clues<'a> {
    /// An annotation as it came: of the state, else of `config.json`.
    fn annotation(&self, key: &str) -> Option<&'a str> {
        let configured = || self.spec.and_then(|spec| spec.annotations.get(key));
        self.state.annotations.get(key).or_else(configured).map(String::as_str)
    }

    /// An annotation to be shown and recorded.
    fn text(&self, key: &str) -> Option<String> {
        self.annotation(key).and_then(clean)
    }

    fn has_any(&self, keys: &[&str]) -> bool {
        keys.iter().any(|key| self.annotation(key).is_some())
    }

    /// The bundle's directory, if it is one that a path can be derived from.
    fn bundle(&self) -> Option<&'a Path> {
        plain(&self.state.bundle)
    }

    /// The root filesystem's directory, likewise.
    fn root(&self) -> Option<&'a Path> {
        self.spec.and_then(|spec| plain(spec.root.path.as_deref()?))
    }

    /// Whether the bundle is `…/<directory>/<id>`.
    fn bundle_is_below(&self, directory: &str) -> bool {
        self.bundle().and_then(Path::parent).is_some_and(|parent| parent.ends_with(directory))
    }

    /// Whether the bundle is `…/io.containerd.runtime.<version>.task/<namespace>/<id>`.
    fn bundle_is_a_task(&self) -> bool {
        let tasks = self.bundle().and_then(|bundle| bundle.ancestors().nth(2)?.file_name()?.to_str());
        tasks.is_some_and(|name| name.starts_with("io.containerd.runtime."))
    }
}

/// `path` if it is absolute and goes nowhere but down.
fn plain(path: &str) -> Option<&Path> {
    let path = Path::new(path);
    let down = |c| matches!(c, Component::RootDir | Component::Normal(_));
    (path.is_absolute() && path.components().all(down)).then_some(path)
}

#[cfg(test)]
mod tests;
