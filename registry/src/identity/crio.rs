//! CRI-O: everything is in annotations, of the state and of `config.json` alike.

use super::{Clues, Engine, Identity, Kind, PodRef};

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
        pod: clues.text("io.kubernetes.pod.name").map(|name| PodRef {
            name,
            namespace: clues.text("io.kubernetes.pod.namespace"),
            uid: clues.text("io.kubernetes.pod.uid"),
            sandbox_id: clues.text("io.kubernetes.cri-o.SandboxID"),
        }),
    }
}
