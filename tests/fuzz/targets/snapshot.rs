//! Fuzzes the reading of snapshots.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conclave_server::fuzzing::snapshot(bytes));
