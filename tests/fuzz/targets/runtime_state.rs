//! Fuzz target: what runtimes write of their containers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| porthole_fuzz::runtime_state(data));
