//! What holds under every runtime, one sentence each.
//!
//! A difference between runtimes is a row of `Runtime::traits`, asserted in `runtimes`; no sentence asks which
//! runtime it runs on.

#![allow(clippy::unwrap_used, reason = "what fails here is the test")]

mod broken_node;
mod bundles;
mod hangs;
mod lifecycle;
mod long;
mod names;
mod pods;
mod private_run;
mod processes;
mod propagation;
mod runtimes;
mod stdin;
