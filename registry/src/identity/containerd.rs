//! containerd's CRI plugin: everything is in annotations, of the state and of `config.json` alike.

use super::{Clues, Engine, Identity, Kind, PodRef};

/// Annotations that none but containerd's CRI plugin writes.
pub(super) const MARKS: [&str; 3] =
    ["io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id", "io.kubernetes.cri.sandbox-name"];

pub(super) fn identify(clues: &Clues<'_>) -> Identity {
    let kind = match clues.annotation("io.kubernetes.cri.container-type") {
        Some("sandbox") => Kind::Sandbox,
        _ => Kind::Container,
    };
    let image = match kind {
        Kind::Container => "io.kubernetes.cri.image-name",
        Kind::Sandbox => "io.kubernetes.cri.podsandbox.image-name",
    };
    Identity {
        engine: Engine::Containerd,
        kind,
        name: clues.text("io.kubernetes.cri.container-name").filter(|_| kind == Kind::Container),
        image: clues.text(image),
        pod: clues.text("io.kubernetes.cri.sandbox-name").map(|name| PodRef {
            name,
            namespace: clues.text("io.kubernetes.cri.sandbox-namespace"),
            uid: clues.text("io.kubernetes.cri.sandbox-uid"),
            sandbox_id: clues.text("io.kubernetes.cri.sandbox-id"),
        }),
    }
}
