//! podman with pods on its own bridge.
