//! podman and CRI-O: hooks.d.
