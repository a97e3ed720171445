//! containerd: base specs and wrappers, on running nodes.
