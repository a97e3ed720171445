//! Fuzz target: changes of JSON documents.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| porthole_fuzz::json_edit(data));
