//! Fuzzes the reading of the log.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| conclave_server::fuzzing::log_entry(bytes));
