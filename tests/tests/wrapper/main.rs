//! The runtime wrapper in front of real runtimes, behind the script that engines are pointed at.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod containers;
mod documents;
mod faults;
mod forms;
mod installed;
mod passing;
