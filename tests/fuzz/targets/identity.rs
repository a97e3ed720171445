//! Fuzz target: identity, from both documents and an engine's file.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| porthole_fuzz::identity(data));
