//! Hostile processes in the target of `porthole exec`, which look at whatever comes into their pid namespace at every
//! instant, and what they must not find there.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod finished;
mod instants;
mod powerless;
mod prey;
mod tools_view;
