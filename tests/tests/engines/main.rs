//! The engines of the harness: each comes up on a node, runs pods, and leaves nothing.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod containerd;
mod docker;
mod podman;
mod system;
