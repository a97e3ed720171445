//! The commands that show and find: on containers of a real runtime, registered by the real hook.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod future;
mod generated;
mod hostile;
mod identify;
mod index;
mod inspect;
mod list;
mod reconcile;
mod setting;
mod strays;
mod targets;
