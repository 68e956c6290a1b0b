//! Fuzzes the reading of what peers send.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conclave_server::fuzzing::peer_frame(bytes));
