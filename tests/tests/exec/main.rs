//! `porthole exec` on containers of a real runtime, registered by the real hook: what the command can and cannot do.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod confinement;
mod dns;
mod explain;
mod hidden;
mod hostile;
mod hygiene;
mod ids;
mod namespaces;
mod processes;
mod seccomp;
mod setting;
mod terminal;
mod view;
