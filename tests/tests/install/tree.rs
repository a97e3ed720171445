//! Trees of files: what a plan is, and that it can be taken back.
