//! podman: the documents tell that it is podman, and which container holds a pod's namespaces, but no name.
//!
//! Names of containers are in the index of its storage, `overlay-containers/containers.json`, written before a
//! container is created. A container to be removed when it ends (`--rm`) is in `volatile-containers.json` instead,
//! from podman 5 on. The name of a pod is in its database alone; what can be had is the host name of the pod's infra
//! container, which is the pod's name unless another was asked for.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::{Clues, Engine, Files, Identity, Kind, PodRef, clean};
use crate::container_id::ContainerId;
use crate::oci::Spec;

/// An index longer than this has thousands of containers.
const LONGEST_INDEX: u64 = 4 << 20;

/// A `config.json` of an infra container has a few KiB.
const LONGEST_SPEC: u64 = 1 << 20;

const INDEXES: [&str; 2] = ["containers.json", "volatile-containers.json"];

pub(super) fn identify(clues: &Clues<'_>) -> Identity {
    let stored = stored(clues);
    let (name, image) = stored.map_or((None, None), |s| (s.name, s.image));
    let container = Identity { engine: Engine::Podman, kind: Kind::Container, name, image, pod: None };
    if let Some(infra) = clues.annotation("io.kubernetes.cri-o.SandboxID") {
        return Identity { pod: pod_of(clues, infra), ..container };
    }
    let uid = clues.spec.and_then(pod_uid);
    if !is_infra(clues, uid, container.name.as_deref()) {
        return container;
    }
    let short = container.name.as_deref().and_then(infra_of).or(uid.and_then(|uid| uid.get(..12)));
    let pod = clues.spec.and_then(host_name).or_else(|| short.and_then(clean)).map(|name| PodRef {
        name,
        namespace: None,
        uid: uid.and_then(clean),
        sandbox_id: clues.id.as_ref().map(|id| id.as_str().to_owned()),
    });
    Identity { kind: Kind::Sandbox, name: None, pod, ..container }
}

/// The storage's directory of containers, if the bundle is `…/overlay-containers/<id>/userdata`. The storage driver
/// need not be overlay.
pub(super) fn storage_of<'a>(clues: &Clues<'a>) -> Option<&'a Path> {
    let bundle = clues.bundle()?;
    let container = bundle.parent().filter(|_| bundle.ends_with("userdata"))?;
    let id = clues.id.as_ref()?;
    let storage = container.parent().filter(|_| container.ends_with(id.as_str()))?;
    storage.file_name()?.to_str()?.ends_with("-containers").then_some(storage)
}

/// Infra containers are in their pod's cgroup, and named after the pod's id unless another name was asked for. So
/// are members of a pod that was created without an infra container, but their host name is their id.
fn is_infra(clues: &Clues<'_>, pod_uid: Option<&str>, name: Option<&str>) -> bool {
    let named_so = name.and_then(infra_of).is_some();
    let named_by_id = || {
        let host_name = clues.spec.and_then(|spec| spec.hostname.as_deref());
        host_name.is_none_or(|host_name| clues.state.id.starts_with(host_name))
    };
    named_so || (pod_uid.is_some() && !named_by_id())
}

/// The pod's short id in `<short id>-infra`.
fn infra_of(name: &str) -> Option<&str> {
    name.strip_suffix("-infra").filter(|id| id.len() == 12 && id.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// The pod's id in the cgroup: `…/<pod>/libpod-<container>`, or `…-libpod_pod_<pod>.slice:libpod:<container>` with
/// systemd.
fn pod_uid(spec: &Spec) -> Option<&str> {
    let path = spec.linux.cgroups_path.as_deref()?;
    let uid = match path.split_once("libpod_pod_") {
        Some((_, rest)) => rest.split_once(".slice")?.0,
        None => path.rsplit('/').nth(1)?,
    };
    (uid.len() == 64 && uid.bytes().all(|b| b.is_ascii_hexdigit())).then_some(uid)
}

/// The host name, unless it is the machine's: that of a container without a uts namespace.
fn host_name(spec: &Spec) -> Option<String> {
    spec.namespace("uts")?;
    clean(spec.hostname.as_deref()?)
}

/// The pod whose infra container is `infra`.
fn pod_of(clues: &Clues<'_>, infra: &str) -> Option<PodRef> {
    let infra = ContainerId::parse(infra).ok()?;
    let uid = clues.spec.and_then(pod_uid);
    let name = storage_of(clues).and_then(|storage| {
        let path = storage.join(infra.as_str()).join("userdata/config.json");
        host_name(&Spec::parse(&clues.files.read(&path, LONGEST_SPEC)?).ok()?)
    });
    // Without its own config.json there is no better name for the pod than the id of what holds it.
    let name = name.or_else(|| clean(uid?.get(..12)?)).unwrap_or_else(|| infra.short().to_owned());
    Some(PodRef {
        name,
        namespace: None,
        uid: uid.and_then(clean),
        sandbox_id: Some(infra.as_str().to_owned()),
    })
}

/// What the storage's index tells of the container.
struct Stored {
    name: Option<String>,
    image: Option<String>,
}

fn stored(clues: &Clues<'_>) -> Option<Stored> {
    let (storage, id) = (storage_of(clues)?, clues.id.as_ref()?);
    INDEXES.iter().find_map(|index| {
        let json = clues.files.read(&storage.join(index), LONGEST_INDEX)?;
        let entry = entry(&json, id)?;
        let metadata: Metadata = serde_json::from_str(&entry.metadata).unwrap_or_default();
        // The metadata has the name that the container was created with, `names` the one it was renamed to.
        let name = entry.names.first().and_then(|name| clean(name));
        Some(Stored { name, image: metadata.image_name.and_then(|image| clean(&image)) })
    })
}

/// The names of all containers in a storage, by id.
pub(super) fn names_in(storage: &Path, files: &dyn Files) -> HashMap<String, String> {
    #[derive(Deserialize)]
    struct Named {
        id: String,
        #[serde(default)]
        names: Vec<String>,
    }
    let read = |index| {
        let json = files.read(&storage.join(index), LONGEST_INDEX)?;
        serde_json::from_slice::<Vec<Named>>(&json).ok()
    };
    let entries = INDEXES.into_iter().filter_map(read).flatten();
    entries.filter_map(|Named { id, names }| Some((id, clean(names.first()?)?))).collect()
}

/// The container's entry: found by its first bytes, since parsing an index of a thousand containers takes longer than
/// all else that the hook does. A quote inside a JSON string is escaped, so these bytes are no part of one.
fn entry<'a>(json: &'a [u8], id: &ContainerId) -> Option<Entry<'a>> {
    let json = str::from_utf8(json).ok()?;
    let start = json.find(&format!("{{\"id\":\"{id}\""))?;
    serde_json::Deserializer::from_str(&json[start..]).into_iter().next()?.ok()
}

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(borrow, default)]
    names: Vec<Cow<'a, str>>,
    #[serde(borrow, default)]
    metadata: Cow<'a, str>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(rename = "image-name")]
    image_name: Option<String>,
}
