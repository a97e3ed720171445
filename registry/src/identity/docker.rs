//! Docker: nothing in the OCI documents, but a file per container in the data root; cri-dockerd packs the pod's
//! name into the container's.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Clues, Engine, Identity, Kind, PodRef, clean};

/// Where Docker keeps its data unless told otherwise; the only guess left without a root filesystem.
const DATA_ROOT: &str = "/var/lib/docker";

/// Longer than any `config.v2.json`: it has the container's environment in it.
const LONGEST: u64 = 4 << 20;

/// How many directories above the root filesystem the data root is looked for; it is two or three.
const HIGHEST: usize = 6;

/// The container, if it is one of Docker's: its bundle or its root filesystem says so.
pub(super) fn identify(clues: &Clues<'_>) -> Option<Identity> {
    let is_ours = clues.bundle_is_below("moby");
    let Some(config) = config_of(clues, is_ours) else {
        return is_ours.then(|| Identity { engine: Engine::Docker, ..Identity::default() });
    };
    let name = config.name.as_deref().unwrap_or_default().trim_start_matches('/');
    let image = config.config.image.as_deref().and_then(clean);
    let mut identity =
        from_cri_dockerd(name).unwrap_or_else(|| Identity { name: clean(name), ..Identity::default() });
    if let Some(pod) = &mut identity.pod {
        let own = || clues.id.as_ref().map(|id| id.as_str().to_owned());
        let label = || config.config.labels.sandbox_id.as_deref().and_then(clean);
        pod.sandbox_id = if identity.kind == Kind::Sandbox { own() } else { label() };
    }
    Some(Identity { engine: Engine::Docker, image, ..identity })
}

/// What Docker knows of the container.
fn config_of(clues: &Clues<'_>, is_ours: bool) -> Option<Container> {
    let id = clues.id.as_ref()?;
    let above = clues.root().into_iter().flat_map(|root| root.ancestors().skip(1).take(HIGHEST));
    let guess = is_ours.then_some(Path::new(DATA_ROOT));
    above.chain(guess).find_map(|data_root| {
        let path: PathBuf = [data_root, Path::new("containers"), Path::new(id.as_str())].iter().collect();
        let json = clues.files.read(&path.join("config.v2.json"), LONGEST)?;
        serde_json::from_slice(&json).ok()
    })
}

/// `k8s_<container>_<pod>_<namespace>_<uid>_<attempt>`, with a random suffix where that was taken. None of the
/// parts can have an underscore in Kubernetes.
fn from_cri_dockerd(name: &str) -> Option<Identity> {
    let parts: Vec<&str> = name.split('_').collect();
    let (["k8s", container, pod, namespace, uid, _attempt]
    | ["k8s", container, pod, namespace, uid, _attempt, _]) = parts[..]
    else {
        return None;
    };
    let kind = if container == "POD" { Kind::Sandbox } else { Kind::Container };
    Some(Identity {
        kind,
        name: clean(container).filter(|_| kind == Kind::Container),
        pod: Some(PodRef {
            name: clean(pod)?,
            namespace: clean(namespace),
            uid: clean(uid),
            sandbox_id: None,
        }),
        ..Identity::default()
    })
}

/// What is read of `config.v2.json`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Container {
    name: Option<String>,
    config: Config,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    image: Option<String>,
    #[serde(deserialize_with = "or_default")]
    labels: Labels,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Labels {
    #[serde(rename = "io.kubernetes.sandbox.id")]
    sandbox_id: Option<String>,
}

/// Docker writes null for a container without labels.
fn or_default<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Labels, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}
