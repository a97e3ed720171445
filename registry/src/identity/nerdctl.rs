//! nerdctl: its labels reach the runtime as annotations. Its namespaces are containerd's, not those of pods.

use super::{Clues, Engine, Identity, Kind};

/// Labels that nerdctl gives to each of its containers.
pub(super) const MARKS: [&str; 2] = ["nerdctl/name", "nerdctl/namespace"];

pub(super) fn identify(clues: &Clues<'_>) -> Identity {
    Identity {
        engine: Engine::Nerdctl,
        kind: Kind::Container,
        name: clues.text("nerdctl/name"),
        image: clues.text("nerdctl/image-name"),
        pod: None,
    }
}
