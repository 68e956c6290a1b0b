//! Fuzzes the reading of what clients send.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conclave_server::fuzzing::http(bytes));
