//! Fuzz target: names of pins, and their templates.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| porthole_fuzz::naming(data));
