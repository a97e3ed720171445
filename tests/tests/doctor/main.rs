//! `porthole doctor`: a node on which all is well, and each thing that can be wrong with one.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod crio;
mod elsewhere;
mod engines;
mod healthy;
mod hooks;
mod pins;
mod programs;
mod registry;
mod setting;
