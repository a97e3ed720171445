//! Fuzz target: policy.toml, and what its rules say.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| porthole_fuzz::policy(data));
