//! See `invariants::signature`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| invariants::signature(bytes));
