//! Adoption: what runs already is registered by `porthole reconcile`, whichever engine's state it is found in.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod ends;
mod engines;
mod hostile;
mod kills;
mod own_mounts;
mod races;
mod renames;
mod setting;
