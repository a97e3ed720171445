//! CRI-O: everything is in annotations, of the state and of `config.json` alike.

use super::{Clues, Engine, Identity, Kind, PodRef};
use crate::text::clean;

/// Annotations that tell CRI-O where `io.container.manager` is missing. podman has some of the same prefix, but not
/// these.
pub(super) const MARKS: [&str; 3] =
    ["io.kubernetes.pod.name", "io.kubernetes.container.name", "io.kubernetes.cri-o.ImageName"];

pub(super) fn identify(clues: &Clues<'_>) -> Identity {
    let kind = match clues.annotation("io.kubernetes.cri-o.ContainerType") {
        Some("sandbox") => Kind::Sandbox,
        _ => Kind::Container,
    };
    Identity {
        engine: Engine::CriO,
        kind,
        // A sandbox is called POD there, which is no name.
        name: clues.text("io.kubernetes.container.name").filter(|_| kind == Kind::Container),
        image: clues.text("io.kubernetes.cri-o.ImageName"),
        pod: labelled(clues)
            .or_else(|| named(clues))
            .map(|pod| PodRef { sandbox_id: clues.text("io.kubernetes.cri-o.SandboxID"), ..pod }),
    }
}

/// The pod by the labels that a kubelet gives to each container.
fn labelled(clues: &Clues<'_>) -> Option<PodRef> {
    Some(PodRef {
        name: clues.text("io.kubernetes.pod.name")?,
        namespace: clues.text("io.kubernetes.pod.namespace"),
        uid: clues.text("io.kubernetes.pod.uid"),
        sandbox_id: None,
    })
}

/// The pod by the name that CRI-O gives to its sandbox, `k8s_<pod>_<namespace>_<uid>_<attempt>`: crictl labels no
/// container.
fn named(clues: &Clues<'_>) -> Option<PodRef> {
    let name = clues.annotation("io.kubernetes.cri-o.SandboxName")?;
    let parts: Vec<&str> = name.split('_').collect();
    let ["k8s", pod, namespace, uid, _attempt] = parts[..] else { return None };
    Some(PodRef { name: clean(pod)?, namespace: clean(namespace), uid: clean(uid), sandbox_id: None })
}
