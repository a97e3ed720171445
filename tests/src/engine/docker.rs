//! Docker, on the containerd of its release.
