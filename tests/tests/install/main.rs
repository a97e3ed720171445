//! `porthole install` and `porthole uninstall`: on trees, and on nodes with the real engines.

#![allow(clippy::unwrap_used)]

mod binaries;
mod containerd;
mod docker;
mod podman;
mod policy;
mod tree;
