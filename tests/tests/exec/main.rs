//! `porthole exec` on containers of a real runtime, registered by the real hook: what the command can and cannot do.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod audit;
mod bounds;
mod confinement;
mod dns;
mod explain;
mod frozen;
mod hidden;
mod hostile;
mod hygiene;
mod ids;
mod links;
mod namespaces;
mod outside;
mod policy;
mod processes;
mod profiles;
mod recording;
mod seccomp;
mod setting;
mod state;
mod terminal;
mod view;
mod xtables;
