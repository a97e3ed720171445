//! Fuzz target: the OCI state on stdin.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| porthole_fuzz::state(data));
