//! Porthole on real engines of every version: what they run is found by its pod's name, for as long as the pod is there.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod adopted;
mod docker;
mod hooked;
mod many;
mod names;
mod podman;
mod sandboxes;
mod setting;
